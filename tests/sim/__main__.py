"""Run seeds until stopped: `python -m tests.sim`, or `make sim`.

Exit code 0 when no run failed, 1 with the first one that does, 2 for a request that makes no sense. With a control the
run must fail: 0 when one did, 1 when the auditor noticed nothing.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.sim.options import derive
from tests.sim.report import Totals, failure
from tests.sim.run import Outcome, Pipeline, simulate, surroundings
from tests.support import sabotage

_CONTROL_SEEDS_MAX = 500
_PROGRESS_SECONDS = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code for the shell."""
    request = _parse(arguments)
    seeds = _seeds(request)
    totals = Totals()
    try:
        with surroundings():
            failed = _run(seeds, totals, control=request.control, trace=request.trace)
    except KeyboardInterrupt:
        failed = None
    sys.stderr.write(f"\n{totals.table()}\n")
    if failed is not None:
        _say(failure(failed))
    if request.control:
        _say(f"{request.control}: {'noticed' if failed else 'NOT noticed'}")
        return 0 if failed else 1
    _say("every seed is accounted for" if failed is None else "NOT every seed is accounted for")
    return 0 if failed is None else 1


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make sim", description="Simulate the pipeline with faults drawn from a seed, until stopped."
    )
    parser.add_argument("--seed", type=int, help="run this seed only")
    parser.add_argument("--seeds", type=int, help="run so many seeds, beginning with 0")
    parser.add_argument("--trace", type=Path, help="write the whole trace of the last run to this file")
    parser.add_argument("--control", choices=sorted(sabotage.CONTROLS), default="", help="break this on purpose")
    request = parser.parse_args(arguments)
    if request.seeds is not None and request.seeds < 1:
        parser.error("--seeds must be at least 1")
    if request.seed is not None and request.seeds is not None:
        parser.error("give --seed or --seeds, not both")
    return request


def _seeds(request: argparse.Namespace) -> Iterable[int]:
    if request.seed is not None:
        return [request.seed]
    if request.seeds is not None:
        return range(request.seeds)
    return range(_CONTROL_SEEDS_MAX) if request.control else itertools.count()


def _run(seeds: Iterable[int], totals: Totals, *, control: str, trace: Path | None) -> Outcome | None:
    """The first outcome that is not as it should be."""
    world = Pipeline()
    shown = 0.0
    for seed in seeds:
        outcome = simulate(derive(seed, control=control), world)
        totals.add(outcome)
        if trace is not None:
            trace.write_text("\n".join([*outcome.options.lines(), *outcome.trace, ""]), encoding="utf-8")
        if time.monotonic() - shown > _PROGRESS_SECONDS:
            shown = time.monotonic()
            sys.stderr.write(f"\r{totals.line()}")
            sys.stderr.flush()
        if outcome.was_refused if control else outcome.breaks:
            return outcome
    return None


if __name__ == "__main__":
    sys.exit(main())
