"""Waiting for a log that does not answer: an outage ends no worker and puts no record aside.

Every question that may meet an outage is asked through `Patience`, on a worker thread. It is asked again, with a pause
that grows, until it is answered, until it is refused for a reason that waiting does not mend, or until nobody wants the
answer any more. Meanwhile the event loop turns, so that the worker is live; it is not ready.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import structlog

from services.engine.log import Unavailable
from services.engine.runtime import Runtime

T = TypeVar("T")
log_event = structlog.get_logger("posttrade.engine")

PAUSE_SECONDS_MIN = 0.1
PAUSE_SECONDS_MAX = 2.0
_STEP_SECONDS = 0.1  # how soon a stop is noticed between two questions
SAY_SECONDS = 10.0


class NotAwaited(Exception):
    """The worker stops, or the answer is of no use any more."""


class Patience:
    """Asks again while the log is away. Any thread may ask; several may wait at once."""

    def __init__(self, runtime: Runtime, stopping: Callable[[], bool]) -> None:
        """Bind; `stopping` ends every wait."""
        self._runtime = runtime
        self._stopping = stopping
        self._waits: dict[object, str] = {}
        self._say_at: dict[str, float] = {}
        """When the next line on each thing is due, however many wait for it."""
        self.answered_at = runtime.monotonic()
        """When a wait was last over: what was under way meanwhile has had its chance only since."""

    @property
    def is_stopping(self) -> bool:
        """Whether the worker stops: what serves only its further work may be left out."""
        return self._stopping()

    @property
    def waits_for(self) -> list[str]:
        """What was asked for and not answered yet, although it was asked more than once."""
        return sorted(set(self._waits.values()))

    def ask(self, what: str, question: Callable[[], T], *, is_over: Callable[[], bool] | None = None) -> T:
        """Block until `question` has an answer. Raises NotAwaited, or what the question raises besides Unavailable.

        `what` is told in the log; `is_over` says that nobody wants the answer any more. A worker that stops asks once
        all the same: only a new producer ends what the old one left open, and others wait for that.
        """
        wait = _Wait(self._runtime, what)

        def is_useless() -> bool:
            return is_over is not None and is_over()

        def is_unwanted() -> bool:
            return self._stopping() or is_useless()

        try:
            while True:
                if is_unwanted() if wait in self._waits else is_useless():
                    raise NotAwaited(what)
                try:
                    answer = question()
                except Unavailable as error:
                    self._waits[wait] = what
                    self._say(wait, error)
                    wait.pause(is_unwanted)
                else:
                    if wait.has_spoken:
                        log_event.info("the log answers again", what=what, seconds=wait.seconds)
                    return answer
        finally:
            if wait in self._waits:
                self.answered_at = self._runtime.monotonic()  # first: who looks between must not find neither
                del self._waits[wait]

    def _say(self, wait: _Wait, error: Unavailable) -> None:
        now = self._runtime.monotonic()
        if now >= self._say_at.get(wait.what, now):
            self._say_at[wait.what] = now + SAY_SECONDS
            wait.has_spoken = True
            log_event.warning("waiting for the log", what=wait.what, seconds=wait.seconds, cause=str(error))


class _Wait:
    """One question that is asked again and again."""

    def __init__(self, runtime: Runtime, what: str) -> None:
        self._runtime = runtime
        self.what = what
        self.has_spoken = False
        self._began = runtime.monotonic()
        self._pause_seconds = PAUSE_SECONDS_MIN

    def pause(self, is_unwanted: Callable[[], bool]) -> None:
        until = self._runtime.monotonic() + self._pause_seconds
        self._pause_seconds = min(2 * self._pause_seconds, PAUSE_SECONDS_MAX)
        while not is_unwanted() and (left := until - self._runtime.monotonic()) > 0:
            self._runtime.sleep(min(left, _STEP_SECONDS))

    @property
    def seconds(self) -> float:
        return round(self._runtime.monotonic() - self._began, 1)
