"""On which days a market settles, and when a trade does.

A day is a settlement day when the market's depository AND the currency's payment system are open:
`SETTLEMENT:<market>` and `CURRENCY:<ISO 4217>`. Whether the exchange trades is neither needed nor enough: on Columbus
Day the United States trade and do not settle (FINRA NTM 95-77, 99-83); on 2025-01-09 they settled and did not trade.
Weekends are closed everywhere. A weekday is known only inside the calendar's CalendarCoverage; outside of it these
functions say which calendar is missing, and nobody guesses.

`decide` answers with the rule and the rows that led to the date; `cycle_row`, `closure` and `coverage_row` are the rows
it asks for, so that whoever explains a date reads the very same ones.
"""

from __future__ import annotations

from datetime import date, timedelta
from enum import StrEnum

from services.domain.code import InstrumentType
from services.domain.reason import Reason
from services.domain.record import Record
from services.domain.reference import CalendarCoverage, Holiday, ReferenceData, SettlementCycle

_SATURDAY = 5
_ONE_DAY = timedelta(days=1)

# FIX 63 SettlType, the values that are a number of settlement days by themselves. 0 is the market's own cycle, 7 the
# day of issue. 6 (future), 8 (seller's option), B (broken date) mean a date that only SettlDate (64) can name.
_DAYS_BY_SETTLEMENT_TYPE = {"1": 0, "2": 1, "3": 2, "4": 3, "5": 4, "9": 5}
_REGULAR = "0"
WHEN_ISSUED = "7"
"""FIX 63: the trade settles when the security is issued."""


class CalendarMissingError(Exception):
    """A calendar says nothing about a day. The caller makes a CALENDAR_MISSING wait of it and guesses nothing."""

    def __init__(self, calendar: str, day: date) -> None:
        """Name the calendar, and the first day on which it is silent."""
        super().__init__(f"calendar {calendar} does not cover {day.isoformat()}")
        self.calendar = calendar
        self.day = day


class DateProblem(Record, kw_only=True):
    """Why a trade has no settlement date: a wait (a reason that ends in _MISSING) or a refusal."""

    reason: Reason
    details: dict[str, str]
    """What is missing or was found, by field name."""


class DateRule(StrEnum):
    """Which rule named the settlement date, in the order in which they are asked."""

    AGREED_DATE = "AGREED_DATE"
    """FIX 64: the date the parties agreed."""
    WHEN_ISSUED = "WHEN_ISSUED"
    """FIX 63 = 7: the first settlement day from the day of issue on."""
    SPECIAL_CYCLE = "SPECIAL_CYCLE"
    """FIX 63 = 1, 2, 3, 4, 5, 9: a number of settlement days after the trade date."""
    MARKET_CYCLE = "MARKET_CYCLE"
    """The market's own cycle on the trade date."""


class DateDecision(Record, kw_only=True):
    """A settlement date, or why there is none, and what led to it."""

    result: date | DateProblem
    rule: DateRule
    start: date
    """The day counted from: trade date, agreed date or day of issue."""
    days: int | None = None
    """Settlement days counted; None when the rule counts none."""
    cycle: SettlementCycle | None = None
    """The row the days are from; None when they are from FIX 63."""


class Closure(Record, kw_only=True):
    """Why a day is no settlement day."""

    calendar: str
    """Name of the closed calendar; empty on a weekend."""
    holiday: Holiday | None
    """The row that closes it; None on a weekend."""


_WEEKEND = Closure(calendar="", holiday=None)


# --- settlement days -------------------------------------------------------------------------------------------------


def calendars_of(market: str, currency: str) -> tuple[str, str]:
    """The calendars that must both be open: the depository's, and the currency's."""
    return f"SETTLEMENT:{market}", f"CURRENCY:{currency}"


