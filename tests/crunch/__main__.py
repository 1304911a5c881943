"""`make crunch`: a steady rate, a minute of twenty times as much, the steady rate again; a line of figures every 10 s.

    python -m tests.crunch --minutes 10 --rate 30

The rate is in orders a second, each of two fills and a confirmation. Without one it is measured, so that the burst is
more than this machine can process. Exit code 0 when all promises held, 1 with a sentence when one did not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from deploy.local.screen import say
from deploy.local.tools import LocalServerError
from services.commands import logs
from tests.crunch import judge
from tests.crunch.play import play, sustainable_rate
from tests.crunch.scene import playing

BURST_SECONDS = 60.0
LINE_SECONDS = 10.0
MINUTES_MIN = 2.0
CATCH_UP_SECONDS_MAX = 3_600.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Play it; the exit code for the shell."""
    parser = argparse.ArgumentParser(prog="make crunch", description="More input than can be processed, for a minute.")
    parser.add_argument("--minutes", type=float, default=5.0, help="without the time to catch up in; at least 2")
    parser.add_argument("--rate", type=float, default=0.0, help="steady rate, orders a second; default: measured")
    options = parser.parse_args(arguments)
    if options.minutes < MINUTES_MIN or options.rate < 0:
        parser.error("MINUTES must be at least 2, and RATE above 0")
    logs.configure("error")
    try:
        with tempfile.TemporaryDirectory(prefix="posttrade-crunch-") as directory:
            return _play(Path(directory), options.rate, options.minutes * 60)
    except LocalServerError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except AssertionError as broken:
        say(f"NOT held: {broken}")
        return 1
    except KeyboardInterrupt:
        return 130


def _play(directory: Path, rate: float, seconds: float) -> int:
    with playing(directory) as scene:
        steady = rate or sustainable_rate(scene)
        course = play(
            scene, steady=steady, steady_seconds=(seconds - BURST_SECONDS) / 2, burst_seconds=BURST_SECONDS,
            line_seconds=LINE_SECONDS, seconds_max=CATCH_UP_SECONDS_MAX,
        )  # fmt: skip
        say(course.text())
        say(judge.text(scene.observer.seen, course.before))
        judge.check(scene, course)
    say("held: memory bounded, lag as it was, order kept, every order instructed once")
    return 0


if __name__ == "__main__":
    sys.exit(main())
