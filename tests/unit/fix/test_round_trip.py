"""What is encoded is decoded to the same record, framed as an independent parser frames it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
import simplefix  # type: ignore[import-untyped]  # the package has no types
from hypothesis import given, settings
from hypothesis import strategies as st

from services.adapters.fix import decode, encode_allocation_instruction, encode_execution
from services.domain.code import (
    AllocationTransactionType,
    CommissionType,
    ExecutionType,
    PriceType,
    SecurityIdSource,
    Side,
)
from services.domain.event import AccountAllocation, AllocationInstruction, Execution
from tests import samples

VERSIONS = st.sampled_from(["FIX.4.2", "FIX.4.4", "FIXT.1.1"])
TEXTS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x17F), min_size=1, max_size=20)
QUANTITIES = st.decimals(-(10**15), 10**15, places=8)
PRICES = st.decimals(-(10**15), 10**15, places=10)
AMOUNTS = st.decimals(-(10**15), 10**15, places=5)
DATES = st.dates(date(1990, 1, 1), date(2099, 12, 31))
TIMES_US = st.integers(0, 4_000_000_000_000_000)


@st.composite
def commissions(draw: st.DrawFn) -> dict[str, Any]:
    """No commission, or one that FIX can say."""
    if draw(st.booleans()):
        return {}
    kind = draw(st.sampled_from(CommissionType))
    return {
        "commission": draw(PRICES),
        "commission_type": kind,
        "commission_currency": draw(st.none() | TEXTS),
        "contract_multiplier": draw(st.none() | QUANTITIES) if kind is CommissionType.PER_BOND else None,
    }


@st.composite
def executions(draw: st.DrawFn) -> Execution:
    """Any execution, plausible or not."""
    execution_type = draw(st.sampled_from(ExecutionType))
    needed = execution_type is not ExecutionType.TRADE
    fields: dict[str, Any] = {
        **{name: draw(TEXTS) for name in ("sender", "execution_id", "order_id", "account", "security_id")},
        **{name: draw(TEXTS) for name in ("currency", "venue", "counterparty")},
        **{name: draw(QUANTITIES) for name in ("quantity", "cumulative_quantity", "leaves_quantity")},
        "execution_type": execution_type,
        "execution_reference_id": draw(TEXTS if needed else st.none() | TEXTS),
        "side": draw(st.sampled_from(Side)),
        "security_id_source": draw(st.sampled_from(SecurityIdSource)),
        "price": draw(PRICES),
        "price_type": draw(st.sampled_from(PriceType)),
        "trade_date": draw(DATES),
        "transaction_time_us": draw(TIMES_US),
        "settlement_type": draw(st.none() | TEXTS),
        "requested_settlement_date": draw(st.none() | DATES),
        "accrued_interest_amount": draw(st.none() | AMOUNTS),
        "possible_duplicate": draw(st.booleans()),
        **draw(commissions()),
    }
    return Execution(**fields)


@st.composite
def instructions(draw: st.DrawFn) -> AllocationInstruction:
    """Any allocation instruction, plausible or not."""
    transaction_type = draw(st.sampled_from(AllocationTransactionType))
    needed = transaction_type is not AllocationTransactionType.NEW
    share = st.builds(AccountAllocation, account=TEXTS, quantity=QUANTITIES, individual_allocation_id=st.none() | TEXTS)
    return AllocationInstruction(
        sender=draw(TEXTS),
        instruction_id=draw(TEXTS),
        transaction_type=transaction_type,
        reference_id=draw(TEXTS if needed else st.none() | TEXTS),
        order_id=draw(TEXTS),
        side=draw(st.sampled_from(Side)),
        security_id=draw(TEXTS),
        security_id_source=draw(st.sampled_from(SecurityIdSource)),
        quantity=draw(QUANTITIES),
        average_price=draw(st.none() | PRICES),
        trade_date=draw(DATES),
        allocations=tuple(draw(st.lists(share, max_size=5))),
    )


@settings(max_examples=100, deadline=None)
@given(executions(), VERSIONS, TIMES_US)
def test_executions(execution: Execution, version: str, sending_time_us: int) -> None:
    """Nothing of an execution is lost or changed on the road through FIX, in any version."""
    raw = encode_execution(execution, begin_string=version, sending_time_us=sending_time_us)

    assert decode(raw) == execution


@settings(max_examples=60, deadline=None)
@given(instructions(), VERSIONS)
def test_allocation_instructions(instruction: AllocationInstruction, version: str) -> None:
    """Nothing of an allocation is lost or changed either."""
    assert decode(encode_allocation_instruction(instruction, begin_string=version)) == instruction


@settings(max_examples=40, deadline=None)
@given(executions(), VERSIONS)
def test_another_parser_finds_the_same_fields(execution: Execution, version: str) -> None:
    """The oracle, simplefix, computes length and checksum by itself, and its encoder gives the very same bytes."""
    raw = encode_execution(execution, begin_string=version)
    parser = simplefix.FixParser()
    parser.append_buffer(raw)

    message = parser.get_message()

    assert message is not None
    assert message.encode() == raw
    assert Decimal(message.get(32).decode()) == execution.quantity
    assert message.get(17).decode() == execution.execution_id


def test_encoding_is_deterministic_and_takes_the_time_it_is_given() -> None:
    """A sample day must come out the same on every run."""
    given_time = encode_execution(samples.execution(), sending_time_us=0, sequence_number=3)

    assert given_time == encode_execution(samples.execution(), sending_time_us=0, sequence_number=3)
    assert b"\x0152=19700101-00:00:00.000\x01" in given_time
    assert b"\x0134=3\x01" in given_time


@pytest.mark.parametrize("account", ["", "A\x0131=1"])
def test_a_text_that_would_change_the_message_is_not_encoded(account: str) -> None:
    """An account with SOH inside would smuggle in a price."""
    with pytest.raises(ValueError, match="tag 1 was empty or held SOH"):
        encode_execution(samples.execution(account=account))
