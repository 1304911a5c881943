"""Nothing is lost and nothing is made when quantity and cash are divided."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.allocation.division import divide_amount, divide_quantity
from services.domain.code import ChargeType, PriceType, Side
from services.domain.event import AccountAllocation, AllocatedTrade, Charge, EnrichedTrade
from services.domain.money import add, apportion
from tests import samples
from tests.memory_state import MemoryState
from tests.unit.allocation import desk

CENTS = st.integers(min_value=0, max_value=10**11).map(lambda cents: Decimal(cents).scaleb(-2))
QUANTITIES = st.lists(st.integers(min_value=1, max_value=10**6).map(Decimal), min_size=1, max_size=6)
ACCOUNT_SETS = st.lists(st.sampled_from(desk.ACCOUNTS), min_size=1, max_size=3)


def _by_hand(cents: int, weights: list[int]) -> list[int]:
    """Largest remainder in whole numbers, one cent after another: the twin of money.apportion."""
    whole = sum(weights)
    parts = [cents * weight // whole for weight in weights]
    rests = [cents * weight % whole for weight in weights]
    while sum(parts) < cents:
        winner = rests.index(max(rests))
        parts[winner] += 1
        rests[winner] = -1
    return parts


@settings(max_examples=150, deadline=None)
@given(cents=st.integers(0, 10**6), weights=st.lists(st.integers(0, 50), min_size=1, max_size=6).filter(any))
def test_one_instruction_for_the_whole_block_divides_by_largest_remainder(cents: int, weights: list[int]) -> None:
    """Without earlier instructions the parts are those that anyone gets who divides by hand."""
    quantities = [Decimal(weight) for weight in weights]
    total = Decimal(cents).scaleb(-2)
    parts = divide_amount(total, quantities, given_quantity=Decimal(0), whole_quantity=Decimal(sum(weights)), digits=2)
    assert [int(part * 100) for part in parts] == _by_hand(cents, weights)
    assert parts == apportion(total, quantities, digits=2)


@settings(max_examples=150, deadline=None)
@given(total=CENTS, instructions=st.lists(QUANTITIES, min_size=1, max_size=5), negative=st.booleans())
def test_parts_of_many_instructions_add_up(total: Decimal, instructions: list[list[Decimal]], negative: bool) -> None:
    """However many instructions: no part turns its sign, none is two cents off, and the last cent is there."""
    total = -total if negative else total
    whole = add(*(quantity for quantities in instructions for quantity in quantities))
    given_quantity = Decimal(0)
    parts: list[Decimal] = []
    for quantities in instructions:
        new = divide_amount(total, quantities, given_quantity=given_quantity, whole_quantity=whole, digits=2)
        for part, quantity in zip(new, quantities, strict=True):
            assert part * (-1 if negative else 1) >= 0
            assert abs(Fraction(part) - Fraction(total) * Fraction(quantity) / Fraction(whole)) < Fraction(2, 100)
        given_quantity = add(given_quantity, *quantities)
        parts += new
    assert sum(parts, Decimal(0)) == total


def test_an_amount_finer_than_the_currency_is_our_bug() -> None:
    """Rounding it away would lose cash without a trace."""
    with pytest.raises(ValueError, match="finer than 2 decimals"):
        divide_amount(Decimal("0.001"), [Decimal(1)], given_quantity=Decimal(0), whole_quantity=Decimal(1), digits=2)


@settings(max_examples=150, deadline=None)
@given(
    quantity=st.integers(1, 10**9).map(lambda units: Decimal(units).scaleb(-2)),
    weights=st.lists(st.integers(0, 100), min_size=1, max_size=5).filter(any),
    denomination=st.sampled_from(["0.01", "1", "100", "1000", "100000"]).map(Decimal),
)
def test_template_quantities(quantity: Decimal, weights: list[int], denomination: Decimal) -> None:
    """They add up, all but one are whole denominations, and each is within one denomination (and rest) of its share."""
    parts = divide_quantity(quantity, [Decimal(weight) for weight in weights], denomination=denomination)
    assert sum(parts, Decimal(0)) == quantity
    assert all(part >= 0 for part in parts)
    assert sum(part % denomination != 0 for part in parts) <= 1
    for part, weight in zip(parts, weights, strict=True):
        assert abs(Fraction(part) - Fraction(quantity) * weight / sum(weights)) < 2 * Fraction(denomination)


@pytest.mark.parametrize(
    ("quantity", "weights", "denomination", "expected"),
    [
        ("1000", ["1", "1", "1"], "100", ["400", "300", "300"]),  # a tie goes to the earlier line
        ("1050", ["1", "2"], "100", ["300", "750"]),  # the odd 50 goes to the largest share
        ("1010", ["1", "1"], "10", ["510", "500"]),  # equal remainders: the earlier
        ("50", ["1", "3", "3"], "100", ["0", "50", "0"]),  # less than one unit: the largest weight, the earlier
        ("1000", ["0.5", "0.3", "0.2"], "1", ["500", "300", "200"]),
    ],
)
def test_template_examples(quantity: str, weights: list[str], denomination: str, expected: list[str]) -> None:
    """Ties and rests fall where the template's order says."""
    parts = divide_quantity(
        Decimal(quantity), [Decimal(weight) for weight in weights], denomination=Decimal(denomination)
    )
    assert [str(part) for part in parts] == expected


