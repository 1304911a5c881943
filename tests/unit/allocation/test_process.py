"""The stage: its contract, its waits, its deadlines, and the refusals that need more than a table to show."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import TypeVar

import msgspec
import pytest

from services.allocation.deadlines import OUTCOMES_PER_CALL_MAX
from services.allocation.process import UNALLOCATED_AFTER_US, AllocationStage
from services.allocation.state import Block, NextDeadline, OpenBlock, WaitingBlock, WaitingShare
from services.domain import identity
from services.domain.code import (
    AffirmationStep,
    AllocationPolicy,
    AllocationTransactionType,
    ExecutionType,
    SecurityIdSource,
    Side,
)
from services.domain.record import Record
from services.domain.reference import (
    Account,
    AffirmationDeadline,
    AllocationTemplate,
    Instrument,
    ReferenceData,
    TimeZoneOffset,
)
from services.stage import Stage, Suppress
from tests import samples
from tests.memory_state import MemoryState
from tests.unit.allocation import desk

T = TypeVar("T", bound=Record)
BLOCK_ID = identity.block_id(order_id="O1", trade_date=samples.TRADE_DATE)


class CountingState(MemoryState):
    """Counts how often a table is walked, and how often reference data is asked for."""

    def __init__(self, reference: ReferenceData) -> None:
        """Start with no walk."""
        super().__init__(reference)
        self.walks: list[type[Record]] = []

    def scan(self, kind: type[T]) -> Iterator[tuple[str, T]]:
        """Note the walk of a table that has rows."""
        if self.tables.get(kind):
            self.walks.append(kind)
        return super().scan(kind)


def test_stage_fulfils_the_contract() -> None:
    """The engine takes any Stage; the type checker compares the signatures here, and rows survive the changelog."""
    stage: Stage = AllocationStage()
    reference = desk.reference_data()
    reference.put(
        AffirmationDeadline(
            settlement_market="DE",
            step=AffirmationStep.ALLOCATE,
            local_time="23:00",
            time_zone="Europe/Berlin",
            warning_minutes=60,
        )
    )
    reference.put(TimeZoneOffset(time_zone="Europe/Berlin", offset_minutes=60))
    state = MemoryState(reference)
    fill = samples.enriched_trade(quantity=Decimal(900), cumulative_quantity=Decimal(900))
    desk.run(state, fill, samples.allocation_instruction(quantity=Decimal(5), allocations=desk.shares(FUND_X="5")))
    desk.run(state, samples.allocation_instruction(order_id="O2"))
    replacement = {"transaction_type": AllocationTransactionType.REPLACE, "reference_id": "J0"}
    desk.run(state, samples.allocation_instruction(order_id="O2", instruction_id="J9", **replacement))
    reference.remove(Account, reference.find(Account, "FUND-A", on=samples.TRADE_DATE).key)  # type: ignore[union-attr]
    desk.run(state, samples.enriched_trade(order_id="O3", trade_id="T3"))
    assert set(state.tables) == set(stage.state_types)
    for kind, rows in state.tables.items():
        for row in rows.values():
            assert msgspec.json.decode(msgspec.json.encode(row), type=kind) == row


def test_an_event_of_another_kind_is_our_bug() -> None:
    """It is wired wrongly; the engine must isolate it, not this stage."""
    with pytest.raises(TypeError, match="Execution"):
        desk.run(MemoryState(), samples.execution())


def test_the_allocated_trade_carries_everything_settlement_needs() -> None:
    """Each field comes from fills, instruction or reference data; none is left to a default."""
    fills = [
        samples.enriched_trade(
            execution_id="E2", transaction_time_us=2, cumulative_quantity=Decimal(2000), venue="XFRA", received_at_us=7
        ),
        samples.enriched_trade(
            execution_id="E1", transaction_time_us=1, leaves_quantity=Decimal(1000), venue="XPAR", received_at_us=9
        ),
    ]
    share = samples.allocation_instruction().allocations[0]
    instruction = samples.allocation_instruction(
        quantity=Decimal(600),
        allocations=(type(share)(account="FUND-B", quantity=Decimal(600), individual_allocation_id="I7"),),
    )
    (trade,) = desk.allocated(desk.run(MemoryState(desk.reference_data()), *fills, instruction))
    assert trade.allocation_id == identity.allocation_id(block=BLOCK_ID, instruction="J1", account="FUND-B", ordinal=0)
    assert (trade.block_id, trade.block_account, trade.account) == (BLOCK_ID, "FUND-A", "FUND-B")
    assert trade.trade_ids == tuple(sorted(fill.trade_id for fill in fills))
    assert (trade.venue, trade.received_at_us, trade.allocation_reference) == ("XPAR", 9, "I7")
    assert trade.account_chain.safekeeping_account == "FUND-B-SAFE"
    assert trade.counterparty_chain == samples.counterparty_chain()
    assert (trade.quantity, trade.net_amount) == (Decimal(600), Decimal("60000.00"))
    assert trade.match_key == f"{samples.COUNTERPARTY_BIC}|FUND-B|{samples.ISIN}|BUY|{samples.TRADE_DATE}"


def test_a_short_sale_meets_a_confirmation_of_a_sale() -> None:
    """The counterparty does not know that it was short: the key says SELL, the trade keeps its side."""
    fill = samples.enriched_trade(side=Side.SELL_SHORT)
    (trade,) = desk.allocated(desk.run(MemoryState(desk.reference_data(AllocationPolicy.SINGLE)), fill))
    assert trade.side is Side.SELL_SHORT
    assert "|SELL|" in trade.match_key
    assert trade.allocation_reference is None


def test_the_instruction_id_is_the_reference_when_the_share_has_none() -> None:
    """The counterparty may quote what it was told, which then is the AllocID."""
    outcomes = desk.run(MemoryState(desk.reference_data()), samples.enriched_trade(), samples.allocation_instruction())
    assert {trade.allocation_reference for trade in desk.allocated(outcomes)} == {"J1"}


# --- versions --------------------------------------------------------------------------------------------------------


def test_an_older_version_never_replaces_a_newer_one() -> None:
    """Enrichment may hold a version back; the newest decides whenever it comes."""
    state = MemoryState(desk.reference_data(AllocationPolicy.SINGLE))
    corrected = samples.enriched_trade(
        version=2, execution_type=ExecutionType.TRADE_CORRECT, price=Decimal(101), leaves_quantity=Decimal(1)
    )
    outcomes = desk.run(state, corrected, samples.enriched_trade())
    assert outcomes == [Suppress(cause="duplicate")]
    block = state.get(Block, BLOCK_ID)
    assert block is not None
    assert block.totals.gross_amount == Decimal("101000.00")


def test_a_correction_that_moves_a_fill_to_another_day_is_not_booked_twice() -> None:
    """The trade id says it is the fill of the first block; it leaves that block and enters no other."""
    state = MemoryState(desk.reference_data(AllocationPolicy.SINGLE))
    first = samples.enriched_trade(leaves_quantity=Decimal(1))
    moved = samples.enriched_trade(
        trade_id=first.trade_id, version=2, execution_type=ExecutionType.TRADE_CORRECT,
        trade_date=samples.TRADE_DATE + timedelta(days=1),
    )  # fmt: skip
    outcomes = desk.run(state, first, moved)
    assert desk.said(outcomes) == [("OPEN", "FILL_CONTRADICTS_BLOCK")]
    assert set(desk.exceptions(outcomes)[0].details) == {"trade_date"}
    assert list(state.tables[Block]) == [BLOCK_ID]
    assert state.tables[Block][BLOCK_ID].totals.quantity == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "changes",
    [
        {"isin": "US0378331005"},
        {"side": Side.SELL},
        {"currency": "USD"},
        {"counterparty": "BNPAFRPPXXX"},
        {"account": "FUND-B"},
        {"price_type": "PERCENT_OF_PAR"},
        {"settlement_date": date(2026, 3, 5)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_fill_of_other_terms_is_shown_and_left_out(changes: dict[str, object]) -> None:
    """Each of these terms would settle somewhere else or as something else."""
    first = samples.enriched_trade(execution_id="E1")
    other = samples.enriched_trade(execution_id="E2", trade_id="T2", **changes)
    state = MemoryState(desk.reference_data())
    outcomes = desk.run(state, first, other)
    assert desk.said(outcomes) == [("OPEN", "FILL_CONTRADICTS_BLOCK")]
    assert set(desk.exceptions(outcomes)[0].details) == set(changes)
    block = state.get(Block, BLOCK_ID)
    assert block is not None
    assert block.totals.quantity == first.quantity


# --- instructions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sedol", "expected"), [("4846288", []), ("0263494", [("OPEN", "ALLOCATION_CONTRADICTS_BLOCK")])]
)
def test_a_sedol_is_compared_through_reference_data(sedol: str, expected: list[tuple[str, str]]) -> None:
    """The client may name the instrument by another scheme than the trade; an unknown name proves nothing."""
    reference = desk.reference_data()
    reference.put(desk.instrument(sedol="4846288"))
    instruction = samples.allocation_instruction(security_id=sedol, security_id_source=SecurityIdSource.SEDOL)
    outcomes = desk.run(MemoryState(reference), samples.enriched_trade(), instruction)
    assert desk.said(outcomes) == expected
    assert len(desk.allocated(outcomes)) == (0 if expected else 2)


@pytest.mark.parametrize(
    ("quantity", "parts", "reason"),
    [
        ("1000", {"FUND_A": "500"}, "QUANTITIES_DISAGREE"),
        ("0", {}, "QUANTITIES_DISAGREE"),
        ("500", {"FUND_A": "600", "FUND_B": "-100"}, "QUANTITY_NOT_POSITIVE"),
        ("500", {"FUND_A": "500", "FUND_B": "0"}, "QUANTITY_NOT_POSITIVE"),
        ("1001", {"FUND_A": "1001"}, "OVER_ALLOCATION"),
    ],
)
def test_quantities_that_cannot_be_divided(quantity: str, parts: dict[str, str], reason: str) -> None:
    """An instruction is refused whole: half of a wrong instruction is not a right one."""
    instruction = samples.allocation_instruction(quantity=Decimal(quantity), allocations=desk.shares(**parts))
    outcomes = desk.run(MemoryState(desk.reference_data()), samples.enriched_trade(), instruction)
    assert desk.said(outcomes) == [("OPEN", reason)]
    assert desk.allocated(outcomes) == []


@pytest.mark.parametrize("changes", [{"sender": "OMS2"}, {"trade_date": date(2026, 3, 3)}], ids=["sender", "block"])
def test_an_instruction_is_changed_only_by_its_sender_in_its_block(changes: dict[str, object]) -> None:
    """Another sender's AllocID may be equal by chance; another day's block is not the one the client means."""
    change = samples.allocation_instruction(
        instruction_id="J2", reference_id="J1", transaction_type=AllocationTransactionType.CANCEL, **changes
    )
    state = MemoryState(desk.reference_data())
    outcomes = desk.run(state, samples.allocation_instruction(), change, samples.enriched_trade())
    assert desk.said(outcomes) == [("OPEN", "ALLOCATION_CHANGE_UNSUPPORTED")]
    assert len(desk.allocated(outcomes)) == 2


def test_a_policy_that_changes_does_not_reach_into_a_block_that_is_being_divided() -> None:
    """What is left after a first instruction stays for instructions: the account's new policy is for new blocks."""
    reference = desk.reference_data()
    state = MemoryState(reference)
    half = samples.allocation_instruction(quantity=Decimal(500), allocations=desk.shares(FUND_B="500"))
    desk.run(state, samples.enriched_trade(), half)
    reference.put(desk.account("FUND-A", AllocationPolicy.SINGLE))
    rest = samples.allocation_instruction(
        instruction_id="J2", quantity=Decimal(500), allocations=desk.shares(FUND_C="500")
    )
    assert [trade.account for trade in desk.allocated(desk.run(state, rest))] == ["FUND-C"]


