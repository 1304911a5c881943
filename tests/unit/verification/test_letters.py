"""What is too large to be repeated in a dead letter is compared by its size, and nothing else gets away with that."""

from __future__ import annotations

import pytest

from services.engine.dead_letters import LETTER_BYTES_MAX, dead_letter
from services.engine.log import Headers, LogRecord
from services.verification import Entry
from services.verification.judge import Judge
from services.verification.letters import Letters

TOPIC = "front-office.executions"
OWN: Headers = (("err.omitted", b"12"),)
"""A header that a sender may have chosen."""


def _breaks(source: Entry, *letters: tuple[bytes | None, bytes | None, Headers]) -> tuple[str, ...]:
    """What is found wrong with these letters about a source, each key, value and headers."""
    judge = Judge(breaks_max=10)
    found = Letters(judge)
    found.read(Entry("dead-letters", 0, place, *letter[:2], 0, letter[2]) for place, letter in enumerate(letters))
    assert found.about("capture", source)
    return judge.report().findings[6].breaks


def _letter(source: Entry, attempt: int = 1, changed: str | None = None) -> tuple[bytes | None, bytes | None, Headers]:
    record = LogRecord(TOPIC, 1, 7, source.key, source.value, 1, source.headers)
    made = dead_letter(
        record, error_class="DECODE", stage="capture", message="m", quarantine="q", attempt=attempt, changed=changed
    )
    return made.key, made.value, made.headers


@pytest.mark.parametrize("size", [10, LETTER_BYTES_MAX - 2_000, LETTER_BYTES_MAX, 2 * LETTER_BYTES_MAX])
@pytest.mark.parametrize("headers", [(), OWN], ids=["plain", "of the same name"])
def test_letters_as_the_engine_makes_them_are_right(size: int, headers: Headers) -> None:
    """Whole or only named: the auditor knows both, by rules of its own."""
    source = Entry(TOPIC, 1, 7, b"k", b"x" * size, 1, headers)
    assert _breaks(source, _letter(source)) == ()


def test_a_small_record_that_was_left_out_is_a_break() -> None:
    """Else a service could drop any value by saying that it was large."""
    source = Entry(TOPIC, 1, 7, b"k", b"x" * 100, 1)
    key, _, headers = _letter(source)
    assert len(_breaks(source, (key, None, (*headers, ("err.omitted", b"101"))))) == 1


def test_a_large_record_of_another_size_is_a_break() -> None:
    """The letter speaks of another record."""
    source, other = (Entry(TOPIC, 1, 7, b"k", b"x" * size, 1) for size in (4_000_000, 4_000_001))
    assert len(_breaks(source, _letter(other))) == 1
