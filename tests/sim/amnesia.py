"""A group coordinator that has forgotten: it answers, and does not say that it has read only half of what it knows.

A broker that was killed may load the offsets of its groups twice at once, and take the end of the first reading for
the end of the second. Until the second has ended, the groups have no members and no offsets, or those of some time ago.
What is committed meanwhile counts, and is known from then on; in the end everything is there again.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from services.engine.log import TopicPartition


@dataclass
class _Reading:
    """What a coordinator knows of a group's commits: so many of the oldest, and all since it has forgotten."""

    oldest: int
    forgotten: int
    """Commits there were when it forgot."""


@dataclass
class Amnesia:
    """What was committed, and of which group how much is forgotten."""

    rng: random.Random
    _commits: dict[str, list[Mapping[TopicPartition, int]]] = field(default_factory=dict)
    _readings: dict[str, _Reading] = field(default_factory=dict)

    def committed(self, group: str, offsets: Mapping[TopicPartition, int]) -> None:
        """Offsets of a group were committed."""
        self._commits.setdefault(group, []).append(dict(offsets))

    def begin(self, group: str) -> _Reading:
        """Forget all, or all but the oldest commits."""
        count = len(self._commits.get(group, []))
        reading = _Reading(0 if self.rng.random() < 0.5 else self.rng.randrange(count + 1), count)
        self._readings[group] = reading
        return reading

    def read_on(self, group: str, reading: _Reading) -> None:
        """Know more of what was committed before; nothing if it has forgotten once more."""
        if self._readings.get(group) is reading:
            reading.oldest = self.rng.randint(reading.oldest, reading.forgotten)

    def end(self, group: str, reading: _Reading) -> None:
        """Know all again; unless it has forgotten once more."""
        if self._readings.get(group) is reading:
            del self._readings[group]

    @property
    def lasts(self) -> bool:
        """Whether any group is forgotten."""
        return bool(self._readings)

    def told(self, group: str, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int | None] | None:
        """What the coordinator says is committed; None when it remembers, and whoever asks gets the truth."""
        reading = self._readings.get(group)
        if reading is None:
            return None
        commits = self._commits.get(group, [])
        known: dict[TopicPartition, int] = {}
        for offsets in (*commits[: reading.oldest], *commits[reading.forgotten :]):
            known.update(offsets)
        return {place: known.get(place) for place in partitions}
