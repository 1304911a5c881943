"""Generated code that reads one record type under one schema version: bytes to struct, nothing in between.

For an event with a text, a code, a settlement chain and an amount the source reads (chain and optional texts longer):

    def read(data):
        text = data.decode("latin-1")  # one character a byte: a slice of it is an ASCII text already
        at = 10
        begin = at + 1
        try:
            at = begin + LENGTH[data[at]]
        except TypeError:  # None: two bytes or more, or negative
            begin, at = read_bounds(data, at)
        f_sender = text[begin:at]
        f_side = Side[data[at]]
        at += 1
        begin = at
        at = begin + 1 + (data[begin] >> 1)
        f_amount = DECIMAL_23_5[data[begin:at]]
        if at != len(data):
            refuse()
        if not f_sender.isascii():
            f_sender = utf8(f_sender)
        return Record(sender=f_sender, side=f_side, amount=f_amount)

No length is compared with the end of the bytes on the way: a slice beyond it is short, which no table knows, and the
position behind it is not the end. Straight lines of code instead of a call for each field: 1.6 to 1.7 times as fast as
a list of closures over the same tables, which was measured beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

from services.adapters import avro_tables as tables_of
from services.adapters.avro_careful import HEADER_BYTES
from services.adapters.avro_plan import Kind, RecordPlan, Value, compiled
from services.adapters.avro_tables import ReadItem, Tables
from services.domain.record import Record

Read = Callable[[bytes], Record]


def make_reader(plan: RecordPlan, tables: Tables) -> Read:
    """The reader of a whole value. It raises one of `avro_careful.MISFITS` for what it does not take."""
    source = _source(plan, begin=("def read(data):", "    text = data.decode('latin-1')", f"    at = {HEADER_BYTES}"))
    return cast(Read, compiled(source, f"avro reader of {plan.name}", "read", _namespace(plan, tables)))


def _nested_reader(plan: RecordPlan, tables: Tables) -> ReadItem:
    """Reads a record within another; answers it and the position behind it."""
    source = _source(plan, begin=("def read(data, text, at):",), is_nested=True)
    known = _namespace(plan, tables)
    return cast(ReadItem, compiled(source, f"avro reader of {plan.name} within", "read", known))


def _namespace(plan: RecordPlan, tables: Tables) -> dict[str, Any]:
    """What the source of a record names, its own fields only."""
    known: dict[str, Any] = {
        name: getattr(tables_of, name)
        for name in ("read_bounds", "read_long", "read_text", "read_array", "read_table", "utf8", "refuse")
    }
    known |= {"RECORD": plan.record_type, "DATE": tables.dates, "read_date": tables.read_date}
    known |= {"BOOLEAN": {0: False, 1: True}, "LENGTH": tables_of.LENGTH_READ, "SMALL": tables_of.SMALL_READ}
    for _, value in plan.fields:
        known |= _own_table(value.item or value, tables)
    return known


def _own_table(value: Value, tables: Tables) -> dict[str, Any]:
    """The tables one field needs, by the names the source gives them."""
    if value.enum_type is not None:
        members = tables_of.enum_members(value.symbols, value.enum_type)
        name = value.enum_type.__name__
        return {name: members, f"read_{name}": lambda data, _, at: (members[data[at]], at + 1)}
    if value.kind is Kind.DECIMAL:
        return {_decimal_name(value): tables.decimals(value.precision, value.scale)}
    if value.record is not None:
        name = value.record.name
        return {f"read_{name}": _nested_reader(value.record, tables), name: tables_of.records()}
    return {}


def _decimal_name(value: Value) -> str:
    return f"DECIMAL_{value.precision}_{value.scale}"


# --- the source ------------------------------------------------------------------------------------------------------


def _source(plan: RecordPlan, begin: tuple[str, ...], *, is_nested: bool = False) -> str:
    lines = list(begin)
    for name, value in plan.fields:
        lines.append(f"    # {name}: {'optional ' if value.is_optional else ''}{value.kind.name.lower()}")
        lines += [f"    {line}" for line in _field(f"f_{name}", value)]
    if not is_nested:
        lines += ["    if at != len(data):  # cut off, or there is more", "        refuse()"]
    lines += [f"    {line}" for line in _texts(plan)]
    arguments = ", ".join(f"{name}=f_{name}" for name, _ in _in_order_of_struct(plan))
    lines.append(f"    return RECORD({arguments}){', at' if is_nested else ''}")
    return "\n".join(lines) + "\n"


def _in_order_of_struct(plan: RecordPlan) -> list[tuple[str, Value]]:
    """A struct takes its arguments fastest in its own order."""
    order = plan.record_type.__struct_fields__
    return sorted(plan.fields, key=lambda field: order.index(field[0]))


def _texts(plan: RecordPlan) -> Iterator[str]:
    """Once for all: were they ASCII? If not, they are read again as UTF-8."""
    texts = [(f"f_{name}", value.is_optional) for name, value in plan.fields if value.kind is Kind.TEXT]
    if not texts:
        return
    joined = ", ".join(f"{name} or ''" if is_optional else name for name, is_optional in texts)
    yield f"if not ''.join(({joined},)).isascii():"
    for name, _ in texts:
        yield f"    {name} = utf8({name})"


def _field(field: str, value: Value) -> list[str]:
    """Lines that read one field at `at`, and leave `at` behind it."""
    if not value.is_optional:
        return _present(field, value)
    return [
        "if data[at] == 0:",
        f"    {field} = None",
        "    at += 1",
        "elif data[at] == 2:",
        "    at += 1",
        *(f"    {line}" for line in _present(field, value)),
        "else:",
        "    refuse()",
    ]


def _present(field: str, value: Value) -> list[str]:
    match value.kind:
        case Kind.TEXT:
            return _text(field)
        case Kind.ENUM if value.enum_type is not None:
            return [f"{field} = {value.enum_type.__name__}[data[at]]", "at += 1"]
        case Kind.BOOLEAN:
            return [f"{field} = BOOLEAN[data[at]]", "at += 1"]
        case Kind.LONG:
            return [
                f"{field} = SMALL[data[at]]",
                f"if {field} is None:  # two bytes or more",
                f"    {field}, at = read_long(data, at)",
                "else:",
                "    at += 1",
            ]
        case Kind.DECIMAL:
            lookup = f"{field} = {_decimal_name(value)}[data[begin:at]]"
            return ["begin = at", "at = begin + 1 + (data[begin] >> 1)", lookup]
        case Kind.DATE:
            # Dates from 1992 to 4839 take three bytes. Only complete ones are in the table.
            lookup = f"{field} = DATE.get(data[at : at + 3])"
            return [lookup, f"if {field} is None:", f"    {field}, at = read_date(data, at)", "else:", "    at += 3"]
        case Kind.TABLE:
            return [f"{field}, at = read_table(data, text, at)"]
        case Kind.RECORD if value.record is not None:
            return _record(field, value.record)
    return _array(field, value)


def _text(field: str) -> list[str]:
    return [
        "begin = at + 1",
        "try:",
        "    at = begin + LENGTH[data[at]]",
        "except TypeError:",
        "    begin, at = read_bounds(data, at)",
        f"{field} = text[begin:at]",
    ]


def _record(field: str, plan: RecordPlan) -> list[str]:
    """A record of texts is looked up by its bytes: settlement chains repeat.

    Its end is found without looking whether each length is one byte; only records whose end is found so are entered.
    Bytes that begin with one of these lead to the same end, because a record tells its end itself; so a hit is right.
    """
    if not plan.is_of_texts:
        return [f"{field}, at = read_{plan.name}(data, text, at)"]
    lines = []
    for _, value in plan.fields:
        if value.is_optional:
            lines.append("    at += 2 + (data[at + 1] >> 1) if data[at] else 1")
        else:
            lines.append("    at += 1 + (data[at] >> 1)")
    return [
        "begin = at",
        "try:",
        *lines,
        "except IndexError:  # so far off that it is behind the end",
        "    at = begin",
        f"{field} = {plan.name}.get(data[begin:at])",
        f"if {field} is None:",
        "    end = at",
        f"    {field}, at = read_{plan.name}(data, text, begin)",
        "    if at == end:",
        f"        {plan.name}.enter(data[begin:at], {field})",
    ]


def _array(field: str, value: Value) -> list[str]:
    item = value.item
    assert item is not None
    if item.record is not None:
        read_item = f"read_{item.record.name}"
    else:
        read_item = "read_text" if item.enum_type is None else f"read_{item.enum_type.__name__}"
    return [
        "if data[at] == 0:",
        f"    {field} = ()",
        "    at += 1",
        "else:",
        f"    {field}, at = read_array(data, text, at, {read_item})",
    ]
