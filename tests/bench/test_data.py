"""The trades of the bench are what its measures take for granted."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from services.domain.event import CapturedTrade, Execution, SettlementInstruction
from services.domain.reference import ReferenceData
from services.enrichment.rules import Problem, enrich
from services.pipeline import EXCEPTIONS, make_codec
from tests.bench import data
from tests.support.pipeline_in_memory import Pipeline

CODEC = make_codec()
NOW_US = 1_790_000_000_000_000
COUNT = 600


def test_same_seed_same_bytes() -> None:
    """Programs are measured one after another: what they get must be the same."""
    assert list(data.trades(CODEC, COUNT)) == list(data.trades(CODEC, COUNT))
    assert list(data.captured(CODEC, COUNT)) == list(data.captured(CODEC, COUNT))
    assert list(data.trades(CODEC, COUNT)) != list(data.trades(CODEC, COUNT, seed=2))


def test_parts_give_the_whole() -> None:
    """A measure that sends more later must not send the same again."""
    parts = [*data.trades(CODEC, 250), *data.trades(CODEC, COUNT - 250, first=250)]
    assert parts == list(data.trades(CODEC, COUNT))
    assert [execution for execution, _ in parts] == list(data.executions(CODEC, COUNT))


def test_no_two_trades_are_alike() -> None:
    """Equal terms would let a program answer from a table of recent values what it should compute."""
    records = [record for trade in data.trades(CODEC, 5_000) for record in trade]
    assert len({record.key for record in records}) == len({record.value for record in records}) == len(records)


def test_trades_vary_as_trades_do() -> None:
    """A bench on one price and one quantity would measure a cache."""
    found = [CODEC.decode(record.topic, record.value) for record in data.executions(CODEC, 5_000)]
    trades = [event for event in found if isinstance(event, Execution)]
    assert len({trade.account for trade in trades}) == len({trade.security_id for trade in trades}) == 150
    assert len({trade.price for trade in trades}) > 3_000
    assert len({trade.quantity for trade in trades}) > 100
    assert {-int(trade.price.as_tuple().exponent) for trade in trades} >= {2, 3, 4}
    assert all(trade.quantity % data.LOT == 0 for trade in trades)
    of_one_share = [trade.price for trade in trades if trade.security_id == trades[0].security_id]
    assert all(abs(later - earlier) <= earlier / 100 for earlier, later in pairwise(of_one_share)), "not a walk"


@pytest.mark.parametrize("first", [0, 45_000 - COUNT // 2])
@pytest.mark.parametrize("shuffled", [False, True])
def test_every_trade_is_instructed_exactly_once(first: int, shuffled: bool) -> None:
    """Delivery is counted in instructions: one for each trade whatever came first, also at the turn of a day."""
    pipeline = Pipeline(now_us=NOW_US, partitions=4)
    pipeline.load(data.reference_rows())
    for trade in data.trades(CODEC, COUNT, first=first):
        for record in trade:
            pipeline.send(record.topic, (record.key or b"").decode(), record.value)
    pipeline.run(random.Random(7) if shuffled else None)
    instructed = pipeline.events("settlement.instructions", SettlementInstruction)
    assert sorted(instruction.order_id for instruction in instructed) == [
        data.order_id(first + number) for number in range(COUNT)
    ]
    assert len({instruction.instruction_id for instruction in instructed}) == COUNT
    assert len(pipeline.entries("settlement.messages")) == COUNT
    assert pipeline.entries(EXCEPTIONS) == []
    assert not pipeline.suppressed


def test_captured_trades_are_those_of_capture() -> None:
    """The enrichment measure begins where capture ends, and nothing in it waits for reference data."""
    reference = ReferenceData()
    for row in data.reference_rows():
        reference.put(row)
    records = list(data.captured(CODEC, COUNT))
    events = [CODEC.decode(record.topic, record.value) for record in records]
    assert [record.key for record in records] == [data.order_id(number).encode() for number in range(COUNT)]
    for event in events:
        assert isinstance(event, CapturedTrade)
        assert not isinstance(enrich(event, reference), Problem)
