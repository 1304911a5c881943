"""One batch: decode, decide, encode, and the isolation of what breaks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from services.domain.code import ExceptionStatus
from services.domain.errors import DecodeError, EncodeError
from services.domain.event import ExceptionEvent
from services.domain.record import Record
from services.domain.reference import ReferenceData
from services.engine import quarantine
from services.engine.dead_letters import BUG, DECODE, LETTER_BYTES_MAX, OMITTED, dead_letter, size_bytes
from services.engine.log import Headers, LogRecord, OutgoingRecord
from services.engine.state import Overlay, Tables
from services.engine.work import RECORD_BYTES_MAX, Batch, Result
from services.stage import Outcome, Publish, Received, State, Suppress


class Told(Record, kw_only=True):
    """An input and its output; `text` says what goes wrong."""

    text: str
    received_at_us: int | None = None


class Seen(Record, kw_only=True):
    """State: everything seen under a key, in order."""

    texts: tuple[str, ...]


class PlainCodec:
    """Text as it is; some words cannot be read or written."""

    def decode(self, topic: str, value: bytes | None) -> Record:
        if value is None or value.startswith(b"undecodable"):
            raise DecodeError("the value could not be read")
        if value.startswith(b"reader bug"):
            raise RuntimeError("payload: secret")
        return Told(text=value.decode(), received_at_us=1_000)

    def encode(self, topic: str, event: Record) -> bytes:
        if isinstance(event, ExceptionEvent):
            return b"exception"
        assert isinstance(event, Told)
        if event.text == "unwritable":
            raise EncodeError("the field text cannot be written")
        if event.text == "oversized":
            return b"x" * (RECORD_BYTES_MAX + 1)
        return event.text.encode()


class Recorder:
    """Remembers everything per key, and publishes it; some words make it break, before or after it has written."""

    name = "recorder"
    state_types: tuple[type[Record], ...] = (Seen,)
    suppress_causes: tuple[str, ...] = ("told so",)

    def __init__(self, due: Callable[[State], list[Outcome]] = lambda state: []) -> None:
        self.batches: list[list[str]] = []
        self._due = due

    def process(self, batch: Sequence[Received], state: State, now_us: int) -> list[Outcome]:
        assert all(isinstance(received.event, Told) for received in batch)
        self.batches.append([received.event.text for received in batch])  # type: ignore[attr-defined]
        return [outcome for received in batch for outcome in self._one(received, state)]

    def _one(self, received: Received, state: State) -> list[Outcome]:
        event = received.event
        assert isinstance(event, Told)
        key = received.key or ""
        if event.text == "suppress":
            return [Suppress(cause="told so")]
        seen = state.get(Seen, key) or Seen(texts=())
        state.put(key, Seen(texts=(*seen.texts, event.text)))
        state.put(f"{key} last", Seen(texts=(event.text,)))
        if event.text == "heavy row":
            state.put("heavy", Seen(texts=("x" * RECORD_BYTES_MAX,)))
        if event.text.startswith("bug"):
            raise ValueError("secret payload: " + event.text)
        if event.text == "forget":
            state.delete(Seen, key)
        return [Publish(topic="out", key=key, event=event)]

    def on_time(self, state: State, now_us: int) -> list[Outcome]:
        return self._due(state)


def _inputs(texts: Iterable[str], key: bytes | None = b"k") -> list[LogRecord]:
    return [
        LogRecord(
            "in", 3, 100 + place, key, text.encode(), 1_700_000_000_000 + place, (("h", b"\x00\xff"), ("n", None))
        )
        for place, text in enumerate(texts)
    ]


def _batch(
    records: Sequence[LogRecord], *, stage: Recorder | None = None, tables: Tables | None = None, due: bool = False
) -> tuple[Batch, Tables]:
    tables = tables or Tables([Seen])
    batch = Batch(
        stage=stage or Recorder(),
        partition=3,
        records=records,
        overlay=Overlay(tables, ReferenceData()),
        codec=PlainCodec(),
        now_us=7,
        due=due,
        monotonic=lambda: 0.0,
    )
    return batch, tables


def _run(
    records: Sequence[LogRecord], *, stage: Recorder | None = None, tables: Tables | None = None, due: bool = False
) -> tuple[Result, Overlay, Tables]:
    batch, tables = _batch(records, stage=stage, tables=tables, due=due)
    batch.process()
    assert batch.finished.is_set()
    if batch.failure is not None:
        raise batch.failure
    assert batch.result is not None
    return batch.result, batch.overlay, tables


def _on(result: Result, topic: str) -> list[OutgoingRecord]:
    return [record for record in result.records if record.topic == topic]


def _values(result: Result, topic: str) -> list[str]:
    return [(record.value or b"").decode() for record in _on(result, topic)]


GOOD = ["a", "b", "suppress", "forget"]
BREAKS = ["bug", "unwritable", "oversized", "heavy row"]


@pytest.mark.parametrize("culprit", BREAKS)
@pytest.mark.parametrize("places", [(0,), (4,), (7,), (0, 7), (2, 3, 4), (0, 1, 2, 3, 4, 5, 6, 7)], ids=str)
def test_every_culprit_is_isolated_and_its_neighbours_go_through(places: tuple[int, ...], culprit: str) -> None:
    """One poison record or several, first, last or side by side: they go to dead-letters and leave no trace."""
    texts = [culprit if place in places else f"good-{place}" for place in range(8)]
    good = [text for text in texts if text != culprit]
    records = _inputs(texts, key=None)  # neighbours of the same key wait behind it: tests/engine/test_quarantine.py

    result, overlay, _ = _run(records)

    assert _values(result, "out") == good
    seen = overlay.get(Seen, "")
    assert (seen.texts if seen else ()) == tuple(good), "the state holds something of a failed attempt"
    letters = _on(result, "dead-letters")
    assert [dict(letter.headers)["src.offset"] for letter in letters] == [str(100 + place).encode() for place in places]
    assert result.tally.dead_letters == {BUG: len(places)}
    assert result.tally.consumed == 8
    assert result.tally.produced == ({"out": len(good)} if good else {})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(
            st.sampled_from([*GOOD, "undecodable", "reader bug", *BREAKS]), st.sampled_from([None, b"k", b"l", b"m"])
        ),
        max_size=30,
    ),
    st.booleans(),
)
def test_a_batch_comes_to_the_same_as_its_records_one_by_one(rows: list[tuple[str, bytes | None]], due: bool) -> None:
    """Whatever breaks where and waits behind what: halving changes nothing for those that are well."""
    records = [structs.replace(_inputs([text], key)[0], offset=place) for place, (text, key) in enumerate(rows)]
    together, overlay, _ = _run(records, due=due)
    tables = Tables([Seen])
    outputs: list[str] = []
    letters = []
    for record in records:
        single, own, _ = _run([record], tables=tables)
        tables.apply(own.changes())
        outputs += _values(single, "out")
        letters += _on(single, "dead-letters")
    assert _values(together, "out") == outputs
    assert sorted(_on(together, "dead-letters"), key=str) == sorted(letters, key=str)
    tables_together = Tables([Seen])
    tables_together.apply(overlay.changes())
    assert tables_together.rows == tables.rows
    restored = Tables([Seen])
    for row in _on(together, "state.recorder"):
        assert row.key is not None
        restored.restore(row.key, row.value)
    assert restored.rows == tables.rows, "the changelog differs from the state"


def test_a_healthy_batch_is_processed_in_one_call() -> None:
    """Halving must cost nothing where nothing breaks."""
    stage = Recorder()
    _run(_inputs(["a", "b", "c"]), stage=stage)
    assert stage.batches == [["a", "b", "c"]]


def test_isolation_takes_few_attempts() -> None:
    """One culprit among a thousand must not cost a thousand calls."""
    stage = Recorder()
    _run(_inputs(["bug" if place == 613 else "good" for place in range(1000)], key=None), stage=stage)
    assert len(stage.batches) < 25


def test_a_dead_letter_keeps_the_record_byte_for_byte() -> None:
    """A repaired replay starts from it; the reason stands beside, with nothing of the payload."""
    value = b"undecodable \x00\xff"
    record = LogRecord(
        "in", 2, 41, b"\xfe key", value, 1_700_000_000_123, (("trace", b"\x00"), ("none", None), ("trace", b"2"))
    )

    result, _, _ = _run([record])

    (letter,) = _on(result, "dead-letters")
    assert (letter.topic, letter.key, letter.value, letter.partition) == ("dead-letters", b"\xfe key", value, None)
    assert letter.headers[:3] == record.headers
    added = dict(letter.headers[3:])
    assert added.pop("err.fingerprint")
    assert added == {
        "err.class": DECODE.encode(),
        "err.stage": b"recorder",
        "err.message": b"the value could not be read",
        "src.topic": b"in",
        "src.partition": b"2",
        "src.offset": b"41",
        "src.timestamp": b"1700000000123",
        "app.version": version("posttrade").encode(),
        "attempt": b"1",
        "quarantine": b"record/in/41",
    }


def test_a_tombstone_on_an_input_is_a_dead_letter_without_value() -> None:
    """An empty value is nothing a trade could be read from."""
    result, _, _ = _run([LogRecord("in", 0, 0, b"k", None, 0)])
    assert [(letter.key, letter.value) for letter in _on(result, "dead-letters")] == [(b"k", None)]


def test_a_key_that_is_not_text_is_a_dead_letter() -> None:
    """Joins are by key; a key that cannot be compared cannot be joined."""
    result, _, _ = _run(_inputs(["good"], key=b"\xff"))
    (letter,) = _on(result, "dead-letters")
    assert dict(letter.headers)["err.message"] == b"the key is not UTF-8"
    assert result.tally.dead_letters == {DECODE: 1}


def test_a_record_without_a_key_is_processed() -> None:
    """Some senders set none."""
    result, _, _ = _run(_inputs(["good"], key=None))
    assert _values(result, "out") == ["good"]


def test_a_reader_that_breaks_costs_one_record_and_not_the_worker() -> None:
    """A bug of a decoder on one value would otherwise end every worker that meets it, for ever."""
    result, _, _ = _run(_inputs(["a", "reader bug", "b"], key=None))
    assert _values(result, "out") == ["a", "b"]
    assert result.tally.dead_letters == {BUG: 1}


@pytest.mark.parametrize("text", ["bug", "reader bug"])
def test_a_bug_is_named_by_place_and_never_by_payload(text: str) -> None:
    """More people read headers and logs than may read trades."""
    result, _, _ = _run(_inputs([text]))
    (letter,) = _on(result, "dead-letters")
    message = (dict(letter.headers)["err.message"] or b"").decode()
    assert "secret" not in message
    assert "test_work.py:" in message


def test_the_same_trouble_has_the_same_fingerprint() -> None:
    """The desk counts kinds of trouble, not records."""
    result, _, _ = _run(_inputs(["bug", "undecodable 1", "bug", "undecodable 2"], key=None))
    prints = [dict(letter.headers)["err.fingerprint"] for letter in _on(result, "dead-letters")]
    assert len(prints) == 4
    assert len(set(prints)) == 2


def test_a_row_that_cannot_be_written_is_isolated_as_an_output_is() -> None:
    """A changelog row the broker refuses would abort every transaction of the partition for ever."""
    result, overlay, _ = _run(_inputs(["a", "heavy row", "b"], key=None))
    assert _values(result, "out") == ["a", "b"]
    assert overlay.get(Seen, "") == Seen(texts=("a", "b"))
    assert max(len(record.value or b"") for record in _on(result, "state.recorder")) < RECORD_BYTES_MAX


def test_changelog_rows_go_to_the_inputs_partition_each_key_once_with_its_last_value() -> None:
    """The row must lie where the restore of this partition looks for it."""
    result, _, _ = _run(_inputs(["a", "b", "forget"]))
    rows = {record.key: record for record in _on(result, "state.recorder")}
    assert set(rows) == {b"Seen/k", b"Seen/k last"}
    assert {record.partition for record in rows.values()} == {3}
    assert rows[b"Seen/k"].value is None
    assert msgspec.json.decode(rows[b"Seen/k last"].value or b"")["texts"] == ["forget"]


def test_the_tally_counts_what_will_be_committed() -> None:
    """Every number of a dashboard starts here."""
    result, _, _ = _run(_inputs(["a", "suppress", "bug", "undecodable", "b"], key=None))
    tally = result.tally
    assert tally.consumed == 5
    assert tally.produced == {"out": 2}
    assert tally.suppressed == {"told so": 1}
    assert tally.dead_letters == {BUG: 1, DECODE: 1}
    assert tally.received_at_us == [1_000, 1_000]


# --- work that is due


def _reminder(state: State) -> list[Outcome]:
    state.put("", Seen(texts=("due",)))
    return [Publish(topic="out", key="", event=Told(text="reminder"))]


def test_due_work_comes_before_the_records_and_survives_their_failure() -> None:
    """Its outputs and rows belong to the same transaction, whatever the records do."""
    stage = Recorder(due=_reminder)
    result, overlay, _ = _run(_inputs(["bug", "a", "bug"], key=None), stage=stage, due=True)
    assert _values(result, "out") == ["reminder", "a"]
    assert overlay.get(Seen, "") == Seen(texts=("due", "a"))
    assert result.tally.produced == {"out": 2}


def test_due_work_without_records_is_a_result_of_its_own() -> None:
    """Deadlines pass when nothing comes in."""
    result, _, _ = _run([], stage=Recorder(due=_reminder), due=True)
    assert result
    assert [record.topic for record in result.records] == ["out", "state.recorder"]
    nothing, _, _ = _run([], due=True)
    assert not nothing


def test_due_work_is_left_alone_when_it_is_not_due() -> None:
    """A tick asks for it, not every batch."""
    result, _, _ = _run(_inputs(["a"]), stage=Recorder(due=_reminder))
    assert _values(result, "out") == ["a"]


def test_due_work_that_breaks_leaves_no_trace_and_the_records_go_on() -> None:
    """There is no record to put aside, and records must not wait for a bug that has nothing to do with them."""

    def broken(state: State) -> list[Outcome]:
        state.put("half done", Seen(texts=("x",)))
        raise ValueError("secret payload")

    batch, _ = _batch(_inputs(["a"]), stage=Recorder(due=broken), due=True)
    batch.process()
    assert batch.result is not None
    assert _values(batch.result, "out") == ["a"]
    assert batch.overlay.get(Seen, "half done") is None
    assert batch.on_time_failure is not None
    assert "ValueError raised at " in batch.on_time_failure
    assert "secret" not in batch.on_time_failure


# --- exceptions for the desk


def _exception(status: ExceptionStatus, **fields: Any) -> ExceptionEvent:
    values: dict[str, Any] = dict.fromkeys(ExceptionEvent.__struct_fields__, "x")
    return msgspec.structs.replace(ExceptionEvent(**values), status=status, reason="ACCOUNT_UNKNOWN", **fields)


def test_only_opened_exceptions_are_counted_and_never_timed() -> None:
    """A closed exception is no new one, and a refusal has no end-to-end time."""

    def due(state: State) -> list[Outcome]:
        events = [_exception(ExceptionStatus.OPEN), _exception(ExceptionStatus.CLOSED)]
        return [Publish(topic="exceptions", key="k", event=event) for event in events]

    result, _, _ = _run([], stage=Recorder(due=due), due=True)
    assert result.tally.exceptions == {"ACCOUNT_UNKNOWN": 1}
    assert result.tally.produced == {"exceptions": 2}
    assert result.tally.received_at_us == []


@pytest.mark.parametrize(
    ("key", "value", "headers"),
    [
        (b"k", b"undecodable" + b"x" * 8_000_000, ()),
        (b"k", b"undecodable", (("h", b"x" * 3_000_000),)),
        (b"k" * 8_000_000, b"undecodable", ()),
        (b"k" * 1_800_000, b"undecodable", ()),
        (b"k", b"bug" + b"x" * 8_000_000, ()),
        (b"k" * 1_800_000, b"good", ()),
    ],
    ids=["value", "headers", "key", "key twice", "of a rule", "key of a good one"],
)
def test_a_record_of_any_size_ends_as_records_that_a_broker_takes(key: bytes, value: bytes, headers: Headers) -> None:
    """Brokers limit what was compressed. What nobody can write on would be read, refused and read again for ever."""
    record = LogRecord("in", 3, 100, key, value, 1_700_000_000_000, headers)
    result, overlay, _ = _run([record])

    (letter,) = _on(result, "dead-letters")
    for written in result.records:
        assert size_bytes(written.key, written.value, written.headers) <= LETTER_BYTES_MAX
    said = dict(letter.headers)
    assert (said["src.topic"], said["src.partition"], said["src.offset"]) == (b"in", b"3", b"100")
    size = size_bytes(key, value, headers)
    if size > LETTER_BYTES_MAX - 1_000:
        assert (letter.value, said[OMITTED]) == (None, str(size).encode())
    else:
        assert (letter.key, letter.value, letter.headers[: len(headers)]) == (key, value, headers)
    assert quarantine.head(overlay, (said["quarantine"] or b"").decode()) is not None, "it can be found by a repair"


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (b"\xc3\x01\x01\x02\x03\x04\x05\x06\x07\x08body", b"0102030405060708"),
        (b"\xc3\x01\x01\x02\x03\x04\x05\x06\x07", None),
        (b"8=FIX.4.4", None),
        (None, None),
    ],
    ids=["Avro", "torn Avro", "FIX", "nothing"],
)
def test_a_dead_letter_names_the_schema_its_sender_wrote_with(value: bytes | None, schema: bytes | None) -> None:
    """Whoever looks for the release that cannot read it needs both: what it was written with, and by what not read."""
    record = LogRecord("in", 3, 100, b"k", value, 1_000)
    letter = dead_letter(record, error_class=DECODE, stage="recorder", message="m", quarantine="q")
    assert dict(letter.headers).get("src.schema") == schema
