"""A key whose record failed waits: later records follow it to `dead-letters`, until repairs release them in order.

One quarantine belongs to one service, one partition number and one name. The name is `key/<key>` for a record with a
key, whichever input it came on, for a key means the same on all of them. It is `record/<topic>/<offset>`, so that
nobody waits behind it, for a record without a key (none, empty, no UTF-8, or too long) and for a value that is no
message of its topic (`services.domain.errors.NotAMessageError`: nothing will ever be read from it, and its sender
repeats it).

What is written, always in the transaction of the offset of the record it is about:

- A record fails (DECODE, BUG, CRASH): one dead letter with that class and `attempt` 1; `Quarantine` of the name with
  head 0 and tail 1; `Parked` 0 says which record it was.
- A later record of the name: one dead letter with class PARKED and `attempt` 0, whose `err.message` names the record at
  the head; `Parked` at tail; tail is one more. Neither stage nor decoder sees it.
- A repair (a record on `repairs.<service>`, see `services.engine.repair`) of the record at the head: it is processed
  as its topic's next record (REPLAY) or not (DISCARD). Then `Parked` at head goes and head is one more; with head =
  tail `Quarantine` goes and the key is free. A replay that fails again writes a dead letter of the same source with its
  own class and `attempt` one more, and head stays.
- Every repair, done or refused: one record on `dead-letters.resolved`.

A stage asks `State.is_held` before it does what time or reference data made due, and leaves out what belongs to a key
that waits: it would overtake the record at the head.

So for each source (service, topic, partition, offset): it has a `Parked` row exactly from its first dead letter to its
first REPLAYED or DISCARDED; of the dead letters it has, the one with the highest `attempt` tells why it waits; and at
most one of its repairs is REPLAYED or DISCARDED. The records of a name are processed in the order in which they were
read. Rows lie in `state.<service>`, in the partition of the source: `Quarantine/<name>` and `Parked/<name>/<sequence>`.
Every dead letter says its name in the header `quarantine`.

All costs are those of a look at one row, whatever waits. Only a repair of a record that is not at the head looks
through the records of its name.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum

from services.domain.record import Record
from services.engine.log import LogRecord
from services.stage import State

KEY_BYTES_MAX = 100_000
"""A longer key names no order: it is written nowhere but on the record itself, for it may not fit anywhere else."""


class Quarantine(Record, kw_only=True):
    """The records of one name that wait are numbered `head` to `tail` - 1; there is at least one."""

    head: int
    tail: int


class Parked(Record, kw_only=True):
    """One record that waits: where it lies, and what its bytes were."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    """When it entered the log."""
    attempt: int
    """How often it was processed: 0 for one that only followed."""
    value_sha256: str | None
    """Of the value, in hex; None for a record without one. A repair must bring the same, or say what it changed."""


class Place(StrEnum):
    """Where a record stands in the quarantine of its name."""

    HEAD = "HEAD"
    BEHIND = "BEHIND"
    GONE = "GONE"
    """It never waited here, or does not any more."""


def key_of(record: LogRecord) -> str | None:
    """The key as text; None for one that nothing can be joined by: none, empty, no UTF-8, or above KEY_BYTES_MAX."""
    if record.key is None or len(record.key) > KEY_BYTES_MAX:
        return None
    try:
        return record.key.decode() or None
    except UnicodeDecodeError:
        return None


def key_name(key: str) -> str:
    """Name of the quarantine of a key."""
    return f"key/{key}"


def own_name(topic: str, offset: int) -> str:
    """Name of the quarantine of a single record."""
    return f"record/{topic}/{offset}"


def digest(value: bytes | None) -> str | None:
    """What `Parked.value_sha256` holds of a value."""
    return None if value is None else hashlib.sha256(value).hexdigest()


def holds(state: State, key: str | None) -> bool:
    """Whether records with this key wait."""
    return key is not None and state.get(Quarantine, key_name(key)) is not None


def park(state: State, name: str, record: LogRecord, *, attempt: int) -> None:
    """Put a record at the end of a quarantine, which begins with it if there is none."""
    found = state.get(Quarantine, name) or Quarantine(head=0, tail=0)
    row = Parked(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp_ms,
        attempt=attempt,
        value_sha256=digest(record.value),
    )
    state.put(_row_key(name, found.tail), row)
    state.put(name, Quarantine(head=found.head, tail=found.tail + 1))


def head(state: State, name: str) -> Parked | None:
    """The record that must be repaired first; None when nothing waits under the name."""
    found = state.get(Quarantine, name)
    if found is None:
        return None
    return _row(state, name, found.head)


def place(state: State, name: str, topic: str, offset: int) -> Place:
    """Where a record stands under a name."""
    found = state.get(Quarantine, name)
    if found is None:
        return Place.GONE
    for sequence in range(found.head, found.tail):
        row = _row(state, name, sequence)
        if (row.topic, row.offset) == (topic, offset):
            return Place.HEAD if sequence == found.head else Place.BEHIND
    return Place.GONE


def failed_again(state: State, name: str, *, attempt: int) -> None:
    """The head was processed once more, in vain: it stays."""
    found = state.get(Quarantine, name)
    assert found is not None
    row = _row(state, name, found.head)
    changed = Parked(
        topic=row.topic,
        partition=row.partition,
        offset=row.offset,
        timestamp_ms=row.timestamp_ms,
        attempt=attempt,
        value_sha256=row.value_sha256,
    )
    state.put(_row_key(name, found.head), changed)


def release(state: State, name: str) -> None:
    """The head is dealt with: the next one takes its place, and after the last the name is free."""
    found = state.get(Quarantine, name)
    assert found is not None
    state.delete(Parked, _row_key(name, found.head))
    if found.head + 1 == found.tail:
        state.delete(Quarantine, name)
    else:
        state.put(name, Quarantine(head=found.head + 1, tail=found.tail))


def _row(state: State, name: str, sequence: int) -> Parked:
    row = state.get(Parked, _row_key(name, sequence))
    assert row is not None, "rows of a quarantine are written and removed with it, in one transaction"
    return row


def _row_key(name: str, sequence: int) -> str:
    return f"{name}/{sequence}"
