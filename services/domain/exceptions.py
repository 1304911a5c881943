"""How an exception is raised and closed, the same for every service, and how much money it keeps from settling."""

from __future__ import annotations

from typing import NamedTuple

from services.domain import identity, money
from services.domain.checks import is_currency
from services.domain.code import ExceptionStatus, PriceType
from services.domain.event import ExceptionEvent, Execution
from services.domain.reason import Reason
from services.domain.record import Decimal

_AMOUNT_DIGITS_MAX = 18
_AMOUNT_MAX = Decimal(10) ** _AMOUNT_DIGITS_MAX
_PERCENT = Decimal("0.01")


class ValueAtRisk(NamedTuple):
    """Cash that does not settle, or settles wrong, while an exception is open."""

    amount: Decimal
    """More than 0, in the minor unit of the currency: which way it flows does not matter here."""
    currency: str
    """ISO 4217."""


def value_of_amount(amount: Decimal, currency: str) -> ValueAtRisk | None:
    """The value of a cash amount, whatever its sign. None when there is no cash, or what was reported is no amount.

    Must take whatever a message holds: what is wrong with it may be the very thing that the exception is about.
    """
    size = amount.copy_abs()
    if not is_currency(currency) or not size.is_finite() or size >= _AMOUNT_MAX:
        return None
    rounded = money.round_amount(size, currency=currency)
    return ValueAtRisk(rounded, currency) if 0 < rounded < _AMOUNT_MAX else None


def value_of_report(execution: Execution) -> ValueAtRisk | None:
    """The value of a report that has no cash yet: quantity times price. None of one without both, as a cancellation."""
    if not execution.quantity.is_finite() or not execution.price.is_finite():
        return None
    if execution.quantity <= 0 or execution.price <= 0:
        return None
    factor = _PERCENT if execution.price_type is PriceType.PERCENT_OF_PAR else Decimal(1)
    try:
        worth = money.multiply(execution.quantity, execution.price, factor)
    except ArithmeticError:  # more digits than any amount has
        return None
    return value_of_amount(worth, execution.currency)


class About(NamedTuple):
    """What an exception is about."""

    subject_id: str
    order_id: str | None
    value: ValueAtRisk | None = None


def exception_event(
    *,
    service: str,
    reason: Reason,
    status: ExceptionStatus,
    about: About,
    message: str,
    details: dict[str, str],
    now_us: int,
) -> ExceptionEvent:
    """Raise or close an exception under the id that follows from what it is about. Closed, it has no value at risk."""
    at_risk = about.value if status is ExceptionStatus.OPEN else None
    return ExceptionEvent(
        exception_id=identity.exception_id(service=service, subject=about.subject_id, reason=reason.value),
        status=status,
        service=service,
        reason=reason.value,
        subject_id=about.subject_id,
        order_id=about.order_id,
        message=message,
        details=details,
        raised_at_us=now_us,
        severity=reason.severity.value,
        owner_group=reason.owner_group.value,
        value_at_risk=None if at_risk is None else at_risk.amount,
        value_currency=None if at_risk is None else at_risk.currency,
    )
