"""Charges of the shipped rules to the cent, and how a rule is applied."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from services.domain.code import ChargeType, InstrumentType, Side
from services.domain.money import Rounding
from services.domain.reference import ChargeRule, ReferenceData
from services.enrichment.charges import charges_of
from tests import samples
from tests.unit.enrichment.desk import instrument, reference
from tests.unit.reference_files.shipped import shipped_reference

EQUITY, ETF, CORPORATE_BOND = InstrumentType.EQUITY, InstrumentType.ETF, InstrumentType.CORPORATE_BOND
BUY, SELL, SHORT = Side.BUY, Side.SELL, Side.SELL_SHORT
SHIPPED = shipped_reference()
CURRENCIES = {"US": "USD", "GB": "GBP", "HK": "HKD"}


def charged(
    data: ReferenceData,
    *,
    market: str,
    side: Side,
    quantity: str,
    price: str,
    traded: date,
    settled: date,
    instrument_type: InstrumentType = EQUITY,
    issuer_country: str | None = None,
    currency: str | None = None,
) -> dict[str, str]:
    """Charges by id, as the text of their amounts, so that the digits are compared too."""
    trade = samples.captured_trade(
        side=side,
        quantity=Decimal(quantity),
        price=Decimal(price),
        currency=currency or CURRENCIES.get(market, "EUR"),
        trade_date=traded,
    )
    security = instrument(
        settlement_market=market, instrument_type=instrument_type, issuer_country=issuer_country or market
    )
    gross = (trade.quantity * trade.price).quantize(Decimal("0.01"))
    charges = charges_of(data, trade, security, gross_amount=gross, settlement_date=settled)
    assert [charge.charge_id for charge in charges] == sorted(charge.charge_id for charge in charges)
    return {charge.charge_id: str(charge.amount) for charge in charges}


def us(section_31: str | None, taf: str | None) -> dict[str, str]:
    """The two American charges, as far as they are due."""
    pairs = {"US_FINRA_TAF": taf, "US_SEC_SECTION_31": section_31}
    return {name: amount for name, amount in pairs.items() if amount is not None}


@pytest.mark.parametrize(
    ("side", "quantity", "price", "traded", "settled", "expected", "why"),
    [
        (SELL, "1000", "100", date(2024, 5, 20), date(2024, 5, 21), us("0.80", "0.17"), "8.00 a million"),
        (SELL, "1000", "100", date(2025, 5, 12), date(2025, 5, 13), us("2.78", "0.17"), "last day of 27.80"),
        (SELL, "1000", "100", date(2025, 5, 13), date(2025, 5, 14), us(None, "0.17"), "0.00 by settlement date"),
        (SELL, "1000", "100", date(2026, 4, 1), date(2026, 4, 2), us(None, "0.20"), "last free day; 0.195 up"),
        (SELL, "1000", "100", date(2026, 4, 2), date(2026, 4, 6), us("2.06", "0.20"), "Thursday before Easter"),
        (SHORT, "1000", "100", date(2026, 4, 7), date(2026, 4, 8), us("2.06", "0.20"), "a short sale is a sale"),
        (SELL, "100000", "1", date(2026, 4, 7), date(2026, 4, 8), us("2.06", "9.79"), "TAF cap of 2026"),
        (SELL, "100000", "1", date(2025, 6, 2), date(2025, 6, 3), us(None, "8.30"), "TAF cap of 2025"),
        (SELL, "50000", "1", date(2025, 6, 2), date(2025, 6, 3), us(None, "8.30"), "exactly the cap"),
        (SELL, "49999", "1", date(2025, 6, 2), date(2025, 6, 3), us(None, "8.30"), "8.299834 rounds to the cap"),
        (SELL, "1000", "100", date(2025, 12, 31), date(2026, 1, 2), us(None, "0.17"), "TAF goes by trade date"),
        (SELL, "1000", "100", date(2026, 9, 30), date(2026, 10, 1), us("2.06", "0.20"), "last day before the pause"),
        (SELL, "1000", "100", date(2026, 10, 1), date(2026, 10, 2), us("2.06", None), "TAF pauses"),
        (SELL, "1000", "100", date(2026, 12, 31), date(2027, 1, 4), us("2.06", None), "TAF goes by trade date"),
        (SELL, "1000", "100", date(2027, 1, 4), date(2027, 1, 5), us("2.06", "0.20"), "TAF again"),
        (SELL, "10", "1", date(2026, 4, 7), date(2026, 4, 8), {}, "0.000206 and 0.00195 round to nothing"),
        (SELL, "10000", "0.025", date(2026, 4, 7), date(2026, 4, 8), us("0.01", "1.95"), "0.00515 rounds up"),
        (BUY, "1000", "100", date(2026, 4, 7), date(2026, 4, 8), {}, "a buyer pays nothing"),
    ],
)  # fmt: skip
def test_united_states(
    side: Side, quantity: str, price: str, traded: date, settled: date, expected: dict[str, str], why: str
) -> None:
    """Section 31 goes by settlement date, TAF by trade date; amounts computed by hand."""
    found = charged(SHIPPED, market="US", side=side, quantity=quantity, price=price, traded=traded, settled=settled)
    assert found == expected, why


@pytest.mark.parametrize(
    ("side", "quantity", "price", "traded", "issuer", "instrument_type", "expected", "why"),
    [
        (BUY, "1000", "10.01", date(2026, 3, 2), "GB", EQUITY, {"GB_PTM_LEVY": "1.50", "GB_SDRT": "50.05"}, "both"),
        (BUY, "1000", "10.00", date(2026, 3, 2), "GB", EQUITY, {"GB_SDRT": "50.00"}, "exactly 10,000 is not above it"),
        (SELL, "1000", "10.01", date(2026, 3, 2), "GB", EQUITY, {"GB_PTM_LEVY": "1.50"}, "only the buyer pays SDRT"),
        (SHORT, "1000", "10.01", date(2026, 3, 2), "GB", EQUITY, {"GB_PTM_LEVY": "1.50"}, "a short sale is a sale"),
        (SELL, "1000", "10.01", date(2024, 11, 29), "GB", EQUITY, {"GB_PTM_LEVY": "1.00"}, "before the rise"),
        (SELL, "1000", "10.01", date(2024, 12, 2), "GB", EQUITY, {"GB_PTM_LEVY": "1.50"}, "first day of the rise"),
        (BUY, "301", "1.00", date(2026, 3, 2), "GB", EQUITY, {"GB_SDRT": "1.51"}, "1.505: half a penny goes up"),
        (BUY, "300.98", "1.00", date(2026, 3, 2), "GB", EQUITY, {"GB_SDRT": "1.50"}, "1.5049 goes down"),
        (BUY, "1000", "20.00", date(2026, 3, 2), "US", EQUITY, {}, "foreign issuer in CREST"),
        (BUY, "1000", "20.00", date(2026, 3, 2), "GB", ETF, {}, "funds are exempt"),
        (BUY, "1000", "20.00", date(2026, 3, 2), "GB", CORPORATE_BOND, {}, "loan capital is exempt"),
    ],
)
def test_great_britain(
    side: Side,
    quantity: str,
    price: str,
    traded: date,
    issuer: str,
    instrument_type: InstrumentType,
    expected: dict[str, str],
    why: str,
) -> None:
    """SDRT to the nearest penny, half up (HMRC STSM014030); PTM levy on both sides above 10,000."""
    found = charged(
        SHIPPED,
        market="GB",
        side=side,
        quantity=quantity,
        price=price,
        traded=traded,
        settled=date(2026, 3, 4),
        issuer_country=issuer,
        instrument_type=instrument_type,
    )
    assert found == expected, why


@pytest.mark.parametrize(
    ("market", "side", "traded", "settled", "expected"),
    [
        ("FR", BUY, date(2025, 3, 27), date(2025, 3, 31), {"FR_FTT": "300.00"}),
        ("FR", BUY, date(2025, 3, 28), date(2025, 4, 1), {"FR_FTT": "400.00"}),
        ("FR", SELL, date(2025, 3, 28), date(2025, 4, 1), {}),
        ("IT", BUY, date(2025, 12, 29), date(2025, 12, 31), {"IT_FTT": "100.00"}),
        ("IT", BUY, date(2025, 12, 30), date(2026, 1, 2), {"IT_FTT": "200.00"}),
        ("ES", BUY, date(2026, 3, 2), date(2026, 3, 4), {"ES_FTT": "200.00"}),
        ("IE", BUY, date(2026, 3, 2), date(2026, 3, 4), {"IE_STAMP_DUTY": "1000.00"}),
        ("IE", SELL, date(2026, 3, 2), date(2026, 3, 4), {}),
        ("DE", BUY, date(2026, 3, 2), date(2026, 3, 4), {}),
    ],
)
def test_euro_markets(market: str, side: Side, traded: date, settled: date, expected: dict[str, str]) -> None:
    """100,000 euro of a domestic share; French and Italian rates change by settlement date."""
    found = charged(SHIPPED, market=market, side=side, quantity="1000", price="100", traded=traded, settled=settled)
    assert found == expected


@pytest.mark.parametrize("market", ["FR", "IT", "ES", "IE"])
def test_transaction_tax_is_for_domestic_issuers_only(market: str) -> None:
    """A Luxembourg share on a taxing market is not taxed there."""
    found = charged(
        SHIPPED,
        market=market,
        side=BUY,
        quantity="1000",
        price="100",
        traded=date(2026, 3, 2),
        settled=date(2026, 3, 4),
        issuer_country="LU",
    )
    assert found == {}


@pytest.mark.parametrize(
    ("side", "quantity", "traded", "expected"),
    [
        (BUY, "10010", date(2026, 3, 2), "11.00"),
        (SELL, "10010", date(2026, 3, 2), "11.00"),
        (SHORT, "10000.01", date(2026, 3, 2), "11.00"),
        (BUY, "10000", date(2026, 3, 2), "10.00"),
        (BUY, "1", date(2026, 3, 2), "1.00"),
        (BUY, "10000", date(2023, 11, 16), "13.00"),
        (BUY, "10000", date(2023, 11, 17), "10.00"),
    ],
)
def test_hong_kong_stamp_rounds_up_to_the_dollar(side: Side, quantity: str, traded: date, expected: str) -> None:
    """Both sides pay, whoever issued the share."""
    found = charged(
        SHIPPED,
        market="HK",
        side=side,
        quantity=quantity,
        price="1",
        traded=traded,
        settled=traded,
        issuer_country="KY",
    )
    assert found == {"HK_STAMP_DUTY": expected}


# --- how a rule is applied -------------------------------------------------------------------------------------------


def rule(charge_id: str = "X", **changes: Any) -> ChargeRule:
    fields: dict[str, Any] = {
        "settlement_market": "DE",
        "charge_id": charge_id,
        "charge_type": ChargeType.LEVY,
        "instrument_types": (EQUITY,),
        "currency": "EUR",
    }
    return ChargeRule(**(fields | changes))


def applied(*rules: ChargeRule, quantity: str = "1000", price: str = "10", currency: str = "EUR") -> dict[str, str]:
    return charged(
        reference(rules),
        market="DE",
        side=BUY,
        quantity=quantity,
        price=price,
        traded=date(2026, 3, 2),
        settled=date(2026, 3, 4),
        currency=currency,
    )


def test_rate_unit_price_and_fixed_amount_add_up_before_the_one_rounding() -> None:
    """10,000 x 0.0000005 + 1,000 x 0.000001 + 0.999 = 1.005; rounding the parts would give 1.01, 0.00, 1.00 = 1.00."""
    combined = rule(
        rate_of_gross=Decimal("0.0000005"), rate_per_unit=Decimal("0.000001"), fixed_amount=Decimal("0.999")
    )
    assert applied(combined) == {"X": "1.01"}


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [(Rounding.HALF_UP, "2.13"), (Rounding.HALF_EVEN, "2.12"), (Rounding.UP, "2.13"), (Rounding.DOWN, "2.12")],
)
def test_rounding_mode_is_the_rule_s(rounding: Rounding, expected: str) -> None:
    """2.125 under each mode."""
    assert applied(rule(fixed_amount=Decimal("2.125"), rounding=rounding)) == {"X": expected}


def test_yen_has_no_decimals() -> None:
    found = applied(rule(rate_of_gross=Decimal("0.00015"), currency="JPY"), currency="JPY", price="10.10")
    assert found == {"X": "2"}


def test_charge_in_another_currency_does_not_apply() -> None:
    """Its amounts would be of another size."""
    assert applied(rule(fixed_amount=Decimal(1), currency="USD")) == {}


def test_trade_without_cash_has_no_charges() -> None:
    """A cancellation may carry no economics; a fixed fee on nothing would be money out of nowhere."""
    assert applied(rule(fixed_amount=Decimal(1)), quantity="0") == {}
    assert applied(rule(fixed_amount=Decimal(1))) == {"X": "1.00"}


def test_of_overlapping_rows_the_latest_valid_from_wins() -> None:
    """A new rate was published and the old row left open: one charge, at the new rate, never both."""
    old = rule(fixed_amount=Decimal(1), valid_from=date(2020, 1, 1))
    new = rule(fixed_amount=Decimal(2), valid_from=date(2026, 1, 1))
    future = rule(fixed_amount=Decimal(3), valid_from=date(2026, 3, 3))
    assert applied(old, new, future) == applied(future, new, old) == {"X": "2.00"}


def test_row_is_chosen_by_the_date_it_goes_by() -> None:
    """Between trade date 2 March and settlement date 4 March two rows change over; each key date sees its own."""
    for effective_by, expected in (("TRADE_DATE", "1.00"), ("SETTLEMENT_DATE", "2.00")):
        before = rule(
            fixed_amount=Decimal(1),
            effective_by=effective_by,
            valid_from=date(2020, 1, 1),
            valid_to=date(2026, 3, 3),
        )
        after = rule(fixed_amount=Decimal(2), effective_by=effective_by, valid_from=date(2026, 3, 4))
        assert applied(before, after) == {"X": expected}


def test_charges_come_in_the_order_of_their_ids() -> None:
    """Two workers must publish the same bytes."""
    rules = [rule(name, fixed_amount=Decimal(1)) for name in ("C", "A", "B")]
    assert list(applied(*rules)) == ["A", "B", "C"]
