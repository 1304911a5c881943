"""The ratio check: the engine is still as far ahead of its peers as it was when that was recorded.

    python -m tests.bench.ratio                 # measure and judge, as tests/bench/test_ratio.py does in `make test`
    python -m tests.bench.ratio --record        # measure three times and write tests/bench/recorded.json
    python -m tests.bench.ratio --loss 0.4      # the engine loses 40 % of its rate on purpose: exit code 1

Rates depend on the machine and on what else it does; ratios of programs that run in turn hardly do. The best round of
each program counts, for what disturbs a run only ever makes it slower. When a ratio is too low, all programs get one
more round, as long as there is time: somebody else's burst passes, a loss of our own does not.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from deploy.local.kafka_broker import LocalKafka
from deploy.local.kafka_jars import REPOSITORY
from tests.bench import run
from tests.bench.machine import machine
from tests.bench.programs import BY_NAME, PASS_THROUGH, PIPELINE, Load, Program

RECORDED = Path(__file__).with_name("recorded.json")
SHARE_MIN = 0.75
"""A loss of a quarter is red."""
ROUNDS = 2
SECONDS_MAX = 110.0
"""No further round is begun when it would probably end later."""
RECORDINGS = 3
FOLDER = REPOSITORY / ".local" / "bench" / "ratio"

LOADS: tuple[tuple[str, str, Load], ...] = (
    ("bare", PASS_THROUGH, Load(300_000, 60_000)),
    ("engine", PASS_THROUGH, Load(250_000, 50_000)),
    ("engine", PIPELINE, Load(3_000)),
    ("faust", PIPELINE, Load(300)),
)
"""Program, measure and load in the order of a round: a few seconds each."""
RATIOS: Mapping[str, tuple[str, str]] = {
    "pass-through, share of the bare loop": (PASS_THROUGH, "bare"),
    "pipeline, times stock Faust": (PIPELINE, "faust"),
}
"""Engine against whom, in what."""

Best = dict[tuple[str, str], float]
"""Measure and program → records or trades a second of its best round."""


def with_loss(loss: float) -> Program:
    """The engine, with a share of its rate taken away."""
    engine = BY_NAME["engine"]
    return replace(engine, command=lambda: [*engine.command(), "--loss", str(loss)]) if loss else engine


def ratios(best: Best) -> dict[str, float]:
    """What the best rounds come to."""
    return {
        name: best[measure, "engine"] / best[measure, peer]
        for name, (measure, peer) in RATIOS.items()
        if (measure, peer) in best
    }


def too_low(found: Mapping[str, float], recorded: Mapping[str, float]) -> list[str]:
    """A sentence for each ratio that lost a quarter of what was recorded."""
    return [
        f"{name}: {found[name]:.2f}, recorded {recorded[name]:.2f}, at least {SHARE_MIN * recorded[name]:.2f} was due"
        for name in RATIOS
        if found[name] < SHARE_MIN * recorded[name]
    ]


def measured(
    servers: str,
    recorded: Mapping[str, float] | None,
    say: Callable[[str], None],
    *,
    loss: float = 0.0,
    loads: Sequence[tuple[str, str, Load]] = LOADS,
) -> dict[str, float]:
    """Measure in interleaved rounds; with recorded ratios, further rounds while one is too low and there is time."""
    programs = BY_NAME | {"engine": with_loss(loss)}
    for name, _, _ in loads:
        programs[name].command()  # builds what is missing before the clock starts
    best: Best = {}
    began, number = time.monotonic(), 0
    while True:
        for name, measure, load in loads:
            found = run.measure(programs[name], measure, load, servers, FOLDER)
            best[measure, name] = max(best.get((measure, name), 0.0), found.per_second)
            say(f"round {number + 1}: {name:8} {measure:14} {found.per_second:12,.0f} a second")
        number += 1
        passed = time.monotonic() - began
        if number >= ROUNDS and (recorded is None or not too_low(ratios(best), recorded)):
            break
        if number >= ROUNDS and passed + passed / number > SECONDS_MAX:
            break
    run.forget_input()
    shutil.rmtree(FOLDER, ignore_errors=True)
    return ratios(best)


def recorded_ratios() -> dict[str, float]:
    """What was recorded. Raises ValueError with a sentence when that does not fit this check."""
    found: dict[str, float] = json.loads(RECORDED.read_text(encoding="utf-8"))["ratios"]
    if found.keys() != RATIOS.keys():
        raise ValueError(f"{RECORDED.name} has other ratios; write it anew: python -m tests.bench.ratio --record")
    return found


def record(servers: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure several times and write the middle of each ratio."""
    found = [measured(servers, None, say) for _ in range(RECORDINGS)]
    middle = {name: round(run.median([one[name] for one in found]), 3) for name in RATIOS}
    result = {**machine(), "ratios": middle, "all": [{name: round(one[name], 3) for name in one} for one in found]}
    RECORDED.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


def main(arguments: Sequence[str]) -> int:
    """Measure and judge, or record."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.ratio")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--record", action="store_true", help="write what is measured as what is to be kept")
    which.add_argument("--loss", type=float, default=0.0, help="share of its rate that the engine is made to lose")
    given = parser.parse_args(arguments)
    if not 0 <= given.loss < 1:
        parser.error(f"--loss was {given.loss}; it must be at least 0 and below 1")
    with LocalKafka() as broker:
        if given.record:
            print(json.dumps(record(broker.bootstrap_servers, print)))
            return 0
        recorded = recorded_ratios()
        found = measured(broker.bootstrap_servers, recorded, print, loss=given.loss)
    for name, value in found.items():
        print(f"{name}: {value:.2f} (recorded {recorded[name]:.2f})")
    failures = too_low(found, recorded)
    for failure in failures:
        print(f"TOO LOW: {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
