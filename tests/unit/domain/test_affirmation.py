"""Deadlines on trade date: the moment is right on every day, over both changes of the clock."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.adapters.reference_files import load_directory
from services.domain.affirmation import deadline_times, instant_us
from services.domain.code import AffirmationStep, InstrumentType
from services.domain.reference import AffirmationDeadline, ReferenceData, TimeZoneOffset

NEW_YORK = ZoneInfo("America/New_York")
SHIPPED = [
    row
    for row in load_directory(Path(__file__).parents[3] / "deploy" / "reference")
    if isinstance(row, AffirmationDeadline | TimeZoneOffset)
]
FIRST, LAST = date(2024, 5, 28), date(2030, 12, 31)


def _reference(*rows: AffirmationDeadline | TimeZoneOffset) -> ReferenceData:
    reference = ReferenceData()
    for row in rows or SHIPPED:
        reference.put(row)
    return reference


REFERENCE = _reference()


def _due(
    day: date, *, step: AffirmationStep = AffirmationStep.AFFIRM, kind: InstrumentType = InstrumentType.EQUITY
) -> datetime | None:
    times = deadline_times(REFERENCE, step=step, market="US", instrument_type=kind, trade_date=day)
    return None if times is None else datetime.fromtimestamp(times.due_at_us / 1_000_000, UTC)


@pytest.mark.parametrize(
    ("day", "utc"),
    [
        (date(2026, 3, 6), "2026-03-07T02:00:00+00:00"),  # the Friday before clocks go forward
        (date(2026, 3, 8), "2026-03-09T01:00:00+00:00"),  # the Sunday on which they do
        (date(2026, 3, 9), "2026-03-10T01:00:00+00:00"),
        (date(2026, 10, 30), "2026-10-31T01:00:00+00:00"),
        (date(2026, 11, 1), "2026-11-02T02:00:00+00:00"),  # the Sunday on which they go back
        (date(2026, 11, 2), "2026-11-03T02:00:00+00:00"),
    ],
)
def test_both_changes_of_the_clock(day: date, utc: str) -> None:
    """21:00 in New York is another hour of UTC in summer than in winter."""
    found = _due(day)
    assert found is not None
    assert found.isoformat() == utc


@settings(max_examples=400, deadline=None)
@given(day=st.dates(FIRST, LAST), step=st.sampled_from(list(AffirmationStep)))
def test_every_day_agrees_with_the_time_zone_database(day: date, step: AffirmationStep) -> None:
    """The shipped offsets are a table; the machine's database is the second source."""
    hour = 19 if step is AffirmationStep.ALLOCATE else 21
    assert _due(day, step=step) == datetime(day.year, day.month, day.day, hour, tzinfo=NEW_YORK).astimezone(UTC)


def test_only_where_and_since_there_is_one() -> None:
    """Government bonds settled the next day long before, and before 28 May 2024 shares had two days."""
    assert _due(FIRST) is not None
    assert _due(FIRST - timedelta(days=1)) is None
    assert _due(FIRST, kind=InstrumentType.GOVERNMENT_BOND) is None
    found = deadline_times(
        REFERENCE,
        step=AffirmationStep.AFFIRM,
        market="DE",
        instrument_type=InstrumentType.EQUITY,
        trade_date=FIRST,
    )
    assert found is None


def test_the_warning_comes_before_and_is_data() -> None:
    """How long before is for each desk to say."""
    row = AffirmationDeadline(
        settlement_market="US",
        step=AffirmationStep.AFFIRM,
        local_time="21:00",
        time_zone="America/New_York",
        warning_minutes=45,
    )
    times = deadline_times(
        _reference(row, TimeZoneOffset(time_zone="America/New_York", offset_minutes=-300)),
        step=AffirmationStep.AFFIRM,
        market="US",
        instrument_type=InstrumentType.ETF,
        trade_date=date(2026, 1, 5),
    )
    assert times is not None
    assert times.due_at_us - times.warning_at_us == 45 * 60_000_000
    assert times.local == "21:00 America/New_York"


def test_without_its_time_zone_a_deadline_is_not_known() -> None:
    """A guess would warn at a wrong hour."""
    row = next(row for row in SHIPPED if isinstance(row, AffirmationDeadline))
    found = deadline_times(
        _reference(row),
        step=row.step,
        market="US",
        instrument_type=InstrumentType.EQUITY,
        trade_date=date(2026, 1, 5),
    )
    assert found is None


@settings(max_examples=200, deadline=None)
@given(
    day=st.dates(date(1970, 1, 2), date(2100, 1, 1)),
    minute=st.integers(180, 1439),
    offset=st.integers(-720, 840),
)
def test_the_arithmetic_of_moments(day: date, minute: int, offset: int) -> None:
    """Against datetime, for any zone that there is."""
    local = f"{minute // 60:02d}:{minute % 60:02d}"
    expected = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(minutes=minute - offset)
    assert instant_us(day, local, offset_minutes=offset) == int(expected.timestamp()) * 1_000_000


def test_the_shipped_zones_have_no_gap() -> None:
    """A day without an offset would be a day without a deadline."""
    rows = sorted((row for row in SHIPPED if isinstance(row, TimeZoneOffset)), key=lambda row: row.valid_from)
    assert (rows[0].valid_from <= FIRST, rows[-1].valid_to) == (True, LAST)
    for one, following in pairwise(rows):
        assert one.valid_to is not None
        assert following.valid_from - one.valid_to == timedelta(days=1)
