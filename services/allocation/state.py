"""What allocation remembers.

Rows are small and none grows with the number of fills: a block names its newest fill, each fill the one before it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from services.domain.code import AllocationPolicy, InstrumentType, PriceType, Side
from services.domain.event import AllocationInstruction, Charge, SettlementChain
from services.domain.reason import Reason
from services.domain.record import Amount, Decimal, Price, Quantity, Record, TimestampUs, date, doc


class FillStatus(StrEnum):
    """What a fill is to its block."""

    LIVE = "LIVE"
    """Part of the block."""
    CANCELLED = "CANCELLED"
    """Taken back; its report still says how far the order is."""
    CONTRADICTS = "CONTRADICTS"
    """Of other terms than the block; neither it nor its report counts."""
    LATE = "LATE"
    """Not linked to the block: so were, in earlier versions of this service, fills that came after its allocation."""


class Fill(Record, kw_only=True):
    """The latest report of one trade; key: trade_id."""

    block_id: Annotated[str, doc("Block of the first report.")]
    version: Annotated[int, doc("Newest version seen.")]
    status: Annotated[FillStatus, doc("What the fill is to its block.")]
    previous: Annotated[str | None, doc("Trade id of the fill that entered the block before this one.")] = None
    open_reason: Annotated[Reason | None, doc("Exception that is open for this trade.")] = None
    execution_id: Annotated[str, doc("FIX ExecID of the report.")]
    transaction_time_us: Annotated[TimestampUs, doc("Time of the execution.")]
    quantity: Annotated[Quantity, doc("Units or face amount.")]
    price: Annotated[Price, doc("Price of the fill.")]
    gross_amount: Annotated[Amount, doc("Cash without interest and charges.")]
    accrued_interest: Annotated[Amount, doc("Accrued interest.")]
    charges: Annotated[tuple[Charge, ...], doc("Fees, taxes and levies.")]
    venue: Annotated[str, doc("ISO 10383.")]
    cumulative_quantity: Annotated[Quantity, doc("Filled quantity of the order, as reported.")]
    leaves_quantity: Annotated[Quantity, doc("Open quantity of the order, as reported.")]
    received_at_us: Annotated[TimestampUs, doc("When the report entered the log.")]


class Terms(Record, kw_only=True):
    """What all fills of a block have in common."""

    account: Annotated[str, doc("Block account.")]
    side: Annotated[Side, doc("Side of the order.")]
    isin: Annotated[str, doc("ISO 6166.")]
    instrument_type: Annotated[InstrumentType, doc("Type of the instrument.")]
    settlement_market: Annotated[str, doc("Market whose settlement instructions apply.")]
    currency: Annotated[str, doc("ISO 4217.")]
    price_type: Annotated[PriceType, doc("Per unit or percent of par.")]
    settlement_date: Annotated[date, doc("Contractual settlement date.")]
    counterparty: Annotated[str, doc("BIC.")]
    counterparty_lei: Annotated[str, doc("LEI, as the newest fill has it.")]
    counterparty_chain: Annotated[SettlementChain, doc("Where it settles, as the newest fill has it.")]


class Totals(Record, kw_only=True):
    """Exact sums over the live fills."""

    quantity: Annotated[Quantity, doc("Filled quantity.")] = Decimal(0)
    value: Annotated[Decimal, doc("Quantity times price, exact and never rounded.")] = Decimal(0)
    gross_amount: Annotated[Amount, doc("Gross amount.")] = Decimal(0)
    accrued_interest: Annotated[Amount, doc("Accrued interest.")] = Decimal(0)
    charges: Annotated[tuple[Charge, ...], doc("One per charge_id, in its order.")] = ()


class Report(Record, kw_only=True, order=True):
    """How far the order was at a report; ordered by time, then execution id, then version."""

    transaction_time_us: Annotated[TimestampUs, doc("Time of the execution.")]
    execution_id: Annotated[str, doc("FIX ExecID.")]
    version: Annotated[int, doc("Version of the trade.")]
    cumulative_quantity: Annotated[Quantity, doc("Filled quantity of the order.")]
    leaves_quantity: Annotated[Quantity, doc("Open quantity of the order.")]


class Block(Record, kw_only=True):
    """All fills of one order on one trade date, and how much of it is given away; key: block_id."""

    order_id: Annotated[str, doc("Order of the block.")]
    trade_date: Annotated[date, doc("Trade date of the block.")]
    last_event_us: Annotated[TimestampUs, doc("Latest log time of an event; the deadline counts from here.")]
    terms: Annotated[Terms | None, doc("Empty until the first fill.")] = None
    totals: Annotated[Totals, doc("Sums over the live fills.")] = Totals()
    latest: Annotated[Report | None, doc("Latest report of the fills, cancelled ones included.")] = None
    newest_fill: Annotated[str | None, doc("Trade id of the fill that entered last; start of the links.")] = None
    allocated_quantity: Annotated[Quantity, doc("Given away.")] = Decimal(0)
    policy: Annotated[AllocationPolicy | None, doc("Policy in force since the first allocation.")] = None
    pending: Annotated[tuple[str, ...], doc("Instruction ids not yet judged, in the order of their topic.")] = ()
    judged: Annotated[
        tuple[str, ...], doc("Instruction ids applied or refused, in that order, before the pending.")
    ] = ()
    version: Annotated[int, doc("Of the division: one more each time that something given away is taken back.")] = 1
    newest_share: Annotated[str | None, doc("Allocation id of the share given last; start of their links.")] = None

    @property
    def left_quantity(self) -> Decimal:
        """What is still to be given away, once the block is complete."""
        return self.totals.quantity - self.allocated_quantity


class InstructionStatus(StrEnum):
    """Fate of an allocation instruction."""

    PENDING = "PENDING"
    """Waits for its block to be complete."""
    APPLIED = "APPLIED"
    """Its shares were allocated."""
    REFUSED = "REFUSED"
    """Judged and refused; may still be replaced or cancelled."""
    ENDED = "ENDED"
    """Replaced, cancelled, or itself a change that is done, was refused, or waits for what it names."""


class KeptInstruction(Record, kw_only=True):
    """An instruction that was seen; key: order id and instruction id."""

    block_id: Annotated[str, doc("Block it is for.")]
    status: Annotated[InstructionStatus, doc("What became of it.")]
    reason: Annotated[Reason | None, doc("Why it was refused.")] = None
    instruction: Annotated[AllocationInstruction, doc("Its content, to tell a repetition from a conflict.")]
    was_applied: Annotated[bool, doc("Taken back: pending until its block is complete again, or refused since.")] = (
        False
    )


class AwaitedInstruction(Record, kw_only=True):
    """An instruction that a replacement or cancellation names before it came; key: order id and its instruction id."""

    change_id: Annotated[str, doc("Id of the change that waits; the first to name it.")]


class Share(Record, kw_only=True):
    """One account's share with its cash, fixed when the block was divided."""

    allocation_id: Annotated[str, doc("Id of the allocation.")]
    block_id: Annotated[str, doc("Block it is a share of.")]
    account: Annotated[str, doc("Account that settles.")]
    reference: Annotated[str | None, doc("Sender's id of the share.")]
    quantity: Annotated[Quantity, doc("Units or face amount.")]
    gross_amount: Annotated[Amount, doc("Part of the gross amount.")]
    accrued_interest: Annotated[Amount, doc("Part of the accrued interest.")]
    charges: Annotated[tuple[Charge, ...], doc("Part of each charge.")]
    net_amount: Annotated[Amount, doc("Cash to settle.")]


