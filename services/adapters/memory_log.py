"""The log in memory: transactions, consumer groups, generations and fencing as Kafka has them, without a server.

It carries `make demo`, the simulation and most tests; one contract suite runs on it and on Kafka so that it cannot
drift. One lock guards everything; waiting readers are woken by every change.
"""

from __future__ import annotations

import math
import threading
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from services.adapters.memory_reader import MemoryReader
from services.adapters.murmur2 import partition_of
from services.engine.log import (
    AbortRequired,
    CommitUnknown,
    Fenced,
    GroupMetadata,
    LogError,
    LogRecord,
    OffsetsLost,
    OutgoingRecord,
    RebalanceListener,
    TopicPartition,
    Unavailable,
)
from services.engine.runtime import SYSTEM, Runtime


@dataclass
class _Partition:
    records: list[LogRecord] = field(default_factory=list)
    open_from: dict[int, int] = field(default_factory=dict)
    """First offset of each open transaction, by transaction number."""
    aborted: set[int] = field(default_factory=set)
    """Offsets that belong to aborted transactions."""
    start: int = 0
    """Records below were deleted; they lie in `records` only so that an offset is an index."""

    @property
    def end(self) -> int:
        return len(self.records)

    @property
    def stable_end(self) -> int:
        return min(self.open_from.values(), default=self.end)


@dataclass
class _Group:
    topics: tuple[str, ...] = ()
    generation: int = 0
    members: list[MemoryGroupConsumer] = field(default_factory=list)
    committed: dict[TopicPartition, int] = field(default_factory=dict)
    pending: dict[int, set[TopicPartition]] = field(default_factory=dict)
    """Partitions whose offsets are in open transactions, by transaction number."""


NO_GENERATION = -1
"""What a client that is no member of the group gives as its generation."""


@dataclass(frozen=True)
class MemoryGroupMetadata:
    """Membership of one consumer in one generation."""

    group: str
    member: int
    generation: int


