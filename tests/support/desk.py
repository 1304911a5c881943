"""What a person at the repair desk has before him: lines of dead letters, and the record by which he decides on one."""

from __future__ import annotations

from collections.abc import Iterable

from services.commands.letters import Case
from services.engine.log import LogRecord, OutgoingRecord
from services.engine.repair import Action, repair_record

_AT = "2026-03-02T00:00:00Z"


def lines(cases: Iterable[Case]) -> list[list[Case]]:
    """What waits, each line in its order: only its first can be decided on."""
    found: dict[tuple[str, str, str], list[Case]] = {}
    for case in cases:
        if case.is_open:
            found.setdefault(case.line, []).append(case)
    return list(found.values())


def repair(
    case: Case, action: Action, *, repair_id: str, by: str, value: bytes | None, changed: bool = False
) -> OutgoingRecord:
    """A decision. With a value that is not the case's own it is refused, unless it says so by `changed`."""
    source = case.source
    given = LogRecord(
        source.topic, source.partition, source.offset, source.key, value, source.timestamp_ms, source.headers
    )
    return repair_record(
        service=case.service,
        source=given,
        action=action,
        repair_id=repair_id,
        by=by,
        reason="tried",
        at=_AT,
        changed=changed,
    )