# --- waits -----------------------------------------------------------------------------------------------------------


def test_a_share_that_waited_is_published_as_it_was_divided() -> None:
    """The data that was missing decides when, not how much: the event is the one that would have come at once."""
    events = (
        samples.enriched_trade(),
        samples.allocation_instruction(allocations=desk.shares(FUND_A="600", FUND_X="400")),
    )
    complete = desk.reference_data()
    complete.put(desk.account("FUND-X"))
    complete.put(desk.settlement_instruction("FUND-X"))
    at_once = desk.allocated(desk.run(MemoryState(complete), *events))

    reference, stage = desk.reference_data(), AllocationStage()
    state = MemoryState(reference)
    outcomes = desk.run(state, *events, stage=stage)
    assert stage.on_time(state, desk.NOW_US) == []
    reference.put(desk.account("FUND-X"))
    reference.put(desk.settlement_instruction("FUND-X"))
    outcomes += stage.on_time(state, desk.NOW_US)
    assert desk.allocated(outcomes) == at_once
    assert desk.said(outcomes) == [("OPEN", "ACCOUNT_MISSING"), ("CLOSED", "ACCOUNT_MISSING")]
    assert state.tables[WaitingShare] == {}


def test_a_settlement_instruction_of_another_market_does_not_fit() -> None:
    """Delivering German shares to a London account would fail at the depository."""
    reference = desk.reference_data()
    reference.put(desk.account("FUND-X"))
    reference.put(desk.settlement_instruction("FUND-X", market="GB"))
    instruction = samples.allocation_instruction(allocations=desk.shares(FUND_X="1000"))
    outcomes = desk.run(MemoryState(reference), samples.enriched_trade(), instruction)
    assert desk.said(outcomes) == [("OPEN", "ACCOUNT_SSI_MISSING")]
    assert desk.exceptions(outcomes)[0].details["settlement_market"] == "DE"


