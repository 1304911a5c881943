"""A world that a test can change: what lies on a log at one moment, as lists."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from services.adapters.log_world import LogWorld
from services.adapters.memory_log import MemoryLog
from services.engine.log import TopicPartition
from services.pipeline import topic_counts
from services.verification import Entry
from services.verification.names import INPUTS, group_of

Records = Mapping[str, tuple[Entry, ...]]


@dataclass(frozen=True)
class SnapshotWorld:
    """Everything a `World` answers, given once."""

    records: Records
    offsets: Mapping[str, Mapping[tuple[str, int], int]]
    stable: Mapping[str, Mapping[int, int]]
    ends: Mapping[str, Mapping[int, int]]
    settled: bool = True
    counters: Mapping[str, float] | None = field(default=None)

    def topics(self) -> Iterable[str]:
        return self.records

    def entries(self, topic: str) -> Iterable[Entry]:
        return self.records[topic]

    def committed(self, group: str) -> Mapping[tuple[str, int], int]:
        return self.offsets[group]

    def stable_ends(self, topic: str) -> Mapping[int, int]:
        return self.stable[topic]

    def high_watermarks(self, topic: str) -> Mapping[int, int]:
        return self.ends[topic]

    def metrics(self) -> Mapping[str, float] | None:
        return self.counters

    # --- changes, each gives another world

    def with_topic(self, topic: str, entries: Iterable[Entry]) -> SnapshotWorld:
        """Other records on one topic."""
        return replace(self, records={**self.records, topic: tuple(entries)})

    def without(self, entry: Entry) -> SnapshotWorld:
        """As if the record had never been written."""
        return self.with_topic(entry.topic, (one for one in self.records[entry.topic] if one is not entry))

    def with_changed(self, entry: Entry, **changes: object) -> SnapshotWorld:
        """The record with other content, at its place."""
        changed = entry._replace(**changes)  # type: ignore[arg-type]
        return self.with_topic(entry.topic, (changed if one is entry else one for one in self.records[entry.topic]))

    def with_added(self, entry: Entry) -> SnapshotWorld:
        """The record once more, behind everything in its partition."""
        offsets = [one.offset for one in self.records[entry.topic] if one.partition == entry.partition]
        added = entry._replace(offset=max(offsets, default=-1) + 1)
        return self.with_topic(entry.topic, (*self.records[entry.topic], added))

    def with_exchanged(self, first: Entry, second: Entry) -> SnapshotWorld:
        """Two records of one partition in each other's place."""
        places = {
            (first.partition, first.offset): second._replace(offset=first.offset),
            (second.partition, second.offset): first._replace(offset=second.offset),
        }
        entries = (places.get((one.partition, one.offset), one) for one in self.records[first.topic])
        return self.with_topic(first.topic, entries)


def memory_world(log: MemoryLog, *, settled: bool = True, topics: Iterable[str] | None = None) -> LogWorld:
    """The auditor's view of a log in memory."""
    return LogWorld(
        log,
        committed_of(log),
        topics=[*(topics or topic_counts())],
        groups=[group_of(service) for service in INPUTS],
        settled=settled,
        open_seconds_max=0,
    )


def committed_of(log: MemoryLog) -> Callable[[str], Mapping[TopicPartition, int]]:
    """What groups have committed on a log in memory."""

    def committed(group: str) -> Mapping[TopicPartition, int]:
        with log.changed, contextlib.suppress(KeyError):  # a group that nobody ever joined
            return dict(log.group(group).committed)
        return {}

    return committed


def snapshot(log: MemoryLog) -> SnapshotWorld:
    """The log as it is now; the run on it is over."""
    world = memory_world(log)
    topics = [*world.topics()]
    return SnapshotWorld(
        records={topic: tuple(world.entries(topic)) for topic in topics},
        offsets={group_of(service): world.committed(group_of(service)) for service in INPUTS},
        stable={topic: world.stable_ends(topic) for topic in topics},
        ends={topic: world.high_watermarks(topic) for topic in topics},
    )
