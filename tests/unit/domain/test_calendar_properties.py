"""Settlement days counted three times: by the rule, by a plain twin over the lines of the files, and by QuantLib."""

from __future__ import annotations

import csv
from datetime import date, timedelta
from functools import cache

import QuantLib as ql  # type: ignore[import-untyped]  # noqa: N813  # the name its own documentation uses
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.domain.calendar import CalendarMissingError, DateProblem, add_settlement_days, settlement_date
from services.domain.code import InstrumentType
from services.domain.reason import Reason
from services.domain.reference import ReferenceData
from tests.unit.reference_files.shipped import DIRECTORY, shipped_reference

CASES = settings(max_examples=1_000, deadline=None)
DAY = timedelta(days=1)


@cache
def shipped() -> ReferenceData:
    return shipped_reference()


@cache
def lines(name: str) -> tuple[dict[str, str], ...]:
    """The lines of a shipped file, read without the loader."""
    with (DIRECTORY / name).open(encoding="utf-8") as file:
        return tuple(csv.DictReader(line for line in file if not line.startswith("#")))


@cache
def closed(calendar: str) -> frozenset[str]:
    return frozenset(line["day"] for line in lines("holidays.csv") if line["calendar"] == calendar)


@cache
def last_days() -> dict[str, str]:
    return {line["calendar"]: line["last_day"] for line in lines("calendar-coverages.csv")}


MARKETS = sorted(name.removeprefix("SETTLEMENT:") for name in last_days() if name.startswith("SETTLEMENT:"))
CURRENCIES = sorted(name.removeprefix("CURRENCY:") for name in last_days() if name.startswith("CURRENCY:"))
SPAN = st.dates(date(2024, 1, 1), date(2030, 12, 31))


class Unknown(Exception):
    """The twin does not know a day."""


def opens(market: str, currency: str, day: date) -> bool:
    """Whether the day settles, by looking at every line there is."""
    if day.isoweekday() > 5:
        return False
    for calendar in (f"SETTLEMENT:{market}", f"CURRENCY:{currency}"):
        if day.isoformat() > last_days()[calendar]:
            raise Unknown(calendar, day)
        if day.isoformat() in closed(calendar):
            return False
    return True


def twin(market: str, currency: str, start: date, days: int) -> date:
    """The days-th settlement day after the start; for 0 the start or the next one."""
    if days == 0:
        start, days = start - DAY, 1
    while days:
        start += DAY
        days -= opens(market, currency, start)
    return start


@CASES
@given(market=st.sampled_from(MARKETS), currency=st.sampled_from(CURRENCIES), start=SPAN, days=st.integers(0, 12))
def test_settlement_days_are_those_of_the_plain_twin(market: str, currency: str, start: date, days: int) -> None:
    """Any market with any currency, to the last day that is covered and beyond it."""
    try:
        expected: object = twin(market, currency, start, days)
    except Unknown as unknown:
        expected = unknown.args
    try:
        found: object = add_settlement_days(shipped(), market=market, currency=currency, start=start, days=days)
    except CalendarMissingError as missing:
        found = (missing.calendar, missing.day)
    assert found == expected


DOLLAR_CALENDAR = ql.UnitedStates(ql.UnitedStates.FederalReserve)
QUANTLIB = {
    "US": ("USD", ql.JointCalendar(ql.UnitedStates(ql.UnitedStates.NYSE), DOLLAR_CALENDAR)),
    "GB": ("GBP", ql.UnitedKingdom(ql.UnitedKingdom.Settlement)),
    "FR": ("EUR", ql.TARGET()),
    "CH": ("CHF", ql.Switzerland()),
    "JP": ("JPY", ql.Japan()),
    "CA": ("CAD", ql.Canada(ql.Canada.Settlement)),
    "MX": ("MXN", ql.Mexico()),
    "AU": ("AUD", ql.Australia(ql.Australia.ASX)),
}
MOURNING = date(2025, 1, 9)
"""QuantLib's New York exchange is closed on it; trades settled (test_calendar.py has the dates around it)."""


