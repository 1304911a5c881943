"""The port below the transport: a partitioned log with transactions and consumer groups.

Two implementations, `services.adapters.kafka_log` and `services.adapters.memory_log`, pass one contract suite
(tests/contract). Everything here blocks and is called from worker threads, never from the event loop. Names of topics,
groups and transactional ids are the project's own; an implementation may prefix them on the wire. Its `prefix` is for
sentences that a person acts upon: they have the names on the wire.

Errors are named by their remedy:

    LogError
     ├─ AbortRequired     the transaction cannot be committed: abort, forget, rewind, go on with the same producer
     ├─ CommitUnknown     whether the commit happened is not known: throw the producer away, make a new one, ask
     │                    `committed`
     ├─ Fenced            a newer worker has taken this identity over: stop
     ├─ Unavailable       the log does not answer: wait and ask again
     └─ OffsetsLost       the log no longer holds what a group has yet to read: stop, a person must decide

A plain LogError is what waiting does not mend: a missing topic, a right that was not granted. It ends the worker.
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


class Unavailable(LogError):
    """The log does not answer, or says that it cannot yet; the same question may be asked again."""


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class OffsetsLost(LogError):
    """The next record of a group is not in the log: it was deleted unread, or the topic is another one by now."""

    def __init__(self, group: str, partition: TopicPartition, cause: str, *, prefix: str) -> None:
        """Name the place and what was found there; the sentence says what to do. `prefix` is that of the log."""
        wire_group, wire_topic, number = prefix + group, prefix + partition.topic, partition.partition
        super().__init__(
            f"{wire_group} cannot go on in partition {number} of {wire_topic}: {cause}. Records may be "
            "lost: restore the topic, or decide what becomes of them and set the group's offset with "
            f"kafka-consumer-groups --reset-offsets --group {wire_group} --topic {wire_topic}:{number}; "
            "then start the worker again"
        )


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
        """These partitions are now ours, in addition to what was. They are paused: `seek` them, then `resume`."""
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

        Returns at once when there are records, else waits up to the timeout. Only committed records are seen. A log
        that is away looks like one without records. Raises OffsetsLost when the next record is no longer there.
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

        Any thread may call it, also while `poll` runs or waits inside a listener. Raises Unavailable when transactions
        stay pending for longer than a call may wait: ask again.
        """
        ...

    def seek(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Read on from these offsets, never from before them; ignored for partitions that are no longer owned."""
        ...

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Stop delivering these partitions, which stay ours; ignored for partitions that are no longer owned."""
        ...

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Start delivering these partitions; ignored for partitions that are no longer owned.

        Raises LogError for one that was never told where to read: no default is right for an input.
        """
        ...

    def close(self) -> None:
        """Leave the group."""
        ...


class TransactionalProducer(Protocol):
    """A writer with a stable identity. Calls raise AbortRequired, CommitUnknown or Fenced.

    A plain LogError says what no repetition mends.
    """

    transaction_timeout_seconds: float
    """The log itself may abort a transaction that is open for longer, and then answers as if it had been fenced."""

    @property
    def doubt(self) -> str | None:
        """Why nothing may be begun with this producer any more, although no call has raised: `SLOW`, `DISCONNECTED`.

        A request of a transaction may still be on its way and would then hit the next one. None: no doubt. A doubt
        stays.
        """
        ...

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


SLOW = "slow"
"""A commit or abort took longer than a request may: the client may have repeated it."""
DISCONNECTED = "disconnected"
"""A connection was lost, or a request was given up: the client has repeated what was on its way."""


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
    """The whole log. Every call may raise Unavailable, after seconds at most."""

    @property
    def prefix(self) -> str:
        """What stands on the wire before the name of every topic, group and transactional id; empty for nothing."""
        ...

    def consumer(self, group: str, topics: Sequence[str], listener: RebalanceListener) -> GroupConsumer:
        """Join a group."""
        ...

    def producer(self, transactional_id: str) -> TransactionalProducer:
        """Take over an identity: older producers of the same id are fenced, their open transaction is aborted.

        Raises Unavailable when the log does not answer in time.
        """
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

    def topic_id(self, topic: str) -> str:
        """Which topic it is: one that is deleted and created again under the same name is another one.

        Raises LogError when it does not exist or cannot be asked.
        """
        ...

    def start_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Offset of the first record that each partition still holds, or would have held."""
        ...

    def end_offsets(self, partitions: Iterable[TopicPartition], *, committed_only: bool) -> dict[TopicPartition, int]:
        """Last stable offset (`committed_only`) or high watermark of each partition."""
        ...

    def close(self) -> None:
        """Release what the log itself holds."""
        ...
