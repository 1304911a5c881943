"""Which rows of a table fall due next, without looking at all of them.

A service is asked every second what is due. With a million open items a walk over the table, sorted by key, took two
seconds each time that anything was due; an agenda takes as long as there are rows that are. It is a help and not the
truth: what it names is asked again of the committed row, and it is made anew from the table when it is lost.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection

DueAt = Callable[[str], int | None]
"""When the committed row under a key is due, in the measure of `services.stage.State.due`; None: gone, or never due."""

_SPARE = 10_000
"""Entries that an agenda may hold beyond its rows before it is made anew."""


class Agenda:
    """The times of one table's rows, as they were when last asked for (`services.stage.DueAt` says how they change)."""

    def __init__(self, keys: Collection[str]) -> None:
        """Begin with every key of the table; their times are asked for at the first look."""
        self._unseen = list(keys)
        self._times: list[tuple[int, str]] = []
        self._due: set[str] = set()

    def changed(self, key: str) -> None:
        """The row under the key was written, and committed."""
        self._unseen.append(key)

    def is_too_long(self, row_count: int) -> bool:
        """Whether so much of it is outdated that it costs more than a new one."""
        return len(self._unseen) + len(self._times) + len(self._due) > 2 * row_count + _SPARE

    def look(self, due_at: DueAt, until: int) -> tuple[list[str], int | None]:
        """Keys of the rows that are due, in their order; and the time of the first that is not, if there is one.

        Changes nothing that matters: what is due stays so until its row says otherwise.
        """
        candidates = self._due.union(self._unseen)
        while self._times and self._times[0][0] <= until:
            candidates.add(heapq.heappop(self._times)[1])
        self._unseen = list(candidates)  # where `due_at` raises, all of them are asked again
        due: set[str] = set()
        later: list[tuple[int, str]] = []
        for key in candidates:
            time = due_at(key)
            if time is None:
                continue
            if time <= until:
                due.add(key)
            else:
                later.append((time, key))
        self._unseen, self._due = [], due
        self._enter(later)
        return sorted(due), self._first(due_at)

    def _enter(self, entries: list[tuple[int, str]]) -> None:
        if len(entries) > len(self._times) // 8:
            self._times += entries
            heapq.heapify(self._times)
        else:
            for entry in entries:
                heapq.heappush(self._times, entry)

    def _first(self, due_at: DueAt) -> int | None:
        """The time of the first entry that still holds; those before it are put right or dropped."""
        while self._times:
            time, key = self._times[0]
            found = due_at(key)
            if found == time:
                return time
            if found is None or found < time:  # when it became earlier it was written, and has another entry
                heapq.heappop(self._times)
            else:
                heapq.heapreplace(self._times, (found, key))
        return None
