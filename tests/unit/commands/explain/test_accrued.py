"""Accrued interest explained: the same amount, reason and doubt as enrichment has, with the period behind it."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.sample_day.generate import DATA
from services.adapters.reference_files import load_directory
from services.commands.explain import accrued
from services.commands.explain.cases import parse_object, read_case
from services.commands.explain.kind import Answer
from services.domain.event import CapturedTrade
from services.domain.reference import BondTerms, ReferenceData
from services.enrichment.accrued import accrued_of, anew
from services.enrichment.state import DoubtedTrade
from tests import samples
from tests.unit.commands.explain.asking import ask_json
from tests.unit.reference_files.shipped import shipped_reference

SAMPLE = DATA / "reference"


@cache
def reference() -> ReferenceData:
    """The shipped data and the bonds of the sample day."""
    return shipped_reference(*load_directory(SAMPLE))


TERMS = [row for row in load_directory(SAMPLE) if isinstance(row, BondTerms)]


def explained(case: dict[str, Any]) -> Answer:
    """The answer to the case as it would come on standard input."""
    return accrued.KIND.explain(read_case(accrued.KIND, parse_object(json.dumps(case, default=str))), reference())


def by_the_service(trade: CapturedTrade, isin: str, settles_on: date) -> str:
    """Amount or reason, as enrichment has it for a report without accrued interest."""
    found = accrued_of(reference(), trade, isin, settles_on)
    return f"{found:f} {trade.currency}" if isinstance(found, Decimal) else str(found.reason)


@settings(max_examples=500, deadline=None)
@given(
    terms=st.sampled_from(TERMS),
    settles_on=st.dates(date(2025, 1, 1), date(2036, 6, 1)),
    face=st.integers(1, 10**9).map(lambda cents: Decimal(cents).scaleb(-2)),
    currency=st.sampled_from(("EUR", "GBP", "USD", "JPY")),
    off=st.sampled_from((Decimal(0), Decimal("0.01"), Decimal("0.03"), Decimal(-5))),
)
def test_interest_is_that_of_the_service(
    *, terms: BondTerms, settles_on: date, face: Decimal, currency: str, off: Decimal
) -> None:
    """In and out of the bond's life, with and without the coming coupon; and whether a report is doubted."""
    trade = samples.captured_trade(quantity=face, currency=currency)
    expected = by_the_service(trade, terms.isin, settles_on)
    case = {"isin": terms.isin, "settlement_date": settles_on, "quantity": face, "currency": currency}
    result = explained(case).result
    assert result.get("accrued_interest", result.get("reason")) == expected
    if "reason" in result:
        return
    reported = Decimal(expected.split()[0]) + off
    doubt = DoubtedTrade(
        order_id="", isin=terms.isin, trade_date=settles_on, settlement_date=settles_on, quantity=face,
        currency=currency, accrued_interest=reported, reason="", details={},
    )  # fmt: skip
    assert explained(case | {"reported": reported}).result["reported_agrees"] is (anew(reference(), doubt) is None)


@pytest.mark.parametrize(
    ("settles_on", "is_ex_dividend", "is_negative"), [("2026-02-25", False, False), ("2026-03-03", True, True)]
)
def test_a_gilt_within_seven_business_days_of_its_coupon_is_ex_dividend(
    settles_on: str, is_ex_dividend: bool, is_negative: bool
) -> None:
    case = {"isin": "GB0032452392", "settlement_date": settles_on, "quantity": 100_000, "currency": "GBP"}
    answer = ask_json("accrued", case, "--reference", str(SAMPLE))
    assert ("ex-dividend" in {step["what"] for step in answer["steps"]}) is is_ex_dividend
    assert answer["result"]["accrued_interest"].startswith("-") is is_negative
    assert [row["kind"] for row in answer["rows"]] == ["bond-terms"]
