"""What the auditor is given, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

Place = tuple[str, int]
"""Topic and partition."""

Decode = Callable[[str, bytes | None], Mapping[str, Any] | None]
"""Topic and value to plain values, or None when the value cannot be read.

Records are mappings of field names to strings, ints, Decimals, dates, lists and mappings. On `front-office.fix` a field
`message` says EXECUTION, ALLOCATION or IGNORED. On `settlement.messages` the one field `elements` maps the path of each
element that has text, and `path@name` of each attribute, to that text. State rows are JSON and are read by the auditor
itself.
"""


class Entry(NamedTuple):
    """One committed record as it lies in the log."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: tuple[tuple[str, bytes | None], ...] = ()


class World(Protocol):
    """What lies on the topics. Topics and groups have the project's names, without any prefix of an installation.

    A world that moves must be cut so that nothing looks lost: the committed offsets are taken first, then the end of
    each topic, downstream before upstream, and each topic is read up to its end.
    """

    @property
    def settled(self) -> bool:
        """Whether the run is over, so that everything should be done: then lag and open work are breaks."""
        ...

    def topics(self) -> Iterable[str]:
        """The topics that exist."""
        ...

    def entries(self, topic: str) -> Iterable[Entry]:
        """The committed records of a topic, in offset order within each partition; may be asked for again."""
        ...

    def committed(self, group: str) -> Mapping[Place, int]:
        """Next offset of each partition the group has committed; partitions without a commit are left out."""
        ...

    def stable_ends(self, topic: str) -> Mapping[int, int]:
        """Last stable offset of each partition: the first that belongs to an open transaction, or the end."""
        ...

    def high_watermarks(self, topic: str) -> Mapping[int, int]:
        """End of each partition, records of open transactions included."""
        ...

    def metrics(self) -> Mapping[str, float] | None:
        """Counters summed over all workers since the topics were empty, by name with labels as Prometheus writes them.

        For example `posttrade_records_produced_total{service="capture",topic="trades.captured"}`. None when they are
        not known, or when a worker died: its counters died with it.
        """
        ...


@dataclass(frozen=True)
class Finding:
    """What was found about one invariant."""

    invariant: str
    """V1 to V10."""
    title: str
    checked: int
    """How many comparisons were made."""
    breaks: tuple[str, ...]
    """The first breaks, each a sentence that names where to look."""
    break_count: int
    """All breaks, also those not listed."""
    judged: bool = True
    """Whether there was anything to judge by; False is neither good nor bad."""
    note: str = ""
    identities: tuple[str, ...] = ()
    """Of each listed break what stays of it while work goes on: two readings tell the same break by it."""


@dataclass(frozen=True)
class Waiting:
    """Input that a service has not processed yet."""

    service: str
    topic: str
    count: int
    oldest_ms: int
    """When the oldest of it entered the log, milliseconds since the epoch."""

    @property
    def since(self) -> str:
        """The same for people."""
        moment = datetime.fromtimestamp(self.oldest_ms // 1000, tz=UTC)
        return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


@dataclass(frozen=True)
class Report:
    """The ten findings in their order."""

    findings: tuple[Finding, ...]
    waiting: tuple[Waiting, ...] = ()
    """What lies behind the committed offsets, by service and topic."""

    @property
    def is_sound(self) -> bool:
        """Whether no invariant is broken."""
        return not any(finding.break_count for finding in self.findings)

    @property
    def verdict(self) -> str:
        """One line: ALL TRADES ACCOUNTED FOR, or how many breaks of which kind; and what is not processed yet."""
        if self.waiting:
            begun = "ALL PROCESSED TRADES ACCOUNTED FOR" if self.is_sound else self._broken
            return f"{begun}; {self._unprocessed}"
        return "ALL TRADES ACCOUNTED FOR" if self.is_sound else self._broken

    @property
    def _unprocessed(self) -> str:
        oldest = min(self.waiting, key=lambda one: one.oldest_ms)
        counts: dict[str, int] = {}
        for one in self.waiting:
            counts[one.service] = counts.get(one.service, 0) + one.count
        by_service = ", ".join(f"{service} {count}" for service, count in counts.items())
        total = sum(counts.values())
        return (
            f"{total} RECORD{'S' if total > 1 else ''} NOT YET PROCESSED, "
            f"oldest from {oldest.since} in {oldest.topic}, by service: {by_service}"
        )

    @property
    def _broken(self) -> str:
        broken = [finding for finding in self.findings if finding.break_count]
        return "NOT ACCOUNTED FOR: " + ", ".join(
            f"{finding.break_count} × {finding.invariant} {finding.title}" for finding in broken
        )
