"""Generated code that tells what reading an event's own bytes would give, without bytes.

Writing and reading back changes form, never meaning: 1.50 becomes 1.5, a code used as a text becomes a plain text. The
source for an event with a text, an optional date, a settlement chain and an amount reads:

    def normal(event):
        f_sender = event.sender
        if type(f_sender) is not str: refuse()
        f_day = event.day
        if f_day is not None and type(f_day) is not date: refuse()
        f_chain = event.chain
        n_chain = SettlementChain[f_chain]
        f_amount = event.amount
        n_amount = DECIMAL[f_amount]
        if n_chain is f_chain and n_amount is f_amount:
            return event
        return RECORD(sender=f_sender, day=f_day, chain=n_chain, amount=n_amount)
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any, cast

from services.adapters import avro_tables as tables_of
from services.adapters.avro_plan import Kind, RecordPlan, Value, compiled
from services.adapters.avro_tables import Tables
from services.domain.record import Record

Normal = Callable[[Record], Record]


def make_normal(plan: RecordPlan, tables: Tables) -> Normal | None:
    """From an event that has been written to the event that would be read; None for a record that holds a table.

    (A table can be changed by whoever has it, so the event is not what was written for ever.) The function raises one
    of `avro_careful.MISFITS` when it does not know; then the bytes must be read.
    """
    if any(value.kind is Kind.TABLE for _, value in plan.fields):
        return None
    known: dict[str, Any] = {"RECORD": plan.record_type, "date": date, "refuse": tables_of.refuse}
    known |= {"only_texts": tables_of.only_texts, "DECIMAL": tables.normal_decimals}
    for _, value in plan.fields:
        found = _own_table(value, tables)
        if found is None:
            return None
        known |= found
    return cast(Normal, compiled(_source(plan), f"avro normal form of {plan.name}", "normal", known))


def _own_table(value: Value, tables: Tables) -> dict[str, Any] | None:
    plan = value.record or (value.item.record if value.item is not None else None)
    if plan is None:
        return {}
    inner = make_normal(plan, tables)
    if inner is None:
        return None
    # Texts are equal to nothing else (RecordPlan.is_of_texts), so equal records have one form.
    return {plan.name: tables_of.records(inner)} if plan.is_of_texts else {f"normal_{plan.name}": inner}


def _source(plan: RecordPlan) -> str:
    lines = ["def normal(event):"]
    changed: dict[str, str] = {}
    for name, value in plan.fields:
        field = f"f_{name}"
        lines.append(f"    {field} = event.{name}")
        normal = _normal(field, value)
        if normal is not None:
            changed[name] = f"n_{name}"
            guard = f"None if {field} is None else " if value.is_optional else ""
            lines.append(f"    n_{name} = {guard}{normal}")
            continue
        lines += [f"    {line}" for line in _check(field, value)]
    if changed:
        lines.append(f"    if {' and '.join(f'{other} is f_{name}' for name, other in changed.items())}:")
        lines.append("        return event")
        # The plan is that of the newest schema, which has every field.
        arguments = (f"{name}={changed.get(name, f'f_{name}')}" for name in plan.record_type.__struct_fields__)
        lines.append(f"    return RECORD({', '.join(arguments)})")
    else:
        lines.append("    return event")
    return "\n".join(lines) + "\n"


def _normal(field: str, value: Value) -> str | None:
    """What the field would be read as; None when it would be read as it is."""
    if value.kind is Kind.DECIMAL:
        return f"DECIMAL[{field}]"
    if value.record is not None:
        name = value.record.name
        return f"{name}[{field}]" if value.record.is_of_texts else f"normal_{name}({field})"
    if value.item is not None and value.item.record is not None:
        name = value.item.record.name
        each = f"{name}[item]" if value.item.record.is_of_texts else f"normal_{name}(item)"
        return f"tuple([{each} for item in {field}]) if {field} else {field}"
    return None


def _check(field: str, value: Value) -> list[str]:
    """Leave alone what is no plain text or date; the writer takes what is derived from them, too."""
    absent = f"{field} is not None and " if value.is_optional else ""
    match value.kind:
        case Kind.TEXT:
            return [f"if {absent}type({field}) is not str: refuse()"]
        case Kind.DATE:
            return [f"if {absent}type({field}) is not date: refuse()"]
        case Kind.ARRAY if value.item is not None and value.item.kind is Kind.TEXT:
            return [f"only_texts({field})"]
    return []
