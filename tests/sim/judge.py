"""The audit of a run: every trade accounted for, and exactly what the flows promise."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.adapters.plain_avro import PlainReader
from services.domain.record import Record
from services.engine.codec import TopicCodec
from services.verification import Entry, verify
from tests.sim.broker import Broker

if TYPE_CHECKING:
    from tests.sim.workload import Workload

_REMEMBERED = ("front-office.", "counterparty.", "reference.")


@dataclass(frozen=True)
class Verdict:
    """What was found."""

    breaks: list[str]
    report: str
    records: int


class RememberingCodec:
    """A codec that remembers what it has read of reference data and senders: the same bytes come in every run."""

    def __init__(self, inner: TopicCodec) -> None:
        self._inner = inner
        self.encode: Callable[[str, Record], bytes] = inner.encode
        self._read: dict[tuple[str, bytes | None], Record] = {}

    def decode(self, topic: str, value: bytes | None) -> Record:
        """Read a value. Raises DecodeError."""
        if not topic.startswith(_REMEMBERED):
            return self._inner.decode(topic, value)
        known = self._read.get((topic, value))
        if known is None:
            known = self._read[topic, value] = self._inner.decode(topic, value)  # an error is not worth remembering
        return known


class SimWorld:
    """What the auditor sees of a broker: committed records only."""

    settled = True

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._entries: dict[str, list[Entry]] = {}
        for topic in broker.topics():
            self._entries[topic] = [
                Entry(r.topic, r.partition, r.offset, r.key, r.value, r.timestamp_ms, r.headers)
                for r in broker.committed_records(topic)
            ]
        self.records = sum(map(len, self._entries.values()))

    def topics(self) -> Iterable[str]:
        """The topics."""
        return self._entries

    def entries(self, topic: str) -> Iterable[Entry]:
        """The committed records of a topic."""
        return self._entries.get(topic, [])

    def committed(self, group: str) -> Mapping[tuple[str, int], int]:
        """Committed offsets of a group."""
        return {(place.topic, place.partition): at for place, at in self._broker.committed_offsets(group).items()}

    def stable_ends(self, topic: str) -> Mapping[int, int]:
        """Up to the first open transaction."""
        return self._ends(topic, committed_only=True)

    def high_watermarks(self, topic: str) -> Mapping[int, int]:
        """Up to the end."""
        return self._ends(topic, committed_only=False)

    def _ends(self, topic: str, *, committed_only: bool) -> dict[int, int]:
        return {place.partition: end for place, end in self._broker.ends(topic, committed_only=committed_only).items()}

    def metrics(self) -> Mapping[str, float] | None:
        """Not known: a process that dies takes its counters with it."""
        return None


@functools.cache
def _reader() -> Callable[[str, bytes | None], Mapping[str, Any] | None]:
    read = PlainReader()
    known: dict[tuple[str, bytes | None], Mapping[str, Any] | None] = {}

    def reading(topic: str, value: bytes | None) -> Mapping[str, Any] | None:
        if not topic.startswith(_REMEMBERED):
            return read(topic, value)
        if (topic, value) not in known:
            known[topic, value] = read(topic, value)
        return known[topic, value]

    return reading


def judge(broker: Broker, workload: Workload, given_up: Collection[str]) -> Verdict:
    """Compare what is committed with what was sent; `given_up` as in `Workload.promised_instructions`."""
    world = SimWorld(broker)
    report = verify(world, _reader())
    breaks = [f"{finding.invariant} {finding.title}: {told}" for finding in report.findings for told in finding.breaks]
    if not report.is_sound:
        breaks.append(report.verdict)
    findings = [
        f"{one.invariant:<4}{one.checked:>7,} checked {one.break_count:>4,} broken  {one.title}"
        for one in report.findings
    ]
    breaks += _promises(world, workload.promised_instructions(given_up), tidy=workload.is_tidied)
    return Verdict(breaks, "\n".join(findings), world.records)


def _promises(world: SimWorld, promised: int | None, *, tidy: bool) -> Iterable[str]:
    """A second opinion on the auditor: the flows know how many instructions they lead to."""
    put_aside = any(dict(entry.headers).get("err.class") == b"CRASH" for entry in world.entries("dead-letters"))
    found = 0
    for entry in world.entries("settlement.instructions"):
        instruction = _reader()(entry.topic, entry.value)
        found += 0 if instruction is None else -1 if instruction["function"] == "CANCEL" else 1
    if promised is not None and (tidy or not put_aside) and found != promised:
        yield f"the flows promise {promised} instructions, {found} stand"
