"""The allocation stage: fills and instructions meet in a block; what is decided about it is in rules and division."""

from __future__ import annotations

from collections.abc import Sequence

from services.allocation import allocate_by, division, rules
from services.allocation.deadlines import OUTCOMES_PER_CALL_MAX, DeadlineDesk
from services.allocation.desk import NAME, OUTPUT_TOPIC, value_of_block
from services.allocation.giving import Planned, Standing
from services.allocation.rules import Refusal
from services.allocation.state import (
    AwaitedInstruction,
    Block,
    Fill,
    FillStatus,
    GivenShare,
    InstructionStatus,
    KeptInstruction,
    NextDeadline,
    OpenBlock,
    Terms,
    WaitingBlock,
    WaitingShare,
)
from services.domain import identity
from services.domain.code import AllocationPolicy, AllocationTransactionType, ExecutionType
from services.domain.event import AllocationInstruction, EnrichedTrade
from services.domain.exceptions import value_of_amount
from services.domain.money import add
from services.domain.reason import Reason
from services.domain.record import Decimal, Record, replace
from services.domain.reference import Account, ReferenceData
from services.stage import Outcome, Received, State, Suppress

__all__ = ["NAME", "OUTPUT_TOPIC", "AllocationStage"]

_NOTHING = Decimal(0)

UNALLOCATED_AFTER_US = 15 * 60 * 1_000_000
"""Time a block may go without an event before the desk is told that it is unfinished."""


class AllocationStage:
    """The Stage (services.stage) that turns fills and instructions into allocated trades."""

    name = NAME
    state_types: tuple[type[Record], ...] = (
        Block, Fill, KeptInstruction, GivenShare, WaitingBlock, WaitingShare, OpenBlock, NextDeadline,
        AwaitedInstruction, *allocate_by.STATE_TYPES,
    )  # fmt: skip
    suppress_causes: tuple[str, ...] = ("duplicate",)

    def __init__(self, *, unallocated_after_us: int = UNALLOCATED_AFTER_US) -> None:
        """Take the time after which an unfinished block is shown to the desk, in microseconds."""
        self._unallocated_after_us = unallocated_after_us
        # A note of failed tries, not state: a try depends on the waiting row and on reference data alone, so it fails
        # again until the data changes. The note is lost with the process, whose successor counts versions differently
        # and tries everything once; only tries that changed nothing are noted, so an aborted transaction loses none.
        self._reference: ReferenceData | None = None
        self._version = -1
        self._changes_seen = 0
        self._tried: set[str] = set()

    def process(self, batch: Sequence[Received], state: State, now_us: int) -> list[Outcome]:
        """Take fills and instructions in the order given. Raises TypeError for any other event: that is our own bug."""
        desk = _Desk(state, now_us=now_us, unallocated_after_us=self._unallocated_after_us)
        for received in batch:
            event = received.event
            if type(event) is EnrichedTrade:  # isinstance of a struct goes through ABCMeta: ten times slower
                desk.take_fill(event, received.timestamp_us)
            elif type(event) is AllocationInstruction:
                desk.take_instruction(event, received.timestamp_us)
            else:
                raise TypeError(f"event on {received.topic} was {type(event).__name__}, expected fill or instruction")
        return desk.outcomes

    def on_time(self, state: State, now_us: int) -> list[Outcome]:
        """Release what waited for reference data, and show the blocks whose time is up; not while an order is held."""
        desk = _Desk(state, now_us=now_us, unallocated_after_us=self._unallocated_after_us)
        overdue = desk.overdue_blocks()  # asked first: once something is written, the answer costs a walk
        is_tried = self._try_waiting(desk, state)
        if overdue is not None:
            desk.show_overdue_blocks(desk.overdue_blocks() if is_tried else overdue)
        desk.show_allocate_by()
        return desk.outcomes

    def _try_waiting(self, desk: _Desk, state: State) -> bool:
        """Try each waiting row once per change of reference data; say whether there was any.

        Ids of blocks and allocations never agree.
        """
        if state.reference is not self._reference or state.reference.version != self._version:
            self._reference, self._version = state.reference, state.reference.version
            self._changes_seen += 1
            self._tried.clear()
        blocks, _ = state.due(WaitingBlock, self._due_at_change, self._changes_seen)
        shares, _ = state.due(WaitingShare, self._due_at_change, self._changes_seen)
        is_held = desk.is_held  # what is held stays due, and is named at each call until it is free
        tries = [
            *((key, desk.retry_block) for key, _ in blocks if not is_held(key)),
            *((key, desk.retry_share) for key, row in shares if not is_held(row.share.block_id)),
        ]
        for key, try_again in tries:
            if len(desk.outcomes) >= OUTCOMES_PER_CALL_MAX:
                break
            outcomes_before = len(desk.outcomes)
            try_again(key)
            if len(desk.outcomes) == outcomes_before:
                self._tried.add(key)
        return bool(tries)

    def _due_at_change(self, key: str, _: Record, __: State) -> int:
        """The change of reference data, as we count them, that a row is to be tried at: this one, or the next."""
        return self._changes_seen + (key in self._tried)


