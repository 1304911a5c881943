"""Reference data and shorthand for tests of the allocation stage."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from services.allocation.process import AllocationStage
from services.domain import event as ev
from services.domain.code import AllocationPolicy, ExceptionStatus, Function, InstrumentType
from services.domain.record import Record, replace
from services.domain.reference import (
    Account,
    AllocationTemplate,
    Instrument,
    ReferenceData,
    StandingSettlementInstruction,
    TemplateShare,
)
from services.stage import Outcome, Publish, Received
from tests import samples
from tests.memory_state import MemoryState

NOW_US = samples.RECEIVED_AT_US + 1_000_000
ACCOUNTS = ("FUND-A", "FUND-B", "FUND-C")


def account(name: str, policy: AllocationPolicy = AllocationPolicy.EXPLICIT) -> Account:
    """An account row."""
    return Account(account=name, name=name, allocation_policy=policy)


def settlement_instruction(owner: str, *, market: str = "DE") -> StandingSettlementInstruction:
    """Where the owner settles in a market."""
    return StandingSettlementInstruction(
        owner=owner,
        settlement_market=market,
        depository_bic="DAKVDEFFXXX",
        participant_bic="PARBDEFFXXX",
        safekeeping_account=f"{owner}-SAFE",
    )


def template(owner: str, **weights: str) -> AllocationTemplate:
    """A standing division; an underscore in a name stands for a hyphen."""
    shares = [TemplateShare(account=name.replace("_", "-"), weight=Decimal(weight)) for name, weight in weights.items()]
    return AllocationTemplate(account=owner, shares=tuple(shares))


def instrument(denomination: str = "1", *, sedol: str | None = None) -> Instrument:
    """The sample instrument."""
    return Instrument(
        isin=samples.ISIN,
        sedol=sedol,
        name="SAP",
        instrument_type=InstrumentType.EQUITY,
        settlement_market="DE",
        currency="EUR",
        issuer_country="DE",
        denomination=Decimal(denomination),
    )


def reference_data(policy: AllocationPolicy = AllocationPolicy.EXPLICIT) -> ReferenceData:
    """Three accounts that can settle; FUND-A is the block account and has the given policy."""
    reference = ReferenceData()
    reference.put(instrument())
    for name in ACCOUNTS:
        reference.put(account(name, policy if name == "FUND-A" else AllocationPolicy.EXPLICIT))
        reference.put(settlement_instruction(name))
    return reference


def received(event: Record, *, at_us: int = samples.RECEIVED_AT_US) -> Received:
    """An event as it arrives."""
    topic = "trades.enriched" if isinstance(event, ev.EnrichedTrade) else "trades.allocation-requests"
    return Received(topic=topic, key="O1", event=event, timestamp_us=at_us)


def run(state: MemoryState, *events: Record, stage: AllocationStage | None = None) -> list[Outcome]:
    """Process the events as one batch."""
    return (stage or AllocationStage()).process([received(event) for event in events], state, NOW_US)


def shares(**quantities: str) -> tuple[ev.AccountAllocation, ...]:
    """Accounts of an instruction; an underscore in a name stands for a hyphen."""
    return tuple(
        ev.AccountAllocation(account=name.replace("_", "-"), quantity=Decimal(quantity))
        for name, quantity in quantities.items()
    )


def allocated(outcomes: Sequence[Outcome]) -> list[ev.AllocatedTrade]:
    """The allocated trades among the outcomes."""
    events = [outcome.event for outcome in outcomes if isinstance(outcome, Publish)]
    return [event for event in events if isinstance(event, ev.AllocatedTrade)]


def standing(outcomes: Sequence[Outcome]) -> list[ev.AllocatedTrade]:
    """The allocated trades that were not taken back, by account and id; each was published once, and then its end."""
    stands: dict[str, ev.AllocatedTrade] = {}
    seen: set[str] = set()
    for trade in allocated(outcomes):
        if trade.function is Function.CANCEL:
            assert trade == replace(stands.pop(trade.allocation_id), function=Function.CANCEL)
        else:
            assert trade.allocation_id not in seen
            stands[trade.allocation_id] = trade
            seen.add(trade.allocation_id)
    return sorted(stands.values(), key=lambda trade: (trade.account, trade.allocation_id))


def essence(trade: ev.AllocatedTrade) -> ev.AllocatedTrade:
    """An allocated trade without what tells how many versions there were before."""
    return replace(trade, allocation_id="", version=1, original_allocation_id=None)


def open_reasons(outcomes: Sequence[Outcome]) -> list[tuple[str, str]]:
    """Reason and subject of the exceptions that are open in the end."""
    last = {event.exception_id: event for event in exceptions(outcomes)}
    return sorted((one.reason, one.subject_id) for one in last.values() if one.status is ExceptionStatus.OPEN)


def exceptions(outcomes: Sequence[Outcome]) -> list[ev.ExceptionEvent]:
    """The exceptions among the outcomes."""
    events = [outcome.event for outcome in outcomes if isinstance(outcome, Publish)]
    return [event for event in events if isinstance(event, ev.ExceptionEvent)]


def said(outcomes: Sequence[Outcome]) -> list[tuple[str, str]]:
    """Status and reason of the exceptions among the outcomes."""
    return [(event.status.value, event.reason) for event in exceptions(outcomes)]


def timeless(outcomes: Sequence[Outcome]) -> list[str]:
    """The published events as text without the time of raising, in an order of their own."""
    published = [outcome for outcome in outcomes if isinstance(outcome, Publish)]
    return sorted(
        repr((item.topic, item.key, replace(item.event, raised_at_us=0)))
        if isinstance(item.event, ev.ExceptionEvent)
        else repr((item.topic, item.key, item.event))
        for item in published
    )
