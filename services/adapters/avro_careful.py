"""Avro bodies one value at a time: what is right, and for what is wrong the sentence that says where.

This is the measure for the fast way (`avro_writer`, `avro_reader`): whatever that does not take is written or refused
here, and nothing that is refused here may pass there.

fastavro sees a plainer schema with the same bytes: decimals as bytes, dates, enums and booleans as integers. What these
mean is decided here, exactly: no decimal is rounded, no enum position counted from the end of the list, no number cut
off. One number has one form after decoding: an integer has no decimals and no exponent, any other no trailing zeros.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple, NoReturn, cast

import fastavro
import msgspec
import msgspec.inspect as types

from services.adapters.avro_schema import (
    EPOCH_ORDINAL,
    SchemaVersion,
    decimal_bytes,
    fingerprint,
    named_types,
    optional_part,
    unwrapped,
    without_documentation,
)
from services.domain.errors import DecodeError, EncodeError, NotAMessageError
from services.domain.money import EXACT
from services.domain.record import Record

Convert = Callable[[Any], Any]

MARKER = b"\xc3\x01"
HEADER_BYTES = 10
_LONG_MIN, _LONG_MAX = -(2**63), 2**63 - 1
MISFITS = (EOFError, IndexError, KeyError, TypeError, ValueError, ArithmeticError)
"""What fastavro and the conversions raise for bytes or values that do not fit; anything else is our own bug."""


class MisfitError(ValueError):
    """A value does not fit its field. Says which field and why, never the value."""

    def inside(self, field: str) -> MisfitError:
        """The same, seen from the record that has the field."""
        problem = str(self)
        return MisfitError(f"{field}{problem}" if problem.startswith(".") else f"{field} {problem}")


class CarefulVersion:
    """One schema file, ready to read and, if it is the newest, to write."""

    def __init__(self, file: SchemaVersion, record_type: type[Record]) -> None:
        self.file = file
        self.fingerprint = fingerprint(file.schema)
        self.header = MARKER + self.fingerprint
        names = dict(named_types(file.schema))
        try:
            self.form = _Form(file.schema, record_type, names)
        except ValueError as error:
            raise ValueError(f"{file.file_name} cannot be read as {record_type.__name__}: {error}") from None
        self.body_schema = fastavro.parse_schema(_body_schema(file.schema, names))

    def means_the_same_as(self, other: CarefulVersion) -> bool:
        """Whether values written with either are read alike."""
        return bool(without_documentation(self.file.schema) == without_documentation(other.file.schema))

    def write(self, event: Record) -> bytes:
        """Header and body of an event; raises EncodeError with the path of the field that does not fit."""
        output = io.BytesIO()
        output.write(self.header)
        try:
            fastavro.schemaless_writer(output, self.body_schema, self.form.to_row(event))
        except MisfitError as misfit:
            raise EncodeError(f"{type(event).__name__}.{misfit}") from None
        except MISFITS:
            self._blame(event)
        return output.getvalue()

    def read(self, data: bytes) -> Record:
        """The event behind a header of this version; raises DecodeError."""
        body = io.BytesIO(data)
        body.seek(HEADER_BYTES)
        try:
            row = fastavro.schemaless_reader(body, self.body_schema, None)
            event = self.form.from_row(cast(dict[str, Any], row))
        except MisfitError as misfit:
            raise DecodeError(f"{self.form.record_type.__name__}.{misfit}") from None
        except MISFITS as error:
            problem = "ended too early" if isinstance(error, EOFError) else "was malformed"
            raise NotAMessageError(f"body {problem} for {self.file.file_name}") from None
        if body.tell() != len(data):
            raise NotAMessageError(f"body went on after the last field of {self.file.file_name}")
        return event

    def _blame(self, event: Record) -> NoReturn:
        """Find the field that cannot be written: texts are checked only here, because fastavro checks them anyway."""
        try:
            self.form.check_texts(event)
        except MisfitError as misfit:
            raise EncodeError(f"{type(event).__name__}.{misfit}") from None
        raise EncodeError(f"{type(event).__name__} did not fit {self.file.file_name}")


class Pair(NamedTuple):
    """How the value of one field is turned for fastavro and back; None: it is passed on as it is."""

    encode: Convert | None
    decode: Convert | None
    check_texts: Convert


class _Form:
    """The conversions of one record type under one schema version."""

    def __init__(self, schema: dict[str, Any], record_type: type[Record], names: dict[str, Any]) -> None:
        self.record_type = record_type
        info = types.type_info(record_type)
        assert isinstance(info, types.StructType)
        of_struct = {field.name: field for field in info.fields}
        of_schema = {field["name"]: field["type"] for field in schema["fields"]}
        missing = [name for name, field in of_struct.items() if field.required and name not in of_schema]
        if missing:
            raise ValueError(f"fields without a default were missing: {', '.join(missing)}")
        self._dropped = [name for name in of_schema if name not in of_struct]
        pairs = {
            name: _pair(of_schema[name], field.type, names) for name, field in of_struct.items() if name in of_schema
        }
        self._encoders = [(name, pair.encode) for name, pair in pairs.items() if pair.encode is not None]
        self._decoders = [(name, pair.decode) for name, pair in pairs.items() if pair.decode is not None]
        self._checks = [(name, pair.check_texts) for name, pair in pairs.items()]

    def to_row(self, event: Any) -> dict[str, Any]:
        if type(event) is not self.record_type:
            raise MisfitError(f"was not of type {self.record_type.__name__}")
        row = msgspec.structs.asdict(event)
        for name, encode in self._encoders:
            try:
                row[name] = encode(row[name])
            except MisfitError as misfit:
                raise misfit.inside(name) from None
        return row

    def from_row(self, row: dict[str, Any]) -> Record:
        for name in self._dropped:
            del row[name]
        for name, decode in self._decoders:
            try:
                row[name] = decode(row[name])
            except MisfitError as misfit:
                raise misfit.inside(name) from None
        return self.record_type(**row)

    def check_texts(self, event: Record) -> None:
        for name, check in self._checks:
            try:
                check(getattr(event, name))
            except MisfitError as misfit:
                raise misfit.inside(name) from None


def _pair(node: Any, annotated: types.Type, names: dict[str, Any]) -> Pair:
    """Conversions for one type. Raises ValueError when schema and struct do not speak of the same kind of value."""
    info, _ = unwrapped(annotated)
    node = names.get(node, node) if isinstance(node, str) else node
    kind, logical = (node["type"], node.get("logicalType")) if isinstance(node, dict) else (node, None)
    match info:
        case types.UnionType() if isinstance(node, list):
            return _optional(_pair(node[1], optional_part(info), names))
        case types.StrType() if kind == "string":
            return Pair(None, None, _check_text)
        case types.IntType() if kind == "long":
            return Pair(_encode_long, None, _no_text)
        case types.BoolType() if kind == "boolean":
            return Pair(_encode_boolean, _decode_boolean, _no_text)
        case types.DateType() if logical == "date":
            return Pair(encode_date, decode_date, _no_text)
        case types.DecimalType() if logical == "decimal":
            return decimal_pair(precision=node["precision"], scale=node["scale"])
        case types.EnumType() if kind == "enum":
            return enum_pair(node["symbols"], info.cls)
        case types.StructType() if kind == "record":
            form = _Form(node, cast(type[Record], info.cls), names)
            return _inside(Pair(form.to_row, form.from_row, form.check_texts))
        case types.VarTupleType() if kind == "array":
            return _array(_pair(node["items"], info.item_type, names))
        case types.DictType() if kind == "map" and node["values"] == "string":
            return Pair(_encode_texts, None, _check_texts)
    raise ValueError(f"{type(info).__name__} was {logical or kind} in the schema")


def _body_schema(node: Any, names: dict[str, Any]) -> Any:
    """The schema fastavro works with: the same bytes, read and written as bytes, integers and texts.

    An enum is written as its position, an int; a boolean as one byte 0 or 1, which read as an int are 0 and -1. As
    enum and boolean fastavro would take a negative position and any byte.
    """
    if isinstance(node, list):
        return [_body_schema(branch, names) for branch in node]
    if isinstance(node, str):
        if node == "boolean" or (node in names and names[node]["type"] == "enum"):
            return "int"
        return node
    match node["type"]:
        case "record":
            fields = [{"name": field["name"], "type": _body_schema(field["type"], names)} for field in node["fields"]]
            return {"type": "record", "name": node["name"], "fields": fields}
        case "array":
            return {"type": "array", "items": _body_schema(node["items"], names)}
        case "map":
            return {"type": "map", "values": _body_schema(node["values"], names)}
        case "enum":
            return "int"
    return node["type"]


# --- one pair of conversions for each type ---------------------------------------------------------------------------


def _optional(some: Pair) -> Pair:
    def optional(convert: Convert | None) -> Convert | None:
        return None if convert is None else lambda value: None if value is None else convert(value)

    return Pair(
        optional(some.encode), optional(some.decode), lambda value: None if value is None else some.check_texts(value)
    )


def _array(item: Pair) -> Pair:
    encode_item, decode_item = item.encode, item.decode

    def encode(values: Any) -> list[Any]:
        if type(values) is not tuple:
            raise MisfitError("was not a tuple")
        return list(values) if encode_item is None else [encode_item(value) for value in values]

    def decode(values: list[Any]) -> tuple[Any, ...]:
        return tuple(values) if decode_item is None else tuple([decode_item(value) for value in values])

    def check_texts(values: Any) -> None:
        for value in values:
            item.check_texts(value)

    return Pair(encode, decode, check_texts)


def _inside(record: Pair) -> Pair:
    """Let what a nested record says about its field be a path: `charges.amount` instead of `charges amount`."""

    def with_path(convert: Convert | None) -> Convert:
        assert convert is not None

        def nested(value: Any) -> Any:
            try:
                return convert(value)
            except MisfitError as misfit:
                problem = str(misfit)
                raise misfit if problem.startswith("was ") else MisfitError(f".{problem}") from None

        return nested

    return Pair(with_path(record.encode), with_path(record.decode), with_path(record.check_texts))


def decimal_pair(*, precision: int, scale: int) -> Pair:
    """To and from the digits of a decimal: big-endian two's complement of its multiple of 10**-scale."""
    unit, limit = 10**scale, 10**precision
    times_unit, one_of_unit = Decimal(unit), EXACT.scaleb(Decimal(1), -scale)
    bytes_max = len(decimal_bytes(-limit))

    def encode(value: Any) -> bytes:
        if type(value) is not Decimal or not value.is_finite():
            raise MisfitError("was not a finite decimal")
        if not value:
            return b"\x00"
        if value.adjusted() + scale >= precision:
            raise MisfitError(f"was larger than {precision - scale} digits before the point")
        try:
            # Inexact is trapped in EXACT, so a digit behind the scale raises; it is never rounded away.
            unscaled = int(EXACT.to_integral_exact(EXACT.multiply(value, times_unit)))
        except ArithmeticError:
            raise MisfitError(f"was finer than {scale} decimals") from None
        return decimal_bytes(unscaled)

    def decode(digits: bytes) -> Decimal:
        if not 0 < len(digits) <= bytes_max:
            raise MisfitError(f"was not a decimal of at most {precision} digits")
        unscaled = int.from_bytes(digits, "big", signed=True)
        if not -limit < unscaled < limit:
            raise MisfitError(f"was not a decimal of at most {precision} digits")
        if not unscaled % unit:
            return Decimal(unscaled // unit)
        return EXACT.normalize(EXACT.multiply(unscaled, one_of_unit))

    return Pair(encode, decode, _no_text)


def enum_pair(symbols: Sequence[str], enum_type: type[Enum]) -> Pair:
    """To and from the position of a symbol, counted from 0."""
    members = {member.value: member for member in enum_type}
    by_position = {position: members[symbol] for position, symbol in enumerate(symbols) if symbol in members}
    positions = {member: position for position, member in by_position.items()}

    def encode(value: Any) -> int:
        if type(value) is not enum_type or value not in positions:
            raise MisfitError(f"was not a {enum_type.__name__}")
        return positions[value]

    def decode(position: int) -> Enum:
        member = by_position.get(position)
        if member is None:
            raise MisfitError(f"was a {enum_type.__name__} that is not known here")
        return member

    return Pair(encode, decode, _no_text)


def _encode_long(value: Any) -> int:
    if type(value) is not int or not _LONG_MIN <= value <= _LONG_MAX:
        raise MisfitError("was not an integer of 64 bits")
    return value


def _encode_boolean(value: Any) -> int:
    if type(value) is not bool:
        raise MisfitError("was not a boolean")
    return -1 if value else 0


def _decode_boolean(read: int) -> bool:
    if read not in (0, -1):
        raise MisfitError("was not a boolean")
    return read == -1


def encode_date(value: Any) -> int:
    """Days since 1970-01-01."""
    if not isinstance(value, date) or isinstance(value, datetime):
        raise MisfitError("was not a date")  # a datetime is a date to Python, and its time would be lost
    return value.toordinal() - EPOCH_ORDINAL


def decode_date(days: int) -> date:
    """The date so many days after 1970-01-01."""
    try:
        return date.fromordinal(days + EPOCH_ORDINAL)
    except (ValueError, OverflowError):
        raise MisfitError("was not a date of the years 1 to 9999") from None


def _encode_texts(value: Any) -> dict[str, str]:
    if type(value) is not dict or not all(type(key) is str for key in value):
        raise MisfitError("was not a table of texts")
    return dict(sorted(value.items()))  # equal tables, equal bytes, in whatever order they were filled


def _check_text(value: Any) -> None:
    if not isinstance(value, str):
        raise MisfitError("was not text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise MisfitError("was not valid Unicode") from None


def _check_texts(value: dict[str, Any]) -> None:
    for key, text in value.items():
        _check_text(key)
        _check_text(text)


def _no_text(_: Any) -> None:
    """Nothing to check: the conversion was strict."""
