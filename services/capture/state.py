"""What capture remembers, under which keys, and how it recognises content.

Keys are derived from the sender's identifiers and of fixed length, so that no sender can choose how long they are.
Content is remembered as a fingerprint. Numbers count by value (1000 and 1000.00 are the same content: Avro and FIX
write them differently) and absent fields are left out, so that an optional field can be added later without turning
every resend of an older report into a conflict.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import Annotated

import msgspec

from services.domain import identity
from services.domain.event import (
    AccountAllocation,
    AllocationInstruction,
    CounterpartyConfirmation,
    Execution,
)
from services.domain.money import EXACT
from services.domain.record import Record, TimestampUs, doc


class SeenExecution(Record, kw_only=True):
    """An accepted execution report, under `execution_subject`. The row of the first report is the row of its trade."""

    fingerprint: Annotated[str, doc("Fingerprint of the report's content.")]
    trade_id: Annotated[str, doc("The trade; also the key of the row of its first report.")]
    order_id: Annotated[str, doc("Order of the trade.")]
    version: Annotated[int, doc("First report: the trade's latest version. Later report: the one it made, or 0.")]
    is_cancelled: Annotated[bool, doc("First report: whether the trade is cancelled. Later report: whether it did so.")]
    effective_time_us: Annotated[
        TimestampUs,
        doc("Later report: when it counts. First report: when the change that stands counts; 0 without one."),
    ] = 0


class WaitingReport(Record, kw_only=True):
    """A correction or cancellation that came before the report it names, under `execution_subject`."""

    execution: Annotated[Execution, doc("The report.")]
    fingerprint: Annotated[str, doc("Fingerprint of its content.")]
    received_at_us: Annotated[TimestampUs, doc("When it entered the log.")]


class AwaitedReport(Record, kw_only=True):
    """A report that others wait for, under the `execution_subject` it will have."""

    by: Annotated[tuple[str, ...], doc("Subjects of what waits, in order of arrival.")]


class SeenMessage(Record, kw_only=True):
    """An accepted allocation instruction or confirmation, under `instruction_subject` or `confirmation_subject`."""

    fingerprint: Annotated[str, doc("Fingerprint of the message's content.")]


class FragmentedInstruction(Record, kw_only=True):
    """An allocation instruction that comes in fragments, under `instruction_subject`."""

    common: Annotated[AllocationInstruction | None, doc("What all fragments say; empty once all of them are there.")]
    allocations: Annotated[tuple[AccountAllocation, ...], doc("The accounts that have come; empty as well.")]
    fingerprints: Annotated[tuple[str, ...], doc("Contents of the fragments that have come.")]


class RefusedMessage(Record, kw_only=True):
    """What was refused under one subject."""

    fingerprints: Annotated[tuple[str, ...], doc("Contents that were refused, oldest first.")]
    open_reasons: Annotated[tuple[str, ...], doc("Reasons of the exceptions that are open.")]


REFUSED_CONTENTS_MAX = 32
"""Contents remembered per subject; a sender that varies more than this is told again, under the same exception id."""

EXECUTION_CONTENT = (
    "sender",
    "execution_id",
    "execution_type",
    "execution_reference_id",
    "order_id",
    "account",
    "side",
    "security_id",
    "security_id_source",
    "quantity",
    "price",
    "price_type",
    "currency",
    "venue",
    "trade_date",
    "transaction_time_us",
    "settlement_type",
    "requested_settlement_date",
    "counterparty",
    "cumulative_quantity",
    "leaves_quantity",
    "accrued_interest_amount",
    "commission",
    "commission_type",
    "commission_currency",
    "contract_multiplier",
)
"""What makes two reports the same: all but `possible_duplicate`. A new optional field belongs at the end."""

INSTRUCTION_CONTENT = (
    "sender",
    "instruction_id",
    "transaction_type",
    "reference_id",
    "order_id",
    "side",
    "security_id",
    "security_id_source",
    "quantity",
    "average_price",
    "trade_date",
    "allocations",
    "total_allocations",
    "last_fragment",
    "executions",
)
"""What makes two allocation instructions the same: all of it."""

SHARE_CONTENT = ("account", "quantity", "individual_allocation_id")
"""What makes two shares of an allocation instruction the same: all of it."""

ALLOCATED_EXECUTION_CONTENT = ("execution_id", "quantity", "price")
"""What makes two fills that an allocation instruction names the same: all of it."""

CONFIRMATION_CONTENT = (
    "sender",
    "confirmation_id",
    "allocation_reference",
    "account",
    "side",
    "isin",
    "quantity",
    "price",
    "currency",
    "net_amount",
    "trade_date",
    "settlement_date",
    "gross_amount",
    "commission",
    "charges",
    "accrued_interest",
    "transaction_type",
    "reference_id",
    "confirmation_status",
)
"""What makes two confirmations the same: all of it."""

_LEFT_OUT_WHEN_EMPTY = "executions"
"""A list that was added later: where it is empty, the content is that of the messages before."""

_normalize = EXACT.normalize
_FINGERPRINT_BYTES = 16
_SUBJECT_BYTES = 10
_SUBJECT_CHARACTERS = 16  # all 80 bits


def execution_subject(execution: Execution, *, execution_id: str | None = None) -> str:
    """Key of a report: FIX says ExecID is unique per sender and day; the two sides of one trade are told apart.

    For a first report this is its trade id. `execution_id` asks for another report of the same sender, day and side.
    """
    return identity.trade_id(
        sender=execution.sender,
        trade_date=execution.trade_date,
        execution_id=execution.execution_id if execution_id is None else execution_id,
        side=execution.side,
    )


def instruction_subject(instruction: AllocationInstruction) -> str:
    """Key of an allocation instruction: AllocID is unique per sender."""
    return _subject("AI", instruction.sender, instruction.instruction_id)


def confirmation_subject(confirmation: CounterpartyConfirmation) -> str:
    """Key of a confirmation: ConfirmID is unique per sender."""
    return _subject("CF", confirmation.sender, confirmation.confirmation_id)


def _subject(prefix: str, sender: str, identifier: str) -> str:
    content = msgspec.msgpack.encode((sender, identifier))
    digest = hashlib.blake2b(content, digest_size=_SUBJECT_BYTES).digest()
    return prefix + identity.base32(digest, characters=_SUBJECT_CHARACTERS)


def execution_fingerprint(execution: Execution) -> str:
    """Recognise the content of an execution report."""
    return _fingerprint(_content(execution, EXECUTION_CONTENT))


def instruction_fingerprint(instruction: AllocationInstruction) -> str:
    """Recognise the content of an allocation instruction; the order of its accounts counts."""
    return _fingerprint(_content(instruction, INSTRUCTION_CONTENT))


def confirmation_fingerprint(confirmation: CounterpartyConfirmation) -> str:
    """Recognise the content of a confirmation."""
    return _fingerprint(_content(confirmation, CONFIRMATION_CONTENT))


def _fingerprint(content: list[object]) -> str:
    return hashlib.blake2b(msgspec.msgpack.encode(content), digest_size=_FINGERPRINT_BYTES).hexdigest()


def _content(record: Record, names: tuple[str, ...]) -> list[object]:
    content: list[object] = []
    for name in names:
        value = getattr(record, name)
        if value is None or (not value and name == _LEFT_OUT_WHEN_EMPTY):
            continue
        content.append(name)
        kind = type(value)  # asked once, in the loop: a call for each field took as long again as all the rest
        if kind is Decimal:
            content.append(str(_normalize(value)) if value else "0")
        elif kind is tuple:
            parts = SHARE_CONTENT if name == "allocations" else ALLOCATED_EXECUTION_CONTENT
            content.append([_content(part, parts) for part in value])
        else:
            content.append(value)
    return content
