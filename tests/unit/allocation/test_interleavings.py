"""The two input topics may overtake each other; what comes out must not show it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.allocation.process import AllocationStage
from services.domain.code import AllocationPolicy, AllocationTransactionType, ExecutionType, Side
from services.domain.event import AllocationInstruction, EnrichedTrade
from services.domain.record import Record
from services.stage import Outcome
from tests import samples
from tests.memory_state import MemoryState
from tests.unit.allocation import desk


def _interleavings(fills: Sequence[Record], instructions: Sequence[Record]) -> Iterator[list[Record]]:
    """Every merge of the two topics that keeps the order of each."""
    length = len(fills) + len(instructions)
    for places in combinations(range(length), len(fills)):
        fill, instruction = iter(fills), iter(instructions)
        yield [next(fill) if place in places else next(instruction) for place in range(length)]


def _report(name: str, time: int, quantity: int, cumulative: int, leaves: int, **changes: object) -> EnrichedTrade:
    fields: dict[str, object] = {
        "trade_id": f"TR-{name}",
        "execution_id": f"{name}-{time}",
        "transaction_time_us": samples.RECEIVED_AT_US + time,
        "quantity": Decimal(quantity),
        "price": Decimal("33.33"),
        "cumulative_quantity": Decimal(cumulative),
        "leaves_quantity": Decimal(leaves),
    }
    return samples.enriched_trade(**(fields | changes))


# Out of order in time, a duplicate, a correction, a cancellation and a fill of other terms; complete with the last.
FILLS = (
    _report("F2", 2, 300, 700, 300),
    _report("F1", 1, 400, 400, 600),
    _report("F1", 1, 400, 400, 600),
    _report("F3", 3, 50, 750, 250, currency="USD"),
    _report("F1", 4, 350, 650, 350, version=2, execution_type=ExecutionType.TRADE_CORRECT),
    _report("F2", 5, 300, 350, 350, version=2, execution_type=ExecutionType.TRADE_CANCEL),
    _report("F4", 6, 651, 1001, 0),
)


def _instruction(name: str, **changes: object) -> AllocationInstruction:
    parts = changes.pop("parts", {"FUND_A": "100", "FUND_B": "233"})
    assert isinstance(parts, dict)
    shares = desk.shares(**parts)
    quantity = sum((share.quantity for share in shares), Decimal(0))
    fields: dict[str, object] = {"instruction_id": name, "allocations": shares, "quantity": quantity}
    return samples.allocation_instruction(**(fields | changes))


INSTRUCTIONS = (
    _instruction("J1"),
    _instruction("J2", side=Side.SELL),
    _instruction("J1"),
    _instruction("J1", parts={"FUND_A": "1"}),
    _instruction("J3", parts={"FUND_C": "900"}),
    _instruction("J4", parts={"FUND_C": "600", "FUND_UNKNOWN": "68"}),
)


@pytest.mark.parametrize("policy", list(AllocationPolicy))
def test_every_interleaving_says_the_same(policy: AllocationPolicy) -> None:
    """All 1,716 merges of a troubled order give the same allocations, cash and exceptions; only the order differs."""
    reference = desk.reference_data(policy)
    reference.put(desk.template("FUND-A", FUND_B="1", FUND_C="2"))
    results = {
        tuple(desk.timeless(desk.run(MemoryState(reference), *events)))
        for events in _interleavings(FILLS, INSTRUCTIONS)
    }
    assert len(results) == 1
    outcomes = desk.run(MemoryState(reference), *FILLS, *INSTRUCTIONS)
    expected = {AllocationPolicy.SINGLE: 1, AllocationPolicy.TEMPLATE: 2, AllocationPolicy.EXPLICIT: 3}
    assert len(desk.allocated(outcomes)) == expected[policy]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_drawn_orders_say_the_same_in_any_batches(data: st.DataObject) -> None:
    """Drawn fills and instructions, merged and cut into batches in two ways, come to the same."""
    quantities = data.draw(st.lists(st.integers(1, 500), min_size=1, max_size=4))
    times = data.draw(st.permutations(range(len(quantities))))
    whole = sum(quantities)
    fills = []
    for index in times:  # arrival order is drawn, times and cumulative quantities are the venue's
        done = sum(quantities[: index + 1])
        fills.append(_report(f"F{index}", index, quantities[index], done, whole - done))
    instructions = [
        _instruction(f"J{index}", parts={account: str(part)})
        for index, (account, part) in enumerate(
            data.draw(
                st.lists(st.tuples(st.sampled_from(["FUND_A", "FUND_B", "FUND_X"]), st.integers(1, 700)), max_size=4)
            )
        )
    ]
    results = []
    for _ in range(2):
        state, stage = MemoryState(desk.reference_data()), AllocationStage()
        waiting: list[list[Record]] = [list(fills), list(instructions)]
        outcomes: list[Outcome] = []
        while any(waiting):
            source = data.draw(st.sampled_from([topic for topic in waiting if topic]))
            count = data.draw(st.integers(1, len(source)))
            outcomes += desk.run(state, *source[:count], stage=stage)
            del source[:count]
        results.append(desk.timeless(outcomes))
    assert results[0] == results[1]


AMENDMENTS = (
    _report("F1", 1, 600, 600, 400),
    _report("F2", 2, 400, 1000, 0),
    _report("F2", 3, 300, 900, 0, version=2, execution_type=ExecutionType.TRADE_CORRECT),
)


def test_an_amendment_may_come_before_or_after_its_instructions() -> None:
    """In time or late: what stands in the end is the same, and nothing is open."""
    instructions = [_instruction("J1", parts={"FUND_A": "450"}), _instruction("J2", parts={"FUND_B": "450"})]
    seen = set()
    for events in _interleavings(AMENDMENTS, instructions):
        outcomes = desk.run(MemoryState(desk.reference_data()), *events)
        stands = desk.standing(outcomes)
        assert sum(trade.gross_amount for trade in stands) == AMENDMENTS[0].gross_amount + AMENDMENTS[2].gross_amount
        assert desk.open_reasons(outcomes) == []
        seen.add(tuple(map(desk.essence, stands)))
    assert len(seen) == 1


def test_a_withdrawal_may_come_before_or_after_the_last_fill() -> None:
    """Either way nothing is allocated in the end, and nobody has to look at it."""
    withdrawal = samples.allocation_instruction(
        instruction_id="J2", reference_id="J1", transaction_type=AllocationTransactionType.CANCEL
    )
    taken_back = 0
    for events in _interleavings([samples.enriched_trade()], [samples.allocation_instruction(), withdrawal]):
        outcomes = desk.run(MemoryState(desk.reference_data()), *events)
        assert desk.standing(outcomes) == []
        assert desk.open_reasons(outcomes) == []
        taken_back += len(desk.allocated(outcomes)) // 2
    assert taken_back == 4, "in two of three orders both accounts have it first"
