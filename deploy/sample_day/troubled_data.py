"""Troubles with reference data: what is missing for good, what comes late, and what does not fit together."""

from __future__ import annotations

from typing import Any

from deploy.sample_day import catalogue
from deploy.sample_day.counterparties import PARTY_BICS
from deploy.sample_day.dealer import SINGLE_FILL, Dealer, Order, Wish
from deploy.sample_day.flow import Flow, Message, Promise
from deploy.sample_day.plain import settled, stuck
from services.domain.calendar import WHEN_ISSUED
from services.domain.code import AllocationPolicy
from services.domain.event import AllocatedTrade, Execution
from services.domain.reason import Reason
from services.domain.record import replace

_GAP = replace(SINGLE_FILL, gap=True)
_LATE_COUNTERPARTY, _LATE_MARKET = next(gap for gap in sorted(catalogue.LATE_CHAINS) if gap[0] in PARTY_BICS)
_LATE_SHARE, _LATE_SHARE_MARKET = next(
    gap for gap in sorted(catalogue.LATE_CHAINS) if gap[0] in catalogue.EXPLICIT_SHARES
)
_NEVER = sorted(catalogue.MISSING_CHAINS)
_NO_COUNTERPARTY, _NO_COUNTERPARTY_MARKET = next(gap for gap in _NEVER if gap[0] in PARTY_BICS)
_NO_ACCOUNT, _NO_ACCOUNT_MARKET = next(gap for gap in _NEVER if gap[0] in catalogue.SINGLE_ACCOUNTS)
_NO_SHARE, _NO_SHARE_MARKET = next(gap for gap in _NEVER if gap[0] in catalogue.EXPLICIT_SHARES)
_SOUND = PARTY_BICS[0]
"""A counterparty that settles everywhere, where the trouble is with something else."""
_ELSEWHERE, _ELSEWHERE_MARKET = next(iter(catalogue.ELSEWHERE))


def _stuck(dealer: Dealer, wish: Wish, reason: Reason) -> Flow:
    """A fill that waits for ever."""
    order = dealer.order(wish)
    executions = dealer.executions(order)
    return stuck(order, dealer.reported(executions), open_reasons=(reason,) * len(executions))


def unknown_account(dealer: Dealer, _number: int) -> Flow:
    """An account that nobody entered."""
    return _stuck(dealer, replace(_GAP, account=catalogue.UNKNOWN_ACCOUNT), Reason.ACCOUNT_MISSING)


def unknown_instrument(dealer: Dealer, _number: int) -> Flow:
    """A share that nobody entered."""
    return _stuck(dealer, replace(_GAP, security=catalogue.UNKNOWN_SECURITY), Reason.INSTRUMENT_MISSING)


def missing_counterparty_chain(dealer: Dealer, _number: int) -> Flow:
    """A counterparty that does not say where it settles."""
    wish = replace(_GAP, counterparty=_NO_COUNTERPARTY, markets=(_NO_COUNTERPARTY_MARKET,))
    return _stuck(dealer, wish, Reason.COUNTERPARTY_SSI_MISSING)


def missing_account_chain(dealer: Dealer, _number: int) -> Flow:
    """An account that settles by itself, nobody knows where."""
    wish = replace(_GAP, account=_NO_ACCOUNT, markets=(_NO_ACCOUNT_MARKET,), counterparty=_SOUND)
    return _stuck(dealer, wish, Reason.ACCOUNT_SSI_MISSING)


def late_instrument(dealer: Dealer, number: int) -> Flow:
    """A security that is entered late."""
    security = catalogue.LATE_SECURITIES[number % len(catalogue.LATE_SECURITIES)]
    wish = replace(_GAP, security=security, fills=(1, 3), counterparty=_SOUND)
    return _late(dealer, wish, Reason.INSTRUMENT_MISSING)


def when_issued(dealer: Dealer, _number: int) -> Flow:
    """A gilt that is traded before the day of its issue."""
    order = dealer.order(replace(_GAP, security=catalogue.WHEN_ISSUED_SECURITY, counterparty=_SOUND))
    return settled(dealer, order, dealer.reported(_when_issued(dealer, order)))


def late_issue_date(dealer: Dealer, _number: int) -> Flow:
    """A gilt whose issue date is entered late."""
    order = dealer.order(replace(_GAP, security=catalogue.UNDATED_SECURITY, counterparty=_SOUND))
    messages = dealer.reported(_when_issued(dealer, order))
    at_once, late = _shares(dealer, order, messages, at_once=0, late=1)
    reasons = (Reason.ISSUE_DATE_MISSING,) * len(messages)
    return _partly_late(dealer, order, messages, at_once, late, closed_late=reasons)


