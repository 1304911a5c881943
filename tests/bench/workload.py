"""Topics, filling them before the clock starts, and waiting for what comes out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec  # type: ignore[attr-defined]

from deploy.local.guarded_process import GuardedProcess

PARTITIONS = 4
VALUE_BYTES = 111  # the size of an Avro trade with thirteen short fields
WAIT_SECONDS_MAX = 180.0
_QUIET_SECONDS = 1.5
"""An output that has not grown for so long is looked at; looking earlier would take from what is measured."""
_BODIES = 997
_ANSWER_SECONDS = 30


def _client(servers: str) -> dict[str, Any]:
    return {"bootstrap.servers": servers, "log_level": 2}  # a broker that has stopped is no news


class Record(NamedTuple):
    """One record to send, or one that came: topic, without prefix where the other side has none."""

    topic: str
    key: bytes
    value: bytes


def make_topics(
    bootstrap_servers: str, *names: str, compact: bool = False, partitions: int = PARTITIONS, stamped: bool = False
) -> None:
    """Create topics. `stamped`: the broker's clock gives the time of each record, whatever the sender says."""
    config = {"cleanup.policy": "compact"} if compact else {}
    if stamped:
        config["message.timestamp.type"] = "LogAppendTime"
    admin = AdminClient(_client(bootstrap_servers))
    topics = [NewTopic(name, partitions, 1, config=config) for name in names]
    for created in admin.create_topics(topics).values():
        created.result(_ANSWER_SECONDS)


def delete_topics_of(bootstrap_servers: str, prefix: str) -> None:
    """Delete every topic of a run, those that a program made for itself included, so that the disk does not fill."""
    admin = AdminClient(_client(bootstrap_servers))
    names = [name for name in admin.list_topics(timeout=_ANSWER_SECONDS).topics if prefix in name]
    for deleted in admin.delete_topics(names).values() if names else ():
        deleted.result(_ANSWER_SECONDS)


def plain_records(topic: str, count: int, bodies: Sequence[bytes]) -> Iterator[Record]:
    """`count` records of `VALUE_BYTES`, keys and values distinct; bodies are what values hold besides a number."""
    wanted = VALUE_BYTES - 12
    cut = [(body * (wanted // len(body) + 1))[:wanted] for body in bodies[:_BODIES]]
    for number in range(count):
        yield Record(topic, b"key-%d" % number, b"%012d" % number + cut[number % len(cut)])


def fill(bootstrap_servers: str, prefix: str, records: Iterable[Record]) -> None:
    """Write the records to their topics, below the prefix. Raises RuntimeError when one was not taken."""
    producer = Producer(
        {
            **_client(bootstrap_servers),
            "linger.ms": 20,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 1_000_000,
        }
    )
    failures: list[str] = []

    def told(error: KafkaError | None, _: object) -> None:
        if error is not None:
            failures.append(error.str())

    for number, (topic, key, value) in enumerate(records):
        producer.produce(prefix + topic, value, key, on_delivery=told)
        if number % 10_000 == 0:
            producer.poll(0)
    left = producer.flush(WAIT_SECONDS_MAX)
    if left or failures:
        raise RuntimeError(f"{left + len(failures)} records were not written: {failures[:1]}")


class Arrived(NamedTuple):
    """One record of an output topic."""

    timestamp_ms: int
    key: bytes
    value: bytes


@dataclass(frozen=True)
class Delivery:
    """What an output topic holds, read after the run so that reading takes nothing from what is measured."""

    records: Sequence[Arrived]
    began_ms: int | None = None
    """The broker's time of the first record of the first step, where there are several."""

    @property
    def keys(self) -> set[bytes]:
        """The distinct keys."""
        return {record.key for record in self.records}

    def seconds_after(self, warm_up: int) -> float:
        """Between the broker's times of the last record of the warm-up, or of the beginning, and the last of all."""
        times = sorted(record.timestamp_ms for record in self.records)
        began_ms = self.began_ms if self.began_ms is not None else times[max(0, warm_up - 1)]
        return (times[-1] - began_ms) / 1000


def await_delivery(servers: str, topic: str, *, count: int, process: GuardedProcess) -> Delivery:
    """Wait until committed records with `count` distinct keys are on the topic.

    Raises RuntimeError when the program ends, TimeoutError when time is up.
    """
    admin = AdminClient(_client(servers))
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    partitions = {TopicPartition(topic, number): latest for number in range(PARTITIONS)}
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    end, end_since, looked_at = 0, time.monotonic(), 0
    while True:
        try:
            ends = admin.list_offsets(partitions, isolation_level=IsolationLevel.READ_COMMITTED)
            found = sum(answer.result().offset for answer in ends.values())
        except KafkaException:  # a topic that was just made has no leader for a moment
            found = end
        if found != end:
            end, end_since = found, time.monotonic()
        # Markers of transactions count as offsets, so that there may be fewer records than that.
        if count <= end != looked_at and time.monotonic() - end_since >= _QUIET_SECONDS:
            looked_at, delivery = end, Delivery(list(read(servers, topic)))
            if len(delivery.keys) >= count:
                return delivery
        if process.exit_code() is not None:
            raise RuntimeError(f"the measured program ended with exit code {process.exit_code()}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"{topic} held {end} offsets after {WAIT_SECONDS_MAX:.0f} s, {count} records were due")
        time.sleep(0.25)


def read(servers: str, topic: str, *, partitions: int = PARTITIONS) -> Iterator[Arrived]:
    """Every committed record of a topic, in the order of each partition."""
    settings = _client(servers) | {"group.id": "bench", "enable.partition.eof": True}
    consumer = Consumer(settings | {"isolation.level": "read_committed", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
    unfinished = partitions
    while unfinished:
        for message in consumer.consume(10_000, 1.0):
            error = message.error()
            if error is None:
                yield Arrived(message.timestamp()[1], message.key() or b"", message.value() or b"")
            elif error.code() == KafkaError._PARTITION_EOF:
                unfinished -= 1
            else:
                raise RuntimeError(f"{topic} could not be read: {error.str()}")
    consumer.close()
