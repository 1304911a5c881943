"""Reads a memory log outside any group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from services.engine.log import LogRecord, TopicPartition

if TYPE_CHECKING:
    from services.adapters.memory_log import MemoryLog


class MemoryReader:
    """Reads partitions outside any group."""

    def __init__(
        self, log: MemoryLog, offsets: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> None:
        """Made by `MemoryLog.reader`."""
        self._log = log
        self._positions = dict(offsets)
        self._ends = dict(ends)

    def poll(self, records_max: int, timeout_seconds: float) -> list[LogRecord]:
        """Committed records from the current positions on."""
        deadline = self._log.clock.monotonic() + timeout_seconds
        with self._log.changed:
            while True:
                records: list[LogRecord] = []
                for key in self._positions:
                    left = records_max - len(records)
                    found, self._positions[key] = self._log.fetch(key, self._positions[key], left)
                    records += found
                left_seconds = deadline - self._log.clock.monotonic()
                if records or left_seconds <= 0 or (self.at_end() and timeout_seconds == 0):
                    return records
                self._log.changed.wait(left_seconds)

    def at_end(self) -> bool:
        """Whether the ends measured at the start are reached."""
        return all(self._positions[key] >= end for key, end in self._ends.items())

    def close(self) -> None:
        """Nothing to release."""
