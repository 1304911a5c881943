"""The stage: its contract, what it publishes, its deadlines."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import TypeVar

import msgspec
import pytest

from services.confirmation.process import OUTCOMES_PER_CALL_MAX, UNCONFIRMED_AFTER_US, ConfirmationStage
from services.confirmation.state import Deadline, MatchGroup, NextDeadline, OpenAllocation, OpenConfirmation
from services.domain.code import AffirmationStep, ConfirmationTransactionType, Side
from services.domain.event import AllocatedTrade, ConfirmedTrade
from services.domain.record import Record, replace
from services.domain.reference import AffirmationDeadline, ReferenceData, TimeZoneOffset
from services.stage import Stage, Suppress
from tests import samples
from tests.memory_state import MemoryState
from tests.unit.confirmation import desk

T = TypeVar("T", bound=Record)


class CountingState(MemoryState):
    """Counts the walks of tables that have rows."""

    walks = 0

    def scan(self, kind: type[T]) -> Iterator[tuple[str, T]]:
        """Note the walk."""
        self.walks += bool(self.tables.get(kind))
        return super().scan(kind)


def test_stage_fulfils_the_contract() -> None:
    """The engine takes any Stage; the type checker compares the signatures here, and rows survive the changelog."""
    stage: Stage = ConfirmationStage()
    state = MemoryState()
    desk.run(state, samples.allocated_trade(), samples.received_confirmation())
    desk.run(state, samples.allocated_trade(allocation_id="A2"))
    desk.run(state, samples.received_confirmation(confirmation_id="C2", net_amount=Decimal(1)))
    cancel = samples.received_confirmation(
        confirmation_id="K1", reference_id="C1", transaction_type=ConfirmationTransactionType.CANCEL
    )
    desk.run(state, cancel, replace(cancel, confirmation_id="K2", reference_id="C3"))
    assert set(state.tables) == set(stage.state_types)
    for kind, rows in state.tables.items():
        assert rows, kind
        for row in rows.values():
            assert msgspec.json.decode(msgspec.json.encode(row), type=kind) == row


def test_an_event_of_another_kind_is_our_bug() -> None:
    """It is wired wrongly; the engine must isolate it, not this stage."""
    with pytest.raises(TypeError, match="CounterpartyConfirmation"):
        desk.run(MemoryState(), samples.confirmation())


def test_the_confirmed_trade_is_the_allocated_trade_and_three_fields() -> None:
    """Settlement reads nothing else; what was allocated must arrive there unchanged."""
    trade = samples.allocated_trade()
    (confirmed,) = desk.confirmed(desk.run(MemoryState(), trade, samples.received_confirmation()))
    assert {name: getattr(confirmed, name) for name in AllocatedTrade.__struct_fields__} == {
        name: getattr(trade, name) for name in AllocatedTrade.__struct_fields__
    }
    added = set(ConfirmedTrade.__struct_fields__) - set(AllocatedTrade.__struct_fields__)
    assert {name: str(getattr(confirmed, name)) for name in added} == {
        "confirmation_id": "C1",
        "matching_profile": "EXACT",
        "settlement_amount": "100000.00",
    }


def test_a_short_sale_is_confirmed_as_a_purchase() -> None:
    """The counterparty buys; that we are short is nothing to it. And it may itself be short when we buy."""
    sale = samples.allocated_trade(side=Side.SELL_SHORT, match_key="K")
    purchase = samples.allocated_trade(allocation_id="A2", match_key="L")
    confirmations = [
        samples.received_confirmation(side=Side.BUY, match_key="K"),
        samples.received_confirmation(confirmation_id="C2", side=Side.SELL_SHORT, match_key="L"),
    ]
    assert len(desk.confirmed(desk.run(MemoryState(), sale, purchase, *confirmations))) == 2


def test_a_finished_group_leaves_nothing_but_ids() -> None:
    """Trades are large and finished ones are many."""
    state = MemoryState()
    desk.run(state, samples.allocated_trade(), samples.received_confirmation())
    for kind in (MatchGroup, OpenAllocation, OpenConfirmation, Deadline):
        assert state.tables.get(kind) == {}


def test_a_confirmation_sent_again_later_is_the_same_confirmation() -> None:
    """It enters the log at another time, and its numbers may be written with other zeros."""
    again = samples.received_confirmation(received_at_us=1, quantity=Decimal("1000.00000000"), price=Decimal(100))
    outcomes = desk.run(MemoryState(), samples.received_confirmation(), again)
    assert outcomes == [Suppress(cause="duplicate")]


def test_ids_are_unique_per_sender_only() -> None:
    """Two counterparties may both have a C1."""
    state = MemoryState()
    other = samples.received_confirmation(sender="BNPAFRPPXXX")
    assert desk.run(state, samples.received_confirmation(), other) == []
    assert len(state.tables[OpenConfirmation]) == 2


def test_both_deadlines_count_from_the_arrival() -> None:
    """Whoever waits is shown, each side under its own id, and once."""
    state, stage = MemoryState(), ConfirmationStage(unconfirmed_after_us=100)
    stage.process([desk.received(samples.allocated_trade(), at_us=1_000)], state, 1_000)
    stage.process([desk.received(samples.received_confirmation(quantity=Decimal(9)), at_us=1_020)], state, 1_020)
    said = [desk.said(stage.on_time(state, now_us)) for now_us in (1_099, 1_100, 1_119, 1_120, 9_999)]
    assert said == [[], [("OPEN", "UNCONFIRMED")], [], [("OPEN", "UNMATCHED_CONFIRMATION")], []]


def test_all_that_was_open_closes_with_the_match() -> None:
    """Nothing stays on the desk's screen for a trade that is confirmed."""
    state, stage = MemoryState(), ConfirmationStage()
    desk.run(state, samples.allocated_trade(), samples.received_confirmation(net_amount=Decimal(1)))
    stage.on_time(state, samples.RECEIVED_AT_US + UNCONFIRMED_AFTER_US)
    outcomes = desk.run(state, samples.received_confirmation(confirmation_id="C2"))
    assert desk.said(outcomes) == [("CLOSED", "CONFIRMATION_MISMATCHED"), ("CLOSED", "UNCONFIRMED")]
    # The wrong confirmation is still there, and still shown.
    assert [row.overdue for row in state.tables[Deadline].values()] == [True]  # type: ignore[attr-defined]


