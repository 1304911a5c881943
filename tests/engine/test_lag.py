"""Lag tells what is not committed, in records and in seconds, also while a worker recovers."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.adapters.memory_log import MemoryLog
from services.adapters.memory_reader import MemoryReader
from services.engine import lag
from services.engine.assignments import Assignments
from services.engine.lag import Arrivals
from services.engine.log import Log, LogError, LogRecord, OutgoingRecord, TopicPartition
from services.engine.member import Member
from services.engine.metrics import Metrics
from services.engine.runtime import SYSTEM
from tests.engine.harness import FaultyLog, Worker, committed, count, running, until
from tests.support.engine_stages import counting, said

LOOK_US = 2_000_000


def say(log: FaultyLog, start: int, stop: int) -> None:
    """Numbers from start to stop, dealt out to six keys."""
    log.send(said(f"key-{number % 6}", number) for number in range(start, stop))


def records_behind(worker: Worker) -> float | None:
    """What the worker says."""
    labels = {"service": "counting", "topic": "said"}
    return worker.metrics.registry.get_sample_value("posttrade_lag_records", labels)


def unstable(worker: Worker) -> float | None:
    """What the worker says."""
    labels = {"service": "counting", "topic": "said"}
    return worker.metrics.registry.get_sample_value("posttrade_lag_unstable_records", labels)


def seconds_behind(worker: Worker) -> float:
    """What the worker says."""
    labels = {"service": "counting", "topic": "said"}
    return worker.metrics.registry.get_sample_value("posttrade_lag_seconds", labels) or 0.0


class HeldLog(FaultyLog):
    """A log whose commits, or reads of the changelog, wait for a gate."""

    def __init__(self, step: str) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.held = threading.Event()
        self._step = step
        self.hook = self._hold

    def _hold(self, step: str, _number: int) -> None:
        if step == self._step and not self.gate.is_set():
            self.held.set()
            assert self.gate.wait(20)

    def reader(self, offsets: Mapping[TopicPartition, int]) -> MemoryReader:
        if any(partition.topic.startswith("state.") for partition in offsets):
            self._hold("reader", 0)
        return super().reader(offsets)


async def test_a_record_is_behind_until_it_is_committed_however_far_it_was_fetched() -> None:
    """A worker whose commits hang has fetched everything; a lag of 0 would call that healthy."""
    log = HeldLog("commit")
    async with running(log, counting()) as worker:
        await until(log, lambda: records_behind(worker) == 0, worker)
        say(log, 0, 50)
        await until(log, log.held.is_set, worker)
        await until(log, lambda: records_behind(worker) == 50, worker)
        earlier = seconds_behind(worker)
        await until(log, lambda: seconds_behind(worker) > earlier + 0.1, worker)
        log.gate.set()
        await until(log, lambda: (records_behind(worker), seconds_behind(worker)) == (0, 0), worker)
    assert count(log, "counted") == 50


async def test_what_is_never_delivered_is_not_behind() -> None:
    """Offsets without a record, of markers and aborted transactions, may lie at the end: lag comes to 0 still."""
    log = FaultyLog()
    log.send([said("key", 0)])
    producer = log.producer("sender")
    producer.begin()
    producer.produce([said("key", 1), said("key", 2)])
    producer.abort()
    (record,) = committed(log, "said")
    end = log.end_offsets([TopicPartition("said", record.partition)], committed_only=True)
    assert set(end.values()) == {record.offset + 3}
    async with running(log, counting()) as worker:
        await until(log, lambda: count(log, "counted") == 1, worker)
        await until(log, lambda: (records_behind(worker), seconds_behind(worker)) == (0, 0), worker)


async def test_records_behind_a_transaction_that_hangs_are_told() -> None:
    """They are not behind for a reader of what is committed: lag is 0 and all looks well, for as long as it hangs."""
    log = FaultyLog()
    async with running(log, counting()) as worker:
        await until(log, lambda: worker.coordinator.ready and records_behind(worker) == 0, worker)
        assert unstable(worker) == 0
        hanging = log.producer("hanging")
        hanging.begin()
        hanging.produce([OutgoingRecord("said", b"key-0", b"1", (), 0)])
        log.send(OutgoingRecord("said", b"key-0", b"2", (), 0) for _ in range(20))
        await until(log, lambda: unstable(worker) == 21, worker)
        assert records_behind(worker) == 0
        assert worker.coordinator.ready
        hanging.abort()
        await until(log, lambda: (unstable(worker), records_behind(worker)) == (0, 0), worker)


def test_what_is_committed_between_two_looks_does_not_seem_to_hang() -> None:
    """Asked for the other way round, records that came meanwhile would look as if a transaction were open."""
    log = MemoryLog({"said": 1})
    partition = TopicPartition("said", 0)
    asked: list[bool] = []

    class Moving:
        def end_offsets(self, partitions: Iterable[TopicPartition], *, committed_only: bool) -> Mapping[Any, int]:
            asked.append(committed_only)
            log.send([OutgoingRecord("said", b"k", b"v")])
            return log.end_offsets(partitions, committed_only=committed_only)

    highs, ends = lag._ends(cast(Log, Moving()), [partition])
    assert asked == [False, True]
    assert ends[partition] > highs[partition]


async def test_lag_does_not_vanish_while_state_is_restored() -> None:
    """A restore may take minutes; meanwhile nothing is processed, which is when lag matters most."""
    log = HeldLog("reader")
    log.gate.set()
    say(log, 0, 40)
    async with running(log, counting()) as worker:
        await until(log, lambda: count(log, "counted") == 40, worker)
    say(log, 40, 100)
    log.gate.clear()
    async with running(log, counting(), slot=1) as worker:
        await until(log, log.held.is_set, worker)
        await until(log, lambda: (records_behind(worker) or 0) >= 60, worker)
        assert (records_behind(worker) or 0) <= 60 + 8, "more than records and the markers of the first worker"
        log.gate.set()
        await until(log, lambda: records_behind(worker) == 0, worker)


async def test_the_age_of_what_lay_there_before_the_worker_is_read_in_the_log() -> None:
    """A worker that starts after an outage of an hour must say an hour, not how long it has been looking."""
    log = HeldLog("commit")
    say(log, 0, 10)
    hour_ms = 3_600_000
    with log.changed:
        for partition in log._topics["said"]:
            for offset, record in enumerate(partition.records):
                if isinstance(record, LogRecord):  # else the marker of a transaction
                    earlier_ms = record.timestamp_ms - hour_ms
                    partition.records[offset] = msgspec.structs.replace(record, timestamp_ms=earlier_ms)
    async with running(log, counting()) as worker:
        await until(log, lambda: 3600 <= seconds_behind(worker) < 3700, worker)
        log.gate.set()
        await until(log, lambda: (records_behind(worker), seconds_behind(worker)) == (0, 0), worker)


async def test_a_log_that_does_not_answer_costs_a_measurement_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Watching must not end the work that is watched."""
    log = FaultyLog()
    failures = iter(range(5))
    ask = log.end_offsets

    def fail_five_times(partitions: Iterable[TopicPartition], *, committed_only: bool) -> dict[TopicPartition, int]:
        if committed_only and next(failures, None) is not None:
            raise LogError("injected")
        return ask(partitions, committed_only=committed_only)

    monkeypatch.setattr(log, "end_offsets", fail_five_times)
    async with running(log, counting()) as worker:
        say(log, 0, 20)
        await until(log, lambda: next(failures, None) is None and records_behind(worker) == 0, worker)
        await until(log, lambda: count(log, "counted") == 20, worker)


