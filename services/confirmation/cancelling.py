"""Cancels of either side: alone before the match is agreed (CAND), by both afterwards (CREQ, then CANA or CREJ).

The counterparty's come as confirmations (FIX 35=AK with ConfirmTransType 666 = 1 or 2, or ConfirmStatus 665 = 5 for a
refusal) and are dispatched by the stage to `take_change`. Our own side calls `take_back` for an allocation that is
taken back, and `refuse` when it does not grant the counterparty's request.

A cancel that comes before what it cancels is remembered, and what it names is cancelled the moment it comes.
"""

from __future__ import annotations

from typing import NamedTuple

from services.confirmation import rules
from services.confirmation.desk import DUPLICATE, Desk
from services.confirmation.notices import (
    AGREED,
    Subject,
    name_of,
    subject_id,
    subject_of_allocation,
    subject_of_confirmation,
)
from services.confirmation.state import (
    CancelRequest,
    ConfirmationChange,
    MatchedAllocation,
    MatchedConfirmation,
    OpenAllocation,
    OpenConfirmation,
    Withdrawn,
)
from services.confirmation.statuses import Asking, Happening, Standing
from services.domain.code import ConfirmationStatus, ConfirmationTransactionType, MatchStatus
from services.domain.event import AllocatedTrade, ReceivedConfirmation
from services.domain.reason import Reason
from services.domain.record import replace
from services.stage import Outcome, State, Suppress

ALREADY_CANCELLED = Suppress(cause="already_cancelled")

_REQUESTED, _REFUSED = Reason.CONFIRMATION_CANCEL_REQUESTED, Reason.CONFIRMATION_CANCEL_REFUSED


class TakenBack(NamedTuple):
    """What became of an allocation that our side takes back."""

    status: MatchStatus
    """CAND or CANA: it is gone. CREQ: it is agreed with the counterparty, and holds until that answers."""
    outcomes: list[Outcome]


class _Match(NamedTuple):
    """An agreed match that somebody wants to cancel."""

    allocation_id: str
    confirmation_key: str
    fingerprint: str
    counterparty: str
    match_key: str
    order_id: str | None


# --- our side --------------------------------------------------------------------------------------------------------


def take_back(state: State, trade: AllocatedTrade, *, now_us: int) -> TakenBack:
    """Take an allocation of ours back, whether it has come, is open, or is matched.

    Open, or not come yet: it is gone at once (CAND). Matched: it is a request to the counterparty (CREQ), or grants the
    one that the counterparty has made (CANA). Again: nothing. Settlement must undo only what is CANA, never CREQ.
    """
    desk = Desk(state, now_us=now_us, unconfirmed_after_us=0)
    return TakenBack(_take_back(desk, trade), desk.outcomes)


def _take_back(desk: Desk, trade: AllocatedTrade) -> MatchStatus:
    key, state = trade.allocation_id, desk.state
    withdrawn = state.get(Withdrawn, key)
    if withdrawn is not None:
        desk.outcomes.append(DUPLICATE)
        return MatchStatus.CAND if withdrawn.by is None else MatchStatus.CANA
    matched = state.get(MatchedAllocation, key)
    if matched is not None:
        found = state.get(MatchedConfirmation, matched.confirmation_key)
        assert found is not None, f"{matched.confirmation_key!r} confirms {key} but is not remembered"
        match = _Match(
            key, matched.confirmation_key, found.fingerprint, trade.counterparty, trade.match_key, matched.order_id
        )
        return _ask(desk, match, asked_by=Asking.OURS, by=None)
    state.put(key, Withdrawn(by=None, sender=trade.counterparty, match_key=trade.match_key))
    waiting = state.get(OpenAllocation, key)
    told = "Taken back by our side before the match was agreed."
    desk.notices.report(subject_of_allocation(trade), Happening.CANCELLED_BY_US, message=told)
    if waiting is not None:
        desk.remove_allocation(waiting.trade)
    return MatchStatus.CAND


