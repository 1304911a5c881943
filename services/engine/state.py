"""What a stage remembers for one partition: committed tables, and an overlay that lives as long as one transaction.

Every change goes to a compacted changelog topic in the same transaction as the outcomes it belongs to. A table is named
by its record type; a changelog key is `<Type>/<key>`, its value the record as JSON (docs/decisions/0003). Beside the
tables of its stage every partition has those of the engine, which no stage reads or writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import TypeVar

import msgspec

from services.domain.record import Record
from services.domain.reference import ReferenceData
from services.engine.agenda import Agenda
from services.engine.quarantine import Parked, Quarantine, holds
from services.stage import DueAt, State

T = TypeVar("T", bound=Record)

_ENCODER = msgspec.json.Encoder(decimal_format="string", order="deterministic")
_DELETED = object()


class Progress(Record, kw_only=True):
    """How far the inputs of a partition are done, under its number as text; part of every transaction that moves it."""

    offsets: dict[str, int]
    """The next offset of each input topic."""


ENGINE_KINDS: tuple[type[Record], ...] = (Quarantine, Parked, Progress)
"""The record types of the engine's own tables."""


class StateError(Exception):
    """A changelog row cannot be understood; the partition must not be processed."""


class Tables:
    """The committed tables of one partition of one service."""

    def __init__(self, kinds: Iterable[type[Record]]) -> None:
        """Start empty, with one table for each record type the stage declares, and those of the engine."""
        self.rows: dict[type[Record], dict[str, Record]] = {kind: {} for kind in (*kinds, *ENGINE_KINDS)}
        self._kinds = {kind.__name__: kind for kind in self.rows}
        self._decoders = {kind: msgspec.json.Decoder(kind) for kind in self.rows}
        self._agendas: dict[type[Record], Agenda] = {}
        self.unsaved = 0
        """Changelog records taken over since the last snapshot of these tables, or since they were empty."""
        self.saved_at_us = 0
        """When that snapshot was taken; without one, when they were restored. Microseconds since the epoch."""
        self.changelog_id = ""
        """Which changelog they were restored from (`services.engine.log.Log.topic_id`)."""

    def apply(self, changes: Iterable[tuple[type[Record], str, Record | None]]) -> None:
        """Take over the changes of a committed transaction; None deletes."""
        for kind, key, value in changes:
            self.unsaved += 1
            if value is None:
                self.rows[kind].pop(key, None)
            else:
                self.rows[kind][key] = value
                agenda = self._agendas.get(kind)
                if agenda is not None:
                    agenda.changed(key)
        for kind in [kind for kind, agenda in self._agendas.items() if agenda.is_too_long(len(self.rows[kind]))]:
            del self._agendas[kind]

    def agenda(self, kind: type[Record]) -> Agenda:
        """Which committed rows of a table fall due; kept from the first time it is asked for."""
        agenda = self._agendas.get(kind)
        if agenda is None:
            agenda = self._agendas[kind] = Agenda(self.rows[kind])
        return agenda

    def restore(self, key: bytes, value: bytes | None) -> None:
        """Take over one changelog row. Raises StateError for a row that no declared table can hold."""
        name, _, row_key = key.decode(errors="replace").partition("/")
        kind = self._kinds.get(name)
        if kind is None:
            raise StateError(f"changelog row of unknown table {name}; this version does not know what to do with it")
        self.unsaved += 1
        if value is None:
            self.rows[kind].pop(row_key, None)
            return
        try:
            self.rows[kind][row_key] = self._decoders[kind].decode(value)
        except msgspec.DecodeError as error:  # no JSON, or JSON of another shape
            raise StateError(f"changelog row of table {name} does not fit: {error}") from error

    def count(self) -> int:
        """Rows in all tables, but for the one that says how far the inputs are done."""
        return sum(len(rows) for kind, rows in self.rows.items() if kind is not Progress)


