"""Reading Kafka outside of any group, and what the group consumer shares with it."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaTopicPartition

from services.adapters.kafka_errors import PASSING_CODES, error_text
from services.engine.log import LogError, LogRecord, TopicPartition

LOGGER = logging.getLogger("librdkafka")
"""librdkafka's own lines go through Python's logging, so that the worker's log has one format and one level."""


def to_record(message: Message[Any, Any], prefix_length: int) -> LogRecord:
    """A message that is no error has topic, partition and offset, which the client's types do not say."""
    try:
        headers = message.headers()
    except (SystemError, UnicodeDecodeError) as error:
        _pass_over(error, message)
        headers = None
    return LogRecord(
        message.topic()[prefix_length:],  # type: ignore[index]
        message.partition(),  # type: ignore[arg-type]
        message.offset(),  # type: ignore[arg-type]
        message.key(),
        message.value(),
        message.timestamp()[1],
        tuple(headers) if headers else (),  # type: ignore[arg-type]
    )


def _pass_over(error: Exception, message: Message[Any, Any]) -> None:
    """Say that headers cannot be read. Raises the error again when it is another one.

    Kafka takes any bytes for the name of a header, the client only UTF-8, and gives none of them back then. No service
    looks at the headers of its input, so the record itself goes on.
    """
    if not isinstance(error, UnicodeDecodeError) and not isinstance(error.__cause__, UnicodeDecodeError):
        raise error
    _say_passed_over(message.topic())


@functools.cache  # once for each topic: a sender that does it once does it always
def _say_passed_over(topic: str | None) -> None:
    LOGGER.warning("a header in %s has a name that is not UTF-8; such records are read without their headers", topic)


def end_of_partition(message: Message[Any, Any], prefix_length: int) -> tuple[TopicPartition, int]:
    """Partition and offset of an end-of-partition event."""
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None, "an end of partition says of which topic"
    assert partition is not None, "and of which partition"
    assert offset is not None, "and where"
    return TopicPartition(topic[prefix_length:], partition), offset


class KafkaReader:
    """A consumer with assigned partitions, for state, reference data and tools."""

    def __init__(
        self,
        base: Mapping[str, Any],
        prefix: str,
        offsets: Mapping[TopicPartition, int],
        ends: Mapping[TopicPartition, int],
    ) -> None:
        """Assign the partitions."""
        self._prefix = prefix
        self._pending = {partition for partition, end in ends.items() if end > offsets[partition]}
        self._ends = dict(ends)
        self._consumer = Consumer(
            dict(base)
            | {
                "group.id": prefix + "reader",  # demanded by librdkafka; nothing is ever committed under it
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 50,
                "fetch.message.max.bytes": 4_194_304,
            },
            logger=LOGGER,
        )
        rows = [KafkaTopicPartition(prefix + key.topic, key.partition, offset) for key, offset in offsets.items()]
        self._consumer.assign(rows)

    def poll(self, records_max: int, timeout_seconds: float) -> list[LogRecord]:
        """Fetch records and note which partitions have reached their measured end."""
        records: list[LogRecord] = []
        prefix_length = len(self._prefix)
        try:
            messages = self._consumer.consume(records_max, timeout_seconds)
        except KafkaException as failure:
            raise LogError(f"a partition could not be read: {error_text(failure)}") from failure
        for message in messages:
            error = message.error()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  # see kafka_errors
                self._note(*end_of_partition(message, prefix_length))
                continue
            if error is not None and (error.code() in PASSING_CODES or error.retriable()):
                LOGGER.debug("a reader waits: %s", error.str())
                continue
            if error is not None:
                raise LogError(f"a partition could not be read: {error.str()}")
            record = to_record(message, prefix_length)
            records.append(record)
            self._note(TopicPartition(record.topic, record.partition), record.offset + 1)
        return records

    def _note(self, partition: TopicPartition, position: int) -> None:
        # An end-of-partition event under read_committed may mean "a transaction is open": only the position counts.
        if partition in self._pending and position >= self._ends[partition]:
            self._pending.discard(partition)

    def at_end(self) -> bool:
        """Whether the ends measured at the start are reached."""
        return not self._pending

    def close(self) -> None:
        """Let the client go."""
        self._consumer.close()
