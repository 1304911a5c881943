"""What the clerk decides, before it is sent."""

from __future__ import annotations

from collections import Counter

from services.commands.letters import Case, collect
from services.engine.dead_letters import BUG, CRASH, PARKED, dead_letter
from services.engine.log import LogRecord, OutgoingRecord
from services.engine.repair import Action
from tests.chaos.clerk import Clerk

ROUNDS = 200


def letter(offset: int, error_class: str, key: str) -> LogRecord:
    """A dead letter about the record at this offset."""
    source = LogRecord("front-office.executions", 0, offset, key.encode(), b"value", 1_000)
    attempt = 0 if error_class == PARKED else 1
    written = dead_letter(
        source, error_class=error_class, stage="capture", message="m", quarantine=f"key/{key}", attempt=attempt
    )
    return LogRecord(written.topic, 0, offset, written.key, written.value, 2_000, written.headers)


def cases() -> list[Case]:
    """Two lines: one behind a bug, one of a record that ends the process."""
    return collect([letter(0, BUG, "a"), letter(1, PARKED, "a"), letter(2, CRASH, "b")])


def repairs(seed: int) -> list[OutgoingRecord]:
    """What a clerk sends in many rounds."""
    clerk = Clerk(seed)
    return [record for _ in range(ROUNDS) for record in clerk.round(cases())]


def wanted(record: OutgoingRecord) -> tuple[bytes | None, bytes | None]:
    """Of what, and which action."""
    headers = dict(record.headers)
    return headers["repair.of"], headers["repair.action"]


def test_the_same_seed_decides_the_same() -> None:
    """A run that failed can be repeated, as far as what it is shown comes in the same order."""
    assert repairs(1) == repairs(1)
    assert repairs(1) != repairs(2)


def test_everything_that_a_careless_desk_does_is_done() -> None:
    """Both actions on one letter, one behind another, the same repair twice: what is never sent is never tried."""
    found = Counter(map(wanted, repairs(1)))
    ids = Counter(dict(record.headers)["repair.id"] for record in repairs(1))

    first, behind = b"front-office.executions/0/0", b"front-office.executions/0/1"
    assert {(first, b"REPLAY"), (first, b"DISCARD"), (behind, b"REPLAY"), (behind, b"DISCARD")} <= found.keys()
    assert max(ids.values()) == 2


def test_a_record_that_ends_the_process_is_never_tried_again() -> None:
    """When processes end is the plan's to say; a replay would end three of them behind its back."""
    actions = {action for of, action in map(wanted, repairs(3)) if of == b"front-office.executions/0/2"}

    assert actions == {Action.DISCARD.value.encode()}


def test_nothing_is_sent_where_nothing_was_put_aside() -> None:
    """A run begins like that."""
    assert Clerk(1).round([]) == []
