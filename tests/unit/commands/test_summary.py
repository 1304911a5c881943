"""The numbers that `make run` ends with."""

from __future__ import annotations

import json

import pytest

from services.commands.summary import percentile, summarise, summarise_records, table
from services.domain.code import ExceptionStatus
from services.domain.event import ExceptionEvent
from services.engine.log import LogRecord
from services.settlement.rules import instruction_for
from tests import samples
from tests.support import mini_day
from tests.unit.commands.support import MemoryCluster, run


def test_a_day_is_counted_as_it_was_made(processed: MemoryCluster) -> None:
    """Every number of the small day, counted by hand."""
    summary = summarise(processed.memory, processed.codec)
    assert {name: getattr(summary, name) for name in mini_day.PROMISED} == mini_day.PROMISED
    assert (summary.duplicates, summary.captured, summary.enriched) == (1, 6, 5)
    assert summary.exceptions_by_reason == {"INSTRUMENT_MISSING": 1}
    assert (summary.exceptions_closed, summary.repeated_instructions) == (1, 0)
    assert (summary.unallocated_orders, summary.unconfirmed_allocations, summary.unmatched_confirmations) == (0, 0, 0)


def test_table_and_json_say_the_same(processed: MemoryCluster) -> None:
    """People and programs look at the same numbers."""
    shown = json.loads(run("summary --json", processed).stdout)
    lines = [line.split() for line in run("summary", processed).stdout.splitlines()]
    numbers = {words[0]: words[1] for words in lines if len(words) > 1}
    for name in ("executions", "captured", "allocations", "confirmations", "instructions", "exceptions"):
        assert numbers[name] == str(shown[name])


def _record(cluster: MemoryCluster, topic: str, event: object, offset: int, timestamp_ms: int = 0) -> LogRecord:
    value = cluster.codec.encode(topic, event)  # type: ignore[arg-type]
    return LogRecord(topic, 0, offset, b"k", value, timestamp_ms)


def _exception(status: ExceptionStatus) -> ExceptionEvent:
    return ExceptionEvent(
        exception_id="EX1", status=status, service="capture", reason="UNCONFIRMED", subject_id="S", message="m",
        details={}, raised_at_us=0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("statuses", "still_open", "closed"),
    [("O", 1, 0), ("OC", 0, 1), ("OCO", 1, 0), ("OO", 1, 0)],
)
def test_the_latest_status_of_an_exception_counts(statuses: str, still_open: int, closed: int) -> None:
    """Closed and opened again is open; opened twice is one."""
    cluster = MemoryCluster()
    status = {"O": ExceptionStatus.OPEN, "C": ExceptionStatus.CLOSED}
    records = [_record(cluster, "exceptions", _exception(status[s]), n) for n, s in enumerate(statuses)]
    summary = summarise_records(records, cluster.codec)
    assert (summary.exceptions, summary.exceptions_closed) == (still_open, closed)


def test_an_instruction_written_twice_is_shouted_about() -> None:
    """The one number that must be 0, and is not hidden in a distinct count."""
    cluster = MemoryCluster()
    event = instruction_for(samples.confirmed_trade())
    twice = [_record(cluster, "settlement.instructions", event, offset) for offset in range(2)]
    summary = summarise_records(twice, cluster.codec)
    assert (summary.instructions, summary.repeated_instructions) == (1, 1)
    assert "INSTRUCTED TWICE" in table(summary)


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [([], 50, None), ([7], 99, 7), ([3, 1, 2], 50, 2), (list(range(1, 101)), 99, 99), (list(range(1, 102)), 99, 100)],
)
def test_percentiles_are_values_that_occurred(values: list[int], percent: int, expected: int | None) -> None:
    """Nearest rank: no average of two instructions that never took that long."""
    assert percentile(values, percent) == expected
