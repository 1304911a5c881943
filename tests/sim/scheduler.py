"""One thread that decides who runs on: greenlets in place of threads, event loops in turns, and a clock that jumps.

Everything that can run stands in one list, and a seeded generator takes one out; it runs until it waits. When nothing
can run, the clock goes to the next deadline. Calls that block park their greenlet here with a deadline.
"""

from __future__ import annotations

import heapq
import random
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from greenlet import getcurrent, greenlet

STEP_SECONDS = 0.00005  # what one step of anything takes, so that nothing goes on for ever at one moment


class Crashed(BaseException):
    """The process is dead: raised out of every call it still makes, and thrown into whatever of it was waiting."""


class Stuck(AssertionError):
    """Nothing can run and no deadline is left, or the run is longer than any run may be."""


class Owner(Protocol):
    """The process that something belongs to."""

    dead: bool
    paused: bool
    held: list[Actor]
    """What became able to run while the process was paused."""


class Actor(Protocol):
    """Something that can be given a turn."""

    owner: Owner

    def turn(self) -> None:
        """Run until it waits."""
        ...


class Strand:
    """A greenlet that stands for a thread."""

    def __init__(self, scheduler: Scheduler, owner: Owner, function: Callable[[], None], name: str) -> None:
        self.owner = owner
        self.name = name
        self.parked = False
        self.waits = 0
        """Number of waits so far: a deadline of an earlier one is recognised by it."""
        self.timed_out = False
        self.ended = False
        self._scheduler = scheduler
        self._function = function
        self._greenlet = greenlet(self._main, scheduler.hub)

    def _main(self) -> None:
        try:
            if not self.owner.dead:
                self._function()
        except Crashed:
            pass
        finally:
            self.ended = True

    def turn(self) -> None:
        scheduler = self._scheduler
        scheduler.current = self
        try:
            self._greenlet.switch()
        finally:
            scheduler.current = None

    def end(self) -> None:
        """The process has died: unwind what was waiting. It can reach nothing any more."""
        if not self.ended and self._greenlet:
            self._greenlet.throw(Crashed())
        self.ended = True


class Scheduler:
    """Clock, turns and deadlines of one run."""

    def __init__(self, rng: random.Random, *, stall_rate: float = 0.0, stall_seconds: float = 0.0) -> None:
        """With a `stall_rate` a turn takes up to `stall_seconds` once in a while, as on a machine under load."""
        self.hub = getcurrent()
        self.current: Strand | None = None
        self.now = 0.0
        self.steps = 0
        self.tasks = 0
        """Tasks made so far, of all loops."""
        self.running_loop: object = None
        """What asyncio takes for the running loop; strands do not ask."""
        self.picks = bytearray()
        """Which of how many was taken, step by step: part of the fingerprint of a run."""
        self._random = rng.random
        self._ready: list[Actor] = []
        self._timers: list[tuple[float, int, Callable[[], None] | Strand, int]] = []
        self._timer_count = 0
        self._stall_rate = stall_rate
        self._stall_seconds = stall_seconds

    # --- for whoever runs

    def ready(self, actor: Actor) -> None:
        """Something can run."""
        self._ready.append(actor)

    def release(self, owner: Owner) -> None:
        """A paused process goes on."""
        self._ready += owner.held
        owner.held = []

    def at(self, moment: float, action: Callable[[], None]) -> None:
        """Call something at a moment, between two turns."""
        self._timer_count += 1
        heapq.heappush(self._timers, (moment, self._timer_count, action, 0))

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Call something after a while, between two turns."""
        self.at(self.now + seconds, action)

    def park(self, timeout_seconds: float | None) -> bool:
        """Wait, on a strand, until woken or until the time is over; whether it was woken."""
        strand = self.current
        assert strand is not None, "the event loop would be blocked: only a thread may wait"
        if strand.owner.dead:
            raise Crashed
        strand.waits += 1
        strand.parked = True
        strand.timed_out = False
        if timeout_seconds is not None:
            self._timer_count += 1
            moment = self.now + max(0.0, timeout_seconds)
            heapq.heappush(self._timers, (moment, self._timer_count, strand, strand.waits))
        self.hub.switch()
        if strand.owner.dead:
            raise Crashed
        return not strand.timed_out

    def give_way(self) -> None:
        """Let others run first."""
        strand = self.current
        assert strand is not None, "only a thread may wait"
        self._ready.append(strand)
        self.hub.switch()
        if strand.owner.dead:
            raise Crashed

    def wake(self, strand: Strand) -> None:
        """A strand need not wait any longer."""
        if strand.parked:
            strand.parked = False
            self._ready.append(strand)

    # --- the hub

    def step(self) -> None:
        """One turn of one actor, or one deadline. Raises Stuck when there is neither."""
        self.steps += 1
        ready = self._ready
        if not ready:
            self._advance()
            return
        if self._timers and self._timers[0][0] <= self.now:
            self._fire()
        count = len(ready)
        index = int(self._random() * count) if count > 1 else 0
        self.picks.append(index & 0xFF)
        ready[index], ready[-1] = ready[-1], ready[index]
        actor = ready.pop()
        owner = actor.owner
        if owner.dead:
            return
        if owner.paused:
            owner.held.append(actor)
            return
        self.now += STEP_SECONDS
        if self._stall_rate and self._random() < self._stall_rate:
            self.now += self._random() * self._stall_seconds
        actor.turn()

    def _advance(self) -> None:
        if not self._timers:
            raise Stuck("nothing can run and nothing is waited for")
        self.now = max(self.now, self._timers[0][0])
        self._fire()

    def _fire(self) -> None:
        while self._timers and self._timers[0][0] <= self.now:
            _, _, what, waits = heapq.heappop(self._timers)
            if not isinstance(what, Strand):
                what()
            elif what.parked and what.waits == waits:
                what.timed_out = True
                self.wake(what)


class SimCondition(threading.Condition):
    """A condition without a lock: a strand runs until it waits, so nobody comes between."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__()
        self._scheduler = scheduler
        self._strands: deque[Strand] = deque()

    def __enter__(self) -> bool:
        return True

    def __exit__(self, *_: object) -> None:
        return None

    def wait(self, timeout: float | None = None) -> bool:
        strand = self._scheduler.current
        assert strand is not None, "the event loop would be blocked: only a thread may wait"
        self._strands.append(strand)
        try:
            return self._scheduler.park(timeout)
        finally:
            if strand in self._strands:
                self._strands.remove(strand)

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        deadline = None if timeout is None else self._scheduler.now + timeout
        while not (result := predicate()):
            left = None if deadline is None else deadline - self._scheduler.now
            if left is not None and left <= 0:
                break
            self.wait(left)
        return result

    def notify_all(self) -> None:
        strands, self._strands = self._strands, deque()
        for strand in strands:
            self._scheduler.wake(strand)
