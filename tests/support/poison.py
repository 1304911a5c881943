"""`counting` with records that break it: a number that raises, and one that ends the process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from services.domain.record import Record
from services.engine.log import OutgoingRecord
from services.engine.member import HostedService
from services.stage import Outcome, Received, State
from tests.support.engine_stages import CountingStage, Said, said

RAISES = 666
KILLS = 13


class Killed(BaseException):
    """Stands for the end of the process: nothing after it is run, nothing of it is caught."""


def _killed() -> None:
    raise Killed


class PoisonedStage:
    """Counts, as long as it lives."""

    name = "counting"
    state_types: tuple[type[Record], ...] = CountingStage.state_types
    suppress_causes = CountingStage.suppress_causes

    def __init__(self, kill: Callable[[], None] = _killed) -> None:
        """`kill` is what the deadly number does."""
        self.is_mended = False
        self.kill = kill
        self.calls: list[list[Received]] = []
        """Every call, failed attempts included."""
        self.due: Callable[[], None] = lambda: None
        self._inner = CountingStage()

    def process(self, batch: Sequence[Received], state: State, now_us: int) -> list[Outcome]:
        """Count one after the other, so that a failure leaves half of its work behind."""
        self.calls.append([*batch])
        outcomes: list[Outcome] = []
        for received in batch:
            assert isinstance(received.event, Said)
            if received.event.number == KILLS:
                self.kill()
            outcomes += self._inner.process([received], state, now_us)
            if received.event.number == RAISES and not self.is_mended:
                raise ValueError("secret payload")
        return outcomes

    def on_time(self, state: State, now_us: int) -> list[Outcome]:
        """Whatever the test puts here."""
        self.due()
        return []


def poisoned(stage: PoisonedStage) -> HostedService:
    """The counting service with repairs."""
    outputs = ("counted", "dead-letters", "dead-letters.resolved")
    return HostedService(stage, ("said", "repairs.counting"), outputs)


def unreadable(key: str | None) -> OutgoingRecord:
    """An input of `counting` that cannot be read."""
    return OutgoingRecord("said", None if key is None else key.encode(), b"{")


__all__ = ["KILLS", "RAISES", "Killed", "PoisonedStage", "poisoned", "said", "unreadable"]
