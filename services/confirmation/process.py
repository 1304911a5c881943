"""The confirmation stage: the two sides of a trade meet in a group; what belongs together is decided in rules."""

from __future__ import annotations

from collections.abc import Sequence

from services.confirmation import rules
from services.confirmation.state import (
    SINGLETON,
    Deadline,
    MatchedAllocation,
    MatchedConfirmation,
    MatchGroup,
    Mismatch,
    NextDeadline,
    OpenAllocation,
    OpenConfirmation,
)
from services.confirmation.taking_back import TakingBack
from services.domain import identity
from services.domain.code import ExceptionStatus, Function
from services.domain.event import AllocatedTrade, ExceptionEvent, ReceivedConfirmation
from services.domain.reason import Reason
from services.domain.record import Record, replace
from services.stage import Outcome, Publish, Received, State, Suppress

NAME = "confirmation"
OUTPUT_TOPIC = "trades.confirmed"
EXCEPTIONS_TOPIC = "exceptions"

UNCONFIRMED_AFTER_US = 15 * 60 * 1_000_000
"""Time an allocation or a confirmation may wait for its other side before the desk is told."""

OUTCOMES_PER_CALL_MAX = 5_000
"""About this many outcomes in one call of on_time, so that a silent counterparty cannot make a transaction too large;
the rest follows at the next call."""


class ConfirmationStage:
    """The Stage (services.stage) that matches allocated trades with the counterparties' confirmations."""

    name = NAME
    state_types: tuple[type[Record], ...] = (
        MatchGroup, OpenAllocation, OpenConfirmation, MatchedAllocation, MatchedConfirmation, Mismatch, Deadline,
        NextDeadline,
    )  # fmt: skip
    suppress_causes: tuple[str, ...] = ("duplicate", "nothing_to_take_back")

    def __init__(self, *, unconfirmed_after_us: int = UNCONFIRMED_AFTER_US) -> None:
        """Take the time after which an unmatched side is shown to the desk, in microseconds."""
        self._unconfirmed_after_us = unconfirmed_after_us

    def process(self, batch: Sequence[Received], state: State, now_us: int) -> list[Outcome]:
        """Take both sides in the order given. Raises TypeError for any other event: that is our own bug."""
        desk = _Desk(state, now_us=now_us, unconfirmed_after_us=self._unconfirmed_after_us)
        for received in batch:
            event = received.event
            if type(event) is AllocatedTrade:  # isinstance of a struct goes through ABCMeta: ten times slower
                desk.take_allocation(event, received.timestamp_us)
            elif type(event) is ReceivedConfirmation:
                desk.take_confirmation(event, received.timestamp_us)
            else:
                raise TypeError(f"event on {received.topic} was {type(event).__name__}, expected one side of a trade")
        return desk.outcomes

    def on_time(self, state: State, now_us: int) -> list[Outcome]:
        """Show what waits too long for its other side; not while its match key is held, for that side may be there."""
        desk = _Desk(state, now_us=now_us, unconfirmed_after_us=self._unconfirmed_after_us)
        desk.show_overdue()
        return desk.outcomes


