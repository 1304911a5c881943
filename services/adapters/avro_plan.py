"""What a record looks like on the wire, as the fast writer and reader need it: a small tree, made once at start.

A schema with anything the fast way does not know has no plan, and its records are written and read carefully.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Any, NamedTuple, cast

import msgspec.inspect as types

from services.adapters.avro_schema import named_types, optional_part, unwrapped
from services.domain.record import Record

_ONE_BYTE_POSITIONS = 64
"""Positions 0 to 63 are one byte on the wire, with the highest bit clear."""


class Kind(Enum):
    """How a value is written."""

    TEXT = auto()
    LONG = auto()
    BOOLEAN = auto()
    DATE = auto()
    DECIMAL = auto()
    ENUM = auto()
    RECORD = auto()
    ARRAY = auto()
    TABLE = auto()
    """Texts by text."""


class Value(NamedTuple):
    """The type of one field, or of the items of an array; only what its kind needs is set."""

    kind: Kind
    is_optional: bool = False
    precision: int = 0
    scale: int = 0
    enum_type: type[Enum] | None = None
    symbols: tuple[str, ...] = ()
    record: RecordPlan | None = None
    item: Value | None = None


class RecordPlan(NamedTuple):
    """A record's fields in the order of the wire."""

    record_type: type[Record]
    fields: tuple[tuple[str, Value], ...]

    @property
    def name(self) -> str:
        """Name of the struct."""
        return self.record_type.__name__

    @property
    def is_of_texts(self) -> bool:
        """Whether it holds texts alone: two that are equal are then written alike, and a text is equal to nothing else.

        (An amount of 1 is equal to the integer 1, which must be refused.)
        """
        return all(value.kind is Kind.TEXT for _, value in self.fields)


class _NoPlanError(Exception):
    """There is something the fast way does not know."""


def plan_of(schema: dict[str, Any], record_type: type[Record]) -> RecordPlan | None:
    """The plan for bytes that this schema wrote, to be read as that struct; None when they are read carefully.

    Takes for granted that the schema fits the struct (`avro_careful.CarefulVersion` has checked it).
    """
    try:
        return _record(schema, record_type, dict(named_types(schema)))
    except _NoPlanError:
        return None


def _record(schema: dict[str, Any], record_type: type[Record], names: dict[str, Any]) -> RecordPlan:
    info = types.type_info(record_type)
    assert isinstance(info, types.StructType)
    of_struct = {field.name: field.type for field in info.fields}
    fields: list[tuple[str, Value]] = []
    for field in schema["fields"]:
        if field["name"] not in of_struct:
            raise _NoPlanError
        fields.append((field["name"], _value(field["type"], of_struct[field["name"]], names)))
    return RecordPlan(record_type, tuple(fields))


def _value(node: Any, annotated: types.Type, names: dict[str, Any]) -> Value:
    info, _ = unwrapped(annotated)
    node = names.get(node, node) if isinstance(node, str) else node
    match info:
        case types.UnionType():
            some = _value(node[1], optional_part(info), names)
            if some.kind in (Kind.RECORD, Kind.ARRAY, Kind.TABLE):
                raise _NoPlanError
            return some._replace(is_optional=True)
        case types.StrType():
            return Value(Kind.TEXT)
        case types.IntType():
            return Value(Kind.LONG)
        case types.BoolType():
            return Value(Kind.BOOLEAN)
        case types.DateType():
            return Value(Kind.DATE)
        case types.DecimalType():
            return Value(Kind.DECIMAL, precision=node["precision"], scale=node["scale"])
        case types.EnumType() if len(node["symbols"]) <= _ONE_BYTE_POSITIONS:
            return Value(Kind.ENUM, enum_type=info.cls, symbols=tuple(node["symbols"]))
        case types.StructType():
            return Value(Kind.RECORD, record=_record(node, cast(type[Record], info.cls), names))
        case types.VarTupleType():
            return Value(Kind.ARRAY, item=_item(_value(node["items"], info.item_type, names)))
        case types.DictType():
            return Value(Kind.TABLE)
    raise _NoPlanError


def _item(item: Value) -> Value:
    if item.is_optional or item.kind not in (Kind.TEXT, Kind.ENUM, Kind.RECORD):
        raise _NoPlanError
    return item


def compiled(source: str, name: str, entry: str, namespace: Mapping[str, Any]) -> Callable[..., Any]:
    """Compile generated source and answer its function `entry`; tracebacks show its lines under `name`."""
    file_name = f"<{name}>"
    known = dict(namespace)
    exec(compile(source, file_name, "exec"), known)  # noqa: S102  # made here from our own schema files, which tests freeze
    linecache.cache[file_name] = len(source), None, source.splitlines(keepends=True), file_name
    return cast(Callable[..., Any], known[entry])
