"""When a message is refused: columns of checks, whose order is part of the contract; the first that fails answers.

First what the message says by itself (routing key, identifiers, quantities and prices, dates), then what it says
against what was accepted before.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Annotated

from services.capture.state import SeenExecution
from services.domain import checks
from services.domain.allocation_reject import allocation_reject_code
from services.domain.code import (
    AllocationTransactionType,
    ConfirmationStatus,
    ConfirmationTransactionType,
    ExecutionType,
    SecurityIdSource,
)
from services.domain.event import AllocationInstruction, CounterpartyConfirmation, Execution
from services.domain.money import add
from services.domain.reason import Reason
from services.domain.record import Record, doc, replace

_SHOWN_CHARACTERS_MAX = 80
_MISSING = "missing"


class Refusal(Record, kw_only=True):
    """Why a message is not accepted."""

    reason: Annotated[Reason, doc("Code, meaning and what the desk does.")]
    finding: Annotated[str, doc("Clause for the exception's sentence: what was found, and what was expected.")]
    details: Annotated[dict[str, str], doc("Fields concerned, each with what was found.")]


def shown(value: object) -> str:
    """A value for people: numbers without padding, text that cannot be an identifier escaped and cut."""
    if value is None:
        return _MISSING
    if isinstance(value, Decimal):
        text = format(value, "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    text = str(value)
    return text if checks.is_identifier(text) else ascii(text)[:_SHOWN_CHARACTERS_MAX]


def _wrong(reason: Reason, *, field: str, was: object, expected: str) -> Refusal:
    text = shown(was)
    return Refusal(reason=reason, finding=f"{field} was {text}, expected {expected}", details={field: text})


# --- what a message says by itself -----------------------------------------------------------------------------------


def refusal_of_execution(execution: Execution, *, key: str | None) -> Refusal | None:
    """Check an execution report by itself; `key` is the key of its record."""
    return (
        _routing(key, expected=execution.order_id, field="order_id")
        or _execution_identifiers(execution)
        or _execution_economics(execution)
        or _commission(execution)
        or _settlement_date(
            "requested_settlement_date", execution.requested_settlement_date, trade_date=execution.trade_date
        )
    )


def refusal_of_instruction(instruction: AllocationInstruction, *, key: str | None) -> Refusal | None:
    """Check an allocation instruction by itself; `key` is the key of its record."""
    return (
        _routing(key, expected=instruction.order_id, field="order_id")
        or _instruction_identifiers(instruction)
        or _positive_quantity("quantity", instruction.quantity)
        or _shares(instruction)
        or _executions(instruction)
    )


def refusal_of_part(instruction: AllocationInstruction, *, key: str | None) -> Refusal | None:
    """Check a fragment of an allocation instruction by itself: its accounts need not add up yet."""
    return (
        _routing(key, expected=instruction.order_id, field="order_id")
        or _instruction_identifiers(instruction)
        or _positive_quantity("quantity", instruction.quantity)
        or _positive_shares(instruction)
    )


def refusal_of_confirmation(confirmation: CounterpartyConfirmation, *, key: str | None) -> Refusal | None:
    """Check a counterparty's confirmation by itself; `key` is the key of its record."""
    return (
        _routing(key, expected=confirmation.confirmation_id, field="confirmation_id")
        or _confirmation_identifiers(confirmation)
        or _positive_quantity("quantity", confirmation.quantity)
        or _positive_price("price", confirmation.price)
        or _amounts(confirmation)
        or _settlement_date("settlement_date", confirmation.settlement_date, trade_date=confirmation.trade_date)
    )


def _routing(key: str | None, *, expected: str, field: str) -> Refusal | None:
    if key == expected:
        return None
    return Refusal(
        reason=Reason.ROUTING_KEY_DIFFERS,
        finding=f"the record's key was {shown(key)}, expected its {field} {shown(expected)}",
        details={"key": shown(key), field: shown(expected)},
    )


def _execution_identifiers(execution: Execution) -> Refusal | None:
    refers = execution.execution_type is not ExecutionType.TRADE
    return (
        _identifier("sender", execution.sender)
        or _identifier("execution_id", execution.execution_id)
        or _reference("execution_reference_id", execution.execution_reference_id, required=refers)
        or _identifier("order_id", execution.order_id)
        or _identifier("account", execution.account)
        or _security_id(execution.security_id, execution.security_id_source)
        or _currency(execution.currency)
        or _venue(execution.venue)
        or _reference("settlement_type", execution.settlement_type, required=False)
        or _bic("counterparty", execution.counterparty)
    )


def _instruction_identifiers(instruction: AllocationInstruction) -> Refusal | None:
    refers = instruction.transaction_type is not AllocationTransactionType.NEW
    return (
        _identifier("sender", instruction.sender)
        or _identifier("instruction_id", instruction.instruction_id)
        or _reference("reference_id", instruction.reference_id, required=refers)
        or _identifier("order_id", instruction.order_id)
        or _security_id(instruction.security_id, instruction.security_id_source)
        or _share_identifiers(instruction)
        or next(filter(None, (_identifier("execution_id", one.execution_id) for one in instruction.executions)), None)
    )


