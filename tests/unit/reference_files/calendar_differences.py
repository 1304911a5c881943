"""The one list of days on which a shipped calendar differs from its second source, each with the reason.

A day that differs and is not in this list fails the test, and so does a day in it that differs no more.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import NamedTuple

YEARS = range(2024, 2031)


class Difference(NamedTuple):
    """Weekdays on which the second source says something else than the shipped calendar."""

    calendars: tuple[str, ...]
    is_closed: bool
    """What the shipped calendar says."""
    days: frozenset[date]
    reason: str


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


def _weekdays(*days: date) -> frozenset[date]:
    return frozenset(day for day in days if day.weekday() < 5)


DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        ("SETTLEMENT:US",), False, frozenset({date(2025, 1, 9)}),
        "Day of mourning: the exchanges were closed, DTC and the Federal Reserve open, and trades settled.",
    ),
    Difference(
        ("SETTLEMENT:CH", "CURRENCY:CHF"), False,
        _weekdays(*(date(year, 12, day) for year in YEARS for day in (24, 31))),
        "The exchange does not trade on 24 and 31 December; the depository (SIX SIS) and the banks (SIC) work.",
    ),
    Difference(
        ("SETTLEMENT:CA", "CURRENCY:CAD"), False, frozenset(easter_sunday(year) + timedelta(days=1) for year in YEARS),
        "Easter Monday is a day off for the federal administration; banks and CDS work.",
    ),
    Difference(
        ("SETTLEMENT:HK", "CURRENCY:HKD"), True, frozenset({date(2029, 9, 24)}),
        "Mid-Autumn 2029 is a Saturday and the holiday after it a Sunday, so Monday is off, as 2022-09-12 was.",
    ),
)  # fmt: skip
"""What a reader has to believe; everything else agrees."""


def differing(calendar: str, *, is_closed: bool) -> frozenset[date]:
    """The listed days of a calendar that are closed only in the shipped data, or only in the second source."""
    found = (one.days for one in DIFFERENCES if calendar in one.calendars and one.is_closed is is_closed)
    return frozenset().union(*found)