def _when_issued(dealer: Dealer, order: Order) -> list[Execution]:
    return [replace(execution, settlement_type=WHEN_ISSUED) for execution in dealer.executions(order)]


def late_counterparty_chain(dealer: Dealer, _number: int) -> Flow:
    """A counterparty that says late where it settles."""
    wish = replace(_GAP, counterparty=_LATE_COUNTERPARTY, markets=(_LATE_MARKET,), fills=(1, 3))
    return _late(dealer, wish, Reason.COUNTERPARTY_SSI_MISSING)


def late_bond_terms(dealer: Dealer, _number: int) -> Flow:
    """A bond whose terms are entered late, reported without accrued interest."""
    wish = replace(_GAP, security=catalogue.LATE_TERMS, fills=(1, 3), counterparty=_SOUND)
    return _late(dealer, wish, Reason.BOND_TERMS_MISSING, accrued_interest_amount=None)


def _late(dealer: Dealer, wish: Wish, reason: Reason, **changes: Any) -> Flow:
    """Fills that wait for the late reference data; confirmed after it came."""
    order = dealer.order(wish)
    messages = dealer.reported([replace(execution, **changes) for execution in dealer.executions(order)])
    at_once, late = _shares(dealer, order, messages, at_once=0, late=1)
    return _partly_late(dealer, order, messages, at_once, late, closed_late=(reason,) * len(messages))


def _shares(
    dealer: Dealer, order: Order, messages: list[Message], *, at_once: int, late: int
) -> tuple[list[AllocatedTrade], list[AllocatedTrade]]:
    """The allocated trades, as many as expected. Raises ValueError when the services see that differently."""
    now, later = dealer.allocated(messages)
    if (len(now), len(later)) != (at_once, late):
        raise ValueError(
            f"order {order.order_id} gave {len(now)} and {len(later)} allocations, expected {at_once}, {late}"
        )
    return now, later


def _partly_late(
    dealer: Dealer,
    order: Order,
    messages: list[Message],
    at_once: list[AllocatedTrade],
    late: list[AllocatedTrade],
    *,
    open_reasons: tuple[Reason, ...] = (),
    closed_late: tuple[Reason, ...] = (),
) -> Flow:
    """Each trade is confirmed and settles, some of them in the late phase."""
    after_us = messages[-1].at_us
    in_time = [
        dealer.confirming(dealer.confirmation(trade, quotes=order.quotes), after_us=after_us) for trade in at_once
    ]
    later = [dealer.late(dealer.confirmation(trade, quotes=order.quotes)) for trade in late]
    total = len(at_once) + len(late)
    return Flow(
        example=order.order_id,
        messages=(*messages, *in_time),
        late=tuple(later),
        promise=Promise(
            allocations=total,
            confirmations=total,
            instructions=total,
            late_allocations=len(late),
            late_confirmations=len(late),
            late_instructions=len(late),
            open_reasons=open_reasons,
            closed_late=closed_late,
        ),
    )


def missing_share_chain(dealer: Dealer, _number: int) -> Flow:
    """One share cannot go on, and never will; the others do."""
    order, messages = _divided(dealer, _NO_SHARE, _NO_SHARE_MARKET)
    at_once, late = _shares(dealer, order, messages, at_once=len(order.shares) - 1, late=0)
    return _partly_late(dealer, order, messages, at_once, late, open_reasons=(Reason.ACCOUNT_SSI_MISSING,))


def late_share_chain(dealer: Dealer, _number: int) -> Flow:
    """One share goes on late."""
    order, messages = _divided(dealer, _LATE_SHARE, _LATE_SHARE_MARKET)
    at_once, late = _shares(dealer, order, messages, at_once=len(order.shares) - 1, late=1)
    return _partly_late(dealer, order, messages, at_once, late, closed_late=(Reason.ACCOUNT_SSI_MISSING,))


def _divided(dealer: Dealer, also: str, market: str) -> tuple[Order, list[Message]]:
    """An order that is divided among an account without SSI and others that lack nothing."""
    order = dealer.order(
        Wish(
            policies=(AllocationPolicy.EXPLICIT,),
            markets=(market,),
            also=also,
            counterparty=_SOUND,
            gap=True,
        )
    )
    return order, dealer.front_office(order, dealer.executions(order))


def elsewhere(dealer: Dealer, _number: int) -> Flow:
    """A counterparty at another depository: confirmed, and not to be instructed."""
    wish = replace(_GAP, counterparty=_ELSEWHERE, markets=(_ELSEWHERE_MARKET,))
    order = dealer.order(wish)
    flow = settled(dealer, order, dealer.reported(dealer.executions(order)))
    refused = replace(flow.promise, instructions=0, open_reasons=(Reason.PLACE_OF_SETTLEMENT_DIFFERS,))
    return replace(flow, promise=refused)