def closure(reference: ReferenceData, *, market: str, currency: str, day: date) -> Closure | None:
    """Why the day is no settlement day; None when it is one.

    Raises CalendarMissingError when that depends on a calendar that does not cover the day.
    """
    if day.weekday() >= _SATURDAY:
        return _WEEKEND
    for calendar in calendars_of(market, currency):
        holiday = _holiday(reference, calendar, day)
        if holiday is not None:
            return Closure(calendar=calendar, holiday=holiday)
    return None


def is_business_day(reference: ReferenceData, *, calendar: str, day: date) -> bool:
    """Whether one calendar is open on the day. Raises CalendarMissingError when it does not cover a weekday."""
    return day.weekday() < _SATURDAY and _holiday(reference, calendar, day) is None


def _holiday(reference: ReferenceData, calendar: str, day: date) -> Holiday | None:
    """The row that closes a calendar on a weekday."""
    if coverage_row(reference, calendar, day) is None:
        raise CalendarMissingError(calendar, day)
    return reference.holidays(calendar).get(day)


def coverage_row(reference: ReferenceData, calendar: str, day: date) -> CalendarCoverage | None:
    """The row by which the calendar knows the day; None when it does not."""
    for coverage in reference.find_all(CalendarCoverage, calendar, on=day):
        if coverage.first_day <= day <= coverage.last_day:
            return coverage
    return None


def is_settlement_day(reference: ReferenceData, *, market: str, currency: str, day: date) -> bool:
    """Whether depository and currency are both open on the day. Raises CalendarMissingError as `closure` does."""
    return closure(reference, market=market, currency=currency, day=day) is None


def add_settlement_days(reference: ReferenceData, *, market: str, currency: str, start: date, days: int) -> date:
    """The `days`-th settlement day after `start`; for 0 days `start` itself, or the next settlement day if it is none.

    `start` itself is not counted and need not be a settlement day: at T+1 a trade of Columbus Day settles together with
    the trades of the Friday before it. Raises CalendarMissingError on the first day that a calendar does not cover,
    ValueError for a negative number of days.
    """
    if days < 0:
        raise ValueError(f"days was {days}, expected 0 or more")
    day = start if days else _first_settlement_day(reference, market, currency, start)
    for _ in range(days):
        day = _first_settlement_day(reference, market, currency, _day_after(day, market))
    return day


def _first_settlement_day(reference: ReferenceData, market: str, currency: str, day: date) -> date:
    """The first settlement day on or after the day; ends because every coverage does."""
    while not is_settlement_day(reference, market=market, currency=currency, day=day):
        day = _day_after(day, market)
    return day


def _day_after(day: date, market: str) -> date:
    if day == date.max:
        raise CalendarMissingError(f"SETTLEMENT:{market}", day)
    return day + _ONE_DAY


# --- the settlement date of a trade ----------------------------------------------------------------------------------


def settlement_date(
    reference: ReferenceData,
    *,
    market: str,
    instrument_type: InstrumentType,
    currency: str,
    trade_date: date,
    settlement_type: str | None = None,
    requested_settlement_date: date | None = None,
    issue_date: date | None = None,
) -> date | DateProblem:
    """When a trade settles by contract.

    An agreed date (FIX 64) wins over everything, and must be a settlement day. Then comes what FIX 63 says: the day of
    issue, which the instrument knows, or a special cycle. Else the market's SettlementCycle of the trade date; a row
    for the instrument type wins over the row for all.
    """
    if settlement_type != WHEN_ISSUED:
        issue_date = None  # it makes no difference, and one question has one key
    return reference.derived(
        decide, market, instrument_type, currency, trade_date, settlement_type, requested_settlement_date, issue_date
    ).result


