"""Exact arithmetic for cash, and the only place where an amount is rounded.

Every product is computed in a context that traps `Inexact`: an amount is either exact or the program stops. Rounding is
a named act (`round_amount`) with a named mode.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import (
    ROUND_DOWN,
    ROUND_HALF_EVEN,
    ROUND_HALF_UP,
    ROUND_UP,
    Context,
    Decimal,
    DivisionByZero,
    Inexact,
    InvalidOperation,
    Overflow,
)
from enum import StrEnum
from fractions import Fraction
from typing import NamedTuple

EXACT = Context(prec=96, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])
"""Wide enough for the product of any quantity, price and rate on the wire; anything inexact raises."""

_ROUNDING = Context(prec=96, traps=[InvalidOperation, DivisionByZero, Overflow])

# ISO 4217, the currencies whose minor unit is not two decimals.
_MINOR_UNIT_DIGITS = {
    "BHD": 3, "BIF": 0, "CLF": 4, "CLP": 0, "DJF": 0, "GNF": 0, "IQD": 3, "ISK": 0, "JOD": 3, "JPY": 0, "KMF": 0,
    "KRW": 0, "KWD": 3, "LYD": 3, "OMR": 3, "PYG": 0, "RWF": 0, "TND": 3, "UGX": 0, "UYI": 0, "VND": 0, "VUV": 0,
    "XAF": 0, "XOF": 0, "XPF": 0,
}  # fmt: skip


class Rounding(StrEnum):
    """Named rounding modes; charges carry theirs as reference data."""

    HALF_UP = "HALF_UP"
    HALF_EVEN = "HALF_EVEN"
    UP = "UP"
    DOWN = "DOWN"


_MODES = {
    Rounding.HALF_UP: ROUND_HALF_UP,
    Rounding.HALF_EVEN: ROUND_HALF_EVEN,
    Rounding.UP: ROUND_UP,
    Rounding.DOWN: ROUND_DOWN,
}


_ZERO, _ONE = Decimal(0), Decimal(1)
_add, _multiply = EXACT.add, EXACT.multiply
_CENT = Decimal("0.01")
_MINOR_UNITS = {currency: _ONE.scaleb(-digits) for currency, digits in _MINOR_UNIT_DIGITS.items()}


def minor_unit_digits(currency: str) -> int:
    """Decimals of the currency's minor unit (ISO 4217): 2 for EUR, 0 for JPY, 3 for KWD."""
    return _MINOR_UNIT_DIGITS.get(currency, 2)


def multiply(*factors: Decimal) -> Decimal:
    """Multiply exactly. Raises decimal.Inexact rather than lose a digit."""
    product = _ONE
    for factor in factors:
        product = _multiply(product, factor)
    return product


def add(*terms: Decimal) -> Decimal:
    """Add exactly. Raises decimal.Inexact rather than lose a digit."""
    total = _ZERO
    for term in terms:
        total = _add(total, term)
    return total


def round_amount(amount: Decimal, *, currency: str, mode: Rounding = Rounding.HALF_UP) -> Decimal:
    """Round cash to the currency's minor unit. The default, half up, is what confirmations use."""
    rounding = ROUND_HALF_UP if mode is Rounding.HALF_UP else _MODES[mode]  # a key of an enum is hashed in Python
    return amount.quantize(_MINOR_UNITS.get(currency, _CENT), rounding, _ROUNDING)


def round_fraction(value: Fraction, *, digits: int, mode: Rounding = Rounding.HALF_UP) -> Decimal:
    """Round an exact fraction once, to `digits` decimals, by exact integer arithmetic."""
    return _rounded(value.numerator, value.denominator, digits, mode)


def round_quotient(dividend: Decimal, divisor: Decimal, *, digits: int, mode: Rounding = Rounding.HALF_UP) -> Decimal:
    """Divide exactly and round once, to `digits` decimals. Raises ZeroDivisionError for a divisor of 0.

    The same as `round_fraction` of the quotient, without Fractions, which made up two thirds of a block's division.
    """
    above, above_unit = dividend.as_integer_ratio()
    below, below_unit = divisor.as_integer_ratio()
    return _rounded(above * below_unit, below * above_unit, digits, mode)


