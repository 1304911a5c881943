"""A request of transaction n that reaches the broker during transaction n+1: the danger, and that ours is immune.

The Kafka client repeats a request by itself when its connection breaks, and its caller hears nothing of it. The first
request may still be on its way. As long as the client speaks the first version of the transaction protocol both
transactions have the same epoch, and the broker takes a request of the one for a request of the other: see
docs/decisions/0010.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka import TopicPartition as KafkaTopicPartition

from services.adapters.kafka_log import KafkaLog
from services.engine.log import (
    AbortRequired,
    GroupMetadata,
    OutgoingRecord,
    TopicPartition,
    TransactionalProducer,
)
from services.engine.transaction import GroupOffsets, NotCommitted, Transactions
from tests.support.app import read_topic
from tests.support.broker import create_topics
from tests.support.kafka_proxy import END_TXN, TXN_OFFSET_COMMIT, Caught, Fault, ProxiedKafka

pytestmark = pytest.mark.server

SECONDS_MAX = 30.0
INVALID_PRODUCER_EPOCH = 47
END_TXN_VERSION_WITH_NEW_EPOCHS = 5
"""From this version of EndTxn on every transaction has an epoch of its own (KIP-890)."""


@pytest.fixture(name="kafka")
def _kafka(proxied_kafka: ProxiedKafka) -> ProxiedKafka:
    return proxied_kafka


def broken(kafka: ProxiedKafka, api_key: int, client_id: str, call: Callable[[], object]) -> Caught:
    """Make the call while its request is held back and the connection breaks: the client repeats it and succeeds."""
    held = kafka.proxy.on(api_key, Fault.HOLD, client_id=client_id)
    failures: list[Exception] = []

    def run() -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001  # looked at by the test's thread
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    held.await_arrival()
    kafka.proxy.disconnect(client_id)
    thread.join(SECONDS_MAX)
    assert not thread.is_alive(), "the call did not return"
    assert [error for error in failures if not isinstance(error, NotCommitted)] == []
    return held


def error_code(response: bytes) -> int:
    """What the broker says to an EndTxn: after correlation id and throttle time."""
    return struct.unpack_from(">iih", response)[2]  # type: ignore[no-any-return]  # an int16


def committed_values(kafka: ProxiedKafka, topic: str) -> list[str]:
    """What a reader of committed records sees."""
    log = KafkaLog(kafka.bootstrap_servers)
    try:
        return [(record.value or b"").decode() for record in read_topic(log, topic)]
    finally:
        log.close()


def committed_offset(kafka: ProxiedKafka, group: str, topic: str) -> int:
    """What the group has committed."""
    observer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": group})
    try:
        return observer.committed([KafkaTopicPartition(topic, 0)], SECONDS_MAX)[0].offset
    finally:
        observer.close()


def member(kafka: ProxiedKafka, group: str, topic: str) -> Consumer:
    """The only member of a group; it never polls again."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": group, "enable.auto.commit": False})
    consumer.subscribe([topic])
    deadline = time.monotonic() + SECONDS_MAX
    while not consumer.assignment():
        assert time.monotonic() < deadline, "the group gave its only member nothing"
        consumer.poll(0.1)
    return consumer


# --- the danger


def naive_producer(kafka: ProxiedKafka, name: str) -> Producer:
    """The plain client, which begins again after every commit that raised nothing."""
    producer = Producer(
        {
            "bootstrap.servers": kafka.proxy.bootstrap_servers,
            "client.id": name,
            "transactional.id": name,
            "linger.ms": 0,
        }
    )
    producer.init_transactions(SECONDS_MAX)
    return producer


def write(producer: Producer, topic: str, value: str) -> None:
    """One record, acknowledged."""
    producer.produce(topic, value)
    assert producer.flush(SECONDS_MAX) == 0


@pytest.mark.parametrize("is_commit", [True, False])
def test_a_late_request_ends_the_next_transaction_of_a_naive_producer(
    kafka: ProxiedKafka, prefix: str, is_commit: bool
) -> None:
    """The reason for the rule: no call fails, yet what was aborted stays, or what was committed is lost.

    Should this turn red with a newer client or broker, the danger is over, and the rule may be reconsidered.
    """
    first, second = f"{prefix}.first", f"{prefix}.second"
    create_topics(kafka.bootstrap_servers, first, second)
    producer = naive_producer(kafka, prefix)
    end, other_end = producer.commit_transaction, producer.abort_transaction
    if not is_commit:
        end, other_end = other_end, end
    producer.begin_transaction()
    write(producer, first, "n")
    held = broken(kafka, END_TXN, prefix, lambda: end(SECONDS_MAX))

    assert held.requests[0].api_version < END_TXN_VERSION_WITH_NEW_EPOCHS

    producer.begin_transaction()
    write(producer, first, "n+1, first half")
    assert error_code(held.release()) == 0
    write(producer, second, "n+1, second half")
    other_end(SECONDS_MAX)

    seen = committed_values(kafka, first), committed_values(kafka, second)
    assert seen == ((["n", "n+1, first half"], []) if is_commit else ([], ["n+1, second half"]))


