"""Reported accrued interest that the terms contradict: the trade goes on, and the doubt lives as long as its cause.

What is settled, and when a doubt opens and closes, is told by tests/scenarios/money.txt; here is what the stage owes
its engine: once per change, after a restart, not for held orders, not too much at once.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from services.domain.code import InstrumentType, PriceType
from services.domain.record import replace
from services.domain.reference import AccruedInterestTolerance, ReferenceData
from services.enrichment import process
from services.enrichment.accrued import anew
from services.enrichment.process import EnrichmentStage
from services.enrichment.state import DoubtedTrade
from tests import samples
from tests.unit.enrichment.desk import COMPLETE, NOW_US, Desk, bond_terms, instrument, open_exceptions, words

BONDS = (instrument(instrument_type=InstrumentType.CORPORATE_BOND), *COMPLETE[1:])
DOUBTED = samples.captured_trade(
    price_type=PriceType.PERCENT_OF_PAR, quantity=Decimal(100_000), accrued_interest_amount=Decimal("9.00")
)
OPEN, CLOSED = "OPEN ACCRUED_INTEREST_DIFFERS", "CLOSED ACCRUED_INTEREST_DIFFERS"


def doubting_desk() -> Desk:
    """One day's interest on 100,000 is 10.00, and 9.00 was reported."""
    desk = Desk((*BONDS, bond_terms()))
    assert desk.take(DOUBTED) == ["enriched E1 v1", OPEN]
    return desk


def test_a_doubt_is_looked_at_once_per_change_of_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand open doubts must not be computed again every second."""
    desk = doubting_desk()
    looked: list[str] = []

    def looking(data: ReferenceData, doubt: DoubtedTrade) -> DoubtedTrade | None:
        looked.append(doubt.isin)
        return anew(data, doubt)

    monkeypatch.setattr(process, "anew", looking)
    for _ in range(3):
        assert desk.tick() == []
    desk.put(AccruedInterestTolerance(currency="USD", amount=Decimal(5), per_face_amount=Decimal(0)))
    for _ in range(3):
        assert desk.tick() == []
    assert len(looked) == 2


def test_a_wider_tolerance_dispels_a_doubt() -> None:
    """The desk widens it in reference data, and the exception closes by itself."""
    desk = doubting_desk()
    desk.put(AccruedInterestTolerance(currency="EUR", amount=Decimal(1), per_face_amount=Decimal(0)))
    assert desk.tick() == [CLOSED]
    assert open_exceptions(desk.outcomes) == set()
    assert desk.state.tables[DoubtedTrade] == {}


def test_a_doubt_is_dispelled_by_another_process() -> None:
    """What is needed to look again is in the state, and survives its changelog."""
    desk = doubting_desk()
    desk.put(bond_terms(coupon_rate=Decimal("0.03285")))
    (row,) = desk.state.tables[DoubtedTrade].values()
    assert msgspec.json.decode(msgspec.json.encode(row), type=DoubtedTrade) == row
    assert words(EnrichmentStage().on_time(desk.state, NOW_US)) == [CLOSED]


def test_a_doubt_of_a_held_order_is_left_alone_until_it_is_free() -> None:
    """What waits there for a repair may be the correction."""
    desk = doubting_desk()
    desk.state.held.add("O1")
    desk.put(bond_terms(coupon_rate=Decimal("0.03285")))
    assert desk.tick() == []
    desk.state.held.clear()
    assert desk.tick() == [CLOSED]


def test_other_terms_do_not_dispel_everything_in_one_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mended row may be that of ten thousand trades."""
    monkeypatch.setattr(process, "OUTCOMES_PER_CALL_MAX", 2)
    desk = Desk((*BONDS, bond_terms()))
    for number in range(5):
        desk.take(replace(DOUBTED, trade_id=f"TR{number}"))
    desk.put(bond_terms(coupon_rate=Decimal("0.03285")))
    assert [len(desk.tick()) for _ in range(4)] == [2, 2, 1, 0]


def test_a_later_version_that_waits_takes_the_doubt_with_it() -> None:
    """The doubt was about what the correction replaces, whatever becomes of the correction."""
    desk = doubting_desk()
    correction = replace(DOUBTED, version=2, execution_id="E1-2", security_id="US0378331005")
    assert desk.take(correction) == [CLOSED, "OPEN INSTRUMENT_MISSING"]
    assert desk.state.tables[DoubtedTrade] == {}
