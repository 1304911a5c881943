"""The Kafka Streams peer gives what this service gives: a comparison of speeds is one of programs that do the same.

Its oracles are the codec and the stage of this service, run in memory. `make bench-check` runs these tests: the peer is
built with Maven.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from deploy.local.guarded_process import GuardedProcess
from deploy.local.kafka_jars import REPOSITORY
from services.adapters.kafka_log import KafkaLog
from services.adapters.reference_files import topic_of
from services.adapters.topic_codec import FormatCodec
from services.domain.event import CapturedTrade, EnrichedTrade, ExceptionEvent
from services.domain.reason import Reason
from services.domain.record import Record, replace
from services.domain.reference import REFERENCE_KINDS, Instrument, Party, ReferenceRecord
from services.engine.log import LogRecord, OutgoingRecord, TopicPartition
from services.enrichment.process import EXCEPTIONS_TOPIC, INPUT_TOPIC, OUTPUT_TOPIC, EnrichmentStage
from services.enrichment.rules import WAIT_REASONS
from services.pipeline import make_codec
from services.stage import Outcome, Publish, Received
from tests.bench import environments, varied_trades
from tests.memory_state import MemoryState
from tests.support.app import send_reference
from tests.support.broker import create_topics

pytestmark = pytest.mark.bench
COUNT = 2_000
PARTITIONS = 4
WAIT_SECONDS_MAX = 120.0
# It does not leave its group when it ends: the next one waits until the group has missed it for so long.
QUICK_RESTART = ("--setting", "consumer.session.timeout.ms=6000")
THREADS = pytest.mark.parametrize("threads", [1, 2])
CAPTURED, ENRICHED, EXCEPTIONS = INPUT_TOPIC, OUTPUT_TOPIC, EXCEPTIONS_TOPIC
REASONS = WAIT_REASONS | {
    Reason.PRICE_TYPE_UNSUITABLE,
    Reason.SETTLEMENT_TYPE_UNSUITABLE,
    Reason.SETTLEMENT_DATE_NOT_BUSINESS_DAY,
    Reason.COMMISSION_UNSUITABLE,
}
"""Every one that enrichment gives without terms of bonds (services/enrichment/__init__.py)."""
K = TypeVar("K")
V = TypeVar("V")
Keyed = list[tuple[bytes, Record]]


class Expected:
    """What the stage of this service makes of the same trades, in memory."""

    def __init__(self, reference: Iterable[ReferenceRecord]) -> None:
        self._state, self._stage = MemoryState(), EnrichmentStage()
        self._found: list[Publish] = []
        self.learn(reference)

    def learn(self, reference: Iterable[ReferenceRecord]) -> None:
        """More reference data; what waited for it goes on."""
        for row in reference:
            self._state.reference.put(row)
        self._keep(self._stage.on_time(self._state, now_us=0))

    def take(self, trades: Iterable[CapturedTrade]) -> None:
        batch = [Received(topic=CAPTURED, key=trade.order_id, event=trade, timestamp_us=0) for trade in trades]
        self._keep(self._stage.process(batch, self._state, now_us=0))

    def _keep(self, outcomes: Iterable[Outcome]) -> None:
        self._found += [outcome for outcome in outcomes if isinstance(outcome, Publish)]

    def of(self, topic: str) -> Keyed:
        """Keys and events of a topic in their order."""
        return [(publish.key.encode(), publish.event) for publish in self._found if publish.topic == topic]

    def exceptions(self) -> list[ExceptionEvent]:
        return [event for _, event in self.of(EXCEPTIONS) if isinstance(event, ExceptionEvent)]


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

    def prepare_enrichment(self, reference: Sequence[ReferenceRecord], trades: Iterable[CapturedTrade]) -> None:
        """All topics the measure needs, filled."""
        self.create(CAPTURED, ENRICHED, EXCEPTIONS)
        topics = [self.prefixed(topic_of(kind)) for kind in REFERENCE_KINDS]
        create_topics(self._servers, *topics, partitions=PARTITIONS, cleanup_policy="compact")
        self.send_reference(reference)
        self.send(CAPTURED, ((trade.order_id, trade) for trade in trades))

    def send_reference(self, rows: Iterable[ReferenceRecord]) -> None:
        send_reference(self.log, self.codec, rows)

    def prefixed(self, topic: str) -> str:
        return self._prefix + topic

    @contextmanager
    def running(self, measure: str, threads: int) -> Iterator[GuardedProcess]:
        command = environments.kafka_streams()
        command += ["--threads", str(threads), *QUICK_RESTART, measure, self._servers, self._prefix]
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


def by_key(pairs: Iterable[tuple[K, V]]) -> dict[K, list[V]]:
    """The values under each key, in their order."""
    found: dict[K, list[V]] = defaultdict(list)
    for key, value in pairs:
        found[key].append(value)
    return found


def pairs_of(records: Sequence[LogRecord]) -> list[tuple[bytes | None, bytes | None]]:
    return [(record.key, record.value) for record in records]


def events_of(ground: Ground, topic: str, records: Sequence[LogRecord]) -> dict[bytes, list[Record]]:
    """Decoded values under each key, written as our codec writes them; without the time at which it was done."""
    found: dict[bytes, list[Record]] = defaultdict(list)
    for record in records:
        event = ground.codec.decode(topic, record.value)
        assert ground.codec.encode(topic, event) == record.value
        if isinstance(event, ExceptionEvent):
            assert event.raised_at_us > 0
            event = replace(event, raised_at_us=0)
        assert record.key is not None
        found[record.key].append(event)
    return found


def by_trade(found: Mapping[bytes, Sequence[Record]]) -> dict[str, list[Record]]:
    """Versions of each trade in their order."""
    trades: dict[str, list[Record]] = defaultdict(list)
    for events in found.values():
        for event in events:
            assert isinstance(event, EnrichedTrade)
            trades[event.trade_id].append(event)
    return trades


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


@THREADS
def test_enrichment_gives_what_the_stage_gives(ground: Ground, threads: int) -> None:
    """Byte for byte: trades in the order of their keys, and the exceptions of those that wait or are refused."""
    trades = [*varied_trades.captured_trades(COUNT)]
    reference = varied_trades.reference_rows()
    expected = Expected(reference)
    expected.take(trades)
    ground.prepare_enrichment(reference, trades)

    with ground.running("enrichment", threads) as process:
        enriched = ground.await_records(process, ENRICHED, len(expected.of(ENRICHED)))
        raised = ground.await_records(process, EXCEPTIONS, len(expected.of(EXCEPTIONS)))

    assert len(enriched) > COUNT // 3
    assert {event.reason for event in expected.exceptions()} == REASONS
    assert events_of(ground, ENRICHED, enriched) == by_key(expected.of(ENRICHED))
    assert events_of(ground, EXCEPTIONS, raised) == by_key(expected.of(EXCEPTIONS))


def test_trades_that_wait_go_on_after_a_restart(ground: Ground) -> None:
    """What waits is in the changelog, later versions included, and is tried when reference data is read anew."""
    trades = [*varied_trades.captured_trades(COUNT, seed=2)]
    late = [row for row in varied_trades.reference_rows() if isinstance(row, Instrument | Party)][::2]
    early = [row for row in varied_trades.reference_rows() if row not in late]
    expected = Expected(early)
    expected.take(trades)
    ground.prepare_enrichment(early, trades)
    with ground.running("enrichment", 1) as process:
        ground.await_records(process, ENRICHED, len(expected.of(ENRICHED)))
        ground.await_records(process, EXCEPTIONS, len(expected.of(EXCEPTIONS)))
    waited = len(expected.of(ENRICHED))
    expected.learn(late)
    ground.send_reference(late)

    with ground.running("enrichment", 2) as process:
        enriched = ground.await_records(process, ENRICHED, len(expected.of(ENRICHED)))
        raised = ground.await_records(process, EXCEPTIONS, len(expected.of(EXCEPTIONS)))

    assert len(enriched) > waited + COUNT // 10
    # What waited overtakes other trades of its order, but no version of its own trade.
    assert by_trade(events_of(ground, ENRICHED, enriched)) == by_trade(by_key(expected.of(ENRICHED)))
    assert events_of(ground, EXCEPTIONS, raised) == by_key(expected.of(EXCEPTIONS))


def test_missing_reference_data_ends_the_program(ground: Ground) -> None:
    """Without it every trade would wait, which is another measure."""
    ground.create(CAPTURED, ENRICHED, EXCEPTIONS)

    with ground.running("enrichment", 1) as process:
        assert process.wait(WAIT_SECONDS_MAX) == 2

    assert f"topic {ground.prefixed('reference.instruments')} does not exist" in ground.output.read_text()


def test_a_value_that_is_no_event_ends_the_program(ground: Ground) -> None:
    """It has no dead letters; to go on without a record would be to measure less work."""
    topic = "front-office.executions"
    ground.create(topic, "out")
    ground.log.send([OutgoingRecord(topic, b"O1", b"\xc3\x01not an execution")])

    with ground.running("avro", 1) as process:
        assert process.wait(WAIT_SECONDS_MAX) == 1

    assert f"a value of {ground.prefixed(topic)} does not begin with c301" in ground.output.read_text()