class _Desk(DeadlineDesk):
    """One call's work: fills and instructions meet in their block."""

    # --- fills -------------------------------------------------------------------------------------------------------

    def take_fill(self, trade: EnrichedTrade, timestamp_us: int) -> None:
        """Bring a report into its block, unless it was seen; a block that was divided is judged again."""
        known = self._state.get(Fill, trade.trade_id)
        if known is not None and trade.version <= known.version:
            self.outcomes.append(Suppress(cause="duplicate"))
            return
        block_id = known.block_id if known else _block_id_of(trade)
        block = self._block(block_id, trade, timestamp_us)
        if _is_frozen(block):
            self._take_late_fill(trade, known, block_id)
            self._advance(block_id, block)
            return
        before = self._standing(block)
        block, is_live = self._enter(trade, known, block, block_id)
        was_live = known is not None and known.status is FillStatus.LIVE
        if (block.judged or before) and (was_live or is_live or not rules.is_complete(block)):
            block = self._reopened(block)
        else:
            before = None
        self._advance(block_id, block, before)

    def _take_late_fill(self, trade: EnrichedTrade, known: Fill | None, block_id: str) -> None:
        fill = known or rules.fill_of(trade, block_id=block_id, status=FillStatus.LATE, previous=None)
        open_reason = self._exchange_fill_exception(trade, known, rules.too_late(trade, known))
        self._state.put(trade.trade_id, replace(fill, version=trade.version, open_reason=open_reason))

    def _enter(self, trade: EnrichedTrade, known: Fill | None, block: Block, block_id: str) -> tuple[Block, bool]:
        """The block with the report in it, and whether its fill is part of it now."""
        own = known.quantity if known and known.status is FillStatus.LIVE else 0
        others_live = block.totals.quantity > own
        refusal: Refusal | None = None
        status = FillStatus.CANCELLED
        terms = block.terms if others_live else None
        if trade.execution_type is not ExecutionType.TRADE_CANCEL:
            refusal = rules.contradiction(trade, block, terms)
            status = FillStatus.LIVE if refusal is None else FillStatus.CONTRADICTS
        is_linked = known is not None and known.status is not FillStatus.LATE
        previous = known.previous if known and is_linked else block.newest_fill
        fill = rules.fill_of(trade, block_id=block_id, status=status, previous=previous)
        open_reason = self._exchange_fill_exception(trade, known, refusal)
        if open_reason is not None:
            fill = replace(fill, open_reason=open_reason)
        self._state.put(trade.trade_id, fill)
        is_live = status is FillStatus.LIVE
        if is_live or block.terms is None:
            block = replace(block, terms=rules.terms_of(trade))
        if not is_linked:
            return rules.with_fill(replace(block, newest_fill=trade.trade_id), fill), is_live
        return rules.recounted(block, (linked for _, linked in self._fills(block))), is_live

    def _exchange_fill_exception(
        self, trade: EnrichedTrade, known: Fill | None, refusal: Refusal | None
    ) -> Reason | None:
        """Close what was open for the trade if that is gone, open what is found now; say what is open."""
        before = known.open_reason if known else None
        now = refusal.reason if refusal else None
        if before is not None and before is not now:
            self._close(before, subject=trade.trade_id, order_id=trade.order_id)
        if refusal is not None:
            value = value_of_amount(trade.net_amount, trade.currency)
            self._open(refusal, subject=trade.trade_id, order_id=trade.order_id, value=value)
        return now

    def _reopened(self, block: Block) -> Block:
        """The block with nothing given and nothing judged: its instructions are judged again, in their order."""
        return replace(
            block, allocated_quantity=_NOTHING, policy=None, judged=(), pending=(*block.judged, *block.pending)
        )

    # --- instructions ------------------------------------------------------------------------------------------------

    def take_instruction(self, instruction: AllocationInstruction, timestamp_us: int) -> None:
        """Put an instruction before its block, unless its id was seen."""
        known = self._kept(instruction.order_id, instruction.instruction_id)
        if known is not None:
            if known.instruction == instruction:
                self.outcomes.append(Suppress(cause="duplicate"))
            else:
                self._refuse_instruction(instruction, rules.conflict(instruction, known.instruction))
            return
        block_id = _block_id_of(instruction)
        block, before = self._block(block_id, instruction, timestamp_us), None
        if instruction.transaction_type is AllocationTransactionType.NEW:
            block = self._enqueue(instruction, block, block_id)
        else:
            block, before = self._change(instruction, block, block_id)
        block = self._apply_awaiting(instruction, block, block_id)
        self._advance(block_id, block, before)

    def _apply_awaiting(self, instruction: AllocationInstruction, block: Block, block_id: str) -> Block:
        """Apply what came before the instruction it changes, link by link; nothing of these was judged yet."""
        order_id, arrived = instruction.order_id, instruction.instruction_id
        awaited = self._awaited(order_id, arrived)
        while awaited is not None:
            self._forget_awaited(order_id, arrived)
            kept = self._kept(order_id, awaited.change_id)
            assert kept is not None, f"change {awaited.change_id} waits but is not remembered"
            original, change = self._kept(order_id, arrived), kept.instruction
            if original is None or not _can_change(original, change, block_id):
                break
            self._close(Reason.ALLOCATION_CHANGE_UNSUPPORTED, subject=_subject_of(change), order_id=order_id)
            block, _ = self._change(change, block, block_id)
            arrived = change.instruction_id
            awaited = self._awaited(order_id, arrived)
        return block

    def _enqueue(self, instruction: AllocationInstruction, block: Block, block_id: str) -> Block:
        self._keep(KeptInstruction(block_id=block_id, status=InstructionStatus.PENDING, instruction=instruction))
        return replace(block, pending=(*block.pending, instruction.instruction_id))

    def _change(self, change: AllocationInstruction, block: Block, block_id: str) -> tuple[Block, Standing | None]:
        """Replace or cancel an instruction, whatever became of it; a replacement takes the original's place."""
        original = self._kept(change.order_id, change.reference_id) if change.reference_id else None
        is_applied = original is not None and original.status is InstructionStatus.APPLIED
        if original is None or not _can_change(original, change, block_id) or (is_applied and _is_frozen(block)):
            self._keep(KeptInstruction(block_id=block_id, status=InstructionStatus.ENDED, instruction=change))
            self._refuse_instruction(change, rules.unsupported_change(change))
            reference_id = change.reference_id
            if original is None and reference_id and self._awaited(change.order_id, reference_id) is None:
                self._await(change.order_id, reference_id, change.instruction_id)
            return block, None
        original_id, before = original.instruction.instruction_id, None
        if original_id in block.judged:
            before = self._standing(block)
            block = self._reopened(block)
        if original.reason is not None:
            subject = _subject_of(original.instruction)
            self._close(original.reason, subject=subject, order_id=change.order_id)
        self._keep(replace(original, status=InstructionStatus.ENDED, reason=None))
        is_cancel = change.transaction_type is AllocationTransactionType.CANCEL
        status = InstructionStatus.ENDED if is_cancel else InstructionStatus.PENDING
        self._keep(KeptInstruction(block_id=block_id, status=status, instruction=change))
        instead = () if is_cancel else (change.instruction_id,)
        place = block.pending.index(original_id) if original_id in block.pending else len(block.pending)
        pending = (*block.pending[:place], *instead, *block.pending[place + 1 :])
        return replace(block, pending=pending), before

    def _refuse_instruction(self, instruction: AllocationInstruction, refusal: Refusal) -> None:
        refusal = rules.with_reject_code(refusal)
        self._open(refusal, subject=_subject_of(instruction), order_id=instruction.order_id)

    # --- blocks ------------------------------------------------------------------------------------------------------

    def _advance(self, block_id: str, block: Block, before: Standing | None = None) -> None:
        """Do with the block whatever can be done now; the one place where a block is written."""
        missing: Refusal | None = None
        shares: list[Planned] = []
        if rules.is_complete(block) and (block.left_quantity > 0 or block.pending):
            terms = block.terms
            assert terms is not None, "a block that is complete has fills, and these gave it terms"
            policy = block.policy or self._policy_of(block, terms)
            if policy is None:
                missing = division.missing_block_account(block, terms)
            else:
                block, missing = self._allocate_by_policy(block_id, block, terms, policy, shares)
                block = self._judge_pending(block_id, block, terms, policy, shares)
        if block.pending:
            self._note_pending(block)
        block = self._give(block, shares, before)
        self._exchange_block_wait(block_id, block, missing)
        self._index(block_id, block)
        self._state.put(block_id, block)

    def _policy_of(self, block: Block, terms: Terms) -> AllocationPolicy | None:
        account = self._state.reference.find(Account, terms.account, on=block.trade_date)
        return None if account is None else account.allocation_policy

    def _allocate_by_policy(
        self, block_id: str, block: Block, terms: Terms, policy: AllocationPolicy, shares: list[Planned]
    ) -> tuple[Block, Refusal | None]:
        """Divide the block if its account has a standing rule; say what reference data is missing for that."""
        if policy is AllocationPolicy.EXPLICIT or block.left_quantity == 0:
            return block, None
        if policy is AllocationPolicy.SINGLE:
            whole = division.Portion(account=terms.account, quantity=block.totals.quantity, ordinal=0)
            return _allocated(block_id, block, terms, policy, policy.value, (whole,), shares), None
        portions = division.by_template(block, terms, self._state.reference)
        if type(portions) is Refusal:
            return block, portions
        return _allocated(block_id, block, terms, policy, policy.value, portions, shares), None

    def _judge_pending(
        self, block_id: str, block: Block, terms: Terms, policy: AllocationPolicy, shares: list[Planned]
    ) -> Block:
        for instruction_id in block.pending:
            kept = self._listed(block, instruction_id)
            instruction = kept.instruction
            refusal = rules.judge(
                instruction,
                block=block,
                terms=terms,
                policy=policy,
                reference=self._state.reference,
                fills=self._named_fills(block) if instruction.executions else {},
            )
            was_applied = _was_applied(kept)
            if refusal is not None and refusal.reason is Reason.OVER_ALLOCATION and was_applied:
                refusal = rules.disqualified(instruction, refusal)
            refusal = None if refusal is None else rules.with_reject_code(refusal)
            self._exchange(kept.reason, refusal, subject=_subject_of(instruction), order_id=instruction.order_id)
            if refusal is not None:
                self._rewrite(kept, InstructionStatus.REFUSED, refusal.reason, was_applied=was_applied)
                continue
            self._rewrite(kept, InstructionStatus.APPLIED, None, was_applied=False)
            portions = _portions_of(instruction)
            block = _allocated(block_id, block, terms, policy, instruction_id, portions, shares)
        return replace(block, pending=(), judged=(*block.judged, *block.pending)) if block.pending else block

    def _named_fills(self, block: Block) -> dict[str, Fill]:
        """The live fills by the ExecID of the report that stands."""
        return {fill.execution_id: fill for _, fill in self._fills(block) if fill.status is FillStatus.LIVE}

    def _rewrite(
        self, kept: KeptInstruction, status: InstructionStatus, reason: Reason | None, *, was_applied: bool
    ) -> None:
        """Write what became of an instruction, unless that is remembered already."""
        row = replace(kept, status=status, reason=reason, was_applied=was_applied)
        if row != kept:
            self._keep(row)

    def _note_pending(self, block: Block) -> None:
        """What was judged once and cannot be judged again yet is pending, as it was at first."""
        for instruction_id in block.pending:
            kept = self._listed(block, instruction_id)
            self._rewrite(kept, InstructionStatus.PENDING, kept.reason, was_applied=_was_applied(kept))

    def _exchange_block_wait(self, block_id: str, block: Block, missing: Refusal | None) -> None:
        waiting = self._state.get(WaitingBlock, block_id)
        before, value = waiting.reason if waiting else None, value_of_block(block) if missing else None
        self._exchange(before, missing, subject=block_id, order_id=block.order_id, value=value)
        if missing is not None:
            self._state.put(block_id, WaitingBlock(reason=missing.reason))
        elif waiting is not None:
            self._state.delete(WaitingBlock, block_id)

    def retry_block(self, block_id: str) -> None:
        """Try to divide a block that waited."""
        self._advance(block_id, self._remembered(block_id))