def _rounded(numerator: int, denominator: int, digits: int, mode: Rounding) -> Decimal:
    """Round the quotient of two integers, which need not be in lowest terms."""
    size = abs(denominator)
    whole, rest = divmod(abs(numerator) * 10**digits, size)
    twice = 2 * rest
    if mode is Rounding.UP:
        whole += rest > 0
    elif mode is Rounding.HALF_UP:
        whole += twice >= size
    elif mode is Rounding.HALF_EVEN:
        whole += twice > size or (twice == size and whole % 2 == 1)
    is_negative = (numerator < 0) is not (denominator < 0)
    return Decimal(-whole if is_negative else whole).scaleb(-digits, context=EXACT)


def is_in_units(amount: Decimal, *, digits: int) -> bool:
    """Whether an amount is a whole number of units of 10**-digits."""
    numerator, denominator = amount.as_integer_ratio()
    unit: int = 10**digits
    return numerator * unit % denominator == 0


def in_units(amount: Decimal, *, digits: int) -> Decimal:
    """The amount with exactly that many decimals, and zero without a sign. Raises ValueError when it is finer."""
    try:
        written = amount.quantize(_ONE.scaleb(-digits), context=EXACT)
    except Inexact:
        raise ValueError(f"total was {amount}, finer than {digits} decimals") from None
    return written or written.copy_abs()


class Apportionment(NamedTuple):
    """How a total was split by largest remainder."""

    parts: tuple[Decimal, ...]
    """What each weight gets; they add up to the total."""
    remainders: tuple[int, ...]
    """What each part had beyond whole units, in `weight_total`-ths of a unit."""
    weight_total: int
    favoured: tuple[int, ...]
    """Which parts were given one unit more, in the order in which they were chosen."""


def apportion(total: Decimal, weights: Sequence[Decimal], *, digits: int) -> tuple[Decimal, ...]:
    """Split `total` by `weights` so that the parts add up to it to the last unit of 10**-digits.

    Largest remainder: each part is rounded down (towards zero), what is left over goes one unit at a time to the
    largest remainders, ties to the earlier weight. Raises ValueError when `total` is finer than `digits` or the
    weights are not positive in sum.
    """
    if len(weights) == 1 and weights[0] > 0:  # most blocks have one share, and it takes all
        return (in_units(total, digits=digits),)
    return apportionment(total, weights, digits=digits).parts


def apportionment(total: Decimal, weights: Sequence[Decimal], *, digits: int) -> Apportionment:
    """The parts of `apportion`, with the remainders that decided and the parts that were given a unit more."""
    units_total = _units(total, digits=digits)
    whole_weights = _whole_numbers(weights)
    weight_total = sum(whole_weights)
    if weight_total <= 0 or any(weight < 0 for weight in whole_weights):
        raise ValueError("weights were not positive")
    sign = -1 if units_total < 0 else 1
    shares = [divmod(abs(units_total) * weight, weight_total) for weight in whole_weights]
    parts = [part for part, _ in shares]
    remainders = tuple([rest for _, rest in shares])
    favoured: tuple[int, ...] = ()
    left_over = abs(units_total) - sum(parts)
    if left_over:
        favoured = tuple(sorted(range(len(parts)), key=lambda index: (-remainders[index], index))[:left_over])
        for index in favoured:
            parts[index] += 1
    return Apportionment(
        parts=tuple([Decimal(sign * part).scaleb(-digits, context=EXACT) for part in parts]),
        remainders=remainders,
        weight_total=weight_total,
        favoured=favoured,
    )


def _units(total: Decimal, *, digits: int) -> int:
    """How many units of 10**-digits an amount is. Raises ValueError when it is finer than that."""
    numerator, denominator = total.as_integer_ratio()
    unit: int = 10**digits
    units, finer = divmod(numerator * unit, denominator)
    if finer:
        raise ValueError(f"total was {total}, finer than {digits} decimals")
    return units


def _whole_numbers(values: Sequence[Decimal]) -> list[int]:
    """Integers in the same proportions."""
    ratios = [value.as_integer_ratio() for value in values]
    common = math.lcm(*(denominator for _, denominator in ratios))
    return [numerator * (common // denominator) for numerator, denominator in ratios]
