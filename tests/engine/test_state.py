"""Committed tables, the overlay of one transaction, and their changelog."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.domain.record import Record
from services.domain.reference import ReferenceData
from services.engine.state import Overlay, StateError, Tables, changelog_row, changelog_topic
from tests.memory_state import MemoryState


class Cash(Record, kw_only=True):
    """A row with a value that JSON has no type for."""

    amount: Decimal


class Flag(Record, kw_only=True):
    """A second table."""

    on: bool


KINDS = (Cash, Flag)
KEYS = ["a", "b", "c/d", "é"]
_VALUES = st.one_of(
    st.decimals(allow_nan=False, allow_infinity=False, places=5).map(lambda amount: Cash(amount=amount)),
    st.booleans().map(lambda on: Flag(on=on)),
)
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(KEYS), _VALUES),
        st.tuples(st.just("delete"), st.sampled_from(KEYS), st.sampled_from(KINDS)),
        st.tuples(st.just("commit"), st.just(""), st.none()),
        st.tuples(st.just("depart"), st.just(""), st.none()),
        st.tuples(st.just("abort"), st.just(""), st.none()),
    ),
    max_size=40,
)


def _rows(state: Overlay | MemoryState) -> dict[str, list[tuple[str, Record]]]:
    return {"cash": list(state.scan(Cash)), "flag": list(state.scan(Flag))}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_STEPS)
def test_overlay_tables_and_changelog_agree_with_plain_dictionaries(steps: list[tuple[str, str, object]]) -> None:
    """Whatever is put, deleted, committed and aborted: reads are right at once, and a restore comes to the same.

    "depart": what was changed so far is on its way to being committed, and changes go on above it.
    """
    tables, restored = Tables(KINDS), Tables(KINDS)
    committed: dict[type[Record], dict[str, Record]] = {}
    overlay, model = Overlay(tables, ReferenceData()), MemoryState()
    leaving: Overlay | None = None
    departed = committed

    def land() -> None:
        if leaving is not None:
            for kind, row_key, row in leaving.changes():
                restored.restore(*changelog_row(kind, row_key, row))
            tables.apply(leaving.changes())
            overlay.settle()

    for step, key, value in [*steps, ("depart", "", None), ("commit", "", None)]:
        if step == "put":
            assert isinstance(value, Record)
            overlay.put(key, value)
            model.put(key, value)
        elif step == "delete":
            assert isinstance(value, type)
            overlay.delete(value, key)
            model.delete(value, key)
        elif step == "commit":  # the one on its way, and then what was changed above it
            land()
            leaving = overlay
            land()
            committed = {kind: dict(rows) for kind, rows in model.tables.items()}
            leaving, overlay = None, Overlay(tables, ReferenceData())
        elif step == "depart":
            land()
            if leaving is not None:
                committed = departed
            departed = {kind: dict(rows) for kind, rows in model.tables.items()}
            leaving, overlay = overlay, Overlay(tables, ReferenceData(), overlay)
        else:  # the one on its way as well, if there is one
            leaving, overlay = None, Overlay(tables, ReferenceData())
            model.tables = {kind: dict(rows) for kind, rows in committed.items()}
        assert _rows(overlay) == _rows(model)
        for kind in KINDS:
            assert overlay.has_rows(kind) >= bool(committed.get(kind))
        for kind in KINDS:
            assert [overlay.get(kind, name) for name in KEYS] == [model.get(kind, name) for name in KEYS]
    assert restored.rows == tables.rows
    assert tables.count() == sum(len(rows) for rows in committed.values())


def test_the_committed_tables_do_not_change_before_the_commit() -> None:
    """An aborted transaction must leave nothing behind."""
    tables = Tables(KINDS)
    tables.apply([(Flag, "kept", Flag(on=True))])
    overlay = Overlay(tables, ReferenceData())
    overlay.put("new", Flag(on=False))
    overlay.delete(Flag, "kept")
    assert tables.rows[Flag] == {"kept": Flag(on=True)}
    assert overlay.get(Flag, "kept") is None


def test_rewind_drops_exactly_what_came_after_the_mark() -> None:
    """The failed half of a batch may not leave a trace, the half before it must stay; also when marks are nested."""
    tables = Tables(KINDS)
    tables.apply([(Flag, "old", Flag(on=True))])
    overlay = Overlay(tables, ReferenceData())
    overlay.put("first", Flag(on=True))
    outer = overlay.mark()
    overlay.put("second", Flag(on=True))
    overlay.put("first", Flag(on=False))
    inner = overlay.mark()
    overlay.delete(Flag, "old")
    overlay.put("cash", Cash(amount=Decimal(1)))
    overlay.rewind(inner)
    assert dict(overlay.scan(Flag)) == {"first": Flag(on=False), "old": Flag(on=True), "second": Flag(on=True)}
    assert list(overlay.scan(Cash)) == []
    overlay.rewind(outer)
    assert dict(overlay.scan(Flag)) == {"first": Flag(on=True), "old": Flag(on=True)}


def test_a_stage_may_change_a_table_while_it_scans_it() -> None:
    """`on_time` deletes what it finds due."""
    tables = Tables(KINDS)
    tables.apply([(Flag, key, Flag(on=True)) for key in KEYS])
    overlay = Overlay(tables, ReferenceData())
    for key, _ in overlay.scan(Flag):
        overlay.delete(Flag, key)
    assert list(overlay.scan(Flag)) == []
    assert len(overlay.changes()) == len(KEYS)


def test_deleting_what_is_not_there_writes_nothing() -> None:
    """A tombstone for every miss would grow the changelog without end."""
    overlay = Overlay(Tables(KINDS), ReferenceData())
    overlay.delete(Flag, "never there")
    assert overlay.changes() == []


def test_what_is_due_above_a_transaction_on_its_way_is_what_that_leaves_and_adds() -> None:
    """The agenda knows committed rows only: a deadline would be missed, or met for a row that is gone."""
    tables = Tables(KINDS)
    tables.apply([(Cash, "a", Cash(amount=Decimal(1)))])
    below = Overlay(tables, ReferenceData())
    assert [key for key, _ in below.due(Cash, lambda key, row, state: 5, 10)[0]] == ["a"]
    below.delete(Cash, "a")
    below.put("b", Cash(amount=Decimal(2)))
    above = Overlay(tables, ReferenceData(), below)
    assert [key for key, _ in above.due(Cash, lambda key, row, state: 5, 10)[0]] == ["b"]


def test_a_type_the_stage_did_not_declare_is_refused() -> None:
    """Its rows could not be restored."""
    overlay = Overlay(Tables([Cash]), ReferenceData())
    with pytest.raises(TypeError, match="Flag is not among the state types"):
        overlay.put("a", Flag(on=True))


def test_a_changelog_row_names_its_table_and_keeps_decimals_exact() -> None:
    """Rows are read again years later, by other tools as well."""
    value = Cash(amount=Decimal("0.10000"))
    assert changelog_row(Cash, "c/d", value) == (b"Cash/c/d", b'{"amount":"0.10000"}')
    assert changelog_row(Cash, "c/d", None) == (b"Cash/c/d", None)
    assert changelog_topic("capture") == "state.capture"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"Unheard/a", b"{}"),
        (b"Unheard/a", None),
        (b"no separator", b"{}"),
        (b"\xff\xfe/a", b"{}"),
        (b"Flag/a", b'{"on":"perhaps"}'),
        (b"Flag/a", b"{"),
        (b"Flag/a", b""),
        (b"Flag/a", b"\xff"),
    ],
)
def test_a_row_no_table_can_hold_is_a_state_error(key: bytes, value: bytes | None) -> None:
    """The worker must end with a sentence about its state, not with one of the JSON library's."""
    with pytest.raises(StateError):
        Tables(KINDS).restore(key, value)


def test_a_row_with_a_field_that_was_added_later_is_read() -> None:
    """An upgrade may be rolled back for one release."""
    tables = Tables(KINDS)
    tables.restore(b"Flag/a", msgspec.json.encode({"on": True, "since": "later"}))
    assert tables.rows[Flag] == {"a": Flag(on=True)}
