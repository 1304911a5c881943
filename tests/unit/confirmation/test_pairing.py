"""Pairing on small groups against a twin that tries every pair, and that knows nothing of how the rules are written."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.confirmation.rules import Ours, Theirs, evaluate
from services.confirmation.tolerances import tolerances_of
from services.domain.code import ChargeType, InstrumentType, MatchingField, ToleranceCode
from services.domain.event import Charge
from services.domain.reference import MatchingProfile
from tests import samples

TOLERANCES = tolerances_of(
    "P",
    [
        MatchingProfile(profile="P", field=field, code=ToleranceCode.MNMX, below=Decimal(2), above=Decimal(2))
        for field in (MatchingField.NET_AMOUNT, MatchingField.PRICE, MatchingField.COMMISSION)
    ],
    currency="EUR",
    instrument_type=InstrumentType.EQUITY,
)

Side = tuple[int, int, int, int | None, str | None]
"""Quantity, price, cash, commission, reference."""

SMALL = st.integers(0, 3)
SIDES = st.lists(
    st.tuples(st.sampled_from([1, 2]), SMALL, SMALL, SMALL, st.sampled_from([None, None, "I1", "I2"])), max_size=4
)


def _ours(index: int, side: Side) -> Ours:
    quantity, price, net, commission, reference = side
    charge = Charge(charge_id="X", charge_type=ChargeType.COMMISSION, amount=Decimal(commission or 0), currency="EUR")
    trade = samples.allocated_trade(
        allocation_id=f"A{index}",
        quantity=Decimal(quantity),
        average_price=Decimal(price),
        net_amount=Decimal(net),
        charges=(charge,),
        allocation_reference=reference,
    )
    return Ours(trade=trade, tolerances=TOLERANCES)


def _theirs(index: int, side: Side) -> Theirs:
    quantity, price, net, commission, reference = side
    confirmation = samples.received_confirmation(
        confirmation_id=f"C{index}",
        quantity=Decimal(quantity),
        price=Decimal(price),
        net_amount=Decimal(net),
        commission=None if commission is None else Decimal(commission),
        allocation_reference=reference,
    )
    return Theirs(key=f"C{index}", confirmation=confirmation)


def _twin(ours: list[Side], theirs: list[Side]) -> set[tuple[str, str]]:
    """Look at every pair that is left, take the best of those that fit, and begin again."""
    left, right = dict(enumerate(ours)), dict(enumerate(theirs))
    found: set[tuple[str, str]] = set()
    while True:
        fitting: list[tuple[Any, ...]] = []
        for one, (quantity, price, net, commission, named) in left.items():
            for other, (their_quantity, their_price, their_net, their_commission, quoted) in right.items():
                quotes = quoted is not None and quoted in (named, f"A{one}")
                if quantity != their_quantity or (quoted is not None and not quotes):
                    continue
                stated = (commission or 0) if their_commission is None else their_commission
                apart = [
                    abs(Fraction(a) - Fraction(b))
                    for a, b in ((net, their_net), (price, their_price), (commission or 0, stated))
                ]
                if max(apart) <= 2:
                    fitting.append((not quotes, *apart, f"A{one}", f"C{other}", one, other))
        if not fitting:
            return found
        *_, one_name, other_name, one, other = min(fitting)
        found.add((one_name, other_name))
        del left[one], right[other]


@settings(max_examples=500, deadline=None)
@given(ours=SIDES, theirs=SIDES, data=st.data())
def test_pairs_are_those_of_the_twin_in_any_order(ours: list[Side], theirs: list[Side], data: st.DataObject) -> None:
    """Quoted first, then the nearest in cash, price and commission, then by ids; the order given does not matter."""
    allocated = data.draw(st.permutations([_ours(index, side) for index, side in enumerate(ours)]))
    received = data.draw(st.permutations([_theirs(index, side) for index, side in enumerate(theirs)]))
    found = {(pair.ours.key, pair.theirs.key) for pair in evaluate(allocated, received).matches}
    assert found == _twin(ours, theirs)
