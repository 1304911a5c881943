"""Settlement days and settlement dates, against QuantLib's calendars and a table of known dates."""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache

import pytest
import QuantLib as ql  # type: ignore[import-untyped]  # noqa: N813  # the name its own documentation uses

from services.domain.calendar import (
    CalendarMissingError,
    DateProblem,
    add_settlement_days,
    is_settlement_day,
    settlement_date,
)
from services.domain.code import InstrumentType
from services.domain.reason import Reason
from services.domain.reference import CalendarCoverage, Holiday, ReferenceData, SettlementCycle
from tests.unit.reference_files.shipped import shipped_reference

EQUITY = InstrumentType.EQUITY
GOVERNMENT_BOND = InstrumentType.GOVERNMENT_BOND


@cache
def shipped() -> ReferenceData:
    return shipped_reference()


def settles(market: str, currency: str, trade_date: date, instrument_type: InstrumentType = EQUITY) -> object:
    return settlement_date(
        shipped(), market=market, instrument_type=instrument_type, currency=currency, trade_date=trade_date
    )


# --- the oracle ------------------------------------------------------------------------------------------------------

US_CALENDARS = (ql.UnitedStates(ql.UnitedStates.NYSE), ql.UnitedStates(ql.UnitedStates.FederalReserve))
FEDERAL_RESERVE = ql.UnitedStates(ql.UnitedStates.FederalReserve)
GREAT_BRITAIN = ql.UnitedKingdom(ql.UnitedKingdom.Settlement)
EU_CHANGE = date(2027, 10, 11)


def oracle_days(market: str, trade_date: date) -> int:
    """Days of the cycle for equities, as a program and not as data."""
    if market == "US":
        return 1 if trade_date >= date(2024, 5, 28) else 2
    if market == "CA":
        return 1 if trade_date >= date(2024, 5, 27) else 2
    if market == "MX":
        return 1 if trade_date >= date(2024, 5, 27) else 2
    if market in ("JP", "AU"):
        return 2
    return 1 if trade_date >= EU_CHANGE else 2


@pytest.mark.parametrize(
    ("market", "currency", "calendars"),
    [
        ("US", "USD", US_CALENDARS),
        ("DE", "EUR", (ql.TARGET(),)),
        ("FR", "EUR", (ql.TARGET(),)),
        ("DE", "USD", (ql.TARGET(), FEDERAL_RESERVE)),
        ("GB", "GBP", (GREAT_BRITAIN,)),
        ("GB", "EUR", (GREAT_BRITAIN, ql.TARGET())),
        ("CH", "CHF", (ql.Switzerland(),)),
        ("JP", "JPY", (ql.Japan(),)),
        ("CA", "CAD", (ql.Canada(ql.Canada.Settlement),)),
        ("MX", "MXN", (ql.Mexico(),)),
        ("AU", "AUD", (ql.Australia(ql.Australia.ASX),)),
    ],
)
def test_settlement_date_equals_quantlib_for_every_day_of_seven_years(
    market: str, currency: str, calendars: tuple[ql.Calendar, ...]
) -> None:
    """2,540 trade dates per row, weekends and holidays included, counted by someone else's calendar."""
    joint = ql.JointCalendar(*calendars) if len(calendars) > 1 else calendars[0]
    trade_date = date(2024, 1, 1)
    while trade_date < date(2030, 12, 15):
        # QuantLib's NYSE is closed on 2025-01-09, when trades settled; the table below has the dates around it.
        if not (market == "US" and date(2025, 1, 7) <= trade_date <= date(2025, 1, 9)):
            start = ql.Date(trade_date.day, trade_date.month, trade_date.year)
            found = joint.advance(start, oracle_days(market, trade_date), ql.Days)
            expected = date(found.year(), found.month(), found.dayOfMonth())
            assert settles(market, currency, trade_date) == expected, trade_date
        trade_date += timedelta(days=1)


@pytest.mark.parametrize("days", [0, 1, 3, 5])
def test_add_settlement_days_equals_quantlib_for_any_number_of_days(days: int) -> None:
    """T+0 on a closed day is the next open one, as QuantLib's `advance` by 0 days gives it."""
    joint = ql.JointCalendar(GREAT_BRITAIN, FEDERAL_RESERVE)
    for offset in range(1_100):
        start = date(2026, 1, 1) + timedelta(days=offset)
        found = joint.advance(ql.Date(start.day, start.month, start.year), days, ql.Days)
        expected = date(found.year(), found.month(), found.dayOfMonth())
        assert add_settlement_days(shipped(), market="GB", currency="USD", start=start, days=days) == expected


