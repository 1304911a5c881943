"""A group that gives nothing back after a revoke is seen: not ready, said aloud, and its lag is not told as 0."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import cast

import pytest
import structlog

from services.adapters.kafka_timeouts import SESSION_TIMEOUT_MS
from services.adapters.memory_log import MemoryGroupConsumer
from services.engine import assignments, lag
from services.engine.assignments import ASSIGNMENT_SECONDS_MAX, SAY_SECONDS, Assignments
from services.engine.log import LogRecord, RebalanceListener, TopicPartition, Unavailable
from services.engine.metrics import Metrics
from services.engine.runtime import SystemRuntime
from tests.engine.harness import FaultyLog, Worker, check_counting, count, running, until
from tests.support.engine_stages import counting, said

WORDS = "the group gives this worker no assignment"


class Clock(SystemRuntime):
    """Stands still until it is told."""

    def __init__(self) -> None:
        self.now = 50.0

    def monotonic(self) -> float:
        return self.now


def _assignments(clock: Clock) -> tuple[Assignments, Metrics]:
    metrics = Metrics(version="test")
    metrics.register("counting", inputs=["said"], outputs=[], causes=[])
    return Assignments(metrics, clock, prefix="uat."), metrics


def _told(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"posttrade_{name}", {"service": "counting", **labels})


def test_the_wait_is_a_session_and_ten_seconds() -> None:
    """A member that died is waited for that long in every group that is well: a shorter wait would be a false alarm."""
    assert ASSIGNMENT_SECONDS_MAX == SESSION_TIMEOUT_MS / 1000 + 10


@pytest.mark.parametrize("joined", [False, True], ids=["at the start", "after a revoke"])
def test_a_service_without_an_assignment_is_told_of_every_ten_seconds(joined: bool) -> None:
    """Nothing fails in such a group: without these words nobody knows where to look."""
    clock = Clock()
    kept, metrics = _assignments(clock)
    kept.expect("counting", ["said"])
    if joined:
        kept.changed("counting", is_assigned=True)
        kept.changed("counting", is_assigned=False)
    seconds: list[float] = []
    with structlog.testing.capture_logs() as lines:
        for _ in range(100):
            clock.now += 0.5
            kept.changed("counting", is_assigned=False)  # lost once more: the time goes on
            kept.remind()
            seconds += [clock.now - 50.0] * (len(lines) - len(seconds))
    assert seconds == [22.0, 32.0, 42.0]
    assert SAY_SECONDS == 10.0
    for line in lines:
        assert line["log_level"] == "warning"
        assert line["event"].startswith(WORDS)
        assert "kafka-consumer-groups --describe" in line["event"]
        assert (line["service"], line["group"]) == ("counting", "uat.posttrade.counting"), "as the command needs it"
    assert [line["seconds"] for line in lines] == seconds
    assert _told(metrics, "unassigned_seconds") == 50.0


def test_an_empty_assignment_is_one() -> None:
    """Of more workers than partitions some have nothing to do, and are well."""
    clock = Clock()
    kept, metrics = _assignments(clock)
    kept.expect("counting", ["said"])
    assert kept.lacks("counting")
    kept.changed("counting", is_assigned=True)
    clock.now += 1000
    with structlog.testing.capture_logs() as lines:
        kept.remind()
    assert not kept.lacks("counting")
    assert not kept.hangs("counting")
    assert lines == []
    assert _told(metrics, "unassigned_seconds") == 0
    assert _told(metrics, "lag_records", topic="said") == 0, "nothing is owned, so nothing is behind"


def test_a_lag_of_before_is_not_told_on_and_comes_back_with_a_measurement() -> None:
    """The last lag of a service that has lost its partitions is 0 more often than not."""
    clock = Clock()
    kept, metrics = _assignments(clock)
    kept.expect("counting", ["said"])
    clock.now += ASSIGNMENT_SECONDS_MAX - 0.1
    kept.remind()
    assert _told(metrics, "lag_records", topic="said") == 0, "a rebalance that goes well is no gap on a dashboard"
    clock.now += 0.2
    for _ in range(2):
        kept.remind()
        assert [_told(metrics, name, topic="said") for name in ("lag_records", "lag_seconds")] == [None, None]
    metrics.lag.labels("counting", "said").set(7)
    clock.now += 30
    kept.remind()
    assert _told(metrics, "lag_records", topic="said") == 7, "what was measured meanwhile stands"
    kept.changed("counting", is_assigned=True)
    assert _told(metrics, "unassigned_seconds") == 0


class HangingLog(FaultyLog):
    """A log whose group throws its first member out when `hangs` is set, and does not take it back while it is."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs = threading.Event()
        self.refuses = threading.Event()
        """Set: the group is not asked for its offsets either."""
        self._first: HangingConsumer | None = None

    def consumer(self, group: str, topics: Sequence[str], listener: RebalanceListener) -> MemoryGroupConsumer:
        consumer = super().consumer(group, topics, listener)
        if self._first is not None:
            return consumer
        self._first = HangingConsumer(self, consumer, listener)
        return cast(MemoryGroupConsumer, self._first)


