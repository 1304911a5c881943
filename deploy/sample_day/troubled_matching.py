"""Confirmations that agree under each tolerance code, and confirmations that their counterparty takes back."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from deploy.sample_day import catalogue
from deploy.sample_day.counterparties import TOLERANT_PARTY
from deploy.sample_day.dealer import MINUTE_US, SINGLE_FILL, Dealer, Wish
from deploy.sample_day.flow import Flow, Message, Promise
from deploy.sample_day.plain import all_allocated
from services.domain.code import ConfirmationTransactionType, InstrumentType
from services.domain.event import AllocatedTrade, CounterpartyConfirmation
from services.domain.money import add, multiply, round_amount
from services.domain.reason import Reason
from services.domain.record import replace

_DRAWS_MAX = 200
_ONE_PERCENT_MORE = Decimal("1.01")
_HALF_A_PERCENT_MORE = Decimal("1.005")
_FOUR_PERCENT = Decimal("0.04")
_CHARGES_MIN = Decimal(1)
_NEARLY_THE_MAXIMUM = Decimal(9)
_NET_ABOVE = Decimal("2.50")
_GROSS_OFF = Decimal(1000)

_TOLERANT = replace(SINGLE_FILL, counterparty=TOLERANT_PARTY)
"""A trade with the counterparty whose profile has a row of each code (counterparties.PROFILES)."""

_SETTLED = Promise(allocations=1, confirmations=1, instructions=1)


class _Case:
    """One order, allocated to one account, with a confirmation that quotes it and is right."""

    def __init__(self, dealer: Dealer, wish: Wish) -> None:
        self.dealer = dealer
        self.order = dealer.order(wish)
        self.messages = dealer.reported(dealer.executions(self.order))
        self.trade: AllocatedTrade = all_allocated(dealer, self.order, self.messages)[0]
        self.right = dealer.confirmation(self.trade, quotes=True)

    @property
    def charges(self) -> Decimal:
        return add(*(charge.amount for charge in self.trade.charges))

    def sent(self, *confirmations: CounterpartyConfirmation) -> list[Message]:
        """One after the other."""
        messages: list[Message] = []
        after_us = self.messages[-1].at_us
        for confirmation in confirmations:
            messages.append(self.dealer.confirming(confirmation, after_us=after_us))
            after_us = messages[-1].at_us + MINUTE_US
        return messages

    def anew(self, confirmation: CounterpartyConfirmation) -> CounterpartyConfirmation:
        """The same under another id."""
        return replace(confirmation, confirmation_id=self.dealer.confirmation_id(confirmation.sender))

    def naming(
        self,
        confirmation: CounterpartyConfirmation,
        kind: ConfirmationTransactionType,
        *,
        says: CounterpartyConfirmation,
    ) -> CounterpartyConfirmation:
        """What replaces or cancels a confirmation, with the terms of another."""
        return replace(self.anew(says), transaction_type=kind, reference_id=confirmation.confirmation_id)

    def mispriced(self) -> CounterpartyConfirmation:
        price = multiply(self.right.price, _HALF_A_PERCENT_MORE)
        cash = multiply(self.right.net_amount, _HALF_A_PERCENT_MORE)
        return replace(self.right, price=price, net_amount=round_amount(cash, currency=self.right.currency))

    def flow(self, promise: Promise, *, sent: Sequence[Message], late: Sequence[Message] = ()) -> Flow:
        return Flow(example=self.order.order_id, messages=(*self.messages, *sent), late=tuple(late), promise=promise)


def percent(dealer: Dealer, _number: int) -> Flow:
    """PTOL: accrued interest one percent off, where two are allowed."""
    case = _Case(dealer, replace(_TOLERANT, markets=catalogue.BOND_MARKETS, instrument_types=catalogue.DEBT))
    accrued = multiply(case.trade.accrued_interest, _ONE_PERCENT_MORE)
    near = replace(case.right, accrued_interest=round_amount(accrued, currency=case.trade.currency))
    return case.flow(_SETTLED, sent=case.sent(near))


def percent_with_maximum(dealer: Dealer, _number: int) -> Flow:
    """PTMX: charges less than five percent off, and less than the maximum of ten."""
    for _ in range(_DRAWS_MAX):
        case = _Case(dealer, replace(_TOLERANT, markets=(catalogue.GB, catalogue.FR)))
        if case.charges >= _CHARGES_MIN:
            break
    else:
        raise ValueError("no trade with charges was drawn; ask for fewer troubles")
    off = round_amount(multiply(case.charges, _FOUR_PERCENT), currency=case.trade.currency)
    near = replace(case.right, charges=add(case.charges, min(off, _NEARLY_THE_MAXIMUM)))
    return case.flow(_SETTLED, sent=case.sent(near))


def below_and_above(dealer: Dealer, _number: int) -> Flow:
    """MNMX: cash so far above ours as it may be above and not below."""
    case = _Case(dealer, replace(_TOLERANT, markets=(catalogue.GB, catalogue.DE)))
    near = replace(case.right, net_amount=add(case.right.net_amount, _NET_ABOVE))
    return case.flow(_SETTLED, sent=case.sent(near))


def populated(dealer: Dealer, _number: int) -> Flow:
    """CPOP: another price, which our side takes."""
    case = _Case(dealer, replace(_TOLERANT, instrument_types=(InstrumentType.EQUITY,)))
    theirs = replace(case.right, price=multiply(case.right.price, _HALF_A_PERCENT_MORE))
    return case.flow(_SETTLED, sent=case.sent(theirs))


def not_used(dealer: Dealer, _number: int) -> Flow:
    """NUFM: a gross amount that is far off."""
    case = _Case(dealer, _TOLERANT)
    theirs = replace(case.right, gross_amount=add(case.trade.gross_amount, _GROSS_OFF))
    return case.flow(_SETTLED, sent=case.sent(theirs))


def cancelled_before(dealer: Dealer, _number: int) -> Flow:
    """A wrong confirmation, its cancellation, and the right one."""
    case = _Case(dealer, SINGLE_FILL)
    wrong = case.anew(case.mispriced())
    cancel = case.naming(wrong, ConfirmationTransactionType.CANCEL, says=wrong)
    return case.flow(_SETTLED, sent=case.sent(wrong, cancel, case.right))


def replaced_before(dealer: Dealer, _number: int) -> Flow:
    """A wrong confirmation, and the right one as its replacement."""
    case = _Case(dealer, SINGLE_FILL)
    wrong = case.mispriced()
    right = case.naming(wrong, ConfirmationTransactionType.REPLACE, says=case.right)
    return case.flow(_SETTLED, sent=case.sent(wrong, right))


def cancelled_after(dealer: Dealer, _number: int) -> Flow:
    """Cancelled in the evening, when it is matched."""
    case = _Case(dealer, SINGLE_FILL)
    cancel = case.naming(case.right, ConfirmationTransactionType.CANCEL, says=case.right)
    promise = replace(_SETTLED, opened_late=(Reason.CONFIRMATION_CANCEL_REQUESTED,), late_comes_last=True)
    return case.flow(promise, sent=case.sent(case.right), late=[dealer.late(cancel)])


def replaced_after(dealer: Dealer, _number: int) -> Flow:
    """Replaced in the evening, when it is matched; what replaces it waits for our answer."""
    case = _Case(dealer, SINGLE_FILL)
    other = case.naming(case.right, ConfirmationTransactionType.REPLACE, says=case.mispriced())
    promise = replace(
        _SETTLED,
        opened_late=(Reason.CONFIRMATION_CANCEL_REQUESTED,),
        overdue=(Reason.UNMATCHED_CONFIRMATION,),
        late_comes_last=True,
    )
    return case.flow(promise, sent=case.sent(case.right), late=[dealer.late(other)])


def cancel_of_unknown(dealer: Dealer, _number: int) -> Flow:
    """What is cancelled was never sent; the trade is confirmed by another."""
    case = _Case(dealer, SINGLE_FILL)
    never_sent = case.anew(case.mispriced())
    cancel = case.naming(never_sent, ConfirmationTransactionType.CANCEL, says=never_sent)
    promise = replace(_SETTLED, overdue=(Reason.CONFIRMATION_REFERENCE_UNKNOWN,))
    return case.flow(promise, sent=case.sent(case.right, cancel))
