"""Coordinators without Faust on a memory log whose producer fails on demand, and the oracles of their outputs."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import cast

from services.adapters.memory_log import MemoryGroupConsumer, MemoryLog, MemoryTransactionalProducer
from services.engine.coordinator import Coordinator
from services.engine.local_files import LocalFiles
from services.engine.log import (
    AbortRequired,
    CommitUnknown,
    GroupMetadata,
    LogRecord,
    OutgoingRecord,
    RebalanceListener,
    TopicPartition,
    TransactionalProducer,
)
from services.engine.member import HostedService
from services.engine.metrics import Metrics
from services.engine.protection import Protection
from services.engine.reference import ReferenceFeed
from services.engine.runtime import SYSTEM
from services.engine.snapshots import Snapshots
from services.engine.work import Batch
from tests.support import engine_oracles
from tests.support.engine_stages import TOPICS, JsonCodec
from tests.support.memory_files import MemoryFiles

WAIT_SECONDS_MAX = 15.0
_WAITS = ThreadPoolExecutor(2, "test-waits")

ABORT, UNKNOWN, UNKNOWN_BUT_DONE, SLOW = "abort", "unknown", "unknown but done", "slow"


class FaultyLog(MemoryLog):
    """A memory log whose n-th transaction fails at the step it was told to.

    `faults` maps (step, number of the transaction, from 1) to what happens there, once: the step is refused (ABORT), it
    ends in doubt without or with effect (UNKNOWN, UNKNOWN_BUT_DONE), or it takes long (SLOW).
    """

    def __init__(self, faults: Mapping[tuple[str, int], str] | None = None, topics: Mapping[str, int] = TOPICS) -> None:
        super().__init__(topics)
        self.faults = dict(faults or {})
        self.begun = 0
        self.transaction_timeout_seconds = math.inf
        self.hook: Callable[[str, int], None] = lambda step, number: None
        """Called on the worker's thread before each step, with the number of the transaction."""

    def consumer(self, group: str, topics: Sequence[str], listener: RebalanceListener) -> MemoryGroupConsumer:
        return cast(MemoryGroupConsumer, OneThreadConsumer(super().consumer(group, topics, listener)))

    def producer(self, transactional_id: str) -> TransactionalProducer:  # type: ignore[override]  # a wrapper
        return FaultyProducer(self, super().producer(transactional_id))


class OneThreadConsumer:
    """Refuses what Kafka's client would let wait: calls beside the polling thread, but for two questions."""

    def __init__(self, inner: MemoryGroupConsumer) -> None:
        self._inner = inner
        self._thread = threading.get_ident()

    def __getattr__(self, name: str) -> object:
        free = name in ("committed", "positions", "group")
        assert free or threading.get_ident() == self._thread, f"{name} was called beside the polling thread"
        return getattr(self._inner, name)


class FaultyProducer:
    """Passes everything on, but for the faults of its log."""

    def __init__(self, log: FaultyLog, inner: MemoryTransactionalProducer) -> None:
        self._log = log
        self._inner = inner
        self._number = 0
        self.transaction_timeout_seconds = log.transaction_timeout_seconds
        self.doubt: str | None = None

    def _step(self, name: str, call: Callable[[], None]) -> None:
        self._log.hook(name, self._number)
        match self._log.faults.pop((name, self._number), None):
            case "abort":
                raise AbortRequired(f"injected at {name}")
            case "unknown":
                raise CommitUnknown(f"injected at {name}")
            case "unknown but done":
                call()
                raise CommitUnknown(f"injected after {name}")
            case "slow":
                time.sleep(0.05)
        call()

    def begin(self) -> None:
        self._log.begun += 1
        self._number = self._log.begun
        self._step("begin", self._inner.begin)

    def produce(self, records: Sequence[OutgoingRecord]) -> None:
        self._step("produce", lambda: self._inner.produce(records))

    def send_offsets(self, offsets: Mapping[TopicPartition, int], metadata: GroupMetadata) -> None:
        self._step("send_offsets", lambda: self._inner.send_offsets(offsets, metadata))

    def commit(self) -> None:
        self._step("commit", self._inner.commit)

    def abort(self) -> None:
        self._step("abort", self._inner.abort)

    def close(self) -> None:
        self._inner.close()


# --- workers


