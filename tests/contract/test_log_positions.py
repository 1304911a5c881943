"""Where a group reads from: nowhere unless it is told, never before that place, and never past what was deleted."""

from __future__ import annotations

import time

import pytest
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import AdminClient

from services.adapters.kafka_log import KafkaLog
from services.adapters.memory_log import MemoryLog
from services.engine.log import GroupConsumer, Log, LogError, OffsetsLost, TopicPartition
from tests.contract.logs import WAIT_SECONDS_MAX, join, log, poll_count, poll_until, send
from tests.support.broker import create_topics

__all__ = ["log"]

PARTITION = TopicPartition("single", 0)
_ADMIN_SECONDS_MAX = 20.0


def _admin(log: KafkaLog) -> AdminClient:
    return AdminClient({"bootstrap.servers": log._base["bootstrap.servers"]})


def _delete_below(log: Log, offset: int) -> None:
    """Delete records as retention would."""
    if isinstance(log, MemoryLog):
        log.delete_records({PARTITION: offset})
        return
    assert isinstance(log, KafkaLog)
    place = KafkaTopicPartition(log.prefix + PARTITION.topic, PARTITION.partition, offset)
    admin = _admin(log)  # must live until it has answered
    for deleted in admin.delete_records([place]).values():
        deleted.result(_ADMIN_SECONDS_MAX)


def _recreate(log: Log) -> None:
    if isinstance(log, MemoryLog):
        log.recreate("single")
        return
    assert isinstance(log, KafkaLog)
    name = log.prefix + "single"
    admin = _admin(log)
    for deleted in admin.delete_topics([name], operation_timeout=_ADMIN_SECONDS_MAX).values():
        deleted.result(_ADMIN_SECONDS_MAX)
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while name in admin.list_topics(timeout=_ADMIN_SECONDS_MAX).topics:
        assert time.monotonic() < deadline, "the topic is still there"
    create_topics(log._base["bootstrap.servers"], name)


def _poll_until_lost(consumer: GroupConsumer) -> OffsetsLost:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while time.monotonic() < deadline:
        try:
            assert consumer.poll(10, 0.1) == []
        except OffsetsLost as error:
            return error
    raise AssertionError("nothing was said about the records that are gone")


def test_start_and_end_offsets_tell_what_a_partition_holds(log: Log) -> None:
    """A worker compares them with what its group has committed before it reads."""
    assert log.start_offsets([PARTITION]) == {PARTITION: 0}
    send(log, "single", *"abcdef")
    _delete_below(log, 4)
    assert log.start_offsets([PARTITION]) == {PARTITION: 4}
    assert log.end_offsets([PARTITION], committed_only=False) == {PARTITION: 6}
    assert log.start_offsets([]) == {}


def test_a_partition_that_was_not_told_where_to_read_is_not_read(log: Log) -> None:
    """No default is right: the beginning would do everything twice, the end would lose what came meanwhile."""
    send(log, "single", "a", "b")
    consumer, ownership = join(log, "g", "single", resume=False)
    poll_until(lambda: "assigned" in ownership.events, consumer)
    with pytest.raises(LogError, match="was not told where to read"):
        consumer.resume([PARTITION])
    assert consumer.poll(10, 0.3) == []
    consumer.close()


def test_reading_begins_exactly_where_it_is_told(log: Log) -> None:
    """Also directly after the assignment, when the client may not have taken it over yet; nothing before it comes."""
    send(log, "single", *(str(number) for number in range(50)))
    for start in (0, 17, 49):
        consumer, ownership = join(log, f"g{start}", "single", resume=False)
        poll_until(lambda events=ownership.events: "assigned" in events, consumer)  # type: ignore[misc]
        consumer.seek({PARTITION: start})
        consumer.resume([PARTITION])
        records = poll_count(consumer, 50 - start)
        assert [record.offset for record in records] == list(range(start, 50))
        consumer.close()


def test_a_place_that_is_not_ours_is_neither_sought_nor_resumed(log: Log) -> None:
    """What was revoked between the decision and the call."""
    consumer, ownership = join(log, "g", "single")
    poll_until(lambda: "assigned" in ownership.events, consumer)
    foreign = TopicPartition("in", 2)
    consumer.seek({foreign: 3})
    consumer.resume([foreign])
    assert foreign not in consumer.positions()
    consumer.close()


def test_records_deleted_before_they_were_read_are_an_error_that_names_them(log: Log) -> None:
    """Lost trades must page somebody; the client's own defaults would go on at the oldest or newest in silence."""
    send(log, "single", *(str(number) for number in range(10)))
    consumer, ownership = join(log, "g", "single", resume=False)
    poll_until(lambda: "assigned" in ownership.events, consumer)
    _delete_below(log, 8)
    consumer.seek({PARTITION: 3})
    consumer.resume([PARTITION])
    sentence = str(_poll_until_lost(consumer))
    assert f"{log.prefix}g cannot go on in partition 0 of {log.prefix}single" in sentence
    assert f"--group {log.prefix}g --topic {log.prefix}single:0" in sentence, "what is pasted must exist on the wire"
    assert "its next offset is 3, but the partition holds offsets 8 to 9" in sentence
    consumer.close()


def test_a_topic_created_anew_is_an_error(log: Log) -> None:
    """The group's offset points behind its end, and would one day point into the middle of other records."""
    send(log, "single", *"abcdef")
    _recreate(log)
    send(log, "single", "x")
    consumer, ownership = join(log, "g", "single", resume=False)
    poll_until(lambda: "assigned" in ownership.events, consumer)
    consumer.seek({PARTITION: 6})
    consumer.resume([PARTITION])
    assert "its next offset is 6, but the partition holds offsets 0 to 0" in str(_poll_until_lost(consumer))
    consumer.close()


def test_what_was_delivered_is_not_delivered_again_when_the_client_starts_over(kafka: str, prefix: str) -> None:
    """A late answer to the question it asked at the assignment makes the client fetch from the beginning once more."""
    create_topics(kafka, f"{prefix}.single")
    kafka_log = KafkaLog(kafka, prefix=f"{prefix}.")
    send(kafka_log, "single", *"abcdef")
    consumer, _ = join(kafka_log, "group", "single")
    assert [record.value for record in poll_count(consumer, 6)] == [b"a", b"b", b"c", b"d", b"e", b"f"]

    consumer._consumer.seek(KafkaTopicPartition(f"{prefix}.single", 0, 0))  # type: ignore[attr-defined]
    send(kafka_log, "single", "g")
    assert [record.value for record in poll_count(consumer, 1)] == [b"g"]
    assert consumer.positions() == {PARTITION: 7}

    consumer.close()
    kafka_log.close()
