"""What waits, and until when: the other side of a trade, the affirmation, a confirmation that is only named."""

from __future__ import annotations

from services.confirmation import rules
from services.confirmation.notices import (
    Notices,
    name_of,
    subject_id,
    subject_of_allocation,
    subject_of_confirmation,
)
from services.confirmation.state import (
    SINGLETON,
    Deadline,
    MatchedAllocation,
    NextDeadline,
    Withdrawn,
    open_confirmation,
    open_trade,
)
from services.confirmation.statuses import Happening
from services.domain.affirmation import DeadlineTimes, deadline_times
from services.domain.code import AffirmationStep
from services.domain.event import AllocatedTrade, ReceivedConfirmation
from services.domain.exceptions import value_of_amount
from services.domain.reason import Reason
from services.domain.record import replace
from services.stage import State

OUTCOMES_PER_CALL_MAX = 5_000
"""About this many outcomes in one call of on_time, so that a silent counterparty cannot make a transaction too large;
the rest follows at the next call."""


class Waits:
    """Keeps the deadlines of all sides that wait, and shows what is due."""

    def __init__(self, state: State, notices: Notices, *, now_us: int, unconfirmed_after_us: int) -> None:
        """Take the time after which an unmatched side is shown to the desk, in microseconds."""
        self._state = state
        self._notices = notices
        self._now_us = now_us
        self._unconfirmed_after_us = unconfirmed_after_us

    # --- beginning and end -------------------------------------------------------------------------------------------

    def begin(self, key: str, reason: Reason, timestamp_us: int) -> None:
        """A confirmation waits: for its allocation, or one that is only named for its arrival."""
        due_at_us = timestamp_us + self._unconfirmed_after_us
        self._state.put(key, Deadline(reason=reason, due_at_us=due_at_us))
        self._note(due_at_us)

    def begin_allocation(self, trade: AllocatedTrade, timestamp_us: int) -> None:
        """An allocation waits for its confirmation, and in some markets for a deadline on trade date.

        What enters the log after the deadline has none: nobody could keep it any more, and the wait itself is shown.
        """
        times = deadline_times(
            self._state.reference,
            step=AffirmationStep.AFFIRM,
            market=trade.settlement_market,
            instrument_type=trade.instrument_type,
            trade_date=trade.trade_date,
        )
        if times is None or timestamp_us >= times.due_at_us:
            self.begin(trade.allocation_id, Reason.UNCONFIRMED, timestamp_us)
            return
        due_at_us = timestamp_us + self._unconfirmed_after_us
        deadline = Deadline(
            reason=Reason.UNCONFIRMED,
            due_at_us=due_at_us,
            affirm_by_us=times.due_at_us,
            affirm_warning_at_us=times.warning_at_us,
        )
        self._state.put(trade.allocation_id, deadline)
        self._note(min(due_at_us, times.warning_at_us))

    def resume(self, key: str, due_at_us: int) -> None:
        """A confirmation waits again; its time counts from when it came."""
        self._state.put(key, Deadline(reason=Reason.UNMATCHED_CONFIRMATION, due_at_us=due_at_us))
        self._note(due_at_us)

    def end(self, key: str, *, order_id: str | None = None) -> int:
        """The wait is over: close what was shown of it, and tell when it was due."""
        deadline = self._state.get(Deadline, key)
        self._state.delete(Deadline, key)
        if deadline is None:
            return 0
        if deadline.overdue:
            self._notices.close(deadline.reason, subject=subject_id(key), order_id=order_id)
        if deadline.affirmation_shown is not None:
            self._notices.close(deadline.affirmation_shown, subject=subject_id(key), order_id=order_id)
        return deadline.due_at_us

    def _note(self, due_at_us: int) -> None:
        earliest = self._state.get(NextDeadline, SINGLETON)
        if earliest is None or due_at_us < earliest.due_at_us:
            self._state.put(SINGLETON, NextDeadline(due_at_us=due_at_us))

    # --- what is due -------------------------------------------------------------------------------------------------

    def show_due(self) -> None:
        """Open the exceptions of each side whose time is up. One look at one row when none can be.

        What is held keeps its deadline, so that it is asked for at each call; the agenda knows it without a walk.
        """
        earliest = self._state.get(NextDeadline, SINGLETON)
        if earliest is None or self._now_us < earliest.due_at_us:
            return
        due, next_due_at_us = self._state.due(Deadline, _due_at_us, self._now_us)
        first_due_at_us = min((time for _, deadline in due if (time := due_at_us(deadline)) is not None), default=None)
        if first_due_at_us == earliest.due_at_us and all(self._is_held(key, deadline) for key, deadline in due):
            return
        self._state.delete(NextDeadline, SINGLETON)
        if next_due_at_us is not None:
            self._note(next_due_at_us)
        for key, deadline in due:
            following = deadline
            if len(self._notices.outcomes) < OUTCOMES_PER_CALL_MAX and not self._is_held(key, deadline):
                following = self._show(key, deadline)
                self._state.put(key, following)
            still_due_at_us = due_at_us(following)
            if still_due_at_us is not None:
                self._note(still_due_at_us)

    def _is_held(self, key: str, deadline: Deadline) -> bool:
        """Whether something with the match key of the side waits for a repair, which nothing may overtake."""
        side: AllocatedTrade | ReceivedConfirmation | Withdrawn
        if deadline.reason is Reason.UNCONFIRMED:
            side = open_trade(self._state, key)
        elif deadline.reason is Reason.UNMATCHED_CONFIRMATION:
            side = open_confirmation(self._state, key)
        else:
            side = self._withdrawn(key)
        return self._state.is_held(side.match_key)

    def _show(self, key: str, deadline: Deadline) -> Deadline:
        """Show what is due of one side; what it looks like from then on."""
        if not deadline.overdue and deadline.due_at_us <= self._now_us:
            deadline = replace(deadline, overdue=True)
            if deadline.reason is Reason.UNCONFIRMED:
                self._show_unconfirmed(open_trade(self._state, key))
            elif deadline.reason is Reason.UNMATCHED_CONFIRMATION:
                self._show_unmatched(key, open_confirmation(self._state, key))
            else:
                self._show_unknown(key, self._withdrawn(key))
        reason = _affirmation_due(deadline, self._now_us)
        if reason is not deadline.affirmation_shown:
            self._show_affirmation(open_trade(self._state, key), deadline.affirmation_shown, reason)
            deadline = replace(deadline, affirmation_shown=reason)
        return deadline

    def _show_unconfirmed(self, trade: AllocatedTrade) -> None:
        self._notices.open(
            Reason.UNCONFIRMED,
            subject=trade.allocation_id,
            order_id=trade.order_id,
            message=f"{trade.counterparty} has not confirmed {_what_is_traded(trade)}.",
            details={
                "counterparty": trade.counterparty,
                "account": trade.account,
                "side": trade.side.value,
                "isin": trade.isin,
                "quantity": rules.text(trade.quantity),
                "net_amount": f"{rules.text(trade.net_amount)} {trade.currency}",
                "settlement_date": rules.text(trade.settlement_date),
            },
            value=value_of_amount(trade.net_amount, trade.currency),
        )
        if not self._notices.is_reported(trade.allocation_id):
            told = "Nothing of the counterparty belongs to it."
            self._notices.report(subject_of_allocation(trade), Happening.PARTED, message=told)

    def _show_unmatched(self, key: str, confirmation: ReceivedConfirmation) -> None:
        self._notices.open(
            Reason.UNMATCHED_CONFIRMATION,
            subject=subject_id(key),
            message=f"Confirmation {name_of(key)} agrees with no allocated trade that is open.",
            details=summary_of(confirmation),
            value=value_of_amount(confirmation.net_amount, confirmation.currency),
        )
        if self._notices.is_reported(key):
            return
        subject, reference = subject_of_confirmation(key, confirmation), confirmation.allocation_reference
        if reference is None:
            self._notices.report(subject, Happening.PARTED, message="No allocation of ours belongs to it.")
        elif self._state.get(MatchedAllocation, reference) is not None:
            told = f"It quotes allocation {reference}, which is matched with another confirmation."
            self._notices.report(subject, Happening.CONTRADICTED, message=told)
        else:
            told = f"It waits for the allocation that it quotes, {reference}."
            self._notices.report(subject, Happening.DEFERRED, message=told)

    def _show_unknown(self, key: str, named: Withdrawn) -> None:
        assert named.by is not None, "our own side names no confirmation"
        self._notices.open(
            Reason.CONFIRMATION_REFERENCE_UNKNOWN,
            subject=subject_id(key),
            message=f"Confirmation {name_of(named.by)} replaces or cancels {name_of(key)}, which is not known with its "
            "account, side, instrument and trade date.",
            details={"match_key": named.match_key},
        )

    def _show_affirmation(self, trade: AllocatedTrade, before: Reason | None, reason: Reason | None) -> None:
        if before is not None:
            self._notices.close(before, subject=trade.allocation_id, order_id=trade.order_id)
        if reason is None:
            return
        times = self._times(trade)
        until = "its deadline" if times is None else times.local
        verb = "was" if reason is Reason.AFFIRMATION_LATE else "has to be"
        self._notices.open(
            reason,
            subject=trade.allocation_id,
            order_id=trade.order_id,
            message=f"{_what_is_traded(trade)} {verb} affirmed by {until} on {trade.trade_date}; it is not matched.",
            details={"counterparty": trade.counterparty, "account": trade.account, "affirm_by": until},
            value=value_of_amount(trade.net_amount, trade.currency),
        )

    def _times(self, trade: AllocatedTrade) -> DeadlineTimes | None:
        return deadline_times(
            self._state.reference,
            step=AffirmationStep.AFFIRM,
            market=trade.settlement_market,
            instrument_type=trade.instrument_type,
            trade_date=trade.trade_date,
        )

    # --- rows --------------------------------------------------------------------------------------------------------

    def _withdrawn(self, key: str) -> Withdrawn:
        row = self._state.get(Withdrawn, key)
        assert row is not None, f"confirmation {key!r} is named by what waits but not remembered"
        return row


