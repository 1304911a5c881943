"""Cancels of either side: alone before the match is agreed (CAND), by both afterwards (CREQ, then CANA or CREJ).

The counterparty's come as confirmations (FIX 35=AK with ConfirmTransType 666 = 1 or 2, or ConfirmStatus 665 = 5 for a
refusal) and are dispatched by the stage to `take_change`. Of our own side is taking_back.py.

A cancel that comes before what it cancels is remembered, and what it names is cancelled the moment it comes.
"""

from __future__ import annotations

from typing import NamedTuple

from services.confirmation import rules
from services.confirmation.desk import Desk
from services.confirmation.notices import (
    AGREED,
    Subject,
    name_of,
    subject_id,
    subject_of_confirmation,
    subject_of_match,
)
from services.confirmation.state import (
    CancelRequest,
    ConfirmationChange,
    MatchedAllocation,
    MatchedConfirmation,
    OpenConfirmation,
    Withdrawn,
)
from services.confirmation.statuses import Asking, Happening
from services.domain.code import ConfirmationStatus, ConfirmationTransactionType
from services.domain.event import ReceivedConfirmation
from services.domain.exceptions import ValueAtRisk, value_of_amount
from services.domain.reason import Reason
from services.domain.record import replace
from services.stage import Suppress

ALREADY_CANCELLED = Suppress(cause="already_cancelled")

REQUESTED, REFUSED = Reason.CONFIRMATION_CANCEL_REQUESTED, Reason.CONFIRMATION_CANCEL_REFUSED


class Match(NamedTuple):
    """An agreed match that somebody wants to cancel."""

    allocation_id: str
    confirmation_key: str
    fingerprint: str
    counterparty: str
    match_key: str
    order_id: str | None


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
    if withdrawn is not None or matched is None:
        _withdraw(desk, named, by=key, confirmation=confirmation, timestamp_us=timestamp_us)
        desk.take_confirmation(confirmation, timestamp_us)
        return
    state.put(key, OpenConfirmation(confirmation=confirmation))
    desk.waits.begin(key, Reason.UNMATCHED_CONFIRMATION, timestamp_us)
    told = f"It replaces {name_of(named)}, which is matched; it waits for our answer."
    desk.notices.report(subject_of_confirmation(key, confirmation), Happening.DEFERRED, message=told)
    _ask(desk, _match(desk, named, matched, confirmation), by=key, replacement=key)


def _match(
    desk: Desk, confirmation_key: str, matched: MatchedConfirmation, confirmation: ReceivedConfirmation
) -> Match:
    """The agreed match of a confirmation that another one names."""
    ours = desk.state.get(MatchedAllocation, matched.allocation_id)
    assert ours is not None, f"allocation {matched.allocation_id} is matched but not remembered"
    return Match(
        allocation_id=matched.allocation_id,
        confirmation_key=confirmation_key,
        fingerprint=rules.fingerprint_of(matched),
        counterparty=confirmation.sender,
        match_key=confirmation.match_key,
        order_id=ours.order_id,
    )


def _withdraw(desk: Desk, named: str, *, by: str, confirmation: ReceivedConfirmation, timestamp_us: int) -> bool:
    """Cancel a confirmation on behalf of its sender; say whether that changed anything."""
    state = desk.state
    matched = state.get(MatchedConfirmation, named)
    if matched is not None:
        _ask(desk, _match(desk, named, matched, confirmation), by=by)
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
    desk.answer(named, told=told)
    desk.remove_confirmation(named, waiting.confirmation)
    return True


def _take_refusal(desk: Desk, key: str, named: str) -> None:
    """The counterparty does not agree that our side took back a match that it had confirmed: a person has to talk."""
    waiting = desk.state.get(OpenConfirmation, named)
    allocation_id = None if waiting is None else waiting.freed_by
    request = None if allocation_id is None else desk.state.get(CancelRequest, allocation_id)
    if waiting is None or allocation_id is None or request is None or request.refused:
        desk.notices.open(
            Reason.CONFIRMATION_REFERENCE_UNKNOWN,
            subject=subject_id(key),
            message=f"Confirmation {name_of(key)} refuses to cancel {name_of(named)}; our side has not asked for that.",
            details={"reference_id": subject_id(named)},
        )
        return
    desk.state.put(allocation_id, replace(request, refused=True))
    told = f"The counterparty refused by {name_of(key)} to cancel the match that our side took back."
    subject = subject_of_match(allocation_id, waiting.confirmation)
    desk.notices.report(subject, Happening.REFUSED_BY_THEM, message=told)
    details = {"confirmation": subject_id(named)}
    desk.notices.open(
        REFUSED,
        subject=allocation_id,
        order_id=request.order_id,
        message=told,
        details=details,
        value=value_of_amount(waiting.confirmation.net_amount, waiting.confirmation.currency),
    )