class HangingConsumer:
    """The first member."""

    def __init__(self, log: HangingLog, inner: MemoryGroupConsumer, listener: RebalanceListener) -> None:
        self._log = log
        self._inner = inner
        self._listener = listener
        self._is_out = False

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def poll(self, records_max: int, timeout_seconds: float) -> list[LogRecord]:
        if not self._log.hangs.is_set():
            self._is_out = False
            return self._inner.poll(records_max, timeout_seconds)
        if not self._is_out:
            self._is_out = True
            held = list(self._inner._inner._positions)  # type: ignore[attr-defined]  # behind the harness's wrapper
            self._listener.on_revoked(held)
            with self._log.changed:
                self._inner._inner._positions = {}  # type: ignore[attr-defined]
                self._inner._inner.evict()  # type: ignore[attr-defined]
        with self._log.changed:
            self._log.changed.wait(timeout_seconds)
        return []

    def committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int | None]:
        if self._log.refuses.is_set():
            raise Unavailable("the coordinator of the group is not there")
        return self._inner.committed(partitions)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds become tenths of seconds."""
    monkeypatch.setattr(assignments, "ASSIGNMENT_SECONDS_MAX", 1.5)
    monkeypatch.setattr(lag, "UNASSIGNED_SECONDS", 0.1)
    monkeypatch.setattr(lag, "LAG_SECONDS", 0.05)


def _lag(worker: Worker) -> float | None:
    return _told(worker.metrics, "lag_records", topic="said")


def _say(log: FaultyLog, start: int, stop: int) -> None:
    log.send(said(f"key-{number % 6}", number) for number in range(start, stop))


async def test_a_group_that_gives_nothing_back_is_not_ready_and_its_lag_is_that_of_all_partitions(quick: None) -> None:
    """Two empty sets are equal, and the sum over nothing is 0: a service that stood still for minutes looked well."""
    log = HangingLog()
    _say(log, 0, 40)
    async with running(log, counting()) as worker:
        await until(log, lambda: count(log, "counted") == 40 and worker.coordinator.ready, worker)
        with structlog.testing.capture_logs() as lines:
            log.hangs.set()
            await until(log, lambda: not worker.coordinator.ready, worker)
            _say(log, 40, 70)
            await until(log, lambda: _lag(worker) == 30, worker)
            age = "lag_seconds"
            await until(log, lambda: (_told(worker.metrics, age, topic="said") or 0) > 0, worker)
            assert not worker.coordinator.ready
        assert [line["service"] for line in lines if line["event"].startswith(WORDS)] == ["counting"]
        assert (_told(worker.metrics, "unassigned_seconds") or 0) >= 1.0
        log.hangs.clear()
        await until(log, lambda: worker.coordinator.ready and _lag(worker) == 0, worker)
        assert _told(worker.metrics, "unassigned_seconds") == 0
    check_counting(log)


async def test_a_lag_that_cannot_be_measured_is_not_told(quick: None) -> None:
    """The group's coordinator is what is broken: the 0 of before would stand for as long as it is."""
    log = HangingLog()
    _say(log, 0, 40)
    async with running(log, counting()) as worker:
        await until(log, lambda: count(log, "counted") == 40 and _lag(worker) == 0, worker)
        log.refuses.set()
        log.hangs.set()
        await until(log, lambda: _lag(worker) is None, worker)
        _say(log, 40, 50)
        log.refuses.clear()
        await until(log, lambda: _lag(worker) == 10, worker)
        log.hangs.clear()
        await until(log, lambda: worker.coordinator.ready and _lag(worker) == 0, worker)


async def test_what_another_worker_has_done_is_not_behind_for_one_without_an_assignment(quick: None) -> None:
    """It asks the group each time, so that it tells a partition a second time only as far as it really is behind."""
    log = HangingLog()
    async with running(log, counting()) as out:
        await until(log, lambda: out.coordinator.ready, out)  # whoever joins first is the one that is thrown out
        async with running(log, counting(), slot=1) as other:
            await until(log, lambda: out.coordinator.ready and other.coordinator.ready, out, other)
            log.hangs.set()
            await until(log, lambda: _told(other.metrics, "owned_partitions") == 4, out, other)
            _say(log, 0, 60)
            await until(log, lambda: count(log, "counted") == 60 and _lag(other) == 0, out, other)
            await until(
                log, lambda: (_told(out.metrics, "unassigned_seconds") or 0) > 1.5 and _lag(out) == 0, out, other
            )
            assert other.coordinator.ready
            assert not out.coordinator.ready
