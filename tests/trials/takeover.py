"""How long the next owner waits after kill -9 in an open transaction, with the dead worker's id and with another.

`python -m tests.trials.takeover` starts a worker as a process of its own that opens a transaction with records and
offsets and is killed; then measures when a successor has its identity, and when the group's committed offsets can be
read again (until then the broker answers UNSTABLE_OFFSET_COMMIT and the client repeats). Kafka looks for transactions
past their timeout at an interval; the local broker's is 1 s, Kafka's own 10 s.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time

from confluent_kafka import TopicPartition

from deploy.local.kafka_broker import LocalKafka
from deploy.local.kafka_jars import REPOSITORY
from tests.support.broker import create_topics
from tests.trials.clients import (
    SECONDS_MAX,
    await_assignment,
    group_consumer,
    new_name,
    say,
    table,
    transactional_producer,
)

RUNS = 3
HEADER = ("cleanup interval", "successor's id", "identity after s", "offsets readable after s", "partitions after s")


def open_transaction(bootstrap_servers: str, topic: str) -> None:
    """The worker that will be killed: say "open" once the transaction holds records and offsets, then wait."""
    consumer = group_consumer(bootstrap_servers, topic)
    consumer.subscribe([topic])
    await_assignment(consumer)
    producer = transactional_producer(bootstrap_servers, topic)
    producer.begin_transaction()
    producer.produce(topic, b"never committed")
    producer.flush(SECONDS_MAX)
    offsets = [TopicPartition(topic, 0, 1)]
    producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata(), SECONDS_MAX)
    say("open")
    signal.pause()


def _kill_one(bootstrap_servers: str, topic: str) -> float:
    command = [sys.executable, "-m", "tests.trials.takeover", bootstrap_servers, topic]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "open\n"
        worker.kill()
    return time.monotonic()


def measure(bootstrap_servers: str, *, same_id: bool) -> tuple[float, float, float]:
    """Kill a worker and take over; seconds since the kill until identity, offsets and partitions were there."""
    topic = new_name("takeover")
    create_topics(bootstrap_servers, topic)
    killed = _kill_one(bootstrap_servers, topic)
    transactional_producer(bootstrap_servers, topic if same_id else new_name("other"))
    identity = time.monotonic() - killed
    observer = group_consumer(bootstrap_servers, topic)
    observer.committed([TopicPartition(topic, 0)], 4 * SECONDS_MAX)
    offsets = time.monotonic() - killed
    observer.subscribe([topic])
    await_assignment(observer)
    partitions = time.monotonic() - killed
    observer.close()
    return identity, offsets, partitions


def main() -> None:
    """Run on brokers of its own."""
    rows = []
    for interval_ms in (1_000, 10_000):
        settings = {"transaction.abort.timed.out.transaction.cleanup.interval.ms": str(interval_ms)}
        with LocalKafka(quick=True, settings=settings) as kafka:
            for same_id in (True, False):
                measured = [measure(kafka.bootstrap_servers, same_id=same_id) for _ in range(RUNS)]
                spans = [f"{min(values):.1f}–{max(values):.1f}" for values in zip(*measured, strict=True)]
                rows.append([f"{interval_ms // 1000} s", "the same" if same_id else "another", *spans])
    table(HEADER, rows)


if __name__ == "__main__":
    if sys.argv[1:]:
        open_transaction(*sys.argv[1:])
    else:
        main()
