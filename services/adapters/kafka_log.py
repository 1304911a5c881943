"""The log on Apache Kafka, through confluent-kafka (librdkafka).

Low-level errors are translated here and nowhere else, into the remedies of `services.engine.log`.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import OFFSET_INVALID, Consumer, IsolationLevel, KafkaError, KafkaException, Message, Producer
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # re-exported without a mark

from services.adapters.kafka_reader import LOGGER, KafkaReader, end_of_partition, error_text, to_record
from services.engine.log import (
    AbortRequired,
    CommitUnknown,
    Fenced,
    GroupMetadata,
    LogError,
    LogRecord,
    OutgoingRecord,
    RebalanceListener,
    TopicPartition,
)

SESSION_TIMEOUT_MS = 12_000
TRANSACTION_TIMEOUT_MS = 10_000  # below the session timeout: a stuck transaction dies before its partitions move on
MESSAGE_TIMEOUT_MS = 9_000  # librdkafka wants it below the transaction timeout
REQUEST_TIMEOUT_SECONDS = 30.0
_ATTEMPT_SECONDS = 10.0
_RETRY_SECONDS = 0.2
BUFFER_RECORDS_MAX = 500_000  # of the producer; a round is far smaller
_RUN_RECORDS_MAX = 10_000
_ANY_PARTITION = -1  # RD_KAFKA_PARTITION_UA: the key decides
FETCH_QUEUE_KIB_MAX = 32_768  # per consumer: bounds what is fetched ahead

_FENCED_CODES = frozenset(
    {
        KafkaError._FENCED,  # noqa: SLF001  # confluent-kafka's public name of a local error begins with an underscore
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.PRODUCER_FENCED,
    }
)


class KafkaLog:
    """A Kafka cluster; `prefix` sets the names of one installation apart from its neighbours on the same cluster."""

    def __init__(
        self, bootstrap_servers: str, *, prefix: str = "", client_settings: Mapping[str, Any] | None = None
    ) -> None:
        """Remember where the cluster is; nothing connects yet. `client_settings` (security …) go to every client."""
        self._base: dict[str, Any] = {"bootstrap.servers": bootstrap_servers, **(client_settings or {})}
        self._prefix = prefix
        self._tools: Producer | None = None
        self._admin_client: AdminClient | None = None

    def consumer(self, group: str, topics: Sequence[str], listener: RebalanceListener) -> KafkaGroupConsumer:
        """Join a group."""
        return KafkaGroupConsumer(self._base, self._prefix, group, topics, listener)

    def producer(self, transactional_id: str) -> KafkaTransactionalProducer:
        """Take over an identity and abort what its predecessor left open."""
        return KafkaTransactionalProducer(self._base, self._prefix, transactional_id)

    def reader(self, offsets: Mapping[TopicPartition, int]) -> KafkaReader:
        """Read from the given offsets on."""
        ends = self.end_offsets(offsets, committed_only=False)
        return KafkaReader(self._base, self._prefix, offsets, ends)

    def send(self, records: Iterable[OutgoingRecord]) -> None:
        """Write with an idempotent producer and wait for every acknowledgement."""
        if self._tools is None:
            self._tools = Producer(self._base | _PRODUCER_SETTINGS | {"enable.idempotence": True}, logger=LOGGER)
        errors: list[KafkaError] = []

        def delivered(error: KafkaError | None, _message: Message[Any, Any]) -> None:
            if error is not None:
                errors.append(error)

        for record in records:
            while True:
                try:
                    self._tools.produce(
                        self._prefix + record.topic,
                        record.value,
                        record.key,
                        partition=_ANY_PARTITION if record.partition is None else record.partition,
                        on_delivery=delivered,
                        headers=[*record.headers],
                    )
                    break
                except BufferError:
                    self._tools.poll(0.1)
                except KafkaException as error:  # too large for any topic, above all
                    self._tools.flush(REQUEST_TIMEOUT_SECONDS)
                    raise LogError(f"a record for {record.topic} was refused: {error_text(error)}") from error
        if self._tools.flush(REQUEST_TIMEOUT_SECONDS) or errors:
            reason = errors[0].str() if errors else "no acknowledgement in time"
            raise LogError(f"{len(errors) or 'some'} records were not written: {reason}")

    def partitions(self, topic: str) -> int:
        """Number of partitions of a topic."""
        try:
            metadata = self._admin.list_topics(self._prefix + topic, timeout=REQUEST_TIMEOUT_SECONDS)
        except KafkaException as error:
            raise LogError(f"the cluster did not answer: {error_text(error)}") from error
        found = metadata.topics.get(self._prefix + topic)
        if found is None or found.error is not None:
            raise LogError(f"topic {self._prefix + topic} does not exist; run: posttrade topics apply")
        return len(found.partitions)

    def end_offsets(self, partitions: Iterable[TopicPartition], *, committed_only: bool) -> dict[TopicPartition, int]:
        """Last stable offset or high watermark of each partition."""
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        wanted = {self._wire(partition): latest for partition in partitions}
        if not wanted:
            return {}
        isolation = IsolationLevel.READ_COMMITTED if committed_only else IsolationLevel.READ_UNCOMMITTED
        deadline = time.monotonic() + REQUEST_TIMEOUT_SECONDS
        while True:
            futures = self._admin.list_offsets(wanted, isolation_level=isolation, request_timeout=_ATTEMPT_SECONDS)
            try:
                return {self._named(wire): future.result().offset for wire, future in futures.items()}
            except KafkaException as error:
                # A broker that has just started answers with errors that pass: no leader yet, an older leader epoch.
                if time.monotonic() > deadline:
                    raise LogError(f"end offsets could not be read: {error_text(error)}") from error
                time.sleep(_RETRY_SECONDS)

    def close(self) -> None:
        """Release the tools' producer."""
        if self._tools is not None:
            self._tools.flush(REQUEST_TIMEOUT_SECONDS)
            self._tools = None

    @property
    def _admin(self) -> AdminClient:
        if self._admin_client is None:
            self._admin_client = AdminClient(self._base, logger=LOGGER)
        return self._admin_client

    def _wire(self, partition: TopicPartition) -> KafkaTopicPartition:
        return KafkaTopicPartition(self._prefix + partition.topic, partition.partition)

    def _named(self, partition: KafkaTopicPartition) -> TopicPartition:
        return TopicPartition(partition.topic.removeprefix(self._prefix), partition.partition)


