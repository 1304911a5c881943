"""Troubles with what counterparties confirm: late, never, differently, twice, or of a trade that nobody knows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

from deploy.sample_day.dealer import MINUTE_US, SINGLE_FILL, Dealer, Order
from deploy.sample_day.flow import CONFIRMATIONS, Flow, Message, Promise
from deploy.sample_day.plain import all_allocated
from services.adapters.avro_codec import AvroCodec
from services.domain.code import InstrumentType
from services.domain.event import AllocatedTrade, CounterpartyConfirmation
from services.domain.money import add, multiply, round_amount
from services.domain.reason import Reason
from services.domain.record import replace

# What is confirmed wrongly or not at all must not meet another trade under its match key.
_WISH = replace(SINGLE_FILL, fills=(1, 3), alone=True)
_AMOUNT_OFF = {"JPY": Decimal(250)}
_AMOUNT_OFF_OTHERS = Decimal("1.75")
"""Below the tolerance for amounts of any size (deploy/reference/matching-profiles.csv)."""
_PRICE_OFF = Decimal("0.0001")
_HALF_A_PERCENT_MORE = Decimal("1.005")


class _Case:
    """One order, allocated to one account, and its confirmation while all is well."""

    def __init__(self, dealer: Dealer, *, instrument_types: tuple[InstrumentType, ...] = tuple(InstrumentType)) -> None:
        self.dealer = dealer
        self.order: Order = dealer.order(replace(_WISH, instrument_types=instrument_types))
        self.messages = dealer.reported(dealer.executions(self.order))
        self.trade: AllocatedTrade = all_allocated(dealer, self.order, self.messages)[0]
        self.right = dealer.confirmation(self.trade, quotes=False)

    def sent(self, confirmation: CounterpartyConfirmation) -> Message:
        return self.dealer.confirming(confirmation, after_us=self.messages[-1].at_us)

    def flow(self, promise: Promise, *, sent: Sequence[Message] = (), late: Sequence[Message] = ()) -> Flow:
        return Flow(example=self.order.order_id, messages=(*self.messages, *sent), late=tuple(late), promise=promise)

    def mispriced(self) -> CounterpartyConfirmation:
        price = multiply(self.right.price, _HALF_A_PERCENT_MORE)
        cash = multiply(self.right.net_amount, _HALF_A_PERCENT_MORE)
        return replace(self.right, price=price, net_amount=round_amount(cash, currency=self.right.currency))


_SETTLED = Promise(allocations=1, confirmations=1, instructions=1)
_SETTLED_LATE = replace(_SETTLED, late_confirmations=1, late_instructions=1)
_MISMATCHED = Promise(
    allocations=1,
    open_reasons=(Reason.CONFIRMATION_MISMATCHED,),
    # When their time is up, both sides are shown as waiting for each other's right version.
    overdue=(Reason.UNCONFIRMED, Reason.UNMATCHED_CONFIRMATION),
)


def late(dealer: Dealer, _number: int) -> Flow:
    """Confirmed in the evening."""
    case = _Case(dealer)
    return case.flow(_SETTLED_LATE, late=[dealer.late(case.right)])


def never(dealer: Dealer, _number: int) -> Flow:
    """Not confirmed at all."""
    return _Case(dealer).flow(Promise(allocations=1, overdue=(Reason.UNCONFIRMED,)))


def within_tolerance(dealer: Dealer, number: int) -> Flow:
    """Cash up or down, or the price, by less than counts."""
    case = _Case(dealer)
    amount = _AMOUNT_OFF.get(case.right.currency, _AMOUNT_OFF_OTHERS)
    near = (
        replace(case.right, net_amount=add(case.right.net_amount, amount)),
        replace(case.right, net_amount=add(case.right.net_amount, -amount)),
        replace(case.right, price=add(case.trade.average_price, _PRICE_OFF)),
    )[number % 3]
    return case.flow(_SETTLED, sent=[case.sent(near)])


def mismatched_price(dealer: Dealer, _number: int) -> Flow:
    """Half a percent too dear."""
    case = _Case(dealer)
    return case.flow(_MISMATCHED, sent=[case.sent(case.mispriced())])


def mismatched_quantity(dealer: Dealer, _number: int) -> Flow:
    """Ten denominations too many."""
    case = _Case(dealer)
    more = multiply(case.order.security.instrument.denomination, Decimal(10))
    wrong = replace(case.right, quantity=add(case.right.quantity, more))
    return case.flow(_MISMATCHED, sent=[case.sent(wrong)])


def mismatched_date(dealer: Dealer, _number: int) -> Flow:
    """A day late."""
    case = _Case(dealer)
    wrong = replace(case.right, settlement_date=case.right.settlement_date + timedelta(days=1))
    return case.flow(_MISMATCHED, sent=[case.sent(wrong)])


def corrected_late(dealer: Dealer, _number: int) -> Flow:
    """Wrong at first, right in the evening under another id; the wrong one is left over."""
    case = _Case(dealer)
    anew = replace(case.right, confirmation_id=dealer.confirmation_id(case.right.sender))
    promise = replace(
        _SETTLED_LATE,
        closed_late=(Reason.CONFIRMATION_MISMATCHED,),
        overdue=(Reason.UNMATCHED_CONFIRMATION,),
    )
    return case.flow(promise, sent=[case.sent(case.mispriced())], late=[dealer.late(anew)])


def unknown(dealer: Dealer, _number: int) -> Flow:
    """A confirmation for which there is no order."""
    case = _Case(dealer)
    return Flow(
        example=case.right.confirmation_id,
        messages=(case.sent(case.right),),
        promise=Promise(overdue=(Reason.UNMATCHED_CONFIRMATION,)),
    )


def duplicate(dealer: Dealer, _number: int) -> Flow:
    """Confirmed twice with the same words."""
    case = _Case(dealer)
    once = case.sent(case.right)
    twice = replace(once, at_us=once.at_us + 5 * MINUTE_US)
    return case.flow(replace(_SETTLED, duplicates=1), sent=[once, twice])


def conflict(dealer: Dealer, _number: int) -> Flow:
    """Confirmed a second time under the same id with other cash."""
    case = _Case(dealer)
    once = case.sent(case.right)
    other = replace(case.right, net_amount=add(case.right.net_amount, Decimal(100)))
    again = replace(once, at_us=once.at_us + 5 * MINUTE_US, event=other)
    return case.flow(replace(_SETTLED, open_reasons=(Reason.CONFIRMATION_CONFLICTS,)), sent=[once, again])


def truncated(dealer: Dealer, _number: int) -> Flow:
    """Half a confirmation, and the whole one in the evening."""
    case = _Case(dealer)
    whole = case.sent(case.right)
    value = AvroCodec().encode(case.right)
    half = Message(
        topic=CONFIRMATIONS, at_us=whole.at_us, key=case.right.confirmation_id, value=value[: len(value) // 2]
    )
    return case.flow(replace(_SETTLED_LATE, dead_letters=1), sent=[half], late=[dealer.late(case.right)])