class GivenShare(Record, kw_only=True):
    """A share that stands, published or waiting; key: allocation_id. With its block it says all that was published."""

    share: Annotated[Share, doc("The share, cash included.")]
    source: Annotated[str, doc("AllocID of the instruction, TEMPLATE or SINGLE.")]
    ordinal: Annotated[int, doc("Place in the instruction or template.")]
    version: Annotated[int, doc("Version of the division.")]
    chain: Annotated[SettlementChain | None, doc("Where its account settles, as published; empty while it waits.")]
    previous: Annotated[str | None, doc("Allocation id of the share given before this one.")]


class WaitingShare(Record, kw_only=True):
    """A share whose account or settlement instruction is missing; key: allocation_id."""

    reason: Annotated[Reason, doc("Exception that is open for it.")]
    share: Annotated[Share, doc("The share, cash included.")]


class WaitingBlock(Record, kw_only=True):
    """A complete block that cannot be divided for want of reference data; key: block_id."""

    reason: Annotated[Reason, doc("Exception that is open for it.")]


class OpenBlock(Record, kw_only=True):
    """Index of the blocks that are not finished; key: block_id."""

    overdue: Annotated[bool, doc("Whether BLOCK_UNALLOCATED is open for it.")] = False


class NextDeadline(Record, kw_only=True):
    """One row under `SINGLETON`: before this time no open block can be due."""

    due_at_us: Annotated[TimestampUs, doc("Lower bound; events only move deadlines back.")]


SINGLETON = "-"
"""Key of tables with one row."""
