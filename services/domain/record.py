"""The one way to declare a value: immutable, keyword-only, each field with its sentence."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, dataclass_transform

import msgspec
from msgspec.structs import asdict, replace


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))  # for mypy: subclasses are frozen too
class Record(msgspec.Struct, frozen=True, gc=False):
    """An immutable value; declare with `kw_only=True`, which msgspec does not inherit.

    Records form trees, never cycles, so they are left out of garbage collection.
    """


def doc(sentence: str) -> msgspec.Meta:
    """Attach the sentence that the Avro schema and the reader get for a field."""
    return msgspec.Meta(description=sentence)


# The wire types. `extra` carries what the Avro schema needs beyond the Python type (schemas/README.md).
Quantity = Annotated[Decimal, msgspec.Meta(extra={"precision": 28, "scale": 8})]
"""Units for equities and funds, face amount in the instrument's currency for bonds; up to eight decimals."""

Price = Annotated[Decimal, msgspec.Meta(extra={"precision": 28, "scale": 10})]
"""Price per unit, or percent of par for bonds (see PriceType); up to ten decimals."""

Amount = Annotated[Decimal, msgspec.Meta(extra={"precision": 23, "scale": 5})]
"""Cash, in the major unit of its currency: 18 digits and 5 decimals as ISO 20022 ActiveCurrencyAndAmount has it."""

Rate = Annotated[Decimal, msgspec.Meta(extra={"precision": 20, "scale": 12})]
"""A plain factor: 0.005 is half a percent."""

TimestampUs = Annotated[int, msgspec.Meta(extra={"logicalType": "timestamp-micros"})]
"""Microseconds since 1970-01-01T00:00:00Z."""

__all__ = [
    "Amount",
    "Decimal",
    "Price",
    "Quantity",
    "Rate",
    "Record",
    "TimestampUs",
    "asdict",
    "date",
    "doc",
    "replace",
]
