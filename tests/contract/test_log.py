"""One suite for every implementation of the log, so that the memory log cannot drift from Kafka."""

from __future__ import annotations

import time

import pytest

from services.adapters.kafka_log import KafkaLog
from services.engine.log import (
    AbortRequired,
    CommitUnknown,
    Fenced,
    Log,
    LogError,
    LogRecord,
    OutgoingRecord,
    TopicPartition,
)
from tests.contract.logs import committed_values, join, log, poll_count, poll_until, send

__all__ = ["log"]


def test_records_of_a_partition_come_in_order_with_all_their_parts(log: Log) -> None:
    """Key, value, headers and offsets are the input of everything else."""
    headers = (("trace", b"1"), ("empty", None))
    log.send(OutgoingRecord("in", b"k", str(number).encode(), headers, 3) for number in range(20))
    log.send([OutgoingRecord("in", None, None, (), 3)])
    consumer, _ = join(log, "g", "in")

    records = poll_count(consumer, 21)

    assert [record.offset for record in records] == list(range(21))
    assert [record.value for record in records[:20]] == [str(number).encode() for number in range(20)]
    assert (records[0].topic, records[0].partition, records[0].key, records[0].headers) == ("in", 3, b"k", headers)
    assert (records[20].key, records[20].value) == (None, None)
    assert records[0].timestamp_ms > 1_600_000_000_000
    consumer.close()


def test_a_key_goes_to_the_partition_kafkas_java_clients_choose(log: Log) -> None:
    """Front-office systems in Java must meet our own tools on one partition, or duplicates are not seen."""
    expected = {"21": 2, "foobar": 3, "abc": 3}  # murmur2 of Kafka's own test vectors, sign bit cleared, modulo 4
    send(log, "in", *expected)
    consumer, _ = join(log, "g", "in")

    found = {record.value.decode(): record.partition for record in poll_count(consumer, 3) if record.value}

    assert found == {key: (_MURMUR2[key] & 0x7FFFFFFF) % 4 for key in expected}
    consumer.close()


_MURMUR2 = {"21": -973932308, "foobar": -790332482, "abc": 479470107}


def test_partitions_are_paused_until_resumed(log: Log) -> None:
    """State must be restored before the first record is delivered."""
    send(log, "in", "a", "b")
    consumer, ownership = join(log, "g", "in", resume=False)
    poll_until(lambda: "assigned" in ownership.events, consumer)

    assert consumer.poll(10, 0.3) == []

    ownership.start(ownership.owned)
    assert len(poll_count(consumer, 2)) == 2
    consumer.close()


def test_outputs_and_offsets_become_visible_together(log: Log) -> None:
    """The core of exactly once."""
    send(log, "in", "a", partition=1)
    consumer, _ = join(log, "g", "in")
    (record,) = poll_count(consumer, 1)
    partition = TopicPartition("in", 1)
    producer = log.producer("p")

    producer.begin()
    producer.produce([OutgoingRecord("out", b"a", b"A")])
    producer.send_offsets({partition: record.offset + 1}, consumer.metadata())
    ends = log.end_offsets([TopicPartition("out", 0), TopicPartition("out", 1)], committed_only=True)
    assert set(ends.values()) == {0}
    producer.commit()

    assert committed_values(log, "out") == [b"A"]
    assert consumer.committed([partition]) == {partition: 1}
    consumer.close()
    producer.close()