class MemoryLog:
    """A log that lives as long as the process."""

    def __init__(
        self, topics: Mapping[str, int], *, clock: Runtime = SYSTEM, changed: threading.Condition | None = None
    ) -> None:
        """Create the topics, each with its number of partitions.

        A simulation gives a clock of its own and the condition on which calls wait for a change.
        """
        self.clock = clock
        self.prefix = ""  # one installation only
        self._changed = changed or threading.Condition()
        self._id = f"memory-{uuid.uuid4().hex}"
        self._topics = {topic: [_Partition() for _ in range(count)] for topic, count in topics.items()}
        self._groups: dict[str, _Group] = {}
        self._epochs: dict[str, int] = {}
        self._open_producers: dict[str, MemoryTransactionalProducer] = {}
        self._transactions = 0
        self._members = 0
        self._round_robin = 0

    # --- the port

    def consumer(self, group: str, topics: Sequence[str], listener: RebalanceListener) -> MemoryGroupConsumer:
        """Join a group; partitions are handed out inside the members' next polls."""
        with self._changed:
            for topic in topics:
                self._partitions_of(topic)
            self._members += 1
            member = MemoryGroupConsumer(self, group, self._members, tuple(topics), listener)
            state = self._groups.setdefault(group, _Group())
            state.members.append(member)
            self._rebalance(state)
            return member

    def producer(self, transactional_id: str) -> MemoryTransactionalProducer:
        """Take over an identity and abort what its predecessor left open."""
        with self._changed:
            predecessor = self._open_producers.get(transactional_id)
            if predecessor is not None:
                predecessor.drop()
            self._epochs[transactional_id] = self._epochs.get(transactional_id, -1) + 1
            producer = MemoryTransactionalProducer(self, transactional_id, self._epochs[transactional_id])
            self._open_producers[transactional_id] = producer
            return producer

    def reader(self, offsets: Mapping[TopicPartition, int]) -> MemoryReader:
        """Read from the given offsets on."""
        return MemoryReader(self, offsets, self.end_offsets(offsets, committed_only=False))

    def reader_until(self, offsets: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> MemoryReader:
        """Read from the given offsets to the given ends; they must be stable, or the reader waits until they are."""
        return MemoryReader(self, offsets, ends)

    def send(self, records: Iterable[OutgoingRecord]) -> None:
        """Write outside of any transaction."""
        with self._changed:
            for record in records:
                self.append(record)
            self._changed.notify_all()

    def partitions(self, topic: str) -> int:
        """Number of partitions of a topic."""
        return len(self._partitions_of(topic))

    def topic_id(self, topic: str) -> str:
        """An id no other log has: a file that outlives the process must not be taken for one of another log."""
        self._partitions_of(topic)
        return f"{self._id}/{topic}"

    def start_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """First offset that each partition holds."""
        with self._changed:
            return {key: self._partitions_of(key.topic)[key.partition].start for key in partitions}

    def delete_records(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Delete what lies below these offsets, as retention does."""
        with self._changed:
            for key, offset in offsets.items():
                partition = self._partitions_of(key.topic)[key.partition]
                partition.start = max(partition.start, min(offset, partition.end))

    def recreate(self, topic: str) -> None:
        """Delete a topic and make it anew, empty; its groups' offsets stay."""
        with self._changed:
            self._topics[topic] = [_Partition() for _ in self._partitions_of(topic)]

    def end_offsets(self, partitions: Iterable[TopicPartition], *, committed_only: bool) -> dict[TopicPartition, int]:
        """Last stable offset or high watermark of each partition."""
        with self._changed:
            ends = {}
            for key in partitions:
                partition = self._partitions_of(key.topic)[key.partition]
                ends[key] = partition.stable_end if committed_only else partition.end
            return ends

    def close(self) -> None:
        """Nothing to release."""

    # --- for the consumer, producer and reader; all under the lock

    @property
    def changed(self) -> threading.Condition:
        """The one lock, notified on every change."""
        return self._changed

    def _partitions_of(self, topic: str) -> list[_Partition]:
        try:
            return self._topics[topic]
        except KeyError:
            raise LogError(f"topic {topic} does not exist; run: posttrade topics apply") from None

    def append(self, record: OutgoingRecord) -> TopicPartition:
        """Write one record; the key chooses the partition as Kafka's murmur2 partitioner does."""
        partitions = self._partitions_of(record.topic)
        number = record.partition
        if number is None and record.key is not None:
            number = partition_of(record.key, len(partitions))
        if number is None:
            self._round_robin += 1
            number = self._round_robin % len(partitions)
        partition = partitions[number]
        partition.records.append(
            LogRecord(
                record.topic,
                number,
                partition.end,
                record.key,
                record.value,
                self.clock.now_us() // 1000,
                record.headers,
            )
        )
        return TopicPartition(record.topic, number)

    def fetch(self, key: TopicPartition, position: int, records_max: int) -> tuple[list[LogRecord], int]:
        """Committed records from a position on, and the position after them."""
        partition = self._partitions_of(key.topic)[key.partition]
        position = max(position, partition.start)
        end = min(partition.stable_end, position + records_max)
        found = partition.records[position:end]
        if partition.aborted:
            found = [record for record in found if record.offset not in partition.aborted]
        return found, max(position, end)

    def open_transaction(self) -> int:
        """Number a new transaction."""
        self._transactions += 1
        return self._transactions

    def mark_open(self, key: TopicPartition, transaction: int) -> None:
        """The partition's last record is the transaction's; remember where the transaction starts."""
        partition = self._topics[key.topic][key.partition]
        partition.open_from.setdefault(transaction, partition.end - 1)

    def finish(self, transaction: int, written: Mapping[TopicPartition, set[int]], *, commit: bool) -> None:
        """Make a transaction's records visible, or hide them for ever."""
        for key, offsets in written.items():
            partition = self._topics[key.topic][key.partition]
            partition.open_from.pop(transaction, None)
            if not commit:
                partition.aborted.update(offsets)
        for group in self._groups.values():
            group.pending.pop(transaction, None)
        self._changed.notify_all()

    def epoch(self, transactional_id: str) -> int:
        """Epoch of the newest producer of an identity."""
        return self._epochs[transactional_id]

    def group(self, name: str) -> _Group:
        """State of a group."""
        return self._groups[name]

    def leave(self, member: MemoryGroupConsumer) -> None:
        """Take a member out of its group and hand its partitions on."""
        state = self._groups[member.group]
        if member in state.members:
            state.members.remove(member)
            self._rebalance(state)
        self._changed.notify_all()

    def rejoin(self, member: MemoryGroupConsumer) -> None:
        """Take a member that was evicted in again, as a new one."""
        self._members += 1
        member.number = self._members
        state = self._groups[member.group]
        state.members.append(member)
        self._rebalance(state)

    def _rebalance(self, group: _Group) -> None:
        """Range assignment, as the Kafka adapter has it: the same numbers of all topics go to the same member."""
        group.generation += 1
        members = sorted(group.members, key=lambda member: member.number)
        assignments: dict[int, list[TopicPartition]] = {member.number: [] for member in members}
        for topic in sorted({topic for member in members for topic in member.topics}):
            takers = [member for member in members if topic in member.topics]
            count = self.partitions(topic)
            share, extra = divmod(count, len(takers))
            start = 0
            for index, member in enumerate(takers):
                size = share + (index < extra)
                assignments[member.number] += [TopicPartition(topic, number) for number in range(start, start + size)]
                start += size
        for member in members:
            member.offer(tuple(assignments[member.number]), group.generation)
        self._changed.notify_all()


class MemoryGroupConsumer:
    """One member of a group. An eager rebalance: all is revoked, then the new set is assigned, inside `poll`."""

    def __init__(
        self, log: MemoryLog, group: str, number: int, topics: tuple[str, ...], listener: RebalanceListener
    ) -> None:
        """Made by `MemoryLog.consumer`."""
        self.group = group
        self.number = number
        self.topics = topics
        self._log = log
        self._listener = listener
        self._offered: tuple[tuple[TopicPartition, ...], int] | None = None
        self._generation = 0
        self._positions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._closed = False
        self._evicted = False

    def evict(self) -> None:
        """Like a coordinator that has heard nothing for the session timeout; under the lock.

        The member learns of it at its next poll, loses what it held, and joins again.
        """
        self._evicted = True
        self._offered = None
        self._log.leave(self)

    def offer(self, partitions: tuple[TopicPartition, ...], generation: int) -> None:
        """A rebalance: the new assignment is taken up by the next poll."""
        self._offered = (partitions, generation)

    def poll(self, records_max: int, timeout_seconds: float) -> list[LogRecord]:
        """Take up a new assignment if there is one, else deliver records."""
        deadline = self._log.clock.monotonic() + timeout_seconds
        while True:
            self._take_assignment()
            with self._log.changed:
                if self._offered is None:
                    records = self._deliver(records_max)
                    left = deadline - self._log.clock.monotonic()
                    if records or left <= 0 or self._closed:
                        return records
                    self._log.changed.wait(left)

    def _take_assignment(self) -> None:
        with self._log.changed:
            if self._evicted:
                self._evicted = False
                self._log.rejoin(self)
            offered, held = self._offered, list(self._positions)
        if offered is None:
            return
        if held:
            self._listener.on_revoked(held)
        with self._log.changed:
            partitions, self._generation = offered
            if self._offered == offered:
                self._offered = None
            self._positions = dict.fromkeys(partitions, -1)
            self._paused = set(partitions)
        self._listener.on_assigned(list(partitions))

    def _deliver(self, records_max: int) -> list[LogRecord]:
        records: list[LogRecord] = []
        for key, position in self._positions.items():
            if key in self._paused or len(records) >= records_max:
                continue
            low = self._log.start_offsets([key])[key]
            high = self._log.end_offsets([key], committed_only=False)[key]
            if not low <= position <= high:
                cause = f"its next offset is {position}, but the partition holds offsets {low} to {high - 1}"
                raise OffsetsLost(self.group, key, cause, prefix=self._log.prefix)
            found, self._positions[key] = self._log.fetch(key, position, records_max - len(records))
            records += found
        return records

    def positions(self) -> dict[TopicPartition, int]:
        """Next offsets of the partitions that were read."""
        with self._log.changed:
            return {key: position for key, position in self._positions.items() if position >= 0}

    def metadata(self) -> GroupMetadata:
        """Membership at this moment."""
        return MemoryGroupMetadata(self.group, self.number, self._generation)

    def committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int | None]:
        """Committed offsets; waits until no open transaction holds any of them."""
        wanted = list(partitions)
        with self._log.changed:
            group = self._log.group(self.group)
            settled = self._log.changed.wait_for(
                lambda: not any(key in held for held in group.pending.values() for key in wanted), timeout=30
            )
            if not settled:
                raise Unavailable(f"offsets of {self.group} stayed pending for 30 s")
            return {key: group.committed.get(key) for key in wanted}

    def seek(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Read on from these offsets."""
        with self._log.changed:
            for key, offset in offsets.items():
                if key in self._positions:
                    self._positions[key] = offset

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Stop delivering."""
        with self._log.changed:
            self._paused.update(partition for partition in partitions if partition in self._positions)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Start delivering."""
        with self._log.changed:
            owned = [key for key in partitions if key in self._positions]
            for key in owned:
                if self._positions[key] < 0:
                    raise LogError(f"partition {key.partition} of {key.topic} was not told where to read")
            self._paused.difference_update(owned)
            self._log.changed.notify_all()

    def close(self) -> None:
        """Leave the group."""
        if self._closed:
            return
        self._closed = True
        if self._positions:
            self._listener.on_revoked(list(self._positions))
        with self._log.changed:
            self._positions = {}
            self._log.leave(self)


class MemoryTransactionalProducer:
    """A producer with an epoch; an older one of the same identity is refused."""

    transaction_timeout_seconds = math.inf  # nobody aborts it but a newer producer of its identity
    doubt: str | None = None  # every call is answered by this process

    def __init__(self, log: MemoryLog, transactional_id: str, epoch: int) -> None:
        """Made by `MemoryLog.producer`."""
        self._log = log
        self._id = transactional_id
        self._epoch = epoch
        self._transaction: int | None = None
        self._written: dict[TopicPartition, set[int]] = {}
        self._offsets: list[tuple[str, dict[TopicPartition, int]]] = []

    def begin(self) -> None:
        """Open a transaction."""
        with self._log.changed:
            self._check()
            if self._transaction is not None:
                raise CommitUnknown("a transaction is already open")
            self._transaction = self._log.open_transaction()

    def produce(self, records: Sequence[OutgoingRecord]) -> None:
        """Add records; they are invisible to committed readers until the commit."""
        with self._log.changed:
            transaction = self._check_open()
            for record in records:
                key = self._log.append(record)
                self._log.mark_open(key, transaction)
                end = self._log.end_offsets([key], committed_only=False)[key]
                self._written.setdefault(key, set()).add(end - 1)

    def send_offsets(self, offsets: Mapping[TopicPartition, int], metadata: GroupMetadata) -> None:
        """Add offsets; a member of an older generation is refused."""
        assert isinstance(metadata, MemoryGroupMetadata)
        with self._log.changed:
            transaction = self._check_open()
            group = self._log.group(metadata.group)
            is_member = any(member.number == metadata.member for member in group.members)
            # As a coordinator does, a client that names no generation at all is believed; the engine never does so.
            believed = metadata.generation == NO_GENERATION
            if not believed and (metadata.generation != group.generation or not is_member):
                raise AbortRequired(f"generation {metadata.generation} of {metadata.group} is over")
            group.pending.setdefault(transaction, set()).update(offsets)
            self._offsets.append((metadata.group, dict(offsets)))

    def commit(self) -> None:
        """Make everything visible at once."""
        with self._log.changed:
            transaction = self._check_open()
            for group, offsets in self._offsets:
                self._log.group(group).committed.update(offsets)
            self._end(transaction, commit=True)

    def abort(self) -> None:
        """Drop the transaction."""
        with self._log.changed:
            self._check()
            if self._transaction is not None:
                self._end(self._transaction, commit=False)

    def close(self) -> None:
        """Like a process that dies: nothing is committed or aborted."""

    def drop(self) -> None:
        """Abort what is open because a newer producer has taken the identity over; under the lock."""
        if self._transaction is not None:
            self._end(self._transaction, commit=False)

    def _end(self, transaction: int, *, commit: bool) -> None:
        self._log.finish(transaction, self._written, commit=commit)
        self._transaction, self._written, self._offsets = None, {}, []

    def _check(self) -> None:
        if self._epoch != self._log.epoch(self._id):
            raise Fenced("another worker has taken over this slot")

    def _check_open(self) -> int:
        self._check()
        if self._transaction is None:
            raise CommitUnknown("no transaction is open")
        return self._transaction
