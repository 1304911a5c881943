"""Troubles that come when all seemed done: fills and allocations changed after they were allocated or instructed.

The changes are sent in the late phase, when everything before them has settled down. They move more cash than any
tolerance allows, so that a confirmation of the old terms never confirms the new ones. Allocations in fragments,
out of order, or with the fills they divide, are sent on the day itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from deploy.sample_day.dealer import Dealer, Order, Report, Wish
from deploy.sample_day.flow import Flow, Message, Promise
from deploy.sample_day.plain import all_allocated, settled, stuck
from services.domain.code import AllocationPolicy, AllocationTransactionType, ConfirmationTransactionType, Function
from services.domain.event import AllocatedExecution, AllocatedTrade, CounterpartyConfirmation, Execution
from services.domain.money import add, multiply
from services.domain.reason import Reason
from services.domain.record import replace

_ALONE = Wish(fills=(2, 4), alone=True)
_SINGLE = replace(_ALONE, policies=(AllocationPolicy.SINGLE,))
_TEMPLATE = replace(_ALONE, policies=(AllocationPolicy.TEMPLATE,))
_EXPLICIT = replace(_ALONE, policies=(AllocationPolicy.EXPLICIT,))


def _dearer(order: Order, price: Decimal) -> Decimal:
    """A price four percent higher, in ticks."""
    return add(price, multiply(order.security.tick, Decimal(max(order.security.level // 25, 1))))


class _Case:
    """An order that was done and allocated, and what is said of it afterwards."""

    def __init__(self, dealer: Dealer, wish: Wish) -> None:
        self.dealer = dealer
        self.order = dealer.order(wish)
        self.fills = dealer.fills(self.order)

    def report(self, *changes: Report, leaves: Decimal | None = None) -> tuple[list[Message], list[Message]]:
        """The fills on the day, and the changes in the late phase; `leaves` is open after the last change."""
        executions = self.dealer.executions(self.order, [*self.fills, *changes])
        if leaves is not None:
            executions[-1] = replace(executions[-1], leaves_quantity=leaves)
        messages = self.dealer.reported(executions)
        day, late = messages[: len(self.fills)], messages[len(self.fills) :]
        return day, self.dealer.in_late_phase(late)

    def confirmed(self, trades: Sequence[AllocatedTrade], *, after: Sequence[Message]) -> list[Message]:
        """The counterparty's confirmations, which quote nothing."""
        after_us = max(message.at_us for message in after)
        confirmations = [self.dealer.confirmation(trade, quotes=False) for trade in trades]
        return [self.dealer.confirming(confirmation, after_us=after_us) for confirmation in confirmations]

    def standing(self, messages: Sequence[Message]) -> list[AllocatedTrade]:
        """What is allocated in the end."""
        at_once, _ = self.dealer.allocated(messages)
        ended = {trade.allocation_id for trade in at_once if trade.function is Function.CANCEL}
        return [trade for trade in at_once if trade.allocation_id not in ended]

    def flow(self, day: Sequence[Message], late: Sequence[Message], promise: Promise) -> Flow:
        return Flow(example=self.order.order_id, messages=tuple(day), late=tuple(late), promise=promise)


def _promise(
    before: int,
    after: int,
    *,
    is_confirmed: bool,
    is_agreed: bool = False,
    opened_late: tuple[Reason, ...] = (),
    overdue: tuple[Reason, ...] = (),
) -> Promise:
    """So many shares before the change, each taken back, and so many after it, each confirmed late.

    With `is_confirmed` those before it were confirmed and instructed, and their confirmations are left over unless the
    counterparty agrees.
    """
    settled = before if is_confirmed else 0
    left_over = () if is_agreed else (Reason.UNMATCHED_CONFIRMATION,) * settled
    return Promise(
        allocations=after,
        late_allocations=after - before,
        confirmations=after,
        late_confirmations=after - settled,
        instructions=after,
        late_instructions=after - settled,
        opened_late=opened_late,
        overdue=(*overdue, *left_over),
    )


def _corrected(case: _Case, day: Sequence[Message], late: Sequence[Message], *, is_confirmed: bool) -> Flow:
    before = all_allocated(case.dealer, case.order, day)
    after = case.standing([*day, *late])
    old = case.confirmed(before, after=day) if is_confirmed else []
    new = case.confirmed(after, after=late)
    promise = _promise(len(before), len(after), is_confirmed=is_confirmed)
    return case.flow([*day, *old], [*late, *new], promise)


def corrected_after_allocation(dealer: Dealer, _number: int) -> Flow:
    """A price is corrected when the block is divided and nobody has confirmed it yet."""
    case = _Case(dealer, _TEMPLATE)
    day, late = case.report(replace(case.fills[0], price=_dearer(case.order, case.fills[0].price), changes=0))
    return _corrected(case, day, late, is_confirmed=False)


