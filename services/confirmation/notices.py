"""What the desk and the front office are told: exceptions, and where a match stands."""

from __future__ import annotations

from services.confirmation.state import ShownStatus
from services.confirmation.statuses import Happening, Standing, after
from services.domain.code import ExceptionStatus, MatchStatus
from services.domain.event import AllocatedTrade, ExceptionEvent, MatchStatusChange, MatchStatusReport
from services.domain.event import ReceivedConfirmation as Confirmation
from services.domain.exceptions import About, ValueAtRisk, exception_event
from services.domain.reason import Reason
from services.domain.record import Record
from services.stage import Outcome, Publish, State

NAME = "confirmation"
EXCEPTIONS_TOPIC = "exceptions"
STATUS_TOPIC = "confirmations.status"

HISTORY_MAX = 20
"""Steps that a report tells; two sides that keep missing each other must not make a record grow for ever."""

UNMATCHED = Standing(MatchStatus.NMAT)
AGREED = Standing(MatchStatus.MAGR)


class Subject(Record, kw_only=True):
    """The side that a report is about."""

    key: str
    """Allocation id, or key of a confirmation."""
    allocation_id: str | None
    counterparty: str
    confirmation_id: str | None
    match_key: str


def subject_of_allocation(trade: AllocatedTrade, confirmation_id: str | None = None) -> Subject:
    """Our side, with the confirmation that it is paired with."""
    return Subject(
        key=trade.allocation_id,
        allocation_id=trade.allocation_id,
        counterparty=trade.counterparty,
        confirmation_id=confirmation_id,
        match_key=trade.match_key,
    )


def subject_of_confirmation(key: str, confirmation: Confirmation, allocation_id: str | None = None) -> Subject:
    """Their side, with the allocation that it is matched with."""
    return Subject(
        key=key,
        allocation_id=allocation_id,
        counterparty=confirmation.sender,
        confirmation_id=confirmation.confirmation_id,
        match_key=confirmation.match_key,
    )


def subject_of_match(allocation_id: str, confirmation: Confirmation) -> Subject:
    """Our side, when only the confirmation that it is or was matched with is at hand."""
    return Subject(
        key=allocation_id,
        allocation_id=allocation_id,
        counterparty=confirmation.sender,
        confirmation_id=confirmation.confirmation_id,
        match_key=confirmation.match_key,
    )


def subject_id(key: str) -> str:
    """A side's key as events have it."""
    return key.replace("\x1f", "/")


def name_of(confirmation_key: str) -> str:
    """A confirmation for a sentence."""
    sender, _, confirmation_id = confirmation_key.partition("\x1f")
    return f"{confirmation_id} of {sender}"


class Notices:
    """Collects the outcomes of one call."""

    def __init__(self, state: State, *, now_us: int) -> None:
        """Start with nothing said."""
        self.outcomes: list[Outcome] = []
        self._state = state
        self._now_us = now_us

    def open(
        self,
        reason: Reason,
        *,
        subject: str,
        message: str,
        details: dict[str, str],
        order_id: str | None = None,
        value: ValueAtRisk | None = None,
    ) -> None:
        """Show an exception, or show it anew."""
        self._say(
            exception_event(
                service=NAME,
                reason=reason,
                status=ExceptionStatus.OPEN,
                about=About(subject, order_id, value),
                message=message,
                details=details,
                now_us=self._now_us,
            )
        )

    def close(self, reason: Reason, *, subject: str, order_id: str | None = None) -> None:
        """Close an exception that is open."""
        self._say(
            exception_event(
                service=NAME,
                reason=reason,
                status=ExceptionStatus.CLOSED,
                about=About(subject, order_id),
                message="Closed: the cause is gone.",
                details={},
                now_us=self._now_us,
            )
        )

    def _say(self, event: ExceptionEvent) -> None:
        self.outcomes.append(Publish(topic=EXCEPTIONS_TOPIC, key=event.exception_id, event=event))

    def is_reported(self, key: str) -> bool:
        """Whether anything was ever told about a side."""
        return self._state.get(ShownStatus, key) is not None

    def report(
        self, subject: Subject, *happenings: Happening, message: str, otherwise: Standing = UNMATCHED
    ) -> Standing:
        """Tell what happened to a side, unless that says nothing new; `otherwise` is where it stood if never told."""
        shown = self._state.get(ShownStatus, subject.key)
        standing = otherwise if shown is None else Standing(shown.status, shown.asked_by)
        steps: list[MatchStatusChange] = []
        for what in happenings:
            following = after(standing, what)
            if following != standing:
                steps.append(MatchStatusChange(status=following.status, changed_at_us=self._now_us))
            standing = following
        if not steps and shown is not None and shown.confirmation_id == subject.confirmation_id:
            return standing
        known = () if shown is None else shown.history
        if not steps and not known:
            steps.append(MatchStatusChange(status=standing.status, changed_at_us=self._now_us))
        history = (*known, *steps)[-HISTORY_MAX:]
        row = ShownStatus(
            status=standing.status,
            asked_by=standing.asked_by,
            confirmation_id=subject.confirmation_id,
            history=history,
        )
        self._state.put(subject.key, row)
        name = subject_id(subject.key)
        event = MatchStatusReport(
            subject_id=name,
            status=standing.status,
            allocation_id=subject.allocation_id,
            counterparty=subject.counterparty,
            confirmation_id=subject.confirmation_id,
            match_key=subject.match_key,
            message=message,
            history=history,
        )
        self.outcomes.append(Publish(topic=STATUS_TOPIC, key=name, event=event))
        return standing
