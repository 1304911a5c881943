"""When each trade is due, whatever became of those before it, and what a set of latencies amounts to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Trades number 0, 1, 2 … at a steady rate. A sender that is late sends what is due, and keeps the schedule.

    Latency is counted from the time of the schedule: were it counted from the sending, a system that stands still
    would be asked less often just then, and its worst moments would be left out.
    """

    began: float
    """When number 0 is due, seconds."""
    rate: float
    """Trades a second."""

    def due_at(self, number: int) -> float:
        """When a trade is due, seconds."""
        return self.began + number / self.rate

    def due(self, now: float) -> int:
        """How many trades are due by then."""
        return max(0, math.floor((now - self.began) * self.rate + 1e-9) + 1) if now >= self.began else 0


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed (nearest rank); `ordered` from low to high."""
    assert ordered, "there is no percentile of nothing"
    return ordered[max(1, math.ceil(share * len(ordered) - 1e-9)) - 1]
