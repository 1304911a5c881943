"""The rows of the README that speak of money: what becomes of their examples, figure by figure."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from functools import cache

import pytest

from deploy.sample_day.generate import DATA
from services.domain.event import AllocatedTrade, EnrichedTrade
from tests.unit.sample_day import playing

Trades = dict[str, list[EnrichedTrade]]


@cache
def _played() -> tuple[Trades, dict[str, list[AllocatedTrade]], dict[str, str]]:
    """Enriched and allocated trades by order, and the example of each row."""
    pipeline = playing.new_pipeline()
    playing.send(pipeline, playing.read_records(DATA))
    enriched, allocated = defaultdict(list), defaultdict(list)
    for trade in pipeline.events("trades.enriched", EnrichedTrade):
        enriched[trade.order_id].append(trade)
    for share in pipeline.events("trades.allocated", AllocatedTrade):
        allocated[share.order_id].append(share)
    examples = {row["name"]: row["example"] for row in playing.expected()["details"]["troubles"]}
    return enriched, allocated, examples


def fills(name: str) -> list[EnrichedTrade]:
    enriched, _, examples = _played()
    found = enriched[examples[name]]
    assert found, name
    return found


def charge(trade: EnrichedTrade, charge_id: str) -> Decimal:
    (amount,) = [one.amount for one in trade.charges if one.charge_id == charge_id]
    return amount


def test_accrued_interest_is_computed_where_none_is_reported() -> None:
    assert all(fill.accrued_interest_amount is None and fill.accrued_interest > 0 for fill in fills("accrued-computed"))


def test_the_gilt_is_without_its_coupon() -> None:
    """Four days of 181, of half of 4.25 percent, are given back."""
    for fill in fills("accrued-ex-dividend"):
        expected = -fill.quantity * Decimal("0.02125") * 4 / 181
        assert fill.accrued_interest == expected.quantize(Decimal("0.01"))
        assert fill.accrued_interest < 0


def test_a_reported_amount_that_differs_is_settled() -> None:
    (fill,) = fills("accrued-differs")
    assert fill.accrued_interest == fill.accrued_interest_amount


@pytest.mark.parametrize(
    ("name", "rate", "of"),
    [
        ("commission-per-unit", "0.02", "quantity"),
        ("commission-percent", "0.0005", "gross_amount"),
        ("commission-per-bond", "0.00025", "quantity"),
    ],
)
def test_commission_is_in_net_money_and_divided(name: str, rate: str, of: str) -> None:
    """Each fill has its own, rounded once; the accounts together have all of it."""
    _, allocated, examples = _played()
    total = Decimal(0)
    for fill in fills(name):
        commission = charge(fill, "COMMISSION")
        assert abs(commission - getattr(fill, of) * Decimal(rate)) <= Decimal("0.005")
        total += commission
    shares = allocated[examples[name]]
    given = [one.amount for share in shares for one in share.charges if one.charge_id == "COMMISSION"]
    assert sum(given) == total


def test_an_absolute_commission_is_that_of_each_fill() -> None:
    assert {charge(fill, "COMMISSION") for fill in fills("commission-absolute")} == {Decimal("9.90")}


def test_yen_have_no_decimals() -> None:
    for fill in fills("yen"):
        amounts = (fill.gross_amount, fill.net_amount, charge(fill, "COMMISSION"))
        assert all(amount == amount.to_integral_value() for amount in amounts)
        assert charge(fill, "COMMISSION") == (fill.gross_amount * Decimal("0.00037")).to_integral_value("ROUND_HALF_UP")


@pytest.mark.parametrize(
    ("name", "charge_ids"),
    [
        ("charges-gb", ["GB_PTM_LEVY", "GB_SDRT"]),
        ("charges-us", ["US_FINRA_TAF"]),
        ("charges-fr", ["FR_FTT"]),
    ],
)
def test_taxes_of_the_markets_are_there(name: str, charge_ids: list[str]) -> None:
    (fill,) = fills(name)
    assert [one.charge_id for one in fill.charges] == charge_ids
