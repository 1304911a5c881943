"""The allocated trades that a flow leads to, by the real stages: confirmations follow from them, right to the cent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from deploy.sample_day import catalogue
from deploy.sample_day.flow import Event, Message
from services.adapters.reference_files import load_directory
from services.allocation.process import AllocationStage
from services.capture.process import CaptureStage
from services.domain.event import AllocatedTrade, CounterpartyConfirmation
from services.domain.record import Record
from services.domain.reference import ReferenceData, ReferenceRecord
from services.engine.state import Overlay, Tables
from services.enrichment.process import EnrichmentStage
from services.stage import Outcome, Publish, Received, Stage

MARKET_DATA = Path(__file__).parents[1] / "reference"
"""Calendars, cycles, charges and tolerances that every installation starts from."""


class Backoffice:
    """Runs flows, each in a memory of its own: orders know nothing of each other until confirmation."""

    def __init__(self) -> None:
        """Load the reference data of both phases."""
        market_data = load_directory(MARKET_DATA)
        self._main = _reference((*market_data, *catalogue.reference()))
        self._late = _reference((*market_data, *catalogue.reference(), *catalogue.late_reference()))

    def allocate(self, messages: Iterable[Message]) -> tuple[list[AllocatedTrade], list[AllocatedTrade]]:
        """The trades allocated from the messages at once, and those allocated when the late reference data is there."""
        events = [(message.event, message.at_us) for message in messages if message.event and not message.is_broken]
        run = _Run(self._main, now_us=max(at_us for _, at_us in events))
        run.send(CaptureStage(), [_received(event, at_us) for event, at_us in events])
        stages: tuple[tuple[Stage, tuple[str, ...]], ...] = (
            (EnrichmentStage(), ("trades.captured",)),
            (AllocationStage(), ("trades.allocation-requests", "trades.enriched")),
        )
        for stage, topics in stages:
            run.take(stage, topics)
        at_once = run.allocated()
        run.reference = self._late
        for stage, topics in stages:
            run.take(stage, topics)
        return at_once, run.allocated()


class _Run:
    """One flow on its way: topics as lists, and what each stage remembers."""

    def __init__(self, reference: ReferenceData, *, now_us: int) -> None:
        self.reference = reference
        self._now_us = now_us
        self._topics: defaultdict[str, list[Publish]] = defaultdict(list)
        self._tables: dict[str, Tables] = {}

    def take(self, stage: Stage, topics: Sequence[str]) -> None:
        """Give a stage what is due by time or data, and what lies in the topics."""
        batch = [
            Received(topic=topic, key=published.key, event=published.event, timestamp_us=self._now_us)
            for topic in topics
            for published in self._topics.pop(topic, ())
        ]
        self.send(stage, batch)

    def send(self, stage: Stage, batch: Sequence[Received]) -> None:
        """Run one stage."""
        tables = self._tables.setdefault(stage.name, Tables(stage.state_types))
        state = Overlay(tables, self.reference)
        outcomes: list[Outcome] = stage.on_time(state, self._now_us)
        outcomes += stage.process(batch, state, self._now_us)
        tables.apply(state.changes())
        for outcome in outcomes:
            if isinstance(outcome, Publish):
                self._topics[outcome.topic].append(outcome)

    def allocated(self) -> list[AllocatedTrade]:
        """Take what was allocated since the last time."""
        events: list[Record] = [published.event for published in self._topics.pop("trades.allocated", ())]
        return [event for event in events if isinstance(event, AllocatedTrade)]


def key_of(event: Event) -> str:
    """The key an event is sent under."""
    return event.confirmation_id if isinstance(event, CounterpartyConfirmation) else event.order_id


def _received(event: Event, at_us: int) -> Received:
    return Received(topic="front office", key=key_of(event), event=event, timestamp_us=at_us)


def _reference(rows: Iterable[ReferenceRecord]) -> ReferenceData:
    reference = ReferenceData()
    for row in rows:
        reference.put(row)
    return reference