class Overlay:
    """The `services.stage.State` of one call: reads through to the committed tables, keeps writes to itself.

    Between the two may lie `below`: the overlay of the transaction that is being committed.
    """

    def __init__(self, tables: Tables, reference: ReferenceData, below: Overlay | None = None) -> None:
        """Start without changes. `below` must have nothing below itself."""
        assert below is None or below.is_settled, "only one transaction is on its way at a time"
        self._tables = tables
        self._rows = tables.rows
        self._reference = reference
        self._below: Overlay | None = below
        self._changes: dict[type[Record], dict[str, Record | object]] = {}
        self.revision = 0
        """Moves with every change of what `changes` gives."""

    @property
    def reference(self) -> ReferenceData:
        """All reference data."""
        return self._reference

    def get(self, kind: type[T], key: str) -> T | None:
        """Read one row."""
        changed = self._changes.get(kind)
        if changed is not None:
            value = changed.get(key)
            if value is not None:
                return None if value is _DELETED else value  # type: ignore[return-value]  # tables hold their own kind
        if self._below is not None:
            return self._below.get(kind, key)
        return self._rows[kind].get(key)  # type: ignore[return-value]

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing but committed tables below."""
        return self._below is None

    def settle(self) -> None:
        """What was below is committed and in the tables: read it there."""
        self._below = None

    def changed_keys(self, kind: type[Record]) -> AbstractSet[str]:
        """Under which keys of a table there are changes of this call."""
        return self._changes.get(kind, {}).keys()

    def put(self, key: str, value: Record) -> None:
        """Write one row; its type must be one the stage declares."""
        kind = type(value)
        changed = self._changes.get(kind)
        if changed is None:
            if kind not in self._rows:
                raise TypeError(f"{kind.__name__} is not among the state types of this stage")
            changed = self._changes[kind] = {}
        changed[key] = value
        self.revision += 1

    def delete(self, kind: type[Record], key: str) -> None:
        """Remove one row, if it is there."""
        if self.get(kind, key) is not None:
            self._changes.setdefault(kind, {})[key] = _DELETED
            self.revision += 1

    def scan(self, kind: type[T]) -> Iterator[tuple[str, T]]:
        """All rows of a table, by key."""
        for key in sorted(self._rows[kind].keys() | self._all_changed_keys(kind)):
            value = self.get(kind, key)
            if value is not None:
                yield key, value

    def due(self, kind: type[T], due_at: DueAt[T], until: int) -> tuple[list[tuple[str, T]], int | None]:
        """Rows that are due by then, by key, and when the first of the others is."""
        rows: dict[str, T] = self._rows[kind]  # type: ignore[assignment]  # tables hold their own kind
        agenda = self._tables.agenda(kind)
        committed: State = Overlay(self._tables, self._reference)  # the agenda knows what is committed, and no more

        def committed_due_at(key: str) -> int | None:
            row = rows.get(key)
            return None if row is None else due_at(key, row, committed)

        keys = agenda.due(committed_due_at, until)
        if self.is_settled and not any(self._changes.values()):
            return [(key, rows[key]) for key in keys], agenda.first(committed_due_at, committed_due_at)
        changed = self._all_changed_keys(kind)
        due: list[tuple[str, T]] = []
        later: list[int] = []
        for key in sorted(changed.union(keys)):
            row = self.get(kind, key)
            time = None if row is None else due_at(key, row, self)
            if row is not None and time is not None:
                if time <= until:
                    due.append((key, row))
                else:
                    later.append(time)
        first = agenda.first(committed_due_at, lambda key: None if key in changed else due_at(key, rows[key], self))
        return due, min(later if first is None else [*later, first], default=None)

    def _all_changed_keys(self, kind: type[Record]) -> set[str]:
        """Those of `below` included."""
        below = () if self._below is None else self._below.changed_keys(kind)
        return {*self.changed_keys(kind), *below}

    def is_held(self, key: str) -> bool:
        """Whether records with this key wait for a repair, changes of this call included."""
        anything_waits = self.has_rows(Quarantine) or self._changes.get(Quarantine)
        return bool(anything_waits) and holds(self, key)

    def has_rows(self, kind: type[Record]) -> bool:
        """Whether there may be any row before the changes of this call, of which it says nothing."""
        return bool(self._rows[kind]) or (self._below is not None and self._below.has_changed(kind))

    def has_changed(self, kind: type[Record]) -> bool:
        """Whether a table has changes of this call."""
        return bool(self._changes.get(kind))

    def mark(self) -> dict[type[Record], dict[str, Record | object]]:
        """Remember the changes so far, to return to them with `rewind`."""
        return {kind: dict(changed) for kind, changed in self._changes.items()}

    def rewind(self, mark: dict[type[Record], dict[str, Record | object]]) -> None:
        """Drop every change made after the mark."""
        self._changes = mark
        self.revision += 1

    def changes(self) -> list[tuple[type[Record], str, Record | None]]:
        """Every change, in the order of tables and first writes."""
        return [
            (kind, key, None if value is _DELETED else value)  # type: ignore[misc]  # tables hold records only
            for kind, changed in self._changes.items()
            for key, value in changed.items()
        ]


def changelog_row(kind: type[Record], key: str, value: Record | None) -> tuple[bytes, bytes | None]:
    """Key and value of the changelog record for one change."""
    return f"{kind.__name__}/{key}".encode(), None if value is None else _ENCODER.encode(value)


def changelog_topic(service: str) -> str:
    """Name of the compacted topic that holds the changes of a service's state."""
    return f"state.{service}"
