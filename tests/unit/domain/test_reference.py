"""Answers that are kept must never outlive the data they were found in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest

from services.domain import reference as ref
from services.domain.code import AllocationPolicy
from services.domain.reference import ReferenceData

ON = date(2026, 3, 4)


def _account(name: str, *, text: str = "first", valid_from: date = date(2020, 1, 1)) -> ref.Account:
    return ref.Account(account=name, name=text, allocation_policy=AllocationPolicy.SINGLE, valid_from=valid_from)


def test_an_answer_follows_every_change_of_the_data() -> None:
    """A row that comes, is replaced, is overtaken by a later one or goes away counts from the next question on."""
    data = ReferenceData()
    changes: list[Callable[[], None]] = [
        lambda: None,
        lambda: data.put(_account("A")),
        lambda: data.put(_account("A", text="second")),
        lambda: data.put(_account("A", text="third", valid_from=ON)),
        lambda: data.remove(ref.Account, f"A|{ON.isoformat()}"),
        lambda: data.remove(ref.Account, "A|2020-01-01"),
    ]
    found = []
    for change in changes:
        change()
        answers = [data.find(ref.Account, "A", on=ON) for _ in range(2)]
        assert answers[0] is answers[1]
        found.append(answers[0].name if answers[0] else None)
    assert found == [None, "first", "second", "third", "second", None]


def test_a_question_is_answered_once() -> None:
    """Also when the answer is that there is nothing; other arguments are another question."""
    data, asked = ReferenceData(), []

    def question(given: ReferenceData, name: str, on: date) -> None:
        assert given is data
        asked.append((name, on))

    for _ in range(3):
        assert data.derived(question, "A", ON) is None
        assert data.derived(question, "B", ON) is None
    assert asked == [("A", ON), ("B", ON)]
    data.put(_account("A"))
    data.derived(question, "A", ON)
    assert len(asked) == 3


def test_what_raises_is_asked_again() -> None:
    """An error says something about the moment and is no answer to keep."""
    data, asked = ReferenceData(), []

    def question(_: ReferenceData, name: str) -> str:
        asked.append(name)
        if len(asked) == 1:
            raise KeyError(name)
        return name

    with pytest.raises(KeyError):
        data.derived(question, "A")
    assert [data.derived(question, "A") for _ in range(2)] == ["A", "A"]
    assert asked == ["A", "A"]


def test_answers_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender that makes up an instrument in each message asks a new question each time."""
    monkeypatch.setattr(ref, "DERIVED_MAX", 100)
    data = ReferenceData()
    data.put(_account("A"))
    sizes = set()
    for number in range(1_000):
        assert data.find(ref.Account, f"unknown-{number}", on=ON) is None
        assert data.find(ref.Account, "A", on=ON) is not None
        sizes.add(len(data._derived))
    assert max(sizes) <= 100
