"""Orders in which nothing goes wrong, and the rest of a flow once its front-office messages are made."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.sample_day.dealer import Dealer, Order, Wish
from deploy.sample_day.flow import Flow, Message, Promise
from services.domain.event import AllocatedTrade
from services.domain.reason import Reason


def plain(dealer: Dealer) -> Flow:
    """One order, executed, allocated and confirmed."""
    order = dealer.order(Wish())
    return settled(dealer, order, dealer.front_office(order, dealer.executions(order)))


def settled(
    dealer: Dealer,
    order: Order,
    messages: Sequence[Message],
    *,
    open_reasons: tuple[Reason, ...] = (),
    duplicates: int = 0,
    dead_letters: int = 0,
) -> Flow:
    """All shares of the order are allocated at once, confirmed in time and instructed."""
    trades = all_allocated(dealer, order, messages)
    after_us = max(message.at_us for message in messages)
    confirmations = [
        dealer.confirming(dealer.confirmation(trade, quotes=order.quotes), after_us=after_us) for trade in trades
    ]
    return Flow(
        example=order.order_id,
        messages=(*messages, *confirmations),
        promise=Promise(
            allocations=len(trades),
            confirmations=len(trades),
            instructions=len(trades),
            open_reasons=open_reasons,
            duplicates=duplicates,
            dead_letters=dead_letters,
        ),
    )


def all_allocated(dealer: Dealer, order: Order, messages: Sequence[Message]) -> list[AllocatedTrade]:
    """The allocated trades of an order that lacks nothing; each of its accounts has exactly one.

    Raises ValueError when the services see that differently: then the day would promise what they do not keep.
    """
    at_once, late = dealer.allocated(messages)
    if late or sorted(trade.account for trade in at_once) != sorted(order.accounts):
        found = [trade.account for trade in (*at_once, *late)]
        raise ValueError(f"order {order.order_id} was allocated to {found}, expected {order.accounts}")
    return at_once


def stuck(
    order: Order,
    messages: Sequence[Message],
    *,
    open_reasons: tuple[Reason, ...] = (),
    overdue: tuple[Reason, ...] = (),
) -> Flow:
    """Nothing of the order is ever allocated."""
    promise = Promise(open_reasons=open_reasons, overdue=overdue)
    return Flow(example=order.order_id, messages=tuple(messages), promise=promise)