def corrected_after_instruction(dealer: Dealer, number: int) -> Flow:
    """A price is corrected when the trade is confirmed and instructed."""
    case = _Case(dealer, _TEMPLATE if number % 2 else _SINGLE)
    day, late = case.report(replace(case.fills[0], price=_dearer(case.order, case.fills[0].price), changes=0))
    return _corrected(case, day, late, is_confirmed=True)


def busted_after_instruction(dealer: Dealer, _number: int) -> Flow:
    """The only fill is busted when the trade is confirmed and instructed."""
    case = _Case(dealer, replace(_SINGLE, fills=(1, 1)))
    day, late = case.report(replace(case.fills[0], changes=0, is_cancel=True), leaves=Decimal(0))
    return _corrected(case, day, late, is_confirmed=True)


def corrected_and_replaced(dealer: Dealer, _number: int) -> Flow:
    """A price is corrected when all is confirmed and instructed, and the counterparty replaces its confirmations."""
    case = _Case(dealer, _TEMPLATE)
    day, late = case.report(replace(case.fills[0], price=_dearer(case.order, case.fills[0].price), changes=0))
    before, after = all_allocated(dealer, case.order, day), case.standing([*day, *late])
    old, new = case.confirmed(before, after=day), case.confirmed(after, after=late)
    replacing = _naming(new, old, ConfirmationTransactionType.REPLACE)
    promise = _promise(len(before), len(after), is_confirmed=True, is_agreed=True)
    return case.flow([*day, *old], [*late, *replacing], promise)


def busted_and_cancelled(dealer: Dealer, _number: int) -> Flow:
    """The only fill is busted when the trade is instructed, and the counterparty cancels its confirmation."""
    case = _Case(dealer, replace(_SINGLE, fills=(1, 1)))
    day, late = case.report(replace(case.fills[0], changes=0, is_cancel=True), leaves=Decimal(0))
    before = all_allocated(dealer, case.order, day)
    old = case.confirmed(before, after=day)
    cancels = _naming(case.confirmed(before, after=late), old, ConfirmationTransactionType.CANCEL)
    promise = _promise(len(before), 0, is_confirmed=True, is_agreed=True)
    return case.flow([*day, *old], [*late, *cancels], promise)


def _naming(
    confirmations: Sequence[Message], old: Sequence[Message], kind: ConfirmationTransactionType
) -> list[Message]:
    """What replaces or cancels the old confirmation of the same account."""
    named = {one.event.account: one.event for one in old if isinstance(one.event, CounterpartyConfirmation)}
    found = []
    for message in confirmations:
        assert isinstance(message.event, CounterpartyConfirmation)
        reference_id = named[message.event.account].confirmation_id
        event = replace(message.event, transaction_type=kind, reference_id=reference_id)
        found.append(replace(message, event=event))
    return found


def busted_and_done_anew(dealer: Dealer, _number: int) -> Flow:
    """A fill of a block that was allocated by instructions is busted, and done anew at another price."""
    case = _Case(dealer, _EXPLICIT)
    anew = Report(quantity=case.fills[0].quantity, price=_dearer(case.order, case.fills[0].price))
    fills, late = case.report(replace(case.fills[0], changes=0, is_cancel=True), anew)
    day = fills + dealer.dividing(case.order, after_us=fills[-1].at_us)
    return _corrected(case, day, late, is_confirmed=True)


def late_fill(dealer: Dealer, _number: int) -> Flow:
    """One more fill comes for an order that was done and settled."""
    case = _Case(dealer, _SINGLE)
    more = Report(quantity=case.order.quantity, price=_dearer(case.order, case.fills[0].price))
    day, late = case.report(more, leaves=Decimal(0))
    return _corrected(case, day, late, is_confirmed=True)


def corrected_after_partial_allocation(dealer: Dealer, _number: int) -> Flow:
    """A price is corrected when a part of the block is allocated; the rest never is."""
    case = _Case(dealer, _EXPLICIT)
    fills, late = case.report(replace(case.fills[0], price=_dearer(case.order, case.fills[0].price), changes=0))
    part = dealer.instruction(case.order, case.order.shares[:1])
    day = fills + dealer.allocating(case.order, [part], after_us=fills[-1].at_us)
    before, after = case.standing(day), case.standing([*day, *late])
    promise = _promise(len(before), len(after), is_confirmed=True, overdue=(Reason.BLOCK_UNALLOCATED,))
    old, new = case.confirmed(before, after=day), case.confirmed(after, after=late)
    return case.flow([*day, *old], [*late, *new], promise)


def disqualified(dealer: Dealer, _number: int) -> Flow:
    """A fill is busted and the order ends, so that the client's allocation asks for more than there is."""
    case = _Case(dealer, _EXPLICIT)
    fills, late = case.report(replace(case.fills[-1], changes=len(case.fills) - 1, is_cancel=True), leaves=Decimal(0))
    whole = dealer.instruction(case.order, case.order.shares)
    day = fills + dealer.allocating(case.order, [whole], after_us=fills[-1].at_us)
    before = all_allocated(dealer, case.order, day)
    overdue = (Reason.BLOCK_UNALLOCATED,)
    promise = _promise(
        len(before), 0, is_confirmed=True, opened_late=(Reason.ALLOCATION_DISQUALIFIED,), overdue=overdue
    )
    return case.flow([*day, *case.confirmed(before, after=day)], late, promise)


