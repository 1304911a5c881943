"""What the client's statistics say about lag when offsets are committed by a transactional producer.

`python -m tests.trials.consumer_lag` reads a topic and commits its offsets in transactions, and prints beside each
other what `stats_cb` gave at that moment and what is true. The group begins with offset 10 committed plainly.
"""

from __future__ import annotations

import json

from confluent_kafka import Consumer, Producer, TopicPartition

from deploy.local.kafka_broker import LocalKafka
from services.adapters.kafka_log import KafkaLog
from services.engine.log import TopicPartition as LogPartition
from tests.support.broker import create_topics
from tests.trials.clients import SECONDS_MAX, group_consumer, new_name, table, transactional_producer

RECORDS = 1000
BATCH = 90
START = 10
STATISTICS_MS = 200
HEADER = ("moment", "stats committed_offset", "stats ls_offset", "stats consumer_lag", "true committed", "true lag")


class Statistics:
    """The last row that the client gave for the partition."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self.rows = 0
        self.last: dict[str, int] = {}

    def __call__(self, text: str) -> None:
        """Called by the client from poll."""
        topics = json.loads(text)["topics"]
        if self._topic in topics:
            self.rows += 1
            self.last = topics[self._topic]["partitions"]["0"]


def _fill(bootstrap_servers: str, topic: str, *, transactional: bool) -> None:
    if not transactional:
        plain = Producer({"bootstrap.servers": bootstrap_servers})
        for number in range(RECORDS):
            plain.produce(topic, str(number))
        plain.flush(SECONDS_MAX)
        return
    producer = transactional_producer(bootstrap_servers, new_name("fill"))
    producer.begin_transaction()
    for number in range(RECORDS):
        producer.produce(topic, str(number))
    producer.commit_transaction(SECONDS_MAX)


def _row(moment: str, consumer: Consumer, statistics: Statistics, bootstrap_servers: str, topic: str) -> list[object]:
    seen = statistics.rows
    while statistics.rows < seen + 2:  # one that was begun after this moment
        consumer.poll(0.05)
    committed = consumer.committed([TopicPartition(topic, 0)], SECONDS_MAX)[0].offset
    log = KafkaLog(bootstrap_servers)
    end = log.end_offsets([LogPartition(topic, 0)], committed_only=True)[LogPartition(topic, 0)]
    log.close()
    last = statistics.last
    true_lag = end - max(committed, 0)
    return [moment, last["committed_offset"], last["ls_offset"], last["consumer_lag"], committed, true_lag]


def measure(bootstrap_servers: str, *, transactional: bool) -> None:
    """Read the topic to its end, committing in transactions, and print the table."""
    topic = new_name("lag")
    create_topics(bootstrap_servers, topic)
    _fill(bootstrap_servers, topic, transactional=transactional)
    earlier = group_consumer(bootstrap_servers, topic)
    earlier.commit(offsets=[TopicPartition(topic, 0, START)], asynchronous=False)
    earlier.close()
    statistics = Statistics(topic)
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": topic,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "isolation.level": "read_committed",
            "statistics.interval.ms": STATISTICS_MS,
            "stats_cb": statistics,
        }
    )
    consumer.subscribe([topic])
    producer = transactional_producer(bootstrap_servers, topic)
    rows = []
    done = START
    while done < RECORDS:
        messages = [message for message in consumer.consume(min(BATCH, RECORDS - done), 1.0) if not message.error()]
        done += len(messages)
        if messages:
            producer.begin_transaction()
            offset = (messages[-1].offset() or 0) + 1
            metadata = consumer.consumer_group_metadata()
            producer.send_offsets_to_transaction([TopicPartition(topic, 0, offset)], metadata, SECONDS_MAX)
            producer.commit_transaction(SECONDS_MAX)
        if done in (START + BATCH, START + 5 * BATCH, RECORDS):
            rows.append(_row(f"{done} of {RECORDS} committed", consumer, statistics, bootstrap_servers, topic))
            consumer.seek(TopicPartition(topic, 0, done))  # waiting for statistics polls, and may have read on
    table(HEADER, rows)
    consumer.close()


def main() -> None:
    """Run on a broker of its own: a topic written plainly, then one written in a transaction."""
    with LocalKafka(quick=True) as kafka:
        for transactional in (False, True):
            measure(kafka.bootstrap_servers, transactional=transactional)


if __name__ == "__main__":
    main()
