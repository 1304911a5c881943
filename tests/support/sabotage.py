"""Negative controls: six ways of breaking exactly-once, each of which an auditor must notice.

A harness that has never failed proves nothing. Each control takes one rule of the commit path out of force, from the
outside: the code of the service stays as it is, what it calls lies to it.

    log = sabotage.apply(name, log)
    services = sabotage.hosted(name, services)

`apply` takes any implementation of the log's port. Where Kafka and the memory log need different means, the
implementation says how through a method of the wrapper's target (`read_uncommitted`), or this module knows both.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

import msgspec
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as KafkaTopicPartition

from services.adapters import kafka_log, kafka_producer, kafka_reader
from services.adapters.kafka_log import KafkaLog
from services.adapters.kafka_producer import KafkaTransactionalProducer
from services.adapters.memory_log import NO_GENERATION, MemoryGroupMetadata
from services.capture.state import SeenExecution
from services.domain.record import Record
from services.engine.log import (
    GroupConsumer,
    GroupMetadata,
    Log,
    LogError,
    LogRecord,
    OutgoingRecord,
    RebalanceListener,
    TopicPartition,
    TransactionalProducer,
)
from services.engine.member import HostedService
from services.stage import Outcome, Received, State

T = TypeVar("T", bound=Record)

OFFSETS_OUTSIDE_TRANSACTION = "offsets-outside-transaction"
NO_GROUP_METADATA = "no-group-metadata"
READ_UNCOMMITTED = "read-uncommitted"
POSITION_OFFSETS = "position-offsets"
NO_REWIND = "no-rewind"
DEDUPE_OFF = "dedupe-off"

CONTROLS: Mapping[str, str] = {
    OFFSETS_OUTSIDE_TRANSACTION: "offsets, and their rows in the changelog, are committed before what they stand for",
    NO_GROUP_METADATA: "offsets are sent without membership, so that no generation is checked",
    READ_UNCOMMITTED: "inputs and changelogs are read with records of open and aborted transactions",
    POSITION_OFFSETS: "the consumer's position is committed in place of what was processed",
    NO_REWIND: "after an abort the consumer reads on from where it was",
    DEDUPE_OFF: "capture does not recognise an execution it has seen",
}
"""What each control does, by its name."""

_PROGRESS = b"Progress/"
"""How the key of a row begins that holds a partition's offsets."""


def check(name: str) -> str:
    """The name of a control. Raises ValueError for any other."""
    if name not in CONTROLS:
        raise ValueError(f"{name} is not a control; choose one of {', '.join(CONTROLS)}")
    return name


def apply(name: str, log: Log) -> Log:
    """The log as the named control shows it to a worker. One process has one log and at most one control."""
    match check(name):
        case "read-uncommitted":
            _read_uncommitted(log)
            return log
        case "dedupe-off":
            return log
    return cast(Log, _Log(name, log))


def hosted(name: str, services: Iterable[HostedService]) -> list[HostedService]:
    """The services as the named control leaves them."""
    return [
        dataclasses.replace(service, stage=cast(Any, _Forgetful(service.stage)))
        if check(name) == DEDUPE_OFF and service.stage.name == "capture"
        else service
        for service in services
    ]


# --- the log


class _Passing:
    """Gives everything that is not defined here to what it stands before."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Log(_Passing):
    def __init__(self, name: str, inner: Log) -> None:
        super().__init__(inner)
        self._name = name
        self._consumers: dict[str, GroupConsumer] = {}

    def consumer(self, group: str, topics: Sequence[str], listener: RebalanceListener) -> GroupConsumer:
        if self._name != NO_REWIND:
            self._consumers[group] = self._inner.consumer(group, topics, listener)
            return self._consumers[group]
        forward = _Forward(listener)
        forward.bind(self._inner.consumer(group, topics, forward))
        return cast(GroupConsumer, forward)

    def producer(self, transactional_id: str) -> TransactionalProducer:
        inner = self._inner.producer(transactional_id)
        match self._name:
            case "offsets-outside-transaction":
                return cast(TransactionalProducer, _OffsetsFirst(inner, self._inner, transactional_id))
            case "no-group-metadata":
                return cast(TransactionalProducer, _Unbound(inner, self._inner))
            case "position-offsets":
                return cast(TransactionalProducer, _Positions(inner, self._consumers))
        return cast(TransactionalProducer, inner)


def _is_progress(record: OutgoingRecord) -> bool:
    """Whether it is the row of a changelog that says how far the inputs are done: the engine's own offsets."""
    return record.topic.startswith("state.") and (record.key or b"").startswith(_PROGRESS)


class _OffsetsFirst(_Passing):
    """Commits the offsets in a transaction of their own, which does not hold what they stand for."""

    def __init__(self, inner: TransactionalProducer, log: Log, transactional_id: str) -> None:
        super().__init__(inner)
        self._other = log.producer(f"{transactional_id}.offsets")
        self._progress: list[OutgoingRecord] = []

    def begin(self) -> None:
        self._progress = []
        self._inner.begin()

    def produce(self, records: Sequence[OutgoingRecord]) -> None:
        self._progress += [record for record in records if _is_progress(record)]
        self._inner.produce([record for record in records if not _is_progress(record)])

    def send_offsets(self, offsets: Mapping[TopicPartition, int], metadata: GroupMetadata) -> None:
        rows, self._progress = self._progress, []
        self._other.begin()
        try:
            self._other.produce(rows)
            self._other.send_offsets(offsets, metadata)
            self._other.commit()
        except LogError:
            with contextlib.suppress(LogError):  # what stayed open would keep every restore waiting
                self._other.abort()
            raise

    def close(self) -> None:
        self._other.close()
        self._inner.close()


