"""Our side of cancels: an allocation that is taken back, and the answer to what the counterparty asks.

An allocation that is open, or has not come, is gone at once (CAND). When it was matched, settlement must hear at once:
a ConfirmedTrade with function CANCEL takes back what was confirmed. The counterparty has still to agree (CREQ), and
does so by cancelling or replacing its confirmation, or when that confirms another allocation (CANA). Until then its
confirmation is compared with whatever is open under its match key: with the next version as soon as that comes.
"""

from __future__ import annotations

from services.confirmation import rules
from services.confirmation.cancelling import ALREADY_CANCELLED, REQUESTED, Match, grant, subject_of
from services.confirmation.desk import DUPLICATE, OUTPUT_TOPIC, Desk
from services.confirmation.notices import AGREED, name_of, subject_of_allocation, subject_of_confirmation
from services.confirmation.state import (
    CancelRequest,
    MatchedAllocation,
    MatchedConfirmation,
    OpenAllocation,
    OpenConfirmation,
    Withdrawn,
)
from services.confirmation.statuses import Asking, Happening
from services.domain.event import AllocatedTrade
from services.domain.record import replace
from services.stage import Publish


def take_back(desk: Desk, trade: AllocatedTrade) -> None:
    """Take an allocation out of its group, and out of what was confirmed; `trade` is the event that says so."""
    key, state = trade.allocation_id, desk.state
    if state.get(Withdrawn, key) is not None:
        desk.outcomes.append(DUPLICATE)
        return
    state.put(key, Withdrawn(by=None, sender=trade.counterparty, match_key=trade.match_key))
    matched = state.get(MatchedAllocation, key)
    if matched is not None:
        _undo(desk, trade, matched)
        return
    told = "Taken back by our side before the match was agreed."
    desk.notices.report(subject_of_allocation(trade), Happening.CANCELLED_BY_US, message=told)
    waiting = state.get(OpenAllocation, key)
    if waiting is not None:
        desk.remove_allocation(waiting.trade)


def _undo(desk: Desk, trade: AllocatedTrade, matched: MatchedAllocation) -> None:
    """Take back what was confirmed; ask the counterparty to agree, unless that has asked for it itself."""
    key, state, confirmation_key = trade.allocation_id, desk.state, matched.confirmation_key
    found = state.get(MatchedConfirmation, confirmation_key)
    assert found is not None, f"{confirmation_key!r} confirms {key} but is not remembered"
    assert found.confirmation is not None, f"confirmation {confirmation_key!r} was matched before its content was kept"
    event = rules.confirmed_trade(
        trade, found.confirmation, profile=matched.matching_profile, populated=matched.populated
    )
    desk.outcomes.append(Publish(topic=OUTPUT_TOPIC, key=key, event=event))
    state.delete(MatchedAllocation, key)
    match = Match(
        allocation_id=key,
        confirmation_key=confirmation_key,
        fingerprint=rules.fingerprint_of(found),
        counterparty=trade.counterparty,
        match_key=trade.match_key,
        order_id=trade.order_id,
    )
    request = state.get(CancelRequest, key)
    if request is not None:
        grant(desk, match, request)
        return
    told = f"Our side took back what {name_of(confirmation_key)} confirmed; the counterparty has to agree."
    desk.notices.report(subject_of(match), Happening.CANCELLED_BY_US, message=told, otherwise=AGREED)
    row = CancelRequest(
        asked_by=Asking.OURS,
        by=None,
        counterparty=match.counterparty,
        match_key=match.match_key,
        order_id=match.order_id,
    )
    state.put(key, row)
    desk.free_confirmation(confirmation_key, key)


def refuse(desk: Desk, allocation_id: str) -> None:
    """Refuse the counterparty's request to cancel the match of an allocation; nothing when there is no such request."""
    state = desk.state
    request, matched = state.get(CancelRequest, allocation_id), state.get(MatchedAllocation, allocation_id)
    if request is None or matched is None:
        desk.outcomes.append(ALREADY_CANCELLED)
        return
    if request.refused:
        desk.outcomes.append(DUPLICATE)
        return
    match = Match(
        allocation_id=allocation_id,
        confirmation_key=matched.confirmation_key,
        fingerprint="",
        counterparty=request.counterparty,
        match_key=request.match_key,
        order_id=matched.order_id,
    )
    told = "Our side refused to cancel the match; it holds."
    desk.notices.report(subject_of(match), Happening.REFUSED_BY_US, message=told, otherwise=AGREED)
    state.put(allocation_id, replace(request, refused=True))
    desk.notices.close(REQUESTED, subject=allocation_id, order_id=matched.order_id)
    for key in request.replacements:
        _disqualify(desk, key)


def _disqualify(desk: Desk, key: str) -> None:
    """What was to replace a confirmation that keeps its match can confirm nothing."""
    waiting = desk.state.get(OpenConfirmation, key)
    if waiting is not None:
        told = "What it replaces stays matched: the request to cancel was refused."
        subject = subject_of_confirmation(key, waiting.confirmation)
        desk.notices.report(subject, Happening.CONTRADICTED, message=told)
