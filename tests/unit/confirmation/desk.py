"""Shorthand for tests of the confirmation stage."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from services.confirmation.process import ConfirmationStage
from services.domain import event as ev
from services.domain.record import Record
from services.domain.reference import MatchingProfile, Party, ReferenceData
from services.stage import Outcome, Publish, Received
from tests import samples
from tests.memory_state import MemoryState

NOW_US = samples.RECEIVED_AT_US + 1_000_000


def reference_data(*, price: str, amount: str) -> ReferenceData:
    """The sample counterparty with these tolerances."""
    reference = ReferenceData()
    reference.put(
        Party(bic=samples.COUNTERPARTY_BIC, lei="7LTWFZYICNSX8D621K86", name="Broker", matching_profile="BROKER")
    )
    reference.put(MatchingProfile(profile="BROKER", price_tolerance=Decimal(price), amount_tolerance=Decimal(amount)))
    return reference


def received(event: Record, *, at_us: int = samples.RECEIVED_AT_US) -> Received:
    """An event as it arrives."""
    topic = "trades.allocated" if isinstance(event, ev.AllocatedTrade) else "confirmations.received"
    return Received(topic=topic, key=None, event=event, timestamp_us=at_us)


def run(state: MemoryState, *events: Record) -> list[Outcome]:
    """Process the events as one batch."""
    return ConfirmationStage().process([received(event) for event in events], state, NOW_US)


def confirmed(outcomes: Sequence[Outcome]) -> list[ev.ConfirmedTrade]:
    """The confirmed trades among the outcomes."""
    events = [outcome.event for outcome in outcomes if isinstance(outcome, Publish)]
    return [event for event in events if isinstance(event, ev.ConfirmedTrade)]


def exceptions(outcomes: Sequence[Outcome]) -> list[ev.ExceptionEvent]:
    """The exceptions among the outcomes."""
    events = [outcome.event for outcome in outcomes if isinstance(outcome, Publish)]
    return [event for event in events if isinstance(event, ev.ExceptionEvent)]


def said(outcomes: Sequence[Outcome]) -> list[tuple[str, str]]:
    """Status and reason of the exceptions among the outcomes."""
    return [(event.status.value, event.reason) for event in exceptions(outcomes)]


def open_at_the_end(outcomes: Sequence[Outcome]) -> dict[str, dict[str, str]]:
    """Exceptions that were opened and not closed, with their last details. Closing what is not open is an error."""
    opened: dict[str, dict[str, str]] = {}
    for event in exceptions(outcomes):
        if event.status == "OPEN":
            opened[f"{event.reason} {event.subject_id}"] = event.details
        else:
            del opened[f"{event.reason} {event.subject_id}"]
    return opened
