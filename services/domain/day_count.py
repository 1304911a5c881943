"""Days and fractions of a year by the conventions of bonds, and when coupons are due.

All of it exact: a fraction of a year is a Fraction, and nobody rounds here. Coupon dates are those of the terms; when
one is no business day the coupon is paid later and accrues no more for it (unadjusted).
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from datetime import date, timedelta
from fractions import Fraction
from typing import NamedTuple

from services.domain.code import DayCount
from services.domain.reference import BondTerms

_MONTHS_A_YEAR = 12
_FEBRUARY = 2
_MONTH_DAYS = 30
_YEAR_DAYS_360 = 360
_YEAR_DAYS_365 = 365
_ONE_DAY = timedelta(days=1)

_COUPONS_A_YEAR = (0, 1, 2, 3, 4, 6, 12)
_YEARS = range(1700, 9900)
"""Years of a bond's life: what is left of Python's years is room for quasi periods before and behind it."""

_HAS_EQUAL_COUPONS = frozenset({DayCount.ACT_ACT_ICMA, DayCount.THIRTY_360_US, DayCount.THIRTY_E_360})
"""By these conventions every regular coupon is the rate over the number of coupons a year, whatever its days."""


class CouponPeriod(NamedTuple):
    """The time one coupon accrues over: from `start` up to, and without, `end`, which is the coupon date."""

    start: date
    end: date
    is_regular: bool
    """Whether it is exactly one step of the bond's frequency; else the coupon is short or long."""


# --- coupon dates ----------------------------------------------------------------------------------------------------


def is_month_end(day: date) -> bool:
    """Whether it is the last day of its month."""
    return (day + _ONE_DAY).month != day.month if day != date.max else True


