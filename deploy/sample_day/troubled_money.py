"""Money worth following: accrued interest, commissions, yen and taxes; most of it is no trouble, some of it is."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from deploy.sample_day import catalogue
from deploy.sample_day.dealer import SINGLE_FILL, Dealer, Order, Wish
from deploy.sample_day.flow import Flow
from deploy.sample_day.plain import settled, stuck
from services.domain.code import CommissionType, InstrumentType, Side
from services.domain.event import Execution
from services.domain.money import add
from services.domain.reason import Reason
from services.domain.record import replace

_DEBT = (InstrumentType.GOVERNMENT_BOND, InstrumentType.CORPORATE_BOND)
_EQUITY = (InstrumentType.EQUITY,)
_BOND_MARKETS = (catalogue.US, catalogue.GB, catalogue.DE)
_SHARES = Wish(instrument_types=_EQUITY, markets=(catalogue.US, catalogue.GB, catalogue.DE, catalogue.FR))
_OFF_BY = Decimal(250)
"""Far more than any tolerance on one fill of the day."""


def _settled(dealer: Dealer, wish: Wish, *, open_reasons: tuple[Reason, ...] = (), **changes: Any) -> Flow:
    order = dealer.order(wish)
    executions = [replace(execution, **changes) for execution in dealer.executions(order)]
    return _told(dealer, order, executions, open_reasons=open_reasons)


def _told(dealer: Dealer, order: Order, executions: list[Execution], *, open_reasons: tuple[Reason, ...] = ()) -> Flow:
    return settled(dealer, order, dealer.front_office(order, executions), open_reasons=open_reasons)


# --- accrued interest ------------------------------------------------------------------------------------------------


def accrued_computed(dealer: Dealer, number: int) -> Flow:
    """A bond without accrued interest in its reports."""
    market = _BOND_MARKETS[number % len(_BOND_MARKETS)]
    return _settled(dealer, Wish(instrument_types=_DEBT, markets=(market,)), accrued_interest_amount=None)


def ex_dividend(dealer: Dealer, _number: int) -> Flow:
    """A gilt that settles without its next coupon."""
    return _settled(dealer, Wish(security=catalogue.EX_DIVIDEND), accrued_interest_amount=None)


def accrued_differs(dealer: Dealer, _number: int) -> Flow:
    """Reported interest that the terms contradict; it is settled, and shown."""
    order = dealer.order(replace(SINGLE_FILL, instrument_types=_DEBT, markets=_BOND_MARKETS))
    (execution,) = dealer.executions(order)
    wrong = add(execution.accrued_interest_amount or Decimal(0), _OFF_BY)
    executions = [replace(execution, accrued_interest_amount=wrong)]
    return _told(dealer, order, executions, open_reasons=(Reason.ACCRUED_INTEREST_DIFFERS,))


# --- commissions and currencies --------------------------------------------------------------------------------------


def commission_per_unit(dealer: Dealer, _number: int) -> Flow:
    """Two cents a share."""
    return _settled(dealer, _SHARES, commission=Decimal("0.02"), commission_type=CommissionType.PER_UNIT)


def commission_percent(dealer: Dealer, _number: int) -> Flow:
    """Five basis points of the gross amount."""
    return _settled(dealer, _SHARES, commission=Decimal("0.0005"), commission_type=CommissionType.PERCENT)


def commission_absolute(dealer: Dealer, _number: int) -> Flow:
    """So much for each fill."""
    return _settled(dealer, _SHARES, commission=Decimal("9.90"), commission_type=CommissionType.ABSOLUTE)


def commission_per_bond(dealer: Dealer, _number: int) -> Flow:
    """A quarter for each thousand of face amount."""
    wish = Wish(instrument_types=_DEBT, markets=_BOND_MARKETS)
    return _settled(dealer, wish, commission=Decimal("0.25"), commission_type=CommissionType.PER_BOND)


def commission_currency(dealer: Dealer, _number: int) -> Flow:
    """A commission in another currency than the trade."""
    order = dealer.order(replace(SINGLE_FILL, instrument_types=_EQUITY, markets=(catalogue.GB,)))
    executions = [
        replace(
            execution,
            commission=Decimal(10),
            commission_type=CommissionType.ABSOLUTE,
            commission_currency="USD",
        )
        for execution in dealer.executions(order)
    ]
    reasons = (Reason.COMMISSION_UNSUITABLE,) * len(executions)
    return stuck(order, dealer.reported(executions), open_reasons=reasons)


def yen(dealer: Dealer, _number: int) -> Flow:
    """A Japanese share, with a commission that is no whole yen before it is rounded."""
    wish = Wish(instrument_types=_EQUITY, markets=(catalogue.JP,))
    return _settled(dealer, wish, commission=Decimal("0.00037"), commission_type=CommissionType.PERCENT)


# --- taxes -----------------------------------------------------------------------------------------------------------


def taxed_in_britain(dealer: Dealer, _number: int) -> Flow:
    """A purchase above 10,000 pounds."""
    wish = replace(SINGLE_FILL, instrument_types=_EQUITY, markets=(catalogue.GB,), side=Side.BUY)
    return _settled(dealer, wish)


def charged_in_america(dealer: Dealer, _number: int) -> Flow:
    """A sale of American shares."""
    wish = replace(SINGLE_FILL, instrument_types=_EQUITY, markets=(catalogue.US,), side=Side.SELL)
    return _settled(dealer, wish)


def taxed_in_france(dealer: Dealer, _number: int) -> Flow:
    """A purchase of French shares."""
    wish = replace(SINGLE_FILL, instrument_types=_EQUITY, markets=(catalogue.FR,), side=Side.BUY)
    return _settled(dealer, wish)
