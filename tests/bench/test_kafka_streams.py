"""The Kafka Streams peer gives what this service gives: a comparison of speeds is one of programs that do the same.

Its oracles are the codec and the stage of this service, run in memory. `make bench-check` runs these tests: the peer is
built with Maven.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.local.guarded_process import GuardedProcess
from deploy.local.kafka_jars import REPOSITORY
from services.adapters.kafka_log import KafkaLog
from services.adapters.topic_codec import FormatCodec
from services.domain.record import Record
from services.engine.log import LogRecord, OutgoingRecord, TopicPartition
from services.pipeline import make_codec
from tests.bench import environments, varied_trades
from tests.support.broker import create_topics

pytestmark = pytest.mark.bench
COUNT = 2_000
PARTITIONS = 4
WAIT_SECONDS_MAX = 120.0
THREADS = pytest.mark.parametrize("threads", [1, 2])


class Ground:
    """Topics of one run on the session's broker, and the program that works on them."""

    def __init__(self, servers: str, prefix: str, folder: Path) -> None:
        self.codec: FormatCodec = make_codec()
        self.log = KafkaLog(servers, prefix=prefix)
        self._servers, self._prefix, self._folder = servers, prefix, folder

    def create(self, *topics: str) -> None:
        create_topics(self._servers, *map(self.prefixed, topics), partitions=PARTITIONS)

    def send(self, topic: str, events: Iterable[tuple[str, Record]]) -> list[tuple[bytes | None, bytes | None]]:
        """Write events under their keys; what was written."""
        records = [OutgoingRecord(topic, key.encode(), self.codec.encode(topic, event)) for key, event in events]
        self.log.send(records)
        return [(record.key, record.value) for record in records]

    def prefixed(self, topic: str) -> str:
        return self._prefix + topic

    @contextmanager
    def running(self, measure: str, threads: int) -> Iterator[GuardedProcess]:
        command = [*environments.kafka_streams(), "--threads", str(threads)]
        command += ["--state-directory", str(self._folder / "state"), measure, self._servers, self._prefix]
        process = GuardedProcess(command, directory=REPOSITORY, output=self.output, grace_seconds=20.0)
        try:
            yield process
        finally:
            process.stop()

    @property
    def output(self) -> Path:
        return self._folder / "kafka-streams.log"

    def await_records(self, process: GuardedProcess, topic: str, count: int) -> list[LogRecord]:
        """Exactly so many committed records of a topic, once there are as many."""
        places = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        reader = self.log.reader(dict.fromkeys(places, 0))
        found: list[LogRecord] = []
        while len(found) < count:
            found += reader.poll(10_000, 0.2)
            assert process.exit_code() is None, self.output.read_text()
            assert time.monotonic() < deadline, f"{len(found)} of {count} came; it said:\n{self.output.read_text()}"
        reader.close()
        return found


@pytest.fixture
def ground(kafka: str, prefix: str, tmp_path: Path) -> Iterator[Ground]:
    made = Ground(kafka, f"{prefix}-", tmp_path)
    yield made
    made.log.close()


def by_key(pairs: Iterable[tuple[bytes | None, bytes | None]]) -> dict[bytes | None, list[bytes | None]]:
    """The values under each key, in their order."""
    found: dict[bytes | None, list[bytes | None]] = defaultdict(list)
    for key, value in pairs:
        found[key].append(value)
    return found


def pairs_of(records: Sequence[LogRecord]) -> list[tuple[bytes | None, bytes | None]]:
    return [(record.key, record.value) for record in records]


@THREADS
def test_pass_through_gives_the_bytes_it_took(ground: Ground, threads: int) -> None:
    """Any bytes, not only those of an event."""
    ground.create("in", "out")
    records = [OutgoingRecord("in", b"key-%d" % (number % 50), b"%d\xff\x00" % number) for number in range(COUNT)]
    ground.log.send(records)

    with ground.running("pass-through", threads) as process:
        copied = ground.await_records(process, "out", COUNT)

    assert by_key(pairs_of(copied)) == by_key((record.key, record.value) for record in records)


@THREADS
def test_avro_comes_back_byte_for_byte(ground: Ground, threads: int) -> None:
    """Each value was decoded into its Java types and encoded again; a decimal or a date that changed would show."""
    topic = "front-office.executions"
    ground.create(topic, "out")
    sent = ground.send(topic, ((event.order_id, event) for event in varied_trades.executions(COUNT)))

    with ground.running("avro", threads) as process:
        copied = ground.await_records(process, "out", COUNT)

    assert by_key(pairs_of(copied)) == by_key(sent)


def test_a_value_that_is_no_event_ends_the_program(ground: Ground) -> None:
    """It has no dead letters; to go on without a record would be to measure less work."""
    topic = "front-office.executions"
    ground.create(topic, "out")
    ground.log.send([OutgoingRecord(topic, b"O1", b"\xc3\x01not an execution")])

    with ground.running("avro", 1) as process:
        assert process.wait(WAIT_SECONDS_MAX) == 1

    assert f"a value of {ground.prefixed(topic)} does not begin with c301" in ground.output.read_text()
