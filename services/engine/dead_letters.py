"""What could not be read or processed goes to `dead-letters`: byte for byte, with the reason in headers.

Headers added, after the original ones and beginning with `err.class`: `err.class` (see `ERROR_CLASSES`), `err.stage`,
`err.message` (one sentence, no payload), `err.fingerprint` (same trouble, same fingerprint), `src.topic`,
`src.partition`, `src.offset`, `src.timestamp` (when it was first seen), `src.schema` (fingerprint of the writer's Avro
schema, only where the value names one), `app.version`, `attempt` (how often it was processed), `quarantine` (the name
under which it waits, see `services.engine.quarantine`), and `repair.changed` where the value is not the original one
but that of a repair which failed.

Kafka's limits are of what is sent, compressed: a record of any size comes in if its sender compresses well. One that is
too large to be written once more is named and not repeated: neither value nor headers, no key above
`quarantine.KEY_BYTES_MAX`, and `err.omitted` says how large it was. It lies whole in its own topic.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib.metadata import version

from services.engine.log import Headers, LogRecord, OutgoingRecord
from services.engine.quarantine import KEY_BYTES_MAX

TOPIC = "dead-letters"
DECODE = "DECODE"
"""The bytes could not be read."""
BUG = "BUG"
"""A reader or a rule raised."""
CRASH = "CRASH"
"""The process ended each time it was handled."""
PARKED = "PARKED"
"""Nothing is known to be wrong with it: an earlier record of its key waits, and it must not overtake it."""
ERROR_CLASSES = (DECODE, BUG, CRASH, PARKED)
MESSAGE_CHARACTERS_MAX = 500
ATTEMPT = "attempt"
QUARANTINE = "quarantine"
CHANGED = "repair.changed"
OMITTED = "err.omitted"
LETTER_BYTES_MAX = 3_000_000
"""Of key, value and headers: below `max.message.bytes` of `dead-letters` however badly they compress."""
_FIRST_ADDED = "err.class"
_VERSION = version("posttrade")
_AVRO_MARKER, _AVRO_HEADER_BYTES = b"\xc3\x01", 10
"""Single-object encoding of the Avro specification: marker, then the fingerprint, 8 bytes."""


def source_id(service: str, topic: str, partition: int, offset: int) -> str:
    """The one id of a dead letter, of its repairs and of their outcome: `service/topic/partition/offset`."""
    return f"{service}/{topic}/{partition}/{offset}"


def dead_letter(
    record: LogRecord,
    *,
    error_class: str,
    stage: str,
    message: str,
    quarantine: str,
    attempt: int = 1,
    changed: str | None = None,
) -> OutgoingRecord:
    """Wrap a record that could not be handled."""
    fingerprint = hashlib.sha256(f"{error_class}|{stage}|{record.topic}|{message}".encode()).hexdigest()[:16]
    added = {
        _FIRST_ADDED: error_class,
        "err.stage": stage,
        "err.message": message[:MESSAGE_CHARACTERS_MAX],
        "err.fingerprint": fingerprint,
        "src.topic": record.topic,
        "src.partition": str(record.partition),
        "src.offset": str(record.offset),
        "src.timestamp": str(record.timestamp_ms),
        "app.version": _VERSION,
        ATTEMPT: str(attempt),
        QUARANTINE: quarantine,
    }
    schema = _schema(record.value or b"")
    if schema is not None:
        added["src.schema"] = schema
    if changed is not None:
        added[CHANGED] = changed
    ours = tuple((name, text.encode()) for name, text in added.items())
    size = size_bytes(record.key, record.value, record.headers)
    if size + size_bytes(None, None, ours) > LETTER_BYTES_MAX:
        key = None if len(record.key or b"") > KEY_BYTES_MAX else record.key
        return OutgoingRecord(TOPIC, key, None, (*ours, (OMITTED, str(size).encode())))
    return OutgoingRecord(TOPIC, record.key, record.value, (*record.headers, *ours))


def _schema(value: bytes) -> str | None:
    if not value.startswith(_AVRO_MARKER) or len(value) < _AVRO_HEADER_BYTES:
        return None
    return value[len(_AVRO_MARKER) : _AVRO_HEADER_BYTES].hex()


def size_bytes(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Bytes of a record as it is counted here: what it says, without Kafka's own few."""
    return len(key or b"") + len(value or b"") + sum(len(name.encode()) + len(text or b"") for name, text in headers)


def commonest(letters: Iterable[OutgoingRecord]) -> str | None:
    """What most of these dead letters failed with for the first time, as half a sentence with one source.

    None when none of them failed for the first time: PARKED ones only follow, and repairs failed before.
    """
    counts: dict[tuple[str, str], list[str]] = {}
    for letter in letters:
        said = {name: (text or b"").decode(errors="replace") for name, text in letter.headers}
        if said["err.class"] != PARKED and said[ATTEMPT] == "1":
            source = f"{said['src.topic']}/{said['src.partition']}/{said['src.offset']}"
            counts.setdefault((said["err.class"], said["err.message"]), []).append(source)
    if not counts:
        return None
    (error_class, message), sources = max(counts.items(), key=lambda found: len(found[1]))
    return f"{len(sources)} of {sum(map(len, counts.values()))} by {error_class}: {message}, for example {sources[0]}"


def original_headers(letter: Headers) -> Headers:
    """The headers the record had before it became a dead letter; also those of one that had been a dead letter."""
    names = [name for name, _ in letter]
    if _FIRST_ADDED not in names:
        return letter
    return letter[: len(names) - 1 - names[::-1].index(_FIRST_ADDED)]
