"""Plain values made comparable: one text for one value, digests of many, and the recognition marks of the services."""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from services.domain.money import EXACT

Plain = Mapping[str, Any]
SEPARATOR = "\x1f"
_DIGEST_BYTES = 16


def text(value: Any) -> str:
    """One text for one value, whether it came from Avro or from JSON: numbers without padding, dates as ISO 8601."""
    kind = type(value)
    if kind is str:
        return str(value)
    write = _TEXTS.get(kind)
    return str(value) if write is None else write(value)


def _number_text(value: Decimal) -> str:
    return f"{EXACT.normalize(value):f}" if value else "0"


def _mapping_text(value: Plain) -> str:
    return "{" + ",".join([f"{name}={text(value[name])}" for name in sorted(value)]) + "}"


def _list_text(value: Iterable[Any]) -> str:
    return "[" + ",".join(map(text, value)) + "]"


_TEXTS: dict[type, Callable[[Any], str]] = {
    Decimal: _number_text,
    date: date.isoformat,
    dict: _mapping_text,
    list: _list_text,
    tuple: _list_text,
}


def digest(record: Plain, names: Iterable[str]) -> bytes:
    """Recognise these fields of a record."""
    content = SEPARATOR.join([text(record.get(name)) for name in names])
    return hashlib.blake2b(content.encode(), digest_size=_DIGEST_BYTES).digest()


def bytes_digest(*parts: bytes | None) -> bytes:
    """Recognise bytes, each part with its length; absent and empty differ."""
    found = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for part in parts:
        found.update(struct.pack(">q", -1 if part is None else len(part)))
        found.update(part or b"")
    return found.digest()


def decimal_of(value: Any) -> Decimal:
    """A number of a state row, which JSON carries as text."""
    return value if isinstance(value, Decimal) else Decimal(str(value))


# --- how services recognise content: written down a second time, from the formats alone -------------------------------


_NO_PARTS: Mapping[str, tuple[str, ...]] = {}


def content_mark(record: Plain, names: Iterable[str], parts: Mapping[str, tuple[str, ...]] = _NO_PARTS) -> bytes:
    """How capture recognises a message: BLAKE2b over MessagePack of names and values, absent fields left out.

    `parts` are the fields of the records in each list.
    """
    packed = _pack(_content(record, names, parts))
    return hashlib.blake2b(packed, digest_size=_DIGEST_BYTES).digest()


def _content(record: Plain, names: Iterable[str], parts: Mapping[str, tuple[str, ...]]) -> list[Any]:
    content: list[Any] = []
    for name in names:
        value = record.get(name)
        if value is not None and (value or name != "executions"):
            content += (name, _canonical(value, parts.get(name, ())))
    return content


def _canonical(value: Any, parts: tuple[str, ...]) -> Any:
    if isinstance(value, Decimal):
        return str(EXACT.normalize(value)) if value else "0"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [_content(one, parts, _NO_PARTS) for one in value]
    return value


def named_subject(prefix: str, sender: str, identifier: str) -> str:
    """How capture names what exceptions about an allocation (AI) or a confirmation (CF) are about."""
    packed = hashlib.blake2b(_pack([sender, identifier]), digest_size=10).digest()
    return prefix + base64.b32encode(packed).decode()


_FIX_STRING_MAX, _FIX_LIST_MAX, _FIX_INTEGER_MAX = 32, 16, 128


def _pack(value: Any) -> bytes:
    """MessagePack of text, integers and lists of them."""
    if isinstance(value, str):
        data = value.encode()
        if len(data) < _FIX_STRING_MAX:
            return bytes((0xA0 | len(data),)) + data
        return _pack_length(len(data), _FIX_STRING_MAX, 0xA0, (0xD9, 0xDA, 0xDB)) + data
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return _pack_integer(value)
    head = _pack_length(len(value), _FIX_LIST_MAX, 0x90, (None, 0xDC, 0xDD))
    return head + b"".join(map(_pack, value))


def _pack_length(length: int, short_max: int, short: int, longer: tuple[int | None, int, int]) -> bytes:
    if length < short_max:
        return bytes([short | length])
    if longer[0] is not None and length < 1 << 8:
        return struct.pack(">BB", longer[0], length)
    return struct.pack(">BH", longer[1], length) if length < 1 << 16 else struct.pack(">BI", longer[2], length)


def _pack_integer(value: int) -> bytes:
    if 0 <= value < _FIX_INTEGER_MAX:
        return bytes([value])
    if value >= 0:
        size = next(size for size in range(4) if value < 1 << (8 << size))
        return bytes([0xCC + size]) + value.to_bytes(1 << size, "big")
    if value >= -_FIX_STRING_MAX:
        return struct.pack("b", value)
    size = next(size for size in range(4) if value >= -(1 << ((8 << size) - 1)))
    return bytes([0xD0 + size]) + value.to_bytes(1 << size, "big", signed=True)
