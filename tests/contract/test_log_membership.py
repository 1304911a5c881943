"""What exactly-once rests on beyond a plain transaction: who may commit for a group, and what a new owner waits for."""

from __future__ import annotations

import threading

import pytest
from confluent_kafka import Consumer

from services.adapters.kafka_log import KafkaLog
from services.engine.log import AbortRequired, GroupConsumer, Log, OutgoingRecord, TopicPartition
from tests.contract.logs import committed_values, join, log, poll_count, poll_until, send

__all__ = ["log"]

PARTITION = TopicPartition("single", 0)


def test_who_is_no_member_cannot_move_the_offsets_of_a_group(log: Log) -> None:
    """A worker that was thrown out holds no generation at all, and Kafka lets that pass: it must be refused here."""
    send(log, "single", "a")
    owner, _ = join(log, "g", "single")
    poll_count(owner, 1)
    outsider, _ = join(log, "g", "single")  # not polled: subscribed, but not in the group yet
    producer = log.producer("p")

    producer.begin()
    producer.produce([OutgoingRecord("out", b"k", b"zombie")])
    with pytest.raises(AbortRequired):
        producer.send_offsets({PARTITION: 1}, outsider.metadata())
    producer.abort()

    assert owner.committed([PARTITION]) == {PARTITION: None}
    assert committed_values(log, "out") == []
    for client in (producer, outsider, owner):
        client.close()


def test_a_member_for_whom_nothing_is_left_is_told_so(log: Log) -> None:
    """An empty assignment is one: without it a worker would wait, not ready, for partitions that it shall not have."""
    one, of_one = join(log, "g", "single")
    poll_until(lambda: "assigned" in of_one.events, one)
    two, of_two = join(log, "g", "single")

    def have_shared() -> bool:  # a slow member makes the group share out more than once
        told = [of_one.events[-1:], of_two.events[-1:]] == [["assigned"], ["assigned"]]
        return told and sorted(map(len, (of_one.owned, of_two.owned))) == [0, 1]

    poll_until(have_shared, one, two)
    third, of_third = join(log, "g", "single")
    poll_until(lambda: "assigned" in of_third.events, one, two, third)
    for listener in (of_one, of_two):
        poll_until(lambda listener=listener: listener.events[-1] == "assigned", one, two, third)  # type: ignore[misc]
    for consumer in (one, two, third):
        consumer.close()


def test_committed_offsets_wait_for_a_pending_transaction(log: Log) -> None:
    """A new owner that read the offset before its predecessor's commit arrived would process everything again."""
    send(log, "single", "a", "b")
    owner, _ = join(log, "g", "single")
    poll_count(owner, 2)
    producer = log.producer("p")
    producer.begin()
    producer.send_offsets({PARTITION: 2}, owner.metadata())
    found: list[int | None] = []
    reader = threading.Thread(target=lambda: found.append(owner.committed([PARTITION])[PARTITION]))

    reader.start()
    reader.join(1.0)
    assert found == [], "the offset was read although a transaction holds it"
    producer.commit()
    reader.join(30)

    assert found == [2]
    producer.close()
    owner.close()


def test_positions_follow_a_seek(log: Log) -> None:
    """Lag after an abort would be 0 while everything is still to be done."""
    send(log, "single", "a", "b", "c")
    consumer, _ = join(log, "g", "single")
    poll_count(consumer, 3)
    poll_until(lambda: consumer.positions().get(PARTITION) == 3, consumer)

    consumer.seek({PARTITION: 1})

    assert consumer.positions() == {PARTITION: 1}
    assert [record.value for record in poll_count(consumer, 2)] == [b"b", b"c"]
    consumer.close()


def test_committed_offsets_are_told_while_the_polling_thread_waits_in_a_rebalance(log: Log) -> None:
    """After a commit in doubt the coordinator asks for them; the polling thread may wait for the coordinator."""
    send(log, "single", "a")
    first, ownership = join(log, "g", "single")
    poll_count(first, 1)
    inside, leave = threading.Event(), threading.Event()

    def wait_for_the_other_thread(_partitions: object) -> None:
        inside.set()
        assert leave.wait(30)

    ownership.on_revoked = wait_for_the_other_thread  # type: ignore[assignment,method-assign]
    second, _ = join(log, "g", "single")
    stop = threading.Event()

    def poll(consumer: GroupConsumer) -> None:
        while not stop.is_set():
            consumer.poll(10, 0.05)

    polling = [threading.Thread(target=poll, args=(consumer,)) for consumer in (first, second)]
    for thread in polling:
        thread.start()
    found: list[object] = []
    asking = threading.Thread(target=lambda: found.append(first.committed([PARTITION])))
    try:
        assert inside.wait(30), "no rebalance came"
        asking.start()
        asking.join(10)
        assert found == [{PARTITION: None}], "the question waits for the polling thread"
    finally:
        leave.set()
        stop.set()
        for thread in (*polling, asking):
            thread.join(30)
    first.close()
    second.close()


def test_an_empty_membership_is_refused_on_our_side_because_kafka_takes_it(kafka: str, prefix: str) -> None:
    """Generation -1 without a member id passes for a client older than fencing: the coordinator would check nothing."""
    kafka_log = KafkaLog(kafka, prefix=f"{prefix}.")
    nobody = Consumer({"bootstrap.servers": kafka, "group.id": f"{prefix}.g"})
    producer = kafka_log.producer("p")
    producer.begin()
    with pytest.raises(AbortRequired, match="not a member"):
        producer.send_offsets({PARTITION: 1}, nobody.consumer_group_metadata())
    producer.abort()
    producer.close()
    nobody.close()
    kafka_log.close()
