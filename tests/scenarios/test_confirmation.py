"""Runs confirmation.txt."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from services.confirmation import taking_back
from services.confirmation.desk import Desk
from services.confirmation.process import ConfirmationStage
from services.domain import event as ev
from services.domain.code import (
    AffirmationStep,
    ChargeType,
    ConfirmationStatus,
    ConfirmationTransactionType,
    Function,
    InstrumentType,
    MatchingField,
    Side,
    ToleranceCode,
)
from services.domain.record import Record, replace
from services.domain.reference import AffirmationDeadline, MatchingProfile, Party, ReferenceData, TimeZoneOffset
from services.stage import Outcome, Publish, Received
from tests import samples
from tests.memory_state import MemoryState
from tests.scenarios import scenario

MINUTE_US = 60_000_000
READERS: dict[str, Callable[[str], Any]] = {
    "side": Side,
    "currency": str,
    "quantity": Decimal,
    "price": Decimal,
    "net_amount": Decimal,
    "settlement_date": date.fromisoformat,
    "gross_amount": Decimal,
    "accrued_interest": Decimal,
    "commission": Decimal,
    "charges": Decimal,
    "instrument_type": InstrumentType,
    "settlement_market": str,
    "ref": str,
    "first": str,
}
NUMBERS = ("percent", "maximum", "below", "above", "net_amount_above")


class World:
    """The stage with its reference data."""

    def __init__(self) -> None:
        """Know nothing."""
        self.reference = ReferenceData()
        self.state = MemoryState(self.reference)
        self.stage = ConfirmationStage()
        self.now_us = samples.RECEIVED_AT_US
        self.trades: dict[str, ev.AllocatedTrade] = {}

    def run(self, words: list[str]) -> list[str]:
        """Do one line; say what came of it."""
        command: Callable[[list[str]], list[Outcome]] = getattr(self, words[0])
        return [self.tell(outcome) for outcome in command(words[1:])]

    @staticmethod
    def tell(outcome: Outcome) -> str:
        """An outcome in the words of the table."""
        if not isinstance(outcome, Publish):
            return f"suppressed {outcome.cause}"
        event = outcome.event
        if isinstance(event, ev.ConfirmedTrade):
            assert (outcome.topic, outcome.key) == ("trades.confirmed", event.allocation_id)
            by = f"by {event.confirmation_id} under {event.matching_profile}"
            done = "confirmed" if event.function is Function.NEW else "taken back"
            return f"{done} {event.allocation_id} {by} for {event.settlement_amount}"
        if isinstance(event, ev.MatchStatusReport):
            assert (outcome.topic, outcome.key) == ("confirmations.status", event.subject_id)
            assert event.history[-1].status is event.status
            partner = f" with {event.confirmation_id}" if event.allocation_id and event.confirmation_id else ""
            return f"status {event.subject_id} {' '.join(step.status for step in event.history)}{partner}"
        assert isinstance(event, ev.ExceptionEvent)
        assert (outcome.topic, outcome.key) == ("exceptions", event.exception_id)
        details = "; ".join(f"{name}: {value}" for name, value in event.details.items())
        told = f"{event.status} {event.reason} {event.subject_id}"
        return f"{told} ({details})" if details else told

    # --- reference data ---

    def profile(self, words: list[str]) -> list[Outcome]:
        """One row of a matching profile."""
        options = scenario.fields_of(words)
        amounts = {name: Decimal(value) for name, value in options.items() if name != "currency"}
        self.reference.put(
            MatchingProfile(
                profile=words[0],
                currency=options.get("currency"),
                price_tolerance=amounts["price"],
                amount_tolerance=amounts["amount"],
                amount_threshold=amounts.get("threshold"),
                amount_tolerance_large=amounts.get("large"),
            )
        )
        return []

    def tolerance(self, words: list[str]) -> list[Outcome]:
        """One field of a matching profile."""
        profile, field, code, *rest = words
        options = scenario.fields_of(rest)
        numbers = {name: Decimal(options[name]) for name in NUMBERS if name in options}
        self.reference.put(
            MatchingProfile(
                profile=profile,
                currency=options.get("currency"),
                instrument_type=InstrumentType(options["instrument_type"]) if "instrument_type" in options else None,
                field=MatchingField(field),
                code=ToleranceCode(code),
                valid_from=date.fromisoformat(options.get("from", "1900-01-01")),
                **numbers,  # type: ignore[arg-type]  # each of them takes a number
            )
        )
        return []

    def deadline(self, words: list[str]) -> list[Outcome]:
        """Until when allocations have to be affirmed in New York; the time zone is five hours behind."""
        market, local_time, minutes = words
        self.reference.put(
            AffirmationDeadline(
                settlement_market=market,
                step=AffirmationStep.AFFIRM,
                local_time=local_time,
                time_zone="America/New_York",
                warning_minutes=int(minutes),
            )
        )
        self.reference.put(TimeZoneOffset(time_zone="America/New_York", offset_minutes=-300))
        return []

    def party(self, words: list[str]) -> list[Outcome]:
        """The counterparty."""
        lei = "7LTWFZYICNSX8D621K86"
        party = Party(bic=samples.COUNTERPARTY_BIC, lei=lei, name="Deutsche Bank", matching_profile=words[0])
        self.reference.put(party)
        return []

    # --- events ---

    def _send(self, topic: str, event: Record) -> list[Outcome]:
        received = Received(topic=topic, key=None, event=event, timestamp_us=self.now_us)
        return self.stage.process([received], self.state, self.now_us)

    @staticmethod
    def _changes(words: list[str]) -> dict[str, Any]:
        changes = {name: READERS[name](value) for name, value in scenario.fields_of(words).items()}
        if "ref" in changes:
            changes["allocation_reference"] = changes.pop("ref")
        if "first" in changes:
            changes |= {"original_allocation_id": changes.pop("first"), "version": 2}
        return changes

    @classmethod
    def _our_changes(cls, words: list[str]) -> dict[str, Any]:
        changes = cls._changes(words)
        if "price" in changes:
            changes["average_price"] = changes.pop("price")
        kinds = {"commission": ChargeType.COMMISSION, "charges": ChargeType.STAMP}
        charges = tuple(
            ev.Charge(charge_id=name, charge_type=kind, amount=changes.pop(name), currency="EUR")
            for name, kind in kinds.items()
            if name in changes
        )
        return changes | {"charges": charges}

    def allocated(self, words: list[str]) -> list[Outcome]:
        """Our side."""
        changes = self._our_changes(words)
        self.trades[words[0]] = samples.allocated_trade(allocation_id=words[0], **changes)
        return self._send("trades.allocated", self.trades[words[0]])

    def confirmed(self, words: list[str]) -> list[Outcome]:
        """Their side."""
        confirmation = samples.received_confirmation(confirmation_id=words[0], **self._changes(words))
        return self._send("confirmations.received", confirmation)

    def _names(self, words: list[str], **changes: Any) -> list[Outcome]:
        name, _, named, *rest = words
        fields = self._changes(rest) | changes
        return self._send(
            "confirmations.received", samples.received_confirmation(confirmation_id=name, reference_id=named, **fields)
        )

    def cancels(self, words: list[str]) -> list[Outcome]:
        """Their side takes a confirmation back: `cancels K1 of C1`."""
        return self._names(words, transaction_type=ConfirmationTransactionType.CANCEL)

    def replaces(self, words: list[str]) -> list[Outcome]:
        """Their side puts another in place of a confirmation: `replaces C2 of C1`."""
        return self._names(words, transaction_type=ConfirmationTransactionType.REPLACE)

    def rejects(self, words: list[str]) -> list[Outcome]:
        """Their side refuses our request to cancel: `rejects K1 of C1`."""
        return self._names(words, confirmation_status=ConfirmationStatus.REQUEST_REJECTED)

    def taken_back(self, words: list[str]) -> list[Outcome]:
        """Our side takes an allocation back, also one that never came."""
        trade = self.trades.get(words[0]) or samples.allocated_trade(allocation_id=words[0])
        return self._send("trades.allocated", replace(trade, function=Function.CANCEL))

    def refused(self, words: list[str]) -> list[Outcome]:
        """Our side refuses their request to cancel."""
        desk = Desk(self.state, now_us=self.now_us, unconfirmed_after_us=0)
        taking_back.refuse(desk, words[0])
        return desk.outcomes

    def wait(self, words: list[str]) -> list[Outcome]:
        """Let minutes pass, with the timer called at their end."""
        self.now_us += int(words[0]) * MINUTE_US
        return self.stage.on_time(self.state, self.now_us)


@pytest.mark.parametrize("told", scenario.read("confirmation.txt"), ids=lambda told: told.title)
def test_scenario(told: scenario.Scenario) -> None:
    """After every line exactly the listed outcomes come."""
    world = World()
    for step in told.steps:
        assert world.run(step.words) == step.expected, f"confirmation.txt:{step.line}: {' '.join(step.words)}"
