"""Accrued interest as an amount: looked up, with and without the coming coupon, and rounded once."""

from __future__ import annotations

import random
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
import QuantLib as ql  # type: ignore[import-untyped]  # noqa: N813  # the name its own documentation uses

from services.domain.accrued_interest import AccrualProblem, accrued_amount, accrued_per_unit, tolerance_of
from services.domain.code import DayCount
from services.domain.day_count import coupon_fraction, coupon_period
from services.domain.reason import Reason
from services.domain.reference import AccruedInterestTolerance, BondTerms, ReferenceData, ReferenceRecord
from tests.unit.domain.bonds import ISIN, day_in_life, drawn, ql_bond, ql_date, terms
from tests.unit.reference_files.shipped import shipped_reference

GILT = {"ex_dividend_days": 7, "ex_dividend_calendar": "SETTLEMENT:GB"}


def reference(*records: ReferenceRecord) -> ReferenceData:
    data = ReferenceData()
    for record in records:
        data.put(record)
    return data


def accrued(bond: BondTerms, day: date, data: ReferenceData | None = None) -> Fraction:
    known = data or ReferenceData()
    known.put(bond)
    found = accrued_per_unit(known, bond.isin, day)
    assert isinstance(found, Fraction), found
    return found


def problem(data: ReferenceData, day: date = date(2026, 3, 4)) -> AccrualProblem:
    found = accrued_per_unit(data, ISIN, day)
    assert isinstance(found, AccrualProblem), found
    return found


# --- ex-dividend -----------------------------------------------------------------------------------------------------


def test_gilts_agree_with_quantlib_around_every_coupon() -> None:
    """Seven business days before the coupon, by the shipped British calendar, holidays and week-ends included.

    QuantLib says without coupon from the sixth business day on, which is the day behind the seventh.
    """
    data, chance = shipped_reference(), random.Random(1)
    calendar = ql.UnitedKingdom(ql.UnitedKingdom.Settlement)
    negative = 0
    for _ in range(60):
        month = chance.randrange(1, 13)
        bond = terms(
            coupon_rate=Decimal(chance.randrange(1, 700)).scaleb(-4),
            accrual_start=date(2023, month, 7),
            maturity_date=date(2031, month, 7),
            **GILT,
        )
        theirs = ql_bond(bond, ql.Period(6, ql.Days), calendar, ql.Preceding)
        for _ in range(40):
            coupon = date(chance.randrange(2025, 2030), month, 7)
            day = coupon - timedelta(days=chance.randrange(-3, 16))
            if not calendar.isBusinessDay(ql_date(day)):
                continue  # no trade settles there
            found = accrued(bond, day, data)
            assert float(found) * 100 == pytest.approx(theirs.accruedAmount(ql_date(day)), abs=1e-9), (bond, day)
            negative += found < 0
    assert negative > 300


@pytest.mark.parametrize(
    ("day", "days"),
    [
        (date(2026, 2, 26), 172),  # the ex-dividend date itself: seven business days before Saturday 7 March
        (date(2026, 2, 27), -8),
        (date(2026, 3, 6), -1),
        (date(2026, 3, 7), 0),
        (date(2026, 3, 8), 1),
    ],
)
def test_days_around_a_coupon(day: date, days: int) -> None:
    """Counted by hand: 181 days from 7 September 2025 to 7 March 2026, 184 to 7 September."""
    bond = terms(coupon_rate=Decimal("0.0425"), accrual_start=date(2020, 3, 7), maturity_date=date(2036, 3, 7), **GILT)
    in_period = 181 if day < date(2026, 3, 7) else 184
    assert accrued(bond, day, shipped_reference()) == Fraction("0.0425") * Fraction(days, in_period * 2)


def test_without_the_coupon_is_with_it_less_the_coupon() -> None:
    """For every day count: the buyer is paid exactly what it lacks of the coupon."""
    chance = random.Random(2)
    for _ in range(400):
        bond = drawn(chance)
        day = day_in_life(chance, bond)
        period = coupon_period(bond, day)
        assert period is not None
        left = (period.end - day).days
        coupon = Fraction(bond.coupon_rate) * coupon_fraction(bond, period)
        with_it = accrued(drawn_again(bond, ex_dividend_days=left), day)
        without = accrued(drawn_again(bond, ex_dividend_days=left + 1), day)
        assert with_it - without == coupon


def drawn_again(bond: BondTerms, **changes: Any) -> BondTerms:
    fields = {name: getattr(bond, name) for name in BondTerms.__struct_fields__}
    return BondTerms(**(fields | changes))


@pytest.mark.parametrize("count", [DayCount.THIRTY_360_US, DayCount.THIRTY_E_360])
def test_a_regular_coupon_is_the_rate_over_the_frequency(count: DayCount) -> None:
    """From 31 August to 28 February are 178 days of a 30/360 year, and half a year's coupon is paid all the same."""
    bond = terms(day_count=count, accrual_start=date(2020, 8, 31), maturity_date=date(2030, 8, 31),
                 pays_at_month_end=True, ex_dividend_days=400)  # fmt: skip
    assert accrued(bond, date(2026, 9, 1)) < 0
    assert accrued(bond, date(2026, 8, 31)) == -Fraction("0.04") / 2