def _share_identifiers(instruction: AllocationInstruction) -> Refusal | None:
    for share in instruction.allocations:
        refusal = _identifier("account", share.account) or _reference(
            "individual_allocation_id", share.individual_allocation_id, required=False
        )
        if refusal is not None:
            return refusal
    return None


def _confirmation_identifiers(confirmation: CounterpartyConfirmation) -> Refusal | None:
    return (
        _bic("sender", confirmation.sender)
        or _identifier("confirmation_id", confirmation.confirmation_id)
        or _reference("allocation_reference", confirmation.allocation_reference, required=False)
        or _confirmation_reference(confirmation)
        or _identifier("account", confirmation.account)
        or _security_id(confirmation.isin, SecurityIdSource.ISIN, field="isin")
        or _currency(confirmation.currency)
    )


def _confirmation_reference(confirmation: CounterpartyConfirmation) -> Refusal | None:
    """A replacement, a cancellation and a refusal name another confirmation of the sender; nothing names itself."""
    changes = confirmation.transaction_type not in (None, ConfirmationTransactionType.NEW)
    refuses = confirmation.confirmation_status is ConfirmationStatus.REQUEST_REJECTED
    named = confirmation.reference_id
    if named is not None and named == confirmation.confirmation_id:
        expected = "the id of another confirmation"
        return _wrong(Reason.IDENTIFIER_INVALID, field="reference_id", was=named, expected=expected)
    return _reference("reference_id", named, required=changes or refuses)


def _identifier(field: str, value: str | None) -> Refusal | None:
    if value is not None and checks.is_identifier(value):
        return None
    expected = f"1 to {checks.IDENTIFIER_CHARACTERS_MAX} printable ASCII characters"
    return _wrong(Reason.IDENTIFIER_INVALID, field=field, was=value, expected=expected)


def _reference(field: str, value: str | None, *, required: bool) -> Refusal | None:
    return None if value is None and not required else _identifier(field, value)


def _security_id(value: str, source: SecurityIdSource, *, field: str = "security_id") -> Refusal | None:
    if checks.IS_SECURITY_ID[source](value):
        return None
    expected = f"a {source} with a right check digit"
    return _wrong(Reason.IDENTIFIER_INVALID, field=field, was=value, expected=expected)


def _currency(value: str) -> Refusal | None:
    if checks.is_currency(value):
        return None
    return _wrong(Reason.IDENTIFIER_INVALID, field="currency", was=value, expected="an ISO 4217 code of three letters")


def _venue(value: str) -> Refusal | None:
    if checks.is_mic(value):
        return None
    return _wrong(Reason.IDENTIFIER_INVALID, field="venue", was=value, expected="an ISO 10383 code of four characters")


def _bic(field: str, value: str) -> Refusal | None:
    if checks.is_bic(value):
        return None
    return _wrong(Reason.IDENTIFIER_INVALID, field=field, was=value, expected="a BIC of 8 or 11 characters")


def _execution_economics(execution: Execution) -> Refusal | None:
    """A cancellation may leave quantity and price at zero or repeat those of its trade."""
    if execution.execution_type is ExecutionType.TRADE_CANCEL:
        refusal = _not_negative("quantity", execution.quantity) or _cancelled_price(execution.price)
    else:
        refusal = _positive_quantity("quantity", execution.quantity) or _positive_price("price", execution.price)
    return (
        refusal
        or _not_negative("cumulative_quantity", execution.cumulative_quantity)
        or _not_negative("leaves_quantity", execution.leaves_quantity)
    )


def _commission(execution: Execution) -> Refusal | None:
    """A commission has a type and the trade's currency: net money is one sum in one currency."""
    reason = Reason.COMMISSION_UNSUITABLE
    commission, kind = execution.commission, execution.commission_type
    if commission is None and kind is None:
        return None
    if commission is None or kind is None:
        missing = "commission" if commission is None else "commission_type"
        return _wrong(reason, field=missing, was=None, expected="both a commission and its type, or neither")
    if commission < 0:
        return _wrong(reason, field="commission", was=commission, expected="0 or more")
    if execution.commission_currency not in (None, execution.currency):
        expected = f"the currency of the trade {execution.currency}"
        return _wrong(reason, field="commission_currency", was=execution.commission_currency, expected=expected)
    if execution.contract_multiplier is not None and execution.contract_multiplier <= 0:
        return _wrong(reason, field="contract_multiplier", was=execution.contract_multiplier, expected="more than 0")
    return None


def _positive_quantity(field: str, value: Decimal) -> Refusal | None:
    if value > 0:
        return None
    return _wrong(Reason.QUANTITY_NOT_POSITIVE, field=field, was=value, expected="more than 0")


def _not_negative(field: str, value: Decimal) -> Refusal | None:
    if value >= 0:
        return None
    return _wrong(Reason.QUANTITY_NOT_POSITIVE, field=field, was=value, expected="0 or more")


