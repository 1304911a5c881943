"""What lies on the topics of a log, cut so that the auditor can judge it while work goes on.

The order of the measurements makes the cut: committed offsets first, so that the effects of every committed input are
already written; then the ends of the topics, downstream before upstream, so that the cause of every effect that is seen
is seen too. Transactions that were open are waited for, up to the time in which the broker ends them by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from services.engine.log import LogReader, TopicPartition
from services.verification import Entry

OPEN_SECONDS_MAX = 30.0
"""Longer than the broker lets a transaction of ours stay open: one that is still open then hangs."""

_COMPACTED = ("state.", "reference.")
_RECORDS_MAX = 10_000
_POLL_SECONDS = 0.1
_RETRY_SECONDS = 0.2

Committed = Callable[[str], Mapping[TopicPartition, int]]
"""Offsets that a group has committed, by the group's name."""


class ReadableLog(Protocol):
    """The part of a log that is needed here."""

    def partitions(self, topic: str) -> int:
        """Number of partitions."""
        ...

    def end_offsets(self, partitions: Iterable[TopicPartition], *, committed_only: bool) -> dict[TopicPartition, int]:
        """Last stable offsets or high watermarks."""
        ...

    def start_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Offset of the first record that each partition still holds."""
        ...

    def reader_until(self, offsets: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> LogReader:
        """Read from the given offsets to the given ends, which must be stable."""
        ...


class LogWorld:
    """A `services.verification.World` on a log."""

    def __init__(
        self,
        log: ReadableLog,
        committed: Committed,
        *,
        topics: Sequence[str],
        groups: Iterable[str],
        settled: bool,
        metrics: Mapping[str, float] | None = None,
        on_read: Callable[[str, int], None] | None = None,
        open_seconds_max: float = OPEN_SECONDS_MAX,
    ) -> None:
        """Measure. `topics` in the order of the pipeline, causes before effects; `on_read` is told of progress."""
        self.settled = settled
        self._log = log
        self._metrics = metrics
        self._on_read = on_read
        self._committed = {group: committed(group) for group in groups}
        self._ends: dict[str, dict[TopicPartition, int]] = {}
        for topic in reversed(topics):
            partitions = [TopicPartition(topic, number) for number in range(log.partitions(topic))]
            self._ends[topic] = log.end_offsets(partitions, committed_only=False)
        self._stable = self._wait_for_stable(open_seconds_max)

    def _wait_for_stable(self, seconds_max: float) -> dict[TopicPartition, int]:
        """How far each partition can be read: to the end that was measured, unless a transaction hangs before it."""
        deadline = time.monotonic() + seconds_max
        ends = {partition: end for found in self._ends.values() for partition, end in found.items()}
        stable: dict[TopicPartition, int] = {}
        while True:
            missing = [partition for partition, end in ends.items() if stable.get(partition, -1) < end]
            stable |= self._log.end_offsets(missing, committed_only=True)
            if all(stable[partition] >= ends[partition] for partition in missing) or time.monotonic() > deadline:
                return {partition: min(end, stable[partition]) for partition, end in ends.items()}
            time.sleep(_RETRY_SECONDS)

    def shortened(self) -> list[str]:
        """The topics of events whose oldest records were removed; a compacted topic has lost nothing by that."""
        starts = self._log.start_offsets(self._stable)
        return sorted({key.topic for key, start in starts.items() if start and not key.topic.startswith(_COMPACTED)})

    @property
    def record_count_max(self) -> int:
        """Offsets to read; there may be fewer records, for markers and compaction leave gaps."""
        return sum(self._stable.values())

    def topics(self) -> Iterable[str]:
        """The topics, causes before effects."""
        return reversed(self._ends)

    def entries(self, topic: str) -> Iterator[Entry]:
        """The committed records of a topic up to the cut."""
        ends = {partition: self._stable[partition] for partition in self._ends[topic]}
        reader = self._log.reader_until(dict.fromkeys(ends, 0), ends)
        try:
            while not reader.at_end():
                records = reader.poll(_RECORDS_MAX, _POLL_SECONDS)
                if self._on_read is not None:
                    self._on_read(topic, len(records))
                for record in records:
                    if record.offset < ends[TopicPartition(record.topic, record.partition)]:
                        yield Entry(
                            record.topic,
                            record.partition,
                            record.offset,
                            record.key,
                            record.value,
                            record.timestamp_ms,
                            record.headers,
                        )
        finally:
            reader.close()

    def committed(self, group: str) -> Mapping[tuple[str, int], int]:
        """What the group had committed before anything else was measured."""
        return {(place.topic, place.partition): offset for place, offset in self._committed[group].items()}

    def stable_ends(self, topic: str) -> Mapping[int, int]:
        """How far each partition could be read."""
        return {partition.partition: self._stable[partition] for partition in self._ends[topic]}

    def high_watermarks(self, topic: str) -> Mapping[int, int]:
        """The ends that were measured."""
        return {partition.partition: end for partition, end in self._ends[topic].items()}

    def metrics(self) -> Mapping[str, float] | None:
        """What was given."""
        return self._metrics
