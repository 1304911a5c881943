"""All stages in one process and without an engine: what one writes is given to those that read it, until nothing moves.

Independent of the engine on purpose, so that it can say what the engine must come to: records are bytes in lists, a
position is a number, state is a dictionary, and nothing is ever undone. Topics of one service are read in any order and
in batches of any size; a record's partition follows from its key, as everywhere.
"""

from __future__ import annotations

import random
import zlib
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple, TypeVar

from services.adapters.topic_codec import FormatCodec
from services.domain.code import ExceptionStatus
from services.domain.errors import DecodeError
from services.domain.event import ExceptionEvent
from services.domain.record import Record
from services.domain.reference import ReferenceData, ReferenceRecord
from services.pipeline import DEAD_LETTERS, EXCEPTIONS, SERVICES, ServiceDefinition, make_codec
from services.settings import Settings
from services.stage import Outcome, Publish, Received, Stage
from tests.memory_state import MemoryState

T = TypeVar("T", bound=Record)

_BATCH_MAX = 40
_ALL = 1_000_000


class Entry(NamedTuple):
    """One record of a topic; the event is what was encoded, or None for what came from outside."""

    key: str | None
    value: bytes | None
    event: Record | None
    timestamp_us: int


class _Hosted:
    """One service on one partition: its stage, memory and positions."""

    def __init__(self, definition: ServiceDefinition, stage: Stage, partition: int, reference: ReferenceData) -> None:
        self.inputs = definition.inputs
        self.stage = stage
        self.partition = partition
        self.state = MemoryState(reference)
        self.positions = dict.fromkeys(definition.inputs, 0)


class Pipeline:
    """The five services, with time standing still unless `now_us` is set."""

    def __init__(self, *, now_us: int, partitions: int = 1, codec: FormatCodec | None = None) -> None:
        """Start with nothing on any topic and no reference data."""
        self.now_us = now_us
        self.reference = ReferenceData()
        self.topics: defaultdict[str, list[list[Entry]]] = defaultdict(lambda: [[] for _ in range(partitions)])
        self.suppressed: defaultdict[str, int] = defaultdict(int)
        self._codec = codec or make_codec()
        self._hosted: list[_Hosted] = []
        for definition in SERVICES:
            stage = definition.make_stage(Settings())  # one stage for all partitions, as a worker has it
            self._hosted += [_Hosted(definition, stage, number, self.reference) for number in range(partitions)]

    # --- what comes from outside -------------------------------------------------------------------------------------

    def load(self, rows: Iterable[ReferenceRecord]) -> None:
        """Enter reference data."""
        for row in rows:
            self.reference.put(row)

    def send(self, topic: str, key: str | None, value: bytes | None) -> None:
        """Append a record, as a sender would."""
        self._append(topic, Entry(key, value, None, self.now_us))

    # --- running -----------------------------------------------------------------------------------------------------

    def run(self, shuffle: random.Random | None = None) -> None:
        """Run until quiet: service by service and topic by topic, or in the disorder that `shuffle` draws."""
        while True:
            moved = self._run_shuffled(shuffle) if shuffle else self._run_in_order()
            if moved:
                continue
            # What waits for data or time may have become due without any record; every service is asked.
            due = [self._on_time(hosted) for hosted in self._hosted]
            if not any(due):
                return

    def _run_in_order(self) -> bool:
        moved = False
        for hosted in self._hosted:
            for topic in hosted.inputs:
                moved |= self._take(hosted, [(topic, _ALL)])
        return moved

    def _run_shuffled(self, shuffle: random.Random) -> bool:
        """A turn for some service: a few records of each of some of its topics."""
        hosted = [one for one in self._hosted if any(self._pending(one, topic) for topic in one.inputs)]
        if not hosted:
            return False
        chosen = shuffle.choice(hosted)
        topics = [topic for topic in chosen.inputs if self._pending(chosen, topic)]
        wanted = [
            (topic, shuffle.randint(1, _BATCH_MAX)) for topic in shuffle.sample(topics, shuffle.randint(1, len(topics)))
        ]
        if shuffle.randrange(4) == 0:
            self._on_time(chosen)
        return self._take(chosen, wanted)

    def _pending(self, hosted: _Hosted, topic: str) -> int:
        return len(self.topics[topic][hosted.partition]) - hosted.positions[topic]

    def _take(self, hosted: _Hosted, wanted: list[tuple[str, int]]) -> bool:
        batch: list[Received] = []
        count_taken = 0
        for topic, count in wanted:
            start = hosted.positions[topic]
            entries = self.topics[topic][hosted.partition][start : start + count]
            hosted.positions[topic] += len(entries)
            count_taken += len(entries)
            for offset, entry in enumerate(entries, start=start):
                received = self._decode(topic, entry, hosted.partition, offset)
                if received is None:
                    self._append(DEAD_LETTERS, entry)
                else:
                    batch.append(received)
        if batch:
            self._publish(hosted, hosted.stage.process(batch, hosted.state, self.now_us))
        return count_taken > 0

    def _decode(self, topic: str, entry: Entry, partition: int, offset: int) -> Received | None:
        try:
            event = self._codec.decode(topic, entry.value)
        except DecodeError:
            return None
        return Received(
            topic=topic, key=entry.key, event=event, timestamp_us=entry.timestamp_us, partition=partition, offset=offset
        )

    def _on_time(self, hosted: _Hosted) -> bool:
        outcomes = hosted.stage.on_time(hosted.state, self.now_us)
        self._publish(hosted, outcomes)
        return bool(outcomes)

    def _publish(self, hosted: _Hosted, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, Publish):
                value = self._codec.encode(outcome.topic, outcome.event)
                self._append(outcome.topic, Entry(outcome.key, value, outcome.event, self.now_us))
            else:
                self.suppressed[f"{hosted.stage.name}/{outcome.cause}"] += 1

    def _append(self, topic: str, entry: Entry) -> None:
        partitions = self.topics[topic]
        number = zlib.crc32((entry.key or "").encode()) % len(partitions)
        partitions[number].append(entry)

    # --- what came of it ---------------------------------------------------------------------------------------------

    def entries(self, topic: str) -> list[Entry]:
        """All records of a topic, partition by partition."""
        return [entry for partition in self.topics[topic] for entry in partition]

    def events(self, topic: str, kind: type[T]) -> list[T]:
        """All events of a topic that services wrote."""
        return [entry.event for entry in self.entries(topic) if isinstance(entry.event, kind)]

    def open_exceptions(self) -> list[ExceptionEvent]:
        """The exceptions whose last word is that they are open, by id."""
        last = {event.exception_id: event for event in self.events(EXCEPTIONS, ExceptionEvent)}
        return [last[key] for key in sorted(last) if last[key].status is ExceptionStatus.OPEN]
