"""What enrichment remembers, per trade id: trades that wait, refusals that a later version may lift, and doubts."""

from __future__ import annotations

from typing import Annotated

from services.domain.event import CapturedTrade
from services.domain.record import Amount, Quantity, Record, date, doc


class WaitingTrade(Record, kw_only=True):
    """A trade that waits for reference data, and its later versions, which must not overtake it. Key: trade_id."""

    trades: Annotated[tuple[CapturedTrade, ...], doc("Versions in order of arrival; the first is the one that waits.")]
    reason: Annotated[str, doc("Code of the Reason the first one waits for; its exception is open.")]
    details: Annotated[dict[str, str], doc("What is missing, as the open exception says it.")]


class RefusedTrade(Record, kw_only=True):
    """A version was refused and its exception is open; the next version closes it. Key: trade_id."""

    reason: Annotated[str, doc("Code of the Reason of the open exception.")]
    details: Annotated[dict[str, str], doc("What was found, as the open exception says it.")]


class DoubtedTrade(Record, kw_only=True):
    """A version went on with reported accrued interest that the bond's terms contradict, and its exception is open.

    A later version or other terms close it. Key: trade_id.
    """

    order_id: Annotated[str, doc("Order of the trade.")]
    isin: Annotated[str, doc("The bond.")]
    trade_date: Annotated[date, doc("Trade date, by which the tolerance goes.")]
    settlement_date: Annotated[date, doc("Settlement date, up to which interest accrues.")]
    quantity: Annotated[Quantity, doc("Face amount.")]
    currency: Annotated[str, doc("ISO 4217.")]
    accrued_interest: Annotated[Amount, doc("What was reported, and went on.")]
    reason: Annotated[str, doc("Code of the Reason of the open exception.")]
    details: Annotated[dict[str, str], doc("What was found, as the open exception says it.")]
