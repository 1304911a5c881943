"""One hosted service: its membership in its consumer group, the partitions it owns, and the state of each.

Partitions of a service are numbered: number 3 of every input topic belongs together and must sit on the same worker,
because a stage joins its inputs by key. Every service is a consumer group of its own, so services move between workers
without touching each other's offsets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar

import structlog

from services.engine.log import GroupConsumer, GroupMetadata, Log, LogError, LogRecord, TopicPartition, Unavailable
from services.engine.runtime import Runtime
from services.engine.state import Tables, changelog_topic
from services.stage import Stage

T = TypeVar("T")
log_event = structlog.get_logger("posttrade.engine")

BATCH_SECONDS_TARGET = 0.2
"""What a transaction costs whatever is in it has to be worth its while; but the event loop is blocked while a batch is
processed, so that health checks and timers wait. docs/performance.md has what longer batches gained."""
BATCH_RECORDS_MIN = 20
BATCH_RECORDS_MAX = 10_000
REBALANCE_SECONDS_MAX = 20.0  # wall-clock budget of one rebalance callback; two in a row stay below max.poll.interval
CAP_GROWTH = 1.1  # of the batch size after a transaction failed, with each one that is committed

_JOIN_RETRY_SECONDS = 0.2


def consumer_group(service: str) -> str:
    """The consumer group of a service: its offsets stay with it, on whichever worker it runs."""
    return f"posttrade.{service}"


class CoPartitioningBroken(LogError):
    """The input topics of a service do not have the same partitions on this worker; a join could miss."""


@dataclass(frozen=True)
class HostedService:
    """A stage with the topics it reads and writes."""

    stage: Stage
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Rebalance:
    """A change of ownership, posted from the polling thread and answered by the coordinator between two rounds."""

    def __init__(self, member: Member, partitions: Sequence[TopicPartition], *, assigned: bool) -> None:
        """Describe the change; `done` is resolved when the coordinator has taken it over."""
        self.member = member
        self.partitions = tuple(partitions)
        self.assigned = assigned
        self.done: Future[None] = Future()


class Polled:
    """What one poll brought, with the membership at that moment."""

    def __init__(self, member: Member, records: list[LogRecord], metadata: GroupMetadata, reading: int) -> None:
        """Bind records, membership and the number of the reading."""
        self.member = member
        self.records = records
        self.metadata = metadata
        self.reading = reading
        self.durable = asyncio.Event()
        """Committed or given up: one more batch may be fetched."""
        self.done = asyncio.Event()
        """And entered: `next_offsets` and tables say so."""

    @property
    def is_current(self) -> bool:
        """Whether the records continue what was processed: no rebalance or rewind has come, or is due, since."""
        return self.reading == self.member.reading and not self.member.rewind_due


class Member:
    """A service in its group.

    Owned by the coordinator; only `_join`, `_poll_once`, `_seek`, `_close` and the listener run on the
    polling thread.
    """

    def __init__(self, service: HostedService, log: Log, runtime: Runtime, post: Callable[[Any], None]) -> None:
        """Check the topics; `poll_forever` joins the group. `post` hands an item to the coordinator from any thread."""
        self.stage = service.stage
        self.inputs = service.inputs
        self.group = consumer_group(self.stage.name)
        self._check_partition_counts(log)
        for topic in service.outputs:
            log.partitions(topic)
        self.owned: set[int] = set()
        self.tables: dict[int, Tables] = {}
        """Restored partitions only: what is not here is not processed."""
        self.next_offsets: dict[TopicPartition, int] = {}
        self.restored_offsets: dict[TopicPartition, int] = {}
        """Where what was restored is read on from: known before it is proved, for which a transaction has to end."""
        self.settled: dict[TopicPartition, int] = {}
        """Where reading stood when all that had been delivered was committed: behind markers, which no commit names."""
        self.epoch = 0
        """Raised by every change of ownership, so that a restore that was overtaken knows it."""
        self.reading = 0
        """Number of the current reading: raised on the polling thread by every rebalance and rewind. Records of an
        earlier
        reading are dropped, and what is still ours of them is read again."""
        self.rewind_due = False
        """Set by the coordinator after an abort. It never waits for the polling thread, which may be waiting for it."""
        self._membership: tuple[int, GroupMetadata] | None = None
        """Taken after each poll, with the number of the reading: only the polling thread may ask the consumer."""
        self._resumable: SimpleQueue[tuple[int, dict[TopicPartition, int]]] = SimpleQueue()
        """What the next poll resumes, and where, each with the epoch in which it was restored."""
        self._untaken: list[Rebalance] = []
        """Rebalances that the coordinator has not taken yet."""
        self.proved_at: dict[int, float] = {}
        """When a committed transaction last showed that a number is ours (`services.engine.proving`)."""
        self.halted = False
        """Set by the coordinator, for good: what is owned is paused and stays so, also what is assigned later."""
        self.records_max = 200
        self._records_cap = float(BATCH_RECORDS_MAX)
        """What a transaction could carry lately: halved by each that failed, raised a little by each that did not."""
        self.failing_since: float | None = None
        """When the first of the transactions with records failed that have failed since the last one was committed."""
        self.stopping = False
        self._called_at: float | None = None
        """When the call under way on the polling thread began, or the coordinator last took a rebalance out of it."""
        self._log = log
        self._post = post
        self._runtime = runtime
        self._thread = runtime.executor(1, f"poll-{self.stage.name}")
        self.consumer: GroupConsumer | None = None

    def _check_partition_counts(self, log: Log) -> None:
        topics = [*self.inputs, changelog_topic(self.stage.name)]
        counts = {topic: log.partitions(topic) for topic in topics}
        if len(set(counts.values())) != 1:
            found = ", ".join(f"{topic} has {count}" for topic, count in counts.items())
            raise CoPartitioningBroken(
                f"inputs and changelog of {self.stage.name} need the same number of partitions, but {found}; "
                "recreate the topics"
            )

    # --- on the polling thread

    def on_assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """From the log, inside poll: wait until the coordinator knows."""
        self.reading += 1
        self._hand_over(Rebalance(self, partitions, assigned=True))

    def on_revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """From the log, inside poll or close: wait until the coordinator has let go."""
        self.reading += 1
        self._hand_over(Rebalance(self, partitions, assigned=False))

    def _hand_over(self, rebalance: Rebalance) -> None:
        if self.stopping:  # the coordinator has finished its last round and processes nothing any more
            return
        self._untaken.append(rebalance)
        self._post(rebalance)
        try:
            self._runtime.wait(rebalance.done, REBALANCE_SECONDS_MAX)
        except TimeoutError:
            # The round under way is stuck, in an outage above all. The group goes on without it: what it still commits
            # is refused or waited for by the new owner, and `untaken` keeps all that is not ours out of our tables.
            log_event.warning(
                "a rebalance did not wait for the round under way any longer",
                service=self.stage.name, seconds=REBALANCE_SECONDS_MAX,
            )  # fmt: skip

    def _poll_once(self, timeout_seconds: float) -> tuple[Polled | None, bool]:
        """Poll; also says whether ownership changed meanwhile, so that the records are not a plain continuation."""
        assert self.consumer is not None
        if self.halted:
            self.consumer.pause(self.partitions_of(self.owned.copy()))
        else:
            self._resume()
        reading = self.reading
        try:
            records = self.consumer.poll(self.records_max, timeout_seconds)
        except Unavailable:  # whoever needs an answer says so; here there is simply nothing to do
            self._runtime.sleep(timeout_seconds)
            records = []
        metadata = self.consumer.metadata()
        self._membership = self.reading, metadata
        polled = Polled(self, records, metadata, reading) if records else None
        return polled, reading != self.reading

    def _resume(self) -> None:
        assert self.consumer is not None
        while not self._resumable.empty():
            epoch, offsets = self._resumable.get()
            # Else they were revoked, or will be as soon as the coordinator takes it up; ours again or not, they are not
            # restored yet.
            if epoch == self.epoch and not self._untaken:
                self.consumer.seek(offsets)
                self.consumer.resume(offsets)

    def _join(self) -> None:
        """On the polling thread, as `_close` is: a worker that stops while it joins must not stay in the group."""
        if not self.stopping:
            try:
                self.consumer = self._log.consumer(self.group, self.inputs, self)
            except Unavailable:
                self._runtime.sleep(_JOIN_RETRY_SECONDS)

    def _close(self) -> None:
        if self.consumer is not None:
            self.consumer.close()

    def _seek(self, offsets: dict[TopicPartition, int]) -> None:
        assert self.consumer is not None
        self.reading += 1
        self.consumer.seek(offsets)

    # --- on the event loop

    async def on_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a call on the polling thread: strictly between two polls."""
        self._called_at = self._runtime.monotonic()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)
        finally:
            self._called_at = None

    @property
    def polling_since(self) -> float | None:
        """When the call under way on the polling thread began; None when there is none, or it waits for us."""
        return None if self._untaken else self._called_at

    async def poll_forever(self, poll_seconds: float) -> None:
        """Join the group, then poll. One batch is fetched while the one before is not yet durable, never more."""
        while self.consumer is None and not self.stopping:
            await self.on_thread(self._join)
        before: Polled | None = None
        while not self.stopping:
            polled, interrupted = await self.on_thread(self._poll_once, poll_seconds)
            if polled is not None and not interrupted:
                self._post(polled)
            if before is not None and (polled is not None or interrupted or self.rewind_due):
                await before.durable.wait()
            if interrupted or self.rewind_due:
                if before is not None:
                    await before.done.wait()
                if polled is not None and not interrupted:
                    await polled.done.wait()
                await self._rewind()
                before = None
            elif polled is not None:
                before = polled
            elif (before is None or before.done.is_set()) and not self.halted:  # halted: what was read was dropped
                self._settle()

    def _settle(self) -> None:
        """Nothing is fetched and nothing under way, so what lies before the reading positions is done."""
        assert self.consumer is not None
        self.settled = {p: at for p, at in self.consumer.positions().items() if p.partition in self.tables}

    async def _rewind(self) -> None:
        """Read on from what is durable, in every partition. No batch is under way, so `next_offsets` stands still."""
        offsets = {p: self.next_offsets[p] for p in self.partitions_of(self.tables)}
        await self.on_thread(self._seek, offsets)
        self.rewind_due = False

    def take(self, rebalance: Rebalance) -> list[int]:
        """Enter a change of ownership; answers the owned numbers whose state must be restored.

        A restore that is still running is overtaken by the new epoch, so what it would have brought is asked for again.
        """
        self.epoch += 1
        if rebalance in self._untaken:
            self._untaken.remove(rebalance)
        if self._called_at is not None:
            self._called_at = self._runtime.monotonic()
        numbers = self._numbers(rebalance.partitions)
        if not rebalance.assigned:
            self.failing_since = None
            self._forget(numbers)
            return []
        self.owned |= numbers
        return sorted(self.owned - self.tables.keys())

    def _forget(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self.owned.discard(number)
            self.tables.pop(number, None)
            self.proved_at.pop(number, None)
            for topic in self.inputs:
                self.next_offsets.pop(TopicPartition(topic, number), None)
                self.restored_offsets.pop(TopicPartition(topic, number), None)
                self.settled.pop(TopicPartition(topic, number), None)

    def _numbers(self, partitions: Sequence[TopicPartition]) -> set[int]:
        by_topic: dict[str, set[int]] = {topic: set() for topic in self.inputs}
        for partition in partitions:
            by_topic[partition.topic].add(partition.partition)
        numbers = by_topic[self.inputs[0]]
        if any(found != numbers for found in by_topic.values()):
            raise CoPartitioningBroken(f"{self.stage.name} was given different partitions of its topics: {by_topic}")
        return numbers

    def partitions_of(self, numbers: Iterable[int]) -> list[TopicPartition]:
        """Every input partition of the given numbers."""
        return [TopicPartition(topic, number) for number in numbers for topic in self.inputs]

    def resume_soon(self, numbers: Iterable[int]) -> None:
        """Let the next poll resume restored partitions. Not awaited: that thread may wait for the coordinator."""
        self._resumable.put((self.epoch, {p: self.next_offsets[p] for p in self.partitions_of(numbers)}))

    def is_given_away(self, number: int) -> bool:
        """Whether a rebalance that waits to be taken, or was waited for too long, takes a number from us."""
        revokes = [rebalance for rebalance in [*self._untaken] if not rebalance.assigned]
        return any(partition.partition == number for rebalance in revokes for partition in rebalance.partitions)

    def holds(self, number: int) -> bool:
        """Whether a number is restored and still ours."""
        return number in self.tables and not self.is_given_away(number)

    @property
    def metadata(self) -> GroupMetadata | None:
        """The membership under which `tables` are ours; None while a rebalance or a rewind is not over.

        Also while a rebalance waits to be taken: its membership must never vouch for tables of the one before.
        """
        if self._membership is None or self._untaken:
            return None
        reading, metadata = self._membership
        return metadata if reading == self.reading else None

    def offsets_of(self, number: int) -> dict[TopicPartition, int]:
        """Where each input of a number goes on."""
        return {partition: self.next_offsets[partition] for partition in self.partitions_of([number])}

    def read_offsets_of(self, number: int) -> dict[TopicPartition, int]:
        """The same, and past what is never delivered: markers of transactions, which a commit of records leaves out."""
        return {p: max(offset, self.settled.get(p, 0)) for p, offset in self.offsets_of(number).items()}

    def adapt(self, records: int, seconds: float) -> None:
        """Choose the next poll's size so that a batch takes about BATCH_SECONDS_TARGET."""
        if records and seconds > 0:
            fitting = int(records * BATCH_SECONDS_TARGET / seconds)
            step = max(self.records_max // 2, min(fitting, self.records_max * 2))
            self.records_max = max(BATCH_RECORDS_MIN, min(int(self._records_cap), step))

    def note_transaction(self, *, committed: bool) -> None:
        """Poll less after a transaction that failed: one that is too large for a slow cluster would fail for ever."""
        if committed:
            self.failing_since = None
            self._records_cap = min(BATCH_RECORDS_MAX, self._records_cap * CAP_GROWTH)
        else:
            self.failing_since = self._runtime.monotonic() if self.failing_since is None else self.failing_since
            self._records_cap = max(BATCH_RECORDS_MIN, self.records_max / 2)
            self.records_max = int(self._records_cap)

    async def leave(self) -> None:
        """Leave the group, on the polling thread, after the last round."""
        self.stopping = True
        await self.on_thread(self._close)
        self._thread.shutdown(wait=False)