def test_a_late_request_takes_the_offset_of_a_naive_producer_back(kafka: ProxiedKafka, prefix: str) -> None:
    """The reason why trouble with offsets counts as well: the next owner would process the same input twice."""
    create_topics(kafka.bootstrap_servers, prefix)
    consumer = member(kafka, prefix, prefix)
    producer = naive_producer(kafka, prefix)

    def send(offset: int) -> None:
        offsets = [KafkaTopicPartition(prefix, 0, offset)]
        producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata(), SECONDS_MAX)

    producer.begin_transaction()
    held = broken(kafka, TXN_OFFSET_COMMIT, prefix, lambda: send(10))
    producer.commit_transaction(SECONDS_MAX)

    producer.begin_transaction()
    send(20)
    held.release()
    producer.commit_transaction(SECONDS_MAX)

    assert committed_offset(kafka, prefix, prefix) == 10
    consumer.close()


# --- ours


class InterruptedProducer:
    """Our producer, with something that happens in the middle of its transactions."""

    def __init__(self, log: InterruptedLog, inner: TransactionalProducer) -> None:
        self._log = log
        self._inner = inner

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def produce(self, records: Sequence[OutgoingRecord]) -> None:
        """One record after the other, each written before the next step."""
        for record in records:
            self._inner.produce([record])
            self._inner._producer.flush(SECONDS_MAX)  # type: ignore[attr-defined]  # the client itself
            self._log.after_first()
            self._log.after_first = _nothing
        self._log.after_all()

    def send_offsets(self, offsets: Mapping[TopicPartition, int], metadata: GroupMetadata) -> None:
        self._inner.send_offsets(offsets, metadata)
        self._log.after_offsets()


class InterruptedLog(KafkaLog):
    """The real log through the proxy, whose transactions are interrupted at these points."""

    after_first: Callable[[], object]
    after_all: Callable[[], object]
    after_offsets: Callable[[], object]

    def __init__(self, kafka: ProxiedKafka, client_id: str) -> None:
        super().__init__(kafka.proxy.bootstrap_servers, client_settings={"client.id": client_id})
        self.after_first = self.after_all = self.after_offsets = _nothing

    def producer(self, transactional_id: str) -> TransactionalProducer:  # type: ignore[override]  # a wrapper
        return InterruptedProducer(self, super().producer(transactional_id))  # type: ignore[return-value]  # by name


def _nothing() -> None:
    """Nothing happens here."""


def _abort() -> None:
    raise AbortRequired("the transaction is given up")


@pytest.mark.parametrize("is_commit", [True, False])
def test_a_late_request_does_not_reach_the_next_transaction_of_ours(
    kafka: ProxiedKafka, prefix: str, is_commit: bool
) -> None:
    """A connection that broke under a commit or abort is doubt, though no call failed: the epoch moves on first."""
    first, second = f"{prefix}.first", f"{prefix}.second"
    create_topics(kafka.bootstrap_servers, first, second)
    log = InterruptedLog(kafka, prefix)
    transactions = Transactions(log, prefix)
    log.after_all = _nothing if is_commit else _abort
    held = broken(kafka, END_TXN, prefix, lambda: transactions.commit([OutgoingRecord(first, None, b"n")], []))

    answers: list[bytes] = []
    log.after_first = lambda: answers.append(held.release())
    log.after_all = _abort if is_commit else _nothing
    both = [OutgoingRecord(first, None, b"n+1, first half"), OutgoingRecord(second, None, b"n+1, second half")]
    if is_commit:
        with pytest.raises(NotCommitted):
            transactions.commit(both, [])
    else:
        transactions.commit(both, [])

    assert [error_code(answer) for answer in answers] == [INVALID_PRODUCER_EPOCH]
    seen = committed_values(kafka, first), committed_values(kafka, second)
    assert seen == ((["n"], []) if is_commit else (["n+1, first half"], ["n+1, second half"]))
    transactions.close()


def test_a_late_request_does_not_take_our_offset_back(kafka: ProxiedKafka, prefix: str) -> None:
    """A connection that broke before the commit is doubt as well: its offsets may come again."""
    create_topics(kafka.bootstrap_servers, prefix)
    consumer = member(kafka, prefix, prefix)
    log = InterruptedLog(kafka, prefix)
    transactions = Transactions(log, prefix)

    def commit(offset: int) -> None:
        groups = [GroupOffsets({TopicPartition(prefix, 0): offset}, consumer.consumer_group_metadata())]
        transactions.commit([OutgoingRecord(prefix, None, b"output")], groups)

    held = broken(kafka, TXN_OFFSET_COMMIT, prefix, lambda: commit(10))
    assert committed_offset(kafka, prefix, prefix) == 10

    log.after_offsets = held.release
    commit(20)

    assert held.response is not None
    assert committed_offset(kafka, prefix, prefix) == 20
    consumer.close()
    transactions.close()