def _without(reference: ReferenceData, kind: type[Account | Instrument], name: str) -> ReferenceData:
    found = reference.find(kind, name, on=samples.TRADE_DATE)
    assert found is not None
    reference.remove(kind, found.key)
    return reference


def test_a_template_without_its_instrument_waits() -> None:
    """Without the denomination nobody can say what a deliverable share is."""
    reference = _without(desk.reference_data(AllocationPolicy.TEMPLATE), Instrument, f"ISIN:{samples.ISIN}")
    reference.put(desk.template("FUND-A", FUND_B="1"))
    state, stage = MemoryState(reference), AllocationStage()
    outcomes = desk.run(state, samples.enriched_trade(), stage=stage)
    reference.put(desk.instrument())
    outcomes += stage.on_time(state, desk.NOW_US)
    assert desk.said(outcomes) == [("OPEN", "INSTRUMENT_MISSING"), ("CLOSED", "INSTRUMENT_MISSING")]
    assert [trade.account for trade in desk.allocated(outcomes)] == ["FUND-B"]


@pytest.mark.parametrize("weights", [{}, {"FUND_B": "0"}, {"FUND_B": "2", "FUND_C": "-1"}])
def test_a_template_that_divides_nothing_is_as_good_as_none(weights: dict[str, str]) -> None:
    """Bad reference data is a wait that the desk can see, not a failure of the program."""
    reference = desk.reference_data(AllocationPolicy.TEMPLATE)
    reference.put(desk.template("FUND-A", **weights))
    state, stage = MemoryState(reference), AllocationStage()
    assert desk.said(desk.run(state, samples.enriched_trade(), stage=stage)) == [
        ("OPEN", "ALLOCATION_TEMPLATE_MISSING")
    ]
    reference.put(desk.template("FUND-A", FUND_B="1"))
    assert len(desk.allocated(stage.on_time(state, desk.NOW_US))) == 1
    assert state.tables[WaitingBlock] == {}


