"""Any valid record of a type, drawn from the struct alone: what the codec must carry without loss."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import msgspec.inspect as types
from hypothesis import strategies as st

from services.adapters.avro_schema import optional_part, unwrapped
from services.domain.money import EXACT
from services.domain.record import Record

TEXT = st.one_of(
    st.text(st.characters(codec="ascii"), max_size=12),  # what is written every day
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.text(st.characters(codec="ascii"), min_size=62, max_size=66),  # where the length begins to take two bytes
)


def records(record_type: type[Record]) -> st.SearchStrategy[Record]:
    """Any record of the type."""
    info = types.type_info(record_type)
    assert isinstance(info, types.StructType)
    return st.builds(record_type, **{field.name: values(field.type) for field in info.fields})


def decimals(*, precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    """Any decimal of that many digits, half of them with few, some written with needless zeros."""
    limit = 10**precision - 1
    digits = st.one_of(st.integers(-limit, limit), st.integers(-(10**6), 10**6))
    exact = digits.map(lambda unscaled: EXACT.scaleb(Decimal(unscaled), -scale))
    return st.one_of(exact, exact.map(EXACT.normalize))


def values(annotated: types.Type) -> st.SearchStrategy[Any]:
    """Any value of a field's type."""
    info, carried = unwrapped(annotated)
    match info:
        case types.StrType():
            return TEXT
        case types.BoolType():
            return st.booleans()
        case types.IntType():
            return st.integers(-(2**63), 2**63 - 1)
        case types.DateType():
            return st.dates(date.min, date.max)
        case types.DecimalType():
            return decimals(precision=carried["precision"], scale=carried["scale"])
        case types.EnumType():
            return st.sampled_from(list(info.cls))
        case types.StructType():
            return records(info.cls)  # type: ignore[arg-type]  # nested structs of events are records
        case types.VarTupleType():
            return st.lists(values(info.item_type), max_size=3).map(tuple)
        case types.DictType():
            return st.dictionaries(TEXT, TEXT, max_size=3)
        case types.UnionType():
            return st.none() | values(optional_part(info))
    raise AssertionError(f"no strategy for {info}")
