"""The six negative controls: what is broken on purpose must be noticed, else no seed that passes proves anything."""

from __future__ import annotations

import itertools

import pytest

from tests.sim.options import derive, override
from tests.sim.run import Pipeline, simulate, surroundings
from tests.support import sabotage

SEEDS_MAX = 60

NEEDS = {
    sabotage.OFFSETS_OUTSIDE_TRANSACTION: {"abort", "doubt", "crash", "kill"},
    sabotage.NO_GROUP_METADATA: {"zombie"},
    sabotage.READ_UNCOMMITTED: {"abort", "doubt", "crash", "kill"},
    sabotage.POSITION_OFFSETS: {"crash", "kill"},
    sabotage.NO_REWIND: {"abort"},
    sabotage.DEDUPE_OFF: {"duplicates"},
}
"""A control does harm only where one of these faults is: seeds without are left out."""

SHARPER: dict[str, dict[str, object]] = {
    sabotage.NO_GROUP_METADATA: {
        "workers": 2,
        "work_seconds": 9.0,
        "poll_records_max": 2,
        "call_rates": {"zombie": 0.1},
        "event_counts": {},
    },
}
"""What is set in every seed of a control: of a hundred as they come, two have a zombie whose batch another takes."""


def seeds(name: str) -> list[int]:
    """The first seeds in which the control can do harm."""
    found: list[int] = []
    for seed in itertools.count():
        options = derive(seed)
        faults = {*options.call_rates, *options.event_counts, *(["duplicates"] if options.resend_share else [])}
        if faults & NEEDS[name]:
            found.append(seed)
        if len(found) == SEEDS_MAX:
            return found
    raise AssertionError("seeds never end")


@pytest.mark.parametrize("name", sorted(sabotage.CONTROLS))
def test_what_is_broken_on_purpose_is_noticed(name: str) -> None:
    """Within a few dozen seeds the auditor says no, and the same seed passes when nothing is broken."""
    world = Pipeline()
    with surroundings():
        for seed in seeds(name):
            options = override(derive(seed, control=name), **SHARPER.get(name, {}))
            if simulate(options, world).was_refused:
                clean = simulate(override(options, control=""), world)
                assert not clean.breaks, "the seed fails without the control as well"
                return
    pytest.fail(f"{name} went unnoticed in {SEEDS_MAX} seeds: {sabotage.CONTROLS[name]}")


def test_an_unknown_control_is_refused() -> None:
    """A misspelt control would break nothing, and look as if it had gone unnoticed."""
    with pytest.raises(ValueError, match="choose one of"):
        sabotage.check("no-such-control")
