"""Ways to make a sound world wrong in one place."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from services.adapters.topic_codec import FormatCodec
from services.domain.record import Record
from services.verification import Decode, Entry
from tests.support.snapshot_world import SnapshotWorld


@dataclass(frozen=True)
class Tampering:
    """A world with the means to find records in it and to write others."""

    world: SnapshotWorld
    decode: Decode
    codec: FormatCodec

    def record(self, entry: Entry) -> Any:
        """The plain values of a record."""
        found = self.decode(entry.topic, entry.value)
        assert found is not None
        return found

    def find(self, topic: str, condition: Callable[[Any], bool] = lambda record: True, *, at: int = 0) -> Entry:
        """The record of a topic that meets the condition, counted from the front (or, below 0, from the back)."""
        found = [
            entry
            for entry in self.world.records[topic]
            if (record := self.decode(topic, entry.value)) is not None and condition(record)
        ]
        assert found, f"nothing on {topic} is as wanted"
        return found[at]

    def row(self, service: str, table: str, condition: Callable[[Any], bool] = lambda row: True) -> Entry:
        """The row in force of a table, the first that meets the condition."""
        latest = {(entry.partition, entry.key): entry for entry in self.world.records[f"state.{service}"]}
        for (_, key), entry in latest.items():
            if (key or b"").startswith(f"{table}/".encode()) and entry.value and condition(json.loads(entry.value)):
                return entry
        raise AssertionError(f"no row of {table} is as wanted")

    def drop(self, entry: Entry) -> SnapshotWorld:
        return self.world.without(entry)

    def double(self, entry: Entry) -> SnapshotWorld:
        return self.world.with_added(entry)

    def change(self, entry: Entry, **changes: Any) -> SnapshotWorld:
        """The event with other fields."""
        return self.world.with_changed(entry, value=self.codec.encode(entry.topic, self._changed(entry, changes)))

    def add_changed(self, entry: Entry, **changes: Any) -> SnapshotWorld:
        """One more event like this one but for some fields."""
        value = self.codec.encode(entry.topic, self._changed(entry, changes))
        return self.world.with_added(entry._replace(value=value))

    def _changed(self, entry: Entry, changes: dict[str, Any]) -> Record:
        event = self.codec.decode(entry.topic, entry.value)
        return msgspec.structs.replace(event, **changes)

    def change_row(self, entry: Entry, **changes: Any) -> SnapshotWorld:
        """The row of state with other fields."""
        row = json.loads(entry.value or b"") | changes
        return self.world.with_changed(entry, value=json.dumps(row).encode())

    def neighbours(self, topic: str, same: str) -> tuple[Entry, Entry]:
        """Two records of one partition that agree in a field."""
        first: dict[tuple[int, Any], Entry] = {}
        for entry in self.world.records[topic]:
            record = self.decode(topic, entry.value)
            if record is None:
                continue
            other = first.setdefault((entry.partition, record[same]), entry)
            if other is not entry:
                return other, entry
        raise AssertionError(f"no two records on {topic} agree in {same}")