def allocation_replaced(dealer: Dealer, _number: int) -> Flow:
    """The client divides anew when all is confirmed and instructed."""
    case = _Case(dealer, _EXPLICIT)
    fills, _ = case.report()
    first = dealer.instruction(case.order, case.order.shares)
    accounts = [account for account, _ in case.order.shares]
    quantities = [quantity for _, quantity in case.order.shares]
    moved = [*quantities[1:], quantities[0]]
    second = dealer.instruction(case.order, list(zip(accounts, moved, strict=True)), replaces=first)
    day = fills + dealer.allocating(case.order, [first], after_us=fills[-1].at_us)
    late = dealer.in_late_phase(dealer.allocating(case.order, [second], after_us=day[-1].at_us))
    before, after = all_allocated(dealer, case.order, day), case.standing([*day, *late])
    promise = _promise(len(before), len(after), is_confirmed=True)
    return case.flow([*day, *case.confirmed(before, after=day)], [*late, *case.confirmed(after, after=late)], promise)


def allocation_cancelled(dealer: Dealer, _number: int) -> Flow:
    """The client cancels its allocation when all is confirmed and instructed."""
    case = _Case(dealer, _EXPLICIT)
    fills, _ = case.report()
    first = dealer.instruction(case.order, case.order.shares)
    cancel = replace(
        dealer.instruction(case.order, case.order.shares, replaces=first),
        transaction_type=AllocationTransactionType.CANCEL,
    )
    day = fills + dealer.allocating(case.order, [first], after_us=fills[-1].at_us)
    late = dealer.in_late_phase(dealer.allocating(case.order, [cancel], after_us=day[-1].at_us))
    before = all_allocated(dealer, case.order, day)
    promise = _promise(len(before), 0, is_confirmed=True, overdue=(Reason.BLOCK_UNALLOCATED,))
    return case.flow([*day, *case.confirmed(before, after=day)], late, promise)


# --- allocations that say more, or come in other ways, on the day itself ---------------------------------------------


def in_fragments(dealer: Dealer, _number: int) -> Flow:
    """The client's allocation comes in two fragments, the last one first."""
    case = _Case(dealer, _EXPLICIT)
    fills, _ = case.report()
    whole = dealer.instruction(case.order, case.order.shares)
    total = len(whole.allocations)
    parts = [
        replace(whole, allocations=whole.allocations[1:], total_allocations=total, last_fragment=True),
        replace(whole, allocations=whole.allocations[:1], total_allocations=total, last_fragment=False),
    ]
    return settled(dealer, case.order, fills + dealer.allocating(case.order, parts, after_us=fills[-1].at_us))


def _named(fills: Sequence[Message]) -> tuple[AllocatedExecution, ...]:
    reports = [message.event for message in fills if isinstance(message.event, Execution)]
    return tuple(
        AllocatedExecution(execution_id=one.execution_id, quantity=one.quantity, price=one.price) for one in reports
    )


def with_executions(dealer: Dealer, _number: int) -> Flow:
    """The client's allocation names the fills that it divides."""
    case = _Case(dealer, _EXPLICIT)
    fills, _ = case.report()
    whole = replace(dealer.instruction(case.order, case.order.shares), executions=_named(fills))
    return settled(dealer, case.order, fills + dealer.allocating(case.order, [whole], after_us=fills[-1].at_us))


def with_busted_execution(dealer: Dealer, _number: int) -> Flow:
    """The client's allocation names a fill that was busted, and done anew under another ExecID."""
    case = _Case(dealer, _EXPLICIT)
    first, *rest = case.fills
    bust, anew = replace(first, changes=0, is_cancel=True), Report(quantity=first.quantity, price=first.price)
    reported = dealer.reported(dealer.executions(case.order, [first, bust, anew, *rest]))
    named = _named([reported[0], *reported[3:]])
    stale = replace(dealer.instruction(case.order, case.order.shares), executions=named)
    messages = reported + dealer.allocating(case.order, [stale], after_us=reported[-1].at_us)
    reasons = (Reason.ALLOCATION_EXECUTION_UNKNOWN,)
    return stuck(case.order, messages, open_reasons=reasons, overdue=(Reason.BLOCK_UNALLOCATED,))


def replaced_before_original(dealer: Dealer, _number: int) -> Flow:
    """The client's replacement comes before the allocation that it replaces."""
    case = _Case(dealer, _EXPLICIT)
    fills, _ = case.report()
    first = dealer.instruction(case.order, [(case.order.shares[0][0], case.order.quantity)])
    second = dealer.instruction(case.order, case.order.shares, replaces=first)
    messages = fills + dealer.allocating(case.order, [second, first], after_us=fills[-1].at_us)
    return settled(dealer, case.order, messages)
