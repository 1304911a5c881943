"""Reference data on every worker: all of it, read from the compacted `reference.*` topics before the first record."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from services.domain.errors import DecodeError
from services.domain.reference import ReferenceData, ReferenceRecord
from services.engine.codec import TopicCodec
from services.engine.log import Log, LogReader, LogRecord, TopicPartition, Unavailable
from services.engine.runtime import Runtime

log_event = structlog.get_logger("posttrade.reference")

FOLLOW_SECONDS = 0.25
_RECORDS_MAX = 5_000


class ReferenceFeed:
    """Keeps a `ReferenceData` current. Changes are entered on the event loop, so never while a stage runs."""

    def __init__(
        self, log: Log, codec: TopicCodec, topics: Mapping[str, type[ReferenceRecord]], runtime: Runtime
    ) -> None:
        """Bind the topics; `load` reads them."""
        self._thread = runtime.executor(1, "reference")
        self.data = ReferenceData()
        self.rejected = 0
        """Rows that could not be read; they are left out and logged, and what needs them waits as an exception."""
        self._log = log
        self._codec = codec
        self._topics = topics
        self._reader: LogReader | None = None
        self._changed = False
        self._stopping = False

    @property
    def count(self) -> int:
        """Rows held."""
        return self.data.count()

    def load(self, went_on: Callable[[], None] = lambda: None) -> None:
        """Read everything there is; blocks, and calls `went_on` after each step."""
        partitions = [TopicPartition(topic, n) for topic in self._topics for n in range(self._log.partitions(topic))]
        self._reader = self._log.reader(dict.fromkeys(partitions, 0))
        while not self._reader.at_end():
            self._enter(self._reader.poll(_RECORDS_MAX, FOLLOW_SECONDS))
            went_on()

    async def follow(self) -> None:
        """Enter what changes, until `stop`."""
        loop = asyncio.get_running_loop()
        while not self._stopping and self._reader is not None:
            try:
                records = await loop.run_in_executor(self._thread, self._reader.poll, _RECORDS_MAX, FOLLOW_SECONDS)
            except Unavailable:  # what is held stays in force; the transaction is where an outage is told
                await asyncio.sleep(FOLLOW_SECONDS)
                continue
            if records:
                self._enter(records)
                self._changed = True

    def stop(self) -> None:
        """End `follow` after its current wait."""
        self._stopping = True
        self._thread.shutdown(wait=False)

    def take_changed(self) -> bool:
        """Whether anything changed since the last call."""
        changed, self._changed = self._changed, False
        return changed

    def _enter(self, records: list[LogRecord]) -> None:
        for record in records:
            kind = self._topics[record.topic]
            key = "" if record.key is None else record.key.decode(errors="replace")
            if record.value is None:
                self.data.remove(kind, key)
                continue
            try:
                row = self._codec.decode(record.topic, record.value)
            except DecodeError as error:
                self.rejected += 1
                self.data.remove(kind, key)  # an outdated row must not stay in force because its successor is broken
                log_event.warning(
                    "reference row left out", topic=record.topic, key=key, offset=record.offset, cause=str(error)
                )
                continue
            assert isinstance(row, ReferenceRecord), "reference topics hold reference records"
            self.data.put(row)