def decide(
    reference: ReferenceData,
    market: str,
    instrument_type: InstrumentType,
    currency: str,
    trade_date: date,
    settlement_type: str | None,
    requested_settlement_date: date | None,
    issue_date: date | None,
) -> DateDecision:
    """What `settlement_date` answers, with the rule and the row that led to it."""
    rule, start, days, cycle = _rule_of(
        reference, market, instrument_type, trade_date, settlement_type, requested_settlement_date
    )
    result: date | DateProblem
    try:
        if rule is DateRule.AGREED_DATE:
            result = _agreed(reference, market, currency, start)
        elif rule is DateRule.WHEN_ISSUED:
            start = issue_date or trade_date
            result = _when_issued(reference, market, currency, trade_date, issue_date)
        elif days is not None:
            result = add_settlement_days(reference, market=market, currency=currency, start=start, days=days)
        elif rule is DateRule.SPECIAL_CYCLE:
            result = _unsuitable(str(settlement_type))
        else:
            result = _cycle_missing(market, instrument_type, trade_date)
    except CalendarMissingError as missing:
        details = {"calendar": missing.calendar, "day": missing.day.isoformat()}
        result = DateProblem(reason=Reason.CALENDAR_MISSING, details=details)
    return DateDecision(result=result, rule=rule, start=start, days=days, cycle=cycle)


def _rule_of(
    reference: ReferenceData,
    market: str,
    instrument_type: InstrumentType,
    trade_date: date,
    settlement_type: str | None,
    requested_settlement_date: date | None,
) -> tuple[DateRule, date, int | None, SettlementCycle | None]:
    """The rule that holds, the day it counts from, its days if it counts and knows them, and their row."""
    if requested_settlement_date is not None:
        return DateRule.AGREED_DATE, requested_settlement_date, None, None
    if settlement_type == WHEN_ISSUED:
        return DateRule.WHEN_ISSUED, trade_date, None, None
    if settlement_type is not None and settlement_type != _REGULAR:
        return DateRule.SPECIAL_CYCLE, trade_date, _DAYS_BY_SETTLEMENT_TYPE.get(settlement_type), None
    cycle = cycle_row(reference, market=market, instrument_type=instrument_type, trade_date=trade_date)
    return DateRule.MARKET_CYCLE, trade_date, None if cycle is None else cycle.days, cycle


def cycle_row(
    reference: ReferenceData, *, market: str, instrument_type: InstrumentType, trade_date: date
) -> SettlementCycle | None:
    """The market's cycle on the trade date; a row for the instrument type wins over the row for all types."""
    rows = reference.find_all(SettlementCycle, market, on=trade_date)
    for wanted in (instrument_type, None):
        for row in rows:
            if row.instrument_type == wanted:
                return row
    return None


def _agreed(reference: ReferenceData, market: str, currency: str, day: date) -> date | DateProblem:
    if is_settlement_day(reference, market=market, currency=currency, day=day):
        return day
    return DateProblem(
        reason=Reason.SETTLEMENT_DATE_NOT_BUSINESS_DAY,
        details={"requested_settlement_date": day.isoformat(), "settlement_market": market, "currency": currency},
    )


def _when_issued(
    reference: ReferenceData, market: str, currency: str, trade_date: date, issue_date: date | None
) -> date | DateProblem:
    """The first settlement day from the day of issue on. What is issued already trades regular way."""
    if issue_date is None:
        return DateProblem(reason=Reason.ISSUE_DATE_MISSING, details={"settlement_type": WHEN_ISSUED})
    if issue_date <= trade_date:
        return _unsuitable(WHEN_ISSUED, issue_date=issue_date.isoformat(), trade_date=trade_date.isoformat())
    return add_settlement_days(reference, market=market, currency=currency, start=issue_date, days=0)


def _unsuitable(settlement_type: str, **details: str) -> DateProblem:
    found = {"settlement_type": settlement_type, **details}
    return DateProblem(reason=Reason.SETTLEMENT_TYPE_UNSUITABLE, details=found)


def _cycle_missing(market: str, instrument_type: InstrumentType, trade_date: date) -> DateProblem:
    return DateProblem(
        reason=Reason.SETTLEMENT_CYCLE_MISSING,
        details={
            "settlement_market": market,
            "instrument_type": str(instrument_type),
            "trade_date": trade_date.isoformat(),
        },
    )
