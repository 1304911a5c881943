"""Who belongs to whom: the same in any order, never twice, and never beyond tolerance."""

from __future__ import annotations

from decimal import Decimal
from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from services.confirmation.rules import Ours, Theirs, confirmation_key, evaluate
from services.confirmation.state import MatchGroup, OpenAllocation, OpenConfirmation
from services.confirmation.tolerances import tolerances_of
from services.domain.code import InstrumentType
from services.domain.event import AllocatedTrade, ReceivedConfirmation
from services.domain.record import Record
from services.domain.reference import MatchingProfile
from services.stage import Suppress
from tests import samples
from tests.memory_state import MemoryState
from tests.unit.confirmation import desk

TOLERANCES = tolerances_of(
    "BROKER",
    [MatchingProfile(profile="BROKER", price_tolerance=Decimal("0.01"), amount_tolerance=Decimal(2))],
    currency="EUR",
    instrument_type=InstrumentType.EQUITY,
)


def _ours(name: str, quantity: int, net: int, *, ref: str | None = None) -> AllocatedTrade:
    return samples.allocated_trade(
        allocation_id=name, quantity=Decimal(quantity), net_amount=Decimal(net), allocation_reference=ref
    )


def _theirs(name: str, quantity: int, net: int, *, ref: str | None = None) -> ReceivedConfirmation:
    return samples.received_confirmation(
        confirmation_id=name, quantity=Decimal(quantity), net_amount=Decimal(net), allocation_reference=ref
    )


# One of each kind: equal, within tolerance, beyond it and corrected later, and one by reference.
GROUP: tuple[Record, ...] = (
    _ours("A1", 100, 10_000),
    _theirs("C1", 100, 10_000),
    _ours("A2", 200, 20_000),
    _theirs("C2", 200, 20_001),
    _ours("A3", 300, 30_000, ref="I3"),
    _theirs("C3", 300, 30_009),
    _theirs("C4", 300, 30_000, ref="I3"),
)


def test_every_order_of_arrival_comes_to_the_same() -> None:
    """All 5,040 orders: the same confirmed trades, the same exceptions open, the same left over."""
    reference = desk.reference_data(price="0.01", amount="2")
    seen = set()
    for events in permutations(GROUP):
        state = MemoryState(reference)
        outcomes = desk.run(state, *events)
        trades = sorted(map(repr, desk.confirmed(outcomes)))
        left = [sorted(state.tables.get(kind, {})) for kind in (MatchGroup, OpenAllocation, OpenConfirmation)]
        seen.add(repr((trades, sorted(desk.open_at_the_end(outcomes).items()), left)))
    (result,) = seen
    assert [f"confirmation_id='{name}'" in result for name in ("C1", "C2", "C3", "C4")] == [True, True, False, True]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_groups_without_doubt_come_to_what_was_meant(data: st.DataObject) -> None:
    """Each trade has its own quantity, so what must come is known beforehand, whatever arrives when and how often."""
    quantities = data.draw(st.lists(st.integers(1, 50), min_size=1, max_size=5, unique=True))
    events: list[Record] = []
    pairs, mismatched = set(), set()
    for quantity in quantities:
        ours, theirs = data.draw(st.sampled_from([(True, True), (True, False), (False, True)]))
        difference = data.draw(st.integers(-4, 4))
        events += [_ours(f"A{quantity}", quantity, quantity * 100)] * ours
        events += [_theirs(f"C{quantity}", quantity, quantity * 100 + difference)] * theirs
        if ours and theirs and abs(difference) <= 2:
            pairs.add((f"A{quantity}", f"C{quantity}"))
        elif ours and theirs:
            mismatched.add(f"CONFIRMATION_MISMATCHED A{quantity}")
    left_alone = [(_side(event), event) for event in events if _quantity(event) not in {int(a[1:]) for a, _ in pairs}]
    alone = [event for side, event in left_alone if not _has_twin(event, left_alone, side)]
    if sorted(map(_side, alone)) == ["ours", "theirs"]:  # the last two that are left are one trade, seen differently
        mismatched |= {f"CONFIRMATION_MISMATCHED A{_quantity(event)}" for event in alone if _side(event) == "ours"}
    repeated = data.draw(st.lists(st.sampled_from(events), max_size=3)) if events else []

    state = MemoryState(desk.reference_data(price="0.01", amount="2"))
    outcomes = desk.run(state, *data.draw(st.permutations(events + repeated)))
    assert {(trade.allocation_id, trade.confirmation_id) for trade in desk.confirmed(outcomes)} == pairs
    assert set(desk.open_at_the_end(outcomes)) == mismatched
    assert outcomes.count(Suppress(cause="duplicate")) == len(repeated)


def _side(event: Record) -> str:
    return "ours" if isinstance(event, AllocatedTrade) else "theirs"


