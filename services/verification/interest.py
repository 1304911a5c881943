"""Accrued interest computed a second time, from the terms of bonds that were ever published.

Written from the conventions alone, and otherwise than the services do it: all coupon dates of a bond are laid out
first, and what accrues is summed up over them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

from services.domain import money
from services.verification.judge import V4, Judge
from services.verification.model import Decode, World
from services.verification.names import BOND_TERMS, HOLIDAYS
from services.verification.plain import Plain

_ONE_DAY = timedelta(days=1)
_SATURDAY = 5
_YEAR = 12
_FEBRUARY = 2


Closed = Mapping[str | None, AbstractSet[date]]
"""Closed weekdays by calendar."""


class Interest:
    """Knows every bond's terms that reference data still holds.

    It does not say which of several rows was the right one at the time, only that the amount is that of a row of this
    bond which holds on the settlement date.
    """

    def __init__(self, world: World, decode: Decode, judge: Judge) -> None:
        """Read terms and holidays; without the topic of terms nothing that was computed is judged."""
        self._judge = judge
        self._terms: defaultdict[str, list[Plain]] = defaultdict(list)
        self._closed: defaultdict[str | None, set[date]] = defaultdict(set)
        topics = set(world.topics())
        self._is_known = BOND_TERMS in topics
        count = 0
        for entry in world.entries(BOND_TERMS) if self._is_known else ():
            count += 1
            row = None if entry.value is None else decode(BOND_TERMS, entry.value)
            if row is not None:
                self._terms[row["isin"]].append(row)
        self._is_whole = self._is_known and count >= sum(world.stable_ends(BOND_TERMS).values())
        if self._terms and HOLIDAYS in topics:
            self._read_holidays(world, decode)
        self._unknown = 0

    def _read_holidays(self, world: World, decode: Decode) -> None:
        for entry in world.entries(HOLIDAYS):
            row = None if entry.value is None else decode(HOLIDAYS, entry.value)
            if row is not None:
                self._closed[row["calendar"]].add(row["day"])

    def check(self, where: str, record: Plain) -> None:
        """The accrued interest of an enriched trade is what it reported, or what its bond's terms say."""
        found, given = record["accrued_interest"], record["accrued_interest_amount"]
        if given is not None or record["price_type"] == "PER_UNIT" or record["execution_type"] == "TRADE_CANCEL":
            reported = money.round_amount(given or Decimal(0), currency=record["currency"])
            told = (where, record["trade_id"], "has accrued interest that was not reported")
            self._judge.check(V4, found == reported, *told)
            return
        if not self._is_known:
            self._unknown += not self._judge.is_quiet
            return
        follows = any(found == accrued_by(terms, record, self._closed) for terms in self._terms[record["isin"]])
        if follows or self._is_whole:
            self._judge.check(V4, follows, where, record["trade_id"], "has accrued interest that no terms of it give")
        else:
            self._unknown += not self._judge.is_quiet

    def settle(self) -> None:
        """Say what could not be judged."""
        if self._unknown:
            self._judge.note(V4, f"accrued interest of {self._unknown} trades is of no terms that are still there")


def accrued_by(terms: Plain, record: Plain, closed: Closed) -> Decimal | None:
    """Accrued interest of a trade by these terms; None when they do not hold on its settlement date."""
    day = record["settlement_date"]
    if not terms["valid_from"] <= day or (terms["valid_to"] is not None and day > terms["valid_to"]):
        return None
    if not terms["accrual_start"] <= day < terms["maturity_date"]:
        return None
    rate = Fraction(terms["coupon_rate"])
    share = rate and rate * _share(terms, day, closed)
    if terms["per_hundred_digits"] is not None:
        share = Fraction(money.round_fraction(share * 100, digits=terms["per_hundred_digits"])) / 100
    digits = money.minor_unit_digits(record["currency"])
    return money.round_fraction(share * Fraction(record["quantity"]), digits=digits)


