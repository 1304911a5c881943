"""Events to bytes and back: Avro, with the writer's schema named by its fingerprint.

On the wire (Avro specification, single-object encoding): C3 01, eight bytes CRC-64-AVRO of the writer's schema, least
significant first, then the body. No registry is asked: every schema ever written lies in `schemas/avro`. The newest
version writes, all versions are read. A field that the writer did not have takes the struct's default, a field that the
struct no longer has is dropped.

There are two ways, and the second is the measure of the first:
- the fast one (`avro_writer`, `avro_reader`): a function of its own for each schema, made at start. It takes what is
  written every day and lets go of everything else, without a word why;
- the careful one (`avro_careful`), through fastavro: it takes what the fast one let go, or refuses it with a sentence
  that names the field. So what is refused, and how, is decided there alone.

No decimal is rounded, no enum position counted from the end of the list, no number cut off. One number has one form
after decoding: an integer has no decimals and no exponent, any other no trailing zeros.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from services.adapters.avro_careful import HEADER_BYTES, MARKER, MISFITS, CarefulVersion
from services.adapters.avro_normal import Normal, make_normal
from services.adapters.avro_plan import plan_of
from services.adapters.avro_reader import Read, make_reader
from services.adapters.avro_schema import DIRECTORY, read_versions, schema_of, snake_name, without_documentation
from services.adapters.avro_tables import Tables
from services.adapters.avro_writer import Write, make_writer
from services.domain.errors import EncodeError, NotAMessageError, SchemaUnknownError
from services.domain.record import Record
from services.topics import WIRE_RECORDS

T = TypeVar("T", bound=Record)


class AvroCodec:
    """Reads and writes every record of `services.topics.WIRE_RECORDS`. Has no state but its tables.

    What is remembered of recent values (decimals, dates, settlement chains) changes no result, and is bounded.
    """

    def __init__(self, directory: Path = DIRECTORY, record_types: Iterable[type[Record]] = WIRE_RECORDS) -> None:
        """Read the schemas. Raises ValueError when a file is missing or does not fit its struct.

        Better no start than bytes that nobody can read back.
        """
        versions = read_versions(directory)
        tables = Tables()
        self._writers: dict[type[Record], CarefulVersion] = {}
        self._readers: dict[bytes, CarefulVersion] = {}
        self._fast_writers: dict[type[Record], Write] = {}
        self._fast_readers: dict[tuple[bytes, type[Record]], Read] = {}
        self._normals: dict[type[Record], Normal] = {}
        for record_type in record_types:
            for version in versions.get(snake_name(record_type), ()):
                self._add(CarefulVersion(version, record_type))
            self._check_newest(record_type)
            self._make_fast(record_type, tables)

    def encode(self, event: Record) -> bytes:
        """Write an event with its newest schema; equal events give equal bytes.

        Raises EncodeError, naming the field, when a value does not fit its type exactly.
        """
        write = self._fast_writers.get(type(event))
        if write is not None:
            try:
                return write(event)
            except MISFITS:
                pass  # the careful way says what is wrong with it, if anything is
        writer = self._writers.get(type(event))
        if writer is None:
            raise EncodeError(f"{type(event).__name__} was not a record with a schema")
        return writer.write(event)

    def decode(self, data: bytes | None, record_type: type[T]) -> T:
        """Read a value as a record of that type, whichever version wrote it.

        Raises DecodeError (SchemaUnknownError for an unknown fingerprint) with one sentence that holds no payload.
        """
        if data:
            read = self._fast_readers.get((data[:HEADER_BYTES], record_type))
            if read is not None:
                try:
                    return cast(T, read(data))
                except MISFITS:
                    pass  # as in encode
        return self._decode_carefully(data, record_type)

    def as_read(self, event: T) -> T | None:
        """What `decode(encode(event))` would give, for an event that `encode` has taken; None when that is not known.

        It is not known of records that hold a table, whose content may change, and of values that only pass for a text
        or a date.
        """
        normal = self._normals.get(type(event))
        if normal is None:
            return None
        try:
            return cast(T, normal(event))
        except MISFITS:
            return None

    def _decode_carefully(self, data: bytes | None, record_type: type[T]) -> T:
        if not data:
            raise NotAMessageError("value was empty")
        if data[:2] != MARKER:
            raise NotAMessageError("value did not begin with the Avro marker C3 01")
        if len(data) < HEADER_BYTES:
            raise NotAMessageError("value ended within the schema fingerprint")
        reader = self._readers.get(data[2:HEADER_BYTES])
        if reader is None:
            raise SchemaUnknownError(f"schema fingerprint was {data[2:HEADER_BYTES].hex()}, which is not known here")
        if reader.form.record_type is not record_type:
            raise NotAMessageError(f"record was {reader.form.record_type.__name__}, not {record_type.__name__}")
        return cast(T, reader.read(data))

    def _add(self, version: CarefulVersion) -> None:
        same = self._readers.get(version.fingerprint)
        if same is not None and not same.means_the_same_as(version):
            raise ValueError(
                f"{version.file.file_name} had the fingerprint of {same.file.file_name} but another meaning"
            )
        self._readers[version.fingerprint] = version
        self._writers[version.form.record_type] = version

    def _check_newest(self, record_type: type[Record]) -> None:
        newest = self._writers.get(record_type)
        if newest is None:
            raise ValueError(f"{record_type.__name__} was without a schema file")
        if without_documentation(newest.file.schema) != without_documentation(schema_of(record_type)):
            raise ValueError(f"{newest.file.file_name} did not fit {record_type.__name__}: run make schemas")

    def _make_fast(self, record_type: type[Record], tables: Tables) -> None:
        newest = self._writers[record_type]
        for version in self._readers.values():
            if version.form.record_type is not record_type:
                continue
            plan = plan_of(version.file.schema, record_type)
            if plan is None:
                continue  # a field the struct no longer has, for example: read carefully, which is always right
            self._fast_readers[version.header, record_type] = make_reader(plan, tables)
            if version is newest:
                self._fast_writers[record_type] = make_writer(plan, newest.header, tables)
                normal = make_normal(plan, tables)
                if normal is not None:
                    self._normals[record_type] = normal


def to_json(event: Record) -> dict[str, Any]:
    """An event as plain JSON values for people: decimals as text without exponent, dates as ISO 8601, codes as text."""
    return {name: _plain(value) for name, value in msgspec.structs.asdict(event).items()}


def _plain(value: Any) -> Any:
    match value:
        case Decimal():
            return format(value, "f")
        case date():
            return value.isoformat()
        case Enum():
            return value.value
        case msgspec.Struct():
            return to_json(cast(Record, value))
        case tuple():
            return [_plain(item) for item in value]
        case dict():
            return {key: _plain(item) for key, item in value.items()}
    return value
