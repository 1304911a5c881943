"""What a transactional producer on Kafka says of its last commit when the broker freezes, dies or was taken over."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from deploy.local.kafka_broker import LocalKafka
from services.adapters.kafka_log import KafkaLog
from services.adapters.kafka_producer import KafkaTransactionalProducer
from services.adapters.kafka_timeouts import Timeouts
from services.engine.log import DISCONNECTED, SLOW, Fenced, LogError, OutgoingRecord
from services.engine.transaction import InDoubt, Transactions
from tests.contract.logs import committed_values
from tests.support.broker import create_topics

pytestmark = pytest.mark.server

TIMEOUTS = Timeouts(session_ms=40_000, transaction_ms=30_000, message_ms=29_000, request_ms=2_000)
"""A request is given up soon, a transaction late: what lies between is what these tests are about."""


@pytest.fixture(scope="module")
def broker() -> Iterator[LocalKafka]:
    """A broker that is frozen and killed, so nobody else's."""
    with LocalKafka(quick=True) as started:
        yield started


@pytest.fixture
def log(broker: LocalKafka, prefix: str) -> Iterator[KafkaLog]:
    """A topic of this test's own."""
    create_topics(broker.bootstrap_servers, f"{prefix}.out")
    made = KafkaLog(broker.bootstrap_servers, prefix=f"{prefix}.", timeouts=TIMEOUTS)
    yield made
    made.close()


def _records(value: str) -> list[OutgoingRecord]:
    return [OutgoingRecord("out", b"k", value.encode())]


def _opened(log: KafkaLog) -> KafkaTransactionalProducer:
    """A producer whose open transaction lies on the broker: only the commit is missing."""
    producer = log.producer("slot")
    producer.begin()
    producer.produce(_records("first"))
    assert producer._producer.flush(20) == 0
    return producer


def _commit(producer: KafkaTransactionalProducer) -> tuple[threading.Thread, list[LogError]]:
    raised: list[LogError] = []

    def commit() -> None:
        try:
            producer.commit()
        except LogError as error:
            raised.append(error)

    thread = threading.Thread(target=commit)
    thread.start()
    return thread, raised


def test_a_commit_that_is_answered_at_once_leaves_no_doubt(log: KafkaLog) -> None:
    """A new producer for each transaction would cost most of the throughput."""
    producer = _opened(log)
    producer.commit()
    assert producer.doubt is None
    producer.begin()
    producer.produce(_records("second"))
    producer.abort()
    assert producer.doubt is None
    producer.close()
    assert committed_values(log, "out") == [b"first"]


def test_a_commit_that_is_sent_twice_because_the_broker_froze_leaves_a_doubt(log: KafkaLog, broker: LocalKafka) -> None:
    """The first request still lies in the broker's socket and would end the next transaction of this producer."""
    producer = _opened(log)
    broker.pause()
    thread, raised = _commit(producer)
    thread.join(2 * TIMEOUTS.request_ms / 1000)
    assert thread.is_alive(), "a frozen broker has answered"
    broker.resume()
    thread.join(30)
    assert raised == []
    assert producer.doubt in (SLOW, DISCONNECTED)
    producer.close()
    assert committed_values(log, "out") == [b"first"]


def test_a_commit_beside_which_the_connection_broke_leaves_a_doubt_or_says_so(
    log: KafkaLog, broker: LocalKafka
) -> None:
    """The broker dies with the request; the client asks its successor again, and need not say anything about it."""
    producer = _opened(log)
    broker.pause()
    thread, raised = _commit(producer)
    thread.join(0.5)  # the request is on its way
    broker.kill()
    broker.restart()
    thread.join(60)
    assert not thread.is_alive()
    assert raised or producer.doubt in (SLOW, DISCONNECTED)
    producer.close()


def test_the_engine_replaces_a_producer_in_doubt_and_its_transactions_stay_whole(
    log: KafkaLog, broker: LocalKafka
) -> None:
    """The rule on a real broker: frozen in the middle of a commit, nothing lost and nothing twice."""
    reasons: list[str] = []
    transactions = Transactions(log, "slot", note_recreation=reasons.append)
    transactions.commit(_records("before"), [])
    broker.pause()
    outcome: list[object] = []

    def commit() -> None:
        try:
            transactions.commit(_records("frozen"), [])
            outcome.append("committed")
        except InDoubt as doubt:
            outcome.append(doubt)

    thread = threading.Thread(target=commit)
    thread.start()
    thread.join(2 * TIMEOUTS.request_ms / 1000)
    broker.resume()
    thread.join(60)
    assert len(outcome) == 1
    for number in range(5):
        transactions.commit(_records(f"after {number}"), [])
    transactions.close()
    found = [value.decode() for value in committed_values(log, "out") if value is not None]
    assert [value for value in found if value != "frozen"] == ["before", *(f"after {n}" for n in range(5))]
    assert found.count("frozen") == 1 or outcome != ["committed"]
    assert len(reasons) == 1


def test_every_call_of_a_fenced_producer_says_fenced(log: KafkaLog) -> None:
    """The client calls it "fatal" after the first time; taken for a doubt it would fence the newer worker."""
    old = _opened(log)
    newer = log.producer("slot")
    with pytest.raises(Fenced, match="another worker has taken over this slot"):
        old.commit()
    for _ in range(3):
        with pytest.raises(Fenced):
            old.begin()
        with pytest.raises(Fenced):
            old.produce(_records("zombie"))
        with pytest.raises(Fenced):
            old.commit()
    assert old.doubt is None
    newer.begin()
    newer.produce(_records("newer"))
    newer.commit()
    old.close()
    newer.close()
    assert committed_values(log, "out") == [b"newer"]


def test_a_producer_that_was_fenced_while_idle_says_so_in_its_next_transaction(log: KafkaLog) -> None:
    """An idle worker whose slot was taken over learns it by its next proof."""
    reasons: list[str] = []
    transactions = Transactions(log, "slot", note_recreation=reasons.append)
    transactions.commit(_records("first"), [])
    newer = log.producer("slot")
    with pytest.raises(Fenced):
        transactions.commit(_records("zombie"), [])
    assert reasons == []
    transactions.close()
    newer.close()
    assert committed_values(log, "out") == [b"first"]
