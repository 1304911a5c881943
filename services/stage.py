"""The contract between the engine and every service: one verb, pure.

A stage is given a batch of events of one partition, what it remembers for that partition, and the time. It answers with
outcomes and changes nothing but `state`. Same batch, state and time give the same outcomes, byte for byte: a replay
after a crash cannot invent a second instruction.

Three kinds of wrong are kept apart:
- a business refusal is a value: publish an `ExceptionEvent`, and the neighbours go on;
- our own bug is a Python exception: the engine isolates the record and sends it to `dead-letters`;
- trouble in the world (broker, disk) never reaches a stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from services.domain.record import Record
from services.domain.reference import ReferenceData

T = TypeVar("T", bound=Record)


class Received(Record, kw_only=True):
    """One event as it arrived. Events of one topic come in the order of their offsets."""

    topic: str
    key: str | None
    event: Record
    timestamp_us: int
    """When the record entered the log, microseconds since the epoch."""
    partition: int = 0
    offset: int = 0


class Publish(Record, kw_only=True):
    """Send an event to a topic. Co-partitioned topics need the same key for what must meet."""

    topic: str
    key: str
    event: Record


class Suppress(Record, kw_only=True):
    """The event was recognised as needing no output; it is counted under `cause` and nothing is sent."""

    cause: str


Outcome = Publish | Suppress


class State(Protocol):
    """What a stage remembers for one partition: one table per record type, keyed by text.

    Writes are part of the transaction: they become visible to later batches exactly when the outcomes do, or never.
    """

    @property
    def reference(self) -> ReferenceData:
        """All reference data; constant during one call."""
        ...

    def get(self, kind: type[T], key: str) -> T | None:
        """What is remembered under the key, writes of this call included."""
        ...

    def put(self, key: str, value: Record) -> None:
        """Remember a value in the table of its type."""
        ...

    def delete(self, kind: type[Record], key: str) -> None:
        """Forget what is under the key; nothing happens if nothing is."""
        ...

    def scan(self, kind: type[T]) -> Iterator[tuple[str, T]]:
        """All rows of a table in the order of their keys, writes of this call included. Cost grows with the table."""
        ...

    def due(self, kind: type[T], due_at: DueAt[T], until: int) -> tuple[list[tuple[str, T]], int | None]:
        """Rows that are due by then, in the order of their keys, and when the first of the others is, if there is one.

        Times are numbers that only grow: microseconds, or changes of reference data. The same as asking `due_at` of
        every row of a scan, but that its cost grows with what is due, and with what this call has written.
        """
        ...

    def is_held(self, key: str) -> bool:
        """Whether an input record with this key failed and waits for a repair. Costs a look at one row.

        The key is that of the input record, in whose terms a stage must be able to name every row that waits.
        """
        ...


DueAt = Callable[[str, T, State], int | None]
"""When the row under a key is due; None: never. It may read other tables. For a row that is not written the answer may
change to a later time, and among times that have come; never from one to come to an earlier one."""


def due_by_scan(state: State, kind: type[T], due_at: DueAt[T], until: int) -> tuple[list[tuple[str, T]], int | None]:
    """`State.due` in its plainest form, which looks at every row."""
    times = [(due_at(key, row, state), key, row) for key, row in state.scan(kind)]
    due = [(key, row) for time, key, row in times if time is not None and time <= until]
    return due, min((time for time, _, _ in times if time is not None and time > until), default=None)


class Stage(Protocol):
    """One service."""

    name: str
    """Folder, consumer group suffix, metric label."""
    state_types: tuple[type[Record], ...]
    """The tables the stage keeps; no other type may be put."""
    suppress_causes: tuple[str, ...]
    """Every cause it may suppress for, so that each counter exists from the start."""

    def process(self, batch: Sequence[Received], state: State, now_us: int) -> list[Outcome]:
        """Turn a batch into outcomes. Raises only for our own bugs."""
        ...

    def on_time(self, state: State, now_us: int) -> list[Outcome]:
        """Do what is due without a new event: deadlines, and work that waited for reference data.

        What belongs to a held key (`State.is_held`) is left out, and done once the key is free: it would overtake the
        record that waits, which may take it back. Called about once a second for every partition the worker owns, so
        it must be cheap when nothing is due.
        """
        ...
