"""Topics read to their end: committed records only, each partition in the order of its offsets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from services.engine.log import Log, LogRecord, TopicPartition

_RECORDS_MAX = 5_000
_POLL_SECONDS = 0.1


def partitions_of(log: Log, topics: Iterable[str]) -> list[TopicPartition]:
    """Every partition of the topics. Raises LogError when a topic does not exist."""
    return [TopicPartition(topic, number) for topic in topics for number in range(log.partitions(topic))]


def read_all(log: Log, topics: Iterable[str]) -> Iterator[LogRecord]:
    """Every committed record that is there at the start; records of transactions then open are waited for."""
    reader = log.reader(dict.fromkeys(partitions_of(log, topics), 0))
    try:
        while not reader.at_end():
            yield from reader.poll(_RECORDS_MAX, _POLL_SECONDS)
    finally:
        reader.close()