# --- through the whole stage -----------------------------------------------------------------------------------------


def _charge(name: str, amount: Decimal) -> Charge:
    return Charge(charge_id=name, charge_type=ChargeType.LEVY, amount=amount, currency="EUR")


@st.composite
def _fills(draw: st.DrawFn, side: Side) -> list[EnrichedTrade]:
    """Fills that complete an order, each with interest and with some of two charges."""
    quantities = [Decimal(value) for value in draw(st.lists(st.integers(3, 9_999), min_size=1, max_size=5))]
    fills, filled = [], Decimal(0)
    for index, quantity in enumerate(quantities):
        filled += quantity
        gross, accrued = draw(CENTS), draw(CENTS)
        names = draw(st.lists(st.sampled_from(["B_LEVY", "A_TAX"]), unique=True, max_size=2))
        charges = tuple(_charge(name, draw(CENTS)) for name in sorted(names))
        charged = sum((charge.amount for charge in charges), Decimal(0))
        fills.append(
            samples.enriched_trade(
                execution_id=f"E{index}",
                side=side,
                quantity=quantity,
                price=draw(st.integers(1, 10**12).map(lambda value: Decimal(value).scaleb(-10))),
                price_type=PriceType.PERCENT_OF_PAR,
                gross_amount=gross,
                accrued_interest=accrued,
                charges=charges,
                net_amount=gross + accrued + (-charged if side.delivers else charged),
                cumulative_quantity=filled,
                leaves_quantity=sum(quantities) - filled,
                transaction_time_us=samples.RECEIVED_AT_US + index,
            )
        )
    return fills


def _sum_of_charges(trades: list[AllocatedTrade] | list[EnrichedTrade]) -> dict[str, Decimal]:
    sums: dict[str, Decimal] = {}
    for trade in trades:
        for charge in trade.charges:
            sums[charge.charge_id] = sums.get(charge.charge_id, Decimal(0)) + charge.amount
    return sums


@settings(max_examples=40, deadline=None)
@given(data=st.data(), side=st.sampled_from(list(Side)))
def test_a_fully_allocated_block_is_conserved(data: st.DataObject, side: Side) -> None:
    """Quantity, gross, interest, each charge and net of the accounts are those of the fills, to the last cent."""
    fills = data.draw(_fills(side))
    left = int(sum(fill.quantity for fill in fills))
    state = MemoryState(desk.reference_data())
    trades = desk.allocated(desk.run(state, *fills))
    number = 0
    while left > 0:
        parts = []
        for account in data.draw(ACCOUNT_SETS):
            part = data.draw(st.integers(1, left)) if left else 0
            left -= part
            if part:
                parts.append(AccountAllocation(account=account, quantity=Decimal(part)))
        number += 1
        instruction = samples.allocation_instruction(
            instruction_id=f"J{number}",
            side=side,
            quantity=sum((part.quantity for part in parts), Decimal(0)),
            allocations=tuple(parts),
        )
        trades += desk.allocated(desk.run(state, instruction))

    total = sum((fill.quantity for fill in fills), Decimal(0))
    assert sum(trade.quantity for trade in trades) == total
    assert sum(trade.gross_amount for trade in trades) == sum(fill.gross_amount for fill in fills)
    assert sum(trade.accrued_interest for trade in trades) == sum(fill.accrued_interest for fill in fills)
    assert sum(trade.net_amount for trade in trades) == sum(fill.net_amount for fill in fills)
    assert _sum_of_charges(trades) == _sum_of_charges(fills)
    assert all(charge.amount >= 0 for trade in trades for charge in trade.charges)
    assert all(trade.gross_amount >= 0 and trade.accrued_interest >= 0 for trade in trades)
    assert len({trade.allocation_id for trade in trades}) == len(trades)
    exact = sum(Fraction(fill.quantity) * Fraction(fill.price) for fill in fills) / Fraction(total)
    for trade in trades:
        assert abs(Fraction(trade.average_price) - exact) <= Fraction(1, 2 * 10**10)
        assert [charge.charge_id for charge in trade.charges] == sorted(charge.charge_id for charge in trade.charges)
