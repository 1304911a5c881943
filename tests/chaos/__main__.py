"""`make chaos`: faults for some minutes, then the verdict: ALL TRADES ACCOUNTED FOR, or what is missing.

Exit code 0 when it is, 1 when not. With --control the harness is sabotaged on purpose: then 0 means that the verifier
noticed.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploy.local.tools import LocalServerError
from services.commands.failure import EXIT_INTERRUPTED, EXIT_TROUBLE, EXIT_USAGE
from services.engine.log import LogError
from tests.chaos import report
from tests.chaos.run import Options, Result, RunFailedError, run
from tests.support.sabotage import CONTROLS

MINUTES = 3.0
CONTROL_MINUTES = 0.5
RATE = 150.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as the arguments say; the exit code for the shell."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)  # a shell that starts us in the background has set it to be ignored
    try:
        result = run(options)
    except (LocalServerError, LogError, OSError, RunFailedError) as error:
        report.complain(f"error: {error}")
        return EXIT_USAGE if isinstance(error, FileExistsError) else EXIT_TROUBLE
    except KeyboardInterrupt:
        report.complain("stopped before the end; everything that was started is stopped")
        return EXIT_INTERRUPTED
    return _conclude(options, result)


def _options(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(prog="make chaos", description="Break the service on purpose and count.")
    parser.add_argument("--minutes", type=_positive, help=f"minutes of faults; default {MINUTES:g}")
    parser.add_argument("--seed", type=int, help="repeat the faults and records of a run; default: drawn")
    parser.add_argument("--rate", type=_positive, default=RATE, help=f"records a second; default {RATE:g}")
    parser.add_argument(
        "--control", choices=sorted(CONTROLS), default="", help="sabotage that the verifier has to notice"
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="new folder for everything; kept")
    given = parser.parse_args(arguments)
    return Options(
        minutes=given.minutes or (CONTROL_MINUTES if given.control else MINUTES),
        seed=random.SystemRandom().randrange(1_000_000) if given.seed is None else given.seed,
        rate=given.rate,
        control=given.control,
        keep=given.keep,
    )


def _positive(text: str) -> float:
    value = float(text)
    if value <= 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def _interrupt(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt


def _conclude(options: Options, result: Result) -> int:
    """Print the tables and the verdict; the exit code."""
    report.say("\n" + report.tables(result.summary, result.findings) + "\n")
    if options.control:
        return _conclude_control(options, result)
    for row in (*result.findings["invariants"], *result.findings["witnesses"]):
        for sentence in row["breaks"]:
            report.say(f"{row.get('invariant', row['title'])}: {sentence}")
    for sentence in result.missing:
        report.say(f"- {sentence}")
    passed = result.accounted and not result.missing
    if passed:
        _clear(options, result)
        report.say(report.ACCOUNTED)
        return 0
    report.say(f"SEED {options.seed}: make chaos SEED={options.seed} MINUTES={options.minutes:g} RATE={options.rate:g}")
    report.say(f"data kept in {result.root}; look at it with: "
          f"python -m deploy.local.kafka_broker --data-dir {result.root / 'kafka'}")  # fmt: skip
    report.say(
        result.findings["verdict"] if not result.accounted else f"NOT PASSED: {len(result.missing)} shortcomings"
    )
    return EXIT_TROUBLE


def _conclude_control(options: Options, result: Result) -> int:
    for sentence in result.missing:
        report.say(f"- {sentence}")
    report.say(result.findings["verdict"])
    if result.accounted:
        report.say(f"the verifier did NOT notice the sabotage {options.control}; data kept in {result.root}")
        return EXIT_TROUBLE
    _clear(options, result)
    report.say(f"the verifier noticed the sabotage {options.control}, as it must")
    return 0


def _clear(options: Options, result: Result) -> None:
    if options.keep is None:
        shutil.rmtree(result.root, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
