"""Decisions of allocation: what belongs to a block, when it is complete, which instruction may be applied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from operator import attrgetter
from typing import final

from services.allocation.state import Block, Fill, FillStatus, Report, Terms, Totals
from services.domain.allocation_reject import allocation_reject_code
from services.domain.code import AllocationPolicy, ExecutionType, SecurityIdSource
from services.domain.event import AllocationInstruction, Charge, EnrichedTrade
from services.domain.money import EXACT, add
from services.domain.reason import Reason
from services.domain.record import Record, replace
from services.domain.reference import Instrument, ReferenceData

BINDING_TERMS = ("account", "side", "isin", "currency", "price_type", "settlement_date", "counterparty")
"""Terms in which all fills of a block agree. The others follow from these through reference data, and the newest fill
has them in their latest state."""

_binding_terms = attrgetter(*BINDING_TERMS)


@final
class Refusal(Record, kw_only=True):
    """Why something cannot be done: the reason, one sentence, and the fields concerned."""

    reason: Reason
    message: str
    details: dict[str, str]


def text(value: object) -> str:
    """Write a value for people: decimals without exponent and without trailing zeros."""
    return format(value.normalize(EXACT), "f") if isinstance(value, Decimal) else str(value)


# --- fills and their block -------------------------------------------------------------------------------------------


def terms_of(trade: EnrichedTrade) -> Terms:
    """The terms a fill would give its block."""
    return Terms(
        account=trade.account,
        side=trade.side,
        isin=trade.isin,
        instrument_type=trade.instrument_type,
        settlement_market=trade.settlement_market,
        currency=trade.currency,
        price_type=trade.price_type,
        settlement_date=trade.settlement_date,
        counterparty=trade.counterparty,
        counterparty_lei=trade.counterparty_lei,
        counterparty_chain=trade.counterparty_chain,
    )


def contradiction(trade: EnrichedTrade, block: Block, terms: Terms | None) -> Refusal | None:
    """Say how the fill differs from the block it belongs to; `terms` are those of the other live fills, if any.

    A correction that moves a fill to another order or trade date contradicts too: the fill is in this block by its id.
    """
    if _agrees(trade, block, terms):
        return None
    ours: list[tuple[str, object]] = [("order_id", block.order_id), ("trade_date", block.trade_date)]
    if terms is not None:
        ours += [(name, getattr(terms, name)) for name in BINDING_TERMS]
    details = {
        name: f"block {text(value)}, fill {text(getattr(trade, name))}"
        for name, value in ours
        if getattr(trade, name) != value
    }
    return Refusal(
        reason=Reason.FILL_CONTRADICTS_BLOCK,
        message=f"Fill {trade.execution_id} differs from its block in {', '.join(details)}; it is not in the block.",
        details=details,
    )


def _agrees(trade: EnrichedTrade, block: Block, terms: Terms | None) -> bool:
    if trade.order_id != block.order_id or trade.trade_date != block.trade_date:
        return False
    return terms is None or _binding_terms(trade) == _binding_terms(terms)


def fill_of(trade: EnrichedTrade, *, block_id: str, status: FillStatus, previous: str | None) -> Fill:
    """What is remembered of a report."""
    return Fill(
        block_id=block_id,
        version=trade.version,
        status=status,
        previous=previous,
        execution_id=trade.execution_id,
        transaction_time_us=trade.transaction_time_us,
        quantity=trade.quantity,
        price=trade.price,
        gross_amount=trade.gross_amount,
        accrued_interest=trade.accrued_interest,
        charges=trade.charges,
        venue=trade.venue,
        cumulative_quantity=trade.cumulative_quantity,
        leaves_quantity=trade.leaves_quantity,
        received_at_us=trade.received_at_us,
    )


def with_fill(block: Block, fill: Fill) -> Block:
    """Count one more fill: its report unless it contradicts, its economics if it is live."""
    if fill.status is FillStatus.CONTRADICTS:
        return block
    report = Report(
        transaction_time_us=fill.transaction_time_us,
        execution_id=fill.execution_id,
        version=fill.version,
        cumulative_quantity=fill.cumulative_quantity,
        leaves_quantity=fill.leaves_quantity,
    )
    latest = report if block.latest is None else max(block.latest, report)
    totals = _with_economics(block.totals, fill) if fill.status is FillStatus.LIVE else block.totals
    return replace(block, latest=latest, totals=totals)


def recounted(block: Block, fills: Iterable[Fill]) -> Block:
    """Count all fills of the block anew, after one of them was corrected or cancelled."""
    block = replace(block, latest=None, totals=Totals())
    for fill in fills:
        block = with_fill(block, fill)
    return block


def _with_economics(totals: Totals, fill: Fill) -> Totals:
    return Totals(
        quantity=EXACT.add(totals.quantity, fill.quantity),
        value=EXACT.add(totals.value, EXACT.multiply(fill.quantity, fill.price)),
        gross_amount=EXACT.add(totals.gross_amount, fill.gross_amount),
        accrued_interest=EXACT.add(totals.accrued_interest, fill.accrued_interest),
        charges=_merged(totals.charges, fill.charges),
    )


def _merged(charges: tuple[Charge, ...], more: tuple[Charge, ...]) -> tuple[Charge, ...]:
    """Add charges up by id and currency, in the order of both."""
    if not more:
        return charges
    sums: dict[tuple[str, str], Charge] = {}
    for charge in (*charges, *more):
        key = (charge.charge_id, charge.currency)
        known = sums.get(key)
        sums[key] = charge if known is None else replace(known, amount=add(known.amount, charge.amount))
    return tuple(sums[key] for key in sorted(sums))


def is_complete(block: Block) -> bool:
    """Whether the order is done and every fill is here: only then may anything be judged or divided."""
    latest = block.latest
    return latest is not None and latest.leaves_quantity == 0 and latest.cumulative_quantity == block.totals.quantity


def is_open(block: Block) -> bool:
    """Whether fills, allocations or judgements are still to come."""
    if block.pending:
        return True
    if block.newest_fill is None:
        return False
    return not is_complete(block) or block.left_quantity > 0


def overdue(block: Block) -> Refusal:
    """What the desk is told when a block is not finished in time."""
    latest = block.latest
    expected = "unknown" if latest is None else text(add(latest.cumulative_quantity, latest.leaves_quantity))
    details = {
        "order_id": block.order_id,
        "trade_date": text(block.trade_date),
        "filled": text(block.totals.quantity),
        "allocated": text(block.allocated_quantity),
        "expected": expected,
    }
    if block.pending:
        details["pending_instructions"] = ", ".join(block.pending)
    state = "is not fully allocated" if is_complete(block) else "is not complete"
    return Refusal(
        reason=Reason.BLOCK_UNALLOCATED,
        message=f"The block of order {block.order_id} {state}: {details['filled']} filled, {expected} expected, "
        f"{details['allocated']} allocated.",
        details=details,
    )


# --- reports for a block that cannot be divided anew -----------------------------------------------------------------


def too_late(trade: EnrichedTrade, known: Fill | None) -> Refusal | None:
    """Judge a report for a block whose shares are not remembered. None: it takes back what was never in the block."""
    details = {
        "execution_id": trade.execution_id,
        "execution_type": text(trade.execution_type),
        "version": text(trade.version),
        "quantity": text(trade.quantity),
        "price": text(trade.price),
    }
    if known is not None and known.status is FillStatus.LIVE:
        return Refusal(
            reason=Reason.AMENDED_AFTER_ALLOCATION,
            message=f"Fill {trade.trade_id} was amended by {trade.execution_id} after its block was allocated; "
            f"allocated were {text(known.quantity)} at {text(known.price)}.",
            details=details,
        )
    if trade.execution_type is ExecutionType.TRADE_CANCEL:
        return None
    return Refusal(
        reason=Reason.FILL_AFTER_ALLOCATION,
        message=f"Fill {trade.execution_id} of {details['quantity']} at {details['price']} came after its block was "
        "allocated; it is not in the block.",
        details=details,
    )


# --- instructions ----------------------------------------------------------------------------------------------------


def judge(
    instruction: AllocationInstruction,
    *,
    block: Block,
    terms: Terms,
    policy: AllocationPolicy,
    reference: ReferenceData,
    fills: Mapping[str, Fill],
) -> Refusal | None:
    """Check an instruction against its complete block: policy, identity, the fills it names, quantities.

    The first failure is reported. `fills` are the live fills by the ExecID of the report that stands.
    """
    if policy is not AllocationPolicy.EXPLICIT:
        return _contradicts(
            instruction,
            f"account {terms.account} allocates by policy {policy}",
            {"allocation_policy": text(policy)},
        )
    if instruction.side.settles_as is not terms.side.settles_as:
        sides = {"side": f"block {terms.side}, instruction {instruction.side}"}
        return _contradicts(instruction, "its side differs from the block", sides)
    if _isin_of(instruction, reference) != terms.isin:
        found = f"{instruction.security_id_source} {instruction.security_id}"
        securities = {"security_id": f"block ISIN {terms.isin}, instruction {found}"}
        return _contradicts(instruction, "its instrument differs from the block", securities)
    return _executions_refusal(instruction, fills) or _quantity_refusal(instruction, block)


def _executions_refusal(instruction: AllocationInstruction, fills: Mapping[str, Fill]) -> Refusal | None:
    """Every fill that is named is in the block, in the report that stands, as the client says it is."""
    for named in instruction.executions:
        fill = fills.get(named.execution_id)
        if fill is None:
            return Refusal(
                reason=Reason.ALLOCATION_EXECUTION_UNKNOWN,
                message=f"Allocation {instruction.instruction_id} names execution {named.execution_id}, which is not "
                "in its block, or was cancelled or corrected.",
                details={"execution_id": named.execution_id},
            )
        pairs = {"quantity": (fill.quantity, named.quantity), "price": (fill.price, named.price)}
        differences = {
            name: f"fill {text(ours)}, instruction {text(theirs)}"
            for name, (ours, theirs) in pairs.items()
            if theirs is not None and ours != theirs
        }
        if differences:
            return Refusal(
                reason=Reason.ALLOCATION_EXECUTION_DIFFERS,
                message=f"Allocation {instruction.instruction_id} names execution {named.execution_id} with another "
                f"{' and '.join(differences)}.",
                details={"execution_id": named.execution_id} | differences,
            )
    return None


def _quantity_refusal(instruction: AllocationInstruction, block: Block) -> Refusal | None:
    quantities = [share.quantity for share in instruction.allocations]
    if any(quantity <= 0 for quantity in quantities):
        return Refusal(
            reason=Reason.QUANTITY_NOT_POSITIVE,
            message=f"Allocation {instruction.instruction_id} gives an account nothing or less.",
            details={share.account: text(share.quantity) for share in instruction.allocations if share.quantity <= 0},
        )
    total = add(*quantities)
    if total != instruction.quantity or not quantities:
        return Refusal(
            reason=Reason.QUANTITIES_DISAGREE,
            message=f"The accounts of allocation {instruction.instruction_id} do not add up to its quantity.",
            details={"quantity": text(instruction.quantity), "sum_of_accounts": text(total)},
        )
    if total > block.left_quantity:
        return Refusal(
            reason=Reason.OVER_ALLOCATION,
            message=f"Allocation {instruction.instruction_id} asks for {text(total)}, the block has "
            f"{text(block.left_quantity)} left; nothing of it was allocated.",
            details={"quantity": text(total), "left": text(block.left_quantity), "filled": text(block.totals.quantity)},
        )
    return None


def with_reject_code(refusal: Refusal) -> Refusal:
    """The refusal of an instruction with the code that FIX has for it, which its sender understands."""
    code = allocation_reject_code(refusal.reason)
    return replace(refusal, details=refusal.details | {"allocation_reject_code": str(code)})


def disqualified(instruction: AllocationInstruction, refusal: Refusal) -> Refusal:
    """What was applied and asks for more than its block has now: the client must replace it."""
    return Refusal(
        reason=Reason.ALLOCATION_DISQUALIFIED,
        message=f"Allocation {instruction.instruction_id} was applied and taken back, for fills of its block were "
        f"changed: it asks for {refusal.details['quantity']}, the block has {refusal.details['left']} left.",
        details=refusal.details,
    )


def _contradicts(instruction: AllocationInstruction, why: str, details: dict[str, str]) -> Refusal:
    return Refusal(
        reason=Reason.ALLOCATION_CONTRADICTS_BLOCK,
        message=f"Allocation {instruction.instruction_id} was refused: {why}.",
        details=details,
    )


def _isin_of(instruction: AllocationInstruction, reference: ReferenceData) -> str | None:
    """ISIN of the instruction's security on its trade date; None when a SEDOL or CUSIP is unknown."""
    if instruction.security_id_source is SecurityIdSource.ISIN:
        return instruction.security_id
    name = f"{instruction.security_id_source}:{instruction.security_id}"
    instrument = reference.find(Instrument, name, on=instruction.trade_date)
    return None if instrument is None else instrument.isin


def conflict(instruction: AllocationInstruction, known: AllocationInstruction) -> Refusal:
    """The same instruction id came with other content; the first one stands."""
    names = [
        name for name in AllocationInstruction.__struct_fields__ if getattr(instruction, name) != getattr(known, name)
    ]
    return Refusal(
        reason=Reason.ALLOCATION_CONFLICTS,
        message=f"Allocation {instruction.instruction_id} came again and differs in {', '.join(names)}; "
        "the first stands.",
        details={
            name: f"first {_brief(getattr(known, name))}, again {_brief(getattr(instruction, name))}" for name in names
        },
    )


def _brief(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"{share.account} {text(share.quantity)}" for share in value)
    return text(value)


def unsupported_change(instruction: AllocationInstruction) -> Refusal:
    """A replacement or cancellation of something that is ended or unknown."""
    return Refusal(
        reason=Reason.ALLOCATION_CHANGE_UNSUPPORTED,
        message=f"{instruction.transaction_type} {instruction.instruction_id} of allocation "
        f"{instruction.reference_id or '(none named)'}: that one is replaced or cancelled, or is not known here.",
        details={
            "reference_id": instruction.reference_id or "",
            "transaction_type": text(instruction.transaction_type),
        },
    )
