"""One call's work on what is remembered: rows of blocks, fills and instructions, and the exceptions about them."""

from __future__ import annotations

from collections.abc import Iterator

from services.allocation.rules import Refusal
from services.allocation.state import AwaitedInstruction, Block, Fill, KeptInstruction
from services.domain.code import ExceptionStatus
from services.domain.event import AllocationInstruction, EnrichedTrade
from services.domain.exceptions import About, ValueAtRisk, exception_event, value_of_amount
from services.domain.reason import Reason
from services.domain.record import replace
from services.stage import Outcome, Publish, State

NAME = "allocation"
OUTPUT_TOPIC = "trades.allocated"
EXCEPTIONS_TOPIC = "exceptions"


class Desk:
    """Reads and writes state, and collects outcomes."""

    def __init__(self, state: State, *, now_us: int) -> None:
        self.outcomes: list[Outcome] = []
        self._state = state
        self._now_us = now_us

    def is_held(self, block_id: str) -> bool:
        """Whether something of the block's order waits for a repair, which nothing may overtake."""
        return self._state.is_held(self._remembered(block_id).order_id)

    # --- rows --------------------------------------------------------------------------------------------------------

    def _block(self, block_id: str, event: EnrichedTrade | AllocationInstruction, timestamp_us: int) -> Block:
        block = self._state.get(Block, block_id)
        if block is None:
            return Block(order_id=event.order_id, trade_date=event.trade_date, last_event_us=timestamp_us)
        return replace(block, last_event_us=max(block.last_event_us, timestamp_us))

    def _remembered(self, block_id: str) -> Block:
        block = self._state.get(Block, block_id)
        assert block is not None, f"block {block_id} is listed but not remembered"
        return block

    def _fills(self, block: Block) -> Iterator[tuple[str, Fill]]:
        """The fills that entered the block, newest first."""
        trade_id = block.newest_fill
        while trade_id is not None:
            fill = self._state.get(Fill, trade_id)
            assert fill is not None, f"fill {trade_id} is linked but not remembered"
            yield trade_id, fill
            trade_id = fill.previous

    def _kept(self, order_id: str, instruction_id: str) -> KeptInstruction | None:
        return self._state.get(KeptInstruction, _instruction_key(order_id, instruction_id))

    def _awaited(self, order_id: str, instruction_id: str) -> AwaitedInstruction | None:
        return self._state.get(AwaitedInstruction, _instruction_key(order_id, instruction_id))

    def _await(self, order_id: str, instruction_id: str, change_id: str) -> None:
        self._state.put(_instruction_key(order_id, instruction_id), AwaitedInstruction(change_id=change_id))

    def _forget_awaited(self, order_id: str, instruction_id: str) -> None:
        self._state.delete(AwaitedInstruction, _instruction_key(order_id, instruction_id))

    def _listed(self, block: Block, instruction_id: str) -> KeptInstruction:
        kept = self._kept(block.order_id, instruction_id)
        assert kept is not None, f"instruction {instruction_id} is listed but not remembered"
        return kept

    def _keep(self, kept: KeptInstruction) -> None:
        self._state.put(_instruction_key(kept.instruction.order_id, kept.instruction.instruction_id), kept)

    # --- exceptions --------------------------------------------------------------------------------------------------

    def _exchange(
        self,
        before: Reason | None,
        refusal: Refusal | None,
        *,
        subject: str,
        order_id: str,
        value: ValueAtRisk | None = None,
    ) -> None:
        """Open and close exactly what changed; trouble for the same reason stays one exception, published once."""
        if before is (refusal.reason if refusal else None):
            return
        if before is not None:
            self._close(before, subject=subject, order_id=order_id)
        if refusal is not None:
            self._open(refusal, subject=subject, order_id=order_id, value=value)

    def _open(self, refusal: Refusal, *, subject: str, order_id: str, value: ValueAtRisk | None = None) -> None:
        self._say(ExceptionStatus.OPEN, refusal, subject=subject, order_id=order_id, value=value)

    def _close(self, reason: Reason, *, subject: str, order_id: str) -> None:
        gone = Refusal(reason=reason, message="Closed: the cause is gone.", details={})
        self._say(ExceptionStatus.CLOSED, gone, subject=subject, order_id=order_id, value=None)

    def _say(
        self, status: ExceptionStatus, refusal: Refusal, *, subject: str, order_id: str, value: ValueAtRisk | None
    ) -> None:
        event = exception_event(
            service=NAME,
            reason=refusal.reason,
            status=status,
            about=About(subject, order_id, value),
            message=refusal.message,
            details=refusal.details,
            now_us=self._now_us,
        )
        self.outcomes.append(Publish(topic=EXCEPTIONS_TOPIC, key=event.exception_id, event=event))


def value_of_block(block: Block) -> ValueAtRisk | None:
    """The gross amount of its fills so far; None before the first of them."""
    return None if block.terms is None else value_of_amount(block.totals.gross_amount, block.terms.currency)


def _instruction_key(order_id: str, instruction_id: str) -> str:
    return f"{order_id}\x1f{instruction_id}"  # the separator cannot occur in an id that capture lets through
