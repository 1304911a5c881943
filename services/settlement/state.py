"""What settlement remembers, by allocation_id."""

from __future__ import annotations

from typing import Annotated

from services.domain.event import ConfirmedTrade
from services.domain.record import Record, doc


class Instructed(Record, frozen=True, kw_only=True):
    """The allocation has its instruction, or was taken back; there will be no other."""

    instruction_id: Annotated[str, doc("The instruction that was published; empty if none was before the end.")]
    fingerprint: Annotated[str, doc("Digest of the terms it was made from; tells a duplicate from a conflict.")]
    is_cancelled: Annotated[bool, doc("The trade was taken back, and the instruction cancelled if there was one.")] = (
        False
    )


class Refused(Record, frozen=True, kw_only=True):
    """The confirmed trade could not be instructed, and waits to be sent again repaired."""

    trade: Annotated[ConfirmedTrade, doc("The trade as it was confirmed.")]
    reason: Annotated[str, doc("Code of services.domain.reason.Reason.")]
    message: Annotated[str, doc("The sentence the desk was given.")]
