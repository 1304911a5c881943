"""What a trade becomes: the order of checks, and cash that adds up."""

from __future__ import annotations

from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.code import (
    AllocationPolicy,
    ChargeType,
    CommissionType,
    ExecutionType,
    InstrumentType,
    PriceType,
    SecurityIdSource,
    Side,
)
from services.domain.event import CapturedTrade, EnrichedTrade
from services.domain.reason import Reason
from services.domain.record import replace
from services.domain.reference import ChargeRule, Instrument, ReferenceData, ReferenceRecord
from services.enrichment.rules import WAIT_REASONS, Problem, enrich
from tests import samples
from tests.unit.enrichment.desk import (
    ACCOUNT_SSI,
    COMPLETE,
    COUNTERPARTY_SSI,
    CYCLE,
    LEI,
    PARTY,
    account,
    bond_terms,
    coverage,
    instrument,
    reference,
    settlement_instruction,
)

BOND = InstrumentType.CORPORATE_BOND


def enriched(data: ReferenceData, trade: CapturedTrade) -> EnrichedTrade:
    result = enrich(trade, data)
    assert isinstance(result, EnrichedTrade), result
    return result


def problem(data: ReferenceData, trade: CapturedTrade | None = None) -> tuple[Reason, dict[str, str]]:
    result = enrich(trade or samples.captured_trade(), data)
    assert isinstance(result, Problem), result
    return result.reason, result.details


def with_changes(*changed: ReferenceRecord) -> ReferenceData:
    """Complete data in which the given records replace those of their kind."""
    kinds = {type(record) for record in changed}
    return reference([record for record in COMPLETE if type(record) not in kinds] + list(changed))


# --- the trade as a whole --------------------------------------------------------------------------------------------


def test_enriched_trade_carries_the_captured_trade_and_everything_added() -> None:
    trade = samples.captured_trade()
    result = enriched(reference(), trade)
    assert {name: getattr(result, name) for name in CapturedTrade.__struct_fields__} == {
        name: getattr(trade, name) for name in CapturedTrade.__struct_fields__
    }
    assert result.isin == samples.ISIN
    assert result.instrument_type is InstrumentType.EQUITY
    assert result.settlement_market == "DE"
    assert result.settlement_date == samples.SETTLEMENT_DATE
    assert (result.gross_amount, result.accrued_interest) == (Decimal("100000.00"), Decimal(0))
    assert (result.charges, result.net_amount) == ((), Decimal("100000.00"))
    assert result.counterparty_lei == LEI
    assert result.counterparty_chain.safekeeping_account == f"{samples.COUNTERPARTY_BIC}-SAFE"


@pytest.mark.parametrize(
    ("source", "value"),
    [
        (SecurityIdSource.ISIN, "US0378331005"),
        (SecurityIdSource.SEDOL, "2046251"),
        (SecurityIdSource.CUSIP, "037833100"),
    ],
)
def test_instrument_is_found_by_each_scheme(source: SecurityIdSource, value: str) -> None:
    """Whatever the sender quotes, the ISIN goes on."""
    data = with_changes(instrument(isin="US0378331005", sedol="2046251", cusip="037833100"))
    trade = samples.captured_trade(security_id=value, security_id_source=source)
    assert enriched(data, trade).isin == "US0378331005"


def test_identifier_of_one_scheme_is_not_taken_for_another() -> None:
    """The same characters under another scheme are another instrument."""
    data = with_changes(instrument(sedol="2046251"))
    trade = samples.captured_trade(security_id="2046251", security_id_source=SecurityIdSource.CUSIP)
    assert problem(data, trade)[0] is Reason.INSTRUMENT_MISSING


# --- what is missing, in order ---------------------------------------------------------------------------------------

