"""A day as files, and as records of topics: the forms in which it is kept and sent."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple

import msgspec

from deploy.sample_day.backoffice import key_of
from deploy.sample_day.day import Day
from deploy.sample_day.flow import ALLOCATIONS, CONFIRMATIONS, EXECUTIONS, FIX, Message
from services.adapters import fix
from services.adapters.avro_codec import AvroCodec, to_json
from services.adapters.reference_files import FILE_NAMES
from services.domain.event import AllocationInstruction, Execution
from services.domain.reference import ReferenceRecord, TemplateShare

_JSON_FILES = {
    EXECUTIONS: "executions.jsonl",
    ALLOCATIONS: "allocations.jsonl",
    CONFIRMATIONS: "confirmations.jsonl",
}
_FIX_FILE = "executions.fix"
_CHECKSUMS = 256
_LINE_END = b"\n"


class Sent(NamedTuple):
    """One record as a sender gives it to a topic."""

    topic: str
    key: str
    value: bytes | None


def files(day: Day) -> dict[str, bytes]:
    """Content of every file by its path, expected.json not included."""
    found = {f"reference/{name}": text for name, text in _reference_files(day.reference)}
    found |= _message_files(day.messages)
    found |= {f"late/reference/{name}": text for name, text in _reference_files(day.late_reference)}
    found |= {f"late/{name}": content for name, content in _message_files(day.late_messages).items()}
    return found


def records(messages: Iterable[Message]) -> Iterator[Sent]:
    """The messages as records: what a load test sends. FIX sequence numbers follow the order given."""
    avro, sequence = AvroCodec(), _Sequence()
    for message in messages:
        key = message.key or ""
        value = message.value
        if message.event is not None:
            key = key_of(message.event)
            value = sequence.encode(message) if message.topic == FIX else avro.encode(message.event)
        yield Sent(message.topic, key, value)


def _message_files(messages: Iterable[Message]) -> dict[str, bytes]:
    sequence = _Sequence()
    contents: defaultdict[str, list[bytes]] = defaultdict(list)
    for message in messages:
        if message.topic == FIX:
            contents[_FIX_FILE].append(sequence.encode(message))
        else:
            contents[_JSON_FILES[message.topic]].append(_line(message))
    return {name: b"".join(line + _LINE_END for line in lines) for name, lines in sorted(contents.items())}


def _line(message: Message) -> bytes:
    if message.event is not None:
        row: dict[str, Any] = to_json(message.event)
    elif message.value is None:
        row = {"$key": message.key, "$value": None}
    else:
        row = {"$key": message.key, "$base64": base64.b64encode(message.value).decode()}
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()


class _Sequence:
    """Writes FIX messages, each with the next MsgSeqNum (34) of its session."""

    def __init__(self) -> None:
        self._numbers: Counter[str] = Counter()

    def encode(self, message: Message) -> bytes:
        event = message.event
        assert isinstance(event, Execution | AllocationInstruction), "only these are sent by FIX"
        self._numbers[event.sender] += 1
        number, sent_us = self._numbers[event.sender], message.at_us
        if isinstance(event, Execution):
            raw = fix.encode_execution(
                event, begin_string=message.begin_string, sequence_number=number, sending_time_us=sent_us
            )
        else:
            raw = fix.encode_allocation_instruction(
                event, begin_string=message.begin_string, sequence_number=number, sending_time_us=sent_us
            )
        return _with_wrong_checksum(raw) if message.is_broken else raw


def _with_wrong_checksum(raw: bytes) -> bytes:
    """The message with CheckSum (10) one too high: three digits, then SOH."""
    checksum = (int(raw[-4:-1]) + 1) % _CHECKSUMS
    return raw[:-4] + f"{checksum:03d}".encode() + raw[-1:]


# --- reference data --------------------------------------------------------------------------------------------------


def _reference_files(rows: Iterable[ReferenceRecord]) -> Iterator[tuple[str, bytes]]:
    """One CSV file for each kind, without the columns that are empty in all rows."""
    by_kind: defaultdict[type[ReferenceRecord], list[ReferenceRecord]] = defaultdict(list)
    for row in rows:
        by_kind[type(row)].append(row)
    for kind, same in by_kind.items():
        yield FILE_NAMES[kind], _csv(kind, same)


def _csv(kind: type[ReferenceRecord], rows: list[ReferenceRecord]) -> bytes:
    cells = [
        {
            field.name: "" if (value := getattr(row, field.name)) == field.default else _cell(value)
            for field in msgspec.structs.fields(kind)
        }
        for row in rows
    ]
    columns = [name for name in cells[0] if any(row[name] for row in cells)]
    # Who a row is about comes first, where it comes from last.
    own = [name for name in columns if name not in ReferenceRecord.__struct_fields__]
    columns = own + [name for name in ReferenceRecord.__struct_fields__ if name in columns]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([row[name] for name in columns] for row in cells)
    return text.getvalue().encode()


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case Enum():
            return str(value.value)
        case bool():
            return "true" if value else "false"
        case Decimal():
            return format(value, "f")
        case date():
            return value.isoformat()
        case TemplateShare():
            return f"{value.account}={value.weight:f}"
        case tuple():
            return ";".join(_cell(item) for item in value)
    return str(value)
