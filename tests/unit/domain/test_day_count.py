"""Days, fractions and coupon dates, against published cases and against QuantLib over thousands of drawn bonds."""

from __future__ import annotations

import random
from datetime import date, timedelta
from fractions import Fraction
from itertools import pairwise

import pytest
import QuantLib as ql  # type: ignore[import-untyped]  # noqa: N813  # the name its own documentation uses

from services.domain.code import DayCount
from services.domain.day_count import (
    CouponPeriod,
    coupon_fraction,
    coupon_period,
    days_30_360_us,
    days_30e_360,
    faults_of,
    year_fraction,
)
from services.domain.reference import BondTerms
from tests.unit.domain.bonds import day_in_life, drawn, ql_bond, ql_counter, ql_date, ql_schedule, terms

EPOCH = date(1995, 1, 1)
BONDS = 1_500
DAYS_A_BOND = 4


# --- published cases -------------------------------------------------------------------------------------------------

SHORT_FIRST = terms(
    coupons_a_year=1, accrual_start=date(1999, 2, 1), first_coupon_date=date(1999, 7, 1), maturity_date=date(2003, 7, 1)
)
LONG_FIRST = terms(
    accrual_start=date(2002, 8, 15), first_coupon_date=date(2003, 7, 15), maturity_date=date(2007, 7, 15)
)
SHORT_LAST = terms(
    accrual_start=date(1998, 7, 30), last_regular_coupon_date=date(2000, 1, 30), maturity_date=date(2000, 6, 30)
)
LONG_LAST = terms(
    coupons_a_year=4,
    accrual_start=date(1998, 11, 30),
    last_regular_coupon_date=date(1999, 11, 30),
    maturity_date=date(2000, 4, 30),
    pays_at_month_end=True,
)


@pytest.mark.parametrize(
    ("bond", "start", "end", "expected"),
    [
        (terms(accrual_start=date(2003, 5, 1), maturity_date=date(2006, 5, 1)), date(2003, 11, 1), date(2004, 5, 1),
         Fraction(182, 182 * 2)),
        (SHORT_FIRST, date(1999, 2, 1), date(1999, 7, 1), Fraction(150, 365)),
        (SHORT_FIRST, date(1999, 7, 1), date(2000, 7, 1), Fraction(366, 366)),
        (LONG_FIRST, date(2002, 8, 15), date(2003, 7, 15), Fraction(181, 181 * 2) + Fraction(153, 184 * 2)),
        (LONG_FIRST, date(2003, 7, 15), date(2004, 1, 15), Fraction(184, 184 * 2)),
        (SHORT_LAST, date(1999, 7, 30), date(2000, 1, 30), Fraction(184, 184 * 2)),
        (SHORT_LAST, date(2000, 1, 30), date(2000, 6, 30), Fraction(152, 182 * 2)),
        (LONG_LAST, date(1999, 11, 30), date(2000, 4, 30), Fraction(91, 91 * 4) + Fraction(61, 92 * 4)),
    ],
)  # fmt: skip
def test_memorandum_cases(bond: BondTerms, start: date, end: date, expected: Fraction) -> None:
    """The examples of ISDA's memorandum on the actual/actual day count (1998), by ISMA rule 251."""
    assert year_fraction(bond, start, end) == expected


def test_the_long_last_coupon_of_the_memorandum_is_not_what_a_counter_without_schedule_says() -> None:
    """The case most implementations get wrong: 0.415760870, not 0.419444."""
    period = CouponPeriod(date(1999, 11, 30), date(2000, 4, 30), is_regular=False)
    assert coupon_period(LONG_LAST, date(2000, 3, 1)) == period
    assert round(coupon_fraction(LONG_LAST, period), 9) == Fraction("0.415760870")


