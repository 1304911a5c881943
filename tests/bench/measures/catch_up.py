"""(k) Catching up: a worker starts on ten minutes' input at a quarter of capacity, and the input goes on.

Caught up is when fewer trades wait than come in a second.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from tests.bench.finding import Context, Finding
from tests.bench.measures.capacity import capacity
from tests.bench.measures.open_loop import OpenLoop
from tests.bench.measures.process import memory
from tests.bench.measures.stand import PROGRESS_SECONDS, Stand, Trade, standing

SHARE = 0.25
STOP_SECONDS = 600.0
NORMAL_SECONDS = 1.0
"""So much input may wait while nothing is behind."""
WARM_UP_TRADES = 5_000
SECONDS_MAX = 900.0


@dataclass(frozen=True)
class Way:
    """The way back."""

    waiting: int
    rate: float
    ready_seconds: float
    """From the start of the process to its first message."""
    seconds: float
    """From the start of the process until it is caught up."""
    instructed: int
    """Until then."""
    highest_mib: float
    sender_late_seconds: float

    @property
    def trades_per_second(self) -> float:
        """While it catches up, without the start of the process."""
        return self.instructed / max(self.seconds - self.ready_seconds, 1e-3)


def measure(context: Context) -> Finding:
    """One worker that warms everything up and ends; then its successor, on what came meanwhile."""
    whole = capacity(context)
    rate = SHARE * whole
    with standing(context, "k") as stand:
        stand.start_worker()
        stand.burst(context.scaled(WARM_UP_TRADES, at_least=20))
        stand.stop_workers()
        waiting = context.scaled(round(STOP_SECONDS * rate), at_least=100)
        context.say(f"{waiting:,} trades come while no worker runs, then {rate:,.0f}/s")
        for start in range(0, waiting, 20_000):
            stand.send(stand.take(min(20_000, waiting - start)))
        way = _way_back(stand, waiting, rate)
        stand.check()
    return finding_of(way, whole)


def _way_back(stand: Stand, waiting: int, rate: float) -> Way:
    before = stand.tail.distinct
    loop = OpenLoop(stand, notes_times=True)
    began = time.monotonic()
    worker = stand.launch_worker()
    normal = min(rate * NORMAL_SECONDS, waiting / 4)  # the backlog of a tiny scale is more than what is normal, too
    watch = Watch(stand, began, before, max(1.0, normal))
    loop.run(endless(stand), rate, watch.is_caught_up)
    seconds, instructed = time.monotonic() - began, stand.tail.distinct - before
    highest = memory(worker.id).highest
    loop.drain()
    return Way(waiting, rate, watch.first_seconds, seconds, instructed, highest, loop.course.late_seconds_max)


def endless(stand: Stand) -> Iterator[Trade]:
    """Trades made one by one, when they are due: how many it will be is not known."""
    while True:
        yield from stand.take(1)


class Watch:
    """Asked in every round of the loop; tells how far it is."""

    def __init__(self, stand: Stand, began: float, before: int, normal: float) -> None:
        self.first_seconds = 0.0
        self._stand = stand
        self._began = began
        self._before = before
        self._normal = normal
        self._said_at = began

    def is_caught_up(self) -> bool:
        """Whether no more waits than is normal. Raises TimeoutError when it does not come about."""
        now = time.monotonic()
        tail, waiting = self._stand.tail, self._stand.sent - self._stand.tail.distinct
        if not self.first_seconds and tail.distinct > self._before:
            self.first_seconds = now - self._began
        if now - self._said_at > PROGRESS_SECONDS:
            self._said_at = now
            self._stand.context.say(f"{waiting:,} trades wait, {now - self._began:.0f} s after the start")
        if now - self._began > SECONDS_MAX:
            raise TimeoutError(f"not caught up in {SECONDS_MAX:.0f} s: {waiting} trades wait")
        return waiting <= self._normal


def finding_of(way: Way, whole: float) -> Finding:
    """One row."""
    return Finding(
        measure="k",
        title=f"Catching up on {way.waiting / way.rate / 60:.1f} minutes' input, {SHARE:.0%} of {whole:,.0f} trades/s",
        columns=["trades waiting", "input, trades/s", "first message, s", "caught up, s",
                 "trades/s meanwhile", "MiB, highest"],
        rows=[
            [
                f"{way.waiting:,}", f"{way.rate:,.0f}", f"{way.ready_seconds:.1f}", f"{way.seconds:.1f}",
                f"{way.trades_per_second:,.0f}", f"{way.highest_mib:,.0f}",
            ]
        ],
        figures={
            "waiting": way.waiting, "input_per_second": way.rate, "first_message_seconds": way.ready_seconds,
            "caught_up_seconds": way.seconds, "instructed": way.instructed,
            "trades_per_second": way.trades_per_second, "highest_mib": way.highest_mib,
            "sender_late_seconds_max": way.sender_late_seconds, "capacity_trades_per_second": whole,
        },
        notes=[
            f"Seconds are from the start of the process. Caught up: at most {NORMAL_SECONDS:g} s of input waits.",
            "While it catches up, sender and reader take their share of the same cores.",
        ],
    )  # fmt: skip
