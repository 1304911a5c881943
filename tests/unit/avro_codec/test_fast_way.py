"""The fast way is the careful one, only faster: the same bytes, the same events, and never a word of its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from sys import getsizeof
from typing import Any, NoReturn

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.adapters import avro_tables
from services.adapters.avro_careful import MISFITS, CarefulVersion
from services.adapters.avro_codec import AvroCodec
from services.adapters.avro_schema import read_versions, snake_name
from services.domain import event as ev
from services.domain.code import ChargeType, ExceptionStatus, InstrumentType, Side
from services.domain.errors import DecodeError, EncodeError
from services.domain.record import Record
from services.topics import WIRE_RECORDS
from tests import samples
from tests.unit.avro_codec.strategies import records

CODEC = AvroCodec()
CAREFUL = {kind: CarefulVersion(read_versions()[snake_name(kind)][-1], kind) for kind in WIRE_RECORDS}
ANY_RECORD = st.sampled_from(WIRE_RECORDS).flatmap(records)
ODD: tuple[Any, ...] = (
    None, 0, 1, -1, 5, 2**62, True, False, 1.0, 0.5, "", "BUY", "EUR", "\ud800", b"EUR", Decimal(1), Decimal("1.50"),
    Decimal("-0"), Decimal("0E+9"), Decimal("1E-30"), Decimal("1E+30"), Decimal("NaN"), Decimal("sNaN"),
    Decimal("Infinity"), date(1, 1, 1), date(1950, 6, 1), date(9999, 12, 31), datetime(2026, 3, 2, tzinfo=UTC),
    Side.BUY, InstrumentType.EQUITY, (), [], ("x",), (1,), {}, {"a": "b"}, {"a": 1}, {1: "a"}, {"b": "2", "a": "1"},
    samples.counterparty_chain(), samples.counterparty_chain(client_bic="é" * 40), samples.execution(), "x" * 9000,
)  # fmt: skip
"""Values that belong somewhere, put everywhere; among them those that Python takes for equal to others."""


class Text(StrEnum):
    """A text that is not exactly a `str`."""

    SENDER = "OMS1"


def verdict(function: Callable[..., Any], *arguments: Any) -> str:
    """What came of a call, to the letter: the form of each number, or the class and the sentence of the refusal."""
    try:
        return repr(function(*arguments))
    except (DecodeError, EncodeError) as error:
        return repr(error)


def refuse(*_: object) -> NoReturn:
    """In the place of the careful way, to show that it was not asked."""
    raise AssertionError("the careful way was asked")


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> AvroCodec:
    """A codec that has only the fast way."""
    monkeypatch.setattr(CarefulVersion, "write", refuse)
    monkeypatch.setattr(CarefulVersion, "read", refuse)
    return AvroCodec()


@settings(max_examples=300, deadline=None)
@given(ANY_RECORD)
def test_both_ways_write_the_same_and_read_the_same(event: Record) -> None:
    """Golden bytes show some records; this shows any: texts of all lengths, numbers up to their limits."""
    careful = CAREFUL[type(event)]
    data = careful.write(event)

    assert CODEC.encode(event) == data
    assert repr(CODEC.decode(data, type(event))) == repr(careful.read(data))


@settings(max_examples=300, deadline=None)
@given(ANY_RECORD)
def test_the_fast_way_takes_every_record_that_fits(event: Record) -> None:
    """If it let go of what is written every day, everything would still be right, and slow."""
    data = CAREFUL[type(event)].write(event)

    assert CODEC._fast_writers[type(event)](event) == data
    assert CODEC._fast_readers[data[:10], type(event)](data) == event


@settings(max_examples=400, deadline=None)
@given(ANY_RECORD, st.data())
def test_damaged_bytes_come_to_the_same_end(event: Record, data: st.DataObject) -> None:
    """Changed, cut, lengthened: both read the same event, or the sentence of the refusal is the careful one's."""
    damaged = bytearray(CODEC.encode(event))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(10, len(damaged)))
        match data.draw(st.sampled_from(["change", "cut", "insert", "append"])):
            case "change":
                damaged[at : at + 1] = bytes([data.draw(st.integers(0, 255))])
            case "cut":
                del damaged[at : at + data.draw(st.integers(1, 3))]
            case "insert":
                damaged[at:at] = data.draw(st.binary(max_size=4))
            case "append":
                damaged += data.draw(st.binary(max_size=4))
    value = bytes(damaged)

    careful = verdict(CAREFUL[type(event)].read, value)
    assert verdict(CODEC.decode, value, type(event)) == careful
    try:
        read = repr(CODEC._fast_readers[value[:10], type(event)](value))
    except MISFITS:
        return
    assert read == careful


