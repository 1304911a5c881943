"""What a producer hears that slept past its transaction timeout, one that a newer one fenced, one that met an outage.

`python -m tests.trials.late_or_fenced` prints each call with code, flags and duration. It takes two minutes: timeouts
are waited for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from confluent_kafka import Producer

from deploy.local.kafka_broker import LocalKafka
from tests.support.broker import create_topics
from tests.trials.clients import SECONDS_MAX, new_name, outcome, table, transactional_producer

PAST_TRANSACTION_TIMEOUT_SECONDS = 13.0
AWAY_SECONDS = 40.0
HEADER = ("case", "call", "answer")


def _opened(bootstrap_servers: str, topic: str) -> Producer:
    producer = transactional_producer(bootstrap_servers, new_name("late"))
    producer.begin_transaction()
    producer.produce(topic, b"x")
    producer.flush(SECONDS_MAX)
    return producer


def _calls(producer: Producer, *names: str) -> list[tuple[str, str]]:
    calls: dict[str, Callable[[], object]] = {
        "commit": lambda: producer.commit_transaction(SECONDS_MAX),
        "abort": lambda: producer.abort_transaction(SECONDS_MAX),
        "begin": producer.begin_transaction,
    }
    return [(name, outcome(calls[name])) for name in names]


def _print(case: str, answers: list[tuple[str, str]]) -> list[list[object]]:
    return [[case, name, answer] for name, answer in answers]


def slept(bootstrap_servers: str, topic: str) -> list[list[object]]:
    """Nobody else, but too late; the broker cannot tell a process that sleeps from one that was stopped."""
    producers = {name: _opened(bootstrap_servers, topic) for name in ("commit", "abort")}
    time.sleep(PAST_TRANSACTION_TIMEOUT_SECONDS)
    return [
        row for name, producer in producers.items() for row in _print("slept", _calls(producer, name, "abort", "begin"))
    ]


def fenced(bootstrap_servers: str, topic: str) -> list[list[object]]:
    """In time, but somebody else has the identity."""
    identity = new_name("fenced")
    older = transactional_producer(bootstrap_servers, identity)
    older.begin_transaction()
    older.produce(topic, b"x")
    older.flush(SECONDS_MAX)
    transactional_producer(bootstrap_servers, identity)
    return _print("fenced by a newer one", _calls(older, "commit", "abort", "begin"))


def outage(kafka: LocalKafka, topic: str) -> list[list[object]]:
    """The broker is away for longer than every timeout, and comes back."""
    ways = [("commit", "commit", "begin"), ("commit", "abort", "begin"), ("abort", "abort", "begin")]
    producers = [_opened(kafka.bootstrap_servers, topic) for _ in ways]
    kafka.kill()
    rows: list[list[object]] = []
    threads = [
        threading.Thread(target=lambda p=producer, w=way: rows.extend(_print(f"outage: {', '.join(w)}", _calls(p, *w))))
        for producer, way in zip(producers, ways, strict=True)
    ]
    for thread in threads:
        thread.start()
    time.sleep(AWAY_SECONDS)
    kafka.restart()
    for thread in threads:
        thread.join()
    return rows


def main() -> None:
    """Run on a broker of its own."""
    with LocalKafka(quick=True) as kafka:
        topic = new_name("late")
        create_topics(kafka.bootstrap_servers, topic)
        rows = slept(kafka.bootstrap_servers, topic) + fenced(kafka.bootstrap_servers, topic) + outage(kafka, topic)
    table(HEADER, rows)


if __name__ == "__main__":
    main()