SSI_DETAILS = {"settlement_market": "DE", "instrument_type": "EQUITY", "currency": "EUR", "on": "2026-03-04"}
MISSING_IN_ORDER: tuple[tuple[ReferenceRecord, Reason, dict[str, str]], ...] = (
    (instrument(), Reason.INSTRUMENT_MISSING, {"instrument": f"ISIN:{samples.ISIN}", "on": "2026-03-02"}),
    (PARTY, Reason.COUNTERPARTY_MISSING, {"counterparty": samples.COUNTERPARTY_BIC, "on": "2026-03-02"}),
    (account(), Reason.ACCOUNT_MISSING, {"account": "FUND-A", "on": "2026-03-02"}),
    (
        CYCLE,
        Reason.SETTLEMENT_CYCLE_MISSING,
        {"settlement_market": "DE", "instrument_type": "EQUITY", "trade_date": "2026-03-02"},
    ),
    (coverage("SETTLEMENT:DE"), Reason.CALENDAR_MISSING, {"calendar": "SETTLEMENT:DE", "day": "2026-03-03"}),
    (coverage("CURRENCY:EUR"), Reason.CALENDAR_MISSING, {"calendar": "CURRENCY:EUR", "day": "2026-03-03"}),
    (COUNTERPARTY_SSI, Reason.COUNTERPARTY_SSI_MISSING, {"owner": samples.COUNTERPARTY_BIC} | SSI_DETAILS),
    (ACCOUNT_SSI, Reason.ACCOUNT_SSI_MISSING, {"owner": "FUND-A"} | SSI_DETAILS),
)


@pytest.mark.parametrize("position", range(len(MISSING_IN_ORDER)))
def test_first_missing_thing_is_named_whatever_else_is_missing(position: int) -> None:
    """The order is part of the contract; the desk reads the name of what to add."""
    _, reason, details = MISSING_IN_ORDER[position]
    assert problem(reference(COMPLETE[:position])) == (reason, details)
    only_this_one_missing = COMPLETE[:position] + COMPLETE[position + 1 :]
    assert problem(reference(only_this_one_missing)) == (reason, details)
    assert reason in WAIT_REASONS


@pytest.mark.parametrize("policy", [AllocationPolicy.TEMPLATE, AllocationPolicy.EXPLICIT])
def test_block_account_needs_no_settlement_instruction(policy: AllocationPolicy) -> None:
    """It does not settle by itself; its parts are looked up when the block is divided."""
    data = reference([*COMPLETE[:2], account(policy), *COMPLETE[3:7]])
    assert enriched(data, samples.captured_trade()).account == "FUND-A"


@pytest.mark.parametrize(
    "record",
    [
        instrument(valid_from=date(2026, 3, 3)),
        instrument(valid_to=date(2026, 3, 1)),
    ],
)
def test_instrument_must_hold_on_the_trade_date(record: Instrument) -> None:
    assert problem(with_changes(record))[0] is Reason.INSTRUMENT_MISSING


def test_settlement_instruction_is_that_of_the_settlement_date() -> None:
    """The custodian changes between trade date and settlement date: securities go where it is then."""
    bic = samples.COUNTERPARTY_BIC
    old = settlement_instruction(bic, valid_to=date(2026, 3, 3))
    new = settlement_instruction(bic, valid_from=date(2026, 3, 4), safekeeping_account="NEW")
    result = enriched(with_changes(old, new, ACCOUNT_SSI), samples.captured_trade())
    assert result.counterparty_chain.safekeeping_account == "NEW"


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("instrument_type", "price_type", "fits"),
    [
        (InstrumentType.EQUITY, PriceType.PER_UNIT, True),
        (InstrumentType.ETF, PriceType.PER_UNIT, True),
        (InstrumentType.GOVERNMENT_BOND, PriceType.PERCENT_OF_PAR, True),
        (BOND, PriceType.PERCENT_OF_PAR, True),
        (InstrumentType.EQUITY, PriceType.PERCENT_OF_PAR, False),
        (InstrumentType.ETF, PriceType.PERCENT_OF_PAR, False),
        (InstrumentType.GOVERNMENT_BOND, PriceType.PER_UNIT, False),
        (BOND, PriceType.PER_UNIT, False),
    ],
)
def test_price_type_must_fit_the_instrument(instrument_type: InstrumentType, price_type: PriceType, fits: bool) -> None:
    """A bond price read per unit would be a hundred times too much cash."""
    data = with_changes(instrument(instrument_type=instrument_type))
    data.put(bond_terms())
    result = enrich(samples.captured_trade(price_type=price_type), data)
    assert isinstance(result, EnrichedTrade) is fits
    if isinstance(result, Problem):
        assert (result.reason, result.waits) == (Reason.PRICE_TYPE_UNSUITABLE, False)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"requested_settlement_date": date(2026, 3, 7)}, Reason.SETTLEMENT_DATE_NOT_BUSINESS_DAY),
        ({"settlement_type": "6"}, Reason.SETTLEMENT_TYPE_UNSUITABLE),
        ({"settlement_type": "B"}, Reason.SETTLEMENT_TYPE_UNSUITABLE),
    ],
)
def test_unsuitable_date_is_a_refusal_and_no_wait(changes: dict[str, Any], reason: Reason) -> None:
    """No data could make the agreed Saturday a settlement day."""
    result = enrich(samples.captured_trade(**changes), reference())
    assert isinstance(result, Problem)
    assert (result.reason, result.waits) == (reason, False)