def refuse(state: State, allocation_id: str, *, now_us: int) -> TakenBack:
    """Refuse the counterparty's request to cancel the match of an allocation; nothing when there is no such request."""
    desk = Desk(state, now_us=now_us, unconfirmed_after_us=0)
    request = state.get(CancelRequest, allocation_id)
    matched = state.get(MatchedAllocation, allocation_id)
    if request is None or matched is None:
        desk.outcomes.append(ALREADY_CANCELLED)
        return TakenBack(MatchStatus.CANA if matched is None else MatchStatus.MAGR, desk.outcomes)
    if request.refused or request.asked_by is Asking.OURS:
        desk.outcomes.append(DUPLICATE)
        return TakenBack(MatchStatus.CREJ if request.refused else MatchStatus.CREQ, desk.outcomes)
    subject = _subject(allocation_id, matched.confirmation_key, request.counterparty, request.match_key)
    told = "Our side refused to cancel the match; it holds."
    standing = desk.notices.report(subject, Happening.REFUSED_BY_US, message=told, otherwise=AGREED)
    state.put(allocation_id, replace(request, refused=True))
    desk.notices.close(_REQUESTED, subject=allocation_id, order_id=matched.order_id)
    _disqualify(desk, request)
    return TakenBack(standing.status, desk.outcomes)


def _disqualify(desk: Desk, request: CancelRequest) -> None:
    """What was to replace a confirmation that keeps its match can confirm nothing."""
    for key in request.replacements:
        waiting = desk.state.get(OpenConfirmation, key)
        if waiting is not None:
            told = "What it replaces stays matched: the request to cancel was refused."
            subject = subject_of_confirmation(key, waiting.confirmation)
            desk.notices.report(subject, Happening.CONTRADICTED, message=told)


# --- the counterparty's side -----------------------------------------------------------------------------------------


def take_change(desk: Desk, confirmation: ReceivedConfirmation, timestamp_us: int) -> None:
    """Take a confirmation that names another: it replaces it, cancels it, or refuses to cancel it."""
    key = rules.confirmation_key(confirmation)
    if desk.take_change_repetition(key, confirmation):
        return
    assert confirmation.reference_id is not None
    named = f"{confirmation.sender}\x1f{confirmation.reference_id}"
    if confirmation.confirmation_status is ConfirmationStatus.REQUEST_REJECTED:
        _remember(desk, key, named, confirmation)
        _take_refusal(desk, key, named)
    elif confirmation.transaction_type is ConfirmationTransactionType.CANCEL:
        _remember(desk, key, named, confirmation)
        if not _withdraw(desk, named, by=key, confirmation=confirmation, timestamp_us=timestamp_us):
            desk.outcomes.append(ALREADY_CANCELLED)
    elif confirmation.transaction_type is ConfirmationTransactionType.REPLACE:
        _take_replacement(desk, key, named, confirmation, timestamp_us)
    else:
        desk.take_confirmation(confirmation, timestamp_us)


def _remember(desk: Desk, key: str, named: str, confirmation: ReceivedConfirmation) -> None:
    row = ConfirmationChange(fingerprint=rules.fingerprint(confirmation), reference=named)
    desk.state.put(key, row)


def _take_replacement(desk: Desk, key: str, named: str, confirmation: ReceivedConfirmation, timestamp_us: int) -> None:
    """It cancels what it names, and stands for it; where that is agreed, it waits for our answer outside of its group.

    Also when it was itself cancelled before it came: what it names is replaced all the same.
    """
    state = desk.state
    withdrawn = state.get(Withdrawn, key)
    is_known = state.get(OpenConfirmation, key) is not None or state.get(MatchedConfirmation, key) is not None
    if is_known or (withdrawn is not None and withdrawn.fingerprint is not None):
        desk.take_confirmation(confirmation, timestamp_us)
        return
    matched = state.get(MatchedConfirmation, named)
    if withdrawn is not None or matched is None or _is_granted(desk, matched.allocation_id):
        _withdraw(desk, named, by=key, confirmation=confirmation, timestamp_us=timestamp_us)
        desk.take_confirmation(confirmation, timestamp_us)
        return
    state.put(key, OpenConfirmation(confirmation=confirmation))
    desk.waits.begin(key, Reason.UNMATCHED_CONFIRMATION, timestamp_us)
    told = f"It replaces {name_of(named)}, which is matched; it waits for our answer."
    desk.notices.report(subject_of_confirmation(key, confirmation), Happening.DEFERRED, message=told)
    _ask(desk, _match(desk, named, matched, confirmation), asked_by=Asking.THEIRS, by=key, replacement=key)


