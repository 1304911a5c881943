"""The sample day: its files, what of them is still to be sent, and what must come out.

The day has two phases: the day itself, then what arrives late: reference data that was missing, confirmations that were
waited for, and changes of what was settled.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.local.kafka_jars import REPOSITORY
from services.adapters.topic_codec import FormatCodec
from services.commands.reference import outgoing_row, read_directories
from services.commands.scan import read_all
from services.commands.send import send_records
from services.commands.send_files import (
    ALLOCATIONS,
    CONFIRMATIONS,
    EXECUTIONS,
    FIX_TOPIC,
    EventFile,
    read_events,
    read_fix,
)
from services.commands.summary import Summary
from services.domain.reason import Reason
from services.engine.log import Log, OutgoingRecord
from services.pipeline import REFERENCE_TOPICS, SERVICES

SHIPPED_REFERENCE = REPOSITORY / "deploy" / "reference"
DATA = REPOSITORY / "deploy" / "sample_day" / "data"

PROMISED = ("executions", "allocations", "confirmations", "instructions", "exceptions", "dead_letters")
"""What expected.json promises, under the names of `Summary`."""

PIPELINE = tuple((service.name, service.inputs) for service in SERVICES)
"""Names and inputs of the services, in pipeline order."""

WATCHED = (
    "trades.captured",
    "trades.enriched",
    "trades.allocated",
    "trades.confirmed",
    "settlement.instructions",
    "exceptions",
    "dead-letters",
)
"""Topics whose growth is shown while the service works."""

OVERDUE_REASONS = frozenset(
    {
        Reason.BLOCK_UNALLOCATED,
        Reason.UNCONFIRMED,
        Reason.UNMATCHED_CONFIRMATION,
        Reason.INSTRUCTION_CANCELLED_LATE,
    }
)
"""Exceptions that come by the clock alone: whoever looks later sees more of them."""

INPUT_TOPICS = (EXECUTIONS.topic, FIX_TOPIC, ALLOCATIONS.topic, CONFIRMATIONS.topic)


@dataclass(frozen=True)
class Phase:
    """What is sent at one time: reference data first, then the files in this order."""

    name: str
    reference: tuple[Path, ...]
    files: tuple[tuple[Path, EventFile | None], ...]
    """Each file with its kind; None: FIX messages."""


def phases(data: Path = DATA) -> tuple[Phase, Phase]:
    """The day itself and what arrives late."""
    day = Phase(
        "the day",
        (SHIPPED_REFERENCE, data / "reference"),
        (
            (data / "executions.jsonl", EXECUTIONS),
            (data / "executions.fix", None),
            (data / "allocations.jsonl", ALLOCATIONS),
            (data / "confirmations.jsonl", CONFIRMATIONS),
        ),
    )
    arriving = data / "late"
    files = tuple((arriving / path.name, kind) for path, kind in day.files if (arriving / path.name).exists())
    return day, Phase("what arrives late", (arriving / "reference",), files)


class SampleDay:
    """The day against one log: knows what of it lies there already."""

    def __init__(self, log: Log, codec: FormatCodec, data: Path = DATA) -> None:
        """Read all files and what the log holds. Raises BadRequest when a file is missing or wrong."""
        self._log = log
        self.day, self.late = phases(data)
        self._reference = {phase.name: _reference_records(phase, codec) for phase in (self.day, self.late)}
        self._events = {phase.name: _event_records(phase, codec) for phase in (self.day, self.late)}
        self._present = Counter((r.topic, r.key, r.value) for r in read_all(log, INPUT_TOPICS))
        self._rows_present = {(r.topic, r.key, r.value) for r in read_all(log, REFERENCE_TOPICS)}
        self.promised = promised(data)
        """What must come out."""
        self.found_count = self._present.total()
        """Records on the input topics at the start."""

    def send_reference(self, phase: Phase, say: Callable[[str], None]) -> None:
        """Send the rows of reference data that are not in the log yet."""
        rows = [row for row in self._reference[phase.name] if _identity(row) not in self._rows_present]
        send_records(self._log, rows)
        say(f"{len(rows):,} rows of reference data")

    def send_files(self, phase: Phase, say: Callable[[str], None]) -> None:
        """Send what is not in the log yet, in the order of the files.

        Records are recognised by topic, key and value, and counted: a record that a file holds twice is sent twice.
        So a run that was cut off while it sent is completed and nothing is sent again. Phases go in their order.
        """
        for name, records in self._events[phase.name].items():
            unsent = self._not_present(records)
            send_records(self._log, unsent)
            say(f"{len(unsent):,} of {len(records):,} records of {name}")

    def _not_present(self, records: Sequence[OutgoingRecord]) -> list[OutgoingRecord]:
        unsent = []
        for record in records:
            identity = _identity(record)
            if self._present[identity] > 0:
                self._present[identity] -= 1
            else:
                unsent.append(record)
        return unsent

    @property
    def strangers(self) -> int:
        """Records on the input topics at the start that are not of this day; right once both phases were sent."""
        return self._present.total()


def _identity(record: OutgoingRecord) -> tuple[str, bytes | None, bytes | None]:
    return record.topic, record.key, record.value


def _reference_records(phase: Phase, codec: FormatCodec) -> list[OutgoingRecord]:
    rows = read_directories(phase.reference).values()
    return [outgoing_row(row, codec) for found in rows for row in found]


def _event_records(phase: Phase, codec: FormatCodec) -> dict[str, list[OutgoingRecord]]:
    records: dict[str, list[OutgoingRecord]] = {}
    for path, kind in phase.files:
        data = path.read_bytes()
        records[path.name] = list(read_fix(data)) if kind is None else read_events(str(path), data, kind, codec)
    return records


def promised(data: Path = DATA) -> dict[str, int]:
    """What must come out of the day."""
    numbers: dict[str, Any] = json.loads((data / "expected.json").read_text(encoding="utf-8"))
    return {name: numbers[name] for name in PROMISED}


def outcome(summary: Summary) -> dict[str, int]:
    """What came out, under the same names."""
    return {name: getattr(summary, name) for name in PROMISED}


def overdue(summary: Summary) -> int:
    """Open exceptions that came by the clock."""
    return sum(count for reason, count in summary.exceptions_by_reason.items() if reason in OVERDUE_REASONS)


def differences(summary: Summary, promised: Mapping[str, int]) -> list[str]:
    """One sentence for each number that is not as promised; what came by the clock alone is no difference."""
    found = outcome(summary)
    found["exceptions"] -= overdue(summary)
    wrong = [
        f"{name} was {found[name]:,}, expected {count:,}" for name, count in promised.items() if found[name] != count
    ]
    if summary.repeated_instructions:
        wrong.append(f"{summary.repeated_instructions:,} instructions were written twice")
    return wrong


def counts_line(counts: Mapping[str, int]) -> str:
    """The counts of `WATCHED` in one line."""
    return "  ".join(f"{name.rpartition('.')[2]} {count:,}" for name, count in counts.items())
