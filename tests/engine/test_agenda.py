"""What is due without a walk over the table: the same answer, however rows came, went, moved and were not committed."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.domain.record import Record
from services.domain.reference import ReferenceData
from services.engine.state import Overlay, Tables
from services.stage import State, due_by_scan


class Task(Record, kw_only=True):
    """A row with a time of its own; None: never due."""

    due_at: int | None


class Delay(Record, kw_only=True):
    """A row of another table that makes the task of the same key due later; it only grows."""

    by: int


KINDS = (Task, Delay)
KEYS = ["a", "b", "c", "d"]
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(KEYS), st.none() | st.integers(0, 30)),
        st.tuples(st.just("delete"), st.sampled_from(KEYS), st.none()),
        st.tuples(st.just("delay"), st.sampled_from(KEYS), st.integers(1, 5)),
        st.tuples(st.just("wait"), st.just(""), st.integers(1, 10)),
        *(st.tuples(st.just(step), st.just(""), st.none()) for step in ("commit", "abort", "depart", "land", "fail")),
    ),
    max_size=60,
)


def _due_at(key: str, task: Task, state: State) -> int | None:
    delay = state.get(Delay, key)
    return None if task.due_at is None else task.due_at + (delay.by if delay else 0)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_STEPS)
def test_an_agenda_says_what_a_walk_over_the_table_says(steps: list[tuple[str, str, int | None]]) -> None:
    """A deadline that is missed is never shown to the desk; after every step both answers are compared."""
    tables, now = Tables(KINDS), 0
    below: Overlay | None = None
    overlay = Overlay(tables, ReferenceData())
    for step, key, number in steps:
        if step == "put":
            overlay.put(key, Task(due_at=number))
        elif step == "delete":
            overlay.delete(Task, key)
        elif step == "delay":
            assert number is not None
            earlier = overlay.get(Delay, key)
            overlay.put(key, Delay(by=number + (earlier.by if earlier else 0)))
        elif step == "wait":
            assert number is not None
            now += number
        elif step == "abort":
            overlay = Overlay(tables, ReferenceData(), below)
        elif step == "fail":  # what was on its way is aborted, and what was decided on it falls with it
            below, overlay = None, Overlay(tables, ReferenceData())
        else:
            if below is not None:
                tables.apply(below.changes())
                overlay.settle()
                below = None
            if step == "commit":
                tables.apply(overlay.changes())
                overlay = Overlay(tables, ReferenceData())
            elif step == "depart":
                below, overlay = overlay, Overlay(tables, ReferenceData(), overlay)
        assert overlay.due(Task, _due_at, now) == due_by_scan(overlay, Task, _due_at, now)


def test_the_walk_itself_is_right() -> None:
    """It is what the agenda is compared with, so it is compared with a table written by hand."""
    state = Overlay(Tables(KINDS), ReferenceData())
    for key, due_at in {"late": 30, "now": 10, "early": 5, "never": None, "next": 11}.items():
        state.put(key, Task(due_at=due_at))
    due, first = due_by_scan(state, Task, _due_at, 10)
    assert [key for key, _ in due] == ["early", "now"]
    assert first == 11
    assert due_by_scan(state, Task, _due_at, 30)[1] is None


def test_a_look_costs_what_is_due() -> None:
    """Ten thousand rows that are not due are not asked for again, nor are those that were written and are gone."""
    tables = Tables(KINDS)
    tables.apply([(Task, f"row-{number}", Task(due_at=1_000 + number)) for number in range(10_000)])
    asked: list[str] = []

    def counted(key: str, task: Task, state: State) -> int | None:
        asked.append(key)
        return _due_at(key, task, state)

    assert Overlay(tables, ReferenceData()).due(Task, counted, 0) == ([], 1_000)
    asked.clear()
    due, first = Overlay(tables, ReferenceData()).due(Task, counted, 1_001)
    assert [key for key, _ in due] == ["row-0", "row-1"]
    assert first == 1_002
    assert set(asked) == {"row-0", "row-1", "row-2"}


def test_a_look_above_what_is_not_committed_costs_that_much_more() -> None:
    """It happens every second while transactions are on their way all the time."""
    tables = Tables(KINDS)
    tables.apply([(Task, f"row-{number}", Task(due_at=1_000 + number)) for number in range(10_000)])
    asked: list[str] = []

    def counted(key: str, task: Task, state: State) -> int | None:
        asked.append(key)
        return _due_at(key, task, state)

    Overlay(tables, ReferenceData()).due(Task, counted, 0)
    below = Overlay(tables, ReferenceData())
    below.put("row-0", Task(due_at=5_000))
    overlay = Overlay(tables, ReferenceData(), below)
    overlay.put("new", Task(due_at=1_001))
    asked.clear()
    due, first = overlay.due(Task, counted, 1_001)
    assert [key for key, _ in due] == ["new", "row-1"]
    assert first == 1_002
    assert set(asked) == {"row-0", "row-1", "row-2", "new"}


def test_a_rule_that_raises_loses_nothing() -> None:
    """The engine leaves out what raised and asks again: everything that was due must still be named."""
    tables = Tables(KINDS)
    tables.apply([(Task, key, Task(due_at=number)) for number, key in enumerate(KEYS)])

    def broken(key: str, task: Task, state: State) -> int | None:
        if key == "c":
            raise ValueError("a bug of ours")
        return _due_at(key, task, state)

    for now in (0, 2, 3):
        with pytest.raises(ValueError, match="a bug of ours"):
            Overlay(tables, ReferenceData()).due(Task, broken, now)
    due, first = Overlay(tables, ReferenceData()).due(Task, _due_at, 2)
    assert [key for key, _ in due] == ["a", "b", "c"]
    assert first == 3


def test_what_was_not_committed_is_named_again() -> None:
    """An aborted transaction showed nothing to the desk, so the next one must."""
    tables = Tables(KINDS)
    tables.apply([(Task, "a", Task(due_at=1))])
    aborted, committed = Overlay(tables, ReferenceData()), Overlay(tables, ReferenceData())
    for overlay in (aborted, committed):
        assert overlay.due(Task, _due_at, 1) == ([("a", Task(due_at=1))], None)
        overlay.put("a", Task(due_at=None))
    tables.apply(committed.changes())
    assert Overlay(tables, ReferenceData()).due(Task, _due_at, 1) == ([], None)


def test_an_agenda_does_not_grow_with_what_is_gone() -> None:
    """Trades come and are settled all day, between two looks as well; what they left behind is dropped."""
    tables = Tables(KINDS)
    tables.apply([(Task, "stays", Task(due_at=5))])
    assert Overlay(tables, ReferenceData()).due(Task, _due_at, 0) == ([], 5)
    agenda = tables.agenda(Task)
    for number in range(12_000):
        tables.apply([(Task, f"row-{number}", Task(due_at=900))])
        tables.apply([(Task, f"row-{number}", None)])
    assert tables.agenda(Task) is not agenda
    assert not tables.agenda(Task).is_too_long(1)
    assert Overlay(tables, ReferenceData()).due(Task, _due_at, 5) == ([("stays", Task(due_at=5))], None)
