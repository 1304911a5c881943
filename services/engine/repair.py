"""A repair: somebody tells a service what becomes of a dead letter, on `repairs.<service>`.

A repair record has key, value and headers of the source, byte for byte, lies in the partition number of the source, and
has these headers behind the original ones (the last of a name counts):

- `repair.id`: unique; the outcome is found by it.
- `repair.action`: REPLAY or DISCARD.
- `repair.of`: the source, `topic/partition/offset`.
- `repair.topic`: the topic of the source, under which the value is read.
- `repair.by`, `repair.reason`, `repair.at`: who, why, when (ISO 8601); carried on as they are.
- `repair.changed`: only with a value that is not the original one: the SHA-256 of the new one, in hex.

The engine takes it between the other records of its partition, in the order of offsets, and says what it did on
`dead-letters.resolved`, in the same transaction: key `service/topic/partition/offset` of the source, value a JSON
object with `id`, `of` (as the key), `action`, `outcome`, `by`, `reason`, `at`. A repair changes something at most once:
one that is written twice, or after another, finds its record gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from services.engine.dead_letters import CHANGED, source_id
from services.engine.log import Headers, LogRecord, OutgoingRecord
from services.engine.quarantine import digest

RESOLVED_TOPIC = "dead-letters.resolved"
HEADER_BYTES_MAX = 1_000
_ENCODER = msgspec.json.Encoder()


class Action(StrEnum):
    """What is wanted."""

    REPLAY = "REPLAY"
    """Process it now."""
    DISCARD = "DISCARD"
    """Never process it."""


class RepairOutcome(StrEnum):
    """What became of a repair."""

    REPLAYED = "REPLAYED"
    DISCARDED = "DISCARDED"
    FAILED_AGAIN = "FAILED_AGAIN"
    """Processed and put aside once more; it waits as before."""
    REFUSED_OUT_OF_ORDER = "REFUSED_OUT_OF_ORDER"
    """An earlier record of the key waits; nothing was done."""
    REFUSED_MALFORMED = "REFUSED_MALFORMED"
    """The repair contradicts itself or what waits; nothing was done."""
    ALREADY_RESOLVED = "ALREADY_RESOLVED"
    """The record does not wait any more; nothing was done."""


class Resolution(msgspec.Struct, frozen=True, kw_only=True):
    """The value of a record on `dead-letters.resolved`."""

    id: str
    of: str
    action: str
    outcome: RepairOutcome
    by: str
    reason: str
    at: str


class RepairMalformed(ValueError):
    """Not a repair, or not one of this partition. The text says what was wrong, without payload."""


@dataclass(frozen=True)
class Repair:
    """A repair record, understood."""

    action: Action
    source: LogRecord
    """The record as it lay in its topic, but for a changed value; its timestamp is the repair's."""
    changed: str | None

    def value_is(self, value_sha256: str | None) -> bool:
        """Whether the value is the original one, or the one the repair says it is."""
        found = digest(self.source.value)
        return found == (value_sha256 if self.changed is None else self.changed)


def repairs_topic(service: str) -> str:
    """The topic on which a service takes repairs; one of its inputs."""
    return f"repairs.{service}"


def parse_repair(record: LogRecord) -> Repair:
    """Understand a record of a repairs topic. Raises RepairMalformed."""
    action = _header(record, "repair.action")
    if action not in Action.__members__:
        raise RepairMalformed("repair.action was neither REPLAY nor DISCARD")
    topic, partition, offset = _place(_header(record, "repair.of"))
    if partition != record.partition:
        raise RepairMalformed("the repair lay in another partition than its source")
    if _header(record, "repair.topic") != topic:
        raise RepairMalformed("repair.topic was not the topic of repair.of")
    source = LogRecord(
        topic, partition, offset, record.key, record.value, record.timestamp_ms, _original(record.headers)
    )
    changed = dict(record.headers).get(CHANGED)
    return Repair(Action(action), source, None if changed is None else changed.decode(errors="replace"))


def _place(text: str) -> tuple[str, int, int]:
    topic, _, rest = text.partition("/")
    partition, _, offset = rest.partition("/")
    if not topic or not (partition.isdecimal() and offset.isdecimal()):
        raise RepairMalformed("repair.of was not topic/partition/offset")
    return topic, int(partition), int(offset)


def _header(record: LogRecord, name: str) -> str:
    """Cut, because it is written on: nobody may make a record that no broker takes, and so stop the service."""
    return (dict(record.headers).get(name) or b"")[:HEADER_BYTES_MAX].decode(errors="replace")


def _original(headers: Headers) -> Headers:
    names = [name for name, _ in headers]
    return headers[: len(names) - 1 - names[::-1].index("repair.id")] if "repair.id" in names else headers


def repair_record(
    *, service: str, source: LogRecord, action: Action, repair_id: str, by: str, reason: str, at: str, changed: bool
) -> OutgoingRecord:
    """The repair of a source, to be written with the value the source is given here."""
    added = {
        "repair.id": repair_id,
        "repair.action": action.value,
        "repair.of": f"{source.topic}/{source.partition}/{source.offset}",
        "repair.topic": source.topic,
        "repair.by": by,
        "repair.reason": reason,
        "repair.at": at,
    }
    if changed:
        added[CHANGED] = digest(source.value) or ""
    headers = (*source.headers, *((name, text.encode()) for name, text in added.items()))
    return OutgoingRecord(repairs_topic(service), source.key, source.value, headers, source.partition)


def resolution_record(service: str, record: LogRecord, outcome: RepairOutcome) -> OutgoingRecord:
    """What is said about a repair; also about one that could not be understood."""
    try:
        of = source_id(service, *_place(_header(record, "repair.of")))
    except RepairMalformed:
        of = ""
    resolution = Resolution(
        id=_header(record, "repair.id"),
        of=of,
        action=_header(record, "repair.action"),
        outcome=outcome,
        by=_header(record, "repair.by"),
        reason=_header(record, "repair.reason"),
        at=_header(record, "repair.at"),
    )
    return OutgoingRecord(RESOLVED_TOPIC, of.encode(), _ENCODER.encode(resolution))
