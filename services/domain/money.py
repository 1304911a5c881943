"""Exact arithmetic for cash, and the only place where an amount is rounded.

Every product is computed in a context that traps `Inexact`: an amount is either exact or the program stops. Rounding is
a named act (`round_amount`) with a named mode.
"""

from __future__ import annotations

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


def minor_unit_digits(currency: str) -> int:
    """Decimals of the currency's minor unit (ISO 4217): 2 for EUR, 0 for JPY, 3 for KWD."""
    return _MINOR_UNIT_DIGITS.get(currency, 2)


def multiply(*factors: Decimal) -> Decimal:
    """Multiply exactly. Raises decimal.Inexact rather than lose a digit."""
    product = Decimal(1)
    for factor in factors:
        product = EXACT.multiply(product, factor)
    return product


def add(*terms: Decimal) -> Decimal:
    """Add exactly. Raises decimal.Inexact rather than lose a digit."""
    total = Decimal(0)
    for term in terms:
        total = EXACT.add(total, term)
    return total


def round_amount(amount: Decimal, *, currency: str, mode: Rounding = Rounding.HALF_UP) -> Decimal:
    """Round cash to the currency's minor unit. The default, half up, is what confirmations use."""
    quantum = Decimal(1).scaleb(-minor_unit_digits(currency))
    return amount.quantize(quantum, rounding=_MODES[mode], context=_ROUNDING)


def round_fraction(value: Fraction, *, digits: int, mode: Rounding = Rounding.HALF_UP) -> Decimal:
    """Round an exact fraction once, to `digits` decimals, by exact integer arithmetic."""
    scaled = abs(value) * 10**digits
    whole, rest = divmod(scaled.numerator, scaled.denominator)
    twice = 2 * rest
    if mode is Rounding.UP:
        whole += rest > 0
    elif mode is Rounding.HALF_UP:
        whole += twice >= scaled.denominator
    elif mode is Rounding.HALF_EVEN:
        whole += twice > scaled.denominator or (twice == scaled.denominator and whole % 2 == 1)
    return Decimal(-whole if value < 0 else whole).scaleb(-digits, context=EXACT)


def apportion(total: Decimal, weights: Sequence[Decimal], *, digits: int) -> tuple[Decimal, ...]:
    """Split `total` by `weights` so that the parts add up to it to the last unit of 10**-digits.

    Largest remainder: each part is rounded down (towards zero), what is left over goes one unit at a time to the
    largest remainders, ties to the earlier weight. Raises ValueError when `total` is finer than `digits` or the
    weights are not positive in sum.
    """
    unit = Decimal(1).scaleb(-digits)
    units_total = Fraction(total) / Fraction(unit)
    weight_total = sum((Fraction(weight) for weight in weights), Fraction(0))
    if units_total.denominator != 1:
        raise ValueError(f"total was {total}, finer than {digits} decimals")
    if weight_total <= 0 or any(weight < 0 for weight in weights):
        raise ValueError("weights were not positive")
    sign = -1 if units_total < 0 else 1
    shares = [abs(units_total) * Fraction(weight) / weight_total for weight in weights]
    parts = [share.numerator // share.denominator for share in shares]
    left_over = int(abs(units_total)) - sum(parts)
    by_remainder = sorted(range(len(parts)), key=lambda index: (parts[index] - shares[index], index))
    for index in by_remainder[:left_over]:
        parts[index] += 1
    return tuple(Decimal(sign * part).scaleb(-digits, context=EXACT) for part in parts)
