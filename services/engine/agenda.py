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

    def due(self, due_at: DueAt, until: int) -> list[str]:
        """Keys of the rows that are due, in their order.

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
        return sorted(due)

    def _enter(self, entries: list[tuple[int, str]]) -> None:
        if len(entries) > len(self._times) // 8:
            self._times += entries
            heapq.heapify(self._times)
        else:
            for entry in entries:
                heapq.heappush(self._times, entry)

    def first(self, due_at: DueAt, now_due_at: DueAt) -> int | None:
        """The least of `now_due_at` over the rows that were not due at the last look.

        It may take changes into account that are not committed, and is never earlier than `due_at`, or None.
        """
        looked_at: list[tuple[int, str]] = []
        first: int | None = None
        try:
            while self._times and (first is None or self._times[0][0] < first):
                time, key = self._times[0]
                found = due_at(key)
                if found is None or found < time:  # when it became earlier it was written, and has another entry
                    heapq.heappop(self._times)
                elif found > time:
                    heapq.heapreplace(self._times, (found, key))
                else:
                    looked_at.append(heapq.heappop(self._times))
                    now = now_due_at(key)
                    if now is not None and (first is None or now < first):
                        first = now
        finally:
            for entry in looked_at:
                heapq.heappush(self._times, entry)
        return first
