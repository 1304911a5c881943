"""The two logs under test, behind one fixture, and helpers that wait for events instead of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import pytest

from services.adapters.kafka_log import KafkaLog
from services.adapters.memory_log import MemoryLog
from services.engine.log import GroupConsumer, Log, LogRecord, OutgoingRecord, TopicPartition
from tests.support.broker import create_topics

WAIT_SECONDS_MAX = 60.0
TOPICS = {"in": 4, "other-in": 4, "out": 2, "single": 1}


@pytest.fixture(params=["memory", "kafka"])
def log(request: pytest.FixtureRequest) -> Iterator[Log]:
    """Each test of the suite runs once on every implementation, on topics of its own."""
    if request.param == "memory":
        yield MemoryLog(TOPICS)
        return
    bootstrap_servers = request.getfixturevalue("kafka")
    prefix = request.getfixturevalue("prefix") + "."
    for name, partitions in TOPICS.items():
        create_topics(bootstrap_servers, prefix + name, partitions=partitions)
    kafka_log = KafkaLog(bootstrap_servers, prefix=prefix)
    yield kafka_log
    kafka_log.close()


class Ownership:
    """A listener that notes what happened and resumes what was assigned."""

    def __init__(self, *, resume: bool = True) -> None:
        """With `resume` false the partitions stay paused, as during a restore."""
        self.owned: set[TopicPartition] = set()
        self.events: list[str] = []
        self.consumer: GroupConsumer | None = None
        self._resume = resume

    def on_assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """Note, and read on from what is committed."""
        self.events.append("assigned")
        self.owned |= set(partitions)
        if self._resume and self.consumer is not None:
            self.start(partitions)

    def start(self, partitions: Iterable[TopicPartition]) -> None:
        """Read on from what the group has committed, else from the beginning."""
        assert self.consumer is not None
        committed = self.consumer.committed(partitions)
        self.consumer.seek({partition: offset or 0 for partition, offset in committed.items()})
        self.consumer.resume(committed)

    def on_revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """Note."""
        self.events.append("revoked")
        self.owned -= set(partitions)


def join(log: Log, group: str, *topics: str, resume: bool = True) -> tuple[GroupConsumer, Ownership]:
    """A new member of a group, not yet polled."""
    ownership = Ownership(resume=resume)
    consumer = log.consumer(group, topics, ownership)
    ownership.consumer = consumer
    return consumer, ownership


def poll_until(condition: Callable[[], bool], *consumers: GroupConsumer) -> list[LogRecord]:
    """Poll all consumers in turn until the condition holds; everything they delivered."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    records: list[LogRecord] = []
    while not condition():
        assert time.monotonic() < deadline, "the awaited condition did not come about"
        for consumer in consumers:
            records += consumer.poll(1000, 0.05)
    return records


def poll_count(consumer: GroupConsumer, count: int) -> list[LogRecord]:
    """Poll until so many records have come."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    records: list[LogRecord] = []
    while len(records) < count:
        assert time.monotonic() < deadline, f"{len(records)} of {count} records came"
        records += consumer.poll(count - len(records), 0.05)
    return records


def committed_values(log: Log, topic: str) -> list[bytes | None]:
    """Values of every committed record of a topic, partition by partition."""
    partitions = [TopicPartition(topic, number) for number in range(log.partitions(topic))]
    reader = log.reader(dict.fromkeys(partitions, 0))
    records: list[LogRecord] = []
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not reader.at_end():
        assert time.monotonic() < deadline, "the reader did not come to the end"
        records += reader.poll(1000, 0.05)
    reader.close()
    return [record.value for record in sorted(records, key=lambda r: (r.partition, r.offset))]


def send(log: Log, topic: str, *values: str, partition: int | None = None) -> None:
    """Write values under themselves as keys."""
    log.send(OutgoingRecord(topic, value.encode(), value.encode(), (), partition) for value in values)