def regular_date(terms: BondTerms, step: int) -> date:
    """The coupon date `step` coupons after the last regular one (before, if negative), were all coupons regular.

    Raises OverflowError for a date that no calendar has.
    """
    anchor = terms.last_regular_coupon_date or terms.maturity_date
    months = anchor.year * _MONTHS_A_YEAR + anchor.month - 1 + step * (_MONTHS_A_YEAR // terms.coupons_a_year)
    year, month = divmod(months, _MONTHS_A_YEAR)
    if not date.min.year <= year <= date.max.year:
        raise OverflowError(f"coupon {step} of {terms.isin} was in the year {year}")
    last_day = calendar.monthrange(year, month + 1)[1]
    return date(year, month + 1, last_day if terms.pays_at_month_end else min(_coupon_day(terms), last_day))


def _coupon_day(terms: BondTerms) -> int:
    """Day of the month; a bond that pays on 30 August pays on 28 February, and then on 30 August again."""
    anchor = terms.last_regular_coupon_date or terms.maturity_date
    return max(anchor.day, terms.first_coupon_date.day if terms.first_coupon_date else 0)


def _step_before(terms: BondTerms, day: date) -> int:
    """The step of the latest regular date that is not after the day."""
    anchor = terms.last_regular_coupon_date or terms.maturity_date
    months = (day.year - anchor.year) * _MONTHS_A_YEAR + day.month - anchor.month
    step = months // (_MONTHS_A_YEAR // terms.coupons_a_year)
    # The month is right; within it the day may still be before the coupon date.
    return step if regular_date(terms, step) <= day else step - 1


def is_regular_date(terms: BondTerms, day: date) -> bool:
    """Whether a coupon date fits the others: whole steps of the frequency apart, on the same day of the month."""
    return regular_date(terms, _step_before(terms, day)) == day


def coupon_period(terms: BondTerms, on: date) -> CouponPeriod | None:
    """The period in which the day lies; None before interest accrues, and at maturity or later."""
    if not terms.accrual_start <= on < terms.maturity_date:
        return None
    if terms.coupons_a_year == 0:
        return CouponPeriod(terms.accrual_start, terms.maturity_date, is_regular=False)
    first, last = terms.first_coupon_date, terms.last_regular_coupon_date
    if first is not None and on < first:
        start, end = terms.accrual_start, first
    elif last is not None and on >= last:
        start, end = last, terms.maturity_date
    else:
        step = _step_before(terms, on)
        start, end = max(regular_date(terms, step), terms.accrual_start), regular_date(terms, step + 1)
    step = _step_before(terms, start)
    is_regular = (regular_date(terms, step), regular_date(terms, step + 1)) == (start, end)
    return CouponPeriod(start, end, is_regular)


def faults_of(terms: BondTerms) -> Iterator[tuple[str, str]]:
    """Field and expectation of everything in a bond's terms that contradicts itself; nothing can be computed then."""
    if terms.accrual_start >= terms.maturity_date:
        yield "accrual_start", f"a day before the maturity date {terms.maturity_date}"
    for name in ("accrual_start", "maturity_date"):
        if getattr(terms, name).year not in _YEARS:
            yield name, f"a date from {_YEARS.start} to {_YEARS.stop - 1}"
    if terms.ex_dividend_calendar is not None and terms.ex_dividend_days == 0:
        yield "ex_dividend_days", "more than 0, since there is an ex-dividend calendar"
    if terms.coupons_a_year not in _COUPONS_A_YEAR:
        yield "coupons_a_year", "one of " + ", ".join(map(str, _COUPONS_A_YEAR))
    elif terms.coupons_a_year == 0:
        yield from _faults_without_coupons(terms)
    else:
        yield from _faults_of_dates(terms)


def _faults_without_coupons(terms: BondTerms) -> Iterator[tuple[str, str]]:
    if terms.coupon_rate and terms.day_count is DayCount.ACT_ACT_ICMA:
        yield "day_count", "another convention: ACT_ACT_ICMA needs coupons a year"
    for name in ("first_coupon_date", "last_regular_coupon_date"):
        if getattr(terms, name) is not None:
            yield name, "nothing, since there are no coupons before maturity"


def _faults_of_dates(terms: BondTerms) -> Iterator[tuple[str, str]]:
    first, last = terms.first_coupon_date, terms.last_regular_coupon_date
    if first is not None and not terms.accrual_start < first <= terms.maturity_date:
        yield "first_coupon_date", "a day after accrual_start, and not after the maturity date"
    elif first is not None and not is_regular_date(terms, first):
        yield "first_coupon_date", "a day that is whole coupon periods away from the last regular coupon or maturity"
    if last is not None and not (first or terms.accrual_start) <= last < terms.maturity_date:
        yield "last_regular_coupon_date", "a day from the first coupon to the day before maturity"
    if terms.pays_at_month_end and not is_month_end(last or terms.maturity_date):
        yield "pays_at_month_end", "false, since the last regular coupon or maturity is at no month end"


# --- days and fractions ----------------------------------------------------------------------------------------------


def days_30_360_us(start: date, end: date, *, pays_at_month_end: bool) -> int:
    """Days between two dates in months of 30 (SIA Standard Securities Calculation Methods; MSRB rule G-33).

    The end of February is a 30th only for bonds that pay at month end; for all others this is the bond basis of ISDA
    2006 4.16(f).
    """
    first_day, last_day = start.day, end.day
    if pays_at_month_end and start.month == _FEBRUARY and is_month_end(start):
        if end.month == _FEBRUARY and is_month_end(end):
            last_day = _MONTH_DAYS
        first_day = _MONTH_DAYS
    if last_day > _MONTH_DAYS and first_day >= _MONTH_DAYS:
        last_day = _MONTH_DAYS
    return _days_360(start, end, min(first_day, _MONTH_DAYS), last_day)


def days_30e_360(start: date, end: date) -> int:
    """Days between two dates in months of 30: Eurobond basis (ISDA 2006 4.16(g), ICMA rule 251)."""
    return _days_360(start, end, min(start.day, _MONTH_DAYS), min(end.day, _MONTH_DAYS))


def _days_360(start: date, end: date, first_day: int, last_day: int) -> int:
    months = (end.year - start.year) * _MONTHS_A_YEAR + end.month - start.month
    return months * _MONTH_DAYS + last_day - first_day


def year_fraction(terms: BondTerms, start: date, end: date) -> Fraction:
    """Part of a year's interest that accrues from `start` to `end`, both in one coupon period of the bond."""
    match terms.day_count:
        case DayCount.ACT_ACT_ICMA:
            return sum((part for part in _quasi_parts(terms, start, end)), Fraction(0))
        case DayCount.THIRTY_360_US:
            days = days_30_360_us(start, end, pays_at_month_end=terms.pays_at_month_end)
            return Fraction(days, _YEAR_DAYS_360)
        case DayCount.THIRTY_E_360:
            return Fraction(days_30e_360(start, end), _YEAR_DAYS_360)
        case DayCount.ACT_360:
            return Fraction((end - start).days, _YEAR_DAYS_360)
        case DayCount.ACT_365_FIXED:
            return Fraction((end - start).days, _YEAR_DAYS_365)


def _quasi_parts(terms: BondTerms, start: date, end: date) -> Iterator[Fraction]:
    """For each quasi coupon period that the days touch: days over the period's own days and the coupons a year.

    Quasi periods are the regular steps, continued to both sides; a long coupon lies in several (ICMA rule 251.1.4).
    """
    step = _step_before(terms, start)
    while (begin := regular_date(terms, step)) < end:
        after = regular_date(terms, step + 1)
        days = (min(end, after) - max(start, begin)).days
        yield Fraction(days, (after - begin).days * terms.coupons_a_year)
        step += 1


def coupon_fraction(terms: BondTerms, period: CouponPeriod) -> Fraction:
    """The whole coupon of a period as part of a year's interest."""
    if period.is_regular and terms.day_count in _HAS_EQUAL_COUPONS:
        return Fraction(1, terms.coupons_a_year)
    return year_fraction(terms, period.start, period.end)
