"""Stages that raise at some keys, as a bug does that only some orders meet; until it is mended."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from services.domain.record import Record
from services.engine.member import HostedService
from services.stage import Outcome, Received, Stage, State


class Choked(RuntimeError):
    """The bug that the simulation plays."""


KINDS = 5
"""Of so many kinds of keys a bug concerns one."""


class Mark(NamedTuple):
    """One bug: the service that has it, and the kind of keys at which it raises."""

    service: str
    kind: int


@dataclass
class Marks:
    """The bugs of a run. All workers share them: a release mends them for all at once."""

    broken: set[Mark] = field(default_factory=set)
    """Those that are not mended."""
    raised: int = 0
    """How often."""

    def hit(self, service: str, key: str | None) -> bool:
        """Whether the service raises at this key."""
        return bool(self.broken) and Mark(service, zlib.crc32((key or "").encode()) % KINDS) in self.broken


class ChokingStage:
    """A stage that raises after it has done everything else, so that a whole batch has to be undone."""

    def __init__(self, stage: Stage, marks: Marks) -> None:
        """Wrap a stage."""
        self._stage = stage
        self._marks = marks
        self.name = stage.name
        self.state_types: tuple[type[Record], ...] = stage.state_types
        self.suppress_causes = stage.suppress_causes

    def process(self, batch: Sequence[Received], state: State, now_us: int) -> list[Outcome]:
        """What the stage does; then raise, if a marked key was among it."""
        outcomes = self._stage.process(batch, state, now_us)
        if any(self._marks.hit(self.name, received.key) for received in batch):
            self._marks.raised += 1
            raise Choked
        return outcomes

    def on_time(self, state: State, now_us: int) -> list[Outcome]:
        """What the stage does."""
        return self._stage.on_time(state, now_us)


def choking(services: Iterable[HostedService], marks: Marks) -> list[HostedService]:
    """The services with stages that raise."""
    return [dataclasses.replace(service, stage=ChokingStage(service.stage, marks)) for service in services]
