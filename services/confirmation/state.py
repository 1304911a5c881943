"""What confirmation remembers. Trades are kept one to a row, so that a busy group rewrites ids only."""

from __future__ import annotations

from typing import Annotated

from services.confirmation.statuses import Asking
from services.domain.code import MatchingField, MatchStatus
from services.domain.event import AllocatedTrade, MatchStatusChange, ReceivedConfirmation
from services.domain.reason import Reason
from services.domain.record import Record, TimestampUs, doc
from services.stage import State


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
    freed_by: Annotated[
        str | None, doc("Allocation id whose match our side took back, as long as nothing became of the confirmation.")
    ] = None


class MatchedAllocation(Record, kw_only=True):
    """The allocation is confirmed; key: allocation_id."""

    confirmation_key: Annotated[str, doc("Key of the confirmation.")]
    order_id: Annotated[str | None, doc("Order of its block, for what the desk is told; empty in older rows.")] = None
    matching_profile: Annotated[str, doc("Profile whose tolerances were applied.")] = ""
    populated: Annotated[
        tuple[MatchingField, ...], doc("Fields whose value is the counterparty's, because its profile says so.")
    ] = ()


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


class Withdrawn(Record, kw_only=True):
    """A side that was taken back, replaced or cancelled; key: that of the side, which may not have come yet."""

    by: Annotated[str | None, doc("Key of the confirmation that did it; empty: our own side.")]
    sender: Annotated[str, doc("BIC of the counterparty.")]
    match_key: Annotated[str, doc("What both sides know.")]
    fingerprint: Annotated[str | None, doc("Digest of a confirmation's content; empty: it has not come.")] = None


class ConfirmationChange(Record, kw_only=True):
    """A cancellation or refusal that was taken; key: sender and confirmation id."""

    fingerprint: Annotated[str, doc("Digest of its content; tells a repetition from a conflict.")]
    reference: Annotated[str, doc("Key of the confirmation it names.")]


class CancelRequest(Record, kw_only=True):
    """One side has asked to cancel an agreed match; key: allocation_id. Gone when both have cancelled.

    The counterparty's waits for us, and the match holds. Ours undoes it at once, and waits to hear that they agree.
    """

    asked_by: Annotated[Asking, doc("Which side.")]
    by: Annotated[str | None, doc("Key of the confirmation that asks; empty: our own side.")]
    refused: Annotated[bool, doc("Whether the other side refused.")] = False
    counterparty: Annotated[str, doc("BIC of the counterparty.")]
    match_key: Annotated[str, doc("What both sides know.")]
    order_id: Annotated[str | None, doc("Order of the block of an allocation that our side took back.")] = None
    replacements: Annotated[tuple[str, ...], doc("Keys of the confirmations that wait to take the place.")] = ()


class ShownStatus(Record, kw_only=True):
    """What confirmations.status says of a side; key: that of the side."""

    status: Annotated[MatchStatus, doc("Where it stands.")]
    asked_by: Annotated[Asking | None, doc("Who asks to cancel, when somebody does.")] = None
    confirmation_id: Annotated[str | None, doc("The confirmation that was named with it.")] = None
    history: Annotated[tuple[MatchStatusChange, ...], doc("The steps to it.")]


class Deadline(Record, kw_only=True):
    """When an open side is shown to the desk; key: that of the open side, or of a confirmation that is only named."""

    reason: Annotated[
        Reason,
        doc("UNCONFIRMED for an allocation, UNMATCHED_CONFIRMATION or CONFIRMATION_REFERENCE_UNKNOWN for the others."),
    ]
    due_at_us: Annotated[TimestampUs, doc("Log time of the event plus the time allowed.")]
    overdue: Annotated[bool, doc("Whether the exception is open.")] = False
    affirm_by_us: Annotated[TimestampUs | None, doc("Deadline of the affirmation, when the market has one.")] = None
    affirm_warning_at_us: Annotated[TimestampUs | None, doc("When the desk is told that it is near.")] = None
    affirmation_shown: Annotated[Reason | None, doc("AFFIRMATION_DUE or AFFIRMATION_LATE while it is open.")] = None


class NextDeadline(Record, kw_only=True):
    """One row under `SINGLETON`: before this time nothing is due."""

    due_at_us: Annotated[TimestampUs, doc("Lower bound: what it was taken from may be matched by now.")]


SINGLETON = "-"
"""Key of tables with one row."""


def open_trade(state: State, allocation_id: str) -> AllocatedTrade:
    """An allocation that a group or a deadline names as open."""
    row = state.get(OpenAllocation, allocation_id)
    assert row is not None, f"allocation {allocation_id} is named as open but not remembered"
    return row.trade


def open_confirmation(state: State, key: str) -> ReceivedConfirmation:
    """A confirmation that a group or a deadline names as open."""
    row = state.get(OpenConfirmation, key)
    assert row is not None, f"confirmation {key!r} is named as open but not remembered"
    return row.confirmation