# --- known dates -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("market", "currency", "trade_date", "expected", "why"),
    [
        ("US", "USD", date(2024, 5, 24), date(2024, 5, 29), "last T+2 day, Memorial Day between"),
        ("US", "USD", date(2024, 5, 28), date(2024, 5, 29), "first T+1 day: double settlement on 29 May"),
        ("CA", "CAD", date(2024, 5, 24), date(2024, 5, 28), "last T+2 day"),
        ("CA", "CAD", date(2024, 5, 27), date(2024, 5, 28), "first T+1 day: double settlement on 28 May"),
        ("DE", "EUR", date(2027, 10, 8), date(2027, 10, 12), "last T+2 day"),
        ("DE", "EUR", date(2027, 10, 11), date(2027, 10, 12), "first T+1 day: double settlement on 12 October"),
        ("GB", "GBP", date(2027, 10, 8), date(2027, 10, 12), "last T+2 day"),
        ("GB", "GBP", date(2027, 10, 11), date(2027, 10, 12), "first T+1 day"),
        ("CH", "CHF", date(2027, 10, 11), date(2027, 10, 12), "first T+1 day"),
        ("US", "USD", date(2026, 10, 9), date(2026, 10, 13), "Columbus Day does not settle"),
        ("US", "USD", date(2026, 10, 12), date(2026, 10, 13), "Columbus Day trades"),
        ("US", "USD", date(2026, 11, 10), date(2026, 11, 12), "Veterans Day does not settle"),
        ("US", "USD", date(2026, 4, 2), date(2026, 4, 6), "Good Friday does not settle"),
        ("US", "USD", date(2025, 1, 8), date(2025, 1, 9), "exchanges closed, settlement open"),
        ("US", "USD", date(2025, 1, 7), date(2025, 1, 8), "the day before is ordinary"),
        ("US", "USD", date(2027, 12, 30), date(2027, 12, 31), "New Year on Saturday is not moved to Friday"),
        ("DE", "EUR", date(2025, 5, 6), date(2025, 5, 8), "8 May settles"),
        ("FR", "EUR", date(2026, 4, 29), date(2026, 5, 4), "1 May does not settle"),
        ("DE", "EUR", date(2026, 4, 1), date(2026, 4, 7), "Good Friday and Easter Monday do not settle"),
        ("DE", "EUR", date(2026, 12, 23), date(2026, 12, 28), "24 December settles, Christmas does not"),
        ("JP", "JPY", date(2026, 12, 29), date(2027, 1, 4), "Japanese year end"),
        ("HK", "HKD", date(2027, 2, 3), date(2027, 2, 5), "before Lunar New Year"),
        ("HK", "HKD", date(2027, 2, 4), date(2027, 2, 10), "across Lunar New Year"),
        ("CN", "CNY", date(2026, 3, 2), date(2026, 3, 2), "A shares are delivered on the trade date"),
        ("AU", "AUD", date(2026, 4, 23), date(2026, 4, 27), "Anzac Day on Saturday is not moved"),
        ("MX", "MXN", date(2026, 4, 1), date(2026, 4, 6), "Maundy Thursday and Good Friday do not settle"),
        ("SG", "SGD", date(2026, 3, 18), date(2026, 3, 20), "the day before Hari Raya Puasa settles"),
        ("LU", "EUR", date(2027, 10, 8), date(2027, 10, 12), "double settlement, as everywhere in the Union"),
        ("DE", "USD", date(2026, 11, 9), date(2026, 11, 12), "depository open, dollar closed on Veterans Day"),
        ("US", "EUR", date(2026, 4, 30), date(2026, 5, 4), "depository open, euro closed on 1 May"),
    ],
)
def test_known_settlement_date(market: str, currency: str, trade_date: date, expected: date, why: str) -> None:
    """Dates around holidays and changes of cycle, from the rules and not from a library."""
    assert settles(market, currency, trade_date) == expected, why


@pytest.mark.parametrize(
    ("market", "currency", "instrument_type", "expected"),
    [
        ("GB", "GBP", GOVERNMENT_BOND, date(2026, 3, 3)),
        ("GB", "GBP", InstrumentType.CORPORATE_BOND, date(2026, 3, 4)),
        ("JP", "JPY", GOVERNMENT_BOND, date(2026, 3, 3)),
        ("JP", "JPY", EQUITY, date(2026, 3, 4)),
        ("US", "USD", InstrumentType.ETF, date(2026, 3, 3)),
        ("US", "USD", GOVERNMENT_BOND, date(2026, 3, 3)),
    ],
)
def test_row_for_the_instrument_type_wins(
    market: str, currency: str, instrument_type: InstrumentType, expected: date
) -> None:
    """Gilts and Japanese government bonds settle a day before shares; trade date Monday 2026-03-02."""
    assert settles(market, currency, date(2026, 3, 2), instrument_type) == expected


