"""The engine as it runs in production: worker processes, the Faust app, a real Kafka, and kill -9 under load."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.adapters.kafka_log import KafkaLog
from services.engine.log import LogReader, TopicPartition
from tests.support.broker import create_topics
from tests.support.engine_oracles import check_counting, check_joining, read_to_end
from tests.support.engine_processes import Workers
from tests.support.engine_stages import PARTITIONS, TOPICS, half, said

KEYS = 40
WAIT_SECONDS_MAX = 60.0


class Load:
    """Input that never stops while workers die, and a reader beside that counts what has become visible."""

    def __init__(self, log: KafkaLog, workers: Workers) -> None:
        self._log = log
        self._workers = workers
        self._rounds = itertools.count()
        self.sent = 0
        self.pairs = 0
        self._readers = {topic: self._reader(topic) for topic in ("counted", "joined")}
        self.seen = dict.fromkeys(self._readers, 0)

    def _reader(self, topic: str) -> LogReader:
        return self._log.reader({TopicPartition(topic, number): 0 for number in range(PARTITIONS)})

    def send(self) -> None:
        """A round: a hundred facts, and halves of pairs whose other halves come three rounds later."""
        number = next(self._rounds)
        records = [said(f"key-{n % KEYS}", number * 100 + n) for n in range(100)]
        records += [half("left", f"pair-{number}-{n}") for n in range(20)]
        if number >= 3:
            records += [half("right", f"pair-{number - 3}-{n}") for n in range(20)]
            self.pairs += 20
        self._log.send(records)
        self.sent += 100

    def until(self, counted: int, joined: int = 0, *, under_load: bool = True) -> None:
        """Read (and send on) until so many outputs are committed."""
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while self.seen["counted"] < counted or self.seen["joined"] < joined:
            self._workers.check_running()
            assert time.monotonic() < deadline, f"saw {self.seen}, waited for {counted} counted and {joined} joined"
            if under_load:
                self.send()
            for topic, reader in self._readers.items():
                self.seen[topic] += len(reader.poll(10_000, 0.05))

    def close(self) -> None:
        """Close the readers."""
        for reader in self._readers.values():
            reader.close()


@pytest.fixture
def log(kafka: str, prefix: str) -> Iterator[KafkaLog]:
    """The topics of both services on the session's broker."""
    for name, partitions in TOPICS.items():
        config = {"cleanup_policy": "compact"} if name.startswith("state.") else {}
        create_topics(kafka, f"{prefix}.{name}", partitions=partitions, **config)
    kafka_log = KafkaLog(kafka, prefix=f"{prefix}.")
    yield kafka_log
    kafka_log.close()


def test_workers_killed_in_turns_under_load_lose_double_and_miss_nothing(
    log: KafkaLog, kafka: str, prefix: str, tmp_path: Path
) -> None:
    """Each kill leaves an open transaction and moves partitions twice: away from the dead, back to its successor."""
    workers = Workers(kafka, f"{prefix}.", tmp_path)
    load = Load(log, workers)
    try:
        for slot in range(3):
            workers.start(slot)
        load.until(500)
        for victim in range(3):
            workers.kill(victim)
            sent_at_kill = load.sent
            workers.start(victim)
            # All partitions have moved and come to life when everything sent before the kill is out.
            load.until(sent_at_kill + 100, joined=load.pairs)
        load.until(load.sent, load.pairs, under_load=False)
        assert workers.stop() == [0, 0, 0]
    finally:
        load.close()
        workers.stop()

    assert load.seen == {"counted": load.sent, "joined": load.pairs}, "the reader beside saw something twice"
    check_counting(lambda topic: read_to_end(log, topic))
    check_joining(lambda topic: read_to_end(log, topic))
    assert read_to_end(log, "dead-letters") == []
    for topic in ("counted", "joined", "state.counting", "state.joining"):  # no transaction was left open
        partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        assert log.end_offsets(partitions, committed_only=True) == log.end_offsets(partitions, committed_only=False)
