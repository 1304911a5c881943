"""What is handed over within a process is, in every respect, what would have been decoded; nothing is kept for ever."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.sample_day.generate import DATA
from services.adapters.avro_codec import AvroCodec
from services.adapters.decode_memo import DecodeMemo, Shelf
from services.adapters.reference_files import load_directory
from services.adapters.topic_codec import FormatCodec
from services.domain.errors import DecodeError, EncodeError
from services.domain.record import Record
from services.pipeline import SERVICE_NAMES, handed_over
from services.topics import load_topics
from tests import samples
from tests.support.pipeline_in_memory import Pipeline
from tests.unit.avro_codec.strategies import records
from tests.unit.avro_codec.test_fast_way import ANY_RECORD, ODD, Text
from tests.unit.sample_day import playing

CODEC = AvroCodec()
TOPICS = load_topics()
HANDED_OVER = handed_over(SERVICE_NAMES)
CAPTURED = "trades.captured"


def form(value: Any) -> Any:
    """A value to the letter: `repr` shows the form of numbers, the types show what only passes for a text or a date."""
    if isinstance(value, msgspec.Struct):
        return type(value), tuple(form(getattr(value, name)) for name in value.__struct_fields__)
    if isinstance(value, tuple):
        return type(value), tuple(form(item) for item in value)
    if isinstance(value, dict):
        return type(value), tuple((form(key), form(item)) for key, item in value.items())
    return type(value), repr(value)


def test_the_services_hand_over_what_one_writes_and_another_reads() -> None:
    """Topics from outside are never kept, nor those of services that live elsewhere."""
    assert sorted(HANDED_OVER) == [
        "confirmations.received",
        "trades.allocated",
        "trades.allocation-requests",
        "trades.captured",
        "trades.confirmed",
        "trades.enriched",
    ]
    assert handed_over(["capture", "enrichment"]) == [CAPTURED]
    assert handed_over(["capture", "settlement"]) == []


@settings(max_examples=200, deadline=None)
@given(ANY_RECORD)
def test_an_event_is_known_as_it_would_be_read(event: Record) -> None:
    """1.50 is read as 1.5: whoever formats or hashes it must not be able to tell which way it came."""
    expected = CODEC.decode(CODEC.encode(event), type(event))
    known = CODEC.as_read(event)

    has_table = any(isinstance(getattr(event, name), dict) for name in event.__struct_fields__)
    assert (known is None) == has_table
    assert known is None or form(known) == form(expected)


@settings(max_examples=200, deadline=None)
@given(ANY_RECORD, st.data())
def test_what_only_passes_for_something_is_told_apart(event: Record, data: st.DataObject) -> None:
    """A code is equal to its text and is written like it, but a text is what will be read."""
    name = data.draw(st.sampled_from(event.__struct_fields__))
    changed = msgspec.structs.replace(event, **{name: data.draw(st.sampled_from((*ODD, Text.SENDER, (Text.SENDER,))))})
    try:
        written = CODEC.encode(changed)
    except EncodeError:
        return
    known = CODEC.as_read(changed)

    assert known is None or form(known) == form(CODEC.decode(written, type(event)))


@pytest.mark.parametrize("name", samples.enriched_trade().__struct_fields__)
def test_a_code_in_the_place_of_a_text_is_read_as_a_text(name: str) -> None:
    """It is written like one, so nobody would see the difference until it is formatted or stored."""
    changed = msgspec.structs.replace(samples.enriched_trade(), **{name: Text.SENDER})
    try:
        written = CODEC.encode(changed)
    except EncodeError:
        assert not isinstance(getattr(samples.enriched_trade(), name), str) or name in _CODES
        return
    known = CODEC.as_read(changed)

    assert known is None or form(known) == form(CODEC.decode(written, type(changed)))


_CODES = {"execution_type", "side", "security_id_source", "price_type", "instrument_type"}


def test_a_chain_of_codes_is_read_as_texts() -> None:
    """A record that is looked up by equality must still come in the form of the wire."""
    coded = samples.enriched_trade(counterparty_chain=samples.counterparty_chain(client_bic=Text.SENDER))
    plain = samples.enriched_trade(counterparty_chain=samples.counterparty_chain(client_bic="OMS1"))
    for event in (plain, coded, plain):
        known = CODEC.as_read(event)
        assert known is None or form(known) == form(CODEC.decode(CODEC.encode(event), type(event)))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_codec_that_hands_over_reads_what_the_other_reads(data: st.DataObject) -> None:
    """Whatever is written, in whatever order it is read, twice or not at all, whoever wrote it, damaged or not."""
    plain = FormatCodec(TOPICS, CODEC)
    handing = plain.handing_over(HANDED_OVER)
    values: list[tuple[str, bytes]] = []
    for _ in range(data.draw(st.integers(1, 4))):
        topic = data.draw(st.sampled_from(HANDED_OVER))
        record_type = TOPICS[topic].record_type
        assert record_type is not None
        event = data.draw(records(record_type))
        writer = data.draw(st.sampled_from([plain, handing]))
        values.append((topic, writer.encode(topic, event)))
    for topic, value in data.draw(st.lists(st.sampled_from(values), max_size=8)):
        cut = data.draw(st.sampled_from([0, 0, 0, 1]))
        came = bytes(value[: len(value) - cut])
        assert _read(handing, topic, came) == _read(plain, topic, came)


def _read(codec: FormatCodec, topic: str, value: bytes) -> Any:
    try:
        return form(codec.decode(topic, value))
    except DecodeError as error:
        return repr(error)


def test_what_was_written_is_not_decoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this the memo could be right and of no use."""
    codec = FormatCodec(TOPICS, CODEC).handing_over(HANDED_OVER)
    event = samples.captured_trade(price=Decimal("1.50"))
    value = codec.encode(CAPTURED, event)
    monkeypatch.setattr(codec.avro, "_fast_readers", {})
    monkeypatch.setattr(codec.avro, "_readers", {})

    assert str(codec.decode(CAPTURED, bytes(bytearray(value))).price) == "1.5"  # type: ignore[attr-defined]
    with pytest.raises(DecodeError):
        codec.decode(CAPTURED, value)  # each is kept for one reading


