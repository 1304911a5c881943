"""The market's deadline for the allocation of a block on trade date: warned before it, late at it, closed when done.

A table of its own, with rows only for open blocks of markets that have such a deadline (AffirmationDeadline, step
ALLOCATE). What enters the log after the deadline has none: nobody could keep it any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Protocol

from services.allocation.desk import value_of_block
from services.allocation.rules import Refusal, text
from services.allocation.state import SINGLETON, Block
from services.domain.affirmation import deadline_times
from services.domain.code import AffirmationStep
from services.domain.exceptions import ValueAtRisk
from services.domain.reason import Reason
from services.domain.record import Record, TimestampUs, doc, replace
from services.stage import State


class AllocateBy(Record, kw_only=True):
    """Until when an open block has to be allocated; key: block_id."""

    warning_at_us: Annotated[TimestampUs, doc("When the desk is told that the deadline is near.")]
    due_at_us: Annotated[TimestampUs, doc("The deadline.")]
    local: Annotated[str, doc("The deadline for people.")]
    shown: Annotated[Reason | None, doc("ALLOCATION_DUE or ALLOCATION_LATE while it is open.")] = None


class NextAllocateBy(Record, kw_only=True):
    """One row under `SINGLETON`: before this time nothing here is due."""

    due_at_us: Annotated[TimestampUs, doc("Lower bound: the block it was taken from may be allocated by now.")]


class Open(Protocol):
    """Shows an exception to the desk."""

    def __call__(self, refusal: Refusal, *, subject: str, order_id: str, value: ValueAtRisk | None) -> None:
        """Show it."""
        ...


class Close(Protocol):
    """Closes an exception."""

    def __call__(self, reason: Reason, *, subject: str, order_id: str) -> None:
        """Close it."""
        ...


STATE_TYPES: tuple[type[Record], ...] = (AllocateBy, NextAllocateBy)


def begin(state: State, block_id: str, block: Block) -> None:
    """Note the deadline of a block that is open, when its market has one and it can still be kept."""
    terms = block.terms
    if terms is None:
        return
    times = deadline_times(
        state.reference,
        step=AffirmationStep.ALLOCATE,
        market=terms.settlement_market,
        instrument_type=terms.instrument_type,
        trade_date=block.trade_date,
    )
    if times is None or block.last_event_us >= times.due_at_us or state.get(AllocateBy, block_id) is not None:
        return
    row = AllocateBy(warning_at_us=times.warning_at_us, due_at_us=times.due_at_us, local=times.local)
    state.put(block_id, row)
    _note(state, row.warning_at_us)


def end(state: State, block_id: str, block: Block, close: Close) -> None:
    """Forget the deadline of a block that is done, and close what was shown of it."""
    row = state.get(AllocateBy, block_id)
    if row is None:
        return
    state.delete(AllocateBy, block_id)
    if row.shown is not None:
        close(row.shown, subject=block_id, order_id=block.order_id)


def show_due(
    state: State, now_us: int, has_room: Callable[[], bool], is_held: Callable[[str], bool], show: Open, close: Close
) -> None:
    """Show each block whose time is up, that is not held, while there is room. One look at one row when none can be."""
    earliest = state.get(NextAllocateBy, SINGLETON)
    if earliest is None or now_us < earliest.due_at_us:
        return
    due, next_due_at_us = state.due(AllocateBy, _due_at_us, now_us)
    first_due_at_us = min((time for _, row in due if (time := _next_us(row)) is not None), default=None)
    if first_due_at_us == earliest.due_at_us and all(is_held(block_id) for block_id, _ in due):
        return
    state.delete(NextAllocateBy, SINGLETON)
    if next_due_at_us is not None:
        _note(state, next_due_at_us)
    for block_id, row in due:
        following = row
        if has_room() and not is_held(block_id):
            following = _show(state, now_us, block_id, row, show, close)
        still_due_at_us = _next_us(following)
        if still_due_at_us is not None:
            _note(state, still_due_at_us)


def _show(state: State, now_us: int, block_id: str, row: AllocateBy, show: Open, close: Close) -> AllocateBy:
    reason = Reason.ALLOCATION_LATE if now_us >= row.due_at_us else Reason.ALLOCATION_DUE
    block = state.get(Block, block_id)
    assert block is not None, f"block {block_id} has a deadline but is not remembered"
    if row.shown is not None:
        close(row.shown, subject=block_id, order_id=block.order_id)
    show(refusal(block, row, reason), subject=block_id, order_id=block.order_id, value=value_of_block(block))
    following = replace(row, shown=reason)
    state.put(block_id, following)
    return following


def refusal(block: Block, row: AllocateBy, reason: Reason) -> Refusal:
    """What the desk is told."""
    verb = "was" if reason is Reason.ALLOCATION_LATE else "has"
    obliged = f"{verb} to be allocated by {row.local} on {block.trade_date}"
    details = {
        "order_id": block.order_id,
        "filled": text(block.totals.quantity),
        "allocated": text(block.allocated_quantity),
        "allocate_by": row.local,
    }
    return Refusal(reason=reason, message=f"The block of order {block.order_id} {obliged}.", details=details)


def _next_us(row: AllocateBy) -> int | None:
    if row.shown is None:
        return row.warning_at_us
    return row.due_at_us if row.shown is Reason.ALLOCATION_DUE else None


def _due_at_us(_: str, row: AllocateBy, __: State) -> int | None:
    return _next_us(row)


def _note(state: State, due_at_us: int) -> None:
    earliest = state.get(NextAllocateBy, SINGLETON)
    if earliest is None or due_at_us < earliest.due_at_us:
        state.put(SINGLETON, NextAllocateBy(due_at_us=due_at_us))