def _is_frozen(block: Block) -> bool:
    """Whether it was divided by a version of this service that did not remember its shares, and so stays as it is."""
    return block.allocated_quantity > 0 and block.newest_share is None


def _was_applied(kept: KeptInstruction) -> bool:
    return kept.was_applied or kept.status is InstructionStatus.APPLIED


def _allocated(
    block_id: str,
    block: Block,
    terms: Terms,
    policy: AllocationPolicy,
    source: str,
    portions: tuple[division.Portion, ...],
    shares: list[Planned],
) -> Block:
    """The block with these portions given away; adds them to the shares that are to be published."""
    divided = division.shares_of(block, terms, block_id=block_id, source=source, portions=portions)
    shares += [Planned(share, source, portion.ordinal) for share, portion in zip(divided, portions, strict=True)]
    given = add(block.allocated_quantity, *[portion.quantity for portion in portions])
    assert given <= block.totals.quantity, "more was given away than the block has"
    return replace(block, allocated_quantity=given, policy=policy)


def _block_id_of(event: EnrichedTrade | AllocationInstruction) -> str:
    return identity.block_id(order_id=event.order_id, trade_date=event.trade_date)


def _subject_of(instruction: AllocationInstruction) -> str:
    return f"{instruction.sender}/{instruction.instruction_id}"


def _can_change(original: KeptInstruction, change: AllocationInstruction, block_id: str) -> bool:
    """Only what was not replaced or cancelled, in the same block, by the same sender."""
    return (
        original.status is not InstructionStatus.ENDED
        and original.block_id == block_id
        and original.instruction.sender == change.sender
    )


def _portions_of(instruction: AllocationInstruction) -> tuple[division.Portion, ...]:
    return tuple(
        division.Portion(
            account=share.account,
            quantity=share.quantity,
            ordinal=ordinal,
            reference=share.individual_allocation_id or instruction.instruction_id,
        )
        for ordinal, share in enumerate(instruction.allocations)
    )