@pytest.mark.parametrize("byte", [0, 1, 2, 3, 4, 5, 63, 127, 128, 129, 254, 255])
def test_any_byte_in_any_place_comes_to_the_same_end(byte: int) -> None:
    """Lengths that are odd (negative), of two bytes, or too long, in front of each kind of value there is."""
    charge = ev.Charge(charge_id="X", charge_type=ChargeType.TAX, amount=Decimal("1.25"), currency="EUR")
    event = samples.enriched_trade(charges=(charge,), accrued_interest_amount=Decimal("0.01"), settlement_type="2")
    data = CODEC.encode(event)
    for at in range(10, len(data)):
        damaged = data[:at] + bytes([byte]) + data[at + 1 :]
        for value in (damaged, data[:at] + bytes([byte]) + data[at:], data[:at]):
            assert verdict(CODEC.decode, value, ev.EnrichedTrade) == verdict(CAREFUL[ev.EnrichedTrade].read, value), at


@settings(max_examples=600, deadline=None)
@given(ANY_RECORD, st.data())
def test_what_does_not_belong_comes_to_the_same_end(event: Record, data: st.DataObject) -> None:
    """1 is equal to Decimal(1) and to True, 'BUY' to Side.BUY: a table that looks up by equality must not be fooled."""
    CODEC.encode(event)  # now the tables know its values
    name = data.draw(st.sampled_from(event.__struct_fields__))
    changed = msgspec.structs.replace(event, **{name: data.draw(st.sampled_from(ODD))})

    careful = verdict(CAREFUL[type(event)].write, changed)
    assert verdict(CODEC.encode, changed) == careful
    try:
        written = repr(CODEC._fast_writers[type(event)](changed))
    except MISFITS:
        return
    assert written == careful


@pytest.mark.parametrize("odd", ODD, ids=lambda value: f"{type(value).__name__}-{str(value)[:12]!a}")
def test_every_odd_value_in_every_field_of_a_charge(odd: Any) -> None:
    """The records within a record are checked as strictly as the outermost."""
    charge = ev.Charge(charge_id="X", charge_type=ChargeType.TAX, amount=Decimal(1), currency="EUR")
    for name in charge.__struct_fields__:
        event = samples.enriched_trade(charges=(charge, msgspec.structs.replace(charge, **{name: odd})))
        assert verdict(CODEC.encode, event) == verdict(CAREFUL[ev.EnrichedTrade].write, event)


@pytest.mark.parametrize(
    "event",
    [
        samples.execution(),
        samples.execution(sender=Text.SENDER, settlement_type="", requested_settlement_date=date(2026, 3, 4)),
        samples.execution(account="ACCOUNT-" * 20, venue="Zürich", counterparty="\x00"),
        samples.execution(trade_date=date(1950, 6, 1), transaction_time_us=-1, accrued_interest_amount=Decimal("0.01")),
        samples.execution(transaction_time_us=2**62),
        samples.enriched_trade(counterparty_chain=samples.counterparty_chain(client_bic="B" * 70)),
        samples.allocated_trade(trade_ids=tuple(f"T{number}" for number in range(200))),
        ev.ExceptionEvent(
            exception_id="EX1",
            status=ExceptionStatus.OPEN,
            service="capture",
            reason="IDENTIFIER_INVALID",
            subject_id="E1",
            message="quantity was -1 – " * 60,
            details={"b": "2", "a": "é" * 100},
            raised_at_us=samples.RECEIVED_AT_US,
        ),
    ],
    ids=lambda event: type(event).__name__,
)
def test_nothing_usual_is_left_to_the_careful_way(fast: AvroCodec, event: Record) -> None:
    """Long texts, umlauts, old dates and many fills are ordinary, too."""
    data = fast.encode(event)

    assert fast.decode(data, type(event)) == event
    assert fast.decode(data, type(event)) == event  # from the tables


