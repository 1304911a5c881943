"""The settlement stage: confirmed trades in, instructions with their messages out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from services.domain.code import ExceptionStatus, Function
from services.domain.errors import MessageInvalid
from services.domain.event import ConfirmedTrade, SettlementInstruction, SettlementMessage
from services.domain.exceptions import About, exception_event, value_of_amount
from services.domain.reason import Reason
from services.domain.record import Record
from services.settlement import cancelling, rules
from services.settlement.state import Instructed, Refused
from services.stage import Outcome, Publish, Received, State, Suppress

Render = Callable[[SettlementInstruction], str]
"""Pure: gives the text of the message, or raises services.domain.errors.MessageInvalid."""


class SettlementStage:
    """Instructs each confirmed allocation exactly once; see the package for the contract."""

    name = "settlement"
    state_types: tuple[type[Record], ...] = (Instructed, Refused)
    suppress_causes: tuple[str, ...] = ("duplicate", "still_refused", "nothing_to_cancel")

    def __init__(self, render: Render) -> None:
        """Take the function that writes and validates a message; it belongs to an adapter."""
        self._render = render

    def process(self, batch: Sequence[Received], state: State, now_us: int) -> list[Outcome]:
        """Settle each confirmed trade of the batch in order. Raises TypeError for any other event: our own bug."""
        outcomes: list[Outcome] = []
        for received in batch:
            trade = received.event
            if type(trade) is not ConfirmedTrade:  # isinstance of a struct goes through ABCMeta: ten times slower
                raise TypeError(f"event on {received.topic} was {type(trade).__name__}, expected ConfirmedTrade")
            outcomes.extend(self._settle(trade, state, now_us, received.timestamp_us))
        return outcomes

    def on_time(self, state: State, now_us: int) -> list[Outcome]:
        """Do nothing: no work of settlement waits for time."""
        return []

    def _settle(self, trade: ConfirmedTrade, state: State, now_us: int, received_at_us: int) -> list[Outcome]:
        instructed = state.get(Instructed, trade.allocation_id)
        if trade.function is Function.CANCEL:
            return self._take_back(trade, instructed, state, now_us, received_at_us)
        if instructed is not None:
            conflict = rules.conflict(trade, instructed)
            return [Suppress(cause="duplicate")] if conflict is None else _refuse(trade, conflict, state, now_us)
        refusal = rules.refusal(trade)
        if refusal is not None:
            return _refuse(trade, refusal, state, now_us)
        instruction = rules.instruction_for(trade)
        try:
            text = self._render(instruction)
        except MessageInvalid as error:
            return _refuse(trade, rules.message_refusal(error), state, now_us)
        return _instruct(trade, instruction, text, state, now_us)

    def _take_back(
        self, trade: ConfirmedTrade, instructed: Instructed | None, state: State, now_us: int, received_at_us: int
    ) -> list[Outcome]:
        """Cancel what was instructed for the trade, or forget that it was refused."""
        if instructed is not None and instructed.is_cancelled:
            return [Suppress(cause="duplicate")]
        outcomes: list[Outcome] = []
        if instructed is not None:
            cancellation = cancelling.cancellation_of(trade)
            outcomes += _published(cancellation, self._render(cancellation))
            late = cancelling.late(trade, instructed.instruction_id, received_at_us)
            if late is not None:
                outcomes.append(_exception(trade, late, ExceptionStatus.OPEN, now_us))
        refused = state.get(Refused, trade.allocation_id)
        if refused is not None:
            state.delete(Refused, trade.allocation_id)
            outcomes.append(_closing(refused, "The trade was taken back.", now_us))
        state.put(trade.allocation_id, cancelling.taken_back(trade, instructed))
        return outcomes or [Suppress(cause="nothing_to_cancel")]


def _instruct(
    trade: ConfirmedTrade, instruction: SettlementInstruction, text: str, state: State, now_us: int
) -> list[Outcome]:
    key = instruction.instruction_id
    outcomes = _published(instruction, text)
    state.put(trade.allocation_id, Instructed(instruction_id=key, fingerprint=rules.fingerprint(trade)))
    refused = state.get(Refused, trade.allocation_id)
    if refused is not None:
        state.delete(Refused, trade.allocation_id)
        outcomes.append(_closing(refused, f"The trade came again and was instructed as {key}.", now_us))
    return outcomes


def _published(instruction: SettlementInstruction, text: str) -> list[Outcome]:
    key = instruction.instruction_id
    return [
        Publish(topic="settlement.instructions", key=key, event=instruction),
        Publish(topic="settlement.messages", key=key, event=SettlementMessage(instruction_id=key, text=text)),
    ]


def _refuse(trade: ConfirmedTrade, refusal: rules.Refusal, state: State, now_us: int) -> list[Outcome]:
    """Keep the trade and show the reason once: again only when the reason or its sentence changed."""
    before = state.get(Refused, trade.allocation_id)
    state.put(trade.allocation_id, Refused(trade=trade, reason=refusal.reason.value, message=refusal.message))
    if before is not None and (before.reason, before.message) == (refusal.reason.value, refusal.message):
        return [Suppress(cause="still_refused")]
    outcomes: list[Outcome] = []
    if before is not None and before.reason != refusal.reason.value:
        why = f"The trade came again and is refused for another reason: {refusal.reason.value}."
        outcomes.append(_closing(before, why, now_us))
    outcomes.append(_exception(trade, refusal, ExceptionStatus.OPEN, now_us))
    return outcomes


def _closing(refused: Refused, message: str, now_us: int) -> Publish:
    closed = rules.Refusal(reason=Reason[refused.reason], message=message, details={})
    return _exception(refused.trade, closed, ExceptionStatus.CLOSED, now_us)


def _exception(trade: ConfirmedTrade, refusal: rules.Refusal, status: ExceptionStatus, now_us: int) -> Publish:
    event = exception_event(
        service=SettlementStage.name,
        reason=refusal.reason,
        status=status,
        about=About(trade.allocation_id, trade.order_id, value_of_amount(trade.settlement_amount, trade.currency)),
        message=refusal.message,
        details=refusal.details,
        now_us=now_us,
    )
    return Publish(topic="exceptions", key=event.exception_id, event=event)