def test_nothing_is_walked_while_nothing_can_be_due() -> None:
    """The timer comes every second for every partition."""
    state, stage = CountingState(), ConfirmationStage()
    desk.run(state, samples.allocated_trade(), samples.allocated_trade(allocation_id="A2", match_key="other"))
    due_us = samples.RECEIVED_AT_US + UNCONFIRMED_AFTER_US
    assert (stage.on_time(state, due_us - 1), state.walks) == ([], 0)
    assert (len(stage.on_time(state, due_us)), state.walks) == (4, 1)  # of each the exception and its status
    assert (stage.on_time(state, 2 * due_us), state.walks) == ([], 1)
    assert state.tables[NextDeadline] == {}


def test_a_silent_counterparty_is_shown_in_portions() -> None:
    """One transaction holds a bounded number of outcomes; the next call goes on."""
    state, stage = MemoryState(), ConfirmationStage()
    count = OUTCOMES_PER_CALL_MAX // 2 + 5  # of each the exception and its status
    desk.run(state, *(samples.allocated_trade(allocation_id=f"A{n}", match_key=f"K{n}") for n in range(count)))
    due_us = samples.RECEIVED_AT_US + UNCONFIRMED_AFTER_US
    assert [len(stage.on_time(state, due_us)) for _ in range(3)] == [OUTCOMES_PER_CALL_MAX, 10, 0]


def _new_york(state: MemoryState) -> MemoryState:
    for step in AffirmationStep:
        state.reference.put(
            AffirmationDeadline(
                settlement_market="US",
                step=step,
                local_time="06:00",
                time_zone="America/New_York",
                warning_minutes=30,
            )
        )
    state.reference.put(TimeZoneOffset(time_zone="America/New_York", offset_minutes=-300))
    return state


def test_a_deadline_of_the_market_costs_nothing_until_it_is_near() -> None:
    """One look at one row each second; one walk when something is due, and none when all is shown."""
    state, stage = _new_york(CountingState(ReferenceData())), ConfirmationStage(unconfirmed_after_us=10**12)
    stage.process([desk.received(samples.allocated_trade(settlement_market="US"))], state, desk.NOW_US)
    assert isinstance(state, CountingState)
    warning_us = samples.RECEIVED_AT_US + 30 * 60_000_000
    due_us = samples.RECEIVED_AT_US + 60 * 60_000_000
    said = [desk.said(stage.on_time(state, now_us)) for now_us in (warning_us - 1, warning_us, due_us - 1)]
    assert (said, state.walks) == ([[], [("OPEN", "AFFIRMATION_DUE")], []], 1)
    late = [("CLOSED", "AFFIRMATION_DUE"), ("OPEN", "AFFIRMATION_LATE")]
    assert (desk.said(stage.on_time(state, due_us)), state.walks) == (late, 2)
    assert (stage.on_time(state, due_us + 1), state.walks) == ([], 2)


def test_a_deadline_that_nobody_looked_at_in_time_is_late_at_once() -> None:
    """The worker was away when the warning was due."""
    state, stage = _new_york(MemoryState(ReferenceData())), ConfirmationStage(unconfirmed_after_us=10**12)
    stage.process([desk.received(samples.allocated_trade(settlement_market="US"))], state, desk.NOW_US)
    assert desk.said(stage.on_time(state, desk.NOW_US + 10**11)) == [("OPEN", "AFFIRMATION_LATE")]


def test_a_deadline_of_a_held_key_waits() -> None:
    """What failed may be the very confirmation; it is shown when the key is free."""
    state, stage = _new_york(MemoryState(ReferenceData())), ConfirmationStage(unconfirmed_after_us=10**12)
    trade = samples.allocated_trade(settlement_market="US")
    stage.process([desk.received(trade)], state, desk.NOW_US)
    state.held.add(trade.match_key)
    due_us = samples.RECEIVED_AT_US + 60 * 60_000_000
    assert [stage.on_time(state, due_us + second) for second in range(3)] == [[], [], []]
    state.held.clear()
    assert desk.said(stage.on_time(state, due_us + 3)) == [("OPEN", "AFFIRMATION_LATE")]
