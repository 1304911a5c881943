"""Avro schemas of records: made from the struct, read from `schemas/avro`, fingerprinted.

The struct is the source: names, types, defaults and sentences are taken from it (table of types: `schemas/README.md`).
The files are what has been promised to others; `schemas/generate.py` writes them and tests hold the two together.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import fastavro
import msgspec
import msgspec.inspect as types

from services.domain.money import EXACT
from services.domain.record import Record

NAMESPACE = "posttrade"
UNRECOGNISED = "UNRECOGNISED"
"""First symbol and default of every enum: what a reader sees for a symbol that is newer than itself. No Python enum has
it, so it is never written, and the decoder refuses it (docs/decisions/0004-enum-symbols-may-be-added.md)."""

DIRECTORY = Path(__file__).parents[2] / "schemas" / "avro"
EPOCH_ORDINAL = date(1970, 1, 1).toordinal()

_FILE_NAME = re.compile(r"(?P<name>[a-z_]+)\.v(?P<version>[1-9][0-9]*)\.avsc")
_WORD_START = re.compile(r"(?<!^)(?=[A-Z])")


class SchemaVersion(NamedTuple):
    """One file of `schemas/avro`."""

    name: str
    """Record in snake case, as in the file's name."""
    version: int
    schema: dict[str, Any]

    @property
    def file_name(self) -> str:
        """Name of the file, for example `execution.v1.avsc`."""
        return f"{self.name}.v{self.version}.avsc"


def snake_name(record_type: type[Record]) -> str:
    """Name of a record's files: `StandingSettlementInstruction` is `standing_settlement_instruction`."""
    return _WORD_START.sub("_", record_type.__name__).lower()


def schema_of(record_type: type[Record]) -> dict[str, Any]:
    """Make the schema of a record. Raises ValueError for a type that has no place on the wire."""
    info = types.type_info(record_type)
    assert isinstance(info, types.StructType)
    schema = _record(info, defined=set())
    return {"namespace": NAMESPACE} | schema


def schema_text(schema: dict[str, Any]) -> str:
    """The bytes of a schema file: same schema, same text."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def read_versions(directory: Path = DIRECTORY) -> dict[str, list[SchemaVersion]]:
    """Every schema file by record, oldest version first. Raises ValueError for a file that does not belong there."""
    found: dict[str, list[SchemaVersion]] = {}
    for path in sorted(directory.iterdir()):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            raise ValueError(f"{path.name} in schemas/avro was not named <record>.v<version>.avsc")
        schema = json.loads(path.read_text(encoding="utf-8"))
        found.setdefault(match["name"], []).append(SchemaVersion(match["name"], int(match["version"]), schema))
    for name, versions in found.items():
        versions.sort(key=lambda version: version.version)
        if [version.version for version in versions] != list(range(1, len(versions) + 1)):
            raise ValueError(f"versions of {name} were not 1, 2, 3 and so on")
    return found


def fingerprint(schema: dict[str, Any]) -> bytes:
    """CRC-64-AVRO of the parsing canonical form, eight bytes, least significant first as on the wire.

    The canonical form leaves out docs, defaults and logical types: two versions may share a fingerprint, and may do so
    only if values mean the same in both (`without_documentation`).
    """
    canonical = fastavro.schema.to_parsing_canonical_form(schema)
    return bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))


def without_documentation(node: Any) -> Any:
    """The schema without its sentences: what decides how bytes are written and what they mean."""
    if isinstance(node, dict):
        return {key: without_documentation(value) for key, value in node.items() if key != "doc"}
    if isinstance(node, list):
        return [without_documentation(item) for item in node]
    return node


def named_types(node: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Records and enums defined in a schema, with their names, outermost first."""
    if isinstance(node, list):
        for branch in node:
            yield from named_types(branch)
    elif isinstance(node, dict):
        if "name" in node and node["type"] in ("record", "enum"):
            yield node["name"], node
        for part in (*node.get("fields", ()), node.get("type"), node.get("items"), node.get("values")):
            yield from named_types(part)


def unwrapped(info: types.Type) -> tuple[types.Type, dict[str, Any]]:
    """A type without its annotations, and what they carry: precision, scale, logicalType, description."""
    carried: dict[str, Any] = {}
    while isinstance(info, types.Metadata):
        carried |= (info.extra_json_schema or {}) | (info.extra or {})
        info = info.type
    return info, carried


