"""A second member joins while a batch of the first is open: the offsets that the coordinator still takes.

`python -m tests.trials.generation_bump` prints, for the range and the cooperative-sticky assignor, what
`send_offsets_to_transaction` answers at three moments, with the membership taken when the batch was read and with the
membership of that moment.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Self

from confluent_kafka import Consumer, TopicPartition

from deploy.local.kafka_broker import LocalKafka
from tests.support.broker import create_topics
from tests.trials.clients import (
    SECONDS_MAX,
    await_assignment,
    group_consumer,
    new_name,
    outcome,
    table,
    transactional_producer,
)

PARTITIONS = 4
JOIN_SECONDS = 4.0
HEADER = ("assignor", "moment", "generation of the batch", "generation now", "membership given", "send_offsets")


def generation(consumer: Consumer) -> int:
    """The generation within the client's serialised membership."""
    return int.from_bytes(consumer.consumer_group_metadata()[7:11], sys.byteorder, signed=True)


class Poller:
    """Polls a consumer on a thread of its own, as long as the block lasts."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._stopping = False
        self._thread = threading.Thread(target=self._poll)

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Stop."""
        self._stopping = True
        self._thread.join()

    def _poll(self) -> None:
        while not self._stopping:
            self._consumer.poll(0.1)


class Trial:
    """One group with its first member, which has everything and an open batch."""

    def __init__(self, bootstrap_servers: str, assignor: str) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.assignor = assignor
        self.topic = new_name("generation")
        self.revoking = threading.Event()
        self.may_revoke = threading.Event()
        self.may_revoke.set()
        create_topics(bootstrap_servers, self.topic, partitions=PARTITIONS)
        self.first = self.member()
        self.first.subscribe([self.topic], on_revoke=self._on_revoke)
        await_assignment(self.first)
        self.membership = self.first.consumer_group_metadata()
        self.generation = generation(self.first)
        self.producer = transactional_producer(bootstrap_servers, self.topic)
        self.rows: list[list[object]] = []

    def _on_revoke(self, _consumer: Consumer, _partitions: list[TopicPartition]) -> None:
        self.revoking.set()
        self.may_revoke.wait(SECONDS_MAX)

    def member(self) -> Consumer:
        """One more member of the group."""
        return group_consumer(
            self.bootstrap_servers,
            self.topic,
            partition_assignment_strategy=self.assignor,
            heartbeat_interval_ms=500,
        )

    def ask(self, moment: str, now: int) -> None:
        """Send offsets of every partition with the old and with the present membership, and note the answers."""
        for name, membership in (("the batch's", self.membership), ("of the moment", None)):
            given = membership or self.first.consumer_group_metadata()
            offsets = [TopicPartition(self.topic, number, 1) for number in range(PARTITIONS)]
            self.producer.begin_transaction()
            self.producer.produce(self.topic, b"x")
            self.producer.flush(SECONDS_MAX)
            answer = outcome(lambda: self.producer.send_offsets_to_transaction(offsets, given, SECONDS_MAX))  # noqa: B023
            self.producer.abort_transaction(SECONDS_MAX)
            self.rows.append([self.assignor, moment, self.generation, now, name, answer])


def not_polled(trial: Trial) -> None:
    """The second member knocks, the first is busy and does not poll."""
    second = trial.member()
    second.subscribe([trial.topic])
    with Poller(second):
        time.sleep(JOIN_SECONDS)  # some heartbeats: the first member's client knows of the rebalance
        trial.ask("first member does not poll", generation(trial.first))
    trial.first.poll(0)
    second.close()


def in_callback(trial: Trial) -> None:
    """The first member sits in its revoke callback."""
    trial.may_revoke.clear()
    second = trial.member()
    second.subscribe([trial.topic])
    # The client lets no second call pass while poll runs: the membership of the moment cannot be asked for here.
    with Poller(second), Poller(trial.first):
        assert trial.revoking.wait(SECONDS_MAX)
        offsets = [TopicPartition(trial.topic, number, 1) for number in range(PARTITIONS)]
        trial.producer.begin_transaction()
        answer = outcome(lambda: trial.producer.send_offsets_to_transaction(offsets, trial.membership, SECONDS_MAX))
        trial.producer.abort_transaction(SECONDS_MAX)
        trial.may_revoke.set()
    moment = "first member is in its revoke callback"
    trial.rows.append([trial.assignor, moment, trial.generation, "?", "the batch's", answer])
    second.close()


def after_rebalance(trial: Trial) -> None:
    """Both members have what the rebalance gave them; the first still holds its old batch."""
    second = trial.member()
    second.subscribe([trial.topic])
    with Poller(second), Poller(trial.first):
        # The client lets no other call pass while poll runs, so what each was given cannot be asked for here.
        time.sleep(JOIN_SECONDS)
    assert len(second.assignment()) == len(trial.first.assignment()) == PARTITIONS // 2
    trial.ask("rebalance is over, half of it is the second's", generation(trial.first))
    second.close()


def main() -> None:
    """Run on a broker of its own."""
    rows: list[list[object]] = []
    moments: list[Callable[[Trial], None]] = [not_polled, in_callback, after_rebalance]
    with LocalKafka(quick=True) as kafka:
        for assignor in ("range", "cooperative-sticky"):
            for moment in moments:
                trial = Trial(kafka.bootstrap_servers, assignor)
                moment(trial)
                trial.first.close()
                rows += trial.rows
    table(HEADER, rows)


if __name__ == "__main__":
    main()
