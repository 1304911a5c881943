"""Reference data read with confluent-kafka, for the programs that run on it."""

from __future__ import annotations

from collections.abc import Iterator

from confluent_kafka import Consumer, KafkaError, TopicPartition

from tests.bench.peers.wiring import REFERENCE_TOPICS


def reference_values(servers: str, prefix: str) -> Iterator[tuple[str, bytes]]:
    """Topic, without the prefix, and value of every record of reference data that is there now."""
    settings = {"bootstrap.servers": servers, "group.id": f"{prefix}reference", "enable.partition.eof": True}
    consumer = Consumer(settings | {"enable.auto.commit": False})
    found = [consumer.list_topics(prefix + topic, 10).topics[prefix + topic] for topic in REFERENCE_TOPICS]
    partitions = [TopicPartition(str(topic.topic), number, 0) for topic in found for number in topic.partitions]
    consumer.assign(partitions)
    unfinished = len(partitions)
    while unfinished:
        for message in consumer.consume(1_000, 1.0):
            error = message.error()
            if error is None:
                yield str(message.topic())[len(prefix) :], message.value() or b""
            elif error.code() == KafkaError._PARTITION_EOF:
                unfinished -= 1
            else:
                raise RuntimeError(f"reference data could not be read: {error.str()}")
    consumer.close()
