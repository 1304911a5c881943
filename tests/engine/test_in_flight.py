"""A round is decided while the one before is being committed, and nothing of it is written before that is certain."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import pytest

from services.engine import coordinator, proving
from services.engine.log import LogError, OutgoingRecord, TopicPartition
from services.engine.member import Polled, Rebalance
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
from tests.support.engine_stages import PARTITIONS, counting, half, joining, said


@pytest.fixture(autouse=True)
def no_ticks(short_waits: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here nothing but records is to come, if the test does not say so."""
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


@pytest.mark.parametrize("fault", [None, ABORT, UNKNOWN, UNKNOWN_BUT_DONE])
async def test_each_of_many_rounds_rests_on_the_one_before_it_and_on_no_other(fault: str | None) -> None:
    """Under load no round ever finds the tables up to date: what was below the last one must be read from them."""
    log, decided = FaultyLog(), Decided()
    first = Held(log, FIRST)
    worker = start_worker(log, counting(), deliver=decided)
    await until(log, lambda: worker.coordinator.ready, worker)
    if fault is not None:
        log.faults["commit", FIRST + 1] = fault
    log.send([said("a", 1)])
    await until(log, first.reached, worker)
    log.send([said("a", 2)])
    await until(log, decided.has("said", 1), worker)
    second = Held(log, FIRST + 1)
    first.release()
    await until(log, second.reached, worker)
    log.send([said("a", 3)])
    await until(log, decided.has("said", 2), worker)
    assert count(log, "counted") == 1, "the second round was decided on the first, and the third on the second"
    second.release()
    await until(log, lambda: count(log, "counted") == 3, worker)
    await worker.end()
    check_counting(log)
    assert not log.faults


async def test_what_is_due_is_decided_above_the_transaction_on_its_way() -> None:
    """It comes every second: were it to wait for the log, so would the interpreter, for a fifth of all time."""
    due: list[bool] = []

    def deliver(batch: Batch) -> None:
        if batch.is_on_time_asked:
            due.append(batch.overlay.is_settled)
        batch.process()

    log = FaultyLog()
    held = Held(log, FIRST)
    worker = start_worker(log, counting(), deliver=deliver)
    await until(log, lambda: worker.coordinator.ready, worker)
    log.send([said("a", 1)])
    await until(log, held.reached, worker)
    due.clear()
    worker.coordinator._next_tick = 0.0
    worker.coordinator._inbox.put_nowait(coordinator.WAKE_UP)
    await until(log, lambda: len(due) == PARTITIONS, worker)
    assert due.count(False) == 1, "the partition of the transaction on its way, and no other, has something below"
    held.release()
    await until(log, lambda: count(log, "counted") == 1, worker)
    await worker.end()
    check_counting(log)