def test_row_for_the_type_wins_even_when_the_row_for_all_is_newer() -> None:
    """Being specific counts before being recent: the T+1 row of 2027 for all must not lengthen or shorten gilts."""
    reference = shipped_reference(
        SettlementCycle(settlement_market="GB", days=4, valid_from=date(2026, 1, 1)),
    )
    gilt = settlement_date(
        reference, market="GB", instrument_type=GOVERNMENT_BOND, currency="GBP", trade_date=date(2026, 3, 2)
    )
    assert gilt == date(2026, 3, 3)


# --- FIX 63 and 64 ---------------------------------------------------------------------------------------------------


def special(settlement_type: str | None, requested: date | None = None, trade_date: date = date(2026, 3, 2)) -> object:
    return settlement_date(
        shipped(),
        market="DE",
        instrument_type=EQUITY,
        currency="EUR",
        trade_date=trade_date,
        settlement_type=settlement_type,
        requested_settlement_date=requested,
    )


@pytest.mark.parametrize(
    ("settlement_type", "expected"),
    [
        (None, date(2026, 3, 4)),
        ("0", date(2026, 3, 4)),
        ("1", date(2026, 3, 2)),
        ("2", date(2026, 3, 3)),
        ("3", date(2026, 3, 4)),
        ("4", date(2026, 3, 5)),
        ("5", date(2026, 3, 6)),
        ("9", date(2026, 3, 9)),
    ],
)
def test_settlement_type_replaces_the_cycle(settlement_type: str | None, expected: date) -> None:
    """FIX 63, trade date Monday 2026-03-02 in a T+2 market."""
    assert special(settlement_type) == expected


@pytest.mark.parametrize("settlement_type", ["6", "8", "A", "B", "C", "", "T+2"])
def test_settlement_type_that_names_no_date_is_refused(settlement_type: str) -> None:
    """A guess would instruct for the wrong day."""
    problem = special(settlement_type)
    assert isinstance(problem, DateProblem)
    assert problem.reason is Reason.SETTLEMENT_TYPE_UNSUITABLE
    assert problem.details == {"settlement_type": settlement_type}


# --- when issued (FIX 63 = 7) ----------------------------------------------------------------------------------------


def when_issued(issue_date: date | None, trade_date: date = date(2026, 3, 30)) -> object:
    return settlement_date(
        shipped(),
        market="GB",
        instrument_type=GOVERNMENT_BOND,
        currency="GBP",
        trade_date=trade_date,
        settlement_type="7",
        issue_date=issue_date,
    )


@pytest.mark.parametrize(
    ("issue_date", "expected", "why"),
    [
        (date(2026, 4, 1), date(2026, 4, 1), "the day of issue itself"),
        (date(2026, 3, 31), date(2026, 3, 31), "issued tomorrow"),
        (date(2026, 4, 3), date(2026, 4, 7), "Good Friday: the first settlement day after it"),
    ],
)
def test_a_trade_when_issued_settles_when_the_security_is_issued(issue_date: date, expected: date, why: str) -> None:
    """Trade date Monday 2026-03-30; a gilt's own cycle would be 2026-03-31."""
    assert when_issued(issue_date) == expected, why


def test_a_trade_when_issued_waits_for_the_issue_date() -> None:
    """Reference data can name the day, so it is a wait; nothing is guessed from the cycle."""
    assert when_issued(None) == DateProblem(reason=Reason.ISSUE_DATE_MISSING, details={"settlement_type": "7"})


@pytest.mark.parametrize("issue_date", [date(2026, 3, 30), date(2026, 1, 2)])
def test_what_is_issued_is_not_traded_when_issued(issue_date: date) -> None:
    """One of the two dates is wrong, and nobody here knows which."""
    problem = when_issued(issue_date)
    assert isinstance(problem, DateProblem)
    assert problem.reason is Reason.SETTLEMENT_TYPE_UNSUITABLE
    expected = {"settlement_type": "7", "issue_date": issue_date.isoformat(), "trade_date": "2026-03-30"}
    assert problem.details == expected


def test_the_issue_date_matters_to_no_other_trade() -> None:
    """A regular trade before the issue would be wrong at the sender; its cycle is what it says."""
    found = settlement_date(
        shipped(),
        market="GB",
        instrument_type=GOVERNMENT_BOND,
        currency="GBP",
        trade_date=date(2026, 3, 30),
        issue_date=date(2026, 4, 9),
    )
    assert found == date(2026, 3, 31)


