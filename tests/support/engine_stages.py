"""Two small services for tests of the engine, whose every output can be recomputed from the input.

`counting` numbers what it is told per key and publishes as many facts as it was told. `joining` waits for the two
halves of a key, which come on two topics, and publishes the pair once; a half that waits too long is named overdue by
`on_time`. Values are plain JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from services.domain.errors import DecodeError, EncodeError
from services.domain.record import Record
from services.engine.log import OutgoingRecord
from services.engine.member import HostedService
from services.stage import Outcome, Publish, Received, State, Suppress

PARTITIONS = 4


class Said(Record, kw_only=True):
    """Input of `counting`: the sender's own number within the key."""

    number: int


class Counted(Record, kw_only=True):
    """Output of `counting`: what was said, and the how-manieth of its key it was."""

    number: int
    count: int


class Count(Record, kw_only=True):
    """State of `counting`: how many were counted of a key, and their sum."""

    count: int
    total: int


class Half(Record, kw_only=True):
    """Input of `joining`, left or right."""

    name: str


class Waiting(Record, kw_only=True):
    """State of `joining`: a half that came first."""

    topic: str
    name: str
    since_us: int


class Joined(Record, kw_only=True):
    """Output of `joining`."""

    left: str
    right: str


class Overdue(Record, kw_only=True):
    """Output of `joining`, for a half that waited too long."""

    name: str


class CountingStage:
    """Numbers what it is told."""

    name = "counting"
    state_types: tuple[type[Record], ...] = (Count,)
    suppress_causes: tuple[str, ...] = ("negative",)

    def process(self, batch: Sequence[Received], state: State, now_us: int) -> list[Outcome]:
        """Count and publish; a negative number is suppressed."""
        outcomes: list[Outcome] = []
        for received in batch:
            assert isinstance(received.event, Said)
            assert received.key is not None
            number = received.event.number
            if number < 0:
                outcomes.append(Suppress(cause="negative"))
                continue
            before = state.get(Count, received.key) or Count(count=0, total=0)
            after = Count(count=before.count + 1, total=before.total + number)
            state.put(received.key, after)
            outcomes.append(Publish(topic="counted", key=received.key, event=Counted(number=number, count=after.count)))
        return outcomes

    def on_time(self, state: State, now_us: int) -> list[Outcome]:
        """Nothing is ever due."""
        return []


class JoiningStage:
    """Joins two topics by key."""

    name = "joining"
    state_types: tuple[type[Record], ...] = (Waiting,)
    suppress_causes: tuple[str, ...] = ()

    def __init__(self, overdue_after_us: int | None = None) -> None:
        """Without `overdue_after_us` a half waits for ever."""
        self._overdue_after_us = overdue_after_us

    def process(self, batch: Sequence[Received], state: State, now_us: int) -> list[Outcome]:
        """Remember the half that comes first, publish the pair with the second."""
        outcomes: list[Outcome] = []
        for received in batch:
            assert isinstance(received.event, Half)
            assert received.key is not None
            other = state.get(Waiting, received.key)
            if other is None:
                state.put(received.key, Waiting(topic=received.topic, name=received.event.name, since_us=now_us))
                continue
            names = {other.topic: other.name, received.topic: received.event.name}
            event = Joined(left=names["left"], right=names["right"])
            outcomes.append(Publish(topic="joined", key=received.key, event=event))
            state.delete(Waiting, received.key)
        return outcomes

    def on_time(self, state: State, now_us: int) -> list[Outcome]:
        """Name and forget every half that waited too long."""
        if self._overdue_after_us is None:
            return []
        outcomes: list[Outcome] = []
        for key, half in state.scan(Waiting):
            if now_us - half.since_us >= self._overdue_after_us:
                outcomes.append(Publish(topic="overdue", key=key, event=Overdue(name=half.name)))
                state.delete(Waiting, key)
        return outcomes


_INPUTS: dict[str, type[Record]] = {"said": Said, "left": Half, "right": Half}
_OUTPUTS: dict[str, type[Record]] = {"counted": Counted, "joined": Joined, "overdue": Overdue}
TOPICS: Mapping[str, int] = dict.fromkeys((*_INPUTS, *_OUTPUTS, "state.counting", "state.joining"), PARTITIONS) | {
    "dead-letters": 1,
    "dead-letters.resolved": 1,
    "repairs.counting": PARTITIONS,
    "repairs.joining": PARTITIONS,
}


class JsonCodec:
    """JSON on every topic."""

    def decode(self, topic: str, value: bytes | None) -> Record:
        """Read an input."""
        if value is None:
            raise DecodeError("value was empty")
        try:
            record: Record = msgspec.json.decode(value, type=_INPUTS[topic])
        except msgspec.DecodeError as error:
            raise DecodeError("value was not as declared") from error
        return record

    def encode(self, topic: str, event: Record) -> bytes:
        """Write an output."""
        if type(event) is not _OUTPUTS.get(topic):
            raise EncodeError(f"{topic} does not take {type(event).__name__}")
        return msgspec.json.encode(event)


def counting() -> HostedService:
    """The counting service."""
    return HostedService(CountingStage(), ("said",), ("counted", "dead-letters"))


def joining(overdue_after_us: int | None = None) -> HostedService:
    """The joining service."""
    return HostedService(JoiningStage(overdue_after_us), ("left", "right"), ("joined", "overdue", "dead-letters"))


def said(key: str, number: int) -> OutgoingRecord:
    """One input of `counting`."""
    return OutgoingRecord("said", key.encode(), msgspec.json.encode(Said(number=number)))


def half(side: str, key: str) -> OutgoingRecord:
    """One input of `joining`; its name says the side and the key."""
    return OutgoingRecord(side, key.encode(), msgspec.json.encode(Half(name=f"{side} {key}")))
