"""Hundreds of seeds of the whole pipeline with faults, a crash at every call, and runs that repeat byte for byte."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.engine.repair import RepairOutcome
from tests.sim.__main__ import main
from tests.sim.options import CALL_FAULTS, EVENT_FAULTS, Options, derive, override
from tests.sim.quick import Small
from tests.sim.report import Totals, failure
from tests.sim.run import Pipeline, World, simulate, surroundings

REPOSITORY = Path(__file__).parents[2]
BLOCK_SEEDS = 125
SEEDS = 500

SHORT: Any = {
    "work_seconds": 1.5,
    "session_timeout_seconds": 1.0,
    "transaction_timeout_seconds": 0.7,
    "restart_seconds_max": 0.5,
}
"""Times for runs of which there are many."""

REPAIRS = ("stage raises", *(f"repair {outcome.value}" for outcome in RepairOutcome))
"""What is counted of bugs and of what clerks do about them."""


@pytest.fixture(autouse=True)
def simulated() -> Iterator[None]:
    """The surroundings of every run."""
    with surroundings():
        yield


def check(options: Options, world: World, totals: Totals) -> None:
    """Run once; a failure tells everything that is needed to look at it."""
    outcome = simulate(options, world)
    totals.add(outcome)
    assert not outcome.breaks, failure(outcome)


@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK_SEEDS))
def test_every_trade_is_accounted_for(first: int) -> None:
    """Whatever fails when: nothing is lost or doubled, and once faults stop, everything drains."""
    world, totals = Pipeline(), Totals()
    for seed in range(first, first + BLOCK_SEEDS):
        check(derive(seed), world, totals)
    unseen = {name for name in (*CALL_FAULTS, *EVENT_FAULTS, *REPAIRS) if not totals.faults[name]}
    assert not unseen, "a fault that no seed injects proves nothing"


def test_a_crash_at_every_call() -> None:
    """Before and after each single call to the log or the disk, a process that dies there leaves nothing behind."""
    world, totals = Small(), Totals()
    options = Options(seed=1, workers=2, yield_rate=0.3, **SHORT)
    whole = simulate(options, world)
    assert not whole.breaks, failure(whole)
    for call in range(1, whole.calls + 1):
        check(override(options, crash_at_call=call), world, totals)
    # The last calls of the run without a crash come after everything is drained, so that they may not come at all.
    assert totals.faults["crash"] > 0.9 * whole.calls


def test_a_crash_at_every_call_of_the_pipeline() -> None:
    """The same with the real services and the auditor, on one order that is split among accounts."""
    world, totals = Pipeline(), Totals()
    options = Options(seed=3, workers=1, partitions=1, flows=1, yield_rate=0.0, **SHORT)
    whole = simulate(options, world)
    assert not whole.breaks, failure(whole)
    for call in range(1, whole.calls + 1):
        check(override(options, crash_at_call=call), world, totals)
    assert totals.faults["crash"] > 0.9 * whole.calls


_FINGERPRINT = """
import sys
from tests.sim.options import derive
from tests.sim.run import Pipeline, simulate, surroundings
with surroundings():
    world = Pipeline()
    print([simulate(derive(seed), world).fingerprint for seed in map(int, sys.argv[1:])])
"""


def test_the_same_seed_is_the_same_run() -> None:
    """A failure that cannot be repeated cannot be understood; not even the order of a set may differ."""
    seeds = range(20, 26)
    world = Pipeline()
    here = [str([simulate(derive(seed), world).fingerprint for seed in seeds]) for _ in range(2)]
    elsewhere = [
        subprocess.run(
            [sys.executable, "-c", _FINGERPRINT, *map(str, seeds)],
            cwd=REPOSITORY,
            env={"PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for hash_seed in ("1", "2")
    ]
    assert len({*here, *elsewhere}) == 1


def test_seeds_differ() -> None:
    """A generator that ignores its seed would pass every other test here."""
    world = Pipeline()
    assert len({simulate(derive(seed), world).fingerprint for seed in range(5)}) == 5


def test_the_command_counts_and_is_content(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever runs it learns how much was tried."""
    assert main(["--seeds", "2"]) == 0
    told = capsys.readouterr()
    assert "2 seeds" in told.err
    assert told.out.splitlines()[-1] == "every seed is accounted for"


def test_the_command_tells_how_to_repeat_a_failure(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A failure is worth what can be learnt from it: options, trace, breaks, and the line that repeats it."""
    trace = tmp_path / "trace.txt"
    assert main(["--control", "dedupe-off", "--trace", str(trace)]) == 0
    told = capsys.readouterr().out
    seed = trace.read_text(encoding="utf-8").splitlines()[0].removeprefix("seed = ")
    assert f"make sim SEED={seed} CONTROL=dedupe-off" in told
    assert " broken  nothing without a cause" in told
    assert "  partitions = " in told
    assert "dedupe-off: noticed" in told
    assert main(["--seed", seed, "--control", "dedupe-off"]) == 0
    again = capsys.readouterr().out
    assert again == told


def test_the_command_refuses_nonsense() -> None:
    """A request that cannot be meant stops at once."""
    for arguments in (["--seeds", "0"], ["--seed", "1", "--seeds", "2"], ["--control", "anything"]):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 2
