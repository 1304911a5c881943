"""The log on Apache Kafka, through confluent-kafka (librdkafka)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_INVALID,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    Producer,
)
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # re-exported without a mark

from services.adapters.kafka_errors import (
    OFFSET_LOST_CODES,
    PASSING_CODES,
    REFUSED_CODES,
    UNREADABLE_CODES,
    error_text,
    unanswered,
)
from services.adapters.kafka_producer import ANY_PARTITION, PRODUCER_SETTINGS, KafkaTransactionalProducer
from services.adapters.kafka_reader import LOGGER, KafkaReader, end_of_partition, to_record
from services.adapters.kafka_timeouts import ANSWER_SECONDS_MAX, DEFAULT_TIMEOUTS, Timeouts
from services.adapters.kafka_topic_id import topic_id
from services.engine.log import (
    GroupMetadata,
    LogError,
    LogRecord,
    OffsetsLost,
    OutgoingRecord,
    RebalanceListener,
    TopicPartition,
    Unavailable,
)

SEND_SECONDS_MAX = 30.0
_ATTEMPT_SECONDS = 5.0
_GRACE_SECONDS = 1.0  # beyond the time an attempt was given
_RETRY_SECONDS = 0.2
_SEEK_RETRY_SECONDS = 0.01
FETCH_QUEUE_KIB_MAX = 32_768  # per consumer: bounds what is fetched ahead


class KafkaLog:
    """A Kafka cluster; `prefix` sets the names of one installation apart from its neighbours on the same cluster."""

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        prefix: str = "",
        client_settings: Mapping[str, Any] | None = None,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
    ) -> None:
        """Remember where the cluster is; nothing connects yet. `client_settings` (security …) go to every client."""
        self._base: dict[str, Any] = {"bootstrap.servers": bootstrap_servers, **(client_settings or {})}
        self.prefix = prefix
        self._timeouts = timeouts
        self._tools: Producer | None = None
        self._admin_client: AdminClient | None = None

    def consumer(self, group: str, topics: Sequence[str], listener: RebalanceListener) -> KafkaGroupConsumer:
        """Join a group."""
        return KafkaGroupConsumer(self._base, self.prefix, group, topics, listener, self._timeouts)

    def producer(self, transactional_id: str) -> KafkaTransactionalProducer:
        """Take over an identity and abort what its predecessor left open."""
        return KafkaTransactionalProducer(self._base, self.prefix, transactional_id, self._timeouts)

    def reader(self, offsets: Mapping[TopicPartition, int]) -> KafkaReader:
        """Read from the given offsets on."""
        ends = self.end_offsets(offsets, committed_only=False)
        return KafkaReader(self._base, self.prefix, offsets, ends)

    def reader_until(self, offsets: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> KafkaReader:
        """Read from the given offsets to the given ends; they must be stable, or the reader waits until they are."""
        return KafkaReader(self._base, self.prefix, offsets, ends)

    def send(self, records: Iterable[OutgoingRecord]) -> None:
        """Write with an idempotent producer and wait for every acknowledgement."""
        if self._tools is None:
            self._tools = Producer(self._base | PRODUCER_SETTINGS | {"enable.idempotence": True}, logger=LOGGER)
        errors: list[KafkaError] = []

        def delivered(error: KafkaError | None, _message: Message[Any, Any]) -> None:
            if error is not None:
                errors.append(error)

        for record in records:
            while True:
                try:
                    self._tools.produce(
                        self.prefix + record.topic,
                        record.value,
                        record.key,
                        partition=ANY_PARTITION if record.partition is None else record.partition,
                        on_delivery=delivered,
                        headers=[*record.headers],
                    )
                    break
                except BufferError:
                    self._tools.poll(0.1)
                except KafkaException as error:  # too large for any topic, above all
                    self._tools.flush(SEND_SECONDS_MAX)
                    raise LogError(f"a record for {record.topic} was refused: {error_text(error)}") from error
        if self._tools.flush(SEND_SECONDS_MAX) or errors:
            reason = errors[0].str() if errors else "no acknowledgement in time"
            raise LogError(f"{len(errors) or 'some'} records were not written: {reason}")

    def partitions(self, topic: str) -> int:
        """Number of partitions of a topic."""
        try:
            metadata = self._admin.list_topics(self.prefix + topic, timeout=ANSWER_SECONDS_MAX)
        except KafkaException as error:
            raise unanswered(error, "the cluster did not answer") from error
        found = metadata.topics.get(self.prefix + topic)
        if found is None or (found.error is not None and found.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART):
            raise LogError(f"topic {self.prefix + topic} does not exist; run: posttrade topics apply")
        if found.error is not None:
            failure = KafkaException(found.error)
            raise unanswered(failure, f"topic {self.prefix + topic} could not be looked up") from failure
        return len(found.partitions)

    def topic_id(self, topic: str) -> str:
        """Ids of cluster and topic."""
        return topic_id(self._admin, self.prefix + topic, ANSWER_SECONDS_MAX)

    def start_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Log start offset of each partition."""
        earliest = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
        return self._list_offsets(partitions, earliest, IsolationLevel.READ_UNCOMMITTED)

    def end_offsets(self, partitions: Iterable[TopicPartition], *, committed_only: bool) -> dict[TopicPartition, int]:
        """Last stable offset or high watermark of each partition."""
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        isolation = IsolationLevel.READ_COMMITTED if committed_only else IsolationLevel.READ_UNCOMMITTED
        return self._list_offsets(partitions, latest, isolation)

    def _list_offsets(
        self, partitions: Iterable[TopicPartition], which: OffsetSpec, isolation: IsolationLevel
    ) -> dict[TopicPartition, int]:
        wanted = {self._wire(partition): which for partition in partitions}
        if not wanted:
            return {}
        deadline = time.monotonic() + ANSWER_SECONDS_MAX
        while True:
            futures = self._admin.list_offsets(wanted, isolation_level=isolation, request_timeout=_ATTEMPT_SECONDS)
            try:
                found = {self._named(wire): offset for wire, offset in _listed(futures).items()}
                if min(found.values()) >= 0:  # else a partition without a leader answered with a placeholder
                    return found
                raise KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE))
            except KafkaException as error:
                # A broker that has just started answers with errors that pass: no leader yet, an older leader epoch.
                if error.args[0].code() in REFUSED_CODES or time.monotonic() > deadline:
                    raise _unlisted(error) from error
                time.sleep(_RETRY_SECONDS)
                with contextlib.suppress(KafkaException):  # a client may hold on to "no leader" until all is read anew
                    self._admin.list_topics(timeout=_ATTEMPT_SECONDS)

    def close(self) -> None:
        """Release the tools' producer."""
        if self._tools is not None:
            self._tools.flush(SEND_SECONDS_MAX)
            self._tools = None

    @property
    def _admin(self) -> AdminClient:
        if self._admin_client is None:
            self._admin_client = AdminClient(self._base, logger=LOGGER)
        return self._admin_client

    def _wire(self, partition: TopicPartition) -> KafkaTopicPartition:
        return KafkaTopicPartition(self.prefix + partition.topic, partition.partition)

    def _named(self, partition: KafkaTopicPartition) -> TopicPartition:
        return TopicPartition(partition.topic.removeprefix(self.prefix), partition.partition)