def test_waits_are_tried_once_per_change_of_reference_data_and_once_after_a_restart() -> None:
    """The timer comes every second; what cannot have changed is not computed again, and nothing is forgotten."""
    asked: list[str] = []

    class CountingReference(ReferenceData):
        def find(self, kind, name, *, on):  # type: ignore[no-untyped-def]
            asked.append(name)
            return super().find(kind, name, on=on)

    reference = CountingReference()
    state, stage = MemoryState(reference), AllocationStage()
    desk.run(state, samples.enriched_trade(), stage=stage)
    tries = []
    for change in (False, False, True, False):
        if change:
            reference.put(desk.account("FUND-C"))
        asked.clear()
        assert stage.on_time(state, desk.NOW_US) == []
        tries.append(len(asked))
    assert tries == [1, 0, 1, 0]
    asked.clear()
    AllocationStage().on_time(state, desk.NOW_US)
    assert asked == ["FUND-A"]


def test_a_try_whose_transaction_is_aborted_is_made_again() -> None:
    """The note of tries is not state: it must not swallow a release that was never committed."""
    reference, stage = desk.reference_data(), AllocationStage()
    state = MemoryState(reference)
    desk.run(state, samples.enriched_trade(), samples.allocation_instruction(allocations=desk.shares(FUND_X="1000")))
    before = {kind: dict(rows) for kind, rows in state.tables.items()}
    reference.put(desk.account("FUND-X"))
    reference.put(desk.settlement_instruction("FUND-X"))
    aborted = stage.on_time(state, desk.NOW_US)
    state.tables = before
    assert stage.on_time(state, desk.NOW_US) == aborted
    assert len(desk.allocated(aborted)) == 1


def test_a_late_data_file_is_taken_in_portions() -> None:
    """One transaction holds a bounded number of outcomes; the next call goes on."""
    reference = _without(desk.reference_data(AllocationPolicy.SINGLE), Account, "FUND-A")
    state, stage = MemoryState(reference), AllocationStage()
    count = OUTCOMES_PER_CALL_MAX // 2 + 5  # each release publishes a trade and closes an exception
    fills = [samples.enriched_trade(order_id=f"O{index}", trade_id=f"T{index}") for index in range(count)]
    desk.run(state, *fills, stage=stage)
    reference.put(desk.account("FUND-A", AllocationPolicy.SINGLE))
    first, second = stage.on_time(state, desk.NOW_US), stage.on_time(state, desk.NOW_US)
    assert len(desk.allocated(first)) == OUTCOMES_PER_CALL_MAX // 2
    assert len(desk.allocated(first + second)) == count


