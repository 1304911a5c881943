"""When the deadlines of confirmation are on a trade date, in the time of the log.

Time zones are reference data (TimeZoneOffset, generated from the IANA database and compared with it by a test): reading
the database of the machine would be I/O, and two workers with other versions of it would say different things about the
same trade. Clocks are changed in the night, so by 03:00 a day has the offset that it keeps; no deadline is earlier.
"""

from __future__ import annotations

from datetime import date

from services.domain.code import AffirmationStep, InstrumentType
from services.domain.record import Record
from services.domain.reference import AffirmationDeadline, ReferenceData, TimeZoneOffset

_MINUTE_US = 60_000_000
_DAY_US = 24 * 60 * _MINUTE_US
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()


class DeadlineTimes(Record, kw_only=True):
    """One deadline on one day."""

    warning_at_us: int
    """When the desk is told that it is near, microseconds since the epoch."""
    due_at_us: int
    """The deadline, microseconds since the epoch."""
    local: str
    """The deadline for people: time of day and time zone."""


def deadline_times(
    reference: ReferenceData, *, step: AffirmationStep, market: str, instrument_type: InstrumentType, trade_date: date
) -> DeadlineTimes | None:
    """The deadline for a step on the trade date; None where there is none, or where its time zone is not known."""
    if not reference.derived(_has_any, market):  # most markets: keys of enums take longer to hash than this to ask
        return None
    return reference.derived(_deadline_times, step, market, instrument_type, trade_date)


def _has_any(reference: ReferenceData, market: str) -> bool:
    return any(row.settlement_market == market for row in reference.all(AffirmationDeadline))


def _deadline_times(
    reference: ReferenceData, step: AffirmationStep, market: str, instrument_type: InstrumentType, trade_date: date
) -> DeadlineTimes | None:
    rows = [row for row in reference.find_all(AffirmationDeadline, market, on=trade_date) if row.step is step]
    for wanted in (instrument_type, None):
        row = next((row for row in rows if row.instrument_type is wanted), None)
        if row is not None:
            return _times(reference, row, trade_date)
    return None


def _times(reference: ReferenceData, row: AffirmationDeadline, day: date) -> DeadlineTimes | None:
    zone = reference.find(TimeZoneOffset, row.time_zone, on=day)
    if zone is None:
        return None
    due_at_us = instant_us(day, row.local_time, offset_minutes=zone.offset_minutes)
    return DeadlineTimes(
        warning_at_us=due_at_us - row.warning_minutes * _MINUTE_US,
        due_at_us=due_at_us,
        local=f"{row.local_time} {row.time_zone}",
    )


def instant_us(day: date, local_time: str, *, offset_minutes: int) -> int:
    """The moment at which clocks that are ahead of UTC by so many minutes show the time (HH:MM) on the day."""
    hours, minutes = local_time.split(":")
    since_midnight = int(hours) * 60 + int(minutes) - offset_minutes
    return (day.toordinal() - _EPOCH_ORDINAL) * _DAY_US + since_midnight * _MINUTE_US