@pytest.mark.parametrize("settlement_type", [None, "0", "1", "6", "7", "B"])
def test_requested_date_wins_over_every_settlement_type(settlement_type: str | None) -> None:
    assert special(settlement_type, date(2026, 3, 20)) == date(2026, 3, 20)


@pytest.mark.parametrize("day", [date(2026, 3, 7), date(2026, 4, 3), date(2026, 12, 25)])
def test_requested_date_must_be_a_settlement_day(day: date) -> None:
    """A Saturday, Good Friday, Christmas."""
    problem = special(None, day)
    assert isinstance(problem, DateProblem)
    assert problem.reason is Reason.SETTLEMENT_DATE_NOT_BUSINESS_DAY
    assert problem.details["requested_settlement_date"] == day.isoformat()


def test_requested_date_needs_no_cycle() -> None:
    """Agreed dates hold also where no cycle is known; only the calendar must be."""
    reference = ReferenceData()
    for name in ("SETTLEMENT:DE", "CURRENCY:EUR"):
        reference.put(CalendarCoverage(calendar=name, first_day=date(2026, 1, 1), last_day=date(2026, 12, 31)))
    found = settlement_date(
        reference,
        market="DE",
        instrument_type=EQUITY,
        currency="EUR",
        trade_date=date(2026, 3, 2),
        requested_settlement_date=date(2026, 3, 6),
    )
    assert found == date(2026, 3, 6)


# --- what is missing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("market", "currency", "trade_date", "calendar", "day"),
    [
        ("IN", "USD", date(2026, 3, 2), "SETTLEMENT:IN", "2026-03-03"),
        ("SG", "SGD", date(2027, 12, 30), "SETTLEMENT:SG", "2028-01-03"),
        ("DE", "SEK", date(2026, 3, 2), "CURRENCY:SEK", "2026-03-03"),
        ("DE", "EUR", date(2030, 12, 31), "SETTLEMENT:DE", "2031-01-01"),
        ("DE", "EUR", date(2023, 12, 27), "SETTLEMENT:DE", "2023-12-28"),
    ],
)
def test_unknown_calendar_is_named_and_not_guessed(
    market: str, currency: str, trade_date: date, calendar: str, day: str
) -> None:
    """The desk reads which calendar to add, and from which day."""
    problem = settles(market, currency, trade_date)
    assert problem == DateProblem(reason=Reason.CALENDAR_MISSING, details={"calendar": calendar, "day": day})


def test_missing_cycle_is_named() -> None:
    problem = settles("BR", "USD", date(2026, 3, 2))
    assert isinstance(problem, DateProblem)
    assert problem.reason is Reason.SETTLEMENT_CYCLE_MISSING
    expected = {"settlement_market": "BR", "instrument_type": "EQUITY", "trade_date": "2026-03-02"}
    assert problem.details == expected


def test_cycle_holds_by_trade_date_and_not_before() -> None:
    """Before its first cycle row a market has none, instead of the nearest one."""
    problem = settles("SG", "USD", date(2018, 12, 9))
    assert isinstance(problem, DateProblem)
    assert problem.reason is Reason.SETTLEMENT_CYCLE_MISSING


def test_day_outside_of_coverage_raises_with_calendar_and_day() -> None:
    with pytest.raises(CalendarMissingError) as caught:
        is_settlement_day(shipped(), market="DE", currency="EUR", day=date(2031, 1, 2))
    assert (caught.value.calendar, caught.value.day) == ("SETTLEMENT:DE", date(2031, 1, 2))


def test_end_of_time_is_a_missing_calendar_and_no_crash() -> None:
    """A trade date of 9999-12-31 passes every format check; the day after it does not exist."""
    assert isinstance(settles("DE", "EUR", date.max), DateProblem)


def test_coverage_may_come_in_pieces() -> None:
    """Next year's calendar is loaded beside this year's; a date across the year end needs both."""
    reference = ReferenceData()
    for name in ("SETTLEMENT:DE", "CURRENCY:EUR"):
        for year in (2026, 2027):
            span = CalendarCoverage(
                calendar=name, first_day=date(year, 1, 1), last_day=date(year, 12, 31), valid_from=date(year, 1, 1)
            )
            reference.put(span)
        reference.put(Holiday(calendar=name, day=date(2027, 1, 1), name="New Year"))
    found = add_settlement_days(reference, market="DE", currency="EUR", start=date(2026, 12, 31), days=1)
    assert found == date(2027, 1, 4)


def test_negative_number_of_days_is_a_bug() -> None:
    with pytest.raises(ValueError, match="days was -1"):
        add_settlement_days(shipped(), market="DE", currency="EUR", start=date(2026, 3, 2), days=-1)
