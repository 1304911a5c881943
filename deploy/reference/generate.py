"""Write what of the shipped reference data is generated, beside this file: settlement calendars and time zones.

Run `python -m deploy.reference.generate` with the development dependencies. Days come from QuantLib, save for Hong
Kong, of whose lunar holidays QuantLib 1.44 knows none after 2026; names come from `holidays`. Only weekdays are listed.
A calendar whose holidays are proclaimed year by year ends with the last year that both sources know.
A test (tests/unit/reference_files/test_calendars.py) compares the checked-in files with this program's output byte for
byte, and every calendar with a second source; where the two differ, and why, is in calendar_differences.py beside it.
Offsets of time zones come from the IANA database of the machine.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import holidays
import QuantLib as ql  # type: ignore[import-untyped]  # noqa: N813  # the name its own documentation uses

FIRST_DAY = date(2024, 1, 1)
LAST_DAY = date(2030, 12, 31)
_YEARS = range(FIRST_DAY.year, LAST_DAY.year + 1)
_SATURDAY = 5

EXCHANGE_ONLY_US = frozenset({date(2025, 1, 9)})
"""The exchanges closed for a day of mourning; DTC and the Federal Reserve were open, and trades settled."""

WRONG_SG = frozenset({date(2026, 3, 20)})
"""QuantLib 1.44 has Hari Raya Puasa on this Friday; the Ministry of Manpower gazetted Saturday 21 March, not moved."""

WEATHER_HK = frozenset({date(2024, 9, 6)})
"""Trading was suspended for a typhoon on the day itself; no calendar could have said so at trade date."""


class ClosedDays(NamedTuple):
    """One calendar's days and where they come from."""

    days: dict[date, str]
    """Name by closed weekday."""
    source: str
    last_day: date = LAST_DAY
    """Last day that is covered."""


def weekdays() -> Iterator[date]:
    """Monday to Friday, over the covered span."""
    day = FIRST_DAY
    while day <= LAST_DAY:
        if day.weekday() < _SATURDAY:
            yield day
        day += timedelta(days=1)


def quantlib_days(*calendars: ql.Calendar) -> set[date]:
    """Weekdays on which at least one of the calendars is closed."""
    return {
        day
        for day in weekdays()
        if any(calendar.isHoliday(ql.Date(day.day, day.month, day.year)) for calendar in calendars)
    }


def _named(days: Iterable[date], *names: holidays.HolidayBase) -> dict[date, str]:
    """Name each day by the first list that knows it; fails if none does."""
    return {day: next(found for known in names if (found := known.get(day)) is not None) for day in sorted(days)}


def _target() -> ClosedDays:
    names = holidays.financial_holidays("XECB", years=_YEARS)
    return ClosedDays(_named(quantlib_days(ql.TARGET()), names), "T2 and T2S closing days (ECB); QuantLib TARGET")


def _united_states_settlement() -> ClosedDays:
    closed = quantlib_days(ql.UnitedStates(ql.UnitedStates.NYSE), ql.UnitedStates(ql.UnitedStates.FederalReserve))
    names = (holidays.financial_holidays("XNYS", years=_YEARS), holidays.financial_holidays("XFED", years=_YEARS))
    source = (
        "No settlement when exchanges or banks are closed (FINRA NTM 95-77, 99-83); QuantLib NYSE and FederalReserve"
    )
    return ClosedDays(_named(closed - EXCHANGE_ONLY_US, *names), source)


def _dollar() -> ClosedDays:
    names = holidays.financial_holidays("XFED", years=_YEARS)
    closed = quantlib_days(ql.UnitedStates(ql.UnitedStates.FederalReserve))
    return ClosedDays(_named(closed, names), "Fedwire holiday schedule; QuantLib FederalReserve")


def _united_kingdom() -> ClosedDays:
    names = holidays.country_holidays("GB", subdiv="ENG", years=_YEARS, language="en_GB")
    closed = quantlib_days(ql.UnitedKingdom(ql.UnitedKingdom.Settlement))
    return ClosedDays(
        _named(closed, names), "Bank holidays of England and Wales (CREST, CHAPS); QuantLib UnitedKingdom"
    )


def _switzerland() -> ClosedDays:
    names = holidays.financial_holidays("XSWX", years=_YEARS)
    return ClosedDays(
        _named(quantlib_days(ql.Switzerland()), names), "Zurich bank holidays (SIC); QuantLib Switzerland"
    )


def _japan() -> ClosedDays:
    names = holidays.country_holidays("JP", years=_YEARS, categories=("public", "bank"), language="en_US")
    return ClosedDays(_named(quantlib_days(ql.Japan()), names), "Bank holidays (JASDEC, BOJ-NET); QuantLib Japan")


def _hong_kong() -> ClosedDays:
    exchange = holidays.financial_holidays("XHKG", years=_YEARS, language="en_US")
    closed = {day for day in weekdays() if day in exchange} - WEATHER_HK
    return ClosedDays(_named(closed, exchange), "General holidays (CCASS, CHATS); holidays XHKG")


def _canada() -> ClosedDays:
    categories = ("public", "government", "optional")
    names = holidays.country_holidays("CA", subdiv="ON", years=_YEARS, categories=categories, language="en_CA")
    closed = quantlib_days(ql.Canada(ql.Canada.Settlement))
    return ClosedDays(_named(closed, names), "Ontario bank holidays (CDS, Lynx); QuantLib Canada Settlement")


