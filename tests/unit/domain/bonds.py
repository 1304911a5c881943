"""Bonds drawn from a seed: every frequency, day count and kind of first and last coupon that terms can say."""

from __future__ import annotations

import random
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import QuantLib as ql  # type: ignore[import-untyped]  # noqa: N813  # the name its own documentation uses

from services.domain.code import DayCount
from services.domain.day_count import faults_of, regular_date
from services.domain.record import replace
from services.domain.reference import BondTerms

ISIN = "GB00BPJJKN53"


def terms(**changes: Any) -> BondTerms:
    """A gilt-like bond: 4 percent, twice a year, every coupon regular."""
    fields: dict[str, Any] = {
        "isin": ISIN,
        "coupon_rate": Decimal("0.04"),
        "coupons_a_year": 2,
        "day_count": DayCount.ACT_ACT_ICMA,
        "accrual_start": date(2020, 1, 31),
        "maturity_date": date(2030, 1, 31),
    }
    return BondTerms(**(fields | changes))


def drawn(chance: random.Random, *, for_quantlib: bool = False, **changes: Any) -> BondTerms:
    """Terms with a short, regular or long coupon at each end, the long ones of less than two periods.

    For QuantLib a bond with a long first coupon has a regular last one: its ACT/ACT counter for both together mixes up
    the quasi periods (version 1.44: a whole regular year before the last coupon counts as half a year).
    """
    frequency = chance.choice((1, 2, 4, 12))
    pays_at_month_end = chance.random() < 0.3
    maturity = date(chance.randrange(2027, 2036), chance.randrange(1, 13), chance.randrange(1, 29))
    if pays_at_month_end:
        maturity = _month_end(maturity)
    regular = terms(
        coupon_rate=Decimal(chance.randrange(1, 100_000)).scaleb(-6),
        coupons_a_year=frequency,
        day_count=chance.choice([*DayCount]),
        accrual_start=date(1990, 1, 1),
        maturity_date=maturity,
        pays_at_month_end=pays_at_month_end,
    )
    steps = chance.randrange(4, 9)
    first = regular_date(regular, -steps)
    start = _in_periods(chance, regular, -steps)
    whole = replace(regular, accrual_start=start, first_coupon_date=first)
    is_long = start < regular_date(regular, -steps - 1)
    if chance.random() < 0.5 and not (for_quantlib and is_long):
        last = regular.maturity_date
        end = _after(chance, regular)
        whole = replace(whole, last_regular_coupon_date=last, maturity_date=end)
    found = replace(whole, **changes)
    assert [*faults_of(found)] == [], found
    return found


def _in_periods(chance: random.Random, regular: BondTerms, step: int) -> date:
    """Where interest begins: exactly a period before the first coupon, or up to two."""
    if chance.random() < 0.3:
        return regular_date(regular, step - 1)
    far = regular_date(regular, step - 2)
    return regular_date(regular, step) - timedelta(days=chance.randrange(1, (regular_date(regular, step) - far).days))


def _after(chance: random.Random, regular: BondTerms) -> date:
    far = regular_date(regular, 2)
    return regular.maturity_date + timedelta(days=chance.randrange(1, (far - regular.maturity_date).days))


def _month_end(day: date) -> date:
    return (day.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)


def day_in_life(chance: random.Random, bond: BondTerms) -> date:
    """Any settlement date on which interest accrues."""
    return bond.accrual_start + timedelta(days=chance.randrange((bond.maturity_date - bond.accrual_start).days))


# --- the same in QuantLib --------------------------------------------------------------------------------------------


def ql_date(day: date) -> ql.Date:
    """A date of QuantLib."""
    return ql.Date(day.day, day.month, day.year)


def ql_schedule(bond: BondTerms) -> ql.Schedule:
    """The coupon dates as QuantLib makes them, backwards from maturity."""
    first, last = bond.first_coupon_date, bond.last_regular_coupon_date
    return ql.Schedule(
        ql_date(bond.accrual_start),
        ql_date(bond.maturity_date),
        ql.Period(12 // bond.coupons_a_year, ql.Months),
        ql.NullCalendar(),
        ql.Unadjusted,
        ql.Unadjusted,
        ql.DateGeneration.Backward,
        bond.pays_at_month_end,
        ql_date(first) if first else ql.Date(),
        ql_date(last) if last else ql.Date(),
    )


def ql_counter(bond: BondTerms) -> ql.DayCounter:
    """The day count; ACT/ACT ICMA needs the schedule, or a coupon over several quasi periods is counted wrong."""
    match bond.day_count:
        case DayCount.ACT_ACT_ICMA:
            return ql.ActualActual(ql.ActualActual.ISMA, ql_schedule(bond))
        case DayCount.THIRTY_360_US:
            return ql.Thirty360(ql.Thirty360.USA if bond.pays_at_month_end else ql.Thirty360.BondBasis)
        case DayCount.THIRTY_E_360:
            return ql.Thirty360(ql.Thirty360.European)
        case DayCount.ACT_360:
            return ql.Actual360()
        case DayCount.ACT_365_FIXED:
            return ql.Actual365Fixed()


def ql_bond(bond: BondTerms, *ex_coupon: Any) -> ql.FixedRateBond:
    """The bond; `ex_coupon` are period, calendar and convention of its ex-dividend days."""
    arguments = [0, 100.0, ql_schedule(bond), [float(bond.coupon_rate)], ql_counter(bond), ql.Unadjusted, 100.0]
    if ex_coupon:
        arguments += [ql.Date(), ql.NullCalendar(), *ex_coupon]
    return ql.FixedRateBond(*arguments)
