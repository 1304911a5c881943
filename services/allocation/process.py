"""The allocation stage: fills and instructions meet in a block; what is decided about it is in rules and division."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from services.allocation import allocate_by, division, rules
from services.allocation.rules import Refusal
from services.allocation.state import (
    SINGLETON,
    Block,
    Fill,
    FillStatus,
    InstructionStatus,
    KeptInstruction,
    NextDeadline,
    OpenBlock,
    Share,
    Terms,
    WaitingBlock,
    WaitingShare,
)
from services.domain import identity
from services.domain.code import AllocationPolicy, AllocationTransactionType, ExceptionStatus, ExecutionType
from services.domain.event import AllocationInstruction, EnrichedTrade, ExceptionEvent, SettlementChain
from services.domain.money import add
from services.domain.reason import Reason
from services.domain.record import Record, replace
from services.domain.reference import Account, ReferenceData
from services.stage import Outcome, Publish, Received, State, Suppress

NAME = "allocation"
OUTPUT_TOPIC = "trades.allocated"
EXCEPTIONS_TOPIC = "exceptions"

UNALLOCATED_AFTER_US = 15 * 60 * 1_000_000
"""Time a block may go without an event before the desk is told that it is unfinished."""

OUTCOMES_PER_CALL_MAX = 5_000
"""About this many outcomes in one call of on_time, so that a late data file cannot make a transaction too large; the
rest follows at the next call."""


class AllocationStage:
    """The Stage (services.stage) that turns fills and instructions into allocated trades."""

    name = NAME
    state_types: tuple[type[Record], ...] = (
        Block, Fill, KeptInstruction, WaitingBlock, WaitingShare, OpenBlock, NextDeadline, *allocate_by.STATE_TYPES,
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


_Overdue = tuple[list[tuple[str, OpenBlock]], int | None]


class _Desk:
    """One call's work: reads and writes state, and collects outcomes."""

    def __init__(self, state: State, *, now_us: int, unallocated_after_us: int) -> None:
        self.outcomes: list[Outcome] = []
        self._state = state
        self._now_us = now_us
        self._unallocated_after_us = unallocated_after_us

    def is_held(self, block_id: str) -> bool:
        """Whether something of the block's order waits for a repair, which nothing may overtake."""
        return self._state.is_held(self._remembered(block_id).order_id)

    # --- fills -------------------------------------------------------------------------------------------------------

    def take_fill(self, trade: EnrichedTrade, timestamp_us: int) -> None:
        """Bring a report into its block, unless it was seen or comes after the allocation."""
        known = self._state.get(Fill, trade.trade_id)
        if known is not None and trade.version <= known.version:
            self.outcomes.append(Suppress(cause="duplicate"))
            return
        block_id = known.block_id if known else _block_id_of(trade)
        block = self._block(block_id, trade, timestamp_us)
        if block.allocated_quantity > 0:
            self._take_late_fill(trade, known, block_id)
        else:
            block = self._take_fill_in_time(trade, known, block, block_id)
        self._advance(block_id, block)

    def _take_late_fill(self, trade: EnrichedTrade, known: Fill | None, block_id: str) -> None:
        fill = known or rules.fill_of(trade, block_id=block_id, status=FillStatus.LATE, previous=None)
        refusal = rules.too_late(trade, known)
        open_reason = self._exchange_fill_exception(trade, known, refusal)
        self._state.put(trade.trade_id, replace(fill, version=trade.version, open_reason=open_reason))

    def _take_fill_in_time(self, trade: EnrichedTrade, known: Fill | None, block: Block, block_id: str) -> Block:
        own = known.quantity if known and known.status is FillStatus.LIVE else 0
        others_live = block.totals.quantity > own
        refusal: Refusal | None = None
        status = FillStatus.CANCELLED
        terms = block.terms if others_live else None
        if trade.execution_type is not ExecutionType.TRADE_CANCEL:
            refusal = rules.contradiction(trade, block, terms)
            status = FillStatus.LIVE if refusal is None else FillStatus.CONTRADICTS
        previous = known.previous if known else block.newest_fill
        fill = rules.fill_of(trade, block_id=block_id, status=status, previous=previous)
        open_reason = self._exchange_fill_exception(trade, known, refusal)
        if open_reason is not None:
            fill = replace(fill, open_reason=open_reason)
        self._state.put(trade.trade_id, fill)
        if status is FillStatus.LIVE or block.terms is None:
            block = replace(block, terms=rules.terms_of(trade))
        if known is None:
            return rules.with_fill(replace(block, newest_fill=trade.trade_id), fill)
        return rules.recounted(block, (linked for _, linked in self._fills(block)))

    def _exchange_fill_exception(
        self, trade: EnrichedTrade, known: Fill | None, refusal: Refusal | None
    ) -> Reason | None:
        """Close what was open for the trade if that is gone, open what is found now; say what is open."""
        before = known.open_reason if known else None
        now = refusal.reason if refusal else None
        if before is not None and before is not now:
            self._close(before, subject=trade.trade_id, order_id=trade.order_id)
        if refusal is not None:
            self._open(refusal, subject=trade.trade_id, order_id=trade.order_id)
        return now

    def _fills(self, block: Block) -> Iterator[tuple[str, Fill]]:
        """The fills that entered the block, newest first."""
        trade_id = block.newest_fill
        while trade_id is not None:
            fill = self._state.get(Fill, trade_id)
            assert fill is not None, f"fill {trade_id} is linked but not remembered"
            yield trade_id, fill
            trade_id = fill.previous

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
        block = self._block(block_id, instruction, timestamp_us)
        if instruction.transaction_type is AllocationTransactionType.NEW:
            block = self._enqueue(instruction, block, block_id)
        else:
            block = self._change(instruction, block, block_id)
        self._advance(block_id, block)

    def _enqueue(self, instruction: AllocationInstruction, block: Block, block_id: str) -> Block:
        self._keep(KeptInstruction(block_id=block_id, status=InstructionStatus.PENDING, instruction=instruction))
        return replace(block, pending=(*block.pending, instruction.instruction_id))

    def _change(self, change: AllocationInstruction, block: Block, block_id: str) -> Block:
        """Replace or cancel an instruction of which nothing is allocated; a replacement takes the original's place."""
        original = self._kept(change.order_id, change.reference_id) if change.reference_id else None
        if original is None or not _can_change(original, change, block_id):
            self._keep(KeptInstruction(block_id=block_id, status=InstructionStatus.ENDED, instruction=change))
            self._refuse_instruction(change, rules.unsupported_change(change))
            return block
        if original.reason is not None:
            subject = _subject_of(original.instruction)
            self._close(original.reason, subject=subject, order_id=change.order_id)
        self._keep(replace(original, status=InstructionStatus.ENDED, reason=None))
        original_id = original.instruction.instruction_id
        if change.transaction_type is AllocationTransactionType.CANCEL:
            self._keep(KeptInstruction(block_id=block_id, status=InstructionStatus.ENDED, instruction=change))
            return replace(block, pending=tuple(name for name in block.pending if name != original_id))
        if original.status is InstructionStatus.REFUSED:
            return self._enqueue(change, block, block_id)
        self._keep(KeptInstruction(block_id=block_id, status=InstructionStatus.PENDING, instruction=change))
        pending = tuple(change.instruction_id if name == original_id else name for name in block.pending)
        return replace(block, pending=pending)

    def _refuse_instruction(self, instruction: AllocationInstruction, refusal: Refusal) -> None:
        self._open(refusal, subject=_subject_of(instruction), order_id=instruction.order_id)

    def _kept(self, order_id: str, instruction_id: str) -> KeptInstruction | None:
        return self._state.get(KeptInstruction, _instruction_key(order_id, instruction_id))

    def _keep(self, kept: KeptInstruction) -> None:
        self._state.put(_instruction_key(kept.instruction.order_id, kept.instruction.instruction_id), kept)

    # --- blocks ------------------------------------------------------------------------------------------------------

    def _block(self, block_id: str, event: EnrichedTrade | AllocationInstruction, timestamp_us: int) -> Block:
        block = self._state.get(Block, block_id)
        if block is None:
            return Block(order_id=event.order_id, trade_date=event.trade_date, last_event_us=timestamp_us)
        return replace(block, last_event_us=max(block.last_event_us, timestamp_us))

    def _advance(self, block_id: str, block: Block) -> None:
        """Do with the block whatever can be done now; the one place where a block is written."""
        missing: Refusal | None = None
        if rules.is_complete(block) and (block.left_quantity > 0 or block.pending):
            terms = block.terms
            assert terms is not None, "a block that is complete has fills, and these gave it terms"
            policy = block.policy or self._policy_of(block, terms)
            if policy is None:
                missing = division.missing_block_account(block, terms)
            else:
                block, missing = self._allocate_by_policy(block_id, block, terms, policy)
                block = self._judge_pending(block_id, block, terms, policy)
        self._exchange_block_wait(block_id, block, missing)
        self._index(block_id, block)
        self._state.put(block_id, block)

    def _policy_of(self, block: Block, terms: Terms) -> AllocationPolicy | None:
        account = self._state.reference.find(Account, terms.account, on=block.trade_date)
        return None if account is None else account.allocation_policy

    def _allocate_by_policy(
        self, block_id: str, block: Block, terms: Terms, policy: AllocationPolicy
    ) -> tuple[Block, Refusal | None]:
        """Divide the block if its account has a standing rule; say what reference data is missing for that."""
        if policy is AllocationPolicy.EXPLICIT or block.left_quantity == 0:
            return block, None
        if policy is AllocationPolicy.SINGLE:
            whole = division.Portion(account=terms.account, quantity=block.totals.quantity, ordinal=0)
            return self._allocate(block_id, block, terms, policy, source=policy.value, portions=(whole,)), None
        portions = division.by_template(block, terms, self._state.reference)
        if type(portions) is Refusal:
            return block, portions
        return self._allocate(block_id, block, terms, policy, source=policy.value, portions=portions), None

    def _judge_pending(self, block_id: str, block: Block, terms: Terms, policy: AllocationPolicy) -> Block:
        for instruction_id in block.pending:
            kept = self._kept(block.order_id, instruction_id)
            assert kept is not None, f"instruction {instruction_id} is pending but not remembered"
            instruction = kept.instruction
            refusal = rules.judge(instruction, block=block, terms=terms, policy=policy, reference=self._state.reference)
            if refusal is not None:
                self._keep(replace(kept, status=InstructionStatus.REFUSED, reason=refusal.reason))
                self._refuse_instruction(instruction, refusal)
                continue
            self._keep(replace(kept, status=InstructionStatus.APPLIED))
            portions = _portions_of(instruction)
            block = self._allocate(block_id, block, terms, policy, source=instruction_id, portions=portions)
        return replace(block, pending=())

    def _allocate(
        self,
        block_id: str,
        block: Block,
        terms: Terms,
        policy: AllocationPolicy,
        *,
        source: str,
        portions: tuple[division.Portion, ...],
    ) -> Block:
        """Give portions of the block away: each is published, or waits for its account's data."""
        composition = self._composition(block)
        for share in division.shares_of(block, terms, block_id=block_id, source=source, portions=portions):
            self._release(share, block, terms, composition)
        given = add(block.allocated_quantity, *[portion.quantity for portion in portions])
        assert given <= block.totals.quantity, "more was given away than the block has"
        return replace(block, allocated_quantity=given, policy=policy)

    def _composition(self, block: Block) -> division.Composition:
        live = [(trade_id, fill) for trade_id, fill in self._fills(block) if fill.status is FillStatus.LIVE]
        return division.composition_of(block, live)

    def _release(self, share: Share, block: Block, terms: Terms, composition: division.Composition) -> None:
        """Publish a share if its account can settle it; otherwise let it wait, under one exception that says why."""
        found = division.find_account_chain(share, block=block, terms=terms, reference=self._state.reference)
        waiting = self._state.get(WaitingShare, share.allocation_id)
        missing = found if type(found) is Refusal else None
        self._exchange_wait(waiting.reason if waiting else None, missing, subject=share.allocation_id, block=block)
        if missing is not None:
            self._state.put(share.allocation_id, WaitingShare(reason=missing.reason, share=share))
            return
        assert type(found) is SettlementChain
        if waiting is not None:
            self._state.delete(WaitingShare, share.allocation_id)
        trade = division.allocated_trade(share, block=block, terms=terms, composition=composition, chain=found)
        self.outcomes.append(Publish(topic=OUTPUT_TOPIC, key=trade.match_key, event=trade))

    def _exchange_block_wait(self, block_id: str, block: Block, missing: Refusal | None) -> None:
        waiting = self._state.get(WaitingBlock, block_id)
        self._exchange_wait(waiting.reason if waiting else None, missing, subject=block_id, block=block)
        if missing is not None:
            self._state.put(block_id, WaitingBlock(reason=missing.reason))
        elif waiting is not None:
            self._state.delete(WaitingBlock, block_id)

    def _exchange_wait(self, before: Reason | None, missing: Refusal | None, *, subject: str, block: Block) -> None:
        """Open and close exactly what changed; a wait for the same reason stays one exception, published once."""
        now = missing.reason if missing else None
        if before is now:
            return
        if before is not None:
            self._close(before, subject=subject, order_id=block.order_id)
        if missing is not None:
            self._open(missing, subject=subject, order_id=block.order_id)

    def retry_block(self, block_id: str) -> None:
        """Try to divide a block that waited."""
        self._advance(block_id, self._remembered(block_id))

    def retry_share(self, allocation_id: str) -> None:
        """Try to publish a share that waited, with the cash it was given."""
        waiting = self._state.get(WaitingShare, allocation_id)
        assert waiting is not None, f"share {allocation_id} was listed as waiting"
        block = self._remembered(waiting.share.block_id)
        assert block.terms is not None, "a block that has shares has fills, and these gave it terms"
        self._release(waiting.share, block, block.terms, self._composition(block))

    def _remembered(self, block_id: str) -> Block:
        block = self._state.get(Block, block_id)
        assert block is not None, f"block {block_id} is listed but not remembered"
        return block

    # --- deadlines ---------------------------------------------------------------------------------------------------

    def _index(self, block_id: str, block: Block) -> None:
        """Keep OpenBlock in step with the block, and close BLOCK_UNALLOCATED when nothing is left to do."""
        row = self._state.get(OpenBlock, block_id)
        if not rules.is_open(block):
            if row is not None:
                self._state.delete(OpenBlock, block_id)
                allocate_by.end(self._state, block_id, block, self._close)
            if row is not None and row.overdue:
                self._close(Reason.BLOCK_UNALLOCATED, subject=block_id, order_id=block.order_id)
            return
        allocate_by.begin(self._state, block_id, block)
        if row is None:
            self._state.put(block_id, OpenBlock())
            self._note_deadline(self._deadline_of(block))

    def _note_deadline(self, due_at_us: int) -> None:
        earliest = self._state.get(NextDeadline, SINGLETON)
        if earliest is None or due_at_us < earliest.due_at_us:
            self._state.put(SINGLETON, NextDeadline(due_at_us=due_at_us))

    def overdue_blocks(self) -> _Overdue | None:
        """The blocks whose time is up, and when that of the next one is. One look at one row when none can be.

        None when there is nothing to do: all that is overdue is held, as was known before. It keeps its deadline, so it
        is asked for at each call; nothing else that a call does changes it.
        """
        earliest = self._state.get(NextDeadline, SINGLETON)
        if earliest is None or self._now_us < earliest.due_at_us:
            return None
        due, next_due_at_us = self._state.due(OpenBlock, self._due_at_us, self._now_us)
        first_due_at_us = min((self._deadline_of(self._remembered(block_id)) for block_id, _ in due), default=None)
        if first_due_at_us == earliest.due_at_us and all(self.is_held(block_id) for block_id, _ in due):
            return None
        return due, next_due_at_us

    def show_overdue_blocks(self, overdue: _Overdue | None) -> None:
        """Open BLOCK_UNALLOCATED for each of them that is not held."""
        if overdue is None:
            return
        due, next_due_at_us = overdue
        self._state.delete(NextDeadline, SINGLETON)
        if next_due_at_us is not None:
            self._note_deadline(next_due_at_us)
        for block_id, row in due:
            block = self._remembered(block_id)
            if len(self.outcomes) >= OUTCOMES_PER_CALL_MAX or self._state.is_held(block.order_id):
                self._note_deadline(self._deadline_of(block))
                continue
            self._open(rules.overdue(block), subject=block_id, order_id=block.order_id)
            self._state.put(block_id, replace(row, overdue=True))

    def show_allocate_by(self) -> None:
        """Show the blocks whose market's deadline is near or has passed."""
        has_room = lambda: len(self.outcomes) < OUTCOMES_PER_CALL_MAX  # noqa: E731  # asked before each of them
        allocate_by.show_due(self._state, self._now_us, has_room, self.is_held, self._open, self._close)

    def _deadline_of(self, block: Block) -> int:
        return block.last_event_us + self._unallocated_after_us

    def _due_at_us(self, block_id: str, row: OpenBlock, _: State) -> int | None:
        """When the desk is told; the last event of the block decides, and each event moves it back."""
        return None if row.overdue else self._deadline_of(self._remembered(block_id))

    # --- exceptions --------------------------------------------------------------------------------------------------

    def _open(self, refusal: Refusal, *, subject: str, order_id: str) -> None:
        self._say(ExceptionStatus.OPEN, refusal, subject=subject, order_id=order_id)

    def _close(self, reason: Reason, *, subject: str, order_id: str) -> None:
        gone = Refusal(reason=reason, message="Closed: the cause is gone.", details={})
        self._say(ExceptionStatus.CLOSED, gone, subject=subject, order_id=order_id)

    def _say(self, status: ExceptionStatus, refusal: Refusal, *, subject: str, order_id: str) -> None:
        key = identity.exception_id(service=NAME, subject=subject, reason=refusal.reason)
        event = ExceptionEvent(
            exception_id=key,
            status=status,
            service=NAME,
            reason=refusal.reason.value,
            subject_id=subject,
            order_id=order_id,
            message=refusal.message,
            details=refusal.details,
            raised_at_us=self._now_us,
        )
        self.outcomes.append(Publish(topic=EXCEPTIONS_TOPIC, key=key, event=event))


def _block_id_of(event: EnrichedTrade | AllocationInstruction) -> str:
    return identity.block_id(order_id=event.order_id, trade_date=event.trade_date)


def _instruction_key(order_id: str, instruction_id: str) -> str:
    return f"{order_id}\x1f{instruction_id}"  # the separator cannot occur in an id that capture lets through


def _subject_of(instruction: AllocationInstruction) -> str:
    return f"{instruction.sender}/{instruction.instruction_id}"


def _can_change(original: KeptInstruction, change: AllocationInstruction, block_id: str) -> bool:
    """Only what has given nothing away, in the same block, by the same sender."""
    return (
        original.status in (InstructionStatus.PENDING, InstructionStatus.REFUSED)
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