def _quantity(event: Record) -> int:
    assert isinstance(event, AllocatedTrade | ReceivedConfirmation)
    return int(event.quantity)


def _has_twin(event: Record, others: list[tuple[str, Record]], side: str) -> bool:
    return any(_quantity(other) == _quantity(event) and other_side != side for other_side, other in others)


SMALL = st.tuples(st.sampled_from([100, 200]), st.integers(0, 5), st.sampled_from([None, "I1", "I2"]))


@settings(max_examples=200, deadline=None)
@given(
    ours=st.lists(SMALL, max_size=4),
    theirs=st.lists(SMALL, max_size=4),
    data=st.data(),
)
def test_doubtful_groups_are_still_matched_soundly(
    ours: list[tuple[int, int, str | None]], theirs: list[tuple[int, int, str | None]], data: st.DataObject
) -> None:
    """Nobody is matched twice or beyond tolerance, nothing that fits is left, and the order given does not matter."""
    allocated = [
        Ours(trade=_ours(f"A{index}", quantity, quantity * 100 + cash, ref=ref), tolerances=TOLERANCES)
        for index, (quantity, cash, ref) in enumerate(ours)
    ]
    confirmations = [
        _theirs(f"C{index}", quantity, quantity * 100 + cash, ref=ref)
        for index, (quantity, cash, ref) in enumerate(theirs)
    ]
    received = [Theirs(key=confirmation_key(confirmation), confirmation=confirmation) for confirmation in confirmations]
    result = evaluate(allocated, received)
    assert evaluate(data.draw(st.permutations(allocated)), data.draw(st.permutations(received))) == result

    used = [key for pair in (*result.matches, *result.mismatches) for key in (pair.ours.key, pair.theirs.key)]
    assert len(used) == len(set(used))
    for pair in result.matches:
        assert _fits(pair.ours, pair.theirs)
    for pair in result.mismatches:
        assert pair.failures
    matched = {key for pair in result.matches for key in (pair.ours.key, pair.theirs.key)}
    left = [our for our in allocated if our.key not in matched]
    for their in received:
        reference = their.confirmation.allocation_reference
        candidates = [our for our in left if reference in (None, our.trade.allocation_reference, our.key)]
        assert their.key in matched or not any(_fits(our, their) for our in candidates)


def _fits(our: Ours, their: Theirs) -> bool:
    difference = our.trade.net_amount - their.confirmation.net_amount
    return our.trade.quantity == their.confirmation.quantity and abs(difference) <= 2


def test_a_reference_wins_over_a_nearer_amount() -> None:
    """The counterparty said which trade it means."""
    ours = [
        Ours(trade=_ours(name, 100, net, ref=ref), tolerances=TOLERANCES)
        for name, net, ref in (("A1", 10_000, None), ("A2", 10_001, "I2"))
    ]
    confirmation = _theirs("C1", 100, 10_000, ref="I2")
    result = evaluate(ours, [Theirs(key="C1", confirmation=confirmation)])
    assert [pair.ours.key for pair in result.matches] == ["A2"]


def test_a_reference_wins_over_an_equal_confirmation_without_one() -> None:
    """Within tolerance is good enough for the confirmation that names the trade; the other one is of another trade."""
    ours = Ours(trade=_ours("A1", 100, 10_000, ref="I1"), tolerances=TOLERANCES)
    theirs = [
        Theirs(key="C1", confirmation=_theirs("C1", 100, 10_000)),
        Theirs(key="C2", confirmation=_theirs("C2", 100, 10_001, ref="I1")),
    ]
    assert [pair.theirs.key for pair in evaluate([ours], theirs).matches] == ["C2"]


def test_equal_wins_over_within_tolerance_and_ids_break_ties() -> None:
    """Three of one size: the equal one first; of equals the lower id, so that a replay pairs them the same way."""
    ours = [
        Ours(trade=_ours(name, 100, net), tolerances=TOLERANCES)
        for name, net in (("A1", 10_001), ("A2", 10_000), ("A3", 10_000))
    ]
    theirs = [Theirs(key=name, confirmation=_theirs(name, 100, 10_000)) for name in ("C2", "C1")]
    result = evaluate(ours, theirs)
    assert [(pair.ours.key, pair.theirs.key) for pair in result.matches] == [("A2", "C1"), ("A3", "C2")]


def test_a_reference_that_names_nothing_here_keeps_the_confirmation_waiting() -> None:
    """Its allocation may still come; taken by another of equal terms, the order of arrival would decide."""
    ours = Ours(trade=_ours("A1", 100, 10_000), tolerances=TOLERANCES)
    theirs = Theirs(key="C1", confirmation=_theirs("C1", 100, 10_000, ref="THEIRS-9"))
    result = evaluate([ours], [theirs])
    assert (result.matches, result.mismatches) == ((), ())
