"""What the generated writers and readers call: single values, and tables of recent ones.

A table answers from memory what it has answered before. Keys of the reading tables are the bytes themselves, complete
and self-delimiting, and only what the careful conversions accepted is entered: a hit cannot be wrong. Everything here
raises one of `avro_careful.MISFITS` for what it does not take; which one says nothing, the careful way finds the words.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from enum import Enum
from functools import cache
from sys import getsizeof
from typing import Any, NoReturn, TypeVar

from msgspec import structs

from services.adapters.avro_careful import (
    Convert,
    MisfitError,
    decimal_pair,
    decode_date,
    encode_date,
    enum_pair,
)
from services.domain.money import EXACT
from services.domain.record import Record

K = TypeVar("K")
V = TypeVar("V")
ReadItem = Callable[[bytes, str, int], tuple[Any, int]]
"""Reads one value from a body, given also as text of one character a byte, at a position; answers it and its end."""

_RECENT_MAX = 4096
"""Entries of one table. All of them are dropped together: that costs nothing to keep account of, and what repeats is
soon back."""

_ENTRY_BYTES_MAX = 256
"""Larger keys and values are not entered: a table is at most 3 MiB whatever is sent to us, and usually one."""


def _size(value: object) -> int:
    """Bytes of a key or value, or characters of a record of texts. A decimal may have a million zeros."""
    if isinstance(value, Record):
        return sum(len(text or "") for text in structs.astuple(value))
    return getsizeof(value)


class _Recent(dict[K, V]):
    """A bounded table that makes what is missing. `make` raises for what must not be entered."""

    def __init__(self, make: Callable[[K], V]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: K) -> V:
        value = self._make(key)
        self.enter(key, value)
        return value

    def enter(self, key: K, value: V) -> None:
        """Remember a value, if key and value are small; all others go when there are too many."""
        if _size(key) > _ENTRY_BYTES_MAX or _size(value) > _ENTRY_BYTES_MAX:
            return
        if len(self) >= _RECENT_MAX:
            self.clear()
        self[key] = value


def refuse(*_: object) -> NoReturn:
    """Leave the value to the careful way."""
    raise MisfitError("was left to the careful way")


# --- numbers ---------------------------------------------------------------------------------------------------------


def _varint(zigzag: int) -> bytes:
    """Seven bits a byte, least significant first; the highest bit says that another byte follows."""
    groups = bytearray()
    while zigzag > 127:
        groups.append(zigzag & 127 | 128)
        zigzag >>= 7
    groups.append(zigzag)
    return bytes(groups)


_SHORT = tuple(_varint(zigzag) for zigzag in range(1024))
"""Numbers up to 511: versions, and lengths of nearly all texts."""

SMALL_READ = tuple((byte >> 1 ^ -(byte & 1)) if byte < 128 else None for byte in range(256))
"""The number that one byte is; None when it is only the first of several."""

LENGTH_READ = tuple(byte >> 1 if byte & 129 == 0 else None for byte in range(256))
"""The length that one byte is; None when it is the first of several, or negative."""

_PAIRS = tuple(bytes((bits & 127 | 128, bits >> 7 | 128)) for bits in range(1 << 14))
"""Fourteen bits of a number that goes on behind them: 0.7 MiB that make `write_long` 1.8 times as fast."""

_CONTINUED = 0x10204080
"""The sum of the bits that say "another byte follows" in the first four bytes, as `read_long` adds them up."""


def _upper_bytes(upper: int) -> bytes:
    return _varint(upper) if upper < 1 << 36 else refuse()


_upper_half: _Recent[int, bytes] = _Recent(_upper_bytes)
_upper_sum: _Recent[bytes, int] = _Recent(refuse)
"""The upper part of a point in time, from 28 bits of microseconds on: it changes every two minutes."""


def write_long(value: Any) -> bytes:
    """A number as zigzag varint. A point in time is two halves, of which the upper is looked up."""
    if type(value) is not int:
        refuse()
    zigzag = value << 1 if value >= 0 else ~(value << 1)
    if zigzag < len(_SHORT):
        return _SHORT[zigzag]
    upper = zigzag >> 28
    if not upper:
        return _varint(zigzag)
    return _PAIRS[zigzag & 16383] + _PAIRS[zigzag >> 14 & 16383] + _upper_half[upper]


def read_long(data: bytes, at: int) -> tuple[int, int]:
    """A number and the position behind it. With the upper half looked up 2.8 times as fast as without."""
    middle, end = at + 4, at + 8
    upper = _upper_sum.get(data[middle:end])
    if upper is not None:
        one, two, three, four = data[at:middle]
        if one & two & three & four & 128:
            zigzag = one + (two << 7) + (three << 14) + (four << 21) + upper
            return zigzag >> 1 ^ -(zigzag & 1), end
    return _read_any_long(data, at)


def _read_any_long(data: bytes, at: int) -> tuple[int, int]:
    zigzag = shift = 0
    begin = at
    while True:
        byte = data[at]
        at += 1
        zigzag |= (byte & 127) << shift
        if byte < 128:
            break
        shift += 7
        if shift > 63:
            refuse()
    if zigzag >> 64:
        refuse()
    if at - begin == 8:
        _upper_sum.enter(data[begin + 4 : at], (zigzag >> 28 << 28) - _CONTINUED)
    return zigzag >> 1 ^ -(zigzag & 1), at


def read_length(data: bytes, at: int) -> tuple[int, int]:
    """A length or count that does not fit one byte: itself and the position behind it."""
    length, at = _read_any_long(data, at)
    if length < 0:
        refuse()
    return length, at


# --- texts -----------------------------------------------------------------------------------------------------------

_LENGTHS = 8192
LENGTH = tuple(chr(2 * length) if length < 64 else "\x80" for length in range(_LENGTHS))
"""What stands before a text of so many ASCII characters. For 64 and more it takes two bytes: the mark there is not
ASCII, so that the run of texts which has it is written one by one (`write_text`)."""

SOME_LENGTH = tuple("\x02" + mark for mark in LENGTH)
"""The same before an optional text: branch 1 of the union."""


def write_text(text: str) -> bytes:
    """Any text; raises for what is none, and for half a surrogate pair."""
    utf8 = str.encode(text)
    length = len(utf8)
    return (_SHORT[2 * length] if length < len(_SHORT) // 2 else write_long(length)) + utf8


def write_optional_text(text: str | None) -> bytes:
    """Any text, or none."""
    return b"\x00" if text is None else b"\x02" + write_text(text)


def utf8(text: str | None) -> str | None:
    """A text that was taken as one character a byte, read as what it is."""
    return None if text is None else text.encode("latin-1").decode()


def read_bounds(data: bytes, at: int) -> tuple[int, int]:
    """Where a text begins whose length is more than one byte, and where it ends."""
    length, begin = read_length(data, at)
    return begin, begin + length


def read_text(data: bytes, _: str, at: int) -> tuple[str, int]:
    """Any text, and the position behind it."""
    length, begin = LENGTH_READ[data[at]], at + 1
    if length is None:
        length, begin = read_length(data, at)
    end = begin + length
    return data[begin:end].decode(), end


# --- arrays and tables -----------------------------------------------------------------------------------------------


def write_array(values: Any, write_item: Callable[[Any], bytes]) -> bytes:
    """One block with all items."""
    if type(values) is not tuple:
        refuse()
    if not values:
        return b"\x00"
    return b"".join((write_long(len(values)), *map(write_item, values), b"\x00"))


def read_array(data: bytes, text: str, at: int, read_item: ReadItem) -> tuple[tuple[Any, ...], int]:
    """One block and its end; more blocks, or a block with its size, are left to the careful way."""
    count, at = read_length(data, at)
    if not count:
        return (), at
    items = []
    for _ in range(count):
        item, at = read_item(data, text, at)
        items.append(item)
    if data[at]:
        refuse()
    return tuple(items), at + 1


def write_table(values: Any) -> bytes:
    """Texts by text in the order of the keys: equal tables, equal bytes, in whatever order they were filled."""
    if type(values) is not dict:
        refuse()
    if not values:
        return b"\x00"
    written = [(write_text(key) if type(key) is str else refuse()) + write_text(values[key]) for key in sorted(values)]
    return b"".join((write_long(len(written)), *written, b"\x00"))


def read_table(data: bytes, text: str, at: int) -> tuple[dict[str, str], int]:
    """One block of texts by text."""
    count, at = read_length(data, at)
    table: dict[str, str] = {}
    if not count:
        return table, at
    for _ in range(count):
        key, at = read_text(data, text, at)
        table[key], at = read_text(data, text, at)
    if data[at]:
        refuse()
    return table, at + 1


# --- tables of recent values -----------------------------------------------------------------------------------------


class Tables:
    """Tables of recent values, shared by all writers and readers of one codec."""

    def __init__(self) -> None:
        """Start with nothing known."""
        self.date_bytes: _Recent[Any, bytes] = _Recent(lambda value: _varint(_zigzag(encode_date(value))))
        self.dates: _Recent[bytes, date] = _Recent(refuse)
        self.decimal_bytes = cache(_decimal_bytes)
        """By precision and scale."""
        self.decimals = cache(_decimals)
        """By precision and scale."""
        self.normal_decimals: _Recent[Decimal, Decimal] = _Recent(_as_read)
        """The form in which a decimal that was written is read, whatever its scale; the decimal itself if it has it."""

    def read_date(self, data: bytes, at: int) -> tuple[date, int]:
        """A date that is not in `dates`, and the position behind it."""
        days, end = _read_any_long(data, at)
        value = decode_date(days)
        if end - at == 3:
            self.dates.enter(data[at:end], value)
        return value, end


def _zigzag(days: int) -> int:
    return days << 1 if days >= 0 else ~(days << 1)


class _DecimalBytes(_Recent[Decimal, bytes]):
    """Decimals as they are written, length included. Ask only for a Decimal: the integer 1 is equal to one.

    What is not known is made right here: new amounts are written all day, and each call on the way counts.
    """

    def __missing__(self, key: Decimal) -> bytes:
        digits = self._make(key)
        written = _SHORT[2 * len(digits)] + digits
        if getsizeof(key) > _ENTRY_BYTES_MAX:
            return written
        if len(self) >= _RECENT_MAX:
            self.clear()
        self[key] = written
        return written


class _Decimals(_Recent[bytes, Decimal]):
    """Decimals by the bytes they were written as, the length in one byte included."""

    def __missing__(self, key: bytes) -> Decimal:
        if key[0] != 2 * (len(key) - 1):  # cut off, negative, or a length of more than one byte
            refuse()
        value = self._make(key[1:])
        if len(self) >= _RECENT_MAX:
            self.clear()
        self[key] = value
        return value


def _as_read(value: Decimal) -> Decimal:
    """An integer without exponent and decimals, any other number without trailing zeros, as `decimal_pair` reads it."""
    whole = int(value)
    normal = Decimal(whole) if whole == value else EXACT.normalize(value)
    return normal if value.compare_total(normal) else value


def _decimal_bytes(precision: int, scale: int) -> _DecimalBytes:
    encode: Convert | None = decimal_pair(precision=precision, scale=scale).encode
    assert encode is not None
    return _DecimalBytes(encode)


def _decimals(precision: int, scale: int) -> _Decimals:
    decode: Convert | None = decimal_pair(precision=precision, scale=scale).decode
    assert decode is not None
    return _Decimals(decode)


def enum_marks(symbols: tuple[str, ...], enum_type: type[Enum]) -> dict[int, str]:
    """The byte of each member as a character, by the member's `id`: the text 'BUY' is equal to Side.BUY, but not it."""
    encode: Convert | None = enum_pair(symbols, enum_type).encode
    assert encode is not None
    known = set(symbols)
    return {id(member): chr(2 * encode(member)) for member in enum_type if member.value in known}


def enum_members(symbols: tuple[str, ...], enum_type: type[Enum]) -> dict[int, Enum]:
    """The member of each byte; a byte that is missing was a symbol that is not known here, or no position at all."""
    members = {member.value: member for member in enum_type}
    return {2 * place: members[symbol] for place, symbol in enumerate(symbols) if symbol in members}


def record_bytes(write: Callable[[Any], bytes], record_type: type[Record]) -> _Recent[Record, bytes]:
    """Records of texts as they are written: settlement chains repeat."""

    def make(record: Record) -> bytes:
        return write(record) if type(record) is record_type else refuse()

    return _Recent(make)


def records(make: Callable[[Any], Any] = refuse) -> _Recent[Any, Any]:
    """Records of texts: by their bytes, and then the reader enters them, or by an equal record that `make` reads."""
    return _Recent(make)


def only_texts(values: tuple[object, ...]) -> None:
    """Refuse anything but plain texts."""
    for value in values:
        if type(value) is not str:
            refuse()
