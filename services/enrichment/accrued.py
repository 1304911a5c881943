"""Accrued interest of a trade: what its report gives, or what the bond's terms say, and whether the two agree.

What the report gives (FIX 159) is settled, whatever the terms say: it is what the two sides agreed on when they traded,
and what the counterparty confirms. Terms are our own opinion; a difference beyond tolerance is shown to the desk before
the counterparty's confirmation would show it (docs/decisions/0020).
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from services.domain import money
from services.domain.accrued_interest import AccrualProblem, accrued_amount, accrued_per_unit, tolerance_of
from services.domain.code import ExecutionType
from services.domain.event import CapturedTrade, EnrichedTrade
from services.domain.reason import Reason
from services.domain.record import date, replace
from services.domain.reference import ReferenceData
from services.enrichment.state import DoubtedTrade

_NOTHING = Decimal(0)


def accrued_of(
    reference: ReferenceData, trade: CapturedTrade, isin: str, settlement_date: date
) -> Decimal | AccrualProblem:
    """Accrued interest of a trade in a bond. A cancellation takes back whatever there was, and needs no terms."""
    given = trade.accrued_interest_amount
    is_cancel = trade.execution_type is ExecutionType.TRADE_CANCEL
    if is_cancel:
        return _NOTHING if given is None else money.round_amount(given, currency=trade.currency)
    per_unit = accrued_per_unit(reference, isin, settlement_date)
    if type(per_unit) is AccrualProblem and (given is None or per_unit.reason is Reason.SETTLEMENT_OUTSIDE_BOND_LIFE):
        return per_unit
    if given is not None:
        return money.round_amount(given, currency=trade.currency)
    assert type(per_unit) is Fraction
    return accrued_amount(per_unit, trade.quantity, currency=trade.currency)


def doubt_about(reference: ReferenceData, trade: EnrichedTrade) -> DoubtedTrade | None:
    """What the bond's terms say against the accrued interest that was reported; None when nothing does."""
    if trade.accrued_interest_amount is None or trade.execution_type is ExecutionType.TRADE_CANCEL:
        return None
    return anew(
        reference,
        DoubtedTrade(
            order_id=trade.order_id,
            isin=trade.isin,
            trade_date=trade.trade_date,
            settlement_date=trade.settlement_date,
            quantity=trade.quantity,
            currency=trade.currency,
            accrued_interest=trade.accrued_interest,
            reason=Reason.ACCRUED_INTEREST_DIFFERS,
            details={},
        ),
    )


def anew(reference: ReferenceData, doubt: DoubtedTrade) -> DoubtedTrade | None:
    """The doubt as today's reference data has it; None when it is dispelled."""
    per_unit = accrued_per_unit(reference, doubt.isin, doubt.settlement_date)
    if type(per_unit) is not Fraction:
        return None  # without terms there is nothing to compare with
    computed = accrued_amount(per_unit, doubt.quantity, currency=doubt.currency)
    face, on = doubt.quantity, doubt.trade_date
    tolerance = tolerance_of(reference, currency=doubt.currency, face_amount=face, on=on)
    if abs(money.add(doubt.accrued_interest, -computed)) <= tolerance:
        return None
    details = {
        "isin": doubt.isin,
        "settlement_date": doubt.settlement_date.isoformat(),
        "reported": f"{doubt.accrued_interest:f}",
        "computed": f"{computed:f}",
        "tolerance": f"{tolerance.normalize(money.EXACT):f}",
        "currency": doubt.currency,
    }
    return replace(doubt, details=details)
