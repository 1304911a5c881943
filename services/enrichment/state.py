"""What enrichment remembers, per trade id: trades that wait for data, and refusals that a later version may lift."""

from __future__ import annotations

from typing import Annotated

from services.domain.event import CapturedTrade
from services.domain.record import Record, doc


class WaitingTrade(Record, kw_only=True):
    """A trade that waits for reference data, and its later versions, which must not overtake it. Key: trade_id."""

    trades: Annotated[tuple[CapturedTrade, ...], doc("Versions in order of arrival; the first is the one that waits.")]
    reason: Annotated[str, doc("Code of the Reason the first one waits for; its exception is open.")]
    details: Annotated[dict[str, str], doc("What is missing, as the open exception says it.")]


class RefusedTrade(Record, kw_only=True):
    """A version was refused and its exception is open; the next version closes it. Key: trade_id."""

    reason: Annotated[str, doc("Code of the Reason of the open exception.")]
    details: Annotated[dict[str, str], doc("What was found, as the open exception says it.")]