def test_a_named_partition_wins_over_the_key(log: Log) -> None:
    """A changelog row lies in its service's partition, whatever its key hashes to, or a restore misses it."""
    producer = log.producer("p")
    producer.begin()
    producer.produce([OutgoingRecord("in", b"same key", b"%d" % number, (), number % 4) for number in range(40)])
    producer.produce(
        [OutgoingRecord("in", b"same key", b"with headers", (("h", b"1"),), number) for number in range(4)]
    )
    producer.produce([OutgoingRecord("in", b"same key", None, (), 1)])
    producer.commit()
    reader = log.reader({TopicPartition("in", number): 0 for number in range(4)})

    records: list[LogRecord] = []
    while not reader.at_end():
        records += reader.poll(100, 0.2)

    numbers = [int(record.value) for record in records if record.value and record.value.isdigit()]
    assert sorted(numbers) == list(range(40))
    for record in records:
        if record.value is None:
            assert record.partition == 1, "a tombstone too"
        elif record.value.isdigit():
            assert record.partition == int(record.value) % 4
    assert sorted(r.partition for r in records if r.value == b"with headers") == [0, 1, 2, 3]
    reader.close()
    producer.close()


def test_an_aborted_transaction_leaves_nothing(log: Log) -> None:
    """A batch that failed is processed again as if it had never been."""
    send(log, "in", "a", partition=1)
    consumer, _ = join(log, "g", "in")
    (record,) = poll_count(consumer, 1)
    partition = TopicPartition("in", 1)
    producer = log.producer("p")

    producer.begin()
    producer.produce([OutgoingRecord("out", b"a", b"first try")])
    producer.send_offsets({partition: record.offset + 1}, consumer.metadata())
    producer.abort()
    assert consumer.committed([partition]) == {partition: None}
    consumer.seek({partition: record.offset})
    assert poll_count(consumer, 1)[0].value == b"a"
    producer.begin()
    producer.produce([OutgoingRecord("out", b"a", b"second try")])
    producer.commit()

    assert committed_values(log, "out") == [b"second try"]
    consumer.close()
    producer.close()


def test_a_newer_producer_fences_the_older_and_aborts_its_transaction(log: Log) -> None:
    """A zombie must not be able to commit."""
    old = log.producer("p")
    old.begin()
    old.produce([OutgoingRecord("out", b"k", b"zombie")])

    new = log.producer("p")

    with pytest.raises((Fenced, CommitUnknown)):
        old.commit()
    new.begin()
    new.produce([OutgoingRecord("out", b"k", b"owner")])
    new.commit()
    assert committed_values(log, "out") == [b"owner"]
    old.close()
    new.close()


def test_offsets_of_an_older_generation_are_refused(log: Log) -> None:
    """A worker that lost its partitions must not move their offsets, whatever it still holds."""
    send(log, "in", "a", partition=0)
    first, first_owns = join(log, "g", "in")
    poll_count(first, 1)
    stale = first.metadata()
    second, second_owns = join(log, "g", "in")
    poll_until(lambda: len(first_owns.owned) == 2 and len(second_owns.owned) == 2, first, second)
    producer = log.producer("p")

    producer.begin()
    producer.produce([OutgoingRecord("out", b"k", b"stale")])
    with pytest.raises(AbortRequired):
        producer.send_offsets({TopicPartition("in", 0): 1}, stale)
    producer.abort()

    assert committed_values(log, "out") == []
    first.close()
    second.close()
    producer.close()


def test_two_groups_share_one_transaction(log: Log) -> None:
    """A worker hosts several services, each a group of its own, and commits them together."""
    send(log, "in", "a", partition=0)
    send(log, "single", "b", partition=0)
    one, _ = join(log, "g1", "in")
    two, _ = join(log, "g2", "single")
    poll_count(one, 1)
    poll_count(two, 1)
    producer = log.producer("p")

    producer.begin()
    producer.send_offsets({TopicPartition("in", 0): 1}, one.metadata())
    producer.send_offsets({TopicPartition("single", 0): 1}, two.metadata())
    producer.commit()

    assert one.committed([TopicPartition("in", 0)]) == {TopicPartition("in", 0): 1}
    assert two.committed([TopicPartition("single", 0)]) == {TopicPartition("single", 0): 1}
    for client in (one, two, producer):
        client.close()


