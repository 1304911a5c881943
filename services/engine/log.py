"""The port below the transport: a partitioned log with transactions and consumer groups.

Two implementations, `services.adapters.kafka_log` and `services.adapters.memory_log`, pass one contract suite
(tests/contract). Everything here blocks and is called from worker threads, never from the event loop. Names of topics,
groups and transactional ids are the project's own; an implementation may prefix them on the wire.

Errors are named by their remedy:

    LogError
     ├─ AbortRequired     the transaction cannot be committed: abort, forget, rewind, go on with the same producer
     ├─ CommitUnknown     whether the commit happened is not known: throw the producer away, make a new one, ask
     `committed` └─ Fenced            a newer worker has taken this identity over: stop
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec


class LogError(Exception):
    """Trouble with the log that is neither the input's nor our fault."""


class AbortRequired(LogError):
    """The transaction cannot be committed; abort it and process its input again."""


class CommitUnknown(LogError):
    """The producer is in doubt; replace it and ask the log what was committed."""


class Fenced(LogError):
    """A newer producer with the same transactional id exists; this worker must stop."""


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


Headers = tuple[tuple[str, bytes | None], ...]


class LogRecord(msgspec.Struct, frozen=True, gc=False):
    """One record as it lies in the log."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: Headers = ()


class OutgoingRecord(msgspec.Struct, frozen=True, gc=False):
    """One record to be written. Without `partition` the key decides, as Kafka's default partitioner (murmur2) does."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None


class RebalanceListener(Protocol):
    """Told of ownership changes, inside `GroupConsumer.poll` and `close`, on the polling thread."""

    def on_assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """These partitions are now ours, in addition to what was. They are paused until `resume` is called."""
        ...

    def on_revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """These partitions are no longer ours; nothing of them may be committed any more."""
        ...


class GroupMetadata(Protocol):
    """Proof of membership in one generation of a group; opaque to the engine."""


class GroupConsumer(Protocol):
    """One member of one consumer group.

    A consumer belongs to one thread, the polling thread: a call from another may wait until `poll` is over, and for
    ever while a listener inside `poll` waits for that other thread. Any may call only `committed` and `positions`.
    """

    group: str

    def poll(self, records_max: int, timeout_seconds: float) -> list[LogRecord]:
        """Up to `records_max` records of owned, unpaused partitions, in offset order per partition.

        Returns at once when there are records, else waits up to the timeout. Only committed records are seen.
        """
        ...

    def metadata(self) -> GroupMetadata:
        """Membership at this moment; take it together with the batch and pass it to `send_offsets`."""
        ...

    def positions(self) -> dict[TopicPartition, int]:
        """Next offset to be delivered for each partition that was read; transaction markers at the end are skipped."""
        ...

    def committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int | None]:
        """Next offset to read as committed by the group; None where nothing was. Waits out pending transactions.

        Any thread may call it, also while `poll` runs or waits inside a listener.
        """
        ...

    def seek(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Read on from these offsets; ignored for partitions that are no longer owned."""
        ...

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Start delivering these partitions; ignored for partitions that are no longer owned."""
        ...

    def close(self) -> None:
        """Leave the group."""
        ...


class TransactionalProducer(Protocol):
    """A writer with a stable identity. Calls raise AbortRequired, CommitUnknown or Fenced, nothing else of the log."""

    def begin(self) -> None:
        """Open a transaction."""
        ...

    def produce(self, records: Sequence[OutgoingRecord]) -> None:
        """Add records to the open transaction, in this order per partition; waits while the send buffer is full."""
        ...

    def send_offsets(self, offsets: Mapping[TopicPartition, int], metadata: GroupMetadata) -> None:
        """Add the group's next offsets to the open transaction. A member of an older generation is refused."""
        ...

    def commit(self) -> None:
        """Make everything in the transaction visible at once. Returns only when that is certain."""
        ...

    def abort(self) -> None:
        """Drop everything in the transaction."""
        ...

    def close(self) -> None:
        """Release resources without waiting for anything."""
        ...


class LogReader(Protocol):
    """Reads partitions from given offsets, outside any group. Only committed records are seen."""

    def poll(self, records_max: int, timeout_seconds: float) -> list[LogRecord]:
        """Records in offset order per partition; empty when the timeout passed."""
        ...

    def at_end(self) -> bool:
        """Whether every partition was read up to the end that was measured when the reader was opened.

        The end is the high watermark: records of transactions that were open then are waited for.
        """
        ...

    def close(self) -> None:
        """Release resources."""
        ...


class Log(Protocol):
    """The whole log."""

    def consumer(self, group: str, topics: Sequence[str], listener: RebalanceListener) -> GroupConsumer:
        """Join a group."""
        ...

    def producer(self, transactional_id: str) -> TransactionalProducer:
        """Take over an identity: older producers of the same id are fenced, their open transaction is aborted."""
        ...

    def reader(self, offsets: Mapping[TopicPartition, int]) -> LogReader:
        """Read from the given offsets on."""
        ...

    def send(self, records: Iterable[OutgoingRecord]) -> None:
        """Write outside of any transaction and wait for the acknowledgement; for tools, not for stages."""
        ...

    def partitions(self, topic: str) -> int:
        """Number of partitions; raises LogError when the topic does not exist."""
        ...

    def end_offsets(self, partitions: Iterable[TopicPartition], *, committed_only: bool) -> dict[TopicPartition, int]:
        """Last stable offset (`committed_only`) or high watermark of each partition."""
        ...

    def close(self) -> None:
        """Release what the log itself holds."""
        ...
