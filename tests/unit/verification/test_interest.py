"""The auditor's own accrued interest and commissions, against those of enrichment: written twice, and equal."""

from __future__ import annotations

import random
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from services.domain.accrued_interest import accrued_amount, accrued_per_unit
from services.domain.code import CommissionType
from services.domain.event import CapturedTrade
from services.domain.record import Record, asdict
from services.domain.reference import Holiday, ReferenceData
from services.enrichment.commission import with_commission
from services.verification.cash import commission_follows
from services.verification.interest import accrued_by
from tests import samples
from tests.unit.domain.bonds import day_in_life, drawn
from tests.unit.reference_files.shipped import shipped_records, shipped_reference

CALENDAR = "SETTLEMENT:GB"


def plain(record: Record) -> dict[str, Any]:
    """A record as the auditor reads it: enums are their symbols."""
    return {name: getattr(value, "value", value) for name, value in asdict(record).items()}


def test_accrued_interest_is_that_of_the_rules() -> None:
    """Two ways to count: every kind of bond, coupons short and long, with and without the coming one, cents and yen."""
    chance = random.Random(6)
    closed: dict[str | None, set[date]] = {}
    closed[CALENDAR] = {row.day for row in shipped_records() if isinstance(row, Holiday) and row.calendar == CALENDAR}
    covered = range(2024, 2030)
    compared = negative = 0
    for _ in range(600):
        days = chance.choice((0, 0, 7, 30))
        by_calendar = days and chance.random() < 0.5
        bond = drawn(
            chance,
            ex_dividend_days=days,
            ex_dividend_calendar=CALENDAR if by_calendar else None,
            per_hundred_digits=chance.choice((None, None, 5)),
        )
        reference = shipped_reference(bond) if by_calendar else _only(bond)
        for _ in range(4):
            day = day_in_life(chance, bond)
            if by_calendar and day.year not in covered:
                continue
            face, currency = Decimal(1_234_567), chance.choice(("EUR", "JPY"))
            record = {"settlement_date": day, "currency": currency, "quantity": face}
            per_unit = accrued_per_unit(reference, bond.isin, day)
            assert not isinstance(per_unit, Record), (bond, day, per_unit)
            expected = accrued_amount(per_unit, face, currency=currency)
            assert accrued_by(plain(bond), record, closed) == expected, (bond, day)
            compared += 1
            negative += expected < 0
    assert compared > 1_000
    assert negative > 50


def _only(bond: Any) -> ReferenceData:
    data = ReferenceData()
    data.put(bond)
    return data


def test_terms_of_another_time_say_nothing() -> None:
    """Only a row that holds on the settlement date, and a bond that is alive then, may explain an amount."""
    bond = drawn(random.Random(7))
    record = {"settlement_date": bond.maturity_date, "currency": "EUR", "quantity": Decimal(1)}
    assert accrued_by(plain(bond), record, {}) is None
    before = record | {"settlement_date": bond.accrual_start}
    assert accrued_by(plain(bond), before, {}) == 0
    assert accrued_by(plain(bond) | {"valid_from": bond.maturity_date}, before, {}) is None


def _enriched(trade: CapturedTrade, **changes: Any) -> dict[str, Any]:
    gross = Decimal("123456.78")
    charges = with_commission((), trade, gross_amount=gross)
    return plain(trade) | {"gross_amount": gross, "charges": [plain(charge) for charge in charges]} | changes


@pytest.mark.parametrize("kind", CommissionType)
@pytest.mark.parametrize("currency", ["EUR", "JPY"])
@pytest.mark.parametrize("multiplier", [None, Decimal(5_000)])
def test_commission_is_that_of_the_rules(kind: CommissionType, currency: str, multiplier: Decimal | None) -> None:
    """Each type, rounded to the currency's unit; one unit more is noticed, and so is one that nobody reported."""
    trade = samples.captured_trade(
        commission=Decimal("0.0123456789"), commission_type=kind, currency=currency, quantity=Decimal(98_765),
        contract_multiplier=multiplier if kind is CommissionType.PER_BOND else None,
    )  # fmt: skip
    record = _enriched(trade)
    assert commission_follows(record)
    if record["charges"]:
        (charge,) = record["charges"]
        assert not commission_follows(record | {"charges": [charge | {"amount": charge["amount"] + 1}]})
        assert not commission_follows(record | {"charges": []})
        assert not commission_follows(record | {"charges": [charge, charge]})
        assert not commission_follows(record | {"commission": None})
        assert not commission_follows(record | {"charges": [charge | {"currency": "USD"}]})
