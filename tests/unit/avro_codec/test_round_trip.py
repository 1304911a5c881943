"""What is written is read back as the same record, in one form, and others who know Avro read the same."""

from __future__ import annotations

import io
import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

import avro.io
import avro.schema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.adapters.avro_careful import MisfitError, decimal_pair
from services.adapters.avro_codec import AvroCodec, to_json
from services.adapters.avro_schema import fingerprint, schema_of
from services.domain import event as ev
from services.domain.code import ExceptionStatus
from services.domain.money import EXACT
from services.domain.record import Record
from services.topics import WIRE_RECORDS
from tests import samples
from tests.unit.avro_codec.strategies import records

CODEC = AvroCodec()
ANY_RECORD = st.sampled_from(WIRE_RECORDS).flatmap(records)


@settings(max_examples=150, deadline=None)
@given(ANY_RECORD)
def test_every_record_comes_back_equal(event: Record) -> None:
    """Nothing is lost or changed, for every type, up to the limits of each field."""
    data = CODEC.encode(event)
    again = CODEC.decode(data, type(event))

    assert again == event
    assert CODEC.encode(again) == data


@settings(max_examples=60, deadline=None)
@given(ANY_RECORD)
def test_another_implementation_reads_the_same(event: Record) -> None:
    """The Avro project's own reader, given the published schema, sees the values that were written.

    Points in time are read as the integers they are on the wire: the reader's own type for them ends with year 9999.
    """
    schema = avro.schema.parse(json.dumps(_without_logical_types(schema_of(type(event)), only="timestamp-micros")))
    body = avro.io.BinaryDecoder(io.BytesIO(CODEC.encode(event)[10:]))
    read: Any = avro.io.DatumReader(schema, schema).read(body)

    for name in event.__struct_fields__:
        written = getattr(event, name)
        if isinstance(written, Decimal | str | bool | int | dict | None):
            assert read[name] == written, name


@pytest.mark.parametrize("record_type", WIRE_RECORDS, ids=lambda kind: kind.__name__)
def test_the_fingerprint_is_the_one_of_the_specification(record_type: type[Record]) -> None:
    """Another implementation computes the same CRC-64-AVRO; otherwise nobody else could read what is written here.

    It is given the schema without logical types: it leaves {"type": "int"} where the specification's rule PRIMITIVES
    asks for "int".
    """
    schema = schema_of(record_type)
    other = avro.schema.parse(json.dumps(_without_logical_types(schema))).fingerprint("CRC-64-AVRO")

    assert fingerprint(schema) == bytes(other)


def _without_logical_types(node: Any, only: str | None = None) -> Any:
    if isinstance(node, list):
        return [_without_logical_types(item, only) for item in node]
    if isinstance(node, dict):
        if "logicalType" in node and only in (None, node["logicalType"]):
            return node["type"]
        return {key: _without_logical_types(part, only) for key, part in node.items()}
    return node


def test_the_header_is_that_of_the_single_object_encoding() -> None:
    """The specification gives 0x7275d51a3f395c8f for "int"; on the wire it stands least significant first."""
    assert fingerprint({"type": "int"}) == 0x7275D51A3F395C8F.to_bytes(8, "little")
    assert CODEC.encode(samples.execution())[:2] == b"\xc3\x01"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("100.00", "100"),
        ("1E+3", "1000"),
        ("1000.00000000", "1000"),
        ("0.10", "0.1"),
        ("-0", "0"),
        ("0E+9", "0"),
        ("0.00000001", "1E-8"),
        ("-12.5000", "-12.5"),
        ("99999999999999999999.99999999", "99999999999999999999.99999999"),
    ],
)
def test_a_decimal_has_one_form_after_decoding(written: str, read: str) -> None:
    """Equal numbers look equal in messages and hashes, however the sender wrote them."""
    event = CODEC.decode(CODEC.encode(samples.execution(quantity=Decimal(written))), type(samples.execution()))

    assert str(event.quantity) == read


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(st.integers(-(10**9), 10**9), st.integers(-(10**30), 10**30)),
    st.integers(-14, 20),
    st.sampled_from([(28, 8), (28, 10), (23, 5), (20, 12)]),
)
def test_a_decimal_is_the_fraction_it_says(digits: int, exponent: int, form: tuple[int, int]) -> None:
    """Exact or refused, by arithmetic without a precision: whole multiples of the unit within the limit, no others."""
    precision, scale = form
    value = Decimal(digits).scaleb(exponent, context=EXACT)
    unscaled = Fraction(digits) * Fraction(10) ** (exponent + scale)
    pair = decimal_pair(precision=precision, scale=scale)
    assert pair.encode is not None
    assert pair.decode is not None

    if unscaled.denominator != 1 or abs(unscaled) >= 10**precision:
        with pytest.raises(MisfitError):
            pair.encode(value)
        return
    written = pair.encode(value)
    assert int.from_bytes(written, "big", signed=True) == unscaled
    assert len(written) == 1 or int.from_bytes(written[1:], "big", signed=True) != unscaled  # no byte too many
    read = pair.decode(written)
    assert Fraction(read) == unscaled / 10**scale
    assert str(read) == (str(int(read)) if read == int(read) else str(EXACT.normalize(value)))


def test_equal_events_give_equal_bytes() -> None:
    """A replay writes the same bytes, whatever zeros its decimals carry and in whatever order a table was filled."""
    with_zeros, without = samples.execution(price=Decimal("100.00")), samples.execution(price=Decimal(100))
    assert CODEC.encode(with_zeros) == CODEC.encode(without)
    assert CODEC.encode(_exception({"a": "1", "b": "2"})) == CODEC.encode(_exception({"b": "2", "a": "1"}))


def _exception(details: dict[str, str]) -> ev.ExceptionEvent:
    return ev.ExceptionEvent(
        exception_id="EX1",
        status=ExceptionStatus.OPEN,
        service="capture",
        reason="IDENTIFIER_INVALID",
        subject_id="E1",
        message="account was empty.",
        details=details,
        raised_at_us=0,
    )


def test_json_for_people_has_plain_values() -> None:
    """No exponents, no Python names: a person compares these with the front office's screen."""
    event = samples.enriched_trade(quantity=Decimal("1E+3"), leaves_quantity=Decimal("0.00000001"))
    plain = to_json(event)

    assert plain["quantity"] == "1000"
    assert plain["leaves_quantity"] == "0.00000001"
    assert plain["trade_date"] == "2026-03-02"
    assert plain["side"] == "BUY"
    assert plain["counterparty_chain"]["depository_bic"] == "DAKVDEFFXXX"
    assert plain["charges"] == []
    assert json.loads(json.dumps(plain)) == plain