class _Desk(TakingBack):
    """One call's work: reads and writes state, and collects outcomes."""

    def __init__(self, state: State, *, now_us: int, unconfirmed_after_us: int) -> None:
        self.outcomes: list[Outcome] = []
        self._state = state
        self._now_us = now_us
        self._unconfirmed_after_us = unconfirmed_after_us

    # --- arrivals ----------------------------------------------------------------------------------------------------

    def take_allocation(self, trade: AllocatedTrade, timestamp_us: int) -> None:
        """Put an allocated trade before the confirmations of its group, unless it was seen."""
        if trade.function is Function.CANCEL:
            self.take_back(trade)
            return
        key = trade.allocation_id
        if self._state.get(OpenAllocation, key) is not None or self._state.get(MatchedAllocation, key) is not None:
            self.outcomes.append(Suppress(cause="duplicate"))
            return
        self._state.put(key, OpenAllocation(trade=trade))
        self._await(key, Reason.UNCONFIRMED, timestamp_us)
        group = self._group(trade.match_key)
        self._evaluate(trade.match_key, replace(group, allocations=(*group.allocations, key)))

    def take_confirmation(self, confirmation: ReceivedConfirmation, timestamp_us: int) -> None:
        """Put a confirmation before the allocations of its group, unless it was seen."""
        key = rules.confirmation_key(confirmation)
        known = self._known_fingerprint(key)
        if known is not None:
            self._take_repetition(confirmation, known)
            return
        self._state.put(key, OpenConfirmation(confirmation=confirmation))
        self._await(key, Reason.UNMATCHED_CONFIRMATION, timestamp_us)
        group = self._group(confirmation.match_key)
        self._evaluate(confirmation.match_key, replace(group, confirmations=(*group.confirmations, key)))

    def _known_fingerprint(self, key: str) -> str | None:
        matched = self._state.get(MatchedConfirmation, key)
        if matched is not None:
            return matched.fingerprint if matched.confirmation is None else rules.fingerprint(matched.confirmation)
        waiting = self._state.get(OpenConfirmation, key)
        return None if waiting is None else rules.fingerprint(waiting.confirmation)

    def _take_repetition(self, confirmation: ReceivedConfirmation, known: str) -> None:
        """The same again needs nothing; the same id with other content must be seen, and the first stands."""
        if rules.fingerprint(confirmation) == known:
            self.outcomes.append(Suppress(cause="duplicate"))
            return
        self._say(
            ExceptionStatus.OPEN,
            Reason.CONFIRMATION_CONFLICTS,
            subject=_subject_of(confirmation),
            message=f"Confirmation {confirmation.confirmation_id} of {confirmation.sender} came again with other "
            "content; the first stands.",
            details=_summary_of(confirmation),
        )

    def _group(self, match_key: str) -> MatchGroup:
        return self._state.get(MatchGroup, match_key) or MatchGroup()

    # --- matching ----------------------------------------------------------------------------------------------------

    def _evaluate(self, match_key: str, group: MatchGroup) -> None:
        """Match whatever can be matched now, and bring the mismatches that are shown in step with what is left."""
        result = rules.NOTHING
        if group.allocations and group.confirmations:  # half of all arrivals wait for the other side: nothing to read
            result = rules.evaluate(self._ours(group), self._theirs(group))
        left = group
        if result.matches:
            for pair in result.matches:
                self._confirm(pair)
            matched = {key for pair in result.matches for key in (pair.ours.key, pair.theirs.key)}
            left = MatchGroup(
                allocations=tuple([key for key in group.allocations if key not in matched]),
                confirmations=tuple([key for key in group.confirmations if key not in matched]),
            )
        mismatches = {pair.ours.key: pair for pair in result.mismatches}
        for allocation_id in left.allocations:
            self._exchange_mismatch(allocation_id, mismatches.get(allocation_id))
        if left.allocations or left.confirmations:
            self._state.put(match_key, left)
        else:
            self._state.delete(MatchGroup, match_key)

    def _ours(self, group: MatchGroup) -> list[rules.Ours]:
        trades = [self._open_trade(allocation_id) for allocation_id in group.allocations]
        reference = self._state.reference
        return [rules.Ours(trade=trade, tolerances=rules.tolerances_for(trade, reference)) for trade in trades]

    def _theirs(self, group: MatchGroup) -> list[rules.Theirs]:
        return [rules.Theirs(key=key, confirmation=self._open_confirmation(key)) for key in group.confirmations]

    def _open_trade(self, allocation_id: str) -> AllocatedTrade:
        row = self._state.get(OpenAllocation, allocation_id)
        assert row is not None, f"allocation {allocation_id} is listed as open but not remembered"
        return row.trade

    def _open_confirmation(self, key: str) -> ReceivedConfirmation:
        row = self._state.get(OpenConfirmation, key)
        assert row is not None, f"confirmation {key!r} is listed as open but not remembered"
        return row.confirmation

    def _confirm(self, pair: rules.Pair) -> None:
        """Publish the confirmed trade, and close and forget what was open for its two sides."""
        trade, confirmation = pair.ours.trade, pair.theirs.confirmation
        allocation_id, key = pair.ours.key, pair.theirs.key
        self.outcomes.append(Publish(topic=OUTPUT_TOPIC, key=allocation_id, event=rules.confirmed_trade(pair)))
        self._exchange_mismatch(allocation_id, None)
        self._end_wait(allocation_id, subject=allocation_id, order_id=trade.order_id)
        due_at_us = self._end_wait(key, subject=_subject_of(confirmation), order_id=None)
        self._state.delete(OpenAllocation, allocation_id)
        self._state.delete(OpenConfirmation, key)
        profile = pair.ours.tolerances.profile
        self._state.put(allocation_id, MatchedAllocation(confirmation_key=key, matching_profile=profile))
        matched = MatchedConfirmation(allocation_id=allocation_id, confirmation=confirmation, due_at_us=due_at_us)
        self._state.put(key, matched)

    def _exchange_mismatch(self, allocation_id: str, pair: rules.Pair | None) -> None:
        """Open, change or close CONFIRMATION_MISMATCHED of an allocation; nothing is said when nothing changed."""
        shown = self._state.get(Mismatch, allocation_id)
        if pair is None:
            if shown is not None:
                self._state.delete(Mismatch, allocation_id)
                order_id = self._open_trade(allocation_id).order_id
                self._close(Reason.CONFIRMATION_MISMATCHED, subject=allocation_id, order_id=order_id)
            return
        if shown is not None and shown.confirmation_key == pair.theirs.key:
            return
        confirmation = pair.theirs.confirmation
        self._say(
            ExceptionStatus.OPEN,
            Reason.CONFIRMATION_MISMATCHED,
            subject=allocation_id,
            order_id=pair.ours.trade.order_id,
            message=f"Confirmation {confirmation.confirmation_id} of {confirmation.sender} differs from the allocated "
            f"trade in {', '.join(pair.failures)}.",
            details=pair.failures,
        )
        self._state.put(allocation_id, Mismatch(confirmation_key=pair.theirs.key))

    # --- deadlines ---------------------------------------------------------------------------------------------------

    def _await(self, key: str, reason: Reason, timestamp_us: int) -> None:
        due_at_us = timestamp_us + self._unconfirmed_after_us
        self._state.put(key, Deadline(reason=reason, due_at_us=due_at_us))
        self._note_deadline(due_at_us)

    def _end_wait(self, key: str, *, subject: str, order_id: str | None) -> int:
        """End the wait of an open side, and tell when it was due."""
        deadline = self._state.get(Deadline, key)
        self._state.delete(Deadline, key)
        if deadline is not None and deadline.overdue:
            self._close(deadline.reason, subject=subject, order_id=order_id)
        return 0 if deadline is None else deadline.due_at_us

    def _note_deadline(self, due_at_us: int) -> None:
        earliest = self._state.get(NextDeadline, SINGLETON)
        if earliest is None or due_at_us < earliest.due_at_us:
            self._state.put(SINGLETON, NextDeadline(due_at_us=due_at_us))

    def show_overdue(self) -> None:
        """Open the exception of each side whose time is up. One look at one row when none can be.

        What is held keeps its deadline, so that it is asked for at each call; the agenda knows it without a walk.
        """
        earliest = self._state.get(NextDeadline, SINGLETON)
        if earliest is None or self._now_us < earliest.due_at_us:
            return
        due, next_due_at_us = self._state.due(Deadline, _due_at_us, self._now_us)
        first_due_at_us = min((deadline.due_at_us for _, deadline in due), default=None)
        if first_due_at_us == earliest.due_at_us and all(self._is_held(key, deadline) for key, deadline in due):
            return
        self._state.delete(NextDeadline, SINGLETON)
        if next_due_at_us is not None:
            self._note_deadline(next_due_at_us)
        for key, deadline in due:
            if len(self.outcomes) >= OUTCOMES_PER_CALL_MAX or self._is_held(key, deadline):
                self._note_deadline(deadline.due_at_us)
                continue
            self._state.put(key, replace(deadline, overdue=True))
            if deadline.reason is Reason.UNCONFIRMED:
                self._show_unconfirmed(self._open_trade(key))
            else:
                self._show_unmatched(self._open_confirmation(key))

    def _is_held(self, key: str, deadline: Deadline) -> bool:
        """Whether something with the match key of an open side waits for a repair, which nothing may overtake."""
        is_ours = deadline.reason is Reason.UNCONFIRMED
        side = self._open_trade(key) if is_ours else self._open_confirmation(key)
        return self._state.is_held(side.match_key)

    def _show_unconfirmed(self, trade: AllocatedTrade) -> None:
        self._say(
            ExceptionStatus.OPEN,
            Reason.UNCONFIRMED,
            subject=trade.allocation_id,
            order_id=trade.order_id,
            message=f"{trade.counterparty} has not confirmed {trade.side} {rules.text(trade.quantity)} {trade.isin} "
            f"for {trade.account}.",
            details={
                "counterparty": trade.counterparty,
                "account": trade.account,
                "side": trade.side.value,
                "isin": trade.isin,
                "quantity": rules.text(trade.quantity),
                "net_amount": f"{rules.text(trade.net_amount)} {trade.currency}",
                "settlement_date": rules.text(trade.settlement_date),
            },
        )

    def _show_unmatched(self, confirmation: ReceivedConfirmation) -> None:
        self._say(
            ExceptionStatus.OPEN,
            Reason.UNMATCHED_CONFIRMATION,
            subject=_subject_of(confirmation),
            message=f"Confirmation {confirmation.confirmation_id} of {confirmation.sender} agrees with no allocated "
            "trade that is open.",
            details=_summary_of(confirmation),
        )

    # --- exceptions --------------------------------------------------------------------------------------------------

    def _close(self, reason: Reason, *, subject: str, order_id: str | None) -> None:
        message = "Closed: the cause is gone."
        self._say(ExceptionStatus.CLOSED, reason, subject=subject, order_id=order_id, message=message, details={})

    def _say(
        self,
        status: ExceptionStatus,
        reason: Reason,
        *,
        subject: str,
        message: str,
        details: dict[str, str],
        order_id: str | None = None,
    ) -> None:
        key = identity.exception_id(service=NAME, subject=subject, reason=reason)
        event = ExceptionEvent(
            exception_id=key,
            status=status,
            service=NAME,
            reason=reason.value,
            subject_id=subject,
            order_id=order_id,
            message=message,
            details=details,
            raised_at_us=self._now_us,
        )
        self.outcomes.append(Publish(topic=EXCEPTIONS_TOPIC, key=key, event=event))


def _due_at_us(_: str, deadline: Deadline, __: State) -> int | None:
    return None if deadline.overdue else deadline.due_at_us


def _subject_of(confirmation: ReceivedConfirmation) -> str:
    return f"{confirmation.sender}/{confirmation.confirmation_id}"


def _summary_of(confirmation: ReceivedConfirmation) -> dict[str, str]:
    """What the desk needs to find the trade."""
    return {
        "account": confirmation.account,
        "side": confirmation.side.value,
        "isin": confirmation.isin,
        "quantity": rules.text(confirmation.quantity),
        "net_amount": f"{rules.text(confirmation.net_amount)} {confirmation.currency}",
        "trade_date": rules.text(confirmation.trade_date),
        "settlement_date": rules.text(confirmation.settlement_date),
        "allocation_reference": confirmation.allocation_reference or "",
    }