def _listed(futures: Mapping[KafkaTopicPartition, Future[Any]]) -> dict[KafkaTopicPartition, int]:
    """The offsets of an answer. Raises KafkaException, also for an answer that the client itself does not give up."""
    deadline = time.monotonic() + _ATTEMPT_SECONDS + _GRACE_SECONDS
    try:
        return {wire: future.result(max(0.0, deadline - time.monotonic())).offset for wire, future in futures.items()}
    except TimeoutError:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from None  # noqa: SLF001  # see kafka_errors


def _unlisted(error: KafkaException) -> LogError:
    """In an outage the client says that there is no leader, in words of its own and with a code for anything."""
    kind = LogError if error.args[0].code() in REFUSED_CODES else Unavailable
    return kind(f"the offsets of a partition could not be read: {error_text(error)}")


class KafkaGroupConsumer:
    """A librdkafka consumer. Rebalance callbacks run inside `poll` and `close` only."""

    def __init__(
        self,
        base: Mapping[str, Any],
        prefix: str,
        group: str,
        topics: Sequence[str],
        listener: RebalanceListener,
        timeouts: Timeouts,
    ) -> None:
        """Subscribe; the group is joined by the first poll."""
        self.group = group
        self._prefix = prefix
        self._listener = listener
        self._positions: dict[TopicPartition, int] = {}
        self._starts: dict[TopicPartition, int | None] = {}
        """Every assigned partition, with the offset it was told to read from; None until it was told."""
        self._is_closing = False
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
                "isolation.level": "read_committed",
                "auto.offset.reset": "error",  # an offset that is not there is lost input, and a person must know
                "partition.assignment.strategy": "range",  # keeps equally partitioned topics of a group together
                "session.timeout.ms": timeouts.session_ms,
                "heartbeat.interval.ms": timeouts.heartbeat_ms,
                "max.poll.interval.ms": timeouts.max_poll_interval_ms,
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
        # The beginning stands for "not told yet": the client would look up the committed offset, and one without would
        # be dead from then on. Nothing is delivered before `seek`, also not what is fetched before the pause.
        consumer.assign([KafkaTopicPartition(row.topic, row.partition, OFFSET_BEGINNING) for row in partitions])
        consumer.pause(partitions)
        if self._is_closing:  # they are revoked again at once, and nobody would be told where to read
            return
        named = [self._named(partition) for partition in partitions]
        self._starts = dict.fromkeys(named)
        self._listener.on_assigned(named)

    def _on_revoke(self, consumer: Consumer, partitions: list[KafkaTopicPartition]) -> None:
        for partition in partitions:
            self._positions.pop(self._named(partition), None)
            self._starts.pop(self._named(partition), None)
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
        return self._taken(messages)

    def _taken(self, messages: Sequence[Message[Any, Any]]) -> list[LogRecord]:
        """The records among them that are to be delivered. Moves the positions; raises what ends the reading."""
        prefix_length = len(self._prefix)
        records: list[LogRecord] = []
        positions: dict[TopicPartition, int] = {}
        here = _NOWHERE
        next_offset: int | None = None
        for message in messages:  # in runs of one partition: what is known of it is looked up once for a run
            error = message.error()
            if error is None:
                record = to_record(message, prefix_length)
                if record.partition != here.partition or record.topic != here.topic:
                    here = TopicPartition(record.topic, record.partition)
                    next_offset = self._next_offset(here, positions)
                # Less than the position: the client asks for the beginning again half a second after the assignment,
                # when the first answer was slow, and then starts there although it was told meanwhile.
                if next_offset is not None and record.offset >= next_offset:
                    records.append(record)
                    next_offset = positions[here] = record.offset + 1
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  # see kafka_errors
                end, offset = end_of_partition(message, prefix_length)
                known = self._next_offset(end, positions)
                if known is not None:
                    positions[end] = max(offset, known)
                here = _NOWHERE
            else:
                self._judge(message, error)
        self._positions.update(positions)
        return records

    def _next_offset(self, place: TopicPartition, positions: Mapping[TopicPartition, int]) -> int | None:
        """Where reading goes on; None for what was fetched before it was told where to read."""
        return None if self._starts.get(place) is None else positions.get(place, self._positions[place])

    def _judge(self, message: Message[Any, Any], error: KafkaError) -> None:
        """Raise what ends the reading; what the client mends by itself is passed over."""
        if error.code() in OFFSET_LOST_CODES and message.topic() is not None:
            partition = TopicPartition(str(message.topic())[len(self._prefix) :], int(message.partition() or 0))
            if self._starts.get(partition) is not None:  # else revoked, or not told yet: nothing was looked for
                raise OffsetsLost(self.group, partition, self._whereabouts(partition), prefix=self._prefix)
        elif error.code() in PASSING_CODES or error.retriable():
            LOGGER.debug("group %s waits: %s", self.group, error.str())
        elif error.code() in UNREADABLE_CODES:
            place = f"partition {message.partition()} of {message.topic()}"
            raise LogError(
                f"group {self._prefix}{self.group} cannot go on in {place}: what lies at offset {message.offset()} "
                f"cannot be unpacked ({error.str()}). Have it sent anew in another form, remove it with "
                "kafka-delete-records, and start the worker again"
            )
        else:
            raise LogError(f"group {self.group} could not be read: {error.str()}")

    def _whereabouts(self, partition: TopicPartition) -> str:
        wanted = self._positions.get(partition)
        try:
            low, high = self._consumer.get_watermark_offsets(self._wire(partition), timeout=ANSWER_SECONDS_MAX)
        except KafkaException as error:
            return f"its next offset {wanted} is not there ({error_text(error)})"
        return f"its next offset is {wanted}, but the partition holds offsets {low} to {high - 1}"

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
            found = observer.committed(wanted, ANSWER_SECONDS_MAX)
        except KafkaException as error:
            raise unanswered(error, f"committed offsets of {self.group} could not be read") from error
        finally:
            observer.close()
        for row in found:
            if row.error is not None:  # its offset says "none committed" then, and everything would be processed again
                failure = KafkaException(row.error)
                raise unanswered(failure, f"the committed offset of {row.topic} could not be read") from failure
        return {self._named(row): None if row.offset == OFFSET_INVALID else row.offset for row in found}

    def seek(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Read on from these offsets."""
        for partition, offset in offsets.items():
            if partition in self._starts:
                self._starts[partition] = self._positions[partition] = offset
                self._seek(KafkaTopicPartition(self._prefix + partition.topic, partition.partition, offset))

    def _seek(self, place: KafkaTopicPartition) -> None:
        """Repeat what is refused while the client has not taken the assignment over yet, which it does by itself."""
        deadline = time.monotonic() + ANSWER_SECONDS_MAX
        while True:
            try:
                self._consumer.seek(place)
                return
            except KafkaException as error:
                if error.args[0].code() not in _NOT_STARTED_CODES or time.monotonic() > deadline:
                    sentence = f"partition {place.partition} of {place.topic} cannot be read from {place.offset} on"
                    raise LogError(f"{sentence}: {error_text(error)}") from error
                time.sleep(_SEEK_RETRY_SECONDS)

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Stop delivering; what the client had fetched ahead is dropped and fetched again."""
        try:
            self._consumer.pause([self._wire(partition) for partition in partitions if partition in self._starts])
        except KafkaException as error:
            raise LogError(f"partitions of {self.group} could not be paused: {error_text(error)}") from error

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Start delivering."""
        owned = [partition for partition in partitions if partition in self._starts]
        for partition in owned:
            if self._starts[partition] is None:
                raise LogError(f"partition {partition.partition} of {partition.topic} was not told where to read")
        try:
            self._consumer.resume([self._wire(partition) for partition in owned])
        except KafkaException as error:
            raise LogError(f"partitions of {self.group} could not be resumed: {error_text(error)}") from error

    def close(self) -> None:
        """Leave the group."""
        self._is_closing = True
        self._consumer.close()

    def _named(self, partition: KafkaTopicPartition) -> TopicPartition:
        return TopicPartition(partition.topic.removeprefix(self._prefix), partition.partition)

    def _wire(self, partition: TopicPartition) -> KafkaTopicPartition:
        return KafkaTopicPartition(self._prefix + partition.topic, partition.partition)


_NOWHERE = TopicPartition("", -1)

_NOT_STARTED_CODES = frozenset(
    {
        KafkaError._STATE,  # noqa: SLF001  # see kafka_errors
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
    }
)