@pytest.mark.parametrize(
    ("start", "end", "eurobond", "bond_basis", "month_end"),
    [
        (date(2007, 1, 15), date(2007, 1, 30), 15, 15, 15),
        (date(2007, 1, 15), date(2007, 7, 31), 195, 196, 196),
        (date(2007, 9, 30), date(2008, 3, 31), 180, 180, 180),
        (date(2007, 9, 30), date(2007, 10, 31), 30, 30, 30),
        (date(2007, 9, 30), date(2008, 9, 30), 360, 360, 360),
        (date(2007, 1, 31), date(2007, 2, 28), 28, 28, 28),
        (date(2007, 2, 26), date(2008, 2, 29), 363, 363, 363),
        (date(2007, 2, 28), date(2007, 3, 31), 32, 33, 30),
        (date(2006, 8, 31), date(2007, 2, 28), 178, 178, 178),
        (date(2007, 2, 28), date(2007, 8, 31), 182, 183, 180),
        (date(2008, 2, 29), date(2009, 2, 28), 359, 359, 360),
    ],
)
def test_conventions_differ_where_months_end(
    start: date, end: date, eurobond: int, bond_basis: int, month_end: int
) -> None:
    """Month ends and February, where the three ways to count in months of 30 part. Counted by hand."""
    assert days_30e_360(start, end) == eurobond
    assert days_30_360_us(start, end, pays_at_month_end=False) == bond_basis
    assert days_30_360_us(start, end, pays_at_month_end=True) == month_end


# --- QuantLib as an oracle -------------------------------------------------------------------------------------------


def test_months_of_30_agree_with_quantlib() -> None:
    """Ten thousand pairs of days, a third of them near a month end."""
    chance = random.Random(1)
    counters = (ql.Thirty360.European, ql.Thirty360.BondBasis, ql.Thirty360.USA)
    european, bond_basis, usa = (ql.Thirty360(counter) for counter in counters)
    for _ in range(10_000):
        start = EPOCH + timedelta(days=chance.randrange(12_000))
        if chance.random() < 0.33:
            start = start.replace(day=1) - timedelta(days=chance.randrange(1, 4))
        end = start + timedelta(days=chance.randrange(1, 800))
        ours = (
            days_30e_360(start, end),
            days_30_360_us(start, end, pays_at_month_end=False),
            days_30_360_us(start, end, pays_at_month_end=True),
        )
        theirs = tuple(counter.dayCount(ql_date(start), ql_date(end)) for counter in (european, bond_basis, usa))
        assert ours == theirs, (start, end)


def test_coupon_dates_agree_with_quantlib() -> None:
    """Short and long coupons at both ends, month ends, every frequency."""
    chance = random.Random(2)
    for _ in range(BONDS):
        bond = drawn(chance)
        found = [bond.accrual_start]
        while found[-1] < bond.maturity_date:
            period = coupon_period(bond, found[-1])
            assert period is not None
            found.append(period.end)
        assert [ql_date(day) for day in found] == list(ql_schedule(bond)), bond


def test_accrued_fractions_agree_with_quantlib() -> None:
    """Every day count, thousands of bonds and settlement dates; the oracle works in floats, hence the twelve digits."""
    chance = random.Random(3)
    seen = set()
    for _ in range(BONDS):
        bond = drawn(chance, for_quantlib=True)
        counter, theirs = ql_counter(bond), ql_bond(bond)
        for _ in range(DAYS_A_BOND):
            day = day_in_life(chance, bond)
            period = coupon_period(bond, day)
            assert period is not None
            fraction = year_fraction(bond, period.start, day)
            expected = counter.yearFraction(ql_date(period.start), ql_date(day))
            assert float(fraction) == pytest.approx(expected, abs=1e-12), (bond, day)
            accrued = float(fraction * Fraction(bond.coupon_rate)) * 100
            assert accrued == pytest.approx(theirs.accruedAmount(ql_date(day)), abs=1e-9), (bond, day)
            seen.add((bond.day_count, period.is_regular))
    assert len(seen) == 2 * len(DayCount), "a day count had no regular, or no short or long coupon"


# --- what must hold whatever the bond --------------------------------------------------------------------------------


