"""The shipped calendars: made by the generator, agreeing with a second source, and true to the known exceptions."""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache

import exchange_calendars  # type: ignore[import-untyped]
import holidays
import pytest
import QuantLib as ql  # type: ignore[import-untyped]  # noqa: N813  # the name its own documentation uses

from deploy.reference import generate
from services.adapters.reference_files import load_directory
from services.domain.reference import CalendarCoverage, Holiday
from tests.unit.reference_files.shipped import DIRECTORY, shipped_records

YEARS = range(2024, 2031)
T2S_MARKETS = ("AT", "BE", "DE", "ES", "FI", "FR", "IE", "IT", "NL", "PT")


@cache
def closed(calendar: str) -> frozenset[date]:
    return frozenset(row.day for row in shipped_records() if isinstance(row, Holiday) and row.calendar == calendar)


def listed(*calendars: holidays.HolidayBase) -> set[date]:
    """Weekdays that at least one of the lists of `holidays` holds."""
    return {day for day in generate.weekdays() if any(day in calendar for calendar in calendars)}


def easter_sunday(year: int) -> date:
    """Gregorian Easter by the rule of Gauss as completed by Lichtenberg; no table and no library."""
    century = year // 100
    moon = 15 + (3 * century + 3) // 4 - (8 * century + 13) // 25
    sun = 2 - (3 * century + 3) // 4
    golden = year % 19
    seed = (19 * golden + moon) % 30
    full_moon = 21 + seed - (seed // 29 + (seed // 28 - seed // 29) * (golden // 11))
    first_sunday = 7 - (year + year // 4 + sun) % 7
    march_day = full_moon + 7 - (full_moon - first_sunday) % 7
    return date(year, 3, 1) + timedelta(days=march_day - 1)


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
    wanted_markets = {"US", "GB", "CH", "JP", "HK", "CA", *T2S_MARKETS}
    wanted_currencies = {"USD", "EUR", "GBP", "CHF", "JPY", "HKD", "CAD"}
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


def test_united_states_agree_with_second_source() -> None:
    exchange = holidays.financial_holidays("XNYS", years=YEARS)
    federal_reserve = holidays.financial_holidays("XFED", years=YEARS)
    difference = {date(2025, 1, 9)}  # day of mourning: exchanges closed, DTC and Fedwire open
    assert listed(exchange, federal_reserve) - closed("SETTLEMENT:US") == difference
    assert closed("SETTLEMENT:US") <= listed(exchange, federal_reserve)
    assert closed("CURRENCY:USD") == listed(federal_reserve)


@pytest.mark.parametrize("name", ["SETTLEMENT:GB", "CURRENCY:GBP"])
def test_united_kingdom_agrees_with_second_source(name: str) -> None:
    assert closed(name) == listed(holidays.financial_holidays("XLON", years=YEARS))


@pytest.mark.parametrize("name", ["SETTLEMENT:CH", "CURRENCY:CHF"])
def test_switzerland_agrees_with_second_source(name: str) -> None:
    exchange = listed(holidays.financial_holidays("XSWX", years=YEARS))
    # The exchange does not trade on 24 and 31 December; banks and the depository work.
    difference = {day for day in exchange if (day.month, day.day) in ((12, 24), (12, 31))}
    assert exchange - closed(name) == difference
    assert closed(name) <= exchange


@pytest.mark.parametrize("name", ["SETTLEMENT:JP", "CURRENCY:JPY"])
def test_japan_agrees_with_second_source(name: str) -> None:
    assert closed(name) == listed(holidays.country_holidays("JP", years=YEARS, categories=("public", "bank")))


@pytest.mark.parametrize("name", ["SETTLEMENT:CA", "CURRENCY:CAD"])
def test_canada_agrees_with_second_source(name: str) -> None:
    categories = ("public", "government", "optional")
    ontario = listed(holidays.country_holidays("CA", subdiv="ON", years=YEARS, categories=categories))
    # Easter Monday is a day off for the federal administration; banks and CDS work.
    difference = {easter_sunday(year) + timedelta(days=1) for year in YEARS}
    assert ontario - closed(name) == difference
    assert closed(name) <= ontario


@pytest.mark.filterwarnings("ignore")  # exchange_calendars uses what pandas will drop
@pytest.mark.parametrize("name", ["SETTLEMENT:HK", "CURRENCY:HKD"])
def test_hong_kong_agrees_with_second_sources(name: str) -> None:
    """QuantLib knows the lunar holidays to 2026 only; for the years after, exchange_calendars computes them."""
    until_2026 = {day for day in closed(name) if day.year <= 2026}
    quantlib = {day for day in generate.quantlib_days(ql.HongKong()) if day.year <= 2026}
    assert until_2026 == quantlib
    sessions = exchange_calendars.get_calendar("XHKG", start="2027-01-01", end="2030-12-31").sessions
    open_days = {session.date() for session in sessions}
    later = {day for day in generate.weekdays() if day.year > 2026 and day not in open_days}
    # Mid-Autumn 2029 is a Saturday, the holiday after it a Sunday, so Monday is off, as 2022-09-12 was.
    difference = {date(2029, 9, 24)}
    assert {day for day in closed(name) if day.year > 2026} == later | difference
    assert not later & difference


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
    ],
)
def test_known_day(calendar: str, day: date, is_closed: bool, why: str) -> None:
    """Days on which a calendar is easily wrong."""
    assert (day in closed(calendar)) is is_closed, why
