"""Everything that happened to one trade, found by any of its ids: a pure function over decoded records.

Two steps. First the id is resolved to what it stands for: trades (fills), orders, allocations, confirmations. Then
every record that belongs to these is gathered. An allocation or an instruction stands for its own share alone, with the
fills behind it; a trade, an order or a report for everything that was made of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from services.capture.state import confirmation_subject, execution_subject, instruction_subject
from services.domain import event as ev
from services.domain.code import ExceptionStatus, Function
from services.domain.record import Record
from services.engine.log import LogRecord

MESSAGES = "settlement.messages"
DEAD_LETTERS = "dead-letters"
TOPICS = (
    "front-office.executions",
    "front-office.fix",
    "front-office.allocations",
    "trades.captured",
    "trades.allocation-requests",
    "trades.enriched",
    "trades.allocated",
    "counterparty.confirmations",
    "confirmations.received",
    "trades.confirmed",
    "confirmations.status",
    "settlement.instructions",
    MESSAGES,
    "exceptions",
    DEAD_LETTERS,
)
"""Where a trade leaves traces, in the order of its way."""

_RANK = {topic: rank for rank, topic in enumerate(TOPICS)}

ConfirmationKey = tuple[str, str]
"""Sender and the sender's id."""


class Seen(NamedTuple):
    """A record and the event in it; None where it holds no event or cannot be read."""

    record: LogRecord
    event: Record | None


class History(NamedTuple):
    """What happened, in order, and how it stands."""

    entries: tuple[Seen, ...]
    instructions: tuple[ev.SettlementInstruction, ...]
    open_exceptions: tuple[ev.ExceptionEvent, ...]


@dataclass
class _Focus:
    """What an id stands for."""

    trades: set[str] = field(default_factory=set)
    orders: set[str] = field(default_factory=set)
    """Orders concerned; their allocation instructions and exceptions belong to the history."""
    allocations: set[str] = field(default_factory=set)
    confirmations: set[ConfirmationKey] = field(default_factory=set)
    instructions: set[str] = field(default_factory=set)
    subjects: set[str] = field(default_factory=set)
    """Further names that exceptions may be about."""

    def __bool__(self) -> bool:
        return bool(self.trades or self.orders or self.allocations or self.confirmations or self.subjects)


class _Index:
    """The records by what they are about."""

    def __init__(self, records: Iterable[Seen]) -> None:
        self.records = [seen for seen in records if seen.record.topic in _RANK]
        self.events = [seen.event for seen in self.records if seen.event is not None]
        self.captured = [event for event in self.events if type(event) is ev.CapturedTrade]
        self.allocated = {event.allocation_id: event for event in self.events if type(event) is ev.AllocatedTrade}
        said = [event for event in self.events if type(event) is ev.ConfirmedTrade]
        ended = {event.allocation_id for event in said if event.function is Function.CANCEL}
        self.confirmed = [event for event in said if event.allocation_id in ended]
        self.confirmed += [event for event in said if event.allocation_id not in ended]  # what stands has the last word
        self.exceptions = [event for event in self.events if type(event) is ev.ExceptionEvent]
        self.siblings = {trade.trade_id for trade in self.captured} | self.allocated.keys()
        self._trade_of_report = {execution_subject(trade): trade.trade_id for trade in self.captured}
        self.confirmed_as: dict[ConfirmationKey, str] = {
            (trade.counterparty, trade.confirmation_id): trade.allocation_id for trade in self.confirmed
        }

    def trade_of(self, execution: ev.Execution) -> str:
        """The trade a report belongs to: as it was captured, else by what it refers to, else its own."""
        if isinstance(execution, ev.CapturedTrade):
            return execution.trade_id
        own = execution_subject(execution)
        if own in self._trade_of_report or execution.execution_reference_id is None:
            return self._trade_of_report.get(own, own)
        named = execution_subject(execution, execution_id=execution.execution_reference_id)
        return self._trade_of_report.get(named, named)


