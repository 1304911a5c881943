"""One row for each way a message can be wrong by itself, in the order in which the checks are made."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from services.domain.code import (
    AllocationTransactionType,
    CommissionType,
    ConfirmationStatus,
    ConfirmationTransactionType,
    ExecutionType,
    SecurityIdSource,
)
from services.domain.event import AccountAllocation
from services.domain.reason import Reason
from services.domain.record import Record
from services.stage import Received
from tests import samples
from tests.unit.capture.desk import Desk, exceptions, received, trades

NAMES_BAD = ["", " ", "x" * 65, "a\x1fb", "F\u00d6ND"]
CANCEL: dict[str, Any] = {"execution_type": ExecutionType.TRADE_CANCEL, "execution_reference_id": "E0"}
CORRECT: dict[str, Any] = {"execution_type": ExecutionType.TRADE_CORRECT, "execution_reference_id": "E0"}

COMMISSION: dict[str, Any] = {"commission": Decimal(10), "commission_type": CommissionType.ABSOLUTE}

Row = tuple[dict[str, Any], Reason, str]

EXECUTIONS: list[Row] = [
    # changes, reason, field that is named
    *[
        ({field: bad}, Reason.IDENTIFIER_INVALID, field)
        for field in ("sender", "execution_id", "order_id", "account", "settlement_type")
        for bad in NAMES_BAD
    ],
    ({**CORRECT, "execution_reference_id": None}, Reason.IDENTIFIER_INVALID, "execution_reference_id"),
    ({**CANCEL, "execution_reference_id": None}, Reason.IDENTIFIER_INVALID, "execution_reference_id"),
    ({**CANCEL, "execution_reference_id": ""}, Reason.IDENTIFIER_INVALID, "execution_reference_id"),
    ({"security_id": "DE0007164601"}, Reason.IDENTIFIER_INVALID, "security_id"),
    ({"security_id_source": SecurityIdSource.SEDOL}, Reason.IDENTIFIER_INVALID, "security_id"),
    (
        {"security_id": "0263495", "security_id_source": SecurityIdSource.SEDOL},
        Reason.IDENTIFIER_INVALID,
        "security_id",
    ),
    (
        {"security_id": "037833101", "security_id_source": SecurityIdSource.CUSIP},
        Reason.IDENTIFIER_INVALID,
        "security_id",
    ),
    ({"currency": "eur"}, Reason.IDENTIFIER_INVALID, "currency"),
    ({"venue": "XE"}, Reason.IDENTIFIER_INVALID, "venue"),
    ({"counterparty": "DEUTSCHE"[:7]}, Reason.IDENTIFIER_INVALID, "counterparty"),
    ({"quantity": Decimal(0)}, Reason.QUANTITY_NOT_POSITIVE, "quantity"),
    ({"quantity": Decimal(-1000)}, Reason.QUANTITY_NOT_POSITIVE, "quantity"),
    ({**CORRECT, "quantity": Decimal(0)}, Reason.QUANTITY_NOT_POSITIVE, "quantity"),
    ({**CANCEL, "quantity": Decimal(-1)}, Reason.QUANTITY_NOT_POSITIVE, "quantity"),
    ({"price": Decimal(0)}, Reason.PRICE_NOT_POSITIVE, "price"),
    ({"price": Decimal("-0.01")}, Reason.PRICE_NOT_POSITIVE, "price"),
    ({**CORRECT, "price": Decimal(0)}, Reason.PRICE_NOT_POSITIVE, "price"),
    ({**CANCEL, "price": Decimal(-1)}, Reason.PRICE_NOT_POSITIVE, "price"),
    ({"cumulative_quantity": Decimal(-1)}, Reason.QUANTITY_NOT_POSITIVE, "cumulative_quantity"),
    ({"leaves_quantity": Decimal(-1)}, Reason.QUANTITY_NOT_POSITIVE, "leaves_quantity"),
    ({"commission": Decimal(1)}, Reason.COMMISSION_UNSUITABLE, "commission_type"),
    ({"commission_type": CommissionType.PERCENT}, Reason.COMMISSION_UNSUITABLE, "commission"),
    ({**COMMISSION, "commission": Decimal("-0.01")}, Reason.COMMISSION_UNSUITABLE, "commission"),
    ({**COMMISSION, "commission_currency": "USD"}, Reason.COMMISSION_UNSUITABLE, "commission_currency"),
    ({**COMMISSION, "contract_multiplier": Decimal(0)}, Reason.COMMISSION_UNSUITABLE, "contract_multiplier"),
    (
        {"requested_settlement_date": date(2026, 3, 1)},
        Reason.SETTLEMENT_DATE_BEFORE_TRADE_DATE,
        "requested_settlement_date",
    ),
]


def _refused(event: Record, *, key: str | None = None) -> tuple[str, str, dict[str, str]]:
    outcomes = Desk().take_as([received(event, key=key)])
    assert len(outcomes) == 1
    (exception,) = exceptions(outcomes)
    assert exception.message.endswith(".")
    assert "expected" in exception.message
    return exception.reason, exception.message, exception.details


@pytest.mark.parametrize(("changes", "reason", "field"), EXECUTIONS)
def test_executions(changes: dict[str, Any], reason: Reason, field: str) -> None:
    """Nothing of this may become a trade."""
    found, message, details = _refused(samples.execution(**changes))

    assert (found, field in details) == (reason, True)
    assert f"{field} was " in message


ACCEPTED: list[dict[str, Any]] = [
    {"requested_settlement_date": samples.TRADE_DATE},
    {"security_id": "0263494", "security_id_source": SecurityIdSource.SEDOL},
    {"security_id": "037833100", "security_id_source": SecurityIdSource.CUSIP},
    {"counterparty": "DEUTDEFF"},
    {"accrued_interest_amount": Decimal("-1.00")},  # ex-dividend gilts have negative accrued interest
    {"quantity": Decimal("0.00000001"), "price": Decimal("0.0000000001")},
    {"account": "x" * 64},
    {"cumulative_quantity": Decimal(0)},
    COMMISSION,
    {**COMMISSION, "commission": Decimal(0), "commission_currency": "EUR"},
]


@pytest.mark.parametrize("changes", ACCEPTED)
def test_the_edge_of_what_is_accepted(changes: dict[str, Any]) -> None:
    """A check that is too sharp stops good trades."""
    assert len(trades(Desk().take(samples.execution(**changes)))) == 1


@pytest.mark.parametrize(("quantity", "price"), [(0, 0), (1000, 100), (0, 100)])
def test_a_cancellation_may_leave_out_or_repeat_what_it_cancels(quantity: int, price: int) -> None:
    """FIX asks for LastQty and LastPx on fills only."""
    cancellation = samples.execution(
        execution_id="E2",
        execution_type=ExecutionType.TRADE_CANCEL,
        execution_reference_id="E1",
        quantity=Decimal(quantity),
        price=Decimal(price),
        cumulative_quantity=Decimal(0),
    )

    assert len(trades(Desk().take(samples.execution(), cancellation))) == 2


@pytest.mark.parametrize("key", ["O2", "o1", None])
def test_routing_keys(key: str | None) -> None:
    """Under another key the record lies in another partition, where its duplicate would not be seen."""
    record = Received(topic="front-office.fix", key=key, event=samples.execution(), timestamp_us=1)

    (exception,) = exceptions(Desk().take_as([record]))

    assert exception.reason == Reason.ROUTING_KEY_DIFFERS
    assert exception.details["order_id"] == "O1"


PRECEDENCE: list[tuple[dict[str, Any], str, Reason]] = [
    # each row repairs what the row before was refused for
    ({}, "O2", Reason.ROUTING_KEY_DIFFERS),
    ({}, "O1", Reason.IDENTIFIER_INVALID),
    ({"currency": "EUR"}, "O1", Reason.QUANTITY_NOT_POSITIVE),
    ({"currency": "EUR", "quantity": Decimal(1)}, "O1", Reason.PRICE_NOT_POSITIVE),
    (
        {"currency": "EUR", "quantity": Decimal(1), "price": Decimal(1)},
        "O1",
        Reason.SETTLEMENT_DATE_BEFORE_TRADE_DATE,
    ),
]


@pytest.mark.parametrize(("repaired", "key", "reason"), PRECEDENCE)
def test_the_order_of_the_checks_is_part_of_the_contract(repaired: dict[str, Any], key: str, reason: Reason) -> None:
    """A report with several faults always comes up for the same one."""
    faults = {
        "currency": "???",
        "quantity": Decimal(0),
        "price": Decimal(0),
        "requested_settlement_date": date(2026, 3, 1),
    }

    assert _refused(samples.execution(**(faults | repaired)), key=key)[0] == reason


def _shares(*shares: tuple[str, int]) -> tuple[AccountAllocation, ...]:
    return tuple(AccountAllocation(account=account, quantity=Decimal(quantity)) for account, quantity in shares)


REPLACE: dict[str, Any] = {"transaction_type": AllocationTransactionType.REPLACE}

INSTRUCTIONS: list[Row] = [
    *[({field: bad}, Reason.IDENTIFIER_INVALID, field) for field in ("sender", "instruction_id") for bad in NAMES_BAD],
    ({**REPLACE, "reference_id": None}, Reason.IDENTIFIER_INVALID, "reference_id"),
    ({"reference_id": ""}, Reason.IDENTIFIER_INVALID, "reference_id"),
    ({"security_id": "DE0007164601"}, Reason.IDENTIFIER_INVALID, "security_id"),
    ({"allocations": _shares(("", 1000))}, Reason.IDENTIFIER_INVALID, "account"),
    (
        {"allocations": (AccountAllocation(account="A", quantity=Decimal(1000), individual_allocation_id="\x00"),)},
        Reason.IDENTIFIER_INVALID,
        "individual_allocation_id",
    ),
    ({"quantity": Decimal(0), "allocations": ()}, Reason.QUANTITY_NOT_POSITIVE, "quantity"),
    ({"allocations": _shares(("A", 1001), ("B", -1))}, Reason.QUANTITY_NOT_POSITIVE, "allocation_quantity"),
    ({"allocations": _shares(("A", 1000), ("B", 0))}, Reason.QUANTITY_NOT_POSITIVE, "allocation_quantity"),
    ({"allocations": _shares(("A", 600), ("B", 399))}, Reason.QUANTITIES_DISAGREE, "allocations_sum"),
    ({"allocations": _shares(("A", 600), ("B", 401))}, Reason.QUANTITIES_DISAGREE, "allocations_sum"),
    ({"allocations": ()}, Reason.QUANTITIES_DISAGREE, "allocations_sum"),
    ({**REPLACE, "reference_id": "J0", "allocations": ()}, Reason.QUANTITIES_DISAGREE, "allocations_sum"),
    ({"allocations": _shares(("A", 600), ("A", 400))}, Reason.QUANTITIES_DISAGREE, "account"),
]


@pytest.mark.parametrize(("changes", "reason", "field"), INSTRUCTIONS)
def test_allocation_instructions(changes: dict[str, Any], reason: Reason, field: str) -> None:
    """What contradicts itself never reaches the block."""
    found, _, details = _refused(samples.allocation_instruction(**changes))

    assert (found, field in details) == (reason, True)


CONFIRMATIONS: list[Row] = [
    ({"sender": "DEUTSCHE BANK"}, Reason.IDENTIFIER_INVALID, "sender"),
    ({"confirmation_id": "C\t1"}, Reason.IDENTIFIER_INVALID, "confirmation_id"),
    ({"allocation_reference": ""}, Reason.IDENTIFIER_INVALID, "allocation_reference"),
    ({"account": ""}, Reason.IDENTIFIER_INVALID, "account"),
    ({"isin": "DE0007164601"}, Reason.IDENTIFIER_INVALID, "isin"),
    ({"currency": "E"}, Reason.IDENTIFIER_INVALID, "currency"),
    ({"quantity": Decimal(0)}, Reason.QUANTITY_NOT_POSITIVE, "quantity"),
    ({"price": Decimal(0)}, Reason.PRICE_NOT_POSITIVE, "price"),
    ({"net_amount": Decimal("-0.01")}, Reason.AMOUNT_NEGATIVE, "net_amount"),
    ({"gross_amount": Decimal(-1)}, Reason.AMOUNT_NEGATIVE, "gross_amount"),
    ({"commission": Decimal(-1)}, Reason.AMOUNT_NEGATIVE, "commission"),
    ({"charges": Decimal(-1)}, Reason.AMOUNT_NEGATIVE, "charges"),
    ({"transaction_type": ConfirmationTransactionType.CANCEL}, Reason.IDENTIFIER_INVALID, "reference_id"),
    ({"transaction_type": ConfirmationTransactionType.REPLACE}, Reason.IDENTIFIER_INVALID, "reference_id"),
    ({"confirmation_status": ConfirmationStatus.REQUEST_REJECTED}, Reason.IDENTIFIER_INVALID, "reference_id"),
    ({"reference_id": "C1"}, Reason.IDENTIFIER_INVALID, "reference_id"),
    ({"reference_id": "C\t0"}, Reason.IDENTIFIER_INVALID, "reference_id"),
    ({"settlement_date": date(2026, 3, 1)}, Reason.SETTLEMENT_DATE_BEFORE_TRADE_DATE, "settlement_date"),
]


@pytest.mark.parametrize(("changes", "reason", "field"), CONFIRMATIONS)
def test_confirmations(changes: dict[str, Any], reason: Reason, field: str) -> None:
    """A counterparty's slip is found before it is compared with a trade."""
    found, _, details = _refused(samples.confirmation(**changes))

    assert (found, field in details) == (reason, True)


def test_routing_keys_of_allocations_and_confirmations() -> None:
    """They meet their trades and their duplicates only under the right keys."""
    assert _refused(samples.allocation_instruction(), key="J1")[0] == Reason.ROUTING_KEY_DIFFERS
    assert _refused(samples.confirmation(), key="O1")[0] == Reason.ROUTING_KEY_DIFFERS