@dataclass
class Worker:
    """A running coordinator with the plainest possible agent."""

    coordinator: Coordinator
    metrics: Metrics
    announced: list[set[tuple[str, int]]] = field(default_factory=list)
    task: asyncio.Task[None] | None = None

    async def end(self) -> None:
        """Stop it; raises what ended it, and fails when it hangs."""
        await asyncio.wait_for(self.coordinator.stop(), WAIT_SECONDS_MAX)
        assert self.task is not None
        await asyncio.wait_for(self.task, WAIT_SECONDS_MAX)

    async def failed(self) -> BaseException:
        """Wait until it ends by itself; what ended it."""
        assert self.task is not None
        (done,) = await asyncio.wait_for(asyncio.gather(self.task, return_exceptions=True), WAIT_SECONDS_MAX)
        assert isinstance(done, BaseException), "the worker ended without an error"
        return done


class PlainAgents:
    """The plainest possible agents, without Faust."""

    def __init__(self, process: Callable[[Batch], None], announced: list[set[tuple[str, int]]]) -> None:
        self._process = process
        self._announced = announced

    async def deliver(self, service: str, partition: int, batch: Batch) -> None:
        self._process(batch)

    async def announce(self, partitions: set[tuple[str, int]]) -> None:
        self._announced.append(partitions)


def start_worker(
    log: MemoryLog,
    *services: HostedService,
    slot: int = 0,
    deliver: Callable[[Batch], None] = Batch.process,
    files: LocalFiles | None = None,
) -> Worker:
    """Start a worker on the running event loop; without `files` it finds an empty disk."""
    metrics = Metrics(version="test")
    for service in services:
        stage = service.stage
        metrics.register(stage.name, inputs=service.inputs, outputs=service.outputs, causes=stage.suppress_causes)
    announced: list[set[tuple[str, int]]] = []
    disk = files or MemoryFiles()

    coordinator = Coordinator(
        log=log,
        services=services,
        codec=JsonCodec(),
        reference=ReferenceFeed(log, JsonCodec(), {}, SYSTEM),
        metrics=metrics,
        transactional_id=f"worker.{slot}",
        agents=PlainAgents(deliver, announced),
        runtime=SYSTEM,
        snapshots=Snapshots(log, disk, metrics, SYSTEM, tombstones_kept_seconds=86_400.0),
        protection=Protection(disk, metrics, SYSTEM),
    )
    return Worker(coordinator, metrics, announced, asyncio.create_task(coordinator.run()))


@contextlib.asynccontextmanager
async def running(
    log: MemoryLog, *services: HostedService, slot: int = 0, files: LocalFiles | None = None
) -> AsyncIterator[Worker]:
    """A worker for the time of a block; an error that ended it fails the test."""
    worker = start_worker(log, *services, slot=slot, files=files)
    try:
        yield worker
    finally:
        await worker.end()


async def until(log: MemoryLog, condition: Callable[[], bool], *workers: Worker) -> None:
    """Wait until something holds of the log; looked at on every change of it. An ended worker is raised at once."""

    def wait() -> None:
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        with log.changed:
            # A worker's own state changes without the log's: look again after a moment as well.
            while not condition():
                assert time.monotonic() < deadline, "the awaited condition did not come about"
                assert not any(w.task is not None and w.task.done() for w in workers), "a worker has ended"
                log.changed.wait(0.05)

    await asyncio.get_running_loop().run_in_executor(_WAITS, wait)


# --- oracles


def committed(log: MemoryLog, topic: str) -> list[LogRecord]:
    """Every committed record of a topic, by partition and offset."""
    records: list[LogRecord] = []
    for number in range(log.partitions(topic)):
        with log.changed:
            records += log.fetch(TopicPartition(topic, number), 0, 1_000_000)[0]
    return records


def count(log: MemoryLog, topic: str) -> int:
    """How many records of a topic are committed."""
    return len(committed(log, topic))


def by_key(log: MemoryLog, topic: str) -> dict[bytes, list[LogRecord]]:
    """The committed records of a topic, by key, each in order."""
    return engine_oracles.by_key(committed(log, topic))


def check_counting(log: MemoryLog) -> None:
    """Exactly once, in order, and the state as recomputed."""
    engine_oracles.check_counting(lambda topic: committed(log, topic))


def check_joining(log: MemoryLog) -> None:
    """Every pair exactly once."""
    engine_oracles.check_joining(lambda topic: committed(log, topic))
