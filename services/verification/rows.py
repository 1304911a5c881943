"""State as a worker would rebuild it: the changelog replayed, the last row of each key, compared with what must be."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from services.verification.judge import V6, Judge, Moving
from services.verification.letters import place
from services.verification.model import Entry, Place

T = TypeVar("T")
Columns = Mapping[str, Callable[[Mapping[str, Any]], Any]]
"""Of one table: each value that is compared, and how it is read from a row."""

PARKED, QUARANTINE, PROGRESS = "Parked", "Quarantine", "Progress"
STARTED = "Started"
"""Older data has it in place of `Progress`: where each input was first read, and never where it was read to."""

ENGINE_TABLES = frozenset({PARKED, QUARANTINE, PROGRESS, STARTED})
"""What the engine keeps for itself beside the tables of the stages."""


class Rows:
    """The rows of one service that are in force, each reduced to what is compared."""

    def __init__(self, service: str, judge: Judge, tables: Mapping[str, Columns]) -> None:
        """Start empty; `tables` are those the service declares."""
        self._service = service
        self._judge = judge
        self._tables = tables
        self._rows: dict[str, dict[tuple[str, int], tuple[Any, ...]]] = {table: {} for table in tables}
        self._parked: dict[tuple[str, int], tuple[str, int, int]] = {}
        self._queues: dict[tuple[str, int], tuple[int, int]] = {}
        self._begun: set[Place] = set()
        self._progress: dict[int, Mapping[str, int]] = {}
        """By partition the next offset of each input."""

    def read(self, entries: Iterable[Entry]) -> None:
        """Replay the changelog: the last row of a key holds, an empty value forgets it."""
        for entry in entries:
            table, _, key = (entry.key or b"").decode(errors="replace").partition("/")
            try:
                row = None if entry.value is None else json.loads(entry.value)
                self._read_row(entry, table, key, row)
            except (ValueError, KeyError, TypeError, ArithmeticError):
                self._judge.check(V6, False, place(entry), "cannot be read as a row of", table)  # noqa: FBT003

    def _read_row(self, entry: Entry, table: str, key: str, row: Any) -> None:
        rows = self._rows.get(table)
        if rows is None:
            self._read_foreign(entry, table, key, row)
        elif row is None:
            rows.pop((key, entry.partition), None)
        else:
            rows[key, entry.partition] = tuple(read(row) for read in self._tables[table].values())

    def _read_foreign(self, entry: Entry, table: str, key: str, row: Any) -> None:
        known = table in ENGINE_TABLES
        self._judge.check(V6, known, place(entry), "is a row of the unknown table", table)
        place_of_row = (key, entry.partition)
        if table == PARKED:
            _put(self._parked, place_of_row, row and (row["topic"], row["partition"], row["offset"]))
        elif table == QUARANTINE:
            _put(self._queues, place_of_row, row and (row["head"], row["tail"]))
        elif row is not None and known:
            self._begun |= {(topic, entry.partition) for topic in row["offsets"]}
            if table == PROGRESS:
                self._progress[entry.partition] = {topic: int(offset) for topic, offset in row["offsets"].items()}

    @property
    def parked(self) -> list[tuple[str, int, int]]:
        """Topic, partition and offset of what waits for a repair."""
        return list(self._parked.values())

    def judge_progress(self, committed: Mapping[Place, int], ends: Mapping[Place, int], *, settled: bool) -> None:
        """How far the inputs were read is remembered as the group has it, and lies in the inputs.

        While work goes on the state is read later than the group, so it may only be ahead. Where nothing tells how far
        it was read, an older version has written the state: then it must tell that it was begun.
        """
        for place_read in sorted(self._begun):
            there = place_read in committed
            self._check_progress(place_read, there, "is remembered as begun, and its group has no offset of")
        known = {(topic, number): at for number, row in self._progress.items() for topic, at in row.items()}
        for place_read in sorted(committed.keys() | known.keys()):
            at, told, end = known.get(place_read), committed.get(place_read), ends.get(place_read, 0)
            if at is None:
                begun = not self._begun or place_read in self._begun or not settled
                self._check_progress(place_read, begun, "does not tell of")
                continue
            self._check_progress(place_read, at <= end, "has", at, "as next offset, but there ends at", end, "input")
            if told is not None:
                agrees = at == told or (at > told and not settled)
                self._check_progress(place_read, agrees, "has", at, "and its group", told, "as next offset of")

    def _check_progress(self, read: Place, holds: bool, *said: object) -> None:  # noqa: FBT001
        topic, partition = read
        self._judge.check(V6, holds, f"state.{self._service}[{partition}]", PROGRESS, *said, topic)

    def judge_queues(self) -> None:
        """What waits for a repair is numbered without gap, key by key."""
        expected = {
            (f"{key}/{number}", partition)
            for (key, partition), (head, tail) in self._queues.items()
            for number in range(head, tail)
        }
        for key, partition in sorted(expected ^ self._parked.keys()):
            sentence = f"state.{self._service}[{partition}] {PARKED}/{key} and its {QUARANTINE} do not agree"
            self._judge.check(V6, False, sentence)  # noqa: FBT003

    def of(self, table: str) -> Iterator[tuple[str, int, tuple[Any, ...]]]:
        """The rows of a table that were not compared yet: key, partition, values."""
        return ((key, partition, values) for (key, partition), values in self._rows[table].items())

    def take(self, table: str, key: str, partition: int) -> tuple[Any, ...] | None:
        """Take a row out without comparing it."""
        return self._rows[table].pop((key, partition), None)

    def expect(self, table: str, key: str, partition: int, *values: object) -> None:
        """A row must be there with these values, in the order of its columns."""
        found = self.take(table, key, partition)
        name = f"state.{self._service}[{partition}] {table}/{key}"
        if not self._judge.check(V6, found is not None, name, "is not remembered") or found is None:
            return
        if found == values:
            return
        for column, is_there, expected in zip(self._tables[table], found, values, strict=True):
            self._judge.check(
                V6, is_there == expected, name, "has", column, _shown(is_there), "where", _shown(expected), "follows"
            )

    def left_over(self) -> None:
        """After everything that must be there: what remains follows from nothing."""
        for table, rows in self._rows.items():
            for key, partition in rows:
                name = f"state.{self._service}[{partition}] {table}/{key}"
                self._judge.check(V6, False, name, "is remembered and follows from nothing")  # noqa: FBT003


def _put(table: dict[tuple[str, int], T], key: tuple[str, int], row: T | None) -> None:
    if row is None:
        table.pop(key, None)
    else:
        table[key] = row


def column(name: str) -> Callable[[Mapping[str, Any]], Any]:
    """A value as it stands in the row."""
    return lambda row: row[name]


def mark(name: str) -> Callable[[Mapping[str, Any]], bytes]:
    """A fingerprint, which rows hold as hexadecimal text."""
    return lambda row: bytes.fromhex(row[name])


def _shown(value: object) -> Moving:
    return Moving(value.hex() if isinstance(value, bytes) else value)
