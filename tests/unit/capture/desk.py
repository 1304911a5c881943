"""A capture stage with its memory, as the tests drive it: messages in, outcomes sorted by kind."""

from __future__ import annotations

from collections.abc import Iterable

from services.capture import CaptureStage
from services.domain.code import ExceptionStatus
from services.domain.event import (
    AllocationInstruction,
    CapturedTrade,
    CounterpartyConfirmation,
    ExceptionEvent,
    Execution,
)
from services.domain.record import Record
from services.stage import Outcome, Publish, Received, Suppress
from tests import samples
from tests.memory_state import MemoryState

NOW_US = samples.RECEIVED_AT_US + 5_000


def key_of(event: Record) -> str | None:
    """The key an honest sender gives the record."""
    if isinstance(event, Execution | AllocationInstruction):
        return event.order_id
    return event.confirmation_id if isinstance(event, CounterpartyConfirmation) else None


def received(event: Record, *, key: str | None = None, topic: str = "front-office.executions") -> Received:
    """The event as it arrives, under its right key unless another is given."""
    return Received(topic=topic, key=key or key_of(event), event=event, timestamp_us=samples.RECEIVED_AT_US)


class Desk:
    """One partition of capture."""

    def __init__(self) -> None:
        """Start with nothing remembered."""
        self.state = MemoryState()
        self.stage = CaptureStage()

    def take(self, *events: Record) -> list[Outcome]:
        """Process the events in one batch, each under its right key."""
        return self.take_as([received(event) for event in events])

    def take_as(self, batch: Iterable[Received]) -> list[Outcome]:
        """Process a batch as it stands, and hold the outcomes against what the stage declares."""
        outcomes = self.stage.process(list(batch), self.state, NOW_US)
        for outcome in outcomes:
            if isinstance(outcome, Suppress):
                assert outcome.cause in self.stage.suppress_causes
        assert set(self.state.tables) <= set(self.stage.state_types)
        return outcomes


def trades(outcomes: Iterable[Outcome]) -> list[CapturedTrade]:
    """The trades among the outcomes, each on its topic and under its order."""
    found = []
    for outcome in outcomes:
        if isinstance(outcome, Publish) and isinstance(outcome.event, CapturedTrade):
            assert (outcome.topic, outcome.key) == ("trades.captured", outcome.event.order_id)
            found.append(outcome.event)
    return found


def exceptions(outcomes: Iterable[Outcome], status: ExceptionStatus = ExceptionStatus.OPEN) -> list[ExceptionEvent]:
    """The exceptions of that status, each on its topic and under its id."""
    found = []
    for outcome in outcomes:
        if isinstance(outcome, Publish) and isinstance(outcome.event, ExceptionEvent):
            assert (outcome.topic, outcome.key) == ("exceptions", outcome.event.exception_id)
            if outcome.event.status is status:
                found.append(outcome.event)
    return found


def causes(outcomes: Iterable[Outcome]) -> list[str]:
    """Why events were suppressed."""
    return [outcome.cause for outcome in outcomes if isinstance(outcome, Suppress)]