_PRODUCER_SETTINGS: dict[str, Any] = {
    "linger.ms": 5,
    "compression.type": "lz4",
    "partitioner": "murmur2_random",  # as Java clients do, so that our keys and theirs meet on one partition
    "queue.buffering.max.messages": BUFFER_RECORDS_MAX,
    "message.max.bytes": 4_194_304,
}


class KafkaGroupConsumer:
    """A librdkafka consumer. Rebalance callbacks run inside `poll` and `close` only."""

    def __init__(
        self, base: Mapping[str, Any], prefix: str, group: str, topics: Sequence[str], listener: RebalanceListener
    ) -> None:
        """Subscribe; the group is joined by the first poll."""
        self.group = group
        self._prefix = prefix
        self._listener = listener
        self._positions: dict[TopicPartition, int] = {}
        self._observer_settings = dict(base) | {
            "group.id": prefix + group,
            "enable.auto.commit": False,
            "isolation.level": "read_committed",  # asks for stable offsets only
        }
        self._consumer = Consumer(
            dict(base)
            | {
                "group.id": prefix + group,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "isolation.level": "read_committed",  # also makes a new owner wait for its predecessor's transaction
                "auto.offset.reset": "earliest",
                "partition.assignment.strategy": "range",  # keeps equally partitioned topics of a group together
                "session.timeout.ms": SESSION_TIMEOUT_MS,
                "heartbeat.interval.ms": 3_000,
                "max.poll.interval.ms": 300_000,
                "enable.partition.eof": True,  # tells the position behind transaction markers: lag can be 0
                "fetch.wait.max.ms": 100,
                "queued.max.messages.kbytes": FETCH_QUEUE_KIB_MAX,
                "fetch.message.max.bytes": 4_194_304,
            },
            logger=LOGGER,
        )
        self._consumer.subscribe(
            [prefix + topic for topic in topics],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_revoke,
        )

    def _on_assign(self, consumer: Consumer, partitions: list[KafkaTopicPartition]) -> None:
        consumer.assign(partitions)
        consumer.pause(partitions)
        self._listener.on_assigned([self._named(partition) for partition in partitions])

    def _on_revoke(self, consumer: Consumer, partitions: list[KafkaTopicPartition]) -> None:
        for partition in partitions:
            self._positions.pop(self._named(partition), None)
        self._listener.on_revoked([self._named(partition) for partition in partitions])
        consumer.unassign()

    def poll(self, records_max: int, timeout_seconds: float) -> list[LogRecord]:
        """Fetch up to `records_max` records."""
        try:
            # `consume` alone would wait out the timeout for a full batch: one record first, then what has come with it.
            first = self._consumer.poll(timeout_seconds)
            messages = [] if first is None else [first, *self._consumer.consume(records_max - 1, 0)]
        except KafkaException as failure:
            raise LogError(f"group {self.group} could not be read: {error_text(failure)}") from failure
        prefix_length = len(self._prefix)
        positions: dict[tuple[str, int], int] = {}
        records: list[LogRecord] = []
        for message in messages:
            error = message.error()
            if error is None:
                record = to_record(message, prefix_length)
                records.append(record)
                positions[record.topic, record.partition] = record.offset + 1
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  # see _FENCED_CODES
                place, offset = end_of_partition(message, prefix_length)
                positions[place] = offset
            else:
                raise LogError(f"group {self.group} could not be read: {error.str()}")
        for (topic, number), position in positions.items():
            self._positions[TopicPartition(topic, number)] = position
        return records

    def positions(self) -> dict[TopicPartition, int]:
        """Next offsets; an end-of-partition event stands behind transaction markers."""
        return dict(self._positions)

    def metadata(self) -> GroupMetadata:
        """Generation and member id at this moment."""
        return self._consumer.consumer_group_metadata()  # type: ignore[no-any-return]

    def committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int | None]:
        """Committed offsets; librdkafka asks for stable ones and repeats while a transaction is pending.

        Asked through a client of its own that joins no group: the client library lets no other call pass while `poll`
        runs, so that a restore would wait for the poll, and a poll whose listener waits for the restore for ever.
        """
        wanted = [self._wire(partition) for partition in partitions]
        observer = Consumer(self._observer_settings, logger=LOGGER)
        try:
            found = observer.committed(wanted, REQUEST_TIMEOUT_SECONDS)
        except KafkaException as error:
            raise LogError(f"committed offsets of {self.group} could not be read: {error_text(error)}") from error
        finally:
            observer.close()
        for row in found:
            if row.error is not None:  # its offset says "none committed" then, and everything would be processed again
                raise LogError(f"committed offset of {self._named(row)} could not be read: {row.error.str()}")
        return {self._named(row): None if row.offset == OFFSET_INVALID else row.offset for row in found}

    def seek(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Read on from these offsets."""
        for partition, offset in offsets.items():
            if partition in self._positions:
                self._positions[partition] = offset
            try:
                self._consumer.seek(KafkaTopicPartition(self._prefix + partition.topic, partition.partition, offset))
            except KafkaException as error:
                if error.args[0].code() not in _NOT_OWNED_CODES:
                    raise LogError(f"{partition} could not be rewound: {error_text(error)}") from error

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Start delivering."""
        try:
            self._consumer.resume([self._wire(partition) for partition in partitions])
        except KafkaException as error:
            if error.args[0].code() not in _NOT_OWNED_CODES:
                raise LogError(f"partitions of {self.group} could not be resumed: {error_text(error)}") from error

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _named(self, partition: KafkaTopicPartition) -> TopicPartition:
        return TopicPartition(partition.topic.removeprefix(self._prefix), partition.partition)

    def _wire(self, partition: TopicPartition) -> KafkaTopicPartition:
        return KafkaTopicPartition(self._prefix + partition.topic, partition.partition)


_NOT_OWNED_CODES = frozenset(
    {
        KafkaError._STATE,  # noqa: SLF001  # see _FENCED_CODES
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
    }
)


class KafkaTransactionalProducer:
    """A librdkafka transactional producer."""

    def __init__(self, base: Mapping[str, Any], prefix: str, transactional_id: str) -> None:
        """Fence older producers of the same id; blocks until the coordinator has answered."""
        self._prefix = prefix
        self._producer = Producer(
            dict(base)
            | _PRODUCER_SETTINGS
            | {
                "transactional.id": prefix + transactional_id,
                "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
                "message.timeout.ms": MESSAGE_TIMEOUT_MS,
            },
            logger=LOGGER,
        )
        self._call(self._producer.init_transactions, REQUEST_TIMEOUT_SECONDS)

    def begin(self) -> None:
        """Open a transaction."""
        self._call(self._producer.begin_transaction)

    def produce(self, records: Sequence[OutgoingRecord]) -> None:
        """Add records: whole runs of one topic in one call, those with headers one by one."""
        try:
            for start in range(0, len(records), _RUN_RECORDS_MAX):
                self._await_room()
                for run in _runs(records[start : start + _RUN_RECORDS_MAX]):
                    self._produce_run(run)
        except KafkaException as error:
            raise _remedy(error) from error

    def _await_room(self) -> None:
        """A run must fit as a whole: were only its middle refused, the rest would overtake it."""
        deadline = time.monotonic() + REQUEST_TIMEOUT_SECONDS
        while len(self._producer) + _RUN_RECORDS_MAX > BUFFER_RECORDS_MAX:
            self._producer.poll(0.05)
            if time.monotonic() > deadline:
                raise CommitUnknown(f"the send buffer stayed full for {REQUEST_TIMEOUT_SECONDS:.0f} s")

    def _produce_run(self, run: list[OutgoingRecord]) -> None:
        topic = self._prefix + run[0].topic
        partition = _ANY_PARTITION if run[0].partition is None else run[0].partition
        if run[0].headers:  # librdkafka's batch call takes no headers
            for record in run:
                self._producer.produce(topic, record.value, record.key, partition=partition, headers=[*record.headers])
            return
        # The partition is given once for the call: one given per row is not looked at by the client.
        rows: list[dict[str, Any]] = [{"key": record.key, "value": record.value} for record in run]
        if self._producer.produce_batch(topic, rows, partition=partition) != len(rows):
            cause = next(str(row["_error"]) for row in rows if "_error" in row)
            raise AbortRequired(f"a record for {topic} was refused: {cause}")

    def send_offsets(self, offsets: Mapping[TopicPartition, int], metadata: GroupMetadata) -> None:
        """Add offsets, checked against the group's generation by the coordinator."""
        if _generation(metadata) < 0:  # the coordinator takes "no generation" for an old client and checks nothing
            raise AbortRequired("this worker is not a member of the group")
        rows = [KafkaTopicPartition(self._prefix + key.topic, key.partition, offset) for key, offset in offsets.items()]
        self._call(self._producer.send_offsets_to_transaction, rows, metadata, REQUEST_TIMEOUT_SECONDS)

    def commit(self) -> None:
        """Commit; certain when it returns."""
        self._call(self._producer.commit_transaction, REQUEST_TIMEOUT_SECONDS)

    def abort(self) -> None:
        """Drop the transaction."""
        self._call(self._producer.abort_transaction, REQUEST_TIMEOUT_SECONDS)

    def close(self) -> None:
        """Drop what is queued and let the client go. A fenced or fatal client refuses even that; it is gone anyway."""
        with contextlib.suppress(KafkaException):
            self._producer.purge()
            self._producer.poll(0)

    def _call(self, function: Any, *arguments: Any) -> None:
        try:
            function(*arguments)
        except KafkaException as error:
            raise _remedy(error) from error


_METADATA_MAGIC = b"CGMDv2:"


def _generation(metadata: GroupMetadata) -> int:
    """The generation within librdkafka's serialised membership: a magic word, then a native 32-bit integer."""
    assert isinstance(metadata, bytes), "group metadata is no longer bytes; see the client's release notes"
    assert metadata.startswith(_METADATA_MAGIC), "group metadata has a new layout; see the client's release notes"
    start = len(_METADATA_MAGIC)
    return int.from_bytes(metadata[start : start + 4], sys.byteorder, signed=True)


def _runs(records: Sequence[OutgoingRecord]) -> Iterable[list[OutgoingRecord]]:
    """Group by topic, kind of call and named partition.

    The order within a run stays, which is the order of every partition: a topic's records either all name their
    partition (changelogs), all have headers (dead letters), or neither.
    """
    runs: dict[tuple[str, bool, int | None], list[OutgoingRecord]] = {}
    run: list[OutgoingRecord] = []
    topic: str | None = None
    partition: int | None = None
    for record in records:
        if record.topic is topic and record.partition == partition and not record.headers:
            run.append(record)  # the run of the record before: by far the most common
            continue
        run = runs.setdefault((record.topic, bool(record.headers), record.partition), [])
        run.append(record)
        topic, partition = (None if record.headers else record.topic), record.partition
    return runs.values()


def _remedy(error: KafkaException) -> LogError:
    """Name the remedy. What is not clearly abortable or fenced is doubt: fatal does not mean 'not committed'."""
    detail = error.args[0]
    if detail.code() in _FENCED_CODES:
        return Fenced(f"another worker has taken over this slot: {detail.str()}")
    if detail.txn_requires_abort():
        return AbortRequired(detail.str())
    return CommitUnknown(detail.str())
