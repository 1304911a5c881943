"""What the proxy does to a request: a fault test is worth as much as its fault."""

from __future__ import annotations

import threading
import time

import pytest
from confluent_kafka import Producer

from services.adapters.kafka_log import KafkaLog
from tests.support.app import read_topic
from tests.support.broker import create_topics
from tests.support.kafka_proxy import PRODUCE, Fault, ProxiedKafka

pytestmark = pytest.mark.server

SECONDS_MAX = 30.0
DELAY_SECONDS = 0.5


def _producer(kafka: ProxiedKafka, client_id: str) -> Producer:
    """A client that sends each record once and gives it up soon."""
    return Producer(
        {
            "bootstrap.servers": kafka.proxy.bootstrap_servers,
            "client.id": client_id,
            "retries": 0,
            "linger.ms": 0,
            "socket.timeout.ms": 1_000,
            "message.timeout.ms": 1_500,
        }
    )


def _send(producer: Producer, topic: str) -> bool:
    """Send a record; whether the client saw it acknowledged."""
    acknowledged: list[bool] = []
    producer.produce(topic, b"x", on_delivery=lambda error, _message: acknowledged.append(error is None))
    assert producer.flush(SECONDS_MAX) == 0
    return acknowledged == [True]


def _count(kafka: ProxiedKafka, topic: str) -> int:
    log = KafkaLog(kafka.bootstrap_servers)
    try:
        return len(read_topic(log, topic))
    finally:
        log.close()


@pytest.mark.parametrize(
    ("fault", "is_acknowledged", "written"),
    [
        (Fault.DELAY, True, 1),
        (Fault.DROP, False, 0),
        (Fault.DUPLICATE, True, 2),
        (Fault.DROP_RESPONSE, False, 1),
    ],
)
def test_each_fault_is_what_it_says(
    proxied_kafka: ProxiedKafka, prefix: str, fault: Fault, is_acknowledged: bool, written: int
) -> None:
    """Told by the topic and by what the client heard; and the next request is left alone."""
    create_topics(proxied_kafka.bootstrap_servers, prefix)
    producer = _producer(proxied_kafka, prefix)
    rule = proxied_kafka.proxy.on(PRODUCE, fault, client_id=prefix, seconds=DELAY_SECONDS)
    started = time.monotonic()

    assert _send(producer, prefix) is is_acknowledged

    assert fault is not Fault.DELAY or time.monotonic() - started >= DELAY_SECONDS
    assert [request.client_id for request in rule.requests] == [prefix]
    assert _send(producer, prefix)
    assert _count(proxied_kafka, prefix) == written + 1


def test_a_held_request_arrives_when_it_is_released(proxied_kafka: ProxiedKafka, prefix: str) -> None:
    """Also when its client is gone: that is what makes it late."""
    create_topics(proxied_kafka.bootstrap_servers, prefix)
    producer = _producer(proxied_kafka, prefix)
    held = proxied_kafka.proxy.on(PRODUCE, Fault.HOLD, client_id=prefix)
    sender = threading.Thread(target=_send, args=(producer, prefix))
    sender.start()
    held.await_arrival()
    proxied_kafka.proxy.disconnect(prefix)
    sender.join(SECONDS_MAX)
    assert _count(proxied_kafka, prefix) == 0

    held.release()

    assert _count(proxied_kafka, prefix) == 1


def test_a_request_of_another_client_is_left_alone(proxied_kafka: ProxiedKafka, prefix: str) -> None:
    """Tests share the proxy."""
    create_topics(proxied_kafka.bootstrap_servers, prefix)
    rule = proxied_kafka.proxy.on(PRODUCE, Fault.DROP, client_id=f"{prefix}-other")

    assert _send(_producer(proxied_kafka, prefix), prefix)

    assert rule.requests == []
