"""The canonical workload: small records, spread over four partitions, written before the clock starts."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass

from confluent_kafka import Consumer, IsolationLevel, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec  # type: ignore[attr-defined]

PARTITIONS = 4
VALUE_BYTES = 111  # the size of an Avro trade with thirteen short fields
WAIT_SECONDS_MAX = 120.0


def make_topics(bootstrap_servers: str, *names: str, compact: bool = False) -> None:
    """Create topics of four partitions."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    config = {"cleanup.policy": "compact"} if compact else {}
    topics = [NewTopic(name, PARTITIONS, 1, config=config) for name in names]
    for created in admin.create_topics(topics).values():
        created.result(30)


def fill(bootstrap_servers: str, topic: str, count: int) -> None:
    """Write `count` records with distinct keys."""
    producer = Producer(
        {"bootstrap.servers": bootstrap_servers, "linger.ms": 20, "queue.buffering.max.messages": 1_000_000}
    )
    body = b"v" * (VALUE_BYTES - 12)
    for number in range(count):
        producer.produce(topic, b"%012d" % number + body, b"key-%d" % number)
        if number % 10_000 == 0:
            producer.poll(0)
    producer.flush(WAIT_SECONDS_MAX)


@dataclass(frozen=True)
class Delivery:
    """What an output topic holds, read after the run so that reading takes nothing from what is measured."""

    distinct: int
    records: int
    seconds: float
    """Between the timestamps of the first and the last record after the warm-up."""


def await_delivery(servers: str, topic: str, *, count: int, warm_up: int, process: subprocess.Popen[bytes]) -> Delivery:
    """Wait until `count` distinct committed records are on the topic. Raises when the program ends or time is up."""
    admin = AdminClient({"bootstrap.servers": servers})
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    partitions = {TopicPartition(topic, number): latest for number in range(PARTITIONS)}
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while True:
        ends = admin.list_offsets(partitions, isolation_level=IsolationLevel.READ_COMMITTED)
        if sum(end.result().offset for end in ends.values()) >= count:
            delivery = _read(servers, topic, warm_up)
            if delivery.distinct >= count:
                return delivery
        if process.poll() is not None:
            raise RuntimeError(f"the measured program ended with exit code {process.returncode}; see its log")
        if time.monotonic() > deadline:
            raise TimeoutError(f"{topic} was not complete after {WAIT_SECONDS_MAX:.0f} s; see the program's log")
        time.sleep(0.5)


def _read(servers: str, topic: str, warm_up: int) -> Delivery:
    settings = {"bootstrap.servers": servers, "group.id": "bench", "enable.partition.eof": True}
    consumer = Consumer(settings | {"isolation.level": "read_committed", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
    values: set[bytes] = set()
    times: list[int] = []
    open_partitions = PARTITIONS
    while open_partitions:
        for message in consumer.consume(10_000, 1.0):
            if message.error() is not None:
                open_partitions -= 1
                continue
            values.add(message.value() or b"")
            times.append(message.timestamp()[1])
    consumer.close()
    times.sort()
    measured = times[warm_up:]
    return Delivery(len(values), len(times), (measured[-1] - measured[0]) / 1000 if len(measured) > 1 else 0.0)