@CASES
@given(
    market=st.sampled_from(sorted(QUANTLIB)),
    in_dollars=st.booleans(),
    start=st.dates(date(2024, 1, 1), date(2030, 11, 15)),
    days=st.integers(0, 12),
)
def test_settlement_days_are_those_of_quantlib(market: str, in_dollars: bool, start: date, days: int) -> None:
    """Own currency and dollars, advanced by somebody else's calendar."""
    assume(market != "US" or not start <= MOURNING <= start + 25 * DAY)
    currency, calendar = QUANTLIB[market]
    if in_dollars:
        currency, calendar = "USD", ql.JointCalendar(calendar, DOLLAR_CALENDAR)
    there = calendar.advance(ql.Date(start.day, start.month, start.year), days, ql.Days)
    expected = date(there.year(), there.month(), there.dayOfMonth())
    assert add_settlement_days(shipped(), market=market, currency=currency, start=start, days=days) == expected


def cycle_days(market: str, instrument_type: str, trade_date: date) -> int | None:
    """T+n by the lines of the file: the line of the type, else the line of all types."""
    holding = {
        line["instrument_type"]: int(line["days"])
        for line in lines("settlement-cycles.csv")
        if line["settlement_market"] == market
        and line["valid_from"] <= trade_date.isoformat() <= (line["valid_to"] or "9999-12-31")
    }
    return holding.get(instrument_type, holding.get(""))


def settles(
    market: str,
    currency: str,
    instrument_type: InstrumentType,
    trade_date: date,
    settlement_type: str | None,
    agreed: date | None,
    issue_date: date | None,
) -> date | Reason:
    """The whole rule of the settlement date, as a clerk would go through it."""
    try:
        if agreed:
            return agreed if opens(market, currency, agreed) else Reason.SETTLEMENT_DATE_NOT_BUSINESS_DAY
        if settlement_type == "7" and issue_date is None:
            return Reason.ISSUE_DATE_MISSING
        if settlement_type == "7" and issue_date is not None and issue_date > trade_date:
            return twin(market, currency, issue_date, 0)
        if settlement_type in ("1", "2", "3", "4", "5"):
            return twin(market, currency, trade_date, int(settlement_type) - 1)
        if settlement_type == "9":
            return twin(market, currency, trade_date, 5)
        if settlement_type not in (None, "0"):
            return Reason.SETTLEMENT_TYPE_UNSUITABLE
        days = cycle_days(market, instrument_type, trade_date)
        return Reason.SETTLEMENT_CYCLE_MISSING if days is None else twin(market, currency, trade_date, days)
    except Unknown:
        return Reason.CALENDAR_MISSING


@CASES
@given(
    market=st.sampled_from(MARKETS),
    currency=st.sampled_from(CURRENCIES),
    instrument_type=st.sampled_from(InstrumentType),
    trade_date=SPAN,
    settlement_type=st.sampled_from((None, None, *"0123456789AB")),
    agreed=st.none() | SPAN,
    issue_date=st.none() | SPAN,
)
def test_a_settlement_date_is_what_a_clerk_would_find(
    market: str,
    currency: str,
    instrument_type: InstrumentType,
    trade_date: date,
    settlement_type: str | None,
    agreed: date | None,
    issue_date: date | None,
) -> None:
    """Every settlement type in every market: the same date, or the same reason."""
    found = settlement_date(
        shipped(),
        market=market,
        instrument_type=instrument_type,
        currency=currency,
        trade_date=trade_date,
        settlement_type=settlement_type,
        requested_settlement_date=agreed,
        issue_date=issue_date,
    )
    expected = settles(market, currency, instrument_type, trade_date, settlement_type, agreed, issue_date)
    assert (found.reason if isinstance(found, DateProblem) else found) == expected
