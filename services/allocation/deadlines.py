"""Blocks that are not finished, and when the desk is told."""

from __future__ import annotations

from services.allocation import allocate_by, rules
from services.allocation.desk import value_of_block
from services.allocation.giving import GivingDesk
from services.allocation.state import SINGLETON, Block, NextDeadline, OpenBlock
from services.domain.reason import Reason
from services.domain.record import replace
from services.stage import State

OUTCOMES_PER_CALL_MAX = 5_000
"""About this many outcomes in one call of on_time, so that a late data file cannot make a transaction too large; the
rest follows at the next call."""

Overdue = tuple[list[tuple[str, OpenBlock]], int | None]


class DeadlineDesk(GivingDesk):
    """A desk that knows which blocks are open, and since when nothing came for them."""

    def __init__(self, state: State, *, now_us: int, unallocated_after_us: int) -> None:
        super().__init__(state, now_us=now_us)
        self._unallocated_after_us = unallocated_after_us

    def _index(self, block_id: str, block: Block) -> None:
        """Keep OpenBlock in step with the block, and close BLOCK_UNALLOCATED when nothing is left to do."""
        row = self._state.get(OpenBlock, block_id)
        if not rules.is_open(block):
            if row is not None:
                self._state.delete(OpenBlock, block_id)
                allocate_by.end(self._state, block_id, block, self._close)
            if row is not None and row.overdue:
                self._close(Reason.BLOCK_UNALLOCATED, subject=block_id, order_id=block.order_id)
            return
        allocate_by.begin(self._state, block_id, block)
        if row is None:
            self._state.put(block_id, OpenBlock())
            self._note_deadline(self._deadline_of(block))

    def _note_deadline(self, due_at_us: int) -> None:
        earliest = self._state.get(NextDeadline, SINGLETON)
        if earliest is None or due_at_us < earliest.due_at_us:
            self._state.put(SINGLETON, NextDeadline(due_at_us=due_at_us))

    def overdue_blocks(self) -> Overdue | None:
        """The blocks whose time is up, and when that of the next one is. One look at one row when none can be.

        None when there is nothing to do: all that is overdue is held, as was known before. It keeps its deadline, so it
        is asked for at each call; nothing else that a call does changes it.
        """
        earliest = self._state.get(NextDeadline, SINGLETON)
        if earliest is None or self._now_us < earliest.due_at_us:
            return None
        due, next_due_at_us = self._state.due(OpenBlock, self._due_at_us, self._now_us)
        first_due_at_us = min((self._deadline_of(self._remembered(block_id)) for block_id, _ in due), default=None)
        if first_due_at_us == earliest.due_at_us and all(self.is_held(block_id) for block_id, _ in due):
            return None
        return due, next_due_at_us

    def show_overdue_blocks(self, overdue: Overdue | None) -> None:
        """Open BLOCK_UNALLOCATED for each of them that is not held."""
        if overdue is None:
            return
        due, next_due_at_us = overdue
        self._state.delete(NextDeadline, SINGLETON)
        if next_due_at_us is not None:
            self._note_deadline(next_due_at_us)
        for block_id, row in due:
            block = self._remembered(block_id)
            if len(self.outcomes) >= OUTCOMES_PER_CALL_MAX or self._state.is_held(block.order_id):
                self._note_deadline(self._deadline_of(block))
                continue
            value = value_of_block(block)
            self._open(rules.overdue(block), subject=block_id, order_id=block.order_id, value=value)
            self._state.put(block_id, replace(row, overdue=True))

    def show_allocate_by(self) -> None:
        """Show the blocks whose market's deadline is near or has passed."""
        has_room = lambda: len(self.outcomes) < OUTCOMES_PER_CALL_MAX  # noqa: E731  # asked before each of them
        allocate_by.show_due(self._state, self._now_us, has_room, self.is_held, self._open, self._close)

    def _deadline_of(self, block: Block) -> int:
        return block.last_event_us + self._unallocated_after_us

    def _due_at_us(self, block_id: str, row: OpenBlock, _: State) -> int | None:
        """When the desk is told; the last event of the block decides, and each event moves it back."""
        return None if row.overdue else self._deadline_of(self._remembered(block_id))