def _match(
    desk: Desk, confirmation_key: str, matched: MatchedConfirmation, confirmation: ReceivedConfirmation
) -> _Match:
    """The agreed match of a confirmation that another one names."""
    ours = desk.state.get(MatchedAllocation, matched.allocation_id)
    assert ours is not None, f"allocation {matched.allocation_id} is matched but not remembered"
    return _Match(
        allocation_id=matched.allocation_id,
        confirmation_key=confirmation_key,
        fingerprint=matched.fingerprint,
        counterparty=confirmation.sender,
        match_key=confirmation.match_key,
        order_id=ours.order_id,
    )


def _is_granted(desk: Desk, allocation_id: str) -> bool:
    """Whether our side has asked for what the counterparty wants too."""
    request = desk.state.get(CancelRequest, allocation_id)
    return request is not None and request.asked_by is Asking.OURS and not request.refused


def _withdraw(desk: Desk, named: str, *, by: str, confirmation: ReceivedConfirmation, timestamp_us: int) -> bool:
    """Cancel a confirmation on behalf of its sender; say whether that changed anything."""
    state = desk.state
    matched = state.get(MatchedConfirmation, named)
    if matched is not None:
        _ask(desk, _match(desk, named, matched, confirmation), asked_by=Asking.THEIRS, by=by)
        return True
    if state.get(Withdrawn, named) is not None:
        return False
    waiting = state.get(OpenConfirmation, named)
    row = Withdrawn(by=by, sender=confirmation.sender, match_key=confirmation.match_key)
    if waiting is None:
        state.put(named, row)
        desk.waits.begin(named, Reason.CONFIRMATION_REFERENCE_UNKNOWN, timestamp_us)
        return True
    state.put(named, replace(row, fingerprint=rules.fingerprint(waiting.confirmation)))
    told = f"Cancelled or replaced by {name_of(by)} before it was matched."
    subject = subject_of_confirmation(named, waiting.confirmation)
    desk.notices.report(subject, Happening.CANCELLED_BY_THEM, message=told)
    desk.remove_confirmation(named, waiting.confirmation)
    return True


def _take_refusal(desk: Desk, key: str, named: str) -> None:
    matched = desk.state.get(MatchedConfirmation, named)
    request = None if matched is None else desk.state.get(CancelRequest, matched.allocation_id)
    if matched is None or request is None or request.refused or request.asked_by is Asking.THEIRS:
        desk.notices.open(
            Reason.CONFIRMATION_REFERENCE_UNKNOWN,
            subject=subject_id(key),
            message=f"Confirmation {name_of(key)} refuses to cancel {name_of(named)}; our side has not asked for that.",
            details={"reference_id": subject_id(named)},
        )
        return
    allocation_id = matched.allocation_id
    ours = desk.state.get(MatchedAllocation, allocation_id)
    order_id = None if ours is None else ours.order_id
    desk.state.put(allocation_id, replace(request, refused=True))
    subject = _subject(allocation_id, named, request.counterparty, request.match_key)
    told = f"The counterparty refused to cancel the match by {name_of(key)}; it holds."
    desk.notices.report(subject, Happening.REFUSED_BY_THEM, message=told, otherwise=AGREED)
    desk.notices.close(_REQUESTED, subject=allocation_id, order_id=order_id)
    details = {"confirmation": subject_id(named)}
    desk.notices.open(_REFUSED, subject=allocation_id, order_id=order_id, message=told, details=details)


