"""Troubles in what the front office and its clients send: repeated, changed, contradictory, and unreadable."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from deploy.sample_day.dealer import (
    AVRO,
    FIX_42,
    FIX_44,
    MINUTE_US,
    SECOND_US,
    SINGLE_FILL,
    Dealer,
    Order,
    Report,
    Wish,
)
from deploy.sample_day.flow import EXECUTIONS, FIX, Flow, Message, Promise
from deploy.sample_day.plain import settled, stuck
from services.adapters.avro_codec import AvroCodec
from services.domain.code import AllocationPolicy, ExecutionType, InstrumentType, PriceType, SecurityIdSource
from services.domain.event import Execution
from services.domain.money import add, multiply
from services.domain.reason import Reason
from services.domain.record import replace

_ROADS = (AVRO, FIX_44, FIX_42)
_EQUITIES = (InstrumentType.EQUITY,)
_BLOCK = Wish(fills=(3, 5))
_SHARES = replace(SINGLE_FILL, instrument_types=_EQUITIES)


def _on_each_road(wish: Wish, number: int, roads: tuple[str, ...] = _ROADS) -> Wish:
    """Take the roads in turn, so that each kind of trouble is seen on several."""
    road = roads[number % len(roads)]
    if road != FIX_42:
        return replace(wish, roads=(road,))
    return replace(wish, roads=(road,), markets=("US",), instrument_types=_EQUITIES)


# --- repeated and changed --------------------------------------------------------------------------------------------


def _repeat(message: Message, *, after_us: int) -> Message:
    return replace(message, at_us=message.at_us + after_us)


def duplicate(dealer: Dealer, number: int) -> Flow:
    """The first fill comes again, a second later or after the order is done."""
    order = dealer.order(_on_each_road(Wish(), number))
    messages = dealer.front_office(order, dealer.executions(order))
    again = _repeat(messages[0], after_us=SECOND_US if number % 2 else 40 * MINUTE_US)
    return settled(dealer, order, [*messages, again], duplicates=1)


def duplicate_flagged(dealer: Dealer, number: int) -> Flow:
    """The first fill comes again with the FIX flag."""
    order = dealer.order(_on_each_road(Wish(), number, (FIX_44, FIX_42)))
    executions = dealer.executions(order)
    flagged = dealer.reported([replace(executions[0], possible_duplicate=True)])[0]
    messages = [*dealer.front_office(order, executions), _repeat(flagged, after_us=3 * MINUTE_US)]
    return settled(dealer, order, messages, duplicates=1)


def duplicate_on_other_road(dealer: Dealer, number: int) -> Flow:
    """What came by FIX comes as Avro too; which of the two is first does not matter."""
    order = dealer.order(_on_each_road(Wish(), number, (FIX_44, FIX_42)))
    executions = dealer.executions(order)
    copies = [
        Message(topic=EXECUTIONS, at_us=execution.transaction_time_us + SECOND_US, event=execution)
        for execution in executions
    ]
    messages = [*dealer.front_office(order, executions), *copies]
    return settled(dealer, order, messages, duplicates=len(copies))


def conflict(dealer: Dealer, number: int) -> Flow:
    """The first fill comes again at another price."""
    order = dealer.order(_on_each_road(Wish(), number))
    executions = dealer.executions(order)
    other = replace(executions[0], price=add(executions[0].price, order.security.tick))
    again = _repeat(dealer.reported([other])[0], after_us=2 * SECOND_US)
    messages = [*dealer.front_office(order, executions), again]
    return settled(dealer, order, messages, open_reasons=(Reason.EXECUTION_CONFLICTS,))


def corrected(dealer: Dealer, number: int) -> Flow:
    """The first fill is corrected after the second: its price, or its quantity, and the last fill makes up for that."""
    order = dealer.order(_on_each_road(_BLOCK, number))
    first, second, *rest = dealer.fills(order)
    lot = order.security.lot
    if number % 2 and first.quantity > lot:
        change = replace(first, quantity=add(first.quantity, -lot), changes=0)
        rest[-1] = replace(rest[-1], quantity=add(rest[-1].quantity, lot))
    else:
        change = replace(first, price=add(first.price, multiply(order.security.tick, Decimal(3))), changes=0)
    executions = dealer.executions(order, [first, second, change, *rest])
    return settled(dealer, order, dealer.front_office(order, executions))


def cancelled(dealer: Dealer, number: int) -> Flow:
    """The first fill is cancelled after the second, and done anew at another price."""
    order = dealer.order(_on_each_road(_BLOCK, number))
    first, second, *rest = dealer.fills(order)
    cancel = replace(first, changes=0, is_cancel=True)
    anew = Report(quantity=first.quantity, price=dealer.price(order))
    executions = dealer.executions(order, [first, second, cancel, anew, *rest])
    return settled(dealer, order, dealer.front_office(order, executions))


def busted(dealer: Dealer, number: int) -> Flow:
    """The first of several fills is cancelled, and the order is done."""
    order = dealer.order(_on_each_road(replace(_BLOCK, policies=(AllocationPolicy.SINGLE,)), number))
    first = dealer.fills(order)[0]
    fill, bust = dealer.executions(order, [first, replace(first, changes=0, is_cancel=True)])
    return stuck(order, dealer.reported([fill, replace(bust, leaves_quantity=Decimal(0))]))


def change_before_original(dealer: Dealer, number: int) -> Flow:
    """The first fill is corrected twice, and all of it is reported backwards: the last correction comes first."""
    order = dealer.order(_on_each_road(_BLOCK, number))
    first, *rest = dealer.fills(order)
    tick = order.security.tick
    prices = [add(first.price, multiply(tick, Decimal(step))) for step in (1, 2)]
    changes = [replace(first, price=price, changes=step) for step, price in enumerate(prices)]
    executions = dealer.executions(order, [first, *changes, *rest])
    messages = dealer.front_office(order, executions)
    times = [message.at_us for message in messages[:3]]
    backwards = [replace(message, at_us=at_us) for message, at_us in zip(messages[2::-1], times, strict=True)]
    return settled(dealer, order, [*backwards, *messages[3:]])


def correction_of_unknown(dealer: Dealer, number: int) -> Flow:
    """A correction of an execution id that no report has."""
    order, execution = _single(dealer, number)
    lost = f"{execution.sender[-3:]}{dealer.number('execution', 7)}"
    changed = replace(execution, execution_type=ExecutionType.TRADE_CORRECT, execution_reference_id=lost)
    return stuck(order, dealer.reported([changed]), open_reasons=(Reason.EXECUTION_REFERENCE_UNKNOWN,))


# --- implausible -----------------------------------------------------------------------------------------------------


def _single(dealer: Dealer, number: int, wish: Wish = SINGLE_FILL) -> tuple[Order, Execution]:
    order = dealer.order(_on_each_road(wish, number))
    return order, dealer.executions(order)[0]


def negative_quantity(dealer: Dealer, number: int) -> Flow:
    """A fill of less than nothing."""
    order, execution = _single(dealer, number)
    wrong = replace(
        execution, quantity=-execution.quantity, cumulative_quantity=Decimal(0), leaves_quantity=execution.quantity
    )
    return stuck(order, dealer.reported([wrong]), open_reasons=(Reason.QUANTITY_NOT_POSITIVE,))


def zero_price(dealer: Dealer, number: int) -> Flow:
    """A fill for nothing."""
    order, execution = _single(dealer, number)
    messages = dealer.reported([replace(execution, price=Decimal(0))])
    return stuck(order, messages, open_reasons=(Reason.PRICE_NOT_POSITIVE,))


def check_digit(dealer: Dealer, number: int) -> Flow:
    """An ISIN with its check digit one too high."""
    order, execution = _single(dealer, number)
    isin = order.security.instrument.isin
    wrong = f"{isin[:-1]}{(int(isin[-1]) + 1) % 10}"
    changed = replace(execution, security_id=wrong, security_id_source=SecurityIdSource.ISIN)
    return stuck(order, dealer.reported([changed]), open_reasons=(Reason.IDENTIFIER_INVALID,))


def past_settlement_date(dealer: Dealer, number: int) -> Flow:
    """A settlement date on the Friday before."""
    order, execution = _single(dealer, number)
    messages = dealer.reported([replace(execution, requested_settlement_date=date(2026, 2, 27))])
    return stuck(order, messages, open_reasons=(Reason.SETTLEMENT_DATE_BEFORE_TRADE_DATE,))


def closed_settlement_date(dealer: Dealer, number: int) -> Flow:
    """A settlement date on the Saturday after."""
    order, execution = _single(dealer, number)
    messages = dealer.reported([replace(execution, requested_settlement_date=date(2026, 3, 7))])
    return stuck(order, messages, open_reasons=(Reason.SETTLEMENT_DATE_NOT_BUSINESS_DAY,))


def same_terms(dealer: Dealer, _number: int) -> Flow:
    """Two orders of one account, security, side and counterparty: only references tell them apart."""
    order = _quoted(dealer, SINGLE_FILL)
    like = replace(
        SINGLE_FILL,
        account=order.account,
        counterparty=order.counterparty,
        security=order.security,
        roads=(order.sender,),
    )
    other = _quoted(dealer, like)
    while other.side is not order.side:
        other = _quoted(dealer, like)
    flows = [settled(dealer, one, dealer.reported(dealer.executions(one))) for one in (order, other)]
    messages = tuple(message for flow in flows for message in flow.messages)
    return Flow(
        example=order.order_id, messages=messages, promise=Promise(allocations=2, confirmations=2, instructions=2)
    )


def _quoted(dealer: Dealer, wish: Wish) -> Order:
    """An order whose confirmation quotes a reference, so that others may have its match key."""
    order = dealer.order(wish)
    while not order.quotes:
        order = dealer.order(wish)
    return order


def cash_settlement(dealer: Dealer, number: int) -> Flow:
    """T+0: delivered and paid on the trade date."""
    order, execution = _single(dealer, number, _SHARES)
    return settled(dealer, order, dealer.reported([replace(execution, settlement_type="1")]))


def forward(dealer: Dealer, number: int) -> Flow:
    """An agreed date; the last of them is 8 May in Paris, a public holiday on which T2S settles."""
    is_paris = number % len(_ROADS) == 2
    wish = replace(_SHARES, markets=("FR",), roads=(AVRO,)) if is_paris else replace(_SHARES, markets=("US", "GB"))
    order, execution = _single(dealer, 0 if is_paris else number, wish)
    agreed = date(2026, 5, 8) if is_paris else date(2026, 3, 20)
    changed = replace(execution, settlement_type="6", requested_settlement_date=agreed)
    return settled(dealer, order, dealer.reported([changed]))


def forward_to_bank_holiday(dealer: Dealer, number: int) -> Flow:
    """Columbus Day, on which New York trades and nothing settles."""
    order, execution = _single(dealer, number, replace(_SHARES, markets=("US",)))
    changed = replace(execution, settlement_type="6", requested_settlement_date=date(2026, 10, 12))
    return stuck(order, dealer.reported([changed]), open_reasons=(Reason.SETTLEMENT_DATE_NOT_BUSINESS_DAY,))


def forward_without_date(dealer: Dealer, number: int) -> Flow:
    """Settlement type 6 means a date, and none is there."""
    order, execution = _single(dealer, number, _SHARES)
    messages = dealer.reported([replace(execution, settlement_type="6")])
    return stuck(order, messages, open_reasons=(Reason.SETTLEMENT_TYPE_UNSUITABLE,))


def price_type(dealer: Dealer, number: int) -> Flow:
    """A bond priced per unit."""
    order, execution = _single(
        dealer, number, replace(SINGLE_FILL, markets=("DE",), instrument_types=(InstrumentType.GOVERNMENT_BOND,))
    )
    messages = dealer.reported([replace(execution, price_type=PriceType.PER_UNIT)])
    return stuck(order, messages, open_reasons=(Reason.PRICE_TYPE_UNSUITABLE,))


# --- blocks and allocations ------------------------------------------------------------------------------------------

_EXPLICIT = Wish(policies=(AllocationPolicy.EXPLICIT,))


def unfinished(dealer: Dealer, number: int) -> Flow:
    """All fills but the last."""
    wish = replace(_BLOCK, policies=(AllocationPolicy.SINGLE, AllocationPolicy.TEMPLATE))
    order = dealer.order(_on_each_road(wish, number))
    return stuck(order, dealer.reported(dealer.executions(order)[:-1]), overdue=(Reason.BLOCK_UNALLOCATED,))


def over_allocated(dealer: Dealer, _number: int) -> Flow:
    """An allocation of a tenth too much, then the right one."""
    return _over_allocated(dealer, replaces=False)


def over_allocation_replaced(dealer: Dealer, _number: int) -> Flow:
    """An allocation of a tenth too much, replaced by the right one."""
    return _over_allocated(dealer, replaces=True)


def _over_allocated(dealer: Dealer, *, replaces: bool) -> Flow:
    order = dealer.order(_EXPLICIT)
    (account, quantity), *others = order.shares
    wrong = dealer.instruction(order, [(account, add(quantity, order.quantity)), *others])
    right = dealer.instruction(order, order.shares, replaces=wrong if replaces else None)
    reported = dealer.reported(dealer.executions(order))
    messages = reported + dealer.allocating(order, [wrong, right], after_us=reported[-1].at_us)
    return settled(dealer, order, messages, open_reasons=() if replaces else (Reason.OVER_ALLOCATION,))


def wrong_sum(dealer: Dealer, _number: int) -> Flow:
    """An allocation that states the block's quantity and leaves out the last account."""
    order = dealer.order(_EXPLICIT)
    wrong = dealer.instruction(order, order.shares[:-1], quantity=order.quantity)
    reported = dealer.reported(dealer.executions(order))
    messages = reported + dealer.allocating(order, [wrong], after_us=reported[-1].at_us)
    return stuck(order, messages, open_reasons=(Reason.QUANTITIES_DISAGREE,), overdue=(Reason.BLOCK_UNALLOCATED,))


