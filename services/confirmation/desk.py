"""One call's work on the two sides of trades: what arrives meets in a group, and what belongs together is matched."""

from __future__ import annotations

from services.confirmation import rules
from services.confirmation.notices import (
    Notices,
    name_of,
    subject_id,
    subject_of_allocation,
    subject_of_confirmation,
    subject_of_match,
)
from services.confirmation.state import (
    CancelRequest,
    ConfirmationChange,
    MatchedAllocation,
    MatchedConfirmation,
    MatchGroup,
    Mismatch,
    OpenAllocation,
    OpenConfirmation,
    Withdrawn,
    open_confirmation,
    open_trade,
)
from services.confirmation.statuses import Happening
from services.confirmation.tolerances import tolerances_for
from services.confirmation.waits import Waits, summary_of
from services.domain.event import AllocatedTrade, ReceivedConfirmation
from services.domain.exceptions import value_of_amount
from services.domain.reason import Reason
from services.domain.record import replace
from services.stage import Outcome, Publish, State, Suppress

OUTPUT_TOPIC = "trades.confirmed"

DUPLICATE = Suppress(cause="duplicate")

_AGREED = (Happening.MATCHED, Happening.COMPLETED)


class Desk:
    """Reads and writes state, and collects outcomes; one for each call of the stage."""

    def __init__(self, state: State, *, now_us: int, unconfirmed_after_us: int) -> None:
        """Take the state of the partition, the time of the call, and how long a side may wait, in microseconds."""
        self.state = state
        self.notices = Notices(state, now_us=now_us)
        self.waits = Waits(state, self.notices, now_us=now_us, unconfirmed_after_us=unconfirmed_after_us)

    @property
    def outcomes(self) -> list[Outcome]:
        """What came of the call so far."""
        return self.notices.outcomes

    # --- arrivals ----------------------------------------------------------------------------------------------------

    def take_allocation(self, trade: AllocatedTrade, timestamp_us: int) -> None:
        """Put an allocated trade before the confirmations of its group, unless it was seen or is taken back."""
        key, state = trade.allocation_id, self.state
        if (
            state.get(OpenAllocation, key) is not None
            or state.get(MatchedAllocation, key) is not None
            or state.get(Withdrawn, key) is not None
        ):
            self.outcomes.append(DUPLICATE)
            return
        state.put(key, OpenAllocation(trade=trade))
        self.waits.begin_allocation(trade, timestamp_us)
        group = self.group(trade.match_key)
        self.evaluate(trade.match_key, replace(group, allocations=(*group.allocations, key)))

    def take_confirmation(self, confirmation: ReceivedConfirmation, timestamp_us: int) -> None:
        """Put a confirmation before the allocations of its group, unless it was seen.

        A repetition is suppressed. The same id with other content is shown, and the first stands. What was cancelled
        before it came is remembered as cancelled.
        """
        key = rules.confirmation_key(confirmation)
        withdrawn = self.state.get(Withdrawn, key)
        known = self._known_fingerprint(key) if withdrawn is None else withdrawn.fingerprint
        if known is not None:
            self.take_repetition(confirmation, known)
            return
        if withdrawn is not None:
            self._take_cancelled(key, confirmation, withdrawn)
            return
        self.state.put(key, OpenConfirmation(confirmation=confirmation))
        self.waits.begin(key, Reason.UNMATCHED_CONFIRMATION, timestamp_us)
        group = self.group(confirmation.match_key)
        self.evaluate(confirmation.match_key, replace(group, confirmations=(*group.confirmations, key)))

    def _known_fingerprint(self, key: str) -> str | None:
        matched = self.state.get(MatchedConfirmation, key)
        if matched is not None:
            return rules.fingerprint_of(matched)
        waiting = self.state.get(OpenConfirmation, key)
        return None if waiting is None else rules.fingerprint(waiting.confirmation)

    def take_repetition(self, confirmation: ReceivedConfirmation, known: str) -> None:
        """The same again needs nothing; the same id with other content must be seen, and the first stands."""
        if rules.fingerprint(confirmation) == known:
            self.outcomes.append(DUPLICATE)
            return
        key = rules.confirmation_key(confirmation)
        self.notices.open(
            Reason.CONFIRMATION_CONFLICTS,
            subject=subject_id(key),
            message=f"Confirmation {name_of(key)} came again with other content; the first stands.",
            details=summary_of(confirmation),
            value=value_of_amount(confirmation.net_amount, confirmation.currency),
        )

    def take_change_repetition(self, key: str, confirmation: ReceivedConfirmation) -> bool:
        """Whether a cancellation or refusal under this id was taken before; then it is treated as a repetition."""
        known = self.state.get(ConfirmationChange, key)
        if known is None:
            return False
        self.take_repetition(confirmation, known.fingerprint)
        return True

    def _take_cancelled(self, key: str, confirmation: ReceivedConfirmation, withdrawn: Withdrawn) -> None:
        """What cancels it came first, so that it never was open."""
        self.waits.end(key)
        self.state.put(key, replace(withdrawn, fingerprint=rules.fingerprint(confirmation)))
        subject = subject_of_confirmation(key, confirmation)
        self.notices.report(
            subject, Happening.CANCELLED_BY_THEM, message="Its cancellation or replacement came before it."
        )

    # --- matching ----------------------------------------------------------------------------------------------------

    def group(self, match_key: str) -> MatchGroup:
        """What is open under a match key."""
        return self.state.get(MatchGroup, match_key) or MatchGroup()

    def evaluate(self, match_key: str, group: MatchGroup) -> None:
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
            self.state.put(match_key, left)
        else:
            self.state.delete(MatchGroup, match_key)

    def _ours(self, group: MatchGroup) -> list[rules.Ours]:
        trades = [open_trade(self.state, allocation_id) for allocation_id in group.allocations]
        reference = self.state.reference
        return [rules.Ours(trade=trade, tolerances=tolerances_for(trade, reference)) for trade in trades]

    def _theirs(self, group: MatchGroup) -> list[rules.Theirs]:
        return [rules.Theirs(key=key, confirmation=open_confirmation(self.state, key)) for key in group.confirmations]

    def _confirm(self, pair: rules.Pair) -> None:
        """Publish the confirmed trade, and close and forget what was open for its two sides."""
        trade, confirmation = pair.ours.trade, pair.theirs.confirmation
        allocation_id, key = pair.ours.key, pair.theirs.key
        populated, profile = rules.populated_fields(pair), pair.ours.tolerances.profile
        event = rules.confirmed_trade(trade, confirmation, profile=profile, populated=populated)
        self.outcomes.append(Publish(topic=OUTPUT_TOPIC, key=allocation_id, event=event))
        self.forget_mismatch(trade)
        self.waits.end(allocation_id, order_id=trade.order_id)
        due_at_us = self.waits.end(key)
        self._report_agreed(trade, key, confirmation)
        self.answer(key, told=f"Confirmation {name_of(key)} confirms allocation {allocation_id} now.")
        self.state.delete(OpenAllocation, allocation_id)
        self.state.delete(OpenConfirmation, key)
        ours = MatchedAllocation(
            confirmation_key=key, order_id=trade.order_id, matching_profile=profile, populated=populated
        )
        self.state.put(allocation_id, ours)
        theirs = MatchedConfirmation(allocation_id=allocation_id, confirmation=confirmation, due_at_us=due_at_us)
        self.state.put(key, theirs)

    def _report_agreed(self, trade: AllocatedTrade, key: str, confirmation: ReceivedConfirmation) -> None:
        """Of what was told about before; all else is told by the confirmed trade itself."""
        allocation_id = trade.allocation_id
        if self.notices.is_reported(allocation_id):
            told = f"Matched with confirmation {name_of(key)}."
            self.notices.report(subject_of_allocation(trade, confirmation.confirmation_id), *_AGREED, message=told)
        if self.notices.is_reported(key):
            told = f"Matched with allocation {allocation_id}."
            self.notices.report(subject_of_confirmation(key, confirmation, allocation_id), *_AGREED, message=told)

    def forget_mismatch(self, trade: AllocatedTrade) -> bool:
        """Close CONFIRMATION_MISMATCHED of an allocation; say whether it was open."""
        allocation_id = trade.allocation_id
        if self.state.get(Mismatch, allocation_id) is None:
            return False
        self.state.delete(Mismatch, allocation_id)
        self.notices.close(Reason.CONFIRMATION_MISMATCHED, subject=allocation_id, order_id=trade.order_id)
        return True

    def _exchange_mismatch(self, allocation_id: str, pair: rules.Pair | None) -> None:
        """Open, change or close CONFIRMATION_MISMATCHED of an allocation; nothing is said when nothing changed."""
        shown = self.state.get(Mismatch, allocation_id)
        if pair is None:
            if shown is not None:
                trade = open_trade(self.state, allocation_id)
                self.forget_mismatch(trade)
                told = "What it was paired with is cancelled, or belongs to another."
                self.notices.report(subject_of_allocation(trade), Happening.PARTED, message=told)
            return
        if shown is not None and shown.confirmation_key == pair.theirs.key:
            return
        trade, confirmation = pair.ours.trade, pair.theirs.confirmation
        told = f"Confirmation {name_of(pair.theirs.key)} differs from the allocated trade in "
        self.notices.open(
            Reason.CONFIRMATION_MISMATCHED,
            subject=allocation_id,
            order_id=trade.order_id,
            message=f"{told}{', '.join(pair.failures)}.",
            details=pair.failures,
            value=value_of_amount(trade.net_amount, trade.currency),
        )
        self.state.put(allocation_id, Mismatch(confirmation_key=pair.theirs.key))
        subject = subject_of_allocation(trade, confirmation.confirmation_id)
        self.notices.report(subject, Happening.DIFFERED, message=f"{told}{', '.join(pair.failures)}.")

    # --- taking away -------------------------------------------------------------------------------------------------

    def remove_allocation(self, trade: AllocatedTrade) -> None:
        """Take an open allocation out of its group, and close all that was shown of it."""
        allocation_id = trade.allocation_id
        group = self.group(trade.match_key)
        self.forget_mismatch(trade)
        self.waits.end(allocation_id, order_id=trade.order_id)
        self.state.delete(OpenAllocation, allocation_id)
        left = tuple(key for key in group.allocations if key != allocation_id)
        self.evaluate(trade.match_key, replace(group, allocations=left))

    def answer(self, key: str, *, told: str) -> None:
        """The counterparty agrees that the match of this open confirmation was taken back by our side, if it was."""
        waiting = self.state.get(OpenConfirmation, key)
        if waiting is None or waiting.freed_by is None:
            return
        allocation_id, state = waiting.freed_by, self.state
        request = state.get(CancelRequest, allocation_id)
        assert request is not None, f"match of {allocation_id} was taken back but is not remembered"
        state.delete(CancelRequest, allocation_id)
        subject = subject_of_match(allocation_id, waiting.confirmation)
        self.notices.report(subject, Happening.CANCELLED_BY_US, Happening.CANCELLED_BY_THEM, message=told)
        if request.refused:
            reason = Reason.CONFIRMATION_CANCEL_REFUSED
            self.notices.close(reason, subject=allocation_id, order_id=request.order_id)

    def free_confirmation(self, key: str, freed_by: str) -> None:
        """A confirmation whose match our side took back is open again, and compared with what stands."""
        row = self.state.get(MatchedConfirmation, key)
        assert row is not None, f"confirmation {key!r} has matched but is not remembered"
        assert row.confirmation is not None, f"confirmation {key!r} was matched before its content was kept"
        confirmation = row.confirmation
        self.state.delete(MatchedConfirmation, key)
        self.state.put(key, OpenConfirmation(confirmation=confirmation, freed_by=freed_by))
        self.waits.resume(key, row.due_at_us)
        if self.notices.is_reported(key):
            told = f"Our side took allocation {freed_by} back; it is compared with what stands."
            self.notices.report(subject_of_confirmation(key, confirmation), Happening.FREED, message=told)
        group = self.group(confirmation.match_key)
        self.evaluate(confirmation.match_key, replace(group, confirmations=(*group.confirmations, key)))

    def remove_confirmation(self, key: str, confirmation: ReceivedConfirmation) -> None:
        """Take an open confirmation out of its group, and close all that was shown of it."""
        group = self.group(confirmation.match_key)
        self.waits.end(key)
        self.state.delete(OpenConfirmation, key)
        left = tuple(other for other in group.confirmations if other != key)
        self.evaluate(confirmation.match_key, replace(group, confirmations=left))
