"""The play: a steady rate, for a while twenty times as much, then the steady rate again until all is caught up."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tests.crunch import orders
from tests.crunch.observer import Observation
from tests.crunch.report import Report
from tests.crunch.scene import CAUGHT_UP_LAG_MAX, Scene

TIMES = 20
"""How much faster the burst is than the steady rate."""
WARM_UP_SECONDS = 6.0
MEASURED_SECONDS = 6.0
OVERLOAD = 1.4
"""The burst is by so much faster than what was measured with nothing else under way."""
BACKLOG_SECONDS = 15.0
"""What the burst leaves behind, in seconds of itself. A machine that had more to do while it was measured than it has
now is pressed harder until as much piles up: then the burst is more than twenty times the steady rate, never less."""
PRESS = 1.05
"""So much more at every look that finds too little waiting."""
STEADY_RATE_MIN = 30.0
"""Orders a second. A machine that was busy with something else while it was measured seems slower than it is."""


@dataclass(frozen=True)
class Course:
    """What happened."""

    before: Observation
    """The last look at the steady rate."""
    burst: list[Observation]
    """From the beginning of the burst until all was caught up."""
    orders_in_burst: int
    peak_rate: float
    """Orders a second at the end of the burst."""
    backlog: int
    """Records behind at the end of the burst, all services together."""
    catch_up_seconds: float
    """From the end of the burst until nothing waited."""
    catch_up_rate: float
    """Instructions a second in that time."""
    after: Observation
    """When everything that was sent is instructed."""

    def text(self) -> str:
        """Its figures in a sentence."""
        return (
            f"{self.orders_in_burst:,} orders in the burst, {self.backlog:,} records behind at its end, caught up in "
            f"{self.catch_up_seconds:.0f} s at {self.catch_up_rate:,.0f} instructions/s"
        )


def sustainable_rate(scene: Scene) -> float:
    """A steady rate, orders a second, of which `TIMES` as much is more than this machine brings through."""
    return max(STEADY_RATE_MIN, scene.measure_rate(WARM_UP_SECONDS, MEASURED_SECONDS) * OVERLOAD / TIMES)


def play(
    scene: Scene, *, steady: float, steady_seconds: float, burst_seconds: float, line_seconds: float, seconds_max: float
) -> Course:
    """Play with so many orders a second; prints what it sees. `seconds_max` is the time to catch up in."""
    report = Report(scene.sender, line_seconds)
    scene.sender.rate = steady
    scene.sender.start()
    _watch(scene, report, "steady", steady_seconds)
    before = scene.observer.last()
    first, sent = len(scene.observer.seen), scene.sender.sent
    peak_rate = _burst(scene, report, TIMES * steady, burst_seconds)
    scene.sender.rate = steady
    peak, orders_in_burst = scene.observer.last(), scene.sender.sent - sent

    def caught_up(look: Observation) -> bool:
        report.show("catch-up", look)
        return look.lag <= CAUGHT_UP_LAG_MAX

    end = scene.until(caught_up, seconds_max, "catching up")
    _watch(scene, report, "steady", steady_seconds)
    scene.sender.rate = 0.0

    def all_instructed(look: Observation) -> bool:
        return look.instructed == scene.sender.sent and not any(look.told.values())

    after = scene.until(all_instructed, 30.0, "the last instruction and a lag of 0")
    seconds = end.began - peak.ended
    rate = (end.instructed - peak.instructed) / seconds
    return Course(before, scene.observer.seen[first:], orders_in_burst, peak_rate, peak.lag, seconds, rate, after)


def _burst(scene: Scene, report: Report, rate: float, seconds: float) -> float:
    """Send at a rate, or at a higher one if that does no harm; answers the last one."""
    began = time.monotonic()
    scene.sender.rate = rate

    def is_over(look: Observation) -> bool:
        report.show("burst", look)
        passed = time.monotonic() - began
        if look.lag < rate * orders.RECORDS * BACKLOG_SECONDS * passed / seconds:
            scene.sender.rate *= PRESS
        return passed >= seconds

    scene.until(is_over, seconds + 30.0, "the end of the burst")
    return scene.sender.rate


def _watch(scene: Scene, report: Report, phase: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds

    def is_over(look: Observation) -> bool:
        report.show(phase, look)
        return time.monotonic() >= deadline

    scene.until(is_over, seconds + 30.0, f"the end of the phase {phase}")
