"""What is asked of the simulation's own liars and clerks: they do the harm, and the work, that they are there for."""

from __future__ import annotations

import random

from services.engine.log import LogRecord, TopicPartition
from services.engine.repair import repairs_topic
from services.pipeline import SERVICES
from tests.sim.amnesia import Amnesia
from tests.sim.options import Options, derive, override
from tests.sim.run import Pipeline, Simulation, surroundings

GROUP = "posttrade.capture"
PLACES = [TopicPartition("trades", number) for number in range(2)]


def test_a_coordinator_that_has_forgotten_knows_less_and_then_all() -> None:
    """Each answer is one that was right once, or none at all; else the fault would be one that no broker has."""
    seen: set[tuple[int | None, ...]] = set()
    for seed in range(200):
        amnesia = Amnesia(random.Random(seed))
        for offset in range(4):
            amnesia.committed(GROUP, dict.fromkeys(PLACES, offset))
        reading = amnesia.begin(GROUP)
        told = amnesia.told(GROUP, PLACES)
        assert told is not None
        amnesia.read_on(GROUP, reading)
        later = amnesia.told(GROUP, PLACES)
        assert later is not None
        seen.add((told[PLACES[0]], later[PLACES[0]]))
        amnesia.end(GROUP, reading)
        assert amnesia.told(GROUP, PLACES) is None

    steps = {(-1 if first is None else first, -1 if then is None else then) for first, then in seen}
    assert all(first <= then for first, then in steps)
    assert {first for first, _ in steps} == {-1, 0, 1, 2, 3}


def test_what_is_committed_meanwhile_is_known_at_once() -> None:
    """A coordinator takes commits while it has forgotten, and they are the newest it knows."""
    amnesia = Amnesia(random.Random(1))
    amnesia.committed(GROUP, dict.fromkeys(PLACES, 5))
    reading = amnesia.begin(GROUP)
    reading.oldest = 0
    amnesia.committed(GROUP, {PLACES[0]: 2})

    assert amnesia.told(GROUP, PLACES) == {PLACES[0]: 2, PLACES[1]: None}


def test_who_has_forgotten_twice_remembers_only_after_the_second_time() -> None:
    """The end of one reading must not be taken for the end of the next: that is the very bug of the broker."""
    amnesia = Amnesia(random.Random(1))
    first, second = amnesia.begin(GROUP), amnesia.begin(GROUP)
    amnesia.end(GROUP, first)

    assert amnesia.lasts
    amnesia.end(GROUP, second)
    assert not amnesia.lasts


def test_clerks_decide_twice_and_differently_about_the_same_letter() -> None:
    """The service has to stand two people who do not ask each other; so they must be there."""
    actions: dict[tuple[bytes | None, int], set[bytes | None]] = {}
    ids: list[tuple[bytes | None, int]] = []
    world = Pipeline()
    with surroundings():
        for seed in range(12):
            simulation = Simulation(override(derive(seed), chokes=3, repairs=15), world)
            assert not simulation.go().breaks
            for record in _repairs(simulation):
                headers = dict(record.headers)
                actions.setdefault((headers["repair.of"], seed), set()).add(headers["repair.action"])
                ids.append((headers["repair.id"], seed))

    assert max(map(len, actions.values())) == 2
    assert len(ids) > len(set(ids)), "some are written twice"


def test_in_the_end_nothing_waits_where_somebody_tidies_up() -> None:
    """Then the flows' own promise can be asked for, although stages raised on their way."""
    world = Pipeline()
    promised = 0
    with surroundings():
        for seed in range(8):
            options = Options(seed=seed, chokes=3, tidies=True, work_seconds=3.0)
            simulation = Simulation(options, world)
            assert not simulation.go().breaks
            open_rows = world.workload.marks.broken or [case for case in world.clerks.cases() if case.is_open]
            assert not open_rows
            promised += bool(world.workload.marks.raised and world.workload.promised_instructions(()))

    assert promised >= 3


def _repairs(simulation: Simulation) -> list[LogRecord]:
    topics = [repairs_topic(service.name) for service in SERVICES]
    return [record for topic in topics for record in simulation.broker.committed_records(topic)]
