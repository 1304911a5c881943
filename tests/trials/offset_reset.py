"""What a group without committed offsets hears under auto.offset.reset=error, and what gets it going.

`python -m tests.trials.offset_reset` prints for each way to assign ten records how many came, and what came instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from confluent_kafka import OFFSET_BEGINNING, OFFSET_INVALID, Consumer, Producer, TopicPartition

from deploy.local.kafka_broker import LocalKafka
from tests.support.broker import create_topics
from tests.trials.clients import SECONDS_MAX, group_consumer, new_name, outcome, table

RECORDS = 10
BEHIND_THE_END = 99
SETTLE_SECONDS = 2.0


def _poll(consumer: Consumer, seconds: float, until: Callable[[], bool] = lambda: False) -> tuple[int, list[str]]:
    count, events = 0, []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not until():
        message = consumer.poll(0.1)
        error = None if message is None else message.error()
        if error is not None:
            events.append(f"{error.code()} {error.name()}: {error.str()}")
        elif message is not None:
            count += 1
    return count, events


def measure(bootstrap_servers: str, *, assigned_at: int, seek_to: int | None) -> list[object]:
    """Assign and pause in the callback, seek after a while, resume, and count."""
    topic = new_name("reset")
    create_topics(bootstrap_servers, topic)
    writer = Producer({"bootstrap.servers": bootstrap_servers})
    for _ in range(RECORDS):
        writer.produce(topic, b"x")
    writer.flush(SECONDS_MAX)
    assigned: list[bool] = []

    def on_assign(consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.assign([TopicPartition(row.topic, row.partition, assigned_at) for row in partitions])
        consumer.pause(partitions)
        assigned.append(True)

    consumer = group_consumer(bootstrap_servers, topic, auto_offset_reset="error")
    consumer.subscribe([topic], on_assign=on_assign)
    _, events = _poll(consumer, SECONDS_MAX, lambda: bool(assigned))
    events += _poll(consumer, SETTLE_SECONDS)[1]
    seek = "–" if seek_to is None else outcome(lambda: consumer.seek(TopicPartition(topic, 0, seek_to)))
    consumer.resume([TopicPartition(topic, 0)])
    count, more = _poll(consumer, SETTLE_SECONDS)
    consumer.close()
    return [assigned_at, seek, f"{count} of {RECORDS}", "; ".join(events + more) or "–"]


def main() -> None:
    """Run on a broker of its own."""
    with LocalKafka(quick=True) as kafka:
        rows = [
            measure(kafka.bootstrap_servers, assigned_at=assigned_at, seek_to=seek_to)
            for assigned_at in (OFFSET_INVALID, OFFSET_BEGINNING, 0, BEHIND_THE_END)
            for seek_to in (None, 0)
        ]
    table(["assigned at", "seek to 0", "records", "events"], rows)


if __name__ == "__main__":
    main()
