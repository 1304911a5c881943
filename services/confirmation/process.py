"""The confirmation stage: the two sides of a trade meet in a group; what belongs together is decided in rules."""

from __future__ import annotations

from collections.abc import Sequence

from services.confirmation import cancelling, notices, taking_back
from services.confirmation.desk import Desk
from services.confirmation.state import (
    CancelRequest,
    ConfirmationChange,
    Deadline,
    MatchedAllocation,
    MatchedConfirmation,
    MatchGroup,
    Mismatch,
    NextDeadline,
    OpenAllocation,
    OpenConfirmation,
    ShownStatus,
    Withdrawn,
)
from services.confirmation.waits import OUTCOMES_PER_CALL_MAX
from services.domain.code import Function
from services.domain.event import AllocatedTrade, ReceivedConfirmation
from services.domain.record import Record
from services.stage import Outcome, Received, State

__all__ = ["OUTCOMES_PER_CALL_MAX", "UNCONFIRMED_AFTER_US", "ConfirmationStage"]

UNCONFIRMED_AFTER_US = 15 * 60 * 1_000_000
"""Time an allocation or a confirmation may wait for its other side before the desk is told."""


class ConfirmationStage:
    """The Stage (services.stage) that matches allocated trades with the counterparties' confirmations."""

    name = notices.NAME
    state_types: tuple[type[Record], ...] = (
        MatchGroup, OpenAllocation, OpenConfirmation, MatchedAllocation, MatchedConfirmation, Mismatch, Withdrawn,
        ConfirmationChange, CancelRequest, ShownStatus, Deadline, NextDeadline,
    )  # fmt: skip
    suppress_causes: tuple[str, ...] = ("duplicate", "already_cancelled")

    def __init__(self, *, unconfirmed_after_us: int = UNCONFIRMED_AFTER_US) -> None:
        """Take the time after which an unmatched side is shown to the desk, in microseconds."""
        self._unconfirmed_after_us = unconfirmed_after_us

    def process(self, batch: Sequence[Received], state: State, now_us: int) -> list[Outcome]:
        """Take both sides in the order given. Raises TypeError for any other event: that is our own bug."""
        desk = Desk(state, now_us=now_us, unconfirmed_after_us=self._unconfirmed_after_us)
        for received in batch:
            event = received.event
            if type(event) is AllocatedTrade:  # isinstance of a struct goes through ABCMeta: ten times slower
                if event.function is Function.CANCEL:
                    taking_back.take_back(desk, event)
                else:
                    desk.take_allocation(event, received.timestamp_us)
            elif type(event) is not ReceivedConfirmation:
                raise TypeError(f"event on {received.topic} was {type(event).__name__}, expected one side of a trade")
            elif event.reference_id is None:
                desk.take_confirmation(event, received.timestamp_us)
            else:
                cancelling.take_change(desk, event, received.timestamp_us)
        return desk.outcomes

    def on_time(self, state: State, now_us: int) -> list[Outcome]:
        """Show what waits too long for its other side; not while its match key is held, for that side may be there."""
        desk = Desk(state, now_us=now_us, unconfirmed_after_us=self._unconfirmed_after_us)
        desk.waits.show_due()
        return desk.outcomes
