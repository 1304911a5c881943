"""Statuses of matches: each follows from the one before, is told once, and is what the two sides have come to."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from services.verification.judge import V1, V2, V3, Judge
from services.verification.letters import place
from services.verification.model import Entry
from services.verification.plain import SEPARATOR, Plain
from services.verification.rows import Rows

UNPAIRED = ("NMAT", "PEND", "MISM", "DISQ")
FOLLOWS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(UNPAIRED, (*UNPAIRED, "MACH", "CAND")),
    "MACH": ("MAGR", "CAND"),
    "MAGR": ("CREQ", "NMAT"),
    "CREQ": ("CANA", "CREJ"),
    "CREJ": ("CREQ",),
    "CAND": (),
    "CANA": (),
}
"""What may follow each status."""

FIRST = (*UNPAIRED, "CAND", "CREQ")
"""With what a history may begin; a request begins one of a match that nothing was told of before."""

HISTORY_MAX = 20


class Standings:
    """The reports on confirmations.status."""

    def __init__(self, judge: Judge) -> None:
        """Start with none."""
        self._judge = judge
        self._last: dict[str, Plain] = {}
        """The latest report, by key of the side."""
        self._where: dict[str, str] = {}

    def take(self, entry: Entry, record: Plain, *, known: Callable[[str], bool]) -> None:
        """Enter a report; `known` says whether a side with this key came in."""
        check, where, subject = self._judge.check, place(entry), record["subject_id"]
        key = subject if record["allocation_id"] == subject else subject.replace("/", SEPARATOR, 1)
        check(V2, entry.key == subject.encode(), where, "is not keyed by what it is about")
        check(V2, known(key), where, subject, "is told about and was not received")
        steps = [step["status"] for step in record["history"]]
        ends = bool(steps) and steps[-1] == record["status"]
        check(V3, ends, where, subject, "has a history that does not end where it stands")
        before = self._last.get(key)
        if before is None:
            begins = bool(steps) and (steps[0] in FIRST or len(steps) == HISTORY_MAX)
            check(V3, begins, where, subject, "begins with", steps[0] if steps else "nothing")
        else:
            told = [step["status"] for step in before["history"]]
            goes_on = steps[: len(told)] == told or len(steps) == HISTORY_MAX
            check(V3, goes_on, where, subject, "has another history than was told before")
            new = record["history"] != before["history"] or record["confirmation_id"] != before["confirmation_id"]
            check(V2, new, where, subject, "is told again, and nothing is new")
        for one, following in pairwise(steps):
            check(V3, following in FOLLOWS[one], where, subject, "goes from", one, "to", following)
        self._last[key], self._where[key] = record, where

    def is_told(self, key: str) -> bool:
        """Whether anything was told about a side."""
        return key in self._last

    def status_of(self, key: str) -> str | None:
        """The latest status of a side, if anything was told."""
        record = self._last.get(key)
        return None if record is None else str(record["status"])

    def expect(self, rows: Rows, key: str, partition: int, possible: tuple[str, ...], *, must: bool) -> None:
        """The latest status of a side is one of the possible ones; whether it `must` have been told at all."""
        record = self._last.get(key)
        subject = key.replace(SEPARATOR, "/")
        if record is None:
            self._judge.check(V1, not must, "status of", subject, "was never told, expected", " or ".join(possible))
            return
        status = record["status"]
        fits = status in possible
        self._judge.check(V1, fits, self._where[key], subject, "stands at", status, "expected", " or ".join(possible))
        rows.expect("ShownStatus", key, partition, status, record["confirmation_id"], len(record["history"]))