async def test_a_proof_that_is_due_has_the_transaction_on_its_way_land(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under load there is always one: an idle partition would be proved never, and readiness would be a memory."""
    log = FaultyLog()
    held = Held(log, FIRST)
    worker = start_worker(log, counting())
    await until(log, lambda: worker.coordinator.ready, worker)
    log.send([said("a", 1)])
    await until(log, held.reached, worker)
    monkeypatch.setattr(proving, "PROVE_SECONDS", 0.0)
    landings: list[int] = []
    land = worker.coordinator._in_flight.land

    async def noted() -> bool:
        landings.append(log.begun)
        return await land()

    monkeypatch.setattr(worker.coordinator._in_flight, "land", noted)
    worker.coordinator._next_tick = 0.0
    worker.coordinator._inbox.put_nowait(coordinator.WAKE_UP)
    await until(log, lambda: bool(landings), worker)
    held.release()
    await until(log, lambda: log.begun > FIRST, worker)
    await worker.end()


async def test_no_proof_is_made_beside_the_transaction_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first record after a long silence is on its way: a proof would take its offset back."""
    log, decided = FaultyLog(), Decided()
    held = Held(log, FIRST)
    worker = start_worker(log, counting(), deliver=decided)
    await until(log, lambda: worker.coordinator.ready, worker)
    log.send([said("a", 1)])
    await until(log, held.reached, worker)
    monkeypatch.setattr(proving, "PROVE_SECONDS", 0.0)
    log.send([said("a", 2)])
    await until(log, decided.has("said", 1), worker)
    held.release()
    await until(log, lambda: count(log, "counted") == 2, worker)
    await worker.end()
    (place,) = {TopicPartition("said", record.partition) for record in committed(log, "said")}
    assert log.group("posttrade.counting").committed[place] == 2
    check_counting(log)


async def test_what_is_on_its_way_is_not_taken_for_done() -> None:
    """A proof would commit the offset behind it, and should it then be aborted, nobody would read it again."""
    log = FaultyLog()
    held = Held(log, FIRST)
    worker = start_worker(log, counting())
    await until(log, lambda: worker.coordinator.ready, worker)
    (member,) = worker.coordinator._members
    assert member.consumer is not None
    log.send([said("a", 1)])
    await until(log, held.reached, worker)
    worker.coordinator._next_tick = 0.0  # so that the outcome is waited for
    worker.coordinator._inbox.put_nowait(coordinator.WAKE_UP)
    await until(log, worker.coordinator._inbox.empty, worker)
    polls = itertools.count()
    poll_once = member._poll_once

    def counted(timeout_seconds: float) -> tuple[Polled | None, bool]:
        next(polls)
        return poll_once(timeout_seconds)

    member._poll_once = counted  # type: ignore[method-assign]
    await until(log, lambda: next(polls) > 20, worker)
    (place,) = {TopicPartition("said", record.partition) for record in committed(log, "said")}
    assert member.settled.get(place, 0) == 0
    held.release()
    await until(log, lambda: member.settled.get(place) == 1, worker)
    await worker.end()
    check_counting(log)


async def test_while_one_batch_is_made_durable_one_more_is_fetched_and_no_third() -> None:
    """A commit that takes long must not fill the memory with what cannot be decided yet."""
    log, decided = FaultyLog(), Decided()
    held = Held(log, FIRST)
    worker = start_worker(log, counting(), deliver=decided)
    await until(log, lambda: worker.coordinator.ready, worker)
    (member,) = worker.coordinator._members
    member.records_max = 1
    member.adapt = lambda records, seconds: None  # type: ignore[method-assign]
    open_at_most = 0
    fetched: list[Polled] = []
    post = member._post

    def noted(item: object) -> None:
        nonlocal open_at_most
        if isinstance(item, Polled):
            fetched.append(item)
            open_at_most = max(open_at_most, sum(not polled.durable.is_set() for polled in fetched))
        post(item)

    member._post = noted
    log.send([said("a", 0)])  # taken by the poll under way, which asks for more than one
    await until(log, held.reached, worker)
    log.send(said("a", number) for number in range(1, 10))
    await until(log, decided.has("said", 1), worker)
    held.release()
    await until(log, lambda: count(log, "counted") == 10, worker)
    await worker.end()
    assert open_at_most == 2
    check_counting(log)


async def test_more_is_fetched_as_soon_as_a_commit_is_certain_however_long_the_round_under_way_takes() -> None:
    """Deciding takes longer than a commit: fetched only when it ends, the next batch would come when nobody works."""
    log, decided = FaultyLog(), Decided()
    slow: list[Batch] = []

    def deliver(batch: Batch) -> None:
        if any(record.offset == 1 for record in batch.records):
            slow.append(batch)
        else:
            decided(batch)

    held = Held(log, FIRST)
    worker = start_worker(log, counting(), deliver=deliver)
    await until(log, lambda: worker.coordinator.ready, worker)
    log.send([said("a", 1)])
    await until(log, held.reached, worker)
    log.send([said("a", 2)])
    await until(log, lambda: bool(slow), worker)
    fetched: list[int] = []
    (member,) = worker.coordinator._members
    post = member._post

    def noted(item: object) -> None:
        if isinstance(item, Polled):
            fetched.extend(record.offset for record in item.records)
        post(item)

    member._post = noted
    log.send([said("a", 3)])
    held.release()
    await until(log, lambda: len(fetched) == 1, worker)
    assert count(log, "counted") == 1, "nothing of the round under way is written"
    decided(slow.pop())
    await until(log, lambda: count(log, "counted") == 3, worker)
    await worker.end()
    check_counting(log)


async def test_a_record_waits_behind_one_whose_putting_aside_is_on_its_way() -> None:
    """It would overtake: that its key is held is not in the tables yet."""
    log, decided = FaultyLog(), Decided()
    held = Held(log, FIRST)
    worker = start_worker(log, counting(), deliver=decided)
    await until(log, lambda: worker.coordinator.ready, worker)
    log.send([OutgoingRecord("said", b"a", b"not what was agreed")])
    await until(log, held.reached, worker)
    log.send([said("a", 2)])
    await until(log, decided.has("said", 1), worker)
    held.release()
    await until(log, lambda: count(log, "dead-letters") + count(log, "counted") == 2, worker)
    await worker.end()
    classes = [dict(letter.headers)["err.class"] for letter in committed(log, "dead-letters")]
    assert classes == [b"DECODE", b"PARKED"]


async def test_the_time_of_a_round_goes_on_while_a_transaction_is_on_its_way_and_ends_when_it_lands() -> None:
    """A commit that hangs makes the worker not ready; one always on its way, as under load, does not."""
    log, decided = FaultyLog(), Decided()
    first = Held(log, FIRST)
    worker = start_worker(log, counting(), deliver=decided)
    await until(log, lambda: worker.coordinator.ready, worker)
    log.send([said("a", 1)])
    await until(log, first.reached, worker)
    pulse = worker.coordinator._pulse
    began_at = pulse._round_began_at
    log.send([said("a", 2)])
    await until(log, decided.has("said", 1), worker)
    assert pulse._round_began_at == began_at
    second = Held(log, FIRST + 1)
    first.release()
    await until(log, second.reached, worker)
    assert pulse._round_began_at > began_at
    second.release()
    await worker.end()


async def test_a_rebalance_waits_for_the_transaction_on_its_way() -> None:
    """The group would go on without it, and refuse the offsets that are still to be sent."""
    log = FaultyLog()
    held = Held(log, FIRST)
    worker = start_worker(log, counting())
    await until(log, lambda: worker.coordinator.ready, worker)
    (member,) = worker.coordinator._members
    taken_beside_one: list[bool] = []
    take = member.take

    def noted(rebalance: Rebalance) -> list[int]:
        taken_beside_one.append(bool(worker.coordinator._in_flight))
        return take(rebalance)

    member.take = noted  # type: ignore[method-assign]
    log.send([said("key-0", 0)])  # one poll: a second one would be waited for before the group is heard of again
    await until(log, held.reached, worker)
    other = start_worker(log, counting(), slot=1)
    await until(log, lambda: bool(member._untaken or taken_beside_one), worker, other)
    log.send(said(f"key-{number % 8}", number) for number in range(1, 80))
    held.release()
    await until(log, lambda: count(log, "counted") == 80, worker, other)
    await until(log, lambda: worker.coordinator.ready and other.coordinator.ready, worker, other)
    await worker.end()
    await other.end()
    assert taken_beside_one
    assert not any(taken_beside_one), "it gave away, or took, a partition of which a transaction was on its way"
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


async def test_who_ends_because_of_something_else_sees_the_transaction_out_before_leaving_the_group() -> None:
    """Whoever takes the partitions up would wait for it, and refuse what of it is still to be sent."""

    def deliver(batch: Batch) -> None:
        if any(record.offset == 1 for record in batch.records):
            batch.failure = LogError("the agent broke")
            batch.finished.set()
        else:
            batch.process()

    log = FaultyLog()
    held = Held(log, FIRST)
    worker = start_worker(log, counting(), deliver=deliver)
    await until(log, lambda: worker.coordinator.ready, worker)
    (member,) = worker.coordinator._members
    counted_before_leaving: list[int] = []
    leave = member.leave

    async def noted() -> None:
        counted_before_leaving.append(count(log, "counted"))
        await leave()

    member.leave = noted  # type: ignore[method-assign]
    log.send([said("a", 1)])
    await until(log, held.reached, worker)
    log.send([said("a", 2)])
    await until(log, lambda: worker.coordinator._stopping, worker)
    held.release()
    assert str(await worker.failed()) == "the agent broke"
    assert counted_before_leaving == [1]
    assert log.group(member.group).committed[TopicPartition("said", committed(log, "said")[0].partition)] == 1