def due_at_us(deadline: Deadline) -> int | None:
    """The next moment at which something of a deadline has to be shown; None when all is shown."""
    first = None if deadline.overdue else deadline.due_at_us
    following = None
    if deadline.affirmation_shown is None:
        following = deadline.affirm_warning_at_us
    elif deadline.affirmation_shown is Reason.AFFIRMATION_DUE:
        following = deadline.affirm_by_us
    if first is None or following is None:
        return following if first is None else first
    return min(first, following)


def _due_at_us(_: str, deadline: Deadline, __: State) -> int | None:
    return due_at_us(deadline)


def _affirmation_due(deadline: Deadline, now_us: int) -> Reason | None:
    if deadline.affirm_by_us is None or deadline.affirm_warning_at_us is None:
        return None
    if deadline.affirmation_shown is Reason.AFFIRMATION_LATE:
        return Reason.AFFIRMATION_LATE  # also when the machine's clock was put back
    if now_us >= deadline.affirm_by_us:
        return Reason.AFFIRMATION_LATE
    return Reason.AFFIRMATION_DUE if now_us >= deadline.affirm_warning_at_us else None


def _what_is_traded(trade: AllocatedTrade) -> str:
    return f"{trade.side} {rules.text(trade.quantity)} {trade.isin} for {trade.account}"


def summary_of(confirmation: ReceivedConfirmation) -> dict[str, str]:
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
