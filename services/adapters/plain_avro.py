"""Topics as plain values for the auditor: a second reading of the formats that shares nothing with the services' codec.

Avro values are read by fastavro alone, with the writer's schema that the single-object header names; FIX messages are
split into their fields, and only what an auditor compares is taken; of ISO 20022 messages all elements are taken
(`plain_xml`). What cannot be read is None: whether that is all right is for the auditor to say.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import fastavro

from services.adapters.plain_xml import read_message
from services.topics import TopicFormat, load_topics

DIRECTORY = Path(__file__).parents[2] / "schemas" / "avro"
_MARKER = b"\xc3\x01"
_HEADER_BYTES = 10
_UNREADABLE = (EOFError, IndexError, KeyError, TypeError, ValueError, ArithmeticError, UnicodeError)
Plain = Mapping[str, Any]


class PlainReader:
    """Reads the values of all topics; every schema that was ever written must lie in the directory."""

    def __init__(self, directory: Path = DIRECTORY) -> None:
        """Read the schemas. Raises ValueError or OSError when one cannot be used."""
        self._schemas: dict[bytes, tuple[str, Any]] = {}
        self._newest: dict[str, Any] = {}
        for path in sorted(directory.glob("*.avsc"), key=_version):
            schema = json.loads(path.read_text(encoding="utf-8"))
            canonical = fastavro.schema.to_parsing_canonical_form(schema)
            mark = bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))
            parsed = self._newest[schema["name"]] = fastavro.parse_schema(_plainer(schema))
            self._schemas[mark] = schema["name"], parsed
        if not self._schemas:
            raise ValueError(f"no schema was found in {directory}")
        self._readers: dict[str, Callable[[bytes], Plain | None]] = {}
        for name, topic in load_topics().items():
            if topic.format is TopicFormat.AVRO:
                self._readers[name] = self._avro_reader(topic.record or "")
            elif topic.format is TopicFormat.FIX:
                self._readers[name] = read_fix
            elif topic.format is TopicFormat.XML:
                self._readers[name] = read_message

    def __call__(self, topic: str, value: bytes | None) -> Plain | None:
        """Read one value: field names to text, integers, decimals, dates, lists and mappings; None if that fails."""
        reader = self._readers.get(topic)
        if reader is None or not value:
            return None
        try:
            return reader(value)
        except _UNREADABLE:
            return None

    def _avro_reader(self, record: str) -> Callable[[bytes], Plain | None]:
        schemas, newest = self._schemas, self._newest.get(record)

        def read(value: bytes) -> Plain | None:
            name, schema = schemas[value[2:_HEADER_BYTES]]
            if value[:2] != _MARKER or name != record:
                return None
            reader = None if schema is newest else newest  # fields that came later have their defaults
            return fastavro.schemaless_reader(io.BytesIO(value[_HEADER_BYTES:]), schema, reader)  # type: ignore[return-value]  # a record is a dict

        return read


def _version(path: Path) -> int:
    """Of `name.v12.avsc`: 12."""
    return int(path.stem.rpartition(".v")[2])


def _plainer(node: Any) -> Any:
    """The schema with timestamps as plain integers: the bytes are the same."""
    if isinstance(node, dict):
        return {
            key: _plainer(value)
            for key, value in node.items()
            if not (key == "logicalType" and value == "timestamp-micros")
        }
    return [_plainer(item) for item in node] if isinstance(node, list) else node


# --- FIX -------------------------------------------------------------------------------------------------------------

_SOH = b"\x01"
_DATA_AFTER_LENGTH = {
    90: 91, 93: 89, 95: 96, 212: 213, 348: 349, 350: 351, 352: 353, 354: 355, 356: 357, 358: 359, 360: 361, 362: 363,
    364: 365, 445: 446, 618: 619, 621: 622, 1184: 1185,
}  # fmt: skip
_SIDES = {"1": "BUY", "2": "SELL", "5": "SELL_SHORT", "6": "SELL_SHORT"}
_SECURITY_ID_SOURCES = {"4": "ISIN", "2": "SEDOL", "1": "CUSIP"}
_PRICE_TYPES = {"1": "PERCENT_OF_PAR", "2": "PER_UNIT", None: "PER_UNIT"}
_COMMISSIONS = {"1": "PER_UNIT", "2": "PERCENT", "3": "ABSOLUTE", "6": "PER_BOND"}
_REPORTS = {"F": "TRADE", "G": "TRADE_CORRECT", "H": "TRADE_CANCEL"}
_CHANGES_4_2 = {"1": "TRADE_CANCEL", "2": "TRADE_CORRECT"}
_INSTRUCTIONS = {"0": "NEW", "1": "REPLACE", "2": "CANCEL"}
_CONTRA_FIRM, _BIC = "17", "B"
_NO_EXECS = 124
_LATEST_SECOND = "59"
_IGNORED: Plain = {"message": "IGNORED"}

_Fields = list[tuple[int, str]]


def read_fix(value: bytes) -> Plain | None:
    """One FIX message as far as it is booked. Raises KeyError or ValueError when a field is missing or unreadable."""
    fields = _split(value)
    found = dict(fields)
    if found[35] == "J":
        return _allocation(found, fields)
    kind = _kind(found)
    return _IGNORED if kind is None else _execution(found, fields, kind)


def _split(value: bytes) -> _Fields:
    """All fields in their order; a data field is as long as the field before it says."""
    fields: _Fields = []
    position, length = 0, None
    while position < len(value):
        equals = value.index(b"=", position)
        tag = int(value[position:equals])
        is_data = length is not None and _DATA_AFTER_LENGTH.get(fields[-1][0]) == tag
        end = equals + 1 + (length or 0) if is_data else value.index(_SOH, equals)
        text = value[equals + 1 : end].decode(errors="replace" if is_data else "strict")
        fields.append((tag, text))
        length = int(text) if tag in _DATA_AFTER_LENGTH else None
        position = end + 1
    return fields


def _kind(found: Mapping[int, str]) -> str | None:
    """What an execution report books; None for everything else."""
    if found[35] != "8":
        return None
    if found[8] != "FIX.4.2":
        return _REPORTS.get(found[150])
    if found[20] in _CHANGES_4_2:
        return _CHANGES_4_2[found[20]]
    return "TRADE" if found[20] == "0" and found[150] in ("1", "2") else None


def _execution(found: Mapping[int, str], fields: _Fields, kind: str) -> Plain:
    is_cancel = kind == "TRADE_CANCEL"
    return {
        "message": "EXECUTION",
        "sender": found[49],
        "execution_id": found[17],
        "execution_type": kind,
        "execution_reference_id": found.get(19),
        "order_id": found[37],
        "account": found[1],
        "side": _SIDES[found[54]],
        "security_id": found[48],
        "security_id_source": _SECURITY_ID_SOURCES[found[22]],
        "quantity": _decimal(found.get(32, "0") if is_cancel else found[32]),
        "price": _decimal(found.get(31, "0") if is_cancel else found[31]),
        "price_type": _PRICE_TYPES[found.get(423)],
        "currency": found[15],
        "venue": found[30],
        "trade_date": _date(found[75]),
        "transaction_time_us": _time_us(found[60]),
        "settlement_type": found.get(63),
        "requested_settlement_date": _date(found[64]) if 64 in found else None,
        "counterparty": _counterparty(found, fields),
        "cumulative_quantity": _decimal(found[14]),
        "leaves_quantity": _decimal(found[151]),
        "accrued_interest_amount": _decimal(found[159]) if 159 in found else None,
        **_commission(found),
    }


def _commission(found: Mapping[int, str]) -> Plain:
    is_given = 12 in found or 13 in found
    kind = _COMMISSIONS[found[13]] if is_given else None
    return {
        "commission": _decimal(found[12]) if is_given else None,
        "commission_type": kind,
        "commission_currency": found.get(479) if is_given else None,
        "contract_multiplier": _decimal(found[231]) if kind == "PER_BOND" and 231 in found else None,
    }


def _counterparty(found: Mapping[int, str], fields: _Fields) -> str:
    if 453 not in found:
        return found[375]
    parties = _entries(fields, first=448, members=(447, 452))
    return next(party[448] for party in parties if party.get(452) == _CONTRA_FIRM and party.get(447) == _BIC)


def _allocation(found: Mapping[int, str], fields: _Fields) -> Plain:
    shares = [
        {"account": one[79], "quantity": _decimal(one[80]), "individual_allocation_id": one.get(467)}
        for one in _entries(fields, first=79, members=(80, 467))
    ]
    return {
        "message": "ALLOCATION",
        "sender": found[49],
        "instruction_id": found[70],
        "transaction_type": _INSTRUCTIONS[found[71]],
        "reference_id": found.get(72),
        "order_id": found[37],
        "side": _SIDES[found[54]],
        "security_id": found[48],
        "security_id_source": _SECURITY_ID_SOURCES[found[22]],
        "quantity": _decimal(found[53]),
        "average_price": _decimal(found[6]) if 6 in found else None,
        "trade_date": _date(found[75]),
        "allocations": shares,
        "total_allocations": int(found[892]) if 892 in found else None,
        "last_fragment": found[893] == "Y" if 893 in found else None,
        "executions": _allocated_executions(fields) if _NO_EXECS in found else [],
    }


def _allocated_executions(fields: _Fields) -> list[Plain]:
    """The entries of NoExecs (124), which senders begin with LastQty (32) or ExecID (17)."""
    begin = next(index for index, (tag, _) in enumerate(fields) if tag == _NO_EXECS) + 1
    first = fields[begin][0] if begin < len(fields) else 0
    return [
        {"execution_id": one[17], "quantity": _decimal(one[32]), "price": _decimal(one[31]) if 31 in one else None}
        for one in _entries(fields, first=first, members=(17, 32, 31))
    ]


def _entries(fields: _Fields, *, first: int, members: tuple[int, ...]) -> list[dict[int, str]]:
    """The entries of a repeating group, each begun by its first tag."""
    entries: list[dict[int, str]] = []
    for tag, text in fields:
        if tag == first:
            entries.append({tag: text})
        elif tag in members and entries:
            entries[-1][tag] = text
    return entries


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError("not a number") from None


def _date(text: str) -> date:
    return datetime.strptime(text, "%Y%m%d").replace(tzinfo=UTC).date()


def _time_us(text: str) -> int:
    whole, _, fraction = text.partition(".")
    leap = whole.endswith(":60")  # counts as the first second after it
    moment = datetime.strptime(whole[:-2] + _LATEST_SECOND if leap else whole, "%Y%m%d-%H:%M:%S").replace(tzinfo=UTC)
    seconds = int(moment.timestamp()) + leap
    return seconds * 1_000_000 + int(fraction.ljust(6, "0")[:6] or 0)
