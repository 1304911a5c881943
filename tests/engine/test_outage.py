"""A log that is away: it ends no worker, puts no record aside, and is told of in few words."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterable, Mapping

import pytest
import structlog

from services.adapters.memory_log import MemoryGroupConsumer
from services.adapters.memory_reader import MemoryReader
from services.engine import outage
from services.engine.log import LogError, RebalanceListener, TopicPartition, TransactionalProducer, Unavailable
from services.engine.outage import NotAwaited, Patience
from services.engine.runtime import SystemRuntime
from tests.engine.harness import UNKNOWN, FaultyLog, check_counting, count, running, start_worker, until
from tests.support.engine_stages import counting, said


class Clock(SystemRuntime):
    """Moves only while somebody sleeps, and notes for how long."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sleeps: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.sleeps.append(seconds)


def _away_until(clock: Clock, seconds: float) -> str:
    if clock.now < seconds:
        raise Unavailable("no broker answers")
    return "answer"


def test_a_question_is_asked_until_it_is_answered_and_said_every_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A night of outage is a page of log, not a gigabyte; an operator sees what waits and for how long."""
    monkeypatch.setattr(outage, "PAUSE_SECONDS_MIN", 0.1)
    monkeypatch.setattr(outage, "PAUSE_SECONDS_MAX", 2.0)
    clock = Clock()
    patience = Patience(clock, lambda: False)
    with structlog.testing.capture_logs() as lines:
        assert patience.ask("offsets of x", lambda: _away_until(clock, 60.0)) == "answer"
    waiting = [line for line in lines if line["event"] == "waiting for the log"]
    assert 5 <= len(waiting) <= 7
    assert {line["what"] for line in waiting} == {"offsets of x"}
    assert waiting[0]["seconds"] == 0.0
    assert waiting[-1]["seconds"] >= 48
    assert lines[-1]["event"] == "the log answers again"
    assert patience.waits_for == []


def test_the_pauses_grow_to_two_seconds_and_a_stop_is_noticed_within_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that comes back must not meet a storm; a worker that stops must not sleep on."""
    monkeypatch.setattr(outage, "PAUSE_SECONDS_MIN", 0.1)
    monkeypatch.setattr(outage, "PAUSE_SECONDS_MAX", 2.0)
    clock = Clock()
    asked: list[float] = []

    def question() -> None:
        asked.append(clock.now)
        raise Unavailable("no broker answers")

    with pytest.raises(NotAwaited):
        Patience(clock, lambda: clock.now > 30.0).ask("x", question)
    pauses = [later - earlier for earlier, later in itertools.pairwise(asked)]
    assert pauses[:4] == pytest.approx([0.1, 0.2, 0.4, 0.8])
    assert max(pauses) == pytest.approx(2.0)
    assert clock.now < 30.3
    assert max(clock.sleeps) <= 0.1


def test_what_waiting_does_not_mend_is_raised_at_once() -> None:
    """A missing right must be said, not waited for."""

    def refuse() -> None:
        raise LogError("not authorised")

    with pytest.raises(LogError, match="not authorised"):
        Patience(Clock(), lambda: False).ask("x", refuse)


def test_nobody_is_asked_when_the_answer_is_of_no_use() -> None:
    """A restore whose partitions were taken away."""
    with pytest.raises(NotAwaited):
        Patience(Clock(), lambda: False).ask("x", lambda: "answer", is_over=lambda: True)


class AwayLog(FaultyLog):
    """Answers no question while `away` is set; polling and an open transaction go on, so that each test has its way."""

    def __init__(self, faults: Mapping[tuple[str, int], str] | None = None) -> None:
        super().__init__(faults)
        self.away = threading.Event()
        self.asked: set[str] = set()

    def _check(self, what: str) -> None:
        inside = self.changed._is_owned()  # type: ignore[attr-defined]  # the log's own doings, under its lock
        if self.away.is_set() and not inside:
            self.asked.add(what)
            raise Unavailable("no broker answers")

    def producer(self, transactional_id: str) -> TransactionalProducer:  # type: ignore[override]  # a wrapper
        self._check("producer")
        return super().producer(transactional_id)

    def reader(self, offsets: Mapping[TopicPartition, int]) -> MemoryReader:
        self._check("reader")
        return super().reader(offsets)

    def partitions(self, topic: str) -> int:
        self._check("partitions")
        return super().partitions(topic)

    def end_offsets(self, partitions: Iterable[TopicPartition], *, committed_only: bool) -> dict[TopicPartition, int]:
        self._check("end_offsets")
        return super().end_offsets(partitions, committed_only=committed_only)

    def start_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        self._check("start_offsets")
        return super().start_offsets(partitions)

    def consumer(self, group: str, topics: Iterable[str], listener: RebalanceListener) -> MemoryGroupConsumer:
        consumer = super().consumer(group, tuple(topics), listener)
        committed = consumer.committed

        def ask(partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int | None]:
            self._check("committed")
            return committed(partitions)

        consumer.committed = ask  # type: ignore[method-assign]
        return consumer


