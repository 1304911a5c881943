"""The bytes of a snapshot: a header, the rows, and a digest over both. It is read whole, or not at all.

- 16 bytes: `MAGIC`
- 4 bytes: length of the header, big-endian, as every length here
- the header: `Header` as JSON
- for each of `row_count` rows: 4 bytes length of the key, 4 bytes length of the value, key and value as a record of the
  changelog has them
- 32 bytes: SHA-256 over everything before it
"""

from __future__ import annotations

import functools
import hashlib
import struct
from collections.abc import Iterable, Iterator

import msgspec

from services.domain.record import Record
from services.engine.state import changelog_row

FORMAT_VERSION = 1
MAGIC = b"posttrade-state\n"
DIGEST_BYTES = 32
CHUNK_ROWS = 1_000
_LENGTH = struct.Struct(">I")
_LENGTHS = struct.Struct(">II")
_START = len(MAGIC) + _LENGTH.size

Rows = dict[type[Record], dict[str, Record]]
"""Every table of a partition, by record type and key."""


class SnapshotRefused(Exception):
    """The file is no snapshot that can be believed; the text says why, as the end of a sentence about it."""


class Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the rows are."""

    format_version: int
    service: str
    partition: int
    topic_id: str
    """Which changelog they are of: `services.engine.log.Log.topic_id`."""
    fields: str
    """`fingerprint` of the record types that wrote them."""
    offset: int
    """Every committed record of the changelog below it is contained."""
    row_count: int
    written_at_us: int
    """Not later than the moment at which the offset was asked, microseconds since the epoch."""


class _Version(msgspec.Struct):
    format_version: int


def fingerprint(kinds: Iterable[type[Record]]) -> str:
    """Digest of the fields of these record types, and of all they contain.

    A version of the program that lacks a field reads a row without it, and would write it back without: such rows must
    not be taken for those of the changelog by a version that has the field.
    """
    return _fingerprint(tuple(sorted(kinds, key=lambda kind: kind.__name__)))


@functools.cache  # milliseconds, for what never changes while a process lives
def _fingerprint(kinds: tuple[type[Record], ...]) -> str:
    schemas = msgspec.json.schema_components(kinds)
    return hashlib.sha256(msgspec.json.encode(schemas, order="sorted")).hexdigest()


def encode(header: Header, rows: Rows) -> Iterator[bytes]:
    """The file in parts, about a thousand rows each."""
    digest = hashlib.sha256()
    for part in _content(header, rows):
        digest.update(part)
        yield part
    yield digest.digest()


def _content(header: Header, rows: Rows) -> Iterator[bytes]:
    head = msgspec.json.encode(header)
    yield MAGIC + _LENGTH.pack(len(head)) + head
    chunk: list[bytes] = []
    for kind, table in rows.items():
        for row_key, record in table.items():
            key, value = changelog_row(kind, row_key, record)
            assert value is not None, "only a deleted row has no value"
            chunk += (_LENGTHS.pack(len(key), len(value)), key, value)
            if len(chunk) >= 3 * CHUNK_ROWS:
                yield b"".join(chunk)
                chunk = []
    yield b"".join(chunk)


def decode_header(data: bytes) -> Header:
    """The header alone, nothing else of the file checked. Raises SnapshotRefused."""
    if len(data) < _START + DIGEST_BYTES or not data.startswith(MAGIC):
        raise SnapshotRefused("is no snapshot or was cut off at its beginning")
    (length,) = _LENGTH.unpack_from(data, len(MAGIC))
    head = data[_START : _START + length]
    try:
        version = msgspec.json.decode(head, type=_Version).format_version
        if version != FORMAT_VERSION:
            raise SnapshotRefused(f"has format {version}; this version reads format {FORMAT_VERSION}")
        return msgspec.json.decode(head, type=Header)
    except msgspec.DecodeError as error:
        raise SnapshotRefused("has a header that cannot be read") from error


def decode(data: bytes) -> tuple[Header, Iterator[tuple[bytes, bytes]]]:
    """Header and rows, key and value of each.

    Raises SnapshotRefused: here for what digest and header tell, and while the rows are read, for lengths and counts
    that do not agree.
    """
    content = memoryview(data)[:-DIGEST_BYTES]
    if len(data) >= DIGEST_BYTES and hashlib.sha256(content).digest() != data[-DIGEST_BYTES:]:
        raise SnapshotRefused("is torn or damaged: its digest does not fit its content")
    header = decode_header(data)
    (length,) = _LENGTH.unpack_from(data, len(MAGIC))
    return header, _rows(data, _START + length, len(content), header.row_count)


def _rows(data: bytes, place: int, end: int, count: int) -> Iterator[tuple[bytes, bytes]]:
    for _ in range(count):
        if place + _LENGTHS.size > end:
            raise SnapshotRefused("has fewer rows than its header says")
        key_length, value_length = _LENGTHS.unpack_from(data, place)
        key_start = place + _LENGTHS.size
        value_start = key_start + key_length
        place = value_start + value_length
        if place > end:
            raise SnapshotRefused("has a row that is longer than the file")
        yield data[key_start:value_start], data[value_start:place]
    if place != end:
        raise SnapshotRefused("has more rows than its header says")
