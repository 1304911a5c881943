"""Exact division and rounding in integers, beside the same in fractions."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain import money
from services.domain.money import Rounding

_AMOUNTS = st.decimals(-(10**12), 10**12, allow_nan=False, allow_infinity=False, places=5)
_WEIGHTS = st.lists(st.decimals(0, 1000, places=4), min_size=1, max_size=6).filter(any)


def _rounded(value: Fraction, digits: int, mode: Rounding) -> Decimal:
    """Round a fraction as the names of the modes say, one case after the other."""
    size = abs(value) * 10**digits
    below = size.numerator // size.denominator
    rest = size - below
    half = Fraction(1, 2)
    up = {
        Rounding.UP: rest > 0,
        Rounding.DOWN: False,
        Rounding.HALF_UP: rest >= half,
        Rounding.HALF_EVEN: rest > half or (rest == half and below % 2 == 1),
    }[mode]
    units = below + up
    return Decimal(-units if value < 0 else units).scaleb(-digits)


@given(_AMOUNTS, _AMOUNTS.filter(bool), st.integers(0, 10), st.sampled_from(Rounding))
def test_a_quotient_is_rounded_as_its_fraction_is(
    dividend: Decimal, divisor: Decimal, digits: int, mode: Rounding
) -> None:
    """Signs, ties and repeating decimals: one unit off is a break with the counterparty."""
    expected = _rounded(Fraction(dividend) / Fraction(divisor), digits, mode)
    found = money.round_quotient(dividend, divisor, digits=digits, mode=mode)
    assert str(found) == str(expected)
    assert str(money.round_fraction(Fraction(dividend) / Fraction(divisor), digits=digits, mode=mode)) == str(expected)


@given(st.decimals(-(10**9), 10**9, places=2), _WEIGHTS)
def test_a_total_is_apportioned_by_largest_remainder(total: Decimal, weights: list[Decimal]) -> None:
    """Nothing is lost, every part is less than a unit from its share, and ties go to the earlier weight."""
    parts = money.apportion(total, weights, digits=2)
    shares = [Fraction(total) * Fraction(weight) / Fraction(sum(weights)) for weight in weights]
    assert sum(parts) == total
    assert all(abs(part - share) < Fraction(1, 100) for part, share in zip(map(Fraction, parts), shares, strict=True))
    rest = [abs(share) - abs(Fraction(part)) for part, share in zip(parts, shares, strict=True)]
    raised = [index for index, value in enumerate(rest) if value < 0]
    remainder = [value + Fraction(1, 100) if value < 0 else value for value in rest]
    order = sorted(range(len(parts)), key=lambda index: (-remainder[index], index))
    assert sorted(order[: len(raised)]) == raised


@given(st.decimals(-(10**9), 10**9, places=2), st.integers(2, 5))
def test_one_share_takes_all_in_the_form_that_several_have(total: Decimal, digits: int) -> None:
    """A row of state that spells the same amount otherwise would be another row; minus nothing is nothing."""
    (alone,) = money.apportion(total, [Decimal("0.3")], digits=digits)
    first, _ = money.apportion(total, [Decimal("0.3"), Decimal(0)], digits=digits)
    assert str(alone) == str(first)


def test_what_cannot_be_divided_is_refused() -> None:
    """A total that is finer than its unit would not be conserved; nothing weighs nothing."""
    with pytest.raises(ValueError, match="finer than 2 decimals"):
        money.apportion(Decimal("1.001"), [Decimal(1)], digits=2)
    for weights in ([Decimal(0)], [Decimal(2), Decimal(-1)]):
        with pytest.raises(ValueError, match="not positive"):
            money.apportion(Decimal(1), weights, digits=2)
    with pytest.raises(ZeroDivisionError):
        money.round_quotient(Decimal(1), Decimal(0), digits=2)


def test_amounts_are_rounded_to_the_minor_unit_of_their_currency() -> None:
    """Two decimals for most, none for yen, three for dinars, four for the unidad de fomento."""
    amount = Decimal("1234.56785")
    found = {code: str(money.round_amount(amount, currency=code)) for code in ("EUR", "JPY", "KWD", "CLF")}
    assert found == {"EUR": "1234.57", "JPY": "1235", "KWD": "1234.568", "CLF": "1234.5679"}