def test_the_sample_day_gives_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every record of every topic, in every place: the memo decides nothing."""
    found: list[bytes] = []
    take = Shelf.take

    def counted(self: Shelf, value: bytes) -> Record | None:
        event = take(self, value)
        found.extend([value] if event is not None else [])
        return event

    monkeypatch.setattr(Shelf, "take", counted)
    plain = FormatCodec(TOPICS, CODEC)
    without = _play(plain)
    assert not found
    with_memo = _play(plain.handing_over(HANDED_OVER))

    assert with_memo.topics == without.topics
    assert len(found) > 1000


def _play(codec: FormatCodec) -> Pipeline:
    """The whole day with this codec, in a disorder that is the same each time."""
    pipeline = Pipeline(now_us=playing.NOW_US, partitions=3, codec=codec)
    shuffle = random.Random(7)
    for folder in (DATA, DATA / "late"):
        if folder is DATA:
            pipeline.load(load_directory(playing.MARKET_DATA))
        pipeline.load(load_directory(folder / "reference"))
        playing.send(pipeline, playing.read_records(folder), shuffle)
    return pipeline


# --- the memo itself -------------------------------------------------------------------------------------------------

EVENT = samples.captured_trade()


def _value(number: int) -> bytes:
    return number.to_bytes(10, "big")


def test_the_oldest_go_first() -> None:
    """Half of the bound is the least that is kept, all of it the most, over all topics together."""
    shelves = DecodeMemo(("a", "b"), bytes_max=1000).shelves
    for number in range(120):
        shelf = shelves["ab"[number % 2]]
        shelf.keep(b"found at once", EVENT)
        assert shelf.take(b"found at once") is EVENT
        shelf.keep(_value(number), EVENT)
    kept = [number for number in range(120) if shelves["ab"[number % 2]].take(_value(number)) is not None]

    assert len(kept) in range(50, 100)
    assert kept == list(range(120 - len(kept), 120))


def test_a_shelf_that_is_read_keeps_everything_that_waits() -> None:
    """What was taken takes no room: only what is on its way counts."""
    shelf = DecodeMemo(("a",), bytes_max=1000).shelves["a"]
    for number in range(10_000):
        shelf.keep(_value(number), EVENT)
        if number >= 40:
            assert shelf.take(_value(number - 40)) is EVENT
    assert len(shelf._young) + len(shelf._old) == 40


def test_a_value_that_is_written_twice_counts_once() -> None:
    """Otherwise equal records would wear the bound down, and the rest of the memo with it."""
    shelf = DecodeMemo(("a",), bytes_max=1000).shelves["a"]
    shelf.keep(_value(1), EVENT)
    for _ in range(1000):
        shelf.keep(_value(2), EVENT)

    assert shelf.take(_value(1)) is EVENT


def test_a_shelf_of_no_use_rests_and_tries_again() -> None:
    """Where the readers are elsewhere, keeping is work for nothing; they may come back. Others are not concerned."""
    shelves = DecodeMemo(("unread", "read"), bytes_max=1000, rest_bytes=4000).shelves
    kept = 0
    for number in range(10_000):
        shelves["unread"].keep(_value(number), EVENT)
        kept += _value(number) in shelves["unread"]._young
        shelves["read"].keep(_value(number), EVENT)
        assert shelves["read"].take(_value(number)) is EVENT
    assert 0 < kept < 3000

    found = 0
    for number in range(10_000, 12_000):
        shelves["unread"].keep(_value(number), EVENT)
        found += shelves["unread"].take(_value(number)) is not None
    assert found > 1500


def test_one_found_in_eight_is_enough_to_go_on() -> None:
    """With several workers most records are read elsewhere, and keeping still pays."""
    shelf = DecodeMemo(("a",), bytes_max=1000, rest_bytes=10**9).shelves["a"]
    for number in range(10_000):
        shelf.keep(_value(number), EVENT)
        assert number % 6 or shelf.take(_value(number)) is EVENT