# --- a match that is agreed ------------------------------------------------------------------------------------------


def _ask(desk: Desk, match: Match, *, by: str, replacement: str | None = None) -> None:
    """The counterparty wants to cancel an agreed match; it holds until our side cancels, too, or refuses."""
    state, allocation_id = desk.state, match.allocation_id
    request = state.get(CancelRequest, allocation_id)
    waiting = () if request is None else request.replacements
    replacements = waiting if replacement is None else (*waiting, replacement)
    if request is not None and not request.refused:
        state.put(allocation_id, replace(request, replacements=replacements))
        if replacement is None:  # else it was told that the replacement waits
            desk.outcomes.append(ALREADY_CANCELLED)
        return
    told = "The counterparty asks to cancel the match with "
    told = f"{told}{name_of(match.confirmation_key)}; it holds until our side answers."
    desk.notices.report(subject_of(match), Happening.CANCELLED_BY_THEM, message=told, otherwise=AGREED)
    details = {"asked_by": Asking.THEIRS.value, "confirmation": subject_id(match.confirmation_key)}
    desk.notices.open(
        REQUESTED,
        subject=allocation_id,
        order_id=match.order_id,
        message=told,
        details=details,
        value=_value_of_match(desk, match),
    )
    row = CancelRequest(
        asked_by=Asking.THEIRS,
        by=by,
        counterparty=match.counterparty,
        match_key=match.match_key,
        replacements=replacements,
    )
    state.put(allocation_id, row)


def _value_of_match(desk: Desk, match: Match) -> ValueAtRisk | None:
    """What was agreed; unknown of a match that was made before confirmations were kept."""
    matched = desk.state.get(MatchedConfirmation, match.confirmation_key)
    agreed = None if matched is None else matched.confirmation
    return None if agreed is None else value_of_amount(agreed.net_amount, agreed.currency)


def grant(desk: Desk, match: Match, request: CancelRequest) -> None:
    """Both sides have cancelled: the match is gone, and a replacement that waited for this is free.

    Also when our side had refused before: what it takes back now is what the counterparty asked for.
    """
    state, allocation_id = desk.state, match.allocation_id
    told = f"Both sides cancelled the match with {name_of(match.confirmation_key)}."
    both = (Happening.CANCELLED_BY_US, Happening.CANCELLED_BY_THEM)
    desk.notices.report(subject_of(match), *both, message=told, otherwise=AGREED)
    if not request.refused:
        desk.notices.close(REQUESTED, subject=allocation_id, order_id=match.order_id)
    state.delete(CancelRequest, allocation_id)
    state.delete(MatchedConfirmation, match.confirmation_key)
    row = Withdrawn(by=request.by, sender=match.counterparty, match_key=match.match_key, fingerprint=match.fingerprint)
    state.put(match.confirmation_key, row)
    theirs = (Happening.FREED, Happening.CANCELLED_BY_THEM)  # as when our side had been the first
    desk.notices.report(their_subject_of(match), *theirs, message=told, otherwise=AGREED)
    for key in request.replacements:
        _free(desk, key)


def _free(desk: Desk, key: str) -> None:
    waiting = desk.state.get(OpenConfirmation, key)
    if waiting is None:
        return  # it was itself cancelled meanwhile
    confirmation = waiting.confirmation
    told = "What it replaces is cancelled; it may be matched."
    desk.notices.report(subject_of_confirmation(key, confirmation), Happening.PARTED, message=told)
    group = desk.group(confirmation.match_key)
    desk.evaluate(confirmation.match_key, replace(group, confirmations=(*group.confirmations, key)))


def their_subject_of(match: Match) -> Subject:
    """The confirmation of a match, when it is cancelled."""
    return replace(subject_of(match), key=match.confirmation_key, allocation_id=None)


def subject_of(match: Match) -> Subject:
    """Our side of a match, with the confirmation that it has."""
    return Subject(
        key=match.allocation_id,
        allocation_id=match.allocation_id,
        counterparty=match.counterparty,
        confirmation_id=match.confirmation_key.partition("\x1f")[2],
        match_key=match.match_key,
    )