# --- a match that is agreed ------------------------------------------------------------------------------------------


def _ask(desk: Desk, match: _Match, *, asked_by: Asking, by: str | None, replacement: str | None = None) -> MatchStatus:
    """Cancel an agreed match on behalf of one side: a request, or what grants the other side's."""
    state, allocation_id = desk.state, match.allocation_id
    request = state.get(CancelRequest, allocation_id)
    ours = asked_by is Asking.OURS
    waiting = () if request is None else request.replacements
    replacements = waiting if replacement is None else (*waiting, replacement)
    if request is not None and not request.refused:
        if request.asked_by is asked_by:
            state.put(allocation_id, replace(request, replacements=replacements))
            if replacement is None:  # else it was told that the replacement waits
                desk.outcomes.append(DUPLICATE if ours else ALREADY_CANCELLED)
            return MatchStatus.CREQ
        return _cancel(desk, match, request, what=_cancel_by(asked_by), by=by or request.by)
    told = "Our side asks" if ours else "The counterparty asks"
    told = f"{told} to cancel the match with {name_of(match.confirmation_key)}; it holds until the other side answers."
    standing = desk.notices.report(_subject_of(match), _cancel_by(asked_by), message=told, otherwise=AGREED)
    if request is not None and request.refused and request.asked_by is Asking.OURS:
        desk.notices.close(_REFUSED, subject=allocation_id, order_id=match.order_id)
    details = {"asked_by": asked_by.value, "confirmation": subject_id(match.confirmation_key)}
    desk.notices.open(_REQUESTED, subject=allocation_id, order_id=match.order_id, message=told, details=details)
    row = CancelRequest(
        asked_by=asked_by, by=by, counterparty=match.counterparty, match_key=match.match_key, replacements=replacements
    )
    state.put(allocation_id, row)
    return standing.status


def _cancel_by(side: Asking) -> Happening:
    return Happening.CANCELLED_BY_US if side is Asking.OURS else Happening.CANCELLED_BY_THEM


def _cancel(desk: Desk, match: _Match, request: CancelRequest, *, what: Happening, by: str | None) -> MatchStatus:
    """Both sides have cancelled: the match is gone, and a replacement that waited for this is free."""
    state, allocation_id = desk.state, match.allocation_id
    told = f"Both sides cancelled the match with {name_of(match.confirmation_key)}."
    standing: Standing = desk.notices.report(_subject_of(match), what, message=told, otherwise=AGREED)
    desk.notices.close(_REQUESTED, subject=allocation_id, order_id=match.order_id)
    state.delete(CancelRequest, allocation_id)
    state.delete(MatchedAllocation, allocation_id)
    state.delete(MatchedConfirmation, match.confirmation_key)
    row = Withdrawn(by=by, sender=match.counterparty, match_key=match.match_key)
    state.put(allocation_id, row)
    state.put(match.confirmation_key, replace(row, fingerprint=match.fingerprint))
    for key in request.replacements:
        _free(desk, key)
    return standing.status


def _free(desk: Desk, key: str) -> None:
    waiting = desk.state.get(OpenConfirmation, key)
    if waiting is None:
        return  # it was itself cancelled meanwhile
    confirmation = waiting.confirmation
    told = "What it replaces is cancelled; it may be matched."
    desk.notices.report(subject_of_confirmation(key, confirmation), Happening.PARTED, message=told)
    group = desk.group(confirmation.match_key)
    desk.evaluate(confirmation.match_key, replace(group, confirmations=(*group.confirmations, key)))


def _subject_of(match: _Match) -> Subject:
    return _subject(match.allocation_id, match.confirmation_key, match.counterparty, match.match_key)


def _subject(allocation_id: str, confirmation_key: str, counterparty: str, match_key: str) -> Subject:
    confirmation_id = confirmation_key.partition("\x1f")[2]
    return Subject(
        key=allocation_id,
        allocation_id=allocation_id,
        counterparty=counterparty,
        confirmation_id=confirmation_id,
        match_key=match_key,
    )