def _record(info: types.StructType, defined: set[str]) -> dict[str, Any]:
    record_type = info.cls
    defined.add(record_type.__name__)
    return {
        "type": "record",
        "name": record_type.__name__,
        "doc": _sentence(record_type),
        "fields": [_field(field, record_type, defined) for field in info.fields],
    }


def _field(field: types.Field, record_type: type, defined: set[str]) -> dict[str, Any]:
    where = f"{record_type.__name__}.{field.name}"
    _, carried = unwrapped(field.type)
    if "description" not in carried:
        raise ValueError(f"{where} was without a sentence: annotate it with doc(...)")
    try:
        schema = {"name": field.name, "doc": carried["description"], "type": _type(field.type, defined)}
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if not field.required:
        if field.default is msgspec.NODEFAULT:
            raise ValueError(f"{where} had a default made by a function, which a schema cannot hold")
        schema["default"] = _default(field.default, carried)
    return schema


def _type(annotated: types.Type, defined: set[str]) -> Any:
    info, carried = unwrapped(annotated)
    match info:
        case types.StrType():
            return "string"
        case types.BoolType():
            return "boolean"
        case types.IntType():
            return {"type": "long", "logicalType": carried["logicalType"]} if "logicalType" in carried else "long"
        case types.DateType():
            return {"type": "int", "logicalType": "date"}
        case types.DecimalType() if {"precision", "scale"} <= carried.keys():
            decimal = {"type": "bytes", "logicalType": "decimal"}
            return decimal | {"precision": carried["precision"], "scale": carried["scale"]}
        case types.EnumType():
            return _enum(info.cls, defined)
        case types.StructType():
            return info.cls.__name__ if info.cls.__name__ in defined else _record(info, defined)
        case types.VarTupleType():
            return {"type": "array", "items": _type(info.item_type, defined)}
        case types.DictType() if isinstance(unwrapped(info.key_type)[0], types.StrType):
            return {"type": "map", "values": _type(info.value_type, defined)}
        case types.UnionType():
            return ["null", _type(optional_part(info), defined)]
    raise ValueError(f"type was {type(info).__name__}, which has no place on the wire")


def optional_part(info: types.UnionType) -> types.Type:
    """The X of `X | None`. Raises ValueError for any other union."""
    parts = [part for part in info.types if not isinstance(unwrapped(part)[0], types.NoneType)]
    if len(parts) != 1 or len(parts) == len(info.types):
        raise ValueError("union was not of the form X | None")
    return parts[0]


def _enum(enum_type: type[Enum], defined: set[str]) -> Any:
    name = enum_type.__name__
    if name in defined:
        return name
    defined.add(name)
    symbols = [member.value for member in enum_type]
    if UNRECOGNISED in symbols:
        raise ValueError(f"{name} had a member {UNRECOGNISED}, which is kept for symbols a reader does not know")
    return {
        "type": "enum",
        "name": name,
        "doc": f"{_sentence(enum_type)} {UNRECOGNISED} is never written; readers refuse it.",
        "symbols": [UNRECOGNISED, *symbols],
        "default": UNRECOGNISED,
    }


def _default(value: Any, carried: dict[str, Any]) -> Any:
    match value:
        case Decimal():
            return decimal_bytes(int(EXACT.scaleb(value, carried["scale"]))).decode("iso-8859-1")
        case date():
            return value.toordinal() - EPOCH_ORDINAL
        case Enum():
            return value.value
        case ():
            return []
        case None | bool() | int() | str():
            return value
    raise ValueError(f"default was {type(value).__name__}, which a schema cannot hold")


def decimal_bytes(unscaled: int) -> bytes:
    """The shortest big-endian two's complement, which is how Avro writes the digits of a decimal."""
    magnitude = unscaled if unscaled >= 0 else ~unscaled
    return unscaled.to_bytes(magnitude.bit_length() // 8 + 1, "big", signed=True)


def _sentence(documented: type) -> str:
    text = inspect.cleandoc(documented.__doc__ or "")
    if not text:
        raise ValueError(f"{documented.__name__} was without a docstring")
    return " ".join(text.split())