def test_agreed_date_and_special_cycle_set_the_settlement_date() -> None:
    agreed = samples.captured_trade(requested_settlement_date=date(2026, 3, 13), settlement_type="2")
    assert enriched(reference(), agreed).settlement_date == date(2026, 3, 13)
    next_day = samples.captured_trade(settlement_type="2")
    assert enriched(reference(), next_day).settlement_date == date(2026, 3, 3)


# --- cash ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quantity", "price", "currency", "instrument_type", "expected"),
    [
        ("3", "33.335", "EUR", InstrumentType.EQUITY, "100.01"),
        ("1", "0.005", "EUR", InstrumentType.EQUITY, "0.01"),
        ("1", "0.0049999999", "EUR", InstrumentType.EQUITY, "0.00"),
        ("7", "1.5", "JPY", InstrumentType.EQUITY, "11"),
        ("1", "1.2345", "KWD", InstrumentType.EQUITY, "1.235"),
        ("100000", "99.875", "EUR", BOND, "99875.00"),
        ("1000", "101.23455", "EUR", BOND, "1012.35"),
        ("1000", "101.2345", "EUR", BOND, "1012.35"),
        ("1000", "101.2344", "EUR", BOND, "1012.34"),
        ("0", "0", "EUR", InstrumentType.EQUITY, "0.00"),
    ],
)
def test_gross_amount(quantity: str, price: str, currency: str, instrument_type: InstrumentType, expected: str) -> None:
    """Rounded once, half up, to the minor unit; debt as percent of par. Computed by hand."""
    data = with_changes(instrument(instrument_type=instrument_type))
    data.put(coverage(f"CURRENCY:{currency}"))
    data.put(bond_terms())
    price_type = PriceType.PERCENT_OF_PAR if instrument_type.is_debt else PriceType.PER_UNIT
    trade = samples.captured_trade(
        quantity=Decimal(quantity), price=Decimal(price), currency=currency, price_type=price_type
    )
    assert str(enriched(data, trade).gross_amount) == expected


LEVY = ChargeRule(
    settlement_market="DE",
    charge_id="A_LEVY",
    charge_type=ChargeType.LEVY,
    instrument_types=(InstrumentType.EQUITY, BOND),
    fixed_amount=Decimal("1.25"),
    currency="EUR",
)
TAX = ChargeRule(
    settlement_market="DE",
    charge_id="B_TAX",
    charge_type=ChargeType.TAX,
    side=Side.BUY,
    instrument_types=(InstrumentType.EQUITY, BOND),
    rate_of_gross=Decimal("0.00333"),
    currency="EUR",
)


@pytest.mark.parametrize(
    ("side", "accrued", "net", "paid"),
    [
        (Side.BUY, None, "100334.25", ["A_LEVY 1.25", "B_TAX 333.00"]),
        (Side.SELL, None, "99998.75", ["A_LEVY 1.25"]),
        (Side.SELL_SHORT, None, "99998.75", ["A_LEVY 1.25"]),
        (Side.BUY, "1234.565", "101568.82", ["A_LEVY 1.25", "B_TAX 333.00"]),
        (Side.SELL, "1234.56", "101233.31", ["A_LEVY 1.25"]),
        (Side.BUY, "-50.00", "100284.25", ["A_LEVY 1.25", "B_TAX 333.00"]),
    ],
)
def test_net_amount(side: Side, accrued: str | None, net: str, paid: list[str]) -> None:
    """A buyer pays charges on top, a seller gets less; accrued interest goes with the price, and may be negative."""
    data = with_changes(instrument(instrument_type=BOND))
    data.put(bond_terms(coupon_rate=Decimal(0)))
    data.put(LEVY)
    data.put(TAX)
    trade = samples.captured_trade(
        side=side,
        quantity=Decimal(100_000),
        price=Decimal(100),
        price_type=PriceType.PERCENT_OF_PAR,
        accrued_interest_amount=None if accrued is None else Decimal(accrued),
    )
    result = enriched(data, trade)
    assert str(result.net_amount) == net
    assert [f"{charge.charge_id} {charge.amount}" for charge in result.charges] == paid