def test_coupon_periods_cover_the_life_without_gap() -> None:
    """Each day of a bond's life is in one period, and the next begins where one ends."""
    chance = random.Random(4)
    for _ in range(200):
        bond = drawn(chance)
        days = [bond.accrual_start + timedelta(days=number) for number in range(900)]
        periods = [coupon_period(bond, day) for day in days if day < bond.maturity_date]
        for day, period in zip(days, periods, strict=False):
            assert period is not None
            assert period.start <= day < period.end
        for one, other in pairwise(dict.fromkeys(periods)):
            assert one is not None
            assert other is not None
            assert one.end == other.start
        assert coupon_period(bond, bond.accrual_start - timedelta(days=1)) is None
        assert coupon_period(bond, bond.maturity_date) is None


@pytest.mark.parametrize("count", [DayCount.ACT_ACT_ICMA, DayCount.ACT_360, DayCount.ACT_365_FIXED])
def test_counting_days_is_additive(count: DayCount) -> None:
    """To the middle and on from there is as far as to the end; nothing is rounded on the way."""
    chance = random.Random(5)
    for _ in range(300):
        bond = drawn(chance, day_count=count)
        period = coupon_period(bond, day_in_life(chance, bond))
        assert period is not None
        middle = period.start + (period.end - period.start) / 2
        parts = year_fraction(bond, period.start, middle) + year_fraction(bond, middle, period.end)
        assert parts == year_fraction(bond, period.start, period.end)


def test_a_coupon_over_many_quasi_periods_counts_each_of_them() -> None:
    """Five quarters without coupon are five quarters' interest; QuantLib knows no more than two."""
    bond = terms(
        coupons_a_year=4, accrual_start=date(2019, 1, 15), first_coupon_date=date(2020, 4, 15),
        maturity_date=date(2025, 4, 15),
    )  # fmt: skip
    assert year_fraction(bond, date(2019, 1, 15), date(2020, 4, 15)) == Fraction(5, 4)
    assert year_fraction(bond, date(2019, 1, 15), date(2019, 2, 14)) == Fraction(30, 90 * 4)


def test_a_bond_that_pays_on_the_30th_pays_on_it_again_after_february() -> None:
    """Its maturity on 28 February does not say so; its first coupon does."""
    bond = terms(accrual_start=date(2024, 2, 29), first_coupon_date=date(2024, 8, 30), maturity_date=date(2031, 2, 28))
    assert coupon_period(bond, date(2026, 9, 1)) == CouponPeriod(date(2026, 8, 30), date(2027, 2, 28), is_regular=True)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"accrual_start": date(2030, 1, 31)}, "accrual_start"),
        ({"maturity_date": date(9900, 1, 31)}, "maturity_date"),
        ({"accrual_start": date(1699, 1, 31)}, "accrual_start"),
        ({"coupons_a_year": 5}, "coupons_a_year"),
        ({"coupons_a_year": 0}, "day_count"),
        ({"coupons_a_year": 0, "day_count": DayCount.ACT_360, "first_coupon_date": date(2021, 1, 31)},
         "first_coupon_date"),
        ({"first_coupon_date": date(2020, 7, 30)}, "first_coupon_date"),
        ({"first_coupon_date": date(2020, 1, 31)}, "first_coupon_date"),
        ({"first_coupon_date": date(2030, 7, 31)}, "first_coupon_date"),
        ({"last_regular_coupon_date": date(2030, 1, 31)}, "last_regular_coupon_date"),
        ({"last_regular_coupon_date": date(2019, 7, 31)}, "last_regular_coupon_date"),
        ({"maturity_date": date(2030, 1, 30), "pays_at_month_end": True}, "pays_at_month_end"),
        ({"ex_dividend_calendar": "SETTLEMENT:GB"}, "ex_dividend_days"),
    ],
)  # fmt: skip
def test_terms_that_contradict_themselves_are_told_by_field(changes: dict[str, object], field: str) -> None:
    """Nothing could be computed from them, and a guess would be money."""
    assert field in [name for name, _ in faults_of(terms(**changes))]
