"""What `posttrade send` reads: files of events or FIX messages, checked to the last line before anything is sent.

A line of a JSON file is one event, as `posttrade tail --json` shows its value; numbers may be text or JSON numbers.
A line with `$key` is a record as it is: `{"$key": "O1", "$base64": "wwE="}` or `{"$key": "O1", "$value": null}`.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from typing import Any, NamedTuple, get_args, get_type_hints

import msgspec

from services.adapters import fix
from services.adapters.topic_codec import FormatCodec
from services.commands.failure import BadRequest
from services.domain import event as ev
from services.domain.errors import EncodeError
from services.domain.record import Record
from services.engine.log import OutgoingRecord

FIX_TOPIC = "front-office.fix"
_KEY, _BASE64, _VALUE = "$key", "$base64", "$value"
_FAULTS_MAX = 20


class EventFile(NamedTuple):
    """A kind of JSON file."""

    topic: str
    record_type: type[Record]
    key_field: str


EXECUTIONS = EventFile("front-office.executions", ev.Execution, "order_id")
ALLOCATIONS = EventFile("front-office.allocations", ev.AllocationInstruction, "order_id")
CONFIRMATIONS = EventFile("counterparty.confirmations", ev.CounterpartyConfirmation, "confirmation_id")


class _Fault(ValueError):
    """What is wrong with a line."""


def read_events(name: str, data: bytes, kind: EventFile, codec: FormatCodec) -> list[OutgoingRecord]:
    """Every line as a record. Raises BadRequest with one line for each fault: file, line, what was wrong."""
    records: list[OutgoingRecord] = []
    faults: list[str] = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            records.append(_read_line(line, kind, codec))
        except _Fault as fault:
            faults.append(f"{name}:{number}: {fault}")
    if faults:
        more = [f"{name}: {len(faults) - _FAULTS_MAX} more lines are wrong"] if len(faults) > _FAULTS_MAX else []
        raise BadRequest("\n".join([*faults[:_FAULTS_MAX], *more, "nothing was sent"]))
    return records


def read_fix(data: bytes) -> Iterator[OutgoingRecord]:
    """Every message as a record, keyed by its OrderID where one is to be found.

    What is no message is sent all the same, so that it shows up among the dead letters as it would from a session.
    """
    for raw in fix.split_messages(data):
        order_id = fix.order_id(raw)
        yield OutgoingRecord(FIX_TOPIC, None if order_id is None else order_id.encode(), raw)


def _read_line(line: bytes, kind: EventFile, codec: FormatCodec) -> OutgoingRecord:
    try:
        plain = json.loads(line)
    except ValueError as error:
        raise _Fault(f"was not JSON: {error}") from None
    if not isinstance(plain, dict):
        raise _Fault("was not a JSON object")
    if _KEY in plain:
        return OutgoingRecord(kind.topic, _raw_key(plain), _raw_value(plain))
    unknown = sorted(_unknown_fields(plain, kind.record_type))
    if unknown:
        raise _Fault(f"{kind.record_type.__name__} has no field {', '.join(unknown)}")
    try:
        event = msgspec.json.decode(line, type=kind.record_type)
        value = codec.encode(kind.topic, event)
    except (msgspec.ValidationError, EncodeError) as error:
        raise _Fault(str(error)) from None
    return OutgoingRecord(kind.topic, str(getattr(event, kind.key_field)).encode(), value)


def _raw_key(plain: dict[str, Any]) -> bytes | None:
    key = plain[_KEY]
    if key is not None and not isinstance(key, str):
        raise _Fault(f"{_KEY} was neither text nor null")
    return None if key is None else key.encode()


def _raw_value(plain: dict[str, Any]) -> bytes | None:
    names = plain.keys() - {_KEY}
    if names == {_VALUE} and plain[_VALUE] is None:
        return None
    text = plain.get(_BASE64)
    if names != {_BASE64} or not isinstance(text, str):
        raise _Fault(f"a record with {_KEY} needs {_BASE64} with text, or {_VALUE} with null, and nothing else")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _Fault(f"{_BASE64} was not base64") from None


def _unknown_fields(plain: dict[str, Any], record_type: type[Record]) -> Iterator[str]:
    """Names that the record has no field for, in lists too: a misspelt optional field must not vanish."""
    yield from plain.keys() - set(record_type.__struct_fields__)
    for name, hint in get_type_hints(record_type).items():
        inner = next(
            (choice for choice in get_args(hint) if isinstance(choice, type) and issubclass(choice, Record)), None
        )
        rows = plain.get(name)
        if inner is not None and isinstance(rows, list):
            for row in rows:
                if isinstance(row, dict):
                    yield from (f"{name}.{field}" for field in _unknown_fields(row, inner))
