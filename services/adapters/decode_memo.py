"""What this process has just written and will soon read: kept, so that it need not be decoded.

Services that share a worker hand records over through Kafka. A record that comes back has the very bytes that were
written, and decoding is a function of the bytes alone. So the memo asks for the complete value, every byte compared,
and answers the event that was written as these bytes, from which `AvroCodec.as_read` makes what decoding them would
give, in the same form. Who wrote the bytes, whether that transaction was aborted, and whether the record has been read
before changes nothing about that: another worker's record is decoded or, where its bytes are equal, is the same event.
The memo holds no promise, only work that is spared.
"""

from __future__ import annotations

from collections.abc import Iterable

from services.domain.record import Record

MEMO_BYTES = 16 * 1024 * 1024
"""Bound of the values kept, for all topics together: about 50,000 records. Their events come on top and take five to
ten times as much, 140 MiB at the most; as long as records are read soon, only what is on its way is held at all."""

_REST_BYTES = 4 * MEMO_BYTES
"""How much is written to a topic where nothing is found before keeping is tried again."""

_HIT_SHARE_MIN = 8
"""One of so many must be found, or keeping costs more than it spares (docs/performance.md)."""


class DecodeMemo:
    """Events of several topics by their bytes, each to be found once. At the bound the older half goes."""

    def __init__(self, topics: Iterable[str], bytes_max: int = MEMO_BYTES, rest_bytes: int = _REST_BYTES) -> None:
        """Start empty. `bytes_max` bounds the values kept, `rest_bytes` says how long a topic of no use is left out."""
        self._generation_bytes_max = bytes_max // 2
        self._rest_bytes = rest_bytes
        self._young_bytes = 0
        self.shelves = {topic: Shelf(self) for topic in topics}

    def grow(self, count_bytes: int) -> None:
        """Note what a shelf has taken up, or given back when negative. Drops the older half when there is too much."""
        self._young_bytes += count_bytes
        if self._young_bytes > self._generation_bytes_max:
            self._young_bytes = 0
            for shelf in self.shelves.values():
                shelf.age(self._rest_bytes)


class Shelf:
    """The events of one topic. Learns whether they are found: if readers live elsewhere or come too late, it rests."""

    def __init__(self, memo: DecodeMemo) -> None:
        """Start empty, as a part of the memo."""
        self._memo = memo
        self._young: dict[bytes, Record] = {}
        self._old: dict[bytes, Record] = {}
        self._found = 0
        self._rest_bytes = 0

    def keep(self, value: bytes, event: Record) -> None:
        """Remember the event that was written as these bytes. It must never change."""
        if self._rest_bytes > 0:
            self._rest_bytes -= len(value)
        elif value not in self._young:
            self._young[value] = event
            self._memo.grow(len(value))

    def take(self, value: bytes) -> Record | None:
        """The event that was written as these bytes, once; None when there is none, or no longer."""
        event = self._young.pop(value, None)
        if event is not None:
            self._memo.grow(-len(value))
        elif self._old:
            event = self._old.pop(value, None)
        if event is not None:
            self._found += 1
        return event

    @property
    def is_empty(self) -> bool:
        """Whether nothing can be found."""
        return not self._young and not self._old

    def age(self, rest_bytes: int) -> None:
        """Drop what was not asked for in the time of a generation, and judge by it whether to rest."""
        missed = len(self._old)
        self._old, self._young = self._young, {}
        if missed > (_HIT_SHARE_MIN - 1) * self._found:
            self._old = {}
            self._rest_bytes = rest_bytes
        self._found = 0
