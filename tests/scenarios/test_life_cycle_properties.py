"""Random orders with corrections, busts, late fills and changed allocations, in any order, to the depository.

What stands in the end is a function of what was said: quantity and cash are those of the fills that stand, and neither
the order of arrival, nor repetition, nor how topics overtake each other can be seen in it.
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from services.domain.code import AllocationTransactionType, ExecutionType
from services.domain.event import (
    AccountAllocation,
    AllocatedTrade,
    AllocationInstruction,
    ConfirmedTrade,
    CounterpartyConfirmation,
    Execution,
    SettlementInstruction,
)
from services.domain.record import Record, replace
from services.domain.reference import ReferenceData
from tests import samples
from tests.scenarios.test_life_cycle import ALLOCATIONS, CONFIRMATIONS, EXECUTIONS, reference
from tests.support.stage_chain import StageChain, reference_of

ACCOUNTS = ("FUND-A", "FUND-B")
CASES = 700
TOO_MUCH = {"OVER_ALLOCATION": "ALLOCATION_DISQUALIFIED"}
"""The same trouble: whether an instruction was applied before it did not fit depends on the order by nature."""


@lru_cache(maxsize=1)
def _reference() -> ReferenceData:
    return reference_of(reference())


class Step(NamedTuple):
    """One thing that happens to the order."""

    kind: str
    fill: int
    """Which fill a change is about."""
    quantity: int
    cents: int
    names_first: bool
    leaves: int


STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(["fill", "fill", "fill", "correct", "bust"]),
        st.integers(0, 9),
        st.integers(1, 500),
        st.integers(9_000, 11_000),
        st.booleans(),
        st.sampled_from([0, 0, 1]),
    ),
    min_size=1,
    max_size=7,
)


class _Fill:
    def __init__(self, first: str, quantity: int) -> None:
        self.names = [first]
        self.quantity = quantity


def _reports(account: str, steps: list[Step]) -> list[Execution]:
    """What a consistent trading system says: running quantities, times that rise, nothing after a bust."""
    fills: list[_Fill] = []
    live: list[_Fill] = []
    reports: list[Execution] = []
    for number, step in enumerate(steps, start=1):
        name, kind, reference_id = f"E{number}", ExecutionType.TRADE, None
        if step.kind == "fill" or not live:
            fill = _Fill(name, step.quantity)
            fills.append(fill)
            live.append(fill)
        else:
            fill = live[step.fill % len(live)]
            reference_id = fill.names[0 if step.names_first else -1]
            fill.names.append(name)
            kind = ExecutionType.TRADE_CANCEL if step.kind == "bust" else ExecutionType.TRADE_CORRECT
            fill.quantity = 0 if step.kind == "bust" else step.quantity
            if step.kind == "bust":
                live.remove(fill)
        is_last = number == len(steps)
        reports.append(
            samples.execution(
                execution_id=name,
                execution_type=kind,
                execution_reference_id=reference_id,
                account=account,
                quantity=Decimal(step.quantity),
                price=Decimal(step.cents) / 100,
                transaction_time_us=samples.RECEIVED_AT_US + number,
                cumulative_quantity=Decimal(sum(fill.quantity for fill in live)),
                leaves_quantity=Decimal(0 if is_last else step.leaves),
            )
        )
    return reports


PARTS = st.lists(
    st.tuples(st.sampled_from(["new", "new", "replace", "cancel"]), st.integers(0, 400), st.integers(0, 400)),
    max_size=4,
)


def _instructions(parts: list[tuple[str, int, int]]) -> list[AllocationInstruction]:
    """A client that changes what stands of its instructions, and never what it has changed before."""
    standing: list[str] = []
    made: list[AllocationInstruction] = []
    for number, (kind, left, right) in enumerate(parts, start=1):
        name = f"J{number}"
        changes = kind != "new" and bool(standing)
        reference_id = standing.pop(0) if changes else None
        transaction = AllocationTransactionType(kind.upper()) if changes else AllocationTransactionType.NEW
        if transaction is not AllocationTransactionType.CANCEL:
            standing.append(name)
        shares = [(account, part) for account, part in zip(ACCOUNTS, (left, right), strict=True) if part]
        shares = shares or [(ACCOUNTS[0], 1)]
        made.append(
            samples.allocation_instruction(
                instruction_id=name,
                transaction_type=transaction,
                reference_id=reference_id,
                quantity=Decimal(sum(part for _, part in shares)),
                allocations=tuple(AccountAllocation(account=one, quantity=Decimal(part)) for one, part in shares),
            )
        )
    return made


def _confirmation(number: int, trade: AllocatedTrade) -> CounterpartyConfirmation:
    return samples.confirmation(
        confirmation_id=f"C{number}",
        account=trade.account,
        side=trade.side.opposite,
        quantity=trade.quantity,
        price=trade.average_price,
        net_amount=trade.net_amount,
        settlement_date=trade.settlement_date,
    )


Message = tuple[str, str, Record]


def _sent(event: Record) -> Message:
    if isinstance(event, Execution):
        return EXECUTIONS, event.order_id, event
    if isinstance(event, AllocationInstruction):
        return ALLOCATIONS, event.order_id, event
    assert isinstance(event, CounterpartyConfirmation)
    return CONFIRMATIONS, event.confirmation_id, event


def _play(messages: list[Message]) -> StageChain:
    chain = StageChain(_reference(), now_us=samples.RECEIVED_AT_US)
    for message in messages:
        chain.send(*message)
    return chain


def _essence(chain: StageChain) -> dict[str, object]:
    """What may not depend on the order: what stands on each topic, without what tells how it came about."""
    timeless: dict[str, Any] = {"allocation_id": "", "version": 1, "original_allocation_id": None}
    allocated = [replace(trade, **timeless) for trade in chain.standing("trades.allocated")]
    confirmed = [replace(trade, **timeless, confirmation_id="") for trade in chain.standing("trades.confirmed")]
    instructed = [
        replace(one, instruction_id="", allocation_id="", version=1)
        for one in chain.standing("settlement.instructions")
    ]
    opened = [(TOO_MUCH.get(reason, reason), subject) for reason, subject in chain.open_reasons()]
    return {
        "allocated": sorted(map(repr, allocated)),
        "confirmed": sorted(map(repr, confirmed)),
        "instructed": sorted(map(repr, instructed)),
        "open": sorted(one for one in opened if not one[0].startswith("CONFIRMATION_MISMATCHED")),
    }


def _interleaved(data: st.DataObject, reports: list[Message], others: list[list[Message]]) -> list[Message]:
    """Reports in any order, repeated; instructions in the order of their client; all of them anywhere."""
    shuffled = data.draw(st.permutations(reports))
    repeats = data.draw(st.lists(st.sampled_from(reports), max_size=3))
    streams = [list(shuffled) + repeats, *[list(one) for one in others]]
    mixed: list[Message] = []
    while any(streams):
        stream = data.draw(st.sampled_from([one for one in streams if one]))
        mixed.append(stream.pop(0))
    return mixed


def _check_conserved(chain: StageChain, account: str, reports: list[Execution]) -> None:
    """Quantity and cash of what stands, from the fills to the instructions."""
    enriched: list[Any] = chain.events["trades.enriched"]
    fills = {trade.trade_id: trade for trade in enriched}
    live: list[Any] = [fill for fill in fills.values() if fill.execution_type is not ExecutionType.TRADE_CANCEL]
    allocated: list[Any] = chain.standing("trades.allocated")
    given = sum(trade.quantity for trade in allocated)
    whole = sum(fill.quantity for fill in live)
    assert whole == reports[-1].cumulative_quantity
    if account == "BLOCK":
        assert given <= whole
    else:
        assert given == whole
    if given == whole:
        assert sum(trade.gross_amount for trade in allocated) == sum(fill.gross_amount for fill in live)
        assert sum(trade.net_amount for trade in allocated) == sum(fill.net_amount for fill in live)
    instructed = chain.standing("settlement.instructions")
    confirmed = chain.standing("trades.confirmed")
    by_allocation = {trade.allocation_id: trade for trade in allocated}
    assert {one.allocation_id for one in instructed} == {one.allocation_id for one in confirmed} <= set(by_allocation)
    for one in instructed:
        assert isinstance(one, SettlementInstruction)
        trade = by_allocation[one.allocation_id]
        assert (one.quantity, one.amount, one.account) == (trade.quantity, trade.net_amount, trade.account)
    assert all(isinstance(one, ConfirmedTrade) for one in confirmed)


@settings(max_examples=CASES, deadline=None)
@given(
    account=st.sampled_from(["FUND-A", "HOUSE", "BLOCK"]),
    steps=STEPS,
    parts=PARTS,
    stale=st.integers(0, 3),
    data=st.data(),
)
def test_the_end_is_the_same_however_the_messages_come(
    account: str, steps: list[Step], parts: list[tuple[str, int, int]], stale: int, data: st.DataObject
) -> None:
    """Conserved in order and in disorder, and the same in both: what is allocated, confirmed, instructed and open."""
    reports = _reports(account, steps)
    instructions = _instructions(parts) if account == "BLOCK" else []
    front_office = [_sent(one) for one in (*instructions, *reports)]
    draft = _play(front_office)
    final: list[Any] = draft.standing("trades.allocated")
    ended: list[Any] = [one for one in draft.events["trades.allocated"] if one not in final]
    confirmed = [_confirmation(number, trade) for number, trade in enumerate((*final, *ended[: 2 * stale : 2]))]
    confirmations = [_sent(one) for one in confirmed]
    in_order = _play([*front_office, *confirmations])
    _check_conserved(in_order, account, reports)

    sent = [_sent(one) for one in reports]
    mixed = _play(_interleaved(data, sent, [[_sent(one) for one in instructions], confirmations]))

    _check_conserved(mixed, account, reports)
    assert _essence(mixed) == _essence(in_order)
    assert len(in_order.standing("settlement.instructions")) == len(final), "what stands was confirmed"