# --- looked up -------------------------------------------------------------------------------------------------------


def test_a_bond_without_interest_accrues_nothing() -> None:
    """Zero coupon: the terms are there, and the amount is 0 and not unknown."""
    bond = terms(coupon_rate=Decimal(0), coupons_a_year=0, **GILT)
    assert accrued(bond, date(2026, 3, 4)) == 0


def test_interest_that_is_all_paid_at_maturity() -> None:
    """No coupons: a note of 4 percent on actual days over 360."""
    bond = terms(coupons_a_year=0, day_count=DayCount.ACT_360, accrual_start=date(2026, 1, 5))
    assert accrued(bond, date(2026, 3, 4)) == Fraction("0.04") * Fraction(58, 360)


def test_the_rate_is_that_of_the_settlement_date() -> None:
    """A step-up bond has a row for each rate; the first day of the new one is a coupon date."""
    data = reference(terms(coupon_rate=Decimal("0.01"), valid_to=date(2026, 1, 30)))
    data.put(terms(coupon_rate=Decimal("0.02"), valid_from=date(2026, 1, 31)))
    assert accrued_per_unit(data, ISIN, date(2026, 1, 30)) == Fraction("0.01") * Fraction(183, 184 * 2)
    assert accrued_per_unit(data, ISIN, date(2026, 2, 1)) == Fraction("0.02") * Fraction(1, 181 * 2)


def test_missing_terms_are_named() -> None:
    found = problem(reference())
    assert (found.reason, found.details) == (Reason.BOND_TERMS_MISSING, {"isin": ISIN, "on": "2026-03-04"})


def test_terms_that_cannot_be_used_are_as_good_as_missing_and_say_why() -> None:
    """The loader refuses them; what came onto the topic in another way must not become a guess."""
    found = problem(reference(terms(coupons_a_year=5)))
    assert found.reason is Reason.BOND_TERMS_MISSING
    assert found.details["unusable"] == "coupons_a_year was 5, expected one of 0, 1, 2, 3, 4, 6, 12"


@pytest.mark.parametrize("day", [date(2020, 1, 30), date(2030, 1, 31), date(2031, 1, 1)])
def test_outside_of_its_life_a_bond_accrues_nothing_and_says_so(day: date) -> None:
    found = problem(reference(terms()), day)
    assert found.reason is Reason.SETTLEMENT_OUTSIDE_BOND_LIFE
    assert found.details["maturity_date"] == "2030-01-31"


def test_a_calendar_that_is_missing_is_named() -> None:
    """Near a coupon it decides the sign, so nobody guesses; far from it nobody needs it."""
    data = reference(terms(**GILT))
    found = problem(data, date(2026, 1, 28))
    assert (found.reason, found.details["calendar"]) == (Reason.CALENDAR_MISSING, "SETTLEMENT:GB")
    known = shipped_reference(terms(**GILT))
    assert isinstance(accrued_per_unit(known, ISIN, date(2029, 8, 6)), Fraction)


# --- rounded ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("face", "currency", "expected"),
    [
        ("1000000", "GBP", "3535.91"),  # 40000 * 32 / 362 = 3535.9116
        ("1000000", "JPY", "3536"),
        ("1000000", "KWD", "3535.912"),
        ("181", "GBP", "0.64"),  # exactly 0.64
        ("176.75", "GBP", "0.62"),  # 0.62497
        ("0", "GBP", "0.00"),
    ],
)
def test_an_amount_is_rounded_once_to_the_minor_unit(face: str, currency: str, expected: str) -> None:
    """From the unrounded fraction; yen have no decimals. Computed by hand for 32 of 181 days."""
    per_unit = accrued(terms(), date(2026, 3, 4))
    assert str(accrued_amount(per_unit, Decimal(face), currency=currency)) == expected


def test_interest_per_hundred_is_rounded_first_where_the_market_does_so() -> None:
    """0.35359116... is 0.353591 with six decimals: 3,535,910.00 on a billion, not 3,535,911.60."""
    bond = terms(per_hundred_digits=6)
    per_unit = accrued(bond, date(2026, 3, 4))
    assert accrued_amount(per_unit, Decimal(10**9), currency="EUR") == Decimal("3535910.00")
    exact = accrued(terms(), date(2026, 3, 4))
    assert accrued_amount(exact, Decimal(10**9), currency="EUR") == Decimal("3535911.60")


def test_tolerance_is_that_of_the_currency_and_nothing_without_a_row() -> None:
    row = AccruedInterestTolerance(currency="EUR", amount=Decimal("0.01"), per_face_amount=Decimal("0.0000001"))
    face, on = Decimal(1_000_000), date(2026, 3, 2)
    assert tolerance_of(reference(row), currency="EUR", face_amount=face, on=on) == Decimal("0.11")
    assert tolerance_of(reference(row), currency="USD", face_amount=face, on=on) == 0