def _positive_price(field: str, value: Decimal) -> Refusal | None:
    if value > 0:
        return None
    return _wrong(Reason.PRICE_NOT_POSITIVE, field=field, was=value, expected="more than 0")


def _cancelled_price(value: Decimal) -> Refusal | None:
    if value >= 0:
        return None
    return _wrong(Reason.PRICE_NOT_POSITIVE, field="price", was=value, expected="0 or more")


def _amounts(confirmation: CounterpartyConfirmation) -> Refusal | None:
    """Cash is never negative, save accrued interest: it is when a bond is sold ex dividend."""
    if confirmation.net_amount < 0:
        return _wrong(Reason.AMOUNT_NEGATIVE, field="net_amount", was=confirmation.net_amount, expected="0 or more")
    for field in ("gross_amount", "commission", "charges"):
        amount = getattr(confirmation, field)
        if amount is not None and amount < 0:
            return _wrong(Reason.AMOUNT_NEGATIVE, field=field, was=amount, expected="0 or more, or nothing")
    return None


def _settlement_date(field: str, value: date | None, *, trade_date: date) -> Refusal | None:
    if value is None or value >= trade_date:
        return None
    return _wrong(
        Reason.SETTLEMENT_DATE_BEFORE_TRADE_DATE,
        field=field,
        was=value,
        expected=f"the trade date {trade_date} or later",
    )


def _shares(instruction: AllocationInstruction) -> Refusal | None:
    """Each account once, each share positive, all of them the block. A cancellation need not list the accounts."""
    if instruction.transaction_type is AllocationTransactionType.CANCEL and not instruction.allocations:
        return None
    return (
        _positive_shares(instruction)
        or _account_twice(share.account for share in instruction.allocations)
        or _sum(instruction)
    )


def _positive_shares(instruction: AllocationInstruction) -> Refusal | None:
    for share in instruction.allocations:
        refusal = _positive_quantity("allocation_quantity", share.quantity)
        if refusal is not None:
            return refusal
    return None


def _executions(instruction: AllocationInstruction) -> Refusal | None:
    """The fills that are named are those that are divided: together they have the instruction's quantity."""
    if not instruction.executions:
        return None
    total = add(*(one.quantity for one in instruction.executions))
    if total == instruction.quantity:
        return None
    return Refusal(
        reason=Reason.QUANTITIES_DISAGREE,
        finding=f"the executions' sum was {shown(total)}, expected the quantity {shown(instruction.quantity)}",
        details={"quantity": shown(instruction.quantity), "executions_sum": shown(total)},
    )


def _account_twice(accounts: Iterable[str]) -> Refusal | None:
    seen: set[str] = set()
    for account in accounts:
        if account in seen:
            return Refusal(
                reason=Reason.QUANTITIES_DISAGREE,
                finding=f"account {shown(account)} was listed twice, expected once",
                details={"account": shown(account)},
            )
        seen.add(account)
    return None


def _sum(instruction: AllocationInstruction) -> Refusal | None:
    total = add(*(share.quantity for share in instruction.allocations))
    if total == instruction.quantity:
        return None
    return Refusal(
        reason=Reason.QUANTITIES_DISAGREE,
        finding=f"the accounts' sum was {shown(total)}, expected the block's quantity {shown(instruction.quantity)}",
        details={"quantity": shown(instruction.quantity), "allocations_sum": shown(total)},
    )


def with_reject_code(refusal: Refusal) -> Refusal:
    """The refusal of an allocation instruction with the code that FIX has for it, which its sender understands."""
    code = str(allocation_reject_code(refusal.reason))
    return replace(refusal, details=refusal.details | {"allocation_reject_code": code})


# --- what a message says against what was accepted before ------------------------------------------------------------


def conflict(reason: Reason) -> Refusal:
    """Refuse other content under an id that was accepted before."""
    return Refusal(reason=reason, finding="the id came again with other content, expected a correction", details={})


def refusal_of_reference(execution: Execution, trade: SeenExecution | None) -> Refusal | None:
    """Check what a correction or cancellation refers to; `trade` is what is remembered of it."""
    named = shown(execution.execution_reference_id)
    if trade is None:
        return Refusal(
            reason=Reason.EXECUTION_REFERENCE_UNKNOWN,
            finding=f"execution_reference_id was {named}, expected an execution reported by {shown(execution.sender)}"
            f" for {execution.trade_date} and side {execution.side}",
            details={"execution_reference_id": named},
        )
    if trade.order_id != execution.order_id:
        return Refusal(
            reason=Reason.EXECUTION_REFERENCE_UNKNOWN,
            finding=f"order_id was {shown(execution.order_id)}, expected {shown(trade.order_id)} as for {named}",
            details={"execution_reference_id": named, "order_id": shown(execution.order_id)},
        )
    if trade.is_cancelled:
        return Refusal(
            reason=Reason.EXECUTION_ALREADY_CANCELLED,
            finding=f"the trade {trade.trade_id} of {named} was cancelled, expected one that stands",
            details={"execution_reference_id": named, "trade_id": trade.trade_id},
        )
    return None
