"""Reference data and shorthand for tests of enrichment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from services.domain.code import AllocationPolicy, DayCount, ExceptionStatus, InstrumentType
from services.domain.event import CapturedTrade, EnrichedTrade, ExceptionEvent
from services.domain.reference import (
    Account,
    BondTerms,
    CalendarCoverage,
    Instrument,
    Party,
    ReferenceData,
    ReferenceRecord,
    SettlementCycle,
    StandingSettlementInstruction,
)
from services.enrichment.process import EnrichmentStage
from services.stage import Outcome, Publish, Received
from tests import samples
from tests.memory_state import MemoryState

NOW_US = samples.RECEIVED_AT_US + 1_000_000
LEI = "7LTWFZYICNSX8D621K86"


def instrument(**changes: Any) -> Instrument:
    """The sample instrument: a German share in euro."""
    fields: dict[str, Any] = {
        "isin": samples.ISIN,
        "name": "SAP",
        "instrument_type": InstrumentType.EQUITY,
        "settlement_market": "DE",
        "currency": "EUR",
        "issuer_country": "DE",
        "denomination": Decimal(1),
    }
    return Instrument(**(fields | changes))


def account(policy: AllocationPolicy = AllocationPolicy.SINGLE) -> Account:
    """The sample account."""
    return Account(account="FUND-A", name="Fund A", allocation_policy=policy)


def settlement_instruction(owner: str, **changes: Any) -> StandingSettlementInstruction:
    """Where an owner settles in Germany."""
    fields: dict[str, Any] = {
        "owner": owner,
        "settlement_market": "DE",
        "depository_bic": "DAKVDEFFXXX",
        "participant_bic": "PARBDEFFXXX",
        "safekeeping_account": f"{owner}-SAFE",
    }
    return StandingSettlementInstruction(**(fields | changes))


def coverage(calendar: str) -> CalendarCoverage:
    """A calendar that knows the year 2026 and has no holidays."""
    return CalendarCoverage(calendar=calendar, first_day=date(2026, 1, 1), last_day=date(2026, 12, 31))


def bond_terms(**changes: Any) -> BondTerms:
    """The sample instrument as a bond of 3.65 percent, paid once a year on 3 March: a cent a day on 100."""
    fields: dict[str, Any] = {
        "isin": samples.ISIN,
        "coupon_rate": Decimal("0.0365"),
        "coupons_a_year": 1,
        "day_count": DayCount.ACT_ACT_ICMA,
        "accrual_start": date(2020, 3, 3),
        "maturity_date": date(2030, 3, 3),
    }
    return BondTerms(**(fields | changes))


PARTY = Party(bic=samples.COUNTERPARTY_BIC, lei=LEI, name="Counterparty")
CYCLE = SettlementCycle(settlement_market="DE", days=2)
COUNTERPARTY_SSI = settlement_instruction(samples.COUNTERPARTY_BIC)
ACCOUNT_SSI = settlement_instruction("FUND-A")

COMPLETE: tuple[ReferenceRecord, ...] = (
    instrument(),
    PARTY,
    account(),
    CYCLE,
    coverage("SETTLEMENT:DE"),
    coverage("CURRENCY:EUR"),
    COUNTERPARTY_SSI,
    ACCOUNT_SSI,
)
"""Everything the sample trade needs, in the order in which enrichment asks for it."""


def reference(records: Iterable[ReferenceRecord] = COMPLETE) -> ReferenceData:
    """Reference data of these records."""
    data = ReferenceData()
    for record in records:
        data.put(record)
    return data


def received(trade: CapturedTrade) -> Received:
    """The trade as it comes from its topic."""
    return Received(topic="trades.captured", key=trade.order_id, event=trade, timestamp_us=NOW_US)


class Desk:
    """One stage with its state, driven event by event; keeps all outcomes in order."""

    def __init__(self, records: Iterable[ReferenceRecord] = ()) -> None:
        """Start with the given reference data."""
        self.data = reference(records)
        self.stage = EnrichmentStage()
        self.state = MemoryState(self.data)
        self.outcomes: list[Outcome] = []

    def take(self, *trades: CapturedTrade) -> list[str]:
        """Process a batch; what came of it, in words."""
        return self._keep(self.stage.process([received(trade) for trade in trades], self.state, NOW_US))

    def put(self, *records: ReferenceRecord) -> None:
        """Reference data arrives."""
        for record in records:
            self.data.put(record)

    def tick(self) -> list[str]:
        """Let time pass; what came of it, in words."""
        return self._keep(self.stage.on_time(self.state, NOW_US))

    def _keep(self, outcomes: list[Outcome]) -> list[str]:
        self.outcomes.extend(outcomes)
        return words(outcomes)


def words(outcomes: Sequence[Outcome]) -> list[str]:
    """`enriched E1 v1`, `OPEN REASON`, `CLOSED REASON`."""
    found = []
    for outcome in outcomes:
        assert isinstance(outcome, Publish)
        event = outcome.event
        if isinstance(event, EnrichedTrade):
            assert (outcome.topic, outcome.key) == ("trades.enriched", event.order_id)
            found.append(f"enriched {event.execution_id} v{event.version}")
        else:
            assert isinstance(event, ExceptionEvent)
            assert (outcome.topic, outcome.key) == ("exceptions", event.exception_id)
            found.append(f"{event.status} {event.reason}")
    return found


def open_exceptions(outcomes: Sequence[Outcome]) -> set[str]:
    """Ids of the exceptions that are open at the end; fails if one is opened twice or closed without being open."""
    is_open: set[str] = set()
    for outcome in outcomes:
        assert isinstance(outcome, Publish)
        if isinstance(outcome.event, ExceptionEvent):
            opens = outcome.event.status is ExceptionStatus.OPEN
            assert opens != (outcome.key in is_open), outcome.event
            (is_open.add if opens else is_open.discard)(outcome.key)
    return is_open
