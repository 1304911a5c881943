"""Rebuilds a partition's tables from its snapshot and its changelog; the same path at every start, rebalance and doubt.

The snapshot only says from where the changelog must be read; without one it is read from its beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Self

import structlog

from services.domain.record import Record
from services.engine.log import Log, LogRecord, TopicPartition
from services.engine.metrics import Metrics
from services.engine.runtime import Runtime
from services.engine.snapshot_store import SnapshotStore
from services.engine.state import Tables, changelog_topic

log_event = structlog.get_logger("posttrade.engine")

PROGRESS_SECONDS = 5.0
_POLL_SECONDS = 0.2
_RECORDS_MAX = 10_000


class RestoreCancelled(Exception):
    """The partitions were taken away, or the worker stops, before the restore was done."""


class Recovery:
    """Restores tables from the log, with the help of snapshots."""

    def __init__(self, log: Log, store: SnapshotStore, metrics: Metrics, runtime: Runtime) -> None:
        """Bind; nothing is read yet."""
        self._log = log
        self._store = store
        self._metrics = metrics
        self._runtime = runtime

    def restore(
        self,
        *,
        service: str,
        kinds: Iterable[type[Record]],
        partitions: Iterable[int],
        cancelled: Callable[[], bool],
    ) -> Mapping[int, Tables]:
        """Read the changelog of each partition, from its snapshot or from the beginning, to its high watermark.

        The high watermark, not the last stable offset: an open transaction of a dead predecessor may lie before
        committed rows of the last owner, so its end (commit, abort or timeout) is waited for. Raises StateError for a
        row that no table can hold, RestoreCancelled when `cancelled` says so.
        """
        kinds, numbers = tuple(kinds), tuple(partitions)
        if not numbers:
            return {number: Tables(kinds) for number in numbers}

        def check() -> None:
            if cancelled():
                raise RestoreCancelled

        topic = changelog_topic(service)
        # The id comes first: whatever is read after it, a changelog created anew in between is not taken for this one.
        changelog_id = self._log.topic_id(topic)
        ends = self._log.end_offsets([TopicPartition(topic, number) for number in numbers], committed_only=False)
        tables: dict[int, Tables] = {}
        offsets: dict[TopicPartition, int] = {}
        for place, end in ends.items():
            number = place.partition
            loaded = self._store.load(service, number, kinds, topic_id=changelog_id, end=end, check=check)
            tables[number], offsets[place] = loaded or (self._empty(kinds), 0)
            tables[number].changelog_id = changelog_id
        with _Progress(self._metrics, self._runtime, service, offsets, ends) as progress:
            self._replay(tables, offsets, progress, check)
        return tables

    def _empty(self, kinds: Iterable[type[Record]]) -> Tables:
        tables = Tables(kinds)
        tables.saved_at_us = self._runtime.now_us()
        return tables

    def _replay(
        self,
        tables: Mapping[int, Tables],
        offsets: Mapping[TopicPartition, int],
        progress: _Progress,
        check: Callable[[], None],
    ) -> None:
        reader = self._log.reader(offsets)
        try:
            while not reader.at_end():
                records = reader.poll(_RECORDS_MAX, _POLL_SECONDS)
                for record in records:
                    assert record.key is not None, "a changelog row has a key"
                    tables[record.partition].restore(record.key, record.value)
                progress.read(records)
                check()
        finally:
            reader.close()


class _Progress:
    """Tells, in metrics and now and then in the log, how far a restore is."""

    def __init__(
        self,
        metrics: Metrics,
        runtime: Runtime,
        service: str,
        offsets: Mapping[TopicPartition, int],
        ends: Mapping[TopicPartition, int],
    ) -> None:
        self._rows_total = metrics.restore_rows.labels(service, "changelog")
        self._remaining = metrics.restore_remaining.labels(service)
        self._runtime = runtime
        self._service = service
        self._left = {place: max(0, end - offsets[place]) for place, end in ends.items()}
        self._ends = ends
        self._rows = 0
        self._shown = 0
        self._next_words = runtime.monotonic() + PROGRESS_SECONDS

    def __enter__(self) -> Self:
        self._show()
        return self

    def __exit__(self, *_error: object) -> None:
        self._left.clear()
        self._show()

    def _show(self) -> None:
        left = sum(self._left.values())
        self._remaining.inc(left - self._shown)  # several restores of one service add up
        self._shown = left

    def read(self, records: list[LogRecord]) -> None:
        """Count what was read. Compaction leaves gaps, so what remains is counted in offsets: at most so many."""
        self._rows += len(records)
        self._rows_total.inc(len(records))
        for place, offset in {TopicPartition(r.topic, r.partition): r.offset for r in records}.items():
            self._left[place] = max(0, self._ends[place] - offset - 1)
        self._show()
        now = self._runtime.monotonic()
        if now >= self._next_words:
            self._next_words = now + PROGRESS_SECONDS
            log_event.info("state is being restored", service=self._service, rows=self._rows, remaining=self._shown)
