"""Accrued interest of a bond on a settlement date, from its terms in reference data.

What accrues from the last coupon date up to, and without, the settlement date. In the ex-dividend period the seller
keeps the coming coupon, so the buyer is paid for the days it lacks: accrued interest is negative (United Kingdom Debt
Management Office, formulae for gilt prices, section 2). Fractions all the way, and one rounding of the amount; where a
market rounds interest per 100 first, the bond's terms say so.
"""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

from services.domain import money
from services.domain.calendar import CalendarMissingError, is_business_day
from services.domain.day_count import coupon_fraction, coupon_period, faults_of, year_fraction
from services.domain.reason import Reason
from services.domain.record import Record
from services.domain.reference import AccruedInterestTolerance, BondTerms, ReferenceData

_ONE_DAY = timedelta(days=1)
_HUNDRED = 100


class AccrualProblem(Record, kw_only=True):
    """Why accrued interest cannot be computed: a wait (BOND_TERMS_MISSING, CALENDAR_MISSING) or a refusal."""

    reason: Reason
    details: dict[str, str]
    """What is missing or was found, by field name."""


def accrued_per_unit(reference: ReferenceData, isin: str, settlement_date: date) -> Fraction | AccrualProblem:
    """Accrued interest on a face amount of 1, exact; computed once for each bond and settlement date."""
    return reference.derived(_accrued_per_unit, isin, settlement_date)


def accrued_amount(per_unit: Fraction, face_amount: Decimal, *, currency: str) -> Decimal:
    """Accrued interest on a face amount, rounded once, half up, to the currency's minor unit."""
    digits = money.minor_unit_digits(currency)
    return money.round_fraction(per_unit * Fraction(face_amount), digits=digits)


def tolerance_of(reference: ReferenceData, *, currency: str, face_amount: Decimal, on: date) -> Decimal:
    """How far a reported amount may differ from the computed one. `on` is the trade date."""
    row = reference.find(AccruedInterestTolerance, currency, on=on)
    if row is None:
        return Decimal(0)
    return money.add(row.amount, money.multiply(row.per_face_amount, face_amount))


def _accrued_per_unit(reference: ReferenceData, isin: str, settlement_date: date) -> Fraction | AccrualProblem:
    terms = reference.find(BondTerms, isin, on=settlement_date)
    if terms is None:
        return _problem(Reason.BOND_TERMS_MISSING, isin=isin, on=settlement_date)
    for field, expected in faults_of(terms):
        unusable = f"{field} was {getattr(terms, field)}, expected {expected}"
        return _problem(Reason.BOND_TERMS_MISSING, isin=isin, on=settlement_date, unusable=unusable)
    try:
        fraction = _fraction(reference, terms, settlement_date)
    except CalendarMissingError as missing:
        return _problem(Reason.CALENDAR_MISSING, calendar=missing.calendar, day=missing.day)
    if fraction is None:
        return _problem(
            Reason.SETTLEMENT_OUTSIDE_BOND_LIFE,
            isin=isin,
            settlement_date=settlement_date,
            accrual_start=terms.accrual_start,
            maturity_date=terms.maturity_date,
        )
    per_unit = Fraction(terms.coupon_rate) * fraction
    if terms.per_hundred_digits is None:
        return per_unit
    return Fraction(money.round_fraction(per_unit * _HUNDRED, digits=terms.per_hundred_digits)) / _HUNDRED


def _problem(reason: Reason, **details: object) -> AccrualProblem:
    return AccrualProblem(reason=reason, details={name: str(value) for name, value in details.items()})


def _fraction(reference: ReferenceData, terms: BondTerms, on: date) -> Fraction | None:
    """Part of a year's interest that the buyer pays for; None outside of the bond's life."""
    period = coupon_period(terms, on)
    if period is None:
        return None
    if not terms.coupon_rate:
        return Fraction(0)
    accrued = year_fraction(terms, period.start, on)
    if not is_ex_dividend(reference, terms, on, coupon_date=period.end):
        return accrued
    return accrued - coupon_fraction(terms, period)


def is_ex_dividend(reference: ReferenceData, terms: BondTerms, on: date, *, coupon_date: date) -> bool:
    """Whether a trade that settles on the day goes without the coming coupon.

    The ex-dividend date is the n-th day before the coupon date, by the terms' calendar; who settles behind it is
    without (United Kingdom: n is 7, so there are fewer than 7 business days from the settlement date to the coupon).
    Only days from the settlement date on are looked at, so no calendar is needed for coupons far ahead. Raises
    CalendarMissingError when one of them is not covered.
    """
    if terms.ex_dividend_days == 0 or on >= coupon_date:
        return False
    if terms.ex_dividend_calendar is None:
        return (coupon_date - on).days < terms.ex_dividend_days
    left, day = terms.ex_dividend_days, on
    while day < coupon_date:
        left -= is_business_day(reference, calendar=terms.ex_dividend_calendar, day=day)
        if left == 0:
            return False
        day += _ONE_DAY
    return True
