"""What could not be read or processed goes to `dead-letters`: byte for byte, with the reason in headers.

Headers added, after the original ones: `err.class` (DECODE, BUG), `err.stage`, `err.message` (one sentence, no
payload), `err.fingerprint` (same trouble, same fingerprint), `src.topic`, `src.partition`, `src.offset`,
`src.timestamp`.
"""

from __future__ import annotations

import hashlib

from services.engine.log import LogRecord, OutgoingRecord

TOPIC = "dead-letters"
DECODE = "DECODE"
BUG = "BUG"
ERROR_CLASSES = (DECODE, BUG)
MESSAGE_CHARACTERS_MAX = 500


def dead_letter(record: LogRecord, *, error_class: str, stage: str, message: str) -> OutgoingRecord:
    """Wrap a record that could not be handled."""
    fingerprint = hashlib.sha256(f"{error_class}|{stage}|{record.topic}|{message}".encode()).hexdigest()[:16]
    added = {
        "err.class": error_class,
        "err.stage": stage,
        "err.message": message[:MESSAGE_CHARACTERS_MAX],
        "err.fingerprint": fingerprint,
        "src.topic": record.topic,
        "src.partition": str(record.partition),
        "src.offset": str(record.offset),
        "src.timestamp": str(record.timestamp_ms),
    }
    headers = (*record.headers, *((name, text.encode()) for name, text in added.items()))
    return OutgoingRecord(TOPIC, record.key, record.value, headers)
