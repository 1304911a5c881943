"""On which days a market settles, and when a trade does.

A day is a settlement day when the market's depository AND the currency's payment system are open:
`SETTLEMENT:<market>` and `CURRENCY:<ISO 4217>`. Whether the exchange trades is neither needed nor enough: on Columbus
Day the United States trade and do not settle (FINRA NTM 95-77, 99-83); on 2025-01-09 they settled and did not trade.
Weekends are closed everywhere. A weekday is known only inside the calendar's CalendarCoverage; outside of it these
functions say which calendar is missing, and nobody guesses.
"""

from __future__ import annotations

from datetime import date, timedelta

from services.domain.code import InstrumentType
from services.domain.reason import Reason
from services.domain.record import Record
from services.domain.reference import CalendarCoverage, ReferenceData, SettlementCycle

_SATURDAY = 5
_ONE_DAY = timedelta(days=1)

# FIX 63 SettlType, the values that are a number of settlement days by themselves. 0 is the market's own cycle.
# 6 (future), 7 (when issued), 8 (seller's option), B (broken date) mean a date that only SettlDate (64) can name.
_DAYS_BY_SETTLEMENT_TYPE = {"1": 0, "2": 1, "3": 2, "4": 3, "5": 4, "9": 5}
_REGULAR = "0"


class CalendarMissingError(Exception):
    """A calendar says nothing about a day. The caller makes a CALENDAR_MISSING wait of it and guesses nothing."""

    def __init__(self, calendar: str, day: date) -> None:
        """Name the calendar, and the first day on which it is silent."""
        super().__init__(f"calendar {calendar} does not cover {day.isoformat()}")
        self.calendar = calendar
        self.day = day


class DateProblem(Record, kw_only=True):
    """Why a trade has no settlement date: a wait (SETTLEMENT_CYCLE_MISSING, CALENDAR_MISSING) or a refusal."""

    reason: Reason
    details: dict[str, str]
    """What is missing or was found, by field name."""


def is_settlement_day(reference: ReferenceData, *, market: str, currency: str, day: date) -> bool:
    """Whether depository and currency are both open on the day.

    Raises CalendarMissingError when that depends on a calendar that does not cover the day.
    """
    if day.weekday() >= _SATURDAY:
        return False
    return all(_is_open(reference, name, day) for name in (f"SETTLEMENT:{market}", f"CURRENCY:{currency}"))


def is_business_day(reference: ReferenceData, *, calendar: str, day: date) -> bool:
    """Whether one calendar is open on the day. Raises CalendarMissingError when it does not cover a weekday."""
    return day.weekday() < _SATURDAY and _is_open(reference, calendar, day)


def _is_open(reference: ReferenceData, calendar: str, day: date) -> bool:
    """Whether a calendar is open on a weekday."""
    coverages = reference.find_all(CalendarCoverage, calendar, on=day)
    if not any(coverage.first_day <= day <= coverage.last_day for coverage in coverages):
        raise CalendarMissingError(calendar, day)
    return day not in reference.closed_days(calendar)


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


def settlement_date(
    reference: ReferenceData,
    *,
    market: str,
    instrument_type: InstrumentType,
    currency: str,
    trade_date: date,
    settlement_type: str | None = None,
    requested_settlement_date: date | None = None,
) -> date | DateProblem:
    """When a trade settles by contract.

    An agreed date (FIX 64) wins over everything, and must be a settlement day. Then comes a special cycle (FIX 63),
    then the market's SettlementCycle of the trade date; a row for the instrument type wins over the row for all.
    """
    return reference.derived(
        _settlement_date, market, instrument_type, currency, trade_date, settlement_type, requested_settlement_date
    )


def _settlement_date(
    reference: ReferenceData,
    market: str,
    instrument_type: InstrumentType,
    currency: str,
    trade_date: date,
    settlement_type: str | None,
    requested_settlement_date: date | None,
) -> date | DateProblem:
    try:
        if requested_settlement_date is not None:
            return _requested(reference, market, currency, requested_settlement_date)
        days = _cycle_days(reference, market, instrument_type, trade_date, settlement_type)
        if isinstance(days, DateProblem):
            return days
        return add_settlement_days(reference, market=market, currency=currency, start=trade_date, days=days)
    except CalendarMissingError as missing:
        return DateProblem(
            reason=Reason.CALENDAR_MISSING, details={"calendar": missing.calendar, "day": missing.day.isoformat()}
        )


def _requested(reference: ReferenceData, market: str, currency: str, day: date) -> date | DateProblem:
    if is_settlement_day(reference, market=market, currency=currency, day=day):
        return day
    return DateProblem(
        reason=Reason.SETTLEMENT_DATE_NOT_BUSINESS_DAY,
        details={"requested_settlement_date": day.isoformat(), "settlement_market": market, "currency": currency},
    )


def _cycle_days(
    reference: ReferenceData,
    market: str,
    instrument_type: InstrumentType,
    trade_date: date,
    settlement_type: str | None,
) -> int | DateProblem:
    if settlement_type is not None and settlement_type != _REGULAR:
        special = _DAYS_BY_SETTLEMENT_TYPE.get(settlement_type)
        if special is None:
            return DateProblem(reason=Reason.SETTLEMENT_TYPE_UNSUITABLE, details={"settlement_type": settlement_type})
        return special
    rows = reference.find_all(SettlementCycle, market, on=trade_date)
    for wanted in (instrument_type, None):
        for row in rows:
            if row.instrument_type == wanted:
                return row.days
    return DateProblem(
        reason=Reason.SETTLEMENT_CYCLE_MISSING,
        details={
            "settlement_market": market,
            "instrument_type": str(instrument_type),
            "trade_date": trade_date.isoformat(),
        },
    )
