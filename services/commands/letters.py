"""Dead letters as a person looks at them: one case for each source, with what was said and done about it since."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from services.commands.scan import read_all
from services.commands.shown import text_or_bytes
from services.engine.dead_letters import ATTEMPT, CHANGED, OMITTED, QUARANTINE, TOPIC, original_headers, source_id
from services.engine.log import Log, LogRecord
from services.engine.repair import RESOLVED_TOPIC, RepairOutcome, Resolution

_FINAL = (RepairOutcome.REPLAYED, RepairOutcome.DISCARDED)
_DECODER = msgspec.json.Decoder(Resolution)


@dataclass
class Case:
    """One source that became a dead letter. Letters without a key lie in any partition, so in any order here."""

    id: str
    """service/topic/partition/offset"""
    letters: list[LogRecord] = field(default_factory=list)
    resolutions: list[Resolution] = field(default_factory=list)

    @property
    def last(self) -> LogRecord:
        """The letter that tells why it waits."""
        return max(self.letters, key=_attempt)

    @property
    def service(self) -> str:
        """The service that could not handle it."""
        return header(self.last, "err.stage")

    @property
    def error_class(self) -> str:
        """Why it waits."""
        return header(self.last, "err.class")

    @property
    def key(self) -> str:
        """The key as text, `-` when there is none."""
        shown = text_or_bytes(self.last.key)
        return shown if isinstance(shown, str) else "-" if shown is None else repr(self.last.key)

    @property
    def line(self) -> tuple[str, str, str]:
        """What waits in one line: service, partition and name of the quarantine."""
        return self.service, header(self.last, "src.partition"), header(self.last, QUARANTINE) or self.id

    @property
    def final(self) -> Resolution | None:
        """What ended the wait; None while it waits."""
        return next((resolution for resolution in self.resolutions if resolution.outcome in _FINAL), None)

    @property
    def is_open(self) -> bool:
        """Whether it still waits."""
        return self.final is None

    @property
    def attempts(self) -> list[LogRecord]:
        """The letters in the order in which they came about."""
        return sorted(self.letters, key=_attempt)

    @property
    def omitted(self) -> str | None:
        """Where the record lies whole, and how large it is; None when the letter holds it."""
        first = self.attempts[0]
        if not _has_added(first, OMITTED):
            return None
        place = "/".join(header(first, name) for name in ("src.topic", "src.partition", "src.offset"))
        return f"{place}, {header(first, OMITTED)} bytes"

    @property
    def source(self) -> LogRecord:
        """The record as it lay in its topic: a letter of a repair that failed may hold a changed value."""
        first = next((letter for letter in self.attempts if not _is_changed(letter)), self.letters[0])
        return LogRecord(
            header(first, "src.topic"),
            int(header(first, "src.partition")),
            int(header(first, "src.offset")),
            first.key,
            first.value,
            int(header(first, "src.timestamp")),
            original_headers(first.headers),
        )


def _attempt(letter: LogRecord) -> int:
    return int(header(letter, ATTEMPT) or 1)


def _is_changed(letter: LogRecord) -> bool:
    """Whether the value is that of a repair."""
    return _has_added(letter, CHANGED)


def _has_added(letter: LogRecord, wanted: str) -> bool:
    """Whether the engine has added a header; the source may have had one of that name itself."""
    added = letter.headers[len(original_headers(letter.headers)) :]
    return any(name == wanted for name, _ in added)


def header(record: LogRecord, name: str) -> str:
    """A header as text, empty when there is none; the last one of a name counts."""
    return (dict(record.headers).get(name) or b"").decode(errors="replace")


def read_cases(log: Log) -> list[Case]:
    """Every case, in the order in which the letters were written. Raises LogError."""
    return collect(read_all(log, (TOPIC, RESOLVED_TOPIC)))


def collect(records: Iterable[LogRecord]) -> list[Case]:
    """The same from records of both topics, each partition in the order of its offsets.

    Records that no service has written are passed over: one of them must not hide all others.
    """
    cases: dict[str, Case] = {}
    resolutions: list[Resolution] = []
    for record in records:
        try:
            if record.topic == TOPIC:
                found = letter_id(record)
                cases.setdefault(found, Case(found)).letters.append(record)
            elif record.value is not None:
                resolutions.append(_DECODER.decode(record.value))
        except (ValueError, msgspec.DecodeError):  # `posttrade verify` names it; nobody can decide about it
            continue
    for resolution in resolutions:
        if resolution.of in cases:
            cases[resolution.of].resolutions.append(resolution)
    # All letters of one key lie in one partition of the topic, so their offsets are the order in which they wait.
    return sorted(cases.values(), key=lambda case: (case.letters[0].partition, case.letters[0].offset))


def letter_id(letter: LogRecord) -> str:
    """The id of a dead letter's source."""
    parts = (header(letter, name) for name in ("err.stage", "src.topic", "src.partition", "src.offset"))
    service, topic, partition, offset = parts
    return source_id(service, topic, int(partition), int(offset))
