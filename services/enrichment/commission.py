"""The executing broker's commission on one fill: what FIX 12 and 13 say, as an amount of cash.

FIX says that the commission of a fill is that of the fill alone, in the currency of the trade unless CommCurrency (479)
names another (CommissionData component block).
"""

from __future__ import annotations

from decimal import Decimal
from operator import attrgetter

from services.domain import money
from services.domain.code import ChargeType, CommissionType
from services.domain.event import CapturedTrade, Charge

COMMISSION = ChargeType.COMMISSION.value
"""The charge id of a commission; no charge of reference data has it."""

_FACE_OF_A_BOND = Decimal(1_000)
"""What FIX takes a bond to be when ContractMultiplier (231) is not given (CommType 6)."""


def with_commission(charges: tuple[Charge, ...], trade: CapturedTrade, *, gross_amount: Decimal) -> tuple[Charge, ...]:
    """The charges with the trade's commission among them, by charge id; one that comes to nothing is left out.

    Rounded once, half up, to the minor unit of the trade's currency. A fill without cash (a cancellation that carries
    no economics) has none, as it has no charges.
    """
    amount = _amount(trade, gross_amount) if gross_amount else gross_amount
    if not amount:
        return charges
    commission = Charge(charge_id=COMMISSION, charge_type=ChargeType.COMMISSION, amount=amount, currency=trade.currency)
    return tuple(sorted((*charges, commission), key=attrgetter("charge_id")))


def _amount(trade: CapturedTrade, gross_amount: Decimal) -> Decimal:
    """What the commission comes to. Raises AssertionError for one without type, which capture refuses."""
    commission = trade.commission
    assert commission is not None
    assert trade.commission_type is not None
    match trade.commission_type:
        case CommissionType.PER_UNIT:
            return money.round_amount(money.multiply(trade.quantity, commission), currency=trade.currency)
        case CommissionType.PERCENT:
            return money.round_amount(money.multiply(gross_amount, commission), currency=trade.currency)
        case CommissionType.ABSOLUTE:
            return money.round_amount(commission, currency=trade.currency)
        case CommissionType.PER_BOND:
            digits = money.minor_unit_digits(trade.currency)
            face = trade.contract_multiplier or _FACE_OF_A_BOND
            return money.round_quotient(money.multiply(trade.quantity, commission), face, digits=digits)
