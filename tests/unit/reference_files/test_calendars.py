"""The shipped calendars: made by the generator, agreeing with a second source, and true to the known exceptions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from functools import cache

import exchange_calendars  # type: ignore[import-untyped]
import holidays
import pytest
import QuantLib as ql  # type: ignore[import-untyped]  # noqa: N813  # the name its own documentation uses

from deploy.reference import generate
from services.adapters.reference_files import load_directory
from services.domain.reference import CalendarCoverage, Holiday
from tests.unit.reference_files.calendar_differences import DIFFERENCES, YEARS, differing, easter_sunday
from tests.unit.reference_files.shipped import DIRECTORY, shipped_records

T2S_MARKETS = ("AT", "BE", "DE", "ES", "FI", "FR", "IE", "IT", "LU", "NL", "PT")


@cache
def closed(calendar: str) -> frozenset[date]:
    return frozenset(row.day for row in shipped_records() if isinstance(row, Holiday) and row.calendar == calendar)


@cache
def coverage(calendar: str) -> CalendarCoverage:
    (row,) = (row for row in shipped_records() if isinstance(row, CalendarCoverage) and row.calendar == calendar)
    return row


def listed(*calendars: holidays.HolidayBase) -> set[date]:
    """Weekdays that at least one of the lists of `holidays` holds."""
    return {day for day in generate.weekdays() if any(day in calendar for calendar in calendars)}


@pytest.mark.parametrize("name", ["holidays.csv", "calendar-coverages.csv", "time-zone-offsets.csv"])
def test_checked_in_file_is_the_generator_s_output(name: str) -> None:
    """Nobody edited the file by hand, and no library changed a day unseen."""
    assert (DIRECTORY / name).read_bytes() == generate.generate()[name].encode()


def test_every_calendar_that_has_holidays_is_covered_and_the_other_way_round() -> None:
    """A calendar without coverage would be unknown, one without holidays always open."""
    records = load_directory(DIRECTORY)
    with_holidays = {row.calendar for row in records if isinstance(row, Holiday)}
    covered = {row.calendar for row in records if isinstance(row, CalendarCoverage)}
    assert with_holidays == covered
    wanted_markets = {"AU", "CA", "CH", "CN", "GB", "HK", "JP", "MX", "SG", "US", *T2S_MARKETS}
    wanted_currencies = {"AUD", "CAD", "CHF", "CNY", "EUR", "GBP", "HKD", "JPY", "MXN", "SGD", "USD"}
    assert covered == {f"SETTLEMENT:{m}" for m in wanted_markets} | {f"CURRENCY:{c}" for c in wanted_currencies}


def test_target_is_six_days_a_year_computed_without_any_library() -> None:
    """T2 and T2S close on 1 January, Good Friday, Easter Monday, 1 May, 25 and 26 December, and on no other weekday."""
    days = set()
    for year in YEARS:
        easter = easter_sunday(year)
        fixed = {date(year, 1, 1), date(year, 5, 1), date(year, 12, 25), date(year, 12, 26)}
        days |= fixed | {easter - timedelta(days=2), easter + timedelta(days=1)}
    weekdays = {day for day in days if day.weekday() < 5}
    for name in ("CURRENCY:EUR", *(f"SETTLEMENT:{market}" for market in T2S_MARKETS)):
        assert closed(name) == weekdays, name
    assert listed(holidays.financial_holidays("XECB", years=YEARS)) == weekdays


# --- the second source -----------------------------------------------------------------------------------------------


def financial(*codes: str) -> Callable[[], set[date]]:
    """Weekdays on which one of the institutions is closed, as `holidays` has them."""
    return lambda: listed(*(holidays.financial_holidays(code, years=YEARS) for code in codes))


def country(code: str, categories: tuple[str, ...], subdivision: str | None = None) -> Callable[[], set[date]]:
    """Holidays of a country, as `holidays` has them."""
    return lambda: listed(holidays.country_holidays(code, subdiv=subdivision, years=YEARS, categories=categories))


def hong_kong() -> set[date]:
    """QuantLib to 2026, as far as it knows the lunar holidays; then exchange_calendars, which computes them."""
    until_2026 = {day for day in generate.quantlib_days(ql.HongKong()) if day.year <= 2026}
    sessions = exchange_calendars.get_calendar("XHKG", start="2027-01-01", end="2030-12-31").sessions
    is_open = {session.date() for session in sessions}
    return until_2026 | {day for day in generate.weekdays() if day.year > 2026 and day not in is_open}


SECOND_SOURCES: dict[str, Callable[[], set[date]]] = {
    "CURRENCY:USD": financial("XFED"),
    "CURRENCY:EUR": financial("XECB"),
    "SETTLEMENT:US": financial("XNYS", "XFED"),
    **{f"SETTLEMENT:{market}": financial("XECB") for market in T2S_MARKETS},
    **dict.fromkeys(("SETTLEMENT:AU", "CURRENCY:AUD"), financial("XASX")),
    **dict.fromkeys(
        ("SETTLEMENT:CA", "CURRENCY:CAD"), country("CA", ("public", "government", "optional"), subdivision="ON")
    ),
    **dict.fromkeys(("SETTLEMENT:CH", "CURRENCY:CHF"), financial("XSWX")),
    **dict.fromkeys(("SETTLEMENT:CN", "CURRENCY:CNY"), financial("XSHG")),
    **dict.fromkeys(("SETTLEMENT:GB", "CURRENCY:GBP"), financial("XLON")),
    **dict.fromkeys(("SETTLEMENT:HK", "CURRENCY:HKD"), hong_kong),
    **dict.fromkeys(("SETTLEMENT:JP", "CURRENCY:JPY"), country("JP", ("public", "bank"))),
    **dict.fromkeys(("SETTLEMENT:MX", "CURRENCY:MXN"), financial("XMEX")),
    **dict.fromkeys(("SETTLEMENT:SG", "CURRENCY:SGD"), financial("XSES")),
}
"""Which days a source that did not make the calendar says it is closed."""


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning")  # exchange_calendars on pandas
@pytest.mark.parametrize("calendar", sorted(SECOND_SOURCES))
def test_every_calendar_agrees_with_its_second_source(calendar: str) -> None:
    """On every weekday that it covers; where they differ, calendar_differences.py says why."""
    last_day = coverage(calendar).last_day
    theirs = {day for day in SECOND_SOURCES[calendar]() if day <= last_day}
    assert closed(calendar) - theirs == differing(calendar, is_closed=True)
    assert theirs - closed(calendar) == differing(calendar, is_closed=False)


def test_no_calendar_is_without_a_second_source() -> None:
    assert set(SECOND_SOURCES) == {row.calendar for row in shipped_records() if isinstance(row, CalendarCoverage)}


def test_every_difference_has_its_reason_and_its_calendar() -> None:
    """A reason that nobody wrote down is one that nobody can check."""
    for one in DIFFERENCES:
        assert one.days, one
        assert one.reason.endswith("."), one
        assert set(one.calendars) <= set(SECOND_SOURCES), one


@pytest.mark.parametrize("calendar", ["SETTLEMENT:CN", "SETTLEMENT:SG"])
def test_a_proclaimed_calendar_ends_where_it_is_known(calendar: str) -> None:
    """A year for which nothing is proclaimed yet would be a year without holidays, and every trade in it wrong."""
    covered = range(2024, coverage(calendar).last_day.year + 1)
    assert len(covered) >= 3
    assert all(len({day for day in closed(calendar) if day.year == year}) >= 8 for year in covered)
    assert {day.year for day in closed(calendar)} == set(covered)


@pytest.mark.parametrize(
    ("calendar", "day", "is_closed", "why"),
    [
        ("SETTLEMENT:US", date(2026, 10, 12), True, "Columbus Day trades but does not settle"),
        ("SETTLEMENT:US", date(2026, 11, 11), True, "Veterans Day trades but does not settle"),
        ("SETTLEMENT:US", date(2026, 4, 3), True, "Good Friday: banks open, no settlement"),
        ("CURRENCY:USD", date(2026, 4, 3), False, "Good Friday is a Fedwire day"),
        ("SETTLEMENT:US", date(2025, 1, 9), False, "exchanges closed, settlement open"),
        (
            "SETTLEMENT:US",
            date(2027, 12, 31),
            False,
            "New Year on Saturday: exchanges and Federal Reserve open on Friday",
        ),
        ("SETTLEMENT:US", date(2028, 11, 10), False, "Veterans Day on Saturday: Federal Reserve open on Friday"),
        ("SETTLEMENT:US", date(2026, 7, 3), True, "Independence Day on Saturday: exchanges closed on Friday"),
        ("SETTLEMENT:DE", date(2025, 5, 8), False, "8 May settles on T2S"),
        ("SETTLEMENT:FR", date(2025, 5, 8), False, "8 May settles on T2S"),
        ("SETTLEMENT:IT", date(2025, 8, 15), False, "15 August: Milan closed, T2S open"),
        ("SETTLEMENT:DE", date(2026, 12, 24), False, "24 December: Xetra closed, T2S open"),
        ("SETTLEMENT:DE", date(2026, 12, 31), False, "31 December: Xetra closed, T2S open"),
        ("CURRENCY:EUR", date(2026, 5, 1), True, "1 May"),
        ("SETTLEMENT:CH", date(2026, 1, 2), True, "Berchtold's Day is no clearing day in Zurich"),
        ("SETTLEMENT:CA", date(2026, 11, 11), True, "Remembrance Day trades but does not settle"),
        ("SETTLEMENT:JP", date(2026, 12, 31), True, "Japanese banks close on 31 December"),
        ("SETTLEMENT:HK", date(2027, 2, 8), True, "third day of Lunar New Year"),
        ("SETTLEMENT:SG", date(2026, 3, 20), False, "Hari Raya Puasa is Saturday 21 March and is not moved"),
        ("SETTLEMENT:AU", date(2026, 10, 5), False, "Labour Day of New South Wales: CHESS and RITS are open"),
        ("SETTLEMENT:AU", date(2027, 4, 26), False, "Anzac Day on Sunday: no day in its place"),
        ("SETTLEMENT:MX", date(2026, 4, 2), True, "Maundy Thursday"),
        ("SETTLEMENT:CN", date(2026, 2, 23), True, "last day of Spring Festival"),
        ("SETTLEMENT:LU", date(2026, 6, 23), False, "National Day: T2S is open"),
    ],
)
def test_known_day(calendar: str, day: date, is_closed: bool, why: str) -> None:
    """Days on which a calendar is easily wrong."""
    assert (day in closed(calendar)) is is_closed, why