def history(records: Iterable[Seen], wanted: str) -> History | None:
    """The history of what `wanted` names; None when nothing is known under that id.

    Known ids: trade, order, ExecID, block, allocation, AllocID, confirmation, instruction, exception.
    """
    index = _Index(records)
    focus = _resolve(index, wanted)
    if not focus:
        return None
    _spread(index, focus)
    _name(index, focus)
    chosen = [seen for seen in index.records if _belongs(index, focus, seen)]
    places = {(seen.record.topic, seen.record.partition, seen.record.offset) for seen in chosen}
    chosen += [seen for seen in index.records if _source_of(seen) in places]
    chosen.sort(
        key=lambda seen: (seen.record.timestamp_ms, _RANK[seen.record.topic], seen.record.partition, seen.record.offset)
    )
    return _told(chosen)


def _told(chosen: Sequence[Seen]) -> History:
    events = [seen.event for seen in chosen]
    instructions = {event.instruction_id: event for event in events if isinstance(event, ev.SettlementInstruction)}
    latest = {event.exception_id: event for event in events if isinstance(event, ev.ExceptionEvent)}
    still_open = (event for event in latest.values() if event.status is ExceptionStatus.OPEN)
    return History(tuple(chosen), tuple(instructions.values()), tuple(still_open))


# --- what the id stands for -------------------------------------------------------------------------------------------


def _resolve(index: _Index, wanted: str) -> _Focus:
    focus = _Focus()
    for event in index.events:
        match event:
            case ev.Execution():
                _resolve_execution(index, focus, event, wanted)
            case ev.AllocationInstruction() if wanted in (event.instruction_id, event.order_id):
                focus.orders.add(event.order_id)
            case ev.AllocatedTrade() if wanted in (event.allocation_id, event.block_id):
                focus.allocations.add(event.allocation_id)
            case ev.SettlementInstruction() if wanted == event.instruction_id:
                focus.allocations.add(event.allocation_id)
            case ev.CounterpartyConfirmation() if wanted == event.confirmation_id:
                focus.confirmations.add((event.sender, event.confirmation_id))
    if not focus:
        _resolve_exception(index, focus, wanted)
    return focus


def _resolve_execution(index: _Index, focus: _Focus, event: ev.Execution, wanted: str) -> None:
    trade = index.trade_of(event)
    if wanted == event.order_id:
        focus.orders.add(event.order_id)
    if wanted in (event.order_id, event.execution_id, trade, execution_subject(event)):
        focus.trades.add(trade)


def _resolve_exception(index: _Index, focus: _Focus, wanted: str) -> None:
    """An exception's own id, or a subject that nothing else names."""
    for event in index.exceptions:
        if wanted not in (event.exception_id, event.subject_id):
            continue
        focus.subjects.add(event.subject_id)
        if event.order_id is not None:
            focus.orders.add(event.order_id)
        about = _resolve(index, event.subject_id) if event.subject_id != wanted else _Focus()
        focus.trades |= about.trades
        focus.allocations |= about.allocations
        focus.confirmations |= about.confirmations


def _spread(index: _Index, focus: _Focus) -> None:
    """Follow the links: order → trades → allocations ↔ confirmations, and back from an allocation to its fills."""
    focus.allocations |= {
        index.confirmed_as[key] for key in focus.confirmations if key in index.confirmed_as
    } or _candidates(index, focus)
    if focus.allocations:
        for allocation_id in focus.allocations & index.allocated.keys():
            focus.trades |= set(index.allocated[allocation_id].trade_ids)
    else:
        if not focus.trades:
            focus.trades |= {trade.trade_id for trade in index.captured if trade.order_id in focus.orders}
        focus.allocations |= {
            allocated.allocation_id for allocated in index.allocated.values() if focus.trades & set(allocated.trade_ids)
        }
    focus.orders |= {
        event.order_id
        for event in index.events
        if isinstance(event, ev.Execution) and index.trade_of(event) in focus.trades
    }
    focus.confirmations |= {
        (event.sender, event.confirmation_id)
        for event in index.events
        if isinstance(event, ev.CounterpartyConfirmation) and _confirms(index, focus, event)
    }