def _mexico() -> ClosedDays:
    names = holidays.financial_holidays("XMEX", years=_YEARS, language="en_US")
    return ClosedDays(
        _named(quantlib_days(ql.Mexico()), names),
        "Days on which Mexican banks close, by the CNBV (Indeval, SPEI); QuantLib Mexico",
    )


def _australia() -> ClosedDays:
    names = holidays.financial_holidays("XASX", years=_YEARS, language="en_US")
    return ClosedDays(
        _named(quantlib_days(ql.Australia(ql.Australia.ASX)), names),
        "National holidays (CHESS, RITS), without those of single states; QuantLib Australia ASX",
    )


def _singapore() -> ClosedDays:
    """Proclaimed year by year."""
    last_day = date(2027, 12, 31)
    names = holidays.financial_holidays("XSES", years=range(FIRST_DAY.year, last_day.year + 1), language="en_US")
    closed = {day for day in quantlib_days(ql.Singapore()) if day <= last_day} - WRONG_SG
    source = "Public holidays, Ministry of Manpower (CDP, MEPS+); QuantLib Singapore"
    return ClosedDays(_named(closed, names), source, last_day)


def _china() -> ClosedDays:
    """Arranged by the State Council each November for the year that follows."""
    last_day = date(2026, 12, 31)
    names = holidays.financial_holidays("XSHG", years=range(FIRST_DAY.year, last_day.year + 1), language="en_US")
    closed = {day for day in quantlib_days(ql.China(ql.China.SSE)) if day <= last_day}
    source = "Holidays of the Shanghai exchange (ChinaClear), set by the State Council; QuantLib China SSE"
    return ClosedDays(_named(closed, names), source, last_day)


# Depositories of these markets settle on T2S and keep its closing days; exchanges close on further days, which do not
# matter. Euroclear Bank, where Irish shares settle, is open on some of them, but euro payments are not.
_T2S_MARKETS = ("AT", "BE", "DE", "ES", "FI", "FR", "IE", "IT", "LU", "NL", "PT")


def calendars() -> dict[str, ClosedDays]:
    """Every shipped calendar by name, sorted by name."""
    target = _target()
    found = {f"SETTLEMENT:{market}": target for market in _T2S_MARKETS} | {
        "SETTLEMENT:US": _united_states_settlement(),
        "CURRENCY:EUR": target,
        "CURRENCY:USD": _dollar(),
    }
    both = {
        ("AU", "AUD"): _australia,
        ("CA", "CAD"): _canada,
        ("CH", "CHF"): _switzerland,
        ("CN", "CNY"): _china,
        ("GB", "GBP"): _united_kingdom,
        ("HK", "HKD"): _hong_kong,
        ("JP", "JPY"): _japan,
        ("MX", "MXN"): _mexico,
        ("SG", "SGD"): _singapore,
    }
    for (market, currency), days in both.items():
        found[f"SETTLEMENT:{market}"] = found[f"CURRENCY:{currency}"] = days()
    return dict(sorted(found.items()))


TIME_ZONES = ("America/New_York",)
"""Zones of the shipped affirmation deadlines."""
_CLOCKS_HAVE_CHANGED = time(3)
_MINUTE = timedelta(minutes=1)


def offset_minutes(zone: str, day: date) -> int:
    """How far the zone's clocks are ahead of UTC from 03:00 of the day on."""
    offset = datetime.combine(day, _CLOCKS_HAVE_CHANGED, ZoneInfo(zone)).utcoffset()
    assert offset is not None, f"{zone} says nothing about {day}"
    return offset // _MINUTE


def _spans(zone: str) -> Iterator[tuple[date, date, int]]:
    """First day, last day and offset of each span of days with one offset."""
    begin, day = FIRST_DAY, FIRST_DAY
    while day <= LAST_DAY:
        following = day + timedelta(days=1)
        if following > LAST_DAY or offset_minutes(zone, following) != offset_minutes(zone, begin):
            yield begin, day, offset_minutes(zone, begin)
            begin = following
        day = following


_NOTICE = "# Generated by deploy/reference/generate.py; change that program, not this file."


def _csv(header: list[str], rows: Iterable[list[str]]) -> str:
    text = io.StringIO()
    text.write(_NOTICE + "\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def generate() -> dict[str, str]:
    """The text of each file by its name."""
    found = calendars()
    holiday_rows = (
        [name, day.isoformat(), label, closed.source]
        for name, closed in found.items()
        for day, label in closed.days.items()
    )
    coverage_rows = (
        [name, FIRST_DAY.isoformat(), closed.last_day.isoformat(), closed.source] for name, closed in found.items()
    )
    zone_rows = (
        [zone, str(minutes), begin.isoformat(), end.isoformat(), "IANA time zone database"]
        for zone in TIME_ZONES
        for begin, end, minutes in _spans(zone)
    )
    return {
        "holidays.csv": _csv(["calendar", "day", "name", "source"], holiday_rows),
        "calendar-coverages.csv": _csv(["calendar", "first_day", "last_day", "source"], coverage_rows),
        "time-zone-offsets.csv": _csv(["time_zone", "offset_minutes", "valid_from", "valid_to", "source"], zone_rows),
    }


def main() -> None:
    """Write the files beside this program."""
    for name, text in generate().items():
        (Path(__file__).parent / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