def _share(terms: Plain, day: date, closed: Closed) -> Fraction:
    """Part of a year's interest that the buyer pays for, or is paid."""
    dates = coupon_dates(terms)
    begin = max(one for one in dates if one <= day)
    end = min(one for one in dates if one > day)
    if not _is_without_coupon(terms, day, end, closed):
        return _between(terms, begin, day)
    equal = terms["day_count"] in ("ACT_ACT_ICMA", "THIRTY_360_US", "THIRTY_E_360")
    if equal and terms["coupons_a_year"] and (begin, end) in set(pairwise(_grid(terms))):
        return _between(terms, begin, day) - Fraction(1, terms["coupons_a_year"])
    return _between(terms, begin, day) - _between(terms, begin, end)


def _is_without_coupon(terms: Plain, day: date, coupon: date, closed: Closed) -> bool:
    """Whether the settlement date lies behind the ex-dividend date, found by going back from the coupon date."""
    days, calendar = terms["ex_dividend_days"], terms["ex_dividend_calendar"]
    if not days:
        return False
    ex_dividend = coupon
    while days:
        ex_dividend -= _ONE_DAY
        if ex_dividend < day:
            return True
        is_open = ex_dividend.weekday() < _SATURDAY and ex_dividend not in closed.get(calendar, ())
        days -= calendar is None or is_open
    return day > ex_dividend


# --- dates and days --------------------------------------------------------------------------------------------------


def _grid(terms: Plain) -> list[date]:
    """Regular dates over the bond's whole life and a step beyond on both sides."""
    anchor = terms["last_regular_coupon_date"] or terms["maturity_date"]
    first = terms["first_coupon_date"]
    of_month = max(anchor.day, first.day if first else 0)
    step = _YEAR // terms["coupons_a_year"]
    months = anchor.year * _YEAR + anchor.month - 1
    dates = [anchor]
    while dates[0] > terms["accrual_start"]:
        months -= step
        dates.insert(0, _day_in(months, of_month, is_last=terms["pays_at_month_end"]))
    months = anchor.year * _YEAR + anchor.month - 1
    while dates[-1] < terms["maturity_date"]:
        months += step
        dates.append(_day_in(months, of_month, is_last=terms["pays_at_month_end"]))
    return dates


def _day_in(months: int, of_month: int, *, is_last: bool) -> date:
    year, month = divmod(months, _YEAR)
    after = date(year + (month == _YEAR - 1), (month + 1) % _YEAR + 1, 1)
    last = after - _ONE_DAY
    return last if is_last or of_month > last.day else last.replace(day=of_month)


def coupon_dates(terms: Plain) -> list[date]:
    """Where coupons begin and end: the first day of interest, every coupon date, maturity."""
    begin, end = terms["accrual_start"], terms["maturity_date"]
    if not terms["coupons_a_year"]:
        return [begin, end]
    first = terms["first_coupon_date"] or begin
    last = terms["last_regular_coupon_date"] or end
    return sorted({begin, end, *(one for one in _grid(terms) if first <= one <= last and begin < one < end)})


def _between(terms: Plain, begin: date, end: date) -> Fraction:
    kind = terms["day_count"]
    if kind == "ACT_ACT_ICMA":
        parts = list(_steps(terms, begin, end))
        return Fraction(sum(parts, Fraction(0)))
    if kind == "ACT_360":
        return Fraction((end - begin).days, 360)
    if kind == "ACT_365_FIXED":
        return Fraction((end - begin).days, 365)
    return Fraction(_days_of_30(terms, begin, end), 360)


def _steps(terms: Plain, begin: date, end: date) -> Iterator[Fraction]:
    for one, other in pairwise(_grid(terms)):
        days = (min(end, other) - max(begin, one)).days
        if days > 0:
            yield Fraction(days, (other - one).days * terms["coupons_a_year"])


def _days_of_30(terms: Plain, begin: date, end: date) -> int:
    first, last = begin.day, end.day
    if terms["day_count"] == "THIRTY_E_360":
        first, last = min(first, 30), min(last, 30)
    else:
        if terms["pays_at_month_end"] and _is_end_of_february(begin):
            first = 30
            last = 30 if _is_end_of_february(end) else last
        first = min(first, 30)
        last = 30 if last == 31 and first == 30 else last
    return 360 * (end.year - begin.year) + 30 * (end.month - begin.month) + last - first


def _is_end_of_february(day: date) -> bool:
    return day.month == _FEBRUARY and (day + _ONE_DAY).month != _FEBRUARY
