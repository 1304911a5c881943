"""Cash computed a second time: what a fill costs, and what each share of a block must have been given."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction

from services.domain import money
from services.verification.plain import Plain

Charges = tuple[tuple[str, str, Decimal], ...]
"""Of each charge its id, currency and amount, by id and currency."""

_PERCENT = Decimal("0.01")
_ZERO = Decimal(0)
_BOND = Decimal(1_000)
"""Face amount of a bond, where the report of a commission per bond gives none."""
COMMISSION = "COMMISSION"
AVERAGE_PRICE_DIGITS = 10


def charges_of(record: Plain) -> Charges:
    """The charges of a fill or a share."""
    return tuple(sorted((charge["charge_id"], charge["currency"], charge["amount"]) for charge in record["charges"]))


def net_follows(record: Plain) -> bool:
    """Whether net is gross and accrued interest, plus charges for a buyer, less charges for a seller."""
    charged = money.add(*(charge["amount"] for charge in record["charges"]))
    signed = charged if record["side"] == "BUY" else -charged
    return bool(record["net_amount"] == money.add(record["gross_amount"], record["accrued_interest"], signed))


def fill_follows(record: Plain) -> bool:
    """Whether the gross amount of a fill follows from quantity and price, rounded once."""
    factor = _PERCENT if record["price_type"] == "PERCENT_OF_PAR" else Decimal(1)
    gross = money.multiply(record["quantity"], record["price"], factor)
    return bool(record["gross_amount"] == money.round_amount(gross, currency=record["currency"]))


def commission_follows(record: Plain) -> bool:
    """Whether a fill has the commission that its report says, once, and none when it says none."""
    found = [charge for charge in record["charges"] if charge["charge_type"] == COMMISSION]
    told = record.get("commission")
    if told is None or not record["gross_amount"]:
        return not found
    base = {
        "PER_UNIT": Fraction(record["quantity"]),
        "PERCENT": Fraction(record["gross_amount"]),
        "ABSOLUTE": Fraction(1),
        "PER_BOND": Fraction(record["quantity"]) / Fraction(record["contract_multiplier"] or _BOND),
    }[record["commission_type"]]
    digits = money.minor_unit_digits(record["currency"])
    amount = money.round_fraction(base * Fraction(told), digits=digits)
    expected = [(COMMISSION, amount, record["currency"])] if amount else []
    return [(charge["charge_id"], charge["amount"], charge["currency"]) for charge in found] == expected


def is_exact(record: Plain, names: Iterable[str]) -> bool:
    """Whether these are decimals: no float has come near them."""
    return all(type(record[name]) is Decimal for name in names)


def sum_charges(parts: Iterable[Charges]) -> Charges:
    """Charges added up by id and currency."""
    sums: dict[tuple[str, str], Decimal] = {}
    for charges in parts:
        for charge_id, currency, amount in charges:
            sums[charge_id, currency] = money.add(sums.get((charge_id, currency), _ZERO), amount)
    return tuple((charge_id, currency, sums[charge_id, currency]) for charge_id, currency in sorted(sums))


def due(total: Decimal, given: Decimal, whole: Decimal, currency: str) -> Decimal:
    """What all shares together must have once `given` of `whole` is given away: the part of the total, rounded once."""
    part = Fraction(total) * Fraction(given) / Fraction(whole)
    return money.round_fraction(part, digits=money.minor_unit_digits(currency))


def average_price(pairs: Iterable[tuple[Decimal, Decimal]]) -> Decimal:
    """Volume-weighted price of fills given as quantity and price."""
    quantity = value = Fraction(0)
    for one_quantity, price in pairs:
        quantity += Fraction(one_quantity)
        value += Fraction(one_quantity) * Fraction(price)
    return money.round_fraction(value / quantity, digits=AVERAGE_PRICE_DIGITS)