def test_a_table_forgets_and_stays_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """Senders choose the values: a table without a limit would be theirs to fill."""
    monkeypatch.setattr(avro_tables, "_RECENT_MAX", 3)
    codec = AvroCodec()
    for number in range(20):
        chain = samples.counterparty_chain(client_bic=f"C{number}")
        event = samples.enriched_trade(quantity=Decimal(number), counterparty_chain=chain)
        assert codec.decode(codec.encode(event), ev.EnrichedTrade) == event

    tables = [table for read in codec._fast_readers.values() for table in _tables_of(read)]
    assert {len(table) for table in tables} <= {0, 1, 2, 3}
    assert any(tables)


def test_a_long_value_is_not_remembered() -> None:
    """A limit of entries bounds no memory as long as an entry may be a megabyte."""
    codec = AvroCodec()
    chain = samples.counterparty_chain(client_bic="C" * 1000)
    one = Decimal("1." + "0" * 1000)
    event = samples.enriched_trade(counterparty_chain=chain, quantity=one)
    for _ in range(2):
        assert codec.decode(codec.encode(event), ev.EnrichedTrade) == event
        assert codec.as_read(event) == event

    functions: list[Any] = [
        codec._fast_writers[ev.EnrichedTrade],
        codec._normals[ev.EnrichedTrade],
        *codec._fast_readers.values(),
    ]
    kept = [part for function in functions for table in _tables_of(function) for part in (*table, *table.values())]
    assert kept
    assert chain not in kept
    assert max(getsizeof(part) for part in kept) <= 512


def _tables_of(function: Any) -> list[dict[Any, Any]]:
    return [value for value in function.__globals__.values() if isinstance(value, avro_tables._Recent)]


def _execution_with(transaction_time: bytes) -> bytes:
    """An execution whose point in time is written in other bytes."""
    data = CODEC.encode(samples.execution(transaction_time_us=0, venue="XNNN"))
    before, behind = data.split(b"XNNN")
    return before + b"XNNN" + behind[:3] + transaction_time + behind[4:]


@example(b"\x80\x00")  # two bytes for 0
@example(b"\xff" * 9 + b"\x01")  # the smallest number, ten bytes
@example(b"\xff" * 9 + b"\x02")  # one bit too many
@example(b"\x80" * 11 + b"\x00")
@example(b"\xc0\x84\x83\x80\x80\x80\x80\x00")  # eight bytes of which the upper half is needless
@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=12).map(lambda groups: bytes(group | 128 for group in groups) + b"\x07"))
def test_a_number_in_any_number_of_bytes(written: bytes) -> None:
    """Other writers may write a number longer than it must be; what fastavro makes of it, the fast way makes."""
    data = _execution_with(written)
    careful = verdict(CAREFUL[ev.Execution].read, data)

    assert verdict(CODEC.decode, data, ev.Execution) == careful
    assert verdict(CODEC.decode, data, ev.Execution) == careful  # with what the first time entered


@pytest.mark.parametrize(
    ("blocks", "trade_ids"),
    [
        (b"\x04\x02a\x02b\x00", ("a", "b")),
        (b"\x02\x02a\x02\x02b\x00", ("a", "b")),  # two blocks
        (b"\x03\x08\x02a\x02b\x00", ("a", "b")),  # a block that says its size
        (b"\x84\x00\x02a\x02b\x00", ("a", "b")),  # a count in two bytes
        (b"\x80\x00", ()),  # an end in two bytes
        (b"\x00", ()),
    ],
)
def test_an_array_in_any_blocks(blocks: bytes, trade_ids: tuple[str, ...]) -> None:
    """Other writers cut arrays into blocks of their own size."""
    data = CODEC.encode(samples.allocated_trade(trade_ids=("SENTINEL",)))
    other = data.replace(b"\x02\x10SENTINEL\x00", blocks)

    assert CODEC.decode(other, ev.AllocatedTrade) == samples.allocated_trade(trade_ids=trade_ids)
