"""The smallest `State`: plain dictionaries. For tests of stages, and the overlay's model in the engine's tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from services.domain.record import Record
from services.domain.reference import ReferenceData
from services.stage import DueAt, due_by_scan

T = TypeVar("T", bound=Record)


class MemoryState:
    """Remembers at once and for ever; has no transaction."""

    def __init__(self, reference: ReferenceData | None = None) -> None:
        """Start empty, with the given reference data."""
        self._reference = reference or ReferenceData()
        self.tables: dict[type[Record], dict[str, Record]] = {}
        self.held: set[str] = set()
        """Keys that are said to wait for a repair."""

    @property
    def reference(self) -> ReferenceData:
        """The reference data given at the start."""
        return self._reference

    def get(self, kind: type[T], key: str) -> T | None:
        """Read one row."""
        return self.tables.get(kind, {}).get(key)  # type: ignore[return-value]  # a table holds rows of its kind only

    def put(self, key: str, value: Record) -> None:
        """Write one row."""
        self.tables.setdefault(type(value), {})[key] = value

    def delete(self, kind: type[Record], key: str) -> None:
        """Remove one row, if it is there."""
        self.tables.get(kind, {}).pop(key, None)

    def due(self, kind: type[T], due_at: DueAt[T], until: int) -> tuple[list[tuple[str, T]], int | None]:
        """Rows that are due by then, by key, and when the first of the others is."""
        return due_by_scan(self, kind, due_at, until)

    def scan(self, kind: type[T]) -> Iterator[tuple[str, T]]:
        """All rows of a table, by key."""
        rows = self.tables.get(kind, {})
        for key in sorted(rows):
            yield key, rows[key]  # type: ignore[misc]  # a table holds rows of its kind only

    def is_held(self, key: str) -> bool:
        """Whether the test says so."""
        return key in self.held