async def _turns(worker_turned_at: list[float], read: object) -> None:
    """Wait until the loop has turned twice more."""
    assert callable(read)
    for _ in range(2):
        before = read()
        while read() == before:
            await asyncio.sleep(0.005)
        worker_turned_at.append(read())


async def test_a_worker_that_starts_in_an_outage_waits_and_then_works() -> None:
    """A whole installation that comes up after a power cut must not need a certain order."""
    log = AwayLog()
    log.send(said(f"key-{n % 5}", n) for n in range(20))
    log.away.set()
    async with running(log, counting()) as worker:
        turned: list[float] = []
        await asyncio.wait_for(_turns(turned, lambda: worker.coordinator.turned_at), 10)
        assert not worker.coordinator.ready
        log.away.clear()
        await until(log, lambda: count(log, "counted") >= 20 and worker.coordinator.ready, worker)
    check_counting(log)


async def test_a_commit_in_doubt_during_an_outage_waits_live_but_not_ready_and_loses_nothing() -> None:
    """The producer, the offsets and the state are all asked for again; the liveness probe must not restart anything."""
    log = AwayLog()
    async with running(log, counting()) as worker:
        await until(log, lambda: worker.coordinator.ready, worker)
        log.faults = {("commit", log.begun + 1): UNKNOWN}
        log.away.set()
        log.send(said(f"key-{n % 5}", n) for n in range(40))
        await until(log, lambda: "producer" in log.asked and not worker.coordinator.ready, worker)
        turned: list[float] = []
        await asyncio.wait_for(_turns(turned, lambda: worker.coordinator.turned_at), 10)
        with log.changed:
            assert count(log, "counted") == 0
        log.away.clear()
        await until(log, lambda: count(log, "counted") >= 40 and worker.coordinator.ready, worker)
        found = worker.metrics.registry.get_sample_value
        assert found("posttrade_producer_recreations_total", {"reason": "unknown"}) == 1
    assert count(log, "dead-letters") == 0
    check_counting(log)


async def test_a_restore_during_an_outage_begins_anew() -> None:
    """Partitions that come while the log is away are processed once it is back."""
    log = AwayLog()
    log.send(said(f"key-{n % 5}", n) for n in range(20))
    async with running(log, counting()) as first:
        await until(log, lambda: count(log, "counted") >= 20, first)
        second = start_worker(log, counting(), slot=1)
        await until(log, lambda: second.coordinator.ready, first, second)
        log.away.set()
        leaving = asyncio.create_task(second.end())
        await until(log, lambda: {"committed"} <= log.asked, first)
        await leaving
        log.send(said(f"key-{n % 5}", n) for n in range(20, 60))
        log.away.clear()
        await until(log, lambda: count(log, "counted") >= 60, first)
    check_counting(log)


@pytest.mark.parametrize("phase", ["start", "commit"])
async def test_a_stop_during_an_outage_ends_within_seconds_and_without_an_error(phase: str) -> None:
    """A deployment in the middle of an outage must not hang; what was not committed is still there."""
    log = AwayLog()
    log.send(said(f"key-{n % 5}", n) for n in range(20))
    if phase == "start":
        log.away.set()
        worker = start_worker(log, counting())
        await until(log, lambda: bool(log.asked), worker)
    else:
        worker = start_worker(log, counting())
        await until(log, lambda: count(log, "counted") >= 20, worker)
        log.faults = {("commit", log.begun + 1): UNKNOWN}
        log.away.set()
        log.send(said(f"key-{n % 5}", n) for n in range(20, 40))
        await until(log, lambda: "producer" in log.asked, worker)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await worker.end()
    assert loop.time() - began < 5
    log.away.clear()
    sent = 20 if phase == "start" else 40
    async with running(log, counting()) as successor:  # of the same slot: it aborts what was left open
        await until(log, lambda: count(log, "counted") >= sent, successor)
    check_counting(log)
