"""Every measured program does the work that it is measured in: what comes out is held against this service in memory.

`make bench-check` runs these tests; the environments of the peers are built first.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TypeVar

import pytest

from services import pipeline
from services.domain.event import EnrichedTrade
from services.domain.record import Record
from services.pipeline import make_codec
from services.settings import Settings
from tests.bench import data, run
from tests.bench.peers import wiring
from tests.bench.programs import ENRICHMENT, PIPELINE, PROGRAMS, Program
from tests.bench.workload import Delivery
from tests.support.pipeline_in_memory import Pipeline

CODEC = make_codec()
COUNT = 400
TRADES = 150
NOW_US = 1_790_000_000_000_000

R = TypeVar("R", bound=Record)


def _programs(measure: str) -> list[object]:
    return [pytest.param(program, id=program.name) for program in PROGRAMS if measure in program.loads]


def _delivered(program: Program, measure: str, count: int, kafka: str, folder: Path) -> Delivery:
    records = run.input_records(measure, count)
    delivery = run.deliver(program, measure, records, kafka, folder)
    run.check(program, measure, records, delivery)
    assert len(delivery.records) == count, "a run without failures doubles nothing, whatever the guarantee"
    return delivery


@pytest.mark.bench
@pytest.mark.parametrize("program", _programs("pass-through"))
def test_pass_through_changes_nothing(program: Program, kafka: str, tmp_path: Path) -> None:
    """Bytes and keys are those of the input: `run.check` compares them."""
    _delivered(program, "pass-through", COUNT, kafka, tmp_path)


@pytest.mark.bench
@pytest.mark.parametrize("program", _programs("avro"))
def test_avro_is_written_as_it_was_read(program: Program, kafka: str, tmp_path: Path) -> None:
    """Equal records have equal bytes: a program that left fields out would be faster and wrong."""
    _delivered(program, "avro", COUNT, kafka, tmp_path)


@pytest.mark.bench
@pytest.mark.parametrize("program", _programs("enrichment"))
def test_enriched_trades_are_those_of_the_stage(program: Program, kafka: str, tmp_path: Path) -> None:
    """Field by field, for every trade."""
    delivery = _delivered(program, ENRICHMENT, COUNT, kafka, tmp_path)
    found = {record.key.decode(): CODEC.decode("trades.enriched", record.value) for record in delivery.records}
    assert found == _enriched()


@cache
def _enriched() -> dict[str, EnrichedTrade]:
    pipeline_in_memory = Pipeline(now_us=NOW_US)
    pipeline_in_memory.load(data.reference_rows())
    for record in data.captured(CODEC, COUNT):
        pipeline_in_memory.send(record.topic, (record.key or b"").decode(), record.value)
    pipeline_in_memory.run()
    events = pipeline_in_memory.events("trades.enriched", EnrichedTrade)
    return {event.order_id: _as_read(event, EnrichedTrade) for event in events}


def _as_read(event: R, kind: type[R]) -> R:
    return CODEC.avro.decode(CODEC.avro.encode(event), kind)


@pytest.mark.bench
@pytest.mark.parametrize("program", _programs("pipeline"))
def test_every_trade_is_instructed_once(program: Program, kafka: str, tmp_path: Path) -> None:
    """One sese.023 for each trade, under the ids that follow from it."""
    delivery = _delivered(program, PIPELINE, TRADES, kafka, tmp_path)
    assert delivery.keys == _instruction_ids()
    for record in delivery.records:
        assert b"<TxId>%s</TxId>" % record.key in record.value


@cache
def _instruction_ids() -> set[bytes]:
    pipeline_in_memory = Pipeline(now_us=NOW_US)
    pipeline_in_memory.load(data.reference_rows())
    for trade in data.trades(CODEC, TRADES):
        for record in trade:
            pipeline_in_memory.send(record.topic, (record.key or b"").decode(), record.value)
    pipeline_in_memory.run()
    return {(entry.key or "").encode() for entry in pipeline_in_memory.entries("settlement.messages")}


def test_peers_run_the_services_of_the_pipeline() -> None:
    """What the peers run is told a second time, for their environments lack the engine; it must be the same."""
    ours = {service.name: service for service in pipeline.SERVICES}
    assert [service.name for service in wiring.SERVICES] == list(pipeline.SERVICE_NAMES)
    sent = {record.topic for trade in data.trades(CODEC, 1) for record in trade}
    written = sent | {topic for service in wiring.SERVICES for topic in service.writes}
    for service in wiring.SERVICES:
        definition = ours[service.name]
        assert type(service.make_stage()) is type(definition.make_stage(Settings()))
        assert set(service.reads) == set(definition.reads) & written
        assert set(service.writes) == {topic for topic in definition.writes if topic != "trades.allocation-requests"}
    assert set(pipeline.REFERENCE_TOPICS) == set(wiring.REFERENCE_TOPICS)
    assert Settings().unconfirmed_after_seconds * 1_000_000 == wiring.OVERDUE_AFTER_US
    assert Settings().unallocated_after_seconds * 1_000_000 == wiring.OVERDUE_AFTER_US
