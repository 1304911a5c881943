"""Every event in one line, in the words of the desk."""

from __future__ import annotations

from decimal import Decimal

from services.adapters.avro_codec import to_json
from services.domain import event as ev
from services.domain.code import Function, Payment, PriceType
from services.domain.record import Record


def describe(event: Record) -> str:
    """What the event says, in one line; for reference data its fields."""
    text = _of_input(event) or _of_trade(event)
    return text or " ".join(f"{name}={value}" for name, value in to_json(event).items() if value not in (None, ""))


def _of_input(event: Record) -> str | None:
    match event:
        case ev.CapturedTrade():  # an execution too, so it must be asked for first
            return None
        case ev.Execution():
            kind = event.execution_type.value
            return f"{kind} {event.execution_id} of {event.sender}: {_fill(event)}{_reference(event)}"
        case ev.AllocationInstruction():
            shares = ", ".join(f"{share.account} {number(share.quantity)}" for share in event.allocations)
            return (
                f"{event.transaction_type.value} allocation {event.instruction_id} of {event.sender}: "
                f"divide {number(event.quantity)} of order {event.order_id}: {shares or 'no accounts'}"
            )
        case ev.CounterpartyConfirmation():
            return (
                f"{event.sender} confirms {event.confirmation_id}: {event.side.value} {number(event.quantity)} "
                f"{event.isin} at {number(event.price)}, net {number(event.net_amount)} {event.currency}, "
                f"account {event.account}, settles {event.settlement_date}"
            )
        case ev.IgnoredMessage():
            return f"nothing to book: {event.cause}"
    return None


def _of_trade(event: Record) -> str | None:
    match event:
        case ev.EnrichedTrade():
            charges = sum((charge.amount for charge in event.charges), Decimal(0))
            accrued = f"accrued {number(event.accrued_interest)}, " if event.accrued_interest else ""
            return (
                f"{event.trade_id} v{event.version}: gross {number(event.gross_amount)}, {accrued}"
                f"charges {number(charges)}, net {number(event.net_amount)} {event.currency}, "
                f"settles {event.settlement_date} in {event.settlement_market}"
            )
        case ev.CapturedTrade():
            return f"{event.trade_id} v{event.version} {event.execution_type.value}: {_fill(event)}"
        case ev.ConfirmedTrade():
            end = _ends(event.function)
            return (
                f"{end}{event.allocation_id} confirmed by {event.counterparty} as "
                f"{event.confirmation_id}: "
                f"{number(event.settlement_amount)} {event.currency}"
            )
        case ev.AllocatedTrade():
            end = _ends(event.function)
            return (
                f"{end}{event.allocation_id}: {event.side.value} {number(event.quantity)} {event.isin} "
                f"for {event.account}, net {number(event.net_amount)} {event.currency} "
                f"of {len(event.trade_ids)} fill(s)"
            )
        case ev.MatchStatusReport():
            steps = " ".join(step.status.value for step in event.history)
            return f"{event.subject_id} stands at {event.status.value} ({steps}): {event.message}"
        case ev.SettlementInstruction():
            return _instruction(event)
        case ev.ExceptionEvent():
            return f"{event.status.value} {event.reason} {event.exception_id} by {event.service}: {event.message}"
    return None


def _fill(event: ev.Execution) -> str:
    return (
        f"{event.side.value} {number(event.quantity)} {event.security_id} "
        f"at {number(event.price)}{_unit(event.price_type)} {event.currency} for {event.account}, "
        f"order {event.order_id}, {number(event.leaves_quantity)} left"
    )


def _ends(function: Function) -> str:
    """How the line of an event begins that takes back what was said under its id."""
    return "CANCEL " if function is Function.CANCEL else ""


def _reference(event: ev.Execution) -> str:
    return f", refers to {event.execution_reference_id}" if event.execution_reference_id else ""


def _unit(price_type: PriceType) -> str:
    return " %" if price_type is PriceType.PERCENT_OF_PAR else ""


def _instruction(event: ev.SettlementInstruction) -> str:
    cash = f" against {number(event.amount)} {event.currency}" if event.payment is Payment.AGAINST_PAYMENT else " free"
    end = _ends(event.function)
    return (
        f"{end}{event.instruction_id} {event.movement.value} {number(event.quantity)} {event.isin}{cash} "
        f"for {event.account} with {event.counterparty} at {event.own_chain.depository_bic} on {event.settlement_date}"
    )


def number(value: Decimal) -> str:
    """A number without exponent, thousands separated."""
    return f"{value:,f}"
