"""What confirmation remembers. Trades are kept one to a row, so that a busy group rewrites ids only."""

from __future__ import annotations

from typing import Annotated

from services.domain.event import AllocatedTrade, ReceivedConfirmation
from services.domain.reason import Reason
from services.domain.record import Record, TimestampUs, doc


class MatchGroup(Record, kw_only=True):
    """What is open under one match_key, in the order of arrival; key: match_key. Gone when nothing is open."""

    allocations: Annotated[tuple[str, ...], doc("Allocation ids.")] = ()
    confirmations: Annotated[tuple[str, ...], doc("Keys of confirmations: sender and confirmation id.")] = ()


class OpenAllocation(Record, kw_only=True):
    """An allocated trade without its confirmation; key: allocation_id."""

    trade: Annotated[AllocatedTrade, doc("The trade as allocated.")]


class OpenConfirmation(Record, kw_only=True):
    """A confirmation without its allocated trade; key: sender and confirmation id."""

    confirmation: Annotated[ReceivedConfirmation, doc("The confirmation as received.")]


class MatchedAllocation(Record, kw_only=True):
    """The allocation is confirmed or taken back; key: allocation_id."""

    confirmation_key: Annotated[str, doc("Key of the confirmation; empty when the allocation was taken back.")]
    matching_profile: Annotated[str, doc("Profile whose tolerances were applied.")] = ""


class MatchedConfirmation(Record, kw_only=True):
    """The confirmation found its allocation; key: sender and confirmation id."""

    allocation_id: Annotated[str, doc("The allocation.")]
    fingerprint: Annotated[str, doc("Digest of its content, of one that was matched before its content was kept.")] = ""
    confirmation: Annotated[
        ReceivedConfirmation | None,
        doc("Its content: tells a repetition from a conflict, and is free again with its allocation."),
    ] = None
    due_at_us: Annotated[TimestampUs, doc("When it was due, and is again when it is free.")] = 0


class Mismatch(Record, kw_only=True):
    """CONFIRMATION_MISMATCHED is open for the allocation; key: allocation_id."""

    confirmation_key: Annotated[str, doc("The confirmation that differs.")]


class Deadline(Record, kw_only=True):
    """When an open side is shown to the desk; key: that of the open side."""

    reason: Annotated[Reason, doc("UNCONFIRMED for an allocation, UNMATCHED_CONFIRMATION for a confirmation.")]
    due_at_us: Annotated[TimestampUs, doc("Log time of the event plus the time allowed.")]
    overdue: Annotated[bool, doc("Whether the exception is open.")] = False


class NextDeadline(Record, kw_only=True):
    """One row under `SINGLETON`: before this time nothing is due."""

    due_at_us: Annotated[TimestampUs, doc("Lower bound: what it was taken from may be matched by now.")]


SINGLETON = "-"
"""Key of tables with one row."""
