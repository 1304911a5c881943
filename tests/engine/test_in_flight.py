"""A round is decided while the one before is being committed, and nothing of it is written before that is certain."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from services.engine import coordinator
from services.engine.log import TopicPartition
from services.engine.state import Progress
from services.engine.work import Batch
from tests.engine.harness import (
    ABORT,
    UNKNOWN,
    UNKNOWN_BUT_DONE,
    FaultyLog,
    check_counting,
    check_joining,
    committed,
    count,
    start_worker,
    until,
)
from tests.support.engine_stages import counting, half, joining, said


@pytest.fixture(autouse=True)
def no_ticks(short_waits: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What time makes due waits for the transaction on its way; here nothing but records is to come."""
    monkeypatch.setattr(coordinator, "TICK_SECONDS", 3_600.0)


FIRST = 2
"""The first transaction with records: the one before proves the ownership."""


class Decided:
    """Notes what is decided, and tells when a batch with a certain record was."""

    def __init__(self) -> None:
        self.offsets: list[TopicPartition] = []

    def __call__(self, batch: Batch) -> None:
        batch.process()
        self.offsets += [TopicPartition(record.topic, record.offset) for record in batch.records]

    def has(self, topic: str, offset: int) -> Callable[[], bool]:
        return lambda: TopicPartition(topic, offset) in self.offsets


class Held:
    """Holds the commit of one transaction until it is released."""

    def __init__(self, log: FaultyLog, number: int, step: str = "commit") -> None:
        self._reached, self._released = threading.Event(), threading.Event()
        self._place = step, number
        self.reached = self._reached.is_set
        self.release = self._released.set
        log.hook = self

    def __call__(self, step: str, number: int) -> None:
        if (step, number) == self._place:
            self._reached.set()
            assert self._released.wait(20), "nobody released the commit"


@pytest.mark.parametrize("fault", [None, ABORT, UNKNOWN, UNKNOWN_BUT_DONE])
async def test_what_is_decided_meanwhile_waits_for_the_commit_and_falls_with_it(fault: str | None) -> None:
    """The gain is the overlap; the danger is an output that rests on state which never came about."""
    log, decided = FaultyLog(), Decided()
    held = Held(log, FIRST)
    worker = start_worker(log, counting(), deliver=decided)
    await until(log, lambda: worker.coordinator.ready, worker)
    if fault is not None:
        log.faults["commit", FIRST] = fault
    log.send([said("a", 1)])
    await until(log, held.reached, worker)
    log.send([said("a", 2)])
    await until(log, decided.has("said", 1), worker)
    assert log.begun == FIRST, "the second round began a transaction before the first was certain"
    assert count(log, "counted") == 0
    held.release()
    await until(log, lambda: count(log, "counted") == 2, worker)
    await worker.end()
    check_counting(log)
    assert not log.faults


@pytest.mark.parametrize("fault", [None, ABORT, UNKNOWN, UNKNOWN_BUT_DONE])
async def test_an_input_that_the_next_round_does_not_have_keeps_the_offset_of_the_last(fault: str | None) -> None:
    """A round writes an offset for every input of its partition: none may say what was true before the last commit."""
    log, decided = FaultyLog(), Decided()
    held = Held(log, FIRST)
    worker = start_worker(log, joining(), deliver=decided)
    await until(log, lambda: worker.coordinator.ready, worker)
    if fault is not None:
        log.faults["commit", FIRST] = fault
    left, right = half("left", "pair"), half("right", "pair")
    log.send([left])
    await until(log, held.reached, worker)
    log.send([right])
    await until(log, decided.has("right", 0), worker)
    held.release()
    await until(log, lambda: count(log, "joined") == 1, worker)
    (member,) = worker.coordinator._members
    (number,) = {record.partition for topic in ("left", "right") for record in committed(log, topic)}
    expected = Progress(offsets={"left": 1, "right": 1})
    await until(log, lambda: member.tables[number].rows[Progress].get(str(number)) == expected, worker)
    await worker.end()
    offsets = log.group(member.group).committed
    assert {offsets[TopicPartition(topic, number)] for topic in ("left", "right")} == {1}
    check_joining(log)


async def test_a_rebalance_waits_for_the_transaction_on_its_way() -> None:
    """The new owner reads what was committed; what was decided above it is the new owner's to decide again."""
    log, decided = FaultyLog(), Decided()
    held = Held(log, FIRST)
    worker = start_worker(log, counting(), deliver=decided)
    await until(log, lambda: worker.coordinator.ready, worker)
    log.send(said(f"key-{number % 8}", number) for number in range(40))
    await until(log, held.reached, worker)
    log.send(said(f"key-{number % 8}", number) for number in range(40, 80))
    other = start_worker(log, counting(), slot=1)
    await until(log, lambda: len(decided.offsets) > 0, worker, other)
    held.release()
    await until(log, lambda: count(log, "counted") == 80, worker, other)
    await until(log, lambda: worker.coordinator.ready and other.coordinator.ready, worker, other)
    await worker.end()
    await other.end()
    check_counting(log)


async def test_a_stop_lands_the_transaction_and_drops_what_was_decided_above_it() -> None:
    """What is not committed is not lost: it was never taken."""
    log, decided = FaultyLog(), Decided()
    held = Held(log, FIRST)
    worker = start_worker(log, counting(), deliver=decided)
    await until(log, lambda: worker.coordinator.ready, worker)
    log.send([said("a", 1)])
    await until(log, held.reached, worker)
    log.send([said("a", 2)])
    await until(log, decided.has("said", 1), worker)
    worker.coordinator._stopping = True
    held.release()
    await worker.end()
    assert count(log, "counted") in (1, 2)
    next_worker = start_worker(log, counting(), slot=1)
    await until(log, lambda: count(log, "counted") == 2, next_worker)
    await next_worker.end()
    check_counting(log)
