"""A confirmed trade that is taken back: its instruction is cancelled under its id; what was refused is forgotten."""

from __future__ import annotations

from datetime import UTC, datetime

from services.domain.code import Function
from services.domain.event import ConfirmedTrade, SettlementInstruction
from services.domain.reason import Reason
from services.domain.record import replace
from services.settlement import rules
from services.settlement.state import Instructed


def cancellation_of(trade: ConfirmedTrade) -> SettlementInstruction:
    """Ask for the cancellation of what was instructed for the trade."""
    return replace(rules.instruction_for(trade), function=Function.CANCEL)


def taken_back(trade: ConfirmedTrade, instructed: Instructed | None) -> Instructed:
    """What is remembered of an allocation that will never be instructed again."""
    if instructed is None:
        return Instructed(instruction_id="", fingerprint=rules.fingerprint(trade), is_cancelled=True)
    return replace(instructed, is_cancelled=True)


def late(trade: ConfirmedTrade, instruction_id: str, received_at_us: int) -> rules.Refusal | None:
    """Say when the cancellation comes on the settlement date or after it: then the instruction may have settled.

    By the date alone, UTC, of the record that takes the trade back; the depository's status is what decides.
    """
    today = datetime.fromtimestamp(received_at_us // 1_000_000, tz=UTC).date()
    if today < trade.settlement_date:
        return None
    return rules.Refusal(
        reason=Reason.INSTRUCTION_CANCELLED_LATE,
        message=f"Instruction {instruction_id} was cancelled on {today.isoformat()}; its settlement date is "
        f"{trade.settlement_date.isoformat()}, so it may have settled.",
        details={"instruction_id": instruction_id, "settlement_date": trade.settlement_date.isoformat()},
    )
