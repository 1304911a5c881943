"""Allocations that are taken back, in every order with their confirmations: what stands in the end is confirmed."""

from __future__ import annotations

from decimal import Decimal
from itertools import permutations

import pytest

from services.domain.code import Function
from services.domain.event import AllocatedTrade, ReceivedConfirmation
from services.domain.record import Record, replace
from services.stage import Suppress
from tests import samples
from tests.memory_state import MemoryState
from tests.unit.confirmation import desk

FIRST = samples.allocated_trade()
TAKEN_BACK = replace(FIRST, function=Function.CANCEL)
SECOND = replace(
    FIRST,
    allocation_id="ALSECOND",
    version=2,
    original_allocation_id=FIRST.allocation_id,
    net_amount=Decimal(101_000),
    average_price=Decimal(101),
)
OLD = samples.received_confirmation(confirmation_id="C1")
NEW = samples.received_confirmation(confirmation_id="C2", price=Decimal(101), net_amount=Decimal(101_000))


def _orders() -> list[tuple[Record, ...]]:
    """The allocation's events in their order, the confirmations anywhere."""
    events: tuple[Record, ...] = (FIRST, TAKEN_BACK, SECOND, OLD, NEW)
    found = set(permutations(range(len(events))))
    return [tuple(events[index] for index in order) for order in sorted(found) if _in_order(order)]


def _in_order(order: tuple[int, ...]) -> bool:
    return order.index(0) < order.index(1) < order.index(2)


@pytest.mark.parametrize("quotes", [False, True])
def test_the_new_version_is_confirmed_once_whatever_comes_when(quotes: bool) -> None:
    """By the confirmation of the new terms; the one of the old terms is left over, and nothing else is open."""
    for order in _orders():
        state = MemoryState()
        events = [_quoting(event) if quotes and isinstance(event, ReceivedConfirmation) else event for event in order]
        outcomes = [outcome for event in events for outcome in desk.run(state, event)]

        stands: dict[str, str] = {}
        for trade in desk.confirmed(outcomes):
            if trade.function is Function.NEW:
                stands[trade.allocation_id] = trade.confirmation_id
            else:
                assert stands.pop(trade.allocation_id) == trade.confirmation_id
        assert stands == {SECOND.allocation_id: NEW.confirmation_id}, order
        assert desk.open_at_the_end(outcomes) == {}


def _quoting(confirmation: ReceivedConfirmation) -> ReceivedConfirmation:
    return replace(confirmation, allocation_reference=FIRST.allocation_id)


def test_what_was_confirmed_is_taken_back_with_the_same_words() -> None:
    """Whoever acted on it finds it again, cash and profile included."""
    state = MemoryState(desk.reference_data(price="1", amount="5"))
    first, *_ = desk.confirmed(desk.run(state, FIRST, replace(OLD, net_amount=Decimal(100_004))))

    (end,) = desk.confirmed(desk.run(state, TAKEN_BACK))

    assert end == replace(first, function=Function.CANCEL)
    assert (end.settlement_amount, end.matching_profile) == (Decimal(100_004), "BROKER")


def test_an_allocation_that_never_came_is_gone_all_the_same() -> None:
    """A person discarded it; were it replayed after all, it would not wait for a confirmation any more."""
    state = MemoryState()

    assert desk.exceptions(desk.run(state, TAKEN_BACK)) == []
    assert desk.run(state, TAKEN_BACK, FIRST) == [Suppress(cause="duplicate")] * 2


def test_the_sample_is_what_the_tests_take_it_for() -> None:
    """The two versions differ in price and cash alone, and each has a confirmation that equals it."""
    assert isinstance(FIRST, AllocatedTrade)
    assert (FIRST.net_amount, OLD.net_amount) == (Decimal(100_000), Decimal(100_000))
    assert (FIRST.match_key, SECOND.match_key) == (OLD.match_key, NEW.match_key)
