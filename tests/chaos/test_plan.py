"""What a run will do: enough of everything, and the same for the same seed."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from tests.chaos.plan import (
    BROKER_STARTS,
    CONTROL_PLANS,
    KILLS,
    MEMBERSHIP,
    PAUSES,
    WORKERS_AT_START,
    WORKERS_MAX,
    Failpoint,
    Fault,
    FaultKind,
    make_plan,
    quotas,
)
from tests.support.sabotage import CONTROLS

LENGTHS = pytest.mark.parametrize("minutes", [0.5, 3.0, 7.0, 10.0, 24.1, 60.0, 90.0])


def counts(faults: list[Fault]) -> Counter[FaultKind]:
    """Faults by kind."""
    return Counter(fault.kind for fault in faults)


@LENGTHS
def test_the_same_seed_gives_the_same_faults_and_another_seed_others(minutes: float) -> None:
    """A run that failed can be repeated; a run that passed is not the only one there is."""
    assert make_plan(minutes, 1) == make_plan(minutes, 1)
    assert make_plan(minutes, 1) != make_plan(minutes, 2)


@LENGTHS
def test_a_plan_fulfils_its_quotas(minutes: float) -> None:
    """Else a run could end green without having done what makes it count."""
    least, found = quotas(minutes), counts(make_plan(minutes, 7))

    assert sum(found[kind] for kind in KILLS) >= least.kills
    assert sum(found[kind] for kind in PAUSES) >= least.pauses
    assert sum(found[kind] for kind in BROKER_STARTS) >= least.broker_starts
    assert found[FaultKind.BROKER_KILL] >= 1
    assert sum(found[kind] for kind in MEMBERSHIP) >= 4


def test_an_hour_is_what_the_promise_asks_for() -> None:
    """200 kills, 20 pauses, 10 broker kills or restarts, 50 rebalances; the short run at least some of each."""
    hour, short = quotas(60), quotas(3)

    assert (hour.kills, hour.pauses, hour.broker_starts, hour.rebalances) == (200, 20, 10, 50)
    assert (short.kills, short.pauses, short.broker_starts, short.rebalances) == (10, 2, 1, 5)


def test_a_broker_is_killed_and_restarted_and_stopped_for_a_while_in_an_hour() -> None:
    """A pause is no restart: a broker that goes on where it was reads nothing back from its disk."""
    found = counts(make_plan(60, 7))

    assert found[FaultKind.BROKER_KILL] >= 6
    assert found[FaultKind.BROKER_RESTART] >= 6
    assert found[FaultKind.BROKER_PAUSE] >= 4


@pytest.mark.parametrize("seed", range(20))
def test_a_short_run_damages_snapshots_in_a_way_that_needs_no_earlier_damage(seed: int) -> None:
    """An older snapshot is there only once one was kept: as the only kind of a run it would be none."""
    kinds = [fault.detail for fault in make_plan(3, seed) if fault.kind is FaultKind.TORN_FILES]

    assert kinds
    assert kinds[0] != "an older one's"


@LENGTHS
def test_every_failpoint_is_in_every_plan(minutes: float) -> None:
    """Each is a place where a careless commit path would lose or double something."""
    points = {fault.detail for fault in make_plan(minutes, 3) if fault.kind is FaultKind.FAILPOINT}

    assert points == set(Failpoint)


@pytest.mark.parametrize("seed", range(20))
def test_workers_come_and_go_between_one_and_four(seed: int) -> None:
    """No fault may ask for a worker to leave when it is the last, and each number of workers is reached."""
    workers, seen = WORKERS_AT_START, set()
    for fault in make_plan(60, seed):
        workers += {FaultKind.ADD: 1, FaultKind.REMOVE: -1}.get(fault.kind, 0)
        seen.add(workers)

    assert seen == set(range(1, WORKERS_MAX + 1))


@pytest.mark.parametrize("minutes", [3.0, 60.0])
def test_records_that_end_the_process_come_where_few_workers_are(minutes: float) -> None:
    """Each worker that meets one has to die of it three times; with four the recovery would take minutes."""
    workers, met = WORKERS_AT_START, 0
    for fault in make_plan(minutes, 5):
        workers += {FaultKind.ADD: 1, FaultKind.REMOVE: -1}.get(fault.kind, 0)
        if fault.kind is FaultKind.CRASH_RECORD:
            met += 1
            assert workers <= WORKERS_AT_START

    assert met == math.ceil(minutes / 6)


def test_every_control_has_its_faults() -> None:
    """A control without a plan could not be run."""
    assert CONTROL_PLANS.keys() == CONTROLS.keys()
