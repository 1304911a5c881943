"""An allocation that is taken back: forgotten when it is open; when it was matched, its confirmed trade goes, too.

The counterparty's confirmation is free again then, and is compared with whatever is open under its match key: with the
next version of the allocation as soon as that comes.
"""

from __future__ import annotations

from services.confirmation.state import (
    Deadline,
    MatchedAllocation,
    MatchedConfirmation,
    MatchGroup,
    OpenAllocation,
    OpenConfirmation,
)
from services.domain.event import AllocatedTrade, ConfirmedTrade, ReceivedConfirmation
from services.domain.reason import Reason
from services.domain.record import asdict, replace
from services.stage import Outcome, Publish, State, Suppress

TAKEN_BACK = ""
"""In place of the key of its confirmation: the allocation is taken back, and no confirmation will confirm it."""


class TakingBack:
    """The part of a desk that takes allocations back; the verbs it needs are the desk's own."""

    outcomes: list[Outcome]
    _state: State

    def take_back(self, trade: AllocatedTrade) -> None:
        """Take an allocation out of its group, and out of what was confirmed; `trade` is the event that says so."""
        allocation_id = trade.allocation_id
        matched = self._state.get(MatchedAllocation, allocation_id)
        is_open = self._state.get(OpenAllocation, allocation_id) is not None
        self._state.put(allocation_id, MatchedAllocation(confirmation_key=TAKEN_BACK))
        if matched is None and not is_open:
            self.outcomes.append(Suppress(cause="nothing_to_take_back"))  # a person has discarded the allocation
            return
        if matched is not None and matched.confirmation_key == TAKEN_BACK:
            self.outcomes.append(Suppress(cause="duplicate"))
            return
        group = self._group(trade.match_key)
        if matched is None:
            self._forget_open(trade)
            left = tuple(key for key in group.allocations if key != allocation_id)
            self._evaluate(trade.match_key, replace(group, allocations=left))
            return
        confirmation = self._freed(matched.confirmation_key)
        confirmed = confirmed_cancellation(trade, confirmation, matched.matching_profile)
        self.outcomes.append(Publish(topic="trades.confirmed", key=allocation_id, event=confirmed))
        confirmations = (*group.confirmations, matched.confirmation_key)
        self._evaluate(trade.match_key, replace(group, confirmations=confirmations))

    def _forget_open(self, trade: AllocatedTrade) -> None:
        allocation_id = trade.allocation_id
        self._exchange_mismatch(allocation_id, None)
        self._end_wait(allocation_id, subject=allocation_id, order_id=trade.order_id)
        self._state.delete(OpenAllocation, allocation_id)

    def _freed(self, key: str) -> ReceivedConfirmation:
        """Put a confirmation that was matched among the open ones again; its time counts from when it came."""
        row = self._state.get(MatchedConfirmation, key)
        assert row is not None, f"confirmation {key!r} has matched but is not remembered"
        assert row.confirmation is not None, f"confirmation {key!r} was matched before its content was kept"
        self._state.delete(MatchedConfirmation, key)
        self._state.put(key, OpenConfirmation(confirmation=row.confirmation))
        self._state.put(key, Deadline(reason=Reason.UNMATCHED_CONFIRMATION, due_at_us=row.due_at_us))
        self._note_deadline(row.due_at_us)
        return row.confirmation

    # --- what the desk itself does ----------------------------------------------------------------------------------

    def _group(self, match_key: str) -> MatchGroup:
        raise NotImplementedError

    def _evaluate(self, match_key: str, group: MatchGroup) -> None:
        raise NotImplementedError

    def _exchange_mismatch(self, allocation_id: str, pair: None) -> None:
        raise NotImplementedError

    def _end_wait(self, key: str, *, subject: str, order_id: str | None) -> int:
        raise NotImplementedError

    def _note_deadline(self, due_at_us: int) -> None:
        raise NotImplementedError


def confirmed_cancellation(
    trade: AllocatedTrade, confirmation: ReceivedConfirmation, matching_profile: str
) -> ConfirmedTrade:
    """What was confirmed, with the function of `trade`: that it is taken back."""
    return ConfirmedTrade(
        **asdict(trade),
        confirmation_id=confirmation.confirmation_id,
        matching_profile=matching_profile,
        settlement_amount=trade.net_amount if trade.side.delivers else confirmation.net_amount,
    )
