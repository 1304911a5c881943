"""`posttrade summary`: what came in and what became of it, counted from the topics themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
import typer

from services.capture.state import execution_fingerprint
from services.commands.cluster import Cluster
from services.commands.scan import read_all
from services.commands.shown import json_line
from services.commands.text import columns
from services.domain import event as ev
from services.domain.code import ExceptionStatus, ExecutionType, Function
from services.domain.errors import DecodeError
from services.domain.reason import Reason
from services.domain.record import Record, doc
from services.engine.codec import TopicCodec
from services.engine.log import Log, LogRecord

TOPICS = (
    "front-office.executions",
    "front-office.fix",
    "trades.captured",
    "trades.enriched",
    "trades.allocated",
    "confirmations.received",
    "trades.confirmed",
    "settlement.instructions",
    "exceptions",
    "dead-letters",
)
DEAD_LETTERS = "dead-letters"


class Summary(Record, kw_only=True):
    """The whole service in numbers."""

    executions: Annotated[
        int, doc("Execution reports that can be read, on front-office.executions and front-office.fix.")
    ]
    duplicates: Annotated[int, doc("Of these, reports that repeat the content of an earlier one.")]
    captured: Annotated[int, doc("Trade versions: fills, corrections and cancellations that were booked.")]
    enriched: Annotated[int, doc("Trade versions with everything reference data adds.")]
    allocations: Annotated[int, doc("Allocated trades that stand, by allocation id.")]
    confirmations: Annotated[int, doc("Of these, those that the counterparty confirmed.")]
    instructions: Annotated[int, doc("Settlement instructions that stand, by instruction id.")]
    cancelled_instructions: Annotated[int, doc("Settlement instructions that were sent and cancelled.")]
    repeated_instructions: Annotated[
        int, doc("Records beyond one instruction and one cancellation of an id; anything but 0 is a fault.")
    ]
    exceptions: Annotated[int, doc("Exceptions whose latest status is open.")]
    exceptions_by_reason: Annotated[dict[str, int], doc("The same by reason.")]
    exceptions_closed: Annotated[int, doc("Exceptions that were open and are closed.")]
    dead_letters: Annotated[int, doc("Records that could not be read or processed.")]
    dead_letters_by_class: Annotated[dict[str, int], doc("The same by err.class.")]
    unallocated_orders: Annotated[int, doc("Enriched orders with live fills that are in no allocation yet.")]
    unconfirmed_allocations: Annotated[int, doc("Allocated trades that are not confirmed.")]
    unmatched_confirmations: Annotated[int, doc("Confirmations received that confirm no allocation.")]
    p50_ms: Annotated[int | None, doc("Half of the instructions were out so soon after the last fill came in, ms.")]
    p99_ms: Annotated[int | None, doc("99 of 100 instructions were out so soon after the last fill came in, ms.")]


@dataclass
class _Counts:
    executions: int = 0
    captured: int = 0
    contents: Counter[str] = field(default_factory=Counter)
    enriched: dict[tuple[str, int], ev.EnrichedTrade] = field(default_factory=dict)
    allocated: dict[str, ev.AllocatedTrade] = field(default_factory=dict)
    confirmed: dict[str, ev.ConfirmedTrade] = field(default_factory=dict)
    received: set[tuple[str, str]] = field(default_factory=set)
    instructions: Counter[str] = field(default_factory=Counter)
    cancellations: Counter[str] = field(default_factory=Counter)
    exceptions: dict[str, ev.ExceptionEvent] = field(default_factory=dict)
    dead_letters: Counter[str] = field(default_factory=Counter)
    waits_ms: list[int] = field(default_factory=list)


def summarise(log: Log, codec: TopicCodec) -> Summary:
    """Count everything that is committed now. Raises LogError when a topic is missing."""
    return summarise_records(read_all(log, TOPICS), codec)


def summarise_records(records: Iterable[LogRecord], codec: TopicCodec) -> Summary:
    """Count records of `TOPICS`, each partition in the order of its offsets."""
    counts = _Counts()
    for record in records:
        if record.topic == DEAD_LETTERS:
            counts.dead_letters[_error_class(record)] += 1
            continue
        try:
            event = codec.decode(record.topic, record.value)
        except DecodeError:  # an input that cannot be read; it is counted where it went, among the dead letters
            continue
        _count(counts, event, record)
    return _summary(counts)


def _count(counts: _Counts, event: Record, record: LogRecord) -> None:
    match event:
        case ev.EnrichedTrade():
            counts.enriched[event.trade_id, event.version] = event
        case ev.CapturedTrade():
            counts.captured += 1
        case ev.Execution():
            counts.executions += 1
            counts.contents[execution_fingerprint(event)] += 1
        case ev.ConfirmedTrade(function=Function.CANCEL):
            counts.confirmed.pop(event.allocation_id, None)
        case ev.ConfirmedTrade():
            counts.confirmed[event.allocation_id] = event
        case ev.AllocatedTrade(function=Function.CANCEL):
            counts.allocated.pop(event.allocation_id, None)
        case ev.AllocatedTrade():
            counts.allocated[event.allocation_id] = event
        case ev.ReceivedConfirmation():
            counts.received.add((event.sender, event.confirmation_id))
        case ev.SettlementInstruction(function=Function.CANCEL):
            counts.cancellations[event.instruction_id] += 1
        case ev.SettlementInstruction():
            counts.instructions[event.instruction_id] += 1
            counts.waits_ms.append(max(0, record.timestamp_ms - event.received_at_us // 1000))
        case ev.ExceptionEvent():
            counts.exceptions[event.exception_id] = event


def _summary(counts: _Counts) -> Summary:
    still_open = [event for event in counts.exceptions.values() if event.status is ExceptionStatus.OPEN]
    matched = {(trade.counterparty, trade.confirmation_id) for trade in counts.confirmed.values()}
    return Summary(
        executions=counts.executions,
        duplicates=counts.contents.total() - len(counts.contents),
        captured=counts.captured,
        enriched=len(counts.enriched),
        allocations=len(counts.allocated),
        confirmations=len(counts.confirmed),
        instructions=len(counts.instructions.keys() - counts.cancellations.keys()),
        cancelled_instructions=len(counts.cancellations),
        repeated_instructions=sum(one.total() - len(one) for one in (counts.instructions, counts.cancellations)),
        exceptions=len(still_open),
        exceptions_by_reason=dict(sorted(Counter(event.reason for event in still_open).items())),
        exceptions_closed=len(counts.exceptions) - len(still_open),
        dead_letters=counts.dead_letters.total(),
        dead_letters_by_class=dict(sorted(counts.dead_letters.items())),
        unallocated_orders=_unallocated_orders(counts),
        unconfirmed_allocations=len(counts.allocated.keys() - counts.confirmed.keys()),
        unmatched_confirmations=len(counts.received - matched),
        p50_ms=percentile(counts.waits_ms, 50),
        p99_ms=percentile(counts.waits_ms, 99),
    )


def _unallocated_orders(counts: _Counts) -> int:
    latest: dict[str, ev.EnrichedTrade] = {}
    for (trade_id, version), trade in sorted(counts.enriched.items()):
        latest[trade_id] = trade
        assert trade.version == version
    allocated = {trade_id for trade in counts.allocated.values() for trade_id in trade.trade_ids}
    live = (trade for trade in latest.values() if trade.execution_type is not ExecutionType.TRADE_CANCEL)
    return len({trade.order_id for trade in live if trade.trade_id not in allocated})


def percentile(values: Sequence[int], percent: int) -> int | None:
    """The smallest value that so many percent of the values do not exceed (nearest rank); None of nothing."""
    if not values:
        return None
    rank = -(-percent * len(values) // 100)
    return sorted(values)[max(rank, 1) - 1]


def _error_class(record: LogRecord) -> str:
    return next((data.decode() for name, data in record.headers if name == "err.class" and data is not None), "unknown")


# --- shown ------------------------------------------------------------------------------------------------------------


def table(summary: Summary) -> str:
    """The numbers as a table for people."""
    rows = [
        ("executions", summary.executions, "reports that can be read"),
        ("  duplicates", summary.duplicates, "repeat an earlier report"),
        ("captured", summary.captured, "fills, corrections, cancellations booked"),
        ("enriched", summary.enriched, "with instrument, dates, charges, counterparty"),
        ("allocations", summary.allocations, "one account's share of a block"),
        ("confirmations", summary.confirmations, "allocations the counterparty confirmed"),
        ("instructions", summary.instructions, "settlement instructions that stand, each once"),
        ("  cancelled", summary.cancelled_instructions, "were sent, and taken back"),
        ("exceptions", summary.exceptions, "open, for the desk"),
        *((f"  {reason}", count, _meaning(reason)) for reason, count in summary.exceptions_by_reason.items()),
        ("  closed", summary.exceptions_closed, "were open, and went on by themselves"),
        ("dead letters", summary.dead_letters, "could not be read or processed"),
        *((f"  {name}", count, "") for name, count in summary.dead_letters_by_class.items()),
        ("unallocated", summary.unallocated_orders, "orders with fills that are in no allocation yet"),
        ("unconfirmed", summary.unconfirmed_allocations, "allocations that wait for the counterparty"),
        ("unmatched", summary.unmatched_confirmations, "confirmations that confirm no allocation"),
    ]
    if summary.repeated_instructions:
        rows.append(("INSTRUCTED TWICE", summary.repeated_instructions, "must be 0: stop the workers and look"))
    shown = columns(("", "count", ""), [(name, f"{count:,}", note) for name, count, note in rows], right=[1])
    return f"{shown}\n{_times(summary)}"


def _meaning(reason: str) -> str:
    known = Reason.__members__.get(reason)
    return known.meaning if known is not None else ""


def _times(summary: Summary) -> str:
    if summary.p50_ms is None or summary.p99_ms is None:
        return "from execution to instruction: nothing was instructed yet"
    return f"from execution to instruction: p50 {_seconds(summary.p50_ms)}, p99 {_seconds(summary.p99_ms)}"


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d} s"


def summary_command(
    context: typer.Context,
    *,
    as_json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Count what came in and what became of it, from the topics themselves."""
    cluster: Cluster = context.obj
    with cluster.log() as log:
        counted = summarise(log, cluster.codec)
    print(json_line(msgspec.to_builtins(counted)) if as_json_ else table(counted))
