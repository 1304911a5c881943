"""How far a field may be apart: each code at its edge, whose row holds, and what is never allowed."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.confirmation import rules
from services.confirmation.tolerances import (
    NO_TOLERANCE,
    code_of,
    is_within,
    tolerances_for,
    tolerances_of,
)
from services.domain.code import ChargeType, InstrumentType, MatchingField, ToleranceCode
from services.domain.event import Charge
from services.domain.reference import CODES_OF_FIELD, MatchingProfile, Party, ReferenceData
from services.verification.tolerance import Profiles
from tests import samples

AMOUNTS = st.decimals(-10_000, 10_000, places=2)
WIDTHS = st.decimals(0, 500, places=2)


def _row(code: ToleranceCode, field: MatchingField = MatchingField.COMMISSION, **values: Decimal) -> MatchingProfile:
    return MatchingProfile(profile="P", field=field, code=code, **values)  # type: ignore[arg-type]  # numbers only


@pytest.mark.parametrize(
    ("row", "ours", "inside", "outside"),
    [
        (_row(ToleranceCode.EXCT), "50", ["50.00"], ["50.01", "49.99"]),
        (_row(ToleranceCode.PTOL, percent=Decimal(2)), "50", ["49", "51"], ["48.99", "51.01"]),
        (_row(ToleranceCode.PTOL, percent=Decimal(2)), "-50", ["-49", "-51"], ["-48.99", "-51.01"]),
        (_row(ToleranceCode.PTMX, percent=Decimal(2), maximum=Decimal(5)), "50", ["51"], ["51.01"]),
        (_row(ToleranceCode.PTMX, percent=Decimal(2), maximum=Decimal(5)), "1000", ["1005", "995"], ["1005.01"]),
        (_row(ToleranceCode.MNMX, below=Decimal(1), above=Decimal(3)), "50", ["49", "53"], ["48.99", "53.01"]),
        (_row(ToleranceCode.NUFM), "50", ["0", "999"], []),
        (_row(ToleranceCode.CPOP, MatchingField.PRICE), "50", ["1"], []),
        (_row(ToleranceCode.CPOP), "50", ["50"], ["51"]),  # part of a calculated total cannot be forced
    ],
)
def test_each_code_at_its_edge(row: MatchingProfile, ours: str, inside: list[str], outside: list[str]) -> None:
    """2 means 2 percent, and a cent beyond is beyond."""
    assert [is_within(row, Decimal(ours), Decimal(theirs)) for theirs in inside] == [True] * len(inside)
    assert [is_within(row, Decimal(ours), Decimal(theirs)) for theirs in outside] == [False] * len(outside)


@settings(max_examples=300, deadline=None)
@given(
    code=st.sampled_from(list(ToleranceCode)),
    field=st.sampled_from([field for field in MatchingField if field not in ("CURRENCY", "SETTLEMENT_DATE")]),
    ours=AMOUNTS,
    theirs=AMOUNTS,
    values=st.tuples(WIDTHS, WIDTHS, WIDTHS, WIDTHS),
)
def test_the_auditor_reckons_the_same(
    code: ToleranceCode, field: MatchingField, ours: Decimal, theirs: Decimal, values: tuple[Decimal, ...]
) -> None:
    """Written twice, in decimals and in fractions; a row that may not be is treated as EXCT by both."""
    percent, maximum, below, above = values
    row = MatchingProfile(
        profile="P", field=field, code=code, percent=percent, maximum=maximum, below=below, above=above
    )
    plain = {name: getattr(row, name) for name in row.__struct_fields__} | {"field": field.value, "code": code.value}
    if code in CODES_OF_FIELD[field]:
        assert Profiles([plain]).permits("P", field.value, ours, theirs) == is_within(row, ours, theirs)
    else:
        assert is_within(row, ours, theirs) == (ours == theirs)


def test_only_quantity_and_currency_are_always_equal() -> None:
    """What the depository compares to the unit gets no tolerance here; totals that are calculated are not forced."""
    always_equal = {field for field, codes in CODES_OF_FIELD.items() if codes == {ToleranceCode.EXCT}}
    assert always_equal == {MatchingField.QUANTITY, MatchingField.CURRENCY}
    forced = {field for field, codes in CODES_OF_FIELD.items() if ToleranceCode.CPOP in codes}
    assert forced == {MatchingField.PRICE, MatchingField.SETTLEMENT_DATE, MatchingField.NET_AMOUNT}
    assert set(CODES_OF_FIELD) == set(MatchingField)


def _reference(*rows: MatchingProfile, named: str = "BROKER") -> ReferenceData:
    reference = ReferenceData()
    lei = "7LTWFZYICNSX8D621K86"
    reference.put(Party(bic=samples.COUNTERPARTY_BIC, lei=lei, name="Broker", matching_profile=named))
    for row in rows:
        reference.put(row)
    return reference


def _net(profile: str, width: int, **changes: object) -> MatchingProfile:
    fields = {"profile": profile, "below": Decimal(width), "above": Decimal(width)} | changes
    return MatchingProfile(field=MatchingField.NET_AMOUNT, code=ToleranceCode.MNMX, **fields)  # type: ignore[arg-type]


def _width(reference: ReferenceData, **changes: object) -> tuple[str, Decimal | None]:
    trade = samples.allocated_trade(**changes)
    tolerances = tolerances_for(trade, reference)
    row = tolerances.row_for(MatchingField.NET_AMOUNT, trade.net_amount)
    return tolerances.profile, None if row is None else row.above


def test_named_then_default_then_none() -> None:
    """A profile is taken as a whole: what it does not allow, another must not allow in its place."""
    default = _net("DEFAULT", 9)
    assert _width(_reference(default, _net("BROKER", 1))) == ("BROKER", Decimal(1))
    assert _width(_reference(default)) == ("DEFAULT", Decimal(9))
    assert _width(_reference(default, _net("BROKER", 1, currency="USD"))) == ("DEFAULT", Decimal(9))
    assert _width(_reference()) == ("EXACT", None)
    assert tolerances_for(samples.allocated_trade(), ReferenceData()) is NO_TOLERANCE
    price_only = MatchingProfile(profile="BROKER", field=MatchingField.PRICE, code=ToleranceCode.NUFM)
    assert _width(_reference(default, price_only)) == ("BROKER", None)


def test_the_most_specific_row_and_the_highest_threshold_win() -> None:
    """Currency and type, currency, type, all; of one kind the row for larger amounts, above its threshold not at it."""
    rows = [
        _net("BROKER", 1),
        _net("BROKER", 2, instrument_type=InstrumentType.EQUITY),
        _net("BROKER", 3, currency="EUR"),
        _net("BROKER", 4, currency="EUR", net_amount_above=Decimal(100_000)),
        _net("BROKER", 5, currency="EUR", instrument_type=InstrumentType.ETF),
    ]
    reference = _reference(*rows)
    assert _width(reference) == ("BROKER", Decimal(3))
    assert _width(reference, net_amount=Decimal("100000.01")) == ("BROKER", Decimal(4))
    assert _width(reference, instrument_type=InstrumentType.ETF) == ("BROKER", Decimal(5))
    assert _width(reference, currency="USD") == ("BROKER", Decimal(2))
    assert _width(reference, currency="USD", instrument_type=InstrumentType.ETF) == ("BROKER", Decimal(1))


def test_rows_hold_from_their_date_on_trade_date() -> None:
    """A tolerance that is agreed today is none for what was traded yesterday."""
    before = _net("BROKER", 1, valid_to=date(2026, 3, 2))
    after = _net("BROKER", 2, valid_from=date(2026, 3, 3))
    reference = _reference(before, after)
    assert _width(reference) == ("BROKER", Decimal(1))
    assert _width(reference, trade_date=date(2026, 3, 3)) == ("BROKER", Decimal(2))


@settings(max_examples=200, deadline=None)
@given(ours=st.integers(0, 300_000), apart=st.integers(-30, 30), price=st.integers(-3, 3))
def test_rows_of_the_older_form_mean_what_they_meant(ours: int, apart: int, price: int) -> None:
    """Clusters have them on their topic: 2 up to 100,000 and 25 above, and 0.01 in the price."""
    older = MatchingProfile(
        profile="P",
        price_tolerance=Decimal("0.01"),
        amount_tolerance=Decimal(2),
        amount_threshold=Decimal(100_000),
        amount_tolerance_large=Decimal(25),
    )
    tolerances = tolerances_of("P", [older], currency="EUR", instrument_type=InstrumentType.EQUITY)
    trade = samples.allocated_trade(net_amount=Decimal(ours), average_price=Decimal(100))
    confirmation = samples.received_confirmation(
        net_amount=Decimal(ours + apart), price=Decimal(100) + Decimal(price) / 100
    )
    allowed = 25 if ours > 100_000 else 2
    beyond = {"net_amount": abs(apart) > allowed, "price": abs(Fraction(price, 100)) > Fraction(1, 100)}
    expected = {name for name, is_beyond in beyond.items() if is_beyond}
    assert set(rules.compare(trade, confirmation, tolerances).failures) == expected


def test_commission_and_charges_are_told_apart() -> None:
    """One counterparty states commission alone, another all charges in one; each is compared with the same of ours."""
    charges = (
        Charge(charge_id="X", charge_type=ChargeType.COMMISSION, amount=Decimal(5), currency="EUR"),
        Charge(charge_id="Y", charge_type=ChargeType.STAMP, amount=Decimal(7), currency="EUR"),
        Charge(charge_id="Z", charge_type=ChargeType.LEVY, amount=Decimal(1), currency="EUR"),
    )
    trade = samples.allocated_trade(charges=charges)
    assert (rules.commission_of(trade), rules.charges_of(trade)) == (Decimal(5), Decimal(8))
    right = samples.received_confirmation(commission=Decimal(5), charges=Decimal(8))
    wrong = samples.received_confirmation(commission=Decimal(8), charges=Decimal(5))
    assert rules.compare(trade, right, NO_TOLERANCE).failures == {}
    assert list(rules.compare(trade, wrong, NO_TOLERANCE).failures) == ["commission", "charges"]


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_the_short_way_is_the_long_way(data: st.DataObject) -> None:
    """Equal in all is answered without looking at fields; field by field the same must come out."""
    one_of: dict[str, list[Any]] = {
        "quantity": [Decimal(1000), Decimal("1000.0"), Decimal(999)],
        "price": [Decimal(100), Decimal(99)],
        "net_amount": [Decimal(100_000), Decimal(1)],
        "currency": ["EUR", "USD"],
        "settlement_date": [samples.SETTLEMENT_DATE, date(2026, 3, 5)],
        "gross_amount": [None, Decimal(100_000), Decimal(2)],
        "accrued_interest": [None, Decimal(0), Decimal(2)],
        "commission": [None, Decimal(0), Decimal(2)],
        "charges": [None, Decimal(0), Decimal(2)],
    }
    changes = {name: data.draw(st.sampled_from(values)) for name, values in one_of.items()}
    trade, confirmation = samples.allocated_trade(), samples.received_confirmation(**changes)
    compared = rules.compared_fields(trade, confirmation, NO_TOLERANCE)
    failures = rules.compare(trade, confirmation, NO_TOLERANCE).failures
    assert list(failures) == [one.field.lower() for one in compared if not one.agrees]
    assert all(one.code is code_of(one.row) is ToleranceCode.EXCT for one in compared)


def test_what_the_counterparty_populates_is_taken_from_it() -> None:
    """CPOP: their date, price and cash settle, and all else stays ours."""
    rows = [
        MatchingProfile(profile="BROKER", field=field, code=ToleranceCode.CPOP)
        for field in (MatchingField.PRICE, MatchingField.SETTLEMENT_DATE, MatchingField.NET_AMOUNT)
    ]
    trade = samples.allocated_trade()
    confirmation = samples.received_confirmation(
        price=Decimal(99), settlement_date=date(2026, 3, 5), net_amount=Decimal(99_000)
    )
    ours = rules.Ours(trade=trade, tolerances=tolerances_for(trade, _reference(*rows)))
    (pair,) = rules.evaluate([ours], [rules.Theirs(key="C1", confirmation=confirmation)]).matches
    populated = rules.populated_fields(pair)
    confirmed = rules.confirmed_trade(trade, confirmation, profile="BROKER", populated=populated)
    assert (confirmed.average_price, confirmed.settlement_date) == (Decimal(99), date(2026, 3, 5))
    assert (confirmed.settlement_amount, confirmed.net_amount) == (Decimal(99_000), trade.net_amount)