def test_cancellation_keeps_its_economics_and_one_without_any_has_no_cash() -> None:
    """It takes the same way; what it carries decides, and zero brings no charges."""
    data = reference()
    data.put(LEVY)
    cancel = samples.captured_trade(execution_type=ExecutionType.TRADE_CANCEL, version=2)
    assert enriched(data, cancel).net_amount == Decimal("100001.25")
    bare = samples.captured_trade(
        execution_type=ExecutionType.TRADE_CANCEL, version=2, quantity=Decimal(0), price=Decimal(0)
    )
    result = enriched(data, bare)
    assert (result.gross_amount, result.charges, result.net_amount) == (Decimal(0), (), Decimal(0))


CENT = Decimal("0.01")
quantities = st.decimals(min_value=Decimal("0.00000001"), max_value=10**9, places=8)
prices = st.decimals(min_value=Decimal("0.0000000001"), max_value=10**6, places=10)
interests = st.none() | st.decimals(min_value=-(10**6), max_value=10**6, places=5)


def half_up(value: Fraction) -> Decimal:
    """Rounding by whole numbers only, apart from the code under test: half away from zero, to the cent."""
    cents = (abs(value) * 200 + 1) // 2
    return Decimal(int(cents) if value >= 0 else -int(cents)) * CENT


@given(quantity=quantities, price=prices, accrued=interests, side=st.sampled_from(Side), is_debt=st.booleans())
def test_cash_is_the_plain_sum_of_pieces_rounded_once(
    quantity: Decimal, price: Decimal, accrued: Decimal | None, side: Side, is_debt: bool
) -> None:
    """Conservation, against fractions: no cent appears or vanishes between gross, interest, charges and net."""
    data = with_changes(instrument(instrument_type=BOND if is_debt else InstrumentType.EQUITY))
    data.put(bond_terms(coupon_rate=Decimal(0)))
    data.put(LEVY)
    data.put(TAX)
    trade = samples.captured_trade(
        side=side,
        quantity=quantity,
        price=price,
        price_type=PriceType.PERCENT_OF_PAR if is_debt else PriceType.PER_UNIT,
        accrued_interest_amount=accrued,
    )
    result = enriched(data, trade)
    gross = half_up(Fraction(quantity) * Fraction(price) / (100 if is_debt else 1))
    assert result.gross_amount == gross
    assert result.accrued_interest == (accrued or Decimal(0)).quantize(CENT, rounding=ROUND_HALF_UP)
    tax = half_up(Fraction(gross) * Fraction(333, 100_000)) if side is Side.BUY else Decimal(0)
    levy = Decimal("1.25") if gross else Decimal(0)
    sign = 1 if side is Side.BUY else -1
    assert result.net_amount == gross + result.accrued_interest + sign * (levy + tax)
    assert all(charge.amount > 0 for charge in result.charges)


@given(
    quantity=quantities, price=prices, side=st.sampled_from(Side), kind=st.sampled_from(CommissionType),
    commission=st.decimals(min_value=0, max_value=10**6, places=10), face=st.none() | st.integers(1, 10**6),
)  # fmt: skip
def test_commission_is_one_more_piece_rounded_once(
    quantity: Decimal, price: Decimal, side: Side, kind: CommissionType, commission: Decimal, face: int | None
) -> None:
    """Against fractions: what each type is multiplied with, and that net money has exactly that more."""
    data = with_changes(instrument(instrument_type=BOND))
    data.put(bond_terms(coupon_rate=Decimal(0)))
    data.put(LEVY)
    plain = samples.captured_trade(side=side, quantity=quantity, price=price, price_type=PriceType.PERCENT_OF_PAR)
    multiplier = None if face is None else Decimal(face)
    told = replace(plain, commission=commission, commission_type=kind, contract_multiplier=multiplier)
    without, found = enriched(data, plain), enriched(data, told)
    base = {
        CommissionType.PER_UNIT: Fraction(quantity),
        CommissionType.PERCENT: Fraction(without.gross_amount),
        CommissionType.ABSOLUTE: Fraction(1),
        CommissionType.PER_BOND: Fraction(quantity) / (face or 1_000),
    }[kind]
    expected = half_up(base * Fraction(commission)) if without.gross_amount else Decimal(0)
    sign = 1 if side is Side.BUY else -1
    assert found.net_amount == without.net_amount + sign * expected
    assert [charge.charge_id for charge in found.charges] == ["A_LEVY"] * bool(without.gross_amount) + [
        "COMMISSION"
    ] * bool(expected)