def _name(index: _Index, focus: _Focus) -> None:
    """Collect the names under which services speak of what is in focus: ids, capture's digests, and `sender/id`."""
    names = focus.subjects
    names |= focus.trades | focus.allocations
    for allocation_id in focus.allocations & index.allocated.keys():
        names.add(index.allocated[allocation_id].block_id)
    for event in index.events:
        match event:
            case ev.Execution() if index.trade_of(event) in focus.trades:
                names.add(execution_subject(event))
            case ev.AllocationInstruction() if event.order_id in focus.orders:
                names |= {instruction_subject(event), f"{event.sender}/{event.instruction_id}"}
            case ev.CounterpartyConfirmation() if (event.sender, event.confirmation_id) in focus.confirmations:
                names |= {confirmation_subject(event), f"{event.sender}/{event.confirmation_id}"}
            case ev.SettlementInstruction() if event.allocation_id in focus.allocations:
                focus.instructions.add(event.instruction_id)


def _candidates(index: _Index, focus: _Focus) -> set[str]:
    """Allocations that an unmatched confirmation may mean: those it quotes, else the unconfirmed of its match key."""
    found: set[str] = set()
    confirmed = {trade.allocation_id for trade in index.confirmed}
    for event in index.events:
        if (
            not isinstance(event, ev.ReceivedConfirmation)
            or (event.sender, event.confirmation_id) not in focus.confirmations
        ):
            continue
        for allocated in index.allocated.values():
            quoted = event.allocation_reference in _names_of(allocated)
            same_key = event.match_key == allocated.match_key and allocated.allocation_id not in confirmed
            if (quoted and event.allocation_reference is not None) or same_key:
                found.add(allocated.allocation_id)
    return found


def _names_of(allocated: ev.AllocatedTrade) -> tuple[str | None, ...]:
    """What a counterparty may quote of it."""
    return allocated.allocation_id, allocated.allocation_reference, allocated.original_allocation_id


def _confirms(index: _Index, focus: _Focus, event: ev.CounterpartyConfirmation) -> bool:
    """Whether a confirmation is about one of the allocations.

    By the match that was made, else by what it quotes, else by the match key.
    """
    matched = index.confirmed_as.get((event.sender, event.confirmation_id))
    if matched is not None:
        return matched in focus.allocations
    ours = [index.allocated[name] for name in focus.allocations & index.allocated.keys()]
    if event.allocation_reference is not None:
        return any(event.allocation_reference in _names_of(share) for share in ours)
    match_key = event.match_key if isinstance(event, ev.ReceivedConfirmation) else None
    return any(match_key == allocated.match_key for allocated in ours)


# --- what belongs to it -----------------------------------------------------------------------------------------------


def _belongs(index: _Index, focus: _Focus, seen: Seen) -> bool:
    event = seen.event
    match event:
        case None:
            return seen.record.topic == MESSAGES and _text(seen.record.key) in focus.instructions
        case ev.Execution():
            return index.trade_of(event) in focus.trades
        case ev.AllocationInstruction():
            return event.order_id in focus.orders
        case ev.AllocatedTrade() | ev.SettlementInstruction():
            return event.allocation_id in focus.allocations
        case ev.CounterpartyConfirmation():
            return (event.sender, event.confirmation_id) in focus.confirmations
        case ev.MatchStatusReport():
            return event.subject_id in focus.subjects
        case ev.ExceptionEvent():
            return _concerns(index, focus, event)
    return False


def _concerns(index: _Index, focus: _Focus, event: ev.ExceptionEvent) -> bool:
    """By its subject; by its order only when the subject is not another trade or allocation of the same order."""
    if event.subject_id in focus.subjects:
        return True
    return event.order_id in focus.orders and event.subject_id not in index.siblings


def _source_of(seen: Seen) -> tuple[str, int, int] | None:
    """Where a dead letter lay before; None for anything else."""
    if seen.record.topic != DEAD_LETTERS:
        return None
    headers = {name: _text(data) for name, data in seen.record.headers}
    partition, offset = headers.get("src.partition"), headers.get("src.offset")
    if partition is None or offset is None or not (partition.isdigit() and offset.isdigit()):
        return None
    return headers.get("src.topic") or "", int(partition), int(offset)


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode(errors="replace")
