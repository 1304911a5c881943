"""Allocation instructions and confirmations: each goes on once, under the key where it meets its trade."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.domain.code import (
    AllocationTransactionType,
    ConfirmationStatus,
    ConfirmationTransactionType,
    ExceptionStatus,
    Side,
)
from services.domain.event import AccountAllocation
from services.domain.reason import Reason
from services.stage import Publish, Suppress
from tests import samples
from tests.unit.capture.desk import Desk, exceptions


@pytest.mark.parametrize("transaction_type", AllocationTransactionType)
def test_an_allocation_goes_on_unchanged_whatever_it_asks_for(transaction_type: AllocationTransactionType) -> None:
    """What a replacement or cancellation means is decided where the block is known."""
    instruction = samples.allocation_instruction(transaction_type=transaction_type, reference_id="J0")

    assert Desk().take(instruction) == [Publish(topic="trades.allocation-requests", key="O1", event=instruction)]


def test_a_cancellation_of_an_allocation_need_not_list_accounts() -> None:
    """FIX asks for NoAllocs (78) on all others."""
    cancellation = samples.allocation_instruction(
        transaction_type=AllocationTransactionType.CANCEL, reference_id="J0", allocations=()
    )

    assert isinstance(Desk().take(cancellation)[0], Publish)


def test_an_allocation_again_is_a_duplicate_and_other_content_a_conflict() -> None:
    """A block allocated twice is delivered twice."""
    desk = Desk()
    instruction = samples.allocation_instruction()
    padded = samples.allocation_instruction(
        quantity=Decimal("1000.00"),
        allocations=(
            AccountAllocation(account="FUND-A", quantity=Decimal("600.00000000")),
            AccountAllocation(account="FUND-B", quantity=Decimal(400)),
        ),
    )
    other = samples.allocation_instruction(
        allocations=(
            AccountAllocation(account="FUND-A", quantity=Decimal(500)),
            AccountAllocation(account="FUND-B", quantity=Decimal(500)),
        )
    )

    outcomes = desk.take(instruction, instruction, padded, other, other)

    assert outcomes[1:3] == [Suppress(cause="duplicate")] * 2
    (exception,) = exceptions(outcomes)
    assert (exception.reason, exception.order_id) == (Reason.ALLOCATION_CONFLICTS, "O1")
    assert outcomes[4] == Suppress(cause="duplicate")


def test_two_senders_may_use_the_same_allocation_id() -> None:
    """AllocID is unique per sender; joining names without care would make AB + C and A + BC one."""
    outcomes = Desk().take(
        samples.allocation_instruction(sender="AB", instruction_id="C"),
        samples.allocation_instruction(sender="A", instruction_id="BC"),
    )

    assert [type(outcome) for outcome in outcomes] == [Publish, Publish]


def test_a_valid_allocation_closes_what_was_open_about_its_id() -> None:
    """The client sends it again, right this time."""
    desk = Desk()
    (opened,) = exceptions(desk.take(samples.allocation_instruction(quantity=Decimal(999))))

    outcomes = desk.take(samples.allocation_instruction())

    assert isinstance(outcomes[0], Publish)
    assert outcomes[0].topic == "trades.allocation-requests"
    assert [closed.exception_id for closed in exceptions(outcomes, ExceptionStatus.CLOSED)] == [opened.exception_id]


SIDES = [(Side.SELL, Side.BUY), (Side.SELL_SHORT, Side.BUY), (Side.BUY, Side.SELL)]


@pytest.mark.parametrize(("theirs", "ours"), SIDES)
def test_a_confirmation_is_keyed_as_its_allocation_is(theirs: Side, ours: Side) -> None:
    """Its side is the counterparty's; the key names ours."""
    (published,) = Desk().take(samples.confirmation(side=theirs))

    expected = samples.received_confirmation(side=theirs)
    assert published == Publish(topic="confirmations.received", key=expected.match_key, event=expected)
    assert expected.match_key == samples.allocated_trade(side=ours).match_key


OTHER_CONFIRMATIONS: list[dict[str, Any]] = [
    {"net_amount": Decimal("100000.01")},
    {"allocation_reference": "A1"},
    {"side": Side.BUY},
]


@pytest.mark.parametrize("changes", OTHER_CONFIRMATIONS)
def test_a_confirmation_again_is_a_duplicate_and_other_content_a_conflict(changes: dict[str, Any]) -> None:
    """A counterparty that changes its mind must say so under a new id."""
    desk = Desk()

    outcomes = desk.take(
        samples.confirmation(), samples.confirmation(price=Decimal("100.000")), samples.confirmation(**changes)
    )

    assert outcomes[1] == Suppress(cause="duplicate")
    (exception,) = exceptions(outcomes)
    assert (exception.reason, exception.order_id) == (Reason.CONFIRMATION_CONFLICTS, None)


def test_what_takes_a_confirmation_back_goes_where_it_went() -> None:
    """Replacements, cancellations and refusals meet the confirmation that they name, under its match key."""
    for changes in (
        {"transaction_type": ConfirmationTransactionType.CANCEL},
        {"transaction_type": ConfirmationTransactionType.REPLACE, "price": Decimal(99)},
        {"confirmation_status": ConfirmationStatus.REQUEST_REJECTED},
    ):
        desk = Desk()
        first, second = desk.take(
            samples.confirmation(), samples.confirmation(confirmation_id="K1", reference_id="C1", **changes)
        )
        assert isinstance(first, Publish)
        assert isinstance(second, Publish)
        assert (second.topic, second.key) == ("confirmations.received", first.key)
        again = samples.confirmation(confirmation_id="K1", reference_id="C1", **changes)
        assert desk.take(again) == [Suppress(cause="duplicate")]


def test_accrued_interest_may_be_negative() -> None:
    """A bond that is traded ex dividend owes some."""
    (published,) = Desk().take(samples.confirmation(accrued_interest=Decimal(-3)))
    assert isinstance(published, Publish)


def test_a_valid_confirmation_closes_what_was_open_about_its_id() -> None:
    """Zero quantity first, then the real one."""
    desk = Desk()
    (opened,) = exceptions(desk.take(samples.confirmation(quantity=Decimal(0))))

    outcomes = desk.take(samples.confirmation())

    assert [closed.exception_id for closed in exceptions(outcomes, ExceptionStatus.CLOSED)] == [opened.exception_id]