# --- deadlines -------------------------------------------------------------------------------------------------------


def test_time_counts_from_the_last_event_of_either_topic() -> None:
    """A block on which something still happens is not overdue."""
    state, stage = MemoryState(desk.reference_data()), AllocationStage(unallocated_after_us=100)
    stage.process([desk.received(samples.enriched_trade(), at_us=1_000)], state, 1_000)
    late = samples.allocation_instruction(quantity=Decimal(10), allocations=desk.shares(FUND_B="10"))
    stage.process([desk.received(late, at_us=1_050)], state, 1_050)
    assert [desk.said(stage.on_time(state, now_us)) for now_us in (1_100, 1_149, 1_150, 1_151)] == [
        [], [], [("OPEN", "BLOCK_UNALLOCATED")], [],
    ]  # fmt: skip


def test_the_desk_is_told_how_much_is_missing() -> None:
    """Filled, allocated and expected are what one needs to ask the right person."""
    state, stage = MemoryState(desk.reference_data()), AllocationStage()
    fill = samples.enriched_trade(quantity=Decimal(300), cumulative_quantity=Decimal(300), leaves_quantity=Decimal(700))
    desk.run(state, fill, samples.allocation_instruction(), stage=stage)
    (event,) = desk.exceptions(stage.on_time(state, samples.RECEIVED_AT_US + UNALLOCATED_AFTER_US))
    assert event.subject_id == BLOCK_ID
    assert event.details == {
        "order_id": "O1",
        "trade_date": "2026-03-02",
        "filled": "300",
        "allocated": "0",
        "expected": "1000",
        "pending_instructions": "J1",
    }


def test_nothing_is_walked_while_nothing_can_be_due() -> None:
    """The timer comes every second for every partition; finished blocks must cost nothing, open ones almost nothing."""
    state, stage = CountingState(desk.reference_data(AllocationPolicy.SINGLE)), AllocationStage()
    finished = [samples.enriched_trade(order_id=f"O{index}", trade_id=f"T{index}") for index in range(20)]
    unfinished = samples.enriched_trade(order_id="P", trade_id="TP", leaves_quantity=Decimal(1))
    desk.run(state, *finished, unfinished, stage=stage)
    assert list(state.tables[OpenBlock]) == [identity.block_id(order_id="P", trade_date=samples.TRADE_DATE)]
    stage.on_time(state, samples.RECEIVED_AT_US + UNALLOCATED_AFTER_US - 1)
    assert state.walks == []
    assert len(stage.on_time(state, samples.RECEIVED_AT_US + UNALLOCATED_AFTER_US)) == 1
    assert state.walks == [OpenBlock]
    stage.on_time(state, samples.RECEIVED_AT_US + 10 * UNALLOCATED_AFTER_US)
    assert state.walks == [OpenBlock]
    assert state.tables[NextDeadline] == {}


def test_a_block_that_waits_for_reference_data_is_overdue_too() -> None:
    """It is not allocated, whatever the cause; both exceptions close with the data."""
    reference = _without(desk.reference_data(AllocationPolicy.SINGLE), Account, "FUND-A")
    state, stage = MemoryState(reference), AllocationStage()
    outcomes = desk.run(state, samples.enriched_trade(), stage=stage)
    due_us = samples.RECEIVED_AT_US + UNALLOCATED_AFTER_US
    outcomes += stage.on_time(state, due_us)
    reference.put(desk.account("FUND-A", AllocationPolicy.SINGLE))
    outcomes += stage.on_time(state, due_us)
    assert desk.said(outcomes) == [
        ("OPEN", "ACCOUNT_MISSING"),
        ("OPEN", "BLOCK_UNALLOCATED"),
        ("CLOSED", "ACCOUNT_MISSING"),
        ("CLOSED", "BLOCK_UNALLOCATED"),
    ]


def test_a_template_row_is_read_as_of_the_trade_date() -> None:
    """A division that begins tomorrow is not today's."""
    reference = desk.reference_data(AllocationPolicy.TEMPLATE)
    today = desk.template("FUND-A", FUND_B="1")
    tomorrow = AllocationTemplate(
        account="FUND-A",
        shares=desk.template("FUND-A", FUND_C="1").shares,
        valid_from=samples.TRADE_DATE + timedelta(days=1),
    )
    reference.put(today)
    reference.put(tomorrow)
    (trade,) = desk.allocated(desk.run(MemoryState(reference), samples.enriched_trade()))
    assert trade.account == "FUND-B"
