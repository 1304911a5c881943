"""A record of any topic as people and programs outside read it."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from services.adapters.avro_codec import to_json
from services.commands.describe import describe
from services.domain.errors import DecodeError
from services.domain.record import Record
from services.engine.codec import TopicCodec
from services.engine.log import LogRecord
from services.topics import TopicFormat, TopicSpecification

BASE64 = "$base64"
"""Name under which bytes that are no text are shown; `posttrade send` takes the same form."""
REASON = "$reason"
"""Beside it: why the bytes could not be read."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNTIMED = -1


def time_text(timestamp_ms: int) -> str:
    """A record's timestamp in UTC with milliseconds, ISO 8601; empty when the record has none."""
    if timestamp_ms == _UNTIMED:
        return ""
    moment = _EPOCH + timedelta(milliseconds=timestamp_ms)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{timestamp_ms % 1000:03d}Z"


def fix_text(raw: bytes) -> str:
    """A FIX message on one line, fields separated by '|' instead of SOH."""
    return raw.decode(errors="replace").replace("\x01", "|")


def bytes_value(data: bytes, reason: str | None = None) -> dict[str, str]:
    """Bytes as JSON, with the reason if they should have been readable."""
    shown = {BASE64: base64.b64encode(data).decode()}
    return shown if reason is None else shown | {REASON: reason}


def text_or_bytes(data: bytes | None) -> Any:
    """Text where the bytes are UTF-8, else the bytes as base64."""
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return bytes_value(data)


def json_value(record: LogRecord, topic: TopicSpecification, codec: TopicCodec) -> Any:
    """The value as JSON: events by their fields, FIX and XML as text, state as it is stored, all else as base64."""
    value = record.value
    if value is None:
        return None
    match topic.format:
        case TopicFormat.AVRO:
            try:
                return to_json(codec.decode(record.topic, value))
            except DecodeError as error:
                return bytes_value(value, str(error))
        case TopicFormat.FIX:
            return fix_text(value)
        case TopicFormat.XML:
            return text_or_bytes(value)
        case TopicFormat.STATE | TopicFormat.JSON:
            try:
                return json.loads(value)
            except ValueError:
                return bytes_value(value, "the value was not JSON")
    return bytes_value(value)


def json_record(record: LogRecord, topic: TopicSpecification, codec: TopicCodec) -> dict[str, Any]:
    """The whole record as one JSON object."""
    shown: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": time_text(record.timestamp_ms),
        "key": text_or_bytes(record.key),
    }
    if record.headers:
        shown["headers"] = {name: text_or_bytes(data) for name, data in record.headers}
    return shown | {"value": json_value(record, topic, codec)}


def json_line(content: Any) -> str:
    """JSON on one line."""
    return msgspec.json.encode(content).decode()


def event_of(record: LogRecord, topic: TopicSpecification, codec: TopicCodec) -> Record | str | None:
    """The event in a record; None where there is none, a sentence where it cannot be read."""
    if record.value is None or topic.format not in (TopicFormat.AVRO, TopicFormat.FIX):
        return None
    try:
        return codec.decode(record.topic, record.value)
    except DecodeError as error:
        return str(error)


def readable_value(record: LogRecord, topic: TopicSpecification, codec: TopicCodec) -> str:
    """The value on one line for a person: what the event says, the message's text, or the bytes with the reason."""
    if record.value is None:
        return "(no value: removes what is under the key)"
    if topic.format is TopicFormat.AVRO:
        event = event_of(record, topic, codec)
        if isinstance(event, Record):
            return describe(event)
    shown = json_value(record, topic, codec)
    if isinstance(shown, dict) and BASE64 in shown:
        headers = [
            f"{name}={text_or_bytes(data)}" for name, data in record.headers if name.startswith(("err.", "src."))
        ]
        reason = f"{shown[REASON]}; " if REASON in shown else ""
        return " ".join([*headers, f"{reason}base64 {shown[BASE64]}"])
    if isinstance(shown, str):
        return " ".join(line.strip() for line in shown.splitlines())
    return json_line(shown)


def readable_line(record: LogRecord, topic: TopicSpecification, codec: TopicCodec) -> str:
    """One record on one line for a person, the first columns aligned."""
    key = text_or_bytes(record.key)
    named = "-" if key is None else key if isinstance(key, str) else json_line(key)
    place = f"{record.partition}/{record.offset}"
    return f"{time_text(record.timestamp_ms):<24}  {place:<8}  {named:<16}  {readable_value(record, topic, codec)}"
