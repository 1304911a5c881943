"""What does not fit is refused with one sentence that names the place and holds no payload."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.adapters.avro_careful import MARKER
from services.adapters.avro_codec import AvroCodec
from services.adapters.avro_schema import fingerprint, schema_of
from services.domain import event as ev
from services.domain.code import ChargeType
from services.domain.errors import DecodeError, EncodeError, SchemaUnknownError
from services.domain.record import Record
from services.topics import WIRE_RECORDS
from tests import samples
from tests.unit.avro_codec.strategies import records

CODEC = AvroCodec()
DATA = CODEC.encode(samples.execution())
HEADER = MARKER + fingerprint(schema_of(ev.Charge))
SECRET = "SECRET-4711"
TOO_FINE = ev.Charge(charge_id="X", charge_type=ChargeType.TAX, amount=Decimal("0.000001"), currency="EUR")


class NotOnTheWire(Record, kw_only=True):
    """A record without a schema."""

    name: str


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"price": Decimal("1.00000000001")}, "price was finer than 10 decimals"),
        ({"price": Decimal("1E-400000")}, "price was finer"),
        ({"quantity": Decimal("0.000000001")}, "quantity was finer than 8 decimals"),
        ({"quantity": Decimal(10) ** 20}, "quantity was larger than 20 digits"),
        ({"quantity": Decimal("1E+400000")}, "quantity was larger"),
        ({"quantity": Decimal("NaN")}, "quantity was not a finite decimal"),
        ({"quantity": Decimal("-Infinity")}, "quantity was not a finite decimal"),
        ({"quantity": 1000}, "quantity was not a finite decimal"),
        ({"quantity": None}, "quantity was not a finite decimal"),
        ({"accrued_interest_amount": Decimal("0.000001")}, "accrued_interest_amount was finer than 5 decimals"),
        ({"transaction_time_us": 1.5}, "transaction_time_us was not an integer"),
        ({"transaction_time_us": True}, "transaction_time_us was not an integer"),
        ({"transaction_time_us": 2**63}, "transaction_time_us was not an integer of 64 bits"),
        ({"trade_date": datetime(2026, 3, 2, 10, tzinfo=UTC)}, "trade_date was not a date"),
        ({"side": "BUY"}, "side was not a Side"),
        ({"possible_duplicate": "no"}, "possible_duplicate was not a boolean"),
        ({"order_id": 5}, "order_id was not text"),
        ({"order_id": None}, "order_id was not text"),
        ({"execution_reference_id": 5}, "execution_reference_id was not text"),
        ({"account": "\ud800"}, "account was not valid Unicode"),
    ],
)
def test_a_value_that_does_not_fit_is_not_written(changes: dict[str, Any], field: str) -> None:
    """Rounding, cutting or guessing here would be a wrong instruction there."""
    with pytest.raises(EncodeError, match=f"Execution.{field}"):
        CODEC.encode(samples.execution(**changes))


@pytest.mark.parametrize(
    ("event", "place"),
    [
        (
            samples.enriched_trade(charges=(TOO_FINE,)),
            "EnrichedTrade.charges.amount was finer than 5 decimals",
        ),
        (samples.enriched_trade(charges=[]), "EnrichedTrade.charges was not a tuple"),
        (
            samples.enriched_trade(counterparty_chain=samples.execution()),
            "EnrichedTrade.counterparty_chain was not of type SettlementChain",
        ),
        (
            samples.enriched_trade(counterparty_chain=samples.counterparty_chain(safekeeping_account=7)),
            "EnrichedTrade.counterparty_chain.safekeeping_account was not text",
        ),
        (samples.allocated_trade(trade_ids=(1,)), "AllocatedTrade.trade_ids was not text"),
        (NotOnTheWire(name="x"), "NotOnTheWire was not a record with a schema"),
    ],
)
def test_the_path_to_a_nested_value_is_named(event: Record, place: str) -> None:
    """Whoever repairs it must find it."""
    with pytest.raises(EncodeError, match=f"^{place}"):
        CODEC.encode(event)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (None, "value was empty"),
        (b"", "value was empty"),
        (b'{"order_id": "' + SECRET.encode() + b'"}', "Avro marker"),
        (b"\x00\x00\x00\x00\x07abc", "Avro marker"),
        (b"\xc3", "Avro marker"),
        (DATA[:9], "ended within the schema fingerprint"),
        (HEADER, "which is not known here"),
        (DATA[:10], "ended too early"),
        (DATA + b"\x00", "went on after the last field"),
        (DATA + DATA, "went on after the last field"),
        (CODEC.encode(samples.captured_trade()), "record was CapturedTrade, not Execution"),
    ],
)
def test_bytes_that_are_no_execution_are_refused(data: bytes | None, sentence: str) -> None:
    """Each case goes to dead letters with the sentence as its header."""
    with pytest.raises(DecodeError, match=sentence):
        CODEC.decode(data, ev.Execution)


def test_an_unknown_schema_is_told_apart() -> None:
    """Its remedy differs: not the sender is asked, this release is upgraded."""
    with pytest.raises(SchemaUnknownError):
        CODEC.decode(HEADER + DATA[10:], ev.Execution)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(WIRE_RECORDS).flatmap(records), st.data())
def test_no_cut_is_ever_read(event: Record, data: st.DataObject) -> None:
    """A value cut anywhere is refused: half an execution is none."""
    encoded = CODEC.encode(event)
    length = data.draw(st.integers(0, len(encoded) - 1))

    with pytest.raises(DecodeError):
        CODEC.decode(encoded[:length], type(event))


@settings(max_examples=200, deadline=None)
@given(records(ev.EnrichedTrade), st.data())
def test_damage_is_refused_or_harmless(event: ev.EnrichedTrade, data: st.DataObject) -> None:
    """Whatever the bytes are, decoding ends in DecodeError or in a record that fits; never in another error."""
    damaged = bytearray(CODEC.encode(event))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(10, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = CODEC.decode(bytes(damaged), ev.EnrichedTrade)
    except DecodeError:
        return

    assert CODEC.decode(CODEC.encode(read), ev.EnrichedTrade) == read


ABSENT_BEHIND = 4
"""Fields behind possible_duplicate that the sample leaves out, each a byte: those of the commission."""


@pytest.mark.parametrize(
    ("position", "byte", "sentence"),
    [
        ("execution_type", 0, "execution_type was a ExecutionType that is not known here"),  # UNRECOGNISED
        ("execution_type", 1, "execution_type was a ExecutionType that is not known here"),  # -1: not the last symbol
        ("execution_type", 8, "execution_type was a ExecutionType that is not known here"),  # behind the last symbol
        ("possible_duplicate", 2, "possible_duplicate was not a boolean"),
    ],
)
def test_a_code_is_read_by_the_letter(position: str, byte: int, sentence: str) -> None:
    """A code that is newer, negative or out of range must never pass as one that is known."""
    offsets = {
        "execution_type": 10 + len("OMS1") + 1 + len("E1") + 1,
        "possible_duplicate": len(DATA) - 1 - ABSENT_BEHIND,
    }
    damaged = bytearray(DATA)
    damaged[offsets[position]] = byte

    with pytest.raises(DecodeError, match=sentence):
        CODEC.decode(bytes(damaged), ev.Execution)


@pytest.mark.parametrize(
    "digits",
    [b"", (10**28).to_bytes(12, "big", signed=True), (-(10**28)).to_bytes(12, "big", signed=True), b"\x00" * 64],
    ids=["empty", "too large", "too small", "too long"],
)
def test_a_decimal_out_of_its_precision_is_refused(digits: bytes) -> None:
    """The schema promises 28 digits; a sender that breaks the promise is not believed."""
    zero = CODEC.encode(samples.execution(cumulative_quantity=Decimal(0)))
    head, tail = zero.split(b"DEUTDEFFXXX")
    damaged = head + b"DEUTDEFFXXX" + bytes([2 * len(digits)]) + digits + tail.removeprefix(b"\x02\x00")

    with pytest.raises(DecodeError, match=r"^Execution.cumulative_quantity was not a decimal of at most 28 digits$"):
        CODEC.decode(damaged, ev.Execution)


def test_sentences_hold_no_payload() -> None:
    """Logs and headers are read by more people than the topic."""
    with pytest.raises(EncodeError) as unwritten:
        CODEC.encode(samples.execution(account=SECRET, order_id=SECRET.encode()))
    encoded = CODEC.encode(samples.execution(account=SECRET, order_id=SECRET))
    with pytest.raises(DecodeError) as unread:
        CODEC.decode(encoded.replace(SECRET.encode(), b"\xff" * len(SECRET)), ev.Execution)
    with pytest.raises(DecodeError) as cut:
        CODEC.decode(encoded[:-3], ev.Execution)

    for error in (unwritten, unread, cut):
        assert SECRET not in str(error.value)
        assert error.value.__cause__ is None
        assert error.value.__suppress_context__
