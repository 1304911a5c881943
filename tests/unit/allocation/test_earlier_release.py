"""Blocks and shares that an earlier release left behind: nothing may be made of what their rows do not say."""

from __future__ import annotations

from decimal import Decimal

from services.allocation.process import AllocationStage
from services.allocation.state import Block, GivenShare, WaitingShare
from services.domain.code import AllocationPolicy, ExecutionType
from services.domain.record import replace
from services.domain.reference import StandingSettlementInstruction
from tests import samples
from tests.memory_state import MemoryState
from tests.unit.allocation import desk


def _frozen() -> MemoryState:
    """A block that was allocated when shares were not remembered yet."""
    state = MemoryState(desk.reference_data(AllocationPolicy.SINGLE))
    desk.run(state, samples.enriched_trade())
    ((block_id, block),) = state.scan(Block)
    state.put(block_id, replace(block, newest_share=None))
    del state.tables[GivenShare]
    return state


def test_a_block_whose_shares_are_not_remembered_stays_as_it_is_and_is_shown() -> None:
    """What cannot be taken back in full must not be made anew; a person reverses it."""
    state = _frozen()
    correction = samples.enriched_trade(version=2, execution_type=ExecutionType.TRADE_CORRECT, price=Decimal(99))

    outcomes = desk.run(state, correction)

    assert desk.allocated(outcomes) == []
    assert desk.said(outcomes) == [("OPEN", "AMENDED_AFTER_ALLOCATION")]


def test_a_late_fill_of_such_a_block_is_shown_until_it_is_taken_back() -> None:
    """It cannot join a block that cannot be divided anew."""
    state = _frozen()
    late = samples.enriched_trade(trade_id="TR9", execution_id="E9", quantity=Decimal(1))
    cancel = replace(late, version=2, execution_type=ExecutionType.TRADE_CANCEL)

    outcomes = desk.run(state, late, cancel)

    assert desk.allocated(outcomes) == []
    assert desk.said(outcomes) == [("OPEN", "FILL_AFTER_ALLOCATION"), ("CLOSED", "FILL_AFTER_ALLOCATION")]


def test_a_share_that_waits_since_an_earlier_release_goes_on() -> None:
    """Its account's data arrives after the upgrade."""
    reference = desk.reference_data(AllocationPolicy.SINGLE)
    chain = desk.settlement_instruction("FUND-A")
    reference.remove(StandingSettlementInstruction, chain.key)
    state = MemoryState(reference)
    desk.run(state, samples.enriched_trade())
    ((block_id, block),) = state.scan(Block)
    state.put(block_id, replace(block, newest_share=None))
    del state.tables[GivenShare]
    reference.put(chain)

    outcomes = AllocationStage().on_time(state, desk.NOW_US)

    assert [trade.account for trade in desk.allocated(outcomes)] == ["FUND-A"]
    assert state.tables[WaitingShare] == {}