@pytest.mark.parametrize("known_by", ["next_offsets", "restored_offsets"])
async def test_a_question_that_waits_for_our_own_transaction_is_given_up(known_by: str) -> None:
    """Asked just before a restore was done, it waits for the first commit, be it the one that proves the restore.

    Were that to hang, lag would hide it.
    """
    answered = threading.Event()
    partition = TopicPartition("said", 0)

    def committed_by_now(_partitions: object) -> dict[TopicPartition, int | None]:
        assert answered.wait(20)
        return {partition: 7}

    async def on_thread(function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.to_thread(function, *arguments)

    member = SimpleNamespace(
        stage=SimpleNamespace(name="counting"), consumer=SimpleNamespace(committed=committed_by_now), epoch=1,
        next_offsets=dict[TopicPartition, int](), restored_offsets=dict[TopicPartition, int](),
    )  # fmt: skip
    metrics = Metrics(version="test")
    meter = lag.LagMeter([], metrics, FaultyLog(), SYSTEM, on_thread, Assignments(metrics, SYSTEM, prefix=""))
    asking = asyncio.create_task(meter._committed(cast(Member, member), [partition]))
    await asyncio.sleep(0)
    getattr(member, known_by)[partition] = 5
    try:
        assert await asyncio.wait_for(asking, 10) == {}
    finally:
        answered.set()


@given(st.integers(0, 1000))
def test_an_age_is_never_told_too_young_and_at_most_one_look_too_old(seed: int) -> None:
    """An alert must not come late; that it may come a measurement early is the price of not reading every record."""
    draw = random.Random(seed)
    arrivals, came_us, done, now_us = Arrivals(), list[int](), 0, 0
    for look in range(60):
        came_us += sorted(draw.randrange(now_us, now_us + LOOK_US) for _ in range(draw.choice([0, 0, 3, 50])))
        now_us += LOOK_US
        done = draw.randint(done, len(came_us)) if look else 0
        told_us = arrivals.oldest_us(now_us, len(came_us), done)
        if done == len(came_us):
            assert told_us == now_us
        elif told_us is not None:
            assert came_us[done] - LOOK_US <= told_us <= came_us[done]


def test_hours_behind_need_no_more_memory_than_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backlog over a weekend must not make the meter itself a leak; ages stay on the safe side."""
    monkeypatch.setattr(lag, "_SEEN_MAX", 16)
    arrivals = Arrivals()
    arrivals.oldest_us(0, 0, 0)
    for look in range(1, 1000):
        arrivals.oldest_us(look * LOOK_US, look, 0)
        assert len(arrivals._seen) <= 17
    told_us = arrivals.oldest_us(1000 * LOOK_US, 1000, 700)
    assert told_us is not None
    assert told_us <= 700 * LOOK_US
