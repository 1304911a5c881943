"""When a snapshot is worth it, and which transaction proves its offset: each rule alone, without a worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from services.engine import snapshots
from services.engine.metrics import Metrics
from services.engine.runtime import SYSTEM
from services.engine.snapshots import Attempt, Part, Snapshots
from services.engine.state import Tables
from tests.engine.harness import FaultyLog
from tests.support.engine_stages import counting
from tests.support.memory_files import MemoryFiles


class _Fake:
    """As much of a member as an attempt looks at."""

    def __init__(self) -> None:
        self.stage = counting().stage
        self.epoch = 1
        self.tables = {0: Tables([])}
        self.held = True

    def holds(self, number: int) -> bool:
        return self.held and number in self.tables


def _attempt(member: Any) -> tuple[Snapshots, Attempt]:
    taker = Snapshots(FaultyLog(), MemoryFiles(), Metrics(version="test"), SYSTEM, tombstones_kept_seconds=86_400.0)
    attempt = Attempt(member, 0, member.tables[0], member.epoch, 0)
    taker._waiting.add(attempt)
    return taker, attempt


@pytest.mark.parametrize("what", ["nothing", "revoked", "open", "doubtful"])
async def test_at_a_stop_only_certain_tables_are_proved(what: str) -> None:
    """The proof commits the offsets that go with them: with old ones the group would do its work twice."""
    member: Any = _Fake()
    member.tables[0].unsaved = 1
    log = FaultyLog()
    member.tables[0].changelog_id = log.topic_id("state.counting")
    taker = Snapshots(log, MemoryFiles(), Metrics(version="test"), SYSTEM, tombstones_kept_seconds=86_400.0)
    if what in ("open", "doubtful"):
        taker.begin([(member, 0)])
    if what == "doubtful":
        taker.applied(taker.begin([]))
    member.held = what != "revoked"
    proved: list[Part] = []

    async def prove(parts: Sequence[Part]) -> None:
        proved.extend(parts)

    await taker.finish([member], prove)

    assert proved == ([(member, 0)] if what == "nothing" else [])


async def test_a_commit_proves_an_attempt_whose_tables_are_certain() -> None:
    """Also the second one, when the first was certainly aborted; a transaction of other partitions proves nothing."""
    member: Any = _Fake()
    taker, attempt = _attempt(member)
    assert taker.begin([(member, 1)]) == []
    taker.applied([])
    assert taker.begin([(member, 0)]) == [attempt]
    taker.had_no_effect()
    assert not attempt.copied.done()
    taker.applied(taker.begin([(member, 0), (member, 1)]))
    assert attempt.copied.done()


async def test_tables_of_a_transaction_whose_end_was_not_told_are_not_believed_again() -> None:
    """They may lack what it committed, whatever commits later."""
    member: Any = _Fake()
    taker, attempt = _attempt(member)
    taker.begin([(member, 0)])
    for _ in range(2):
        taker.applied(taker.begin([(member, 0)]))
        assert not attempt.copied.done()


@pytest.mark.parametrize("when", ["before", "during"])
@pytest.mark.parametrize("what", ["epoch", "tables", "revoked"])
async def test_a_change_of_ownership_ends_an_attempt(when: str, what: str) -> None:
    """Others may have committed in between: the proof would be one for other tables."""
    member: Any = _Fake()
    taker, attempt = _attempt(member)

    def change() -> None:
        if what == "epoch":
            member.epoch += 1
        elif what == "revoked":
            member.held = False
        else:
            member.tables[0] = Tables([])

    if when == "before":
        change()
    proved = taker.begin([(member, 0)])
    assert bool(proved) == (when == "during")
    if when == "during":
        change()
    taker.applied(proved)
    assert not attempt.copied.done()


async def test_tables_that_a_commit_was_not_applied_to_are_not_believed_again() -> None:
    """It came when the partition was being taken from us, and was the next owner's to know."""
    member: Any = _Fake()
    taker, attempt = _attempt(member)
    taker.begin([(member, 0)])
    member.held = False
    taker.applied([])
    member.held = True
    taker.applied(taker.begin([(member, 0)]))
    assert not attempt.copied.done()


@pytest.mark.parametrize(
    ("unsaved", "rows", "age_seconds", "due"),
    [
        (19_999, 0, 0, False),
        (20_000, 0, 0, True),
        (20_000, 30_000, 0, False),
        (30_000, 30_000, 0, True),
        (0, 30_000, 601, False),
        (1, 30_000, 599, False),
        (1, 30_000, 601, True),
        (0, 1, 21_601, True),  # a quarter of the time deletions are kept: soon it could not be used any more
        (0, 0, 21_601, False),
    ],
)
def test_a_snapshot_is_due_when_it_is_worth_it(
    unsaved: int, rows: int, age_seconds: int, due: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too often, and the disk is what the worker does; too rarely, and a restart reads what it need not."""
    monkeypatch.setattr(snapshots, "CHANGED_SECONDS_MAX", 600.0)

    class Rows:
        saved_at_us = SYSTEM.now_us() - age_seconds * 1_000_000

        def __init__(self) -> None:
            self.unsaved = unsaved

        def count(self) -> int:
            return rows

    class Plain:
        halted = False

        def __init__(self) -> None:
            self.tables = {3: Rows()}

    member: Any = Plain()
    found = Snapshots(FaultyLog(), MemoryFiles(), Metrics(version="test"), SYSTEM, tombstones_kept_seconds=86_400.0)
    assert found._due([member]) == ([(member, 3)] if due else [])
    member.halted = True
    assert found._due([member]) == [], "it takes part in no transaction, and the others must not wait for it"
