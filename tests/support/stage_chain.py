"""The five stages of one partition, handing events to each other as they are: no bytes, no engine, no time.

Quick enough for thousands of cases. What is sent is processed to its end before the next thing is.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from functools import lru_cache

from services.domain.code import ExceptionStatus, Function
from services.domain.event import AllocatedTrade, ConfirmedTrade, ExceptionEvent, SettlementInstruction
from services.domain.record import Record, replace
from services.domain.reference import ReferenceData
from services.pipeline import SERVICES
from services.settings import Settings
from services.stage import Publish, Received, Stage
from tests.memory_state import MemoryState

Ending = AllocatedTrade | ConfirmedTrade | SettlementInstruction


@lru_cache(maxsize=1)
def _stages() -> tuple[tuple[Stage, tuple[str, ...]], ...]:
    """Stages hold nothing but what they were made of, and notes that a new memory makes void."""
    return tuple((service.make_stage(Settings()), service.reads) for service in SERVICES)


class StageChain:
    """All stages with their memory."""

    def __init__(self, reference: ReferenceData, *, now_us: int) -> None:
        """Start with nothing sent."""
        self.now_us = now_us
        self.events: defaultdict[str, list[Record]] = defaultdict(list)
        self.suppressed: defaultdict[str, int] = defaultdict(int)
        self._readers = {
            topic: (stage, state)
            for stage, topics in _stages()
            for state in (MemoryState(reference),)
            for topic in topics
        }

    def send(self, topic: str, key: str, event: Record) -> None:
        """Take one event through all stages."""
        waiting = deque([Publish(topic=topic, key=key, event=event)])
        while waiting:
            sent = waiting.popleft()
            self.events[sent.topic].append(sent.event)
            reader = self._readers.get(sent.topic)
            if reader is None:
                continue
            stage, state = reader
            received = Received(topic=sent.topic, key=sent.key, event=sent.event, timestamp_us=self.now_us)
            for outcome in stage.process([received], state, self.now_us):
                if isinstance(outcome, Publish):
                    waiting.append(outcome)
                else:
                    self.suppressed[f"{stage.name}/{outcome.cause}"] += 1

    def standing(self, topic: str) -> list[Ending]:
        """What was published there and not taken back; each id once, and its end says what its beginning said."""
        stands: dict[str, Ending] = {}
        begun: set[str] = set()
        for event in self.events[topic]:
            assert isinstance(event, AllocatedTrade | SettlementInstruction)
            name = event.instruction_id if isinstance(event, SettlementInstruction) else event.allocation_id
            if event.function is Function.CANCEL:
                assert replace(stands.pop(name), function=Function.CANCEL) == event
            else:
                assert name not in begun, "an id lives once"
                stands[name] = event
                begun.add(name)
        return list(stands.values())

    def open_reasons(self) -> list[tuple[str, str]]:
        """Reason and subject of every exception that is open in the end; none is closed without being open."""
        last: dict[str, ExceptionEvent] = {}
        for event in self.events["exceptions"]:
            assert isinstance(event, ExceptionEvent)
            before = last.get(event.exception_id)
            if event.status is ExceptionStatus.CLOSED:
                assert before is not None
                assert before.status is ExceptionStatus.OPEN
            last[event.exception_id] = event
        return sorted((one.reason, one.subject_id) for one in last.values() if one.status is ExceptionStatus.OPEN)


def reference_of(rows: Iterable[Record]) -> ReferenceData:
    """Reference data of these rows."""
    reference = ReferenceData()
    for row in rows:
        reference.put(row)  # type: ignore[arg-type]  # whoever calls has rows of reference data
    return reference
