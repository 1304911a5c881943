"""Whether the worker goes on: how long its round takes, and each call on another thread that is under way.

A call of a client library may never return, and raises nothing then. The event loop turns all the same, so the worker
would look well for ever. While the log is known to be away, waiting is right, and nothing is held against it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import structlog

from services.engine.member import Member
from services.engine.outage import Patience
from services.engine.runtime import Runtime

log_event = structlog.get_logger("posttrade.engine")

ROUND_SECONDS_MAX = 30.0
"""A round that takes longer: the worker is not ready."""
CALL_SECONDS_MAX = 120.0
"""A call that takes longer will never return: the worker is not live, and is to be started anew."""
SAY_SECONDS = 10.0


class Pulse:
    """Keeps the times. Lives on the event loop; only `went_on` is called from other threads."""

    def __init__(self, runtime: Runtime, patience: Patience) -> None:
        """Nothing is under way."""
        self._runtime = runtime
        self._patience = patience
        self._round_began_at = runtime.monotonic()
        self._went_on_at = self._round_began_at
        self._calls: dict[object, tuple[str, float, bool]] = {}
        """What it is, when it began, and whether it may take long."""
        self._say_at = 0.0

    def turn(self) -> None:
        """The coordinator begins to handle what has come."""
        self._round_began_at = self._runtime.monotonic()

    @property
    def is_slow(self) -> bool:
        """Whether the round under way has taken longer than ROUND_SECONDS_MAX."""
        return self._runtime.monotonic() - self._round_began_at > ROUND_SECONDS_MAX

    def went_on(self) -> None:
        """A call that may take long, a restore above all, shows that it does not stand still."""
        self._went_on_at = self._runtime.monotonic()

    @contextlib.contextmanager
    def call(self, what: str, *, may_take_long: bool) -> Iterator[None]:
        """A call is under way for as long as the block lasts."""
        token = object()
        self._calls[token] = what, self._runtime.monotonic(), may_take_long
        try:
            yield
        finally:
            del self._calls[token]

    def stuck(self, members: Sequence[Member]) -> dict[str, float]:
        """Calls that take longer than CALL_SECONDS_MAX, and how long; none while the log is known to be away."""
        return self._longer_than(CALL_SECONDS_MAX, members)

    def _longer_than(self, seconds_max: float, members: Sequence[Member]) -> dict[str, float]:
        if self._patience.waits_for:
            return {}
        began = [
            (what, max(began_at, self._went_on_at) if may_take_long else began_at)
            for what, began_at, may_take_long in self._calls.values()
        ]
        polls = [(f"poll of {member.stage.name}", member.polling_since) for member in members]
        began += [(what, began_at) for what, began_at in polls if began_at is not None]
        now = self._runtime.monotonic()
        taken: dict[str, float] = {}
        for what, began_at in began:
            seconds = now - max(began_at, self._patience.answered_at)  # what waited through an outage is not to blame
            if seconds > seconds_max:
                taken[what] = max(taken.get(what, 0.0), round(seconds, 1))
        return taken

    def remind(self, members: Sequence[Member]) -> None:
        """Say every SAY_SECONDS which calls take too long. To be called every second, also while a round waits."""
        now = self._runtime.monotonic()
        if now < self._say_at:
            return
        for what, seconds in self._longer_than(ROUND_SECONDS_MAX, members).items():
            self._say_at = now + SAY_SECONDS
            log_event.warning(
                "a call of the log's client does not return; if it stays so the worker is no longer live, and is to be "
                "started anew",
                call=what, seconds=seconds,
            )  # fmt: skip