def test_partitions_with_the_same_number_stay_together(log: Log) -> None:
    """A stage that joins two topics by key needs both halves on one worker, through every rebalance."""
    members = [join(log, "g", "in", "other-in") for _ in range(3)]

    def settled(count: int) -> bool:
        owned = [ownership.owned for _, ownership in members[-count:]]
        return sum(len(partitions) for partitions in owned) == 8

    for count in (3, 2, 1):
        poll_until(lambda count=count: settled(count), *(consumer for consumer, _ in members[-count:]))  # type: ignore[misc]
        for _, ownership in members[-count:]:
            numbers = {
                topic: {p.partition for p in ownership.owned if p.topic == topic} for topic in ("in", "other-in")
            }
            assert numbers["in"] == numbers["other-in"]
        members[-count][0].close()


def test_a_new_owner_goes_on_where_the_old_one_committed(log: Log) -> None:
    """Nothing twice, nothing lost, when partitions move."""
    send(log, "in", *(str(number) for number in range(10)), partition=2)
    old, _ = join(log, "g", "in")
    poll_count(old, 6)
    producer = log.producer("p")
    producer.begin()
    producer.send_offsets({TopicPartition("in", 2): 6}, old.metadata())
    producer.commit()
    old.close()

    new, _ = join(log, "g", "in")

    assert [record.offset for record in poll_count(new, 4)] == [6, 7, 8, 9]
    new.close()
    producer.close()


def test_a_reader_waits_for_transactions_that_were_open(log: Log) -> None:
    """A restore that stopped at the last stable offset could miss committed rows behind a dead worker's transaction."""
    dead = log.producer("dead")
    dead.begin()
    dead.produce([OutgoingRecord("single", b"k", b"never committed")])
    if isinstance(log, KafkaLog):
        dead._producer.flush(10)  # type: ignore[attr-defined]  # the record must lie in the log before the next
    send(log, "single", "behind")
    reader = log.reader({TopicPartition("single", 0): 0})

    assert reader.poll(10, 0.3) == []
    assert not reader.at_end()

    dead.abort()
    records = []
    while not reader.at_end():
        records += reader.poll(10, 0.2)
    assert [record.value for record in records] == [b"behind"]
    reader.close()
    dead.close()


def test_the_high_watermark_tells_what_lies_behind_an_open_transaction(log: Log) -> None:
    """An input behind a transaction that hangs looks as if there were none: both ends are needed to see it."""
    place = TopicPartition("single", 0)
    send(log, "single", "a")
    producer = log.producer("hanging")
    producer.begin()
    producer.produce([OutgoingRecord("single", b"k", b"open")])
    send(log, "single", "b", "c")
    # What is produced leaves the client by and by; the end of the transaction waits for it.
    deadline = time.monotonic() + 30
    while log.end_offsets([place], committed_only=False)[place] < 4:
        assert time.monotonic() < deadline, "the records did not come to the log"
    stable = log.end_offsets([place], committed_only=True)[place]
    assert 1 <= stable <= 3
    producer.abort()
    while log.end_offsets([place], committed_only=True) != log.end_offsets([place], committed_only=False):
        assert time.monotonic() < deadline, "the transaction is over, and its end is not told"
    producer.close()


def test_positions_come_to_the_end_behind_transaction_markers(log: Log) -> None:
    """Lag must be 0 when everything was read, although markers take up offsets."""
    producer = log.producer("p")
    producer.begin()
    producer.produce([OutgoingRecord("single", b"k", b"v")])
    producer.commit()
    consumer, _ = join(log, "g", "single")
    poll_count(consumer, 1)
    partition = TopicPartition("single", 0)
    end = log.end_offsets([partition], committed_only=True)[partition]

    poll_until(lambda: consumer.positions().get(partition) == end, consumer)

    consumer.close()
    producer.close()


def test_a_missing_topic_is_named(log: Log) -> None:
    """An operator must learn which topic is missing and what to do."""
    with pytest.raises(LogError, match=r"no-such-topic does not exist; run: posttrade topics apply"):
        log.partitions("no-such-topic")
