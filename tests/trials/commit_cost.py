"""What a transaction costs on loopback, by its size, and what the one before it still costs the next.

`python -m tests.trials.commit_cost` prints a table for 1, 100, 1000 and 5000 records in a transaction, with the
service's settings and the offsets of one group in each, without and with a flush before the offsets; then how long the
first record of a transaction waits for its acknowledgement at once after a commit and after a pause, and how often the
coordinator answered CONCURRENT_TRANSACTIONS.
"""

from __future__ import annotations

import time
from itertools import pairwise

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from deploy.local.kafka_broker import LocalKafka
from tests.support.broker import create_topics
from tests.trials.clients import (
    SECONDS_MAX,
    await_assignment,
    group_consumer,
    new_name,
    quantile,
    say,
    table,
    transactional_producer,
)

RECORD_BYTES = 300
SIZES = {1: 300, 100: 300, 1000: 200, 5000: 100}
"""Records in a transaction, and how many such transactions are measured."""
PARTITIONS = 4
PAUSE_SECONDS = 0.1
WARM_UP = 20


class _Concurrent:
    """A logger that counts how often a request met the transaction before it."""

    def __init__(self) -> None:
        self.count = 0

    def log(self, _level: int, form: str, *arguments: object) -> None:
        """Count a line of the client's debug log."""
        line = form % arguments if arguments else form
        self.count += "AddPartitionsToTxn response" in line and "concurrent operation" in line


def measure_sizes(bootstrap_servers: str, topic: str) -> None:
    """Print the table of costs by size."""
    consumer = group_consumer(bootstrap_servers, new_name("cost"))
    consumer.subscribe([topic])
    await_assignment(consumer)
    producer = transactional_producer(bootstrap_servers, new_name("cost"))
    rows = []
    for flush in (False, True):
        for size, count in SIZES.items():
            spans = [_transaction(producer, consumer, topic, size, flush=flush) for _ in range(WARM_UP + count)]
            steps = list(zip(*spans[WARM_UP:], strict=True))
            milliseconds = [f"{quantile(step, 0.5) * 1e3:.1f} / {quantile(step, 0.99) * 1e3:.1f}" for step in steps]
            rate = size * count / sum(steps[-1])
            rows.append(["yes" if flush else "no", f"{size:,}", *milliseconds, f"{rate:,.0f}"])
    header = ["flush before offsets", "records", "produce p50 / p99 ms", "offsets", "commit", "all", "records/s"]
    table(header, rows)
    consumer.close()


def _transaction(
    producer: Producer, consumer: Consumer, topic: str, size: int, *, flush: bool
) -> tuple[float, float, float, float]:
    """One transaction; seconds for producing (and the flush), for its offsets, for the commit, and for all of it."""
    times = [time.perf_counter()]
    producer.begin_transaction()
    for partition in range(min(PARTITIONS, size)):
        count = len(range(partition, size, PARTITIONS))
        producer.produce_batch(topic, [{"value": b"x" * RECORD_BYTES}] * count, partition=partition)
    if flush:
        producer.flush(SECONDS_MAX)
    times.append(time.perf_counter())
    producer.send_offsets_to_transaction([TopicPartition(topic, 0, 1)], consumer.consumer_group_metadata(), SECONDS_MAX)
    times.append(time.perf_counter())
    producer.commit_transaction(SECONDS_MAX)
    times.append(time.perf_counter())
    produced, offsets, commit = (later - earlier for earlier, later in pairwise(times))
    return produced, offsets, commit, times[-1] - times[0]


def measure_next(bootstrap_servers: str, topic: str) -> None:
    """Print how long the first record of a transaction waits, by what came before."""
    rows = []
    for pause in (0.0, PAUSE_SECONDS):
        logger = _Concurrent()
        identity = new_name("next")
        settings = {"bootstrap.servers": bootstrap_servers, "transactional.id": identity, "linger.ms": 0}
        producer = Producer(settings | {"debug": "eos"}, logger=logger)
        producer.init_transactions(SECONDS_MAX)
        waits: list[float] = []
        for _ in range(200):
            time.sleep(pause)  # the pause is what is measured
            waits.append(_first_acknowledgement(producer, topic))
            producer.commit_transaction(SECONDS_MAX)
            producer.poll(0)
        rows.append(
            [
                "at once" if not pause else f"{pause * 1e3:.0f} ms later",
                f"{quantile(waits, 0.5) * 1e3:.1f}",
                f"{quantile(waits, 0.99) * 1e3:.1f}",
                f"{logger.count / 200:.2f}",
            ]
        )
    table(["next transaction", "first ack p50 ms", "first ack p99 ms", "CONCURRENT_TRANSACTIONS per transaction"], rows)


def _first_acknowledgement(producer: Producer, topic: str) -> float:
    acknowledged: list[float] = []

    def delivered(_error: object, _message: Message) -> None:
        acknowledged.append(time.perf_counter())

    producer.begin_transaction()
    started = time.perf_counter()
    for partition in range(PARTITIONS):
        producer.produce(topic, b"x" * RECORD_BYTES, partition=partition, on_delivery=delivered)
    producer.flush(SECONDS_MAX)
    return acknowledged[0] - started


def main() -> None:
    """Run on a broker of its own."""
    with LocalKafka() as kafka:
        topic = new_name("cost")
        create_topics(kafka.bootstrap_servers, topic, partitions=PARTITIONS)
        measure_sizes(kafka.bootstrap_servers, topic)
        say("")
        measure_next(kafka.bootstrap_servers, topic)


if __name__ == "__main__":
    main()
