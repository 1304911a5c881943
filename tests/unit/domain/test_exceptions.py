"""What an exception says besides its sentence: how bad it is, whose it is, and how much money it keeps back."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain import money
from services.domain.code import ExceptionStatus, PriceType
from services.domain.event import ExceptionEvent
from services.domain.exceptions import About, ValueAtRisk, exception_event, value_of_amount, value_of_report
from services.domain.reason import Reason
from tests import samples


def _event(status: ExceptionStatus, value: ValueAtRisk | None) -> ExceptionEvent:
    return exception_event(
        service="confirmation",
        reason=Reason.UNCONFIRMED,
        status=status,
        about=About("AL1", "O1", value),
        message="m",
        details={},
        now_us=7,
    )


def test_severity_and_owner_follow_from_the_reason() -> None:
    """Every service says the same of the same reason."""
    event = _event(ExceptionStatus.OPEN, ValueAtRisk(Decimal("12.50"), "EUR"))
    assert (event.severity, event.owner_group) == ("MEDIUM", "CONFIRMATIONS")
    assert (event.value_at_risk, event.value_currency) == (Decimal("12.50"), "EUR")


def test_what_is_closed_puts_nothing_at_risk() -> None:
    """A sum over the topic must not count what is done."""
    event = _event(ExceptionStatus.CLOSED, ValueAtRisk(Decimal(1), "EUR"))
    assert (event.value_at_risk, event.value_currency) == (None, None)
    assert event.severity == "MEDIUM"
    assert _event(ExceptionStatus.OPEN, None).value_at_risk is None


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        ("10.005", "EUR", "10.01"),
        ("-10", "EUR", "10"),
        ("1234.5", "JPY", "1235"),
        ("0", "EUR", None),
        ("0.001", "EUR", None),
        ("5", "eur", None),
        ("5", "", None),
        ("NaN", "EUR", None),
        ("Infinity", "EUR", None),
        ("1e18", "EUR", None),
        ("999999999999999999.999", "EUR", None),
    ],
)
def test_the_value_of_an_amount(amount: str, currency: str, expected: str | None) -> None:
    """Without a sign, in minor units, and nothing at all where the message holds no amount."""
    found = value_of_amount(Decimal(amount), currency)
    assert found == (None if expected is None else ValueAtRisk(Decimal(expected), currency))


@pytest.mark.parametrize(
    ("quantity", "price", "price_type", "expected"),
    [
        ("100", "2.5", PriceType.PER_UNIT, "250"),
        ("1000", "99.5", PriceType.PERCENT_OF_PAR, "995"),
        ("0", "2.5", PriceType.PER_UNIT, None),
        ("-1", "-2.5", PriceType.PER_UNIT, None),
        ("NaN", "1", PriceType.PER_UNIT, None),
    ],
)
def test_the_value_of_a_report(quantity: str, price: str, price_type: PriceType, expected: str | None) -> None:
    """Quantity times price; a report that is refused for one of them has no value."""
    report = samples.execution(quantity=Decimal(quantity), price=Decimal(price), price_type=price_type, currency="EUR")
    found = value_of_report(report)
    assert found == (None if expected is None else ValueAtRisk(Decimal(expected), "EUR"))


@given(quantity=st.decimals(), price=st.decimals(), currency=st.text(max_size=4))
def test_no_report_is_too_strange_to_be_refused(quantity: Decimal, price: Decimal, currency: str) -> None:
    """The value is told of what is refused for being wrong: it must never be the reason why nothing is said."""
    found = value_of_report(samples.execution(quantity=quantity, price=price, currency=currency))
    if found is not None:
        assert 0 < found.amount < 10**18
        assert money.is_in_units(found.amount, digits=5)