class _Unbound(_Passing):
    """Sends offsets as a client that is no member of the group: the coordinator then checks no generation."""

    def __init__(self, inner: TransactionalProducer, log: Any) -> None:
        super().__init__(inner)
        self._log = log
        self._strangers: dict[str, Any] = {}

    def send_offsets(self, offsets: Mapping[TopicPartition, int], metadata: GroupMetadata) -> None:
        if isinstance(metadata, MemoryGroupMetadata):
            self._inner.send_offsets(offsets, MemoryGroupMetadata(metadata.group, 0, NO_GENERATION))
            return
        inner = self._inner
        assert isinstance(inner, KafkaTransactionalProducer), "only the memory log and Kafka are known here"
        rows = [
            KafkaTopicPartition(inner._prefix + place.topic, place.partition, offset)
            for place, offset in offsets.items()
        ]
        seconds = inner._call_seconds
        inner._call(inner._producer.send_offsets_to_transaction, rows, self._stranger(metadata), seconds)

    def _stranger(self, metadata: GroupMetadata) -> Any:
        """Membership of a client that has never joined; it holds the group's name and nothing else."""
        assert isinstance(metadata, bytes)
        start = len(kafka_producer._METADATA_MAGIC) + 4
        group = metadata[start : metadata.index(b"\0", start)].decode()
        if group not in self._strangers:
            settings = {**self._log._base, "group.id": group, "enable.auto.commit": False}
            self._strangers[group] = Consumer(settings)
        return self._strangers[group].consumer_group_metadata()


class _Positions(_Passing):
    """Commits how far the consumer has read, the batch included that is still being fetched."""

    def __init__(self, inner: TransactionalProducer, consumers: Mapping[str, GroupConsumer]) -> None:
        super().__init__(inner)
        self._consumers = consumers
        self._read: dict[TopicPartition, int] = {}
        self._moved: dict[TopicPartition, int] = {}

    def begin(self) -> None:
        self._read, self._moved = {}, {}
        for consumer in self._consumers.values():
            self._read |= consumer.positions()
        self._inner.begin()

    def produce(self, records: Sequence[OutgoingRecord]) -> None:
        self._inner.produce([self._ahead(record) if _is_progress(record) else record for record in records])

    def send_offsets(self, offsets: Mapping[TopicPartition, int], metadata: GroupMetadata) -> None:
        """What the changelog says in the same transaction, so that the two do not contradict each other."""
        self._inner.send_offsets({place: self._moved.get(place, at) for place, at in offsets.items()}, metadata)

    def _ahead(self, record: OutgoingRecord) -> OutgoingRecord:
        assert record.partition is not None, "a changelog row lies in the partition of its inputs"
        row = json.loads(record.value or b"{}")
        for topic, at in row["offsets"].items():
            place = TopicPartition(topic, record.partition)
            # A partition that was not yet read has no position, and several groups may read one topic.
            row["offsets"][topic] = self._moved[place] = max(at, self._read.get(place, at))
        return msgspec.structs.replace(record, value=json.dumps(row).encode())


class _Forward(_Passing):
    """Ignores a seek of a partition that has been resumed: the first one, to where reading begins, is obeyed."""

    def __init__(self, listener: RebalanceListener) -> None:
        super().__init__(None)
        self._listener = listener
        self._resumed: set[TopicPartition] = set()

    def bind(self, inner: GroupConsumer) -> None:
        self._inner = inner

    def on_assigned(self, partitions: Sequence[TopicPartition]) -> None:
        self._resumed.difference_update(partitions)
        self._listener.on_assigned(partitions)

    def on_revoked(self, partitions: Sequence[TopicPartition]) -> None:
        self._listener.on_revoked(partitions)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        wanted = list(partitions)
        self._resumed.update(wanted)
        self._inner.resume(wanted)

    def seek(self, offsets: Mapping[TopicPartition, int]) -> None:
        self._inner.seek({place: offset for place, offset in offsets.items() if place not in self._resumed})

    def poll(self, records_max: int, timeout_seconds: float) -> list[LogRecord]:
        return cast(list[LogRecord], self._inner.poll(records_max, timeout_seconds))


def _read_uncommitted(log: Any) -> None:
    """Kafka: every consumer of this process from now on. Another log is asked to do it."""
    if not isinstance(log, KafkaLog):
        log.read_uncommitted()
        return

    def consumer(settings: Mapping[str, Any], **options: Any) -> Consumer:
        return Consumer({**settings, "isolation.level": "read_uncommitted"}, **options)

    cast(Any, kafka_log).Consumer = consumer
    cast(Any, kafka_reader).Consumer = consumer


# --- the stage


class _Forgetful(_Passing):
    """A capture stage that never finds an execution it has seen."""

    def process(self, batch: Sequence[Received], state: State, now_us: int) -> list[Outcome]:
        return cast(list[Outcome], self._inner.process(batch, cast(State, _Amnesia(state)), now_us))


class _Amnesia(_Passing):
    def get(self, kind: type[T], key: str) -> T | None:
        return None if kind is SeenExecution else cast(T | None, self._inner.get(kind, key))