# --- unreadable ------------------------------------------------------------------------------------------------------

_FINGERPRINT = slice(2, 10)
"""Where the fingerprint of the schema stands in a value (Avro specification, single-object encoding)."""


def _unreadable(dealer: Dealer, change: str) -> Flow:
    order, execution = _single(dealer, 0)
    value: bytes | None = AvroCodec().encode(execution)
    assert value is not None
    if change == "random":
        value = dealer.random.randbytes(160)
    elif change == "truncated":
        value = value[: len(value) // 2]
    elif change == "schema":
        value = value[: _FINGERPRINT.start] + dealer.random.randbytes(8) + value[_FINGERPRINT.stop :]
    else:
        value = None
    message = Message(topic=EXECUTIONS, at_us=order.starts_us, key=order.order_id, value=value)
    return Flow(example=order.order_id, messages=(message,), promise=Promise(dead_letters=1))


def random_bytes(dealer: Dealer, _number: int) -> Flow:
    """No Avro at all."""
    return _unreadable(dealer, "random")


def truncated(dealer: Dealer, _number: int) -> Flow:
    """The first half of an execution."""
    return _unreadable(dealer, "truncated")


def unknown_schema(dealer: Dealer, _number: int) -> Flow:
    """An execution under a fingerprint that belongs to no schema."""
    return _unreadable(dealer, "schema")


def null_value(dealer: Dealer, _number: int) -> Flow:
    """A key without a value."""
    return _unreadable(dealer, "null")


def wrong_checksum(dealer: Dealer, number: int) -> Flow:
    """A FIX execution that was damaged on its way, and comes again whole."""
    order = dealer.order(_on_each_road(SINGLE_FILL, number, (FIX_44, FIX_42)))
    (message,) = dealer.reported(dealer.executions(order))
    assert message.topic == FIX
    damaged = replace(message, is_broken=True)
    return settled(dealer, order, [damaged, _repeat(message, after_us=30 * SECOND_US)], dead_letters=1)
