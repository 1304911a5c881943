"""The inputs of each service: which must have had their effect by now, which may, and how far was read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from services.verification.judge import V1, V3, Judge
from services.verification.letters import Letters, key_name, place
from services.verification.model import Decode, Entry, Place, Waiting, World
from services.verification.names import group_of, repairs_of
from services.verification.plain import Plain
from services.verification.repairs import TO_THE_END, Repairs


class Input(NamedTuple):
    """One record as an input of one service."""

    entry: Entry
    record: Plain
    is_new: bool
    """Not older than what is to be judged."""
    is_in_flight: bool
    """It lies after the committed offset: it may have had its effect or not."""
    is_buried: bool
    """The service put it aside as a dead letter: it has no effect unless it comes again."""
    is_replayed: bool = False
    """It was put aside, and a person gave it to the service again: it may come after later ones."""


class Inputs:
    """Reads topics as a service's inputs."""

    def __init__(
        self, world: World, decode: Decode, judge: Judge, letters: Letters, repairs: Repairs, since_ms: int | None
    ) -> None:
        """Remember where to look; inputs older than `since_ms` are known but not judged."""
        self._repairs = repairs
        self._world = world
        self._decode = decode
        self._judge = judge
        self._letters = letters
        self._since_ms = since_ms
        self._committed: dict[str, Mapping[Place, int]] = {}
        self.read: Counter[str] = Counter()
        """Records that were read and committed, by service."""
        self.buried: Counter[str] = Counter()
        """Of these, those given up as dead letters."""
        self._waiting: dict[tuple[str, str], Waiting] = {}
        self._held = repairs.held()

    @property
    def waiting(self) -> list[Waiting]:
        """What lies behind the committed offsets, by service and topic."""
        return list(self._waiting.values())

    @property
    def in_flight(self) -> Counter[str]:
        """Records behind the committed offsets, by service."""
        counts: Counter[str] = Counter()
        for one in self._waiting.values():
            counts[one.service] += one.count
        return counts

    def of(self, service: str, topic: str) -> Iterator[Input]:
        """The records of a topic that the auditor can read too."""
        committed = self.committed(service)
        for entry in self._world.entries(topic):
            behind = entry.offset >= committed.get((topic, entry.partition), 0)
            in_flight = behind and not self._world.settled
            self._note_behind(service, entry, behind=behind)
            self.read[service] += not behind
            is_buried = self._letters.about(service, entry)
            self.buried[service] += is_buried
            is_new = self._since_ms is None or entry.timestamp_ms >= self._since_ms
            if is_new and not behind:
                self._check_held(service, entry)
            record = self._decode(topic, entry.value)
            if record is None:
                explained = is_buried or in_flight or not is_new
                self._judge.check(V1, explained, place(entry), "cannot be read and is no dead letter of", service)
                continue
            yield Input(entry, record, is_new, in_flight, is_buried)

    def replayed(self, service: str) -> Iterator[Input]:
        """What people gave a service again and it took, as the records they were at first."""
        topic = repairs_of(service)
        committed = self.committed(service)
        for entry in self._repairs.entries(service):
            behind = entry.offset >= committed.get((topic, entry.partition), 0)
            self._note_behind(service, entry, behind=behind)
            in_flight = behind and not self._world.settled
            source = self._repairs.source_of(service, entry, in_flight=in_flight)
            record = None if source is None else self._decode(source.topic, source.value)
            if source is None:
                continue
            is_new = self._since_ms is None or entry.timestamp_ms >= self._since_ms
            if self._judge.check(V1, record is not None, place(entry), "was replayed and cannot be read"):
                assert record is not None
                yield Input(source, record, is_new, in_flight, is_buried=False, is_replayed=True)

    def _note_behind(self, service: str, entry: Entry, *, behind: bool) -> None:
        if not behind:
            return
        known = self._waiting.get((service, entry.topic))
        count, oldest_ms = (0, entry.timestamp_ms) if known is None else (known.count, known.oldest_ms)
        oldest_ms = min(oldest_ms, entry.timestamp_ms)
        self._waiting[service, entry.topic] = Waiting(service, entry.topic, count + 1, oldest_ms)

    def _check_held(self, service: str, entry: Entry) -> None:
        """While a record of a key waits for a repair, what lies behind it under that key waits too."""
        if not self._held:
            return
        source = (service, entry.topic, entry.partition, entry.offset)
        for first, last in self._held.get((*source[:3], key_name(entry.key)), {}).items():
            if first < entry.offset <= last:
                waits = self._repairs.waits(source) if last == TO_THE_END else source in self._letters.parked
                told = (place(entry), "overtook in", service, "a record of its key that waited for a repair:")
                self._judge.check(V3, waits, *told, f"{entry.topic}[{entry.partition}]@{first}")

    def committed(self, service: str) -> Mapping[Place, int]:
        """What the service's group has committed."""
        if service not in self._committed:
            self._committed[service] = self._world.committed(group_of(service))
        return self._committed[service]
