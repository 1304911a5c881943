"""Runs allocation.txt."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from itertools import product
from typing import Any

import pytest

from services.allocation.process import AllocationStage
from services.allocation.rules import text
from services.domain import event as ev
from services.domain import identity
from services.domain.code import (
    AffirmationStep,
    AllocationPolicy,
    AllocationTransactionType,
    ExecutionType,
    Function,
    InstrumentType,
    Side,
)
from services.domain.record import Record
from services.domain.reference import (
    Account,
    AffirmationDeadline,
    AllocationTemplate,
    Instrument,
    ReferenceData,
    StandingSettlementInstruction,
    TemplateShare,
    TimeZoneOffset,
)
from services.stage import Outcome, Publish, Received
from tests import samples
from tests.memory_state import MemoryState
from tests.scenarios import scenario

MINUTE_US = 60_000_000
BLOCK_ID = identity.block_id(order_id="O1", trade_date=samples.TRADE_DATE)


class World:
    """The stage with its reference data, and the names a scenario gave to things."""

    def __init__(self) -> None:
        """Know the instrument and nothing else."""
        self.reference = ReferenceData()
        self.state = MemoryState(self.reference)
        self.stage = AllocationStage()
        self.now_us = samples.RECEIVED_AT_US
        self.reports: dict[str, ev.EnrichedTrade] = {}
        self.names = {BLOCK_ID: "block"}
        self.block_account = ""
        self.denomination(["1"])

    def run(self, words: list[str]) -> list[str]:
        """Do one line; say what came of it."""
        command: Callable[[list[str]], list[Outcome]] = getattr(self, words[0])
        return [self.tell(outcome) for outcome in command(words[1:])]

    def tell(self, outcome: Outcome) -> str:
        """An outcome in the words of the table."""
        if not isinstance(outcome, Publish):
            return f"suppressed {outcome.cause}"
        event = outcome.event
        if isinstance(event, ev.AllocatedTrade):
            assert outcome.topic == "trades.allocated"
            assert outcome.key == event.match_key
            price = text(event.average_price)
            done = "allocated" if event.function is Function.NEW else "taken back"
            version = "" if event.version == 1 else f" v{event.version}"
            return f"{done} {event.account} {text(event.quantity)} at {price} for {event.net_amount}{version}"
        assert isinstance(event, ev.ExceptionEvent)
        assert outcome.topic == "exceptions"
        assert outcome.key == event.exception_id
        return f"{event.status} {event.reason} {self.names.get(event.subject_id, event.subject_id)}"

    # --- reference data ---

    def _learn(self, record: Any) -> list[Outcome]:
        self.reference.put(record)
        return self.stage.on_time(self.state, self.now_us)

    def deadline(self, words: list[str]) -> list[Outcome]:
        """Until when blocks have to be allocated in New York; the time zone is five hours behind."""
        market, local_time, minutes = words
        self.reference.put(
            AffirmationDeadline(
                settlement_market=market,
                step=AffirmationStep.ALLOCATE,
                local_time=local_time,
                time_zone="America/New_York",
                warning_minutes=int(minutes),
            )
        )
        return self._learn(TimeZoneOffset(time_zone="America/New_York", offset_minutes=-300))

    def denomination(self, words: list[str]) -> list[Outcome]:
        """Smallest unit."""
        return self._learn(
            Instrument(
                isin=samples.ISIN,
                name="SAP",
                instrument_type=InstrumentType.EQUITY,
                settlement_market="DE",
                currency="EUR",
                issuer_country="DE",
                denomination=Decimal(words[0]),
            )
        )

    def account(self, words: list[str]) -> list[Outcome]:
        """An account; the first one is the block account, later ones with `bare` have no SSI yet."""
        self.block_account = self.block_account or words[0]
        if "bare" not in words:
            self.ssi(words)
        policy = AllocationPolicy(words[1])
        return self._learn(Account(account=words[0], name=words[0], allocation_policy=policy))

    def ssi(self, words: list[str]) -> list[Outcome]:
        """A settlement instruction for the German market."""
        self.block_account = self.block_account or words[0]
        return self._learn(
            StandingSettlementInstruction(
                owner=words[0],
                settlement_market="DE",
                depository_bic="DAKVDEFFXXX",
                participant_bic="PARBDEFFXXX",
                safekeeping_account=f"{words[0]}-SAFE",
            )
        )

    def template(self, words: list[str]) -> list[Outcome]:
        """A standing division."""
        weights = scenario.fields_of(words)
        shares = tuple(TemplateShare(account=name, weight=Decimal(weight)) for name, weight in weights.items())
        for ordinal, (share, version) in enumerate(product(shares, (1, 2))):
            key = identity.allocation_id(
                block=BLOCK_ID, instruction="TEMPLATE", account=share.account, ordinal=ordinal // 2, version=version
            )
            self.names[key] = share.account if version == 1 else f"{share.account} v{version}"
        return self._learn(AllocationTemplate(account=words[0], shares=shares))

    # --- events ---

    def _send(self, topic: str, event: Record) -> list[Outcome]:
        received = Received(topic=topic, key="O1", event=event, timestamp_us=self.now_us)
        return self.stage.process([received], self.state, self.now_us)

    def _report(self, words: list[str], kind: ExecutionType) -> list[Outcome]:
        name, quantity, price = words[:3]
        options = scenario.fields_of(words)
        before = self.reports.get(name)
        report = samples.enriched_trade(
            execution_id=name if before is None else f"{name}-{before.version + 1}",
            trade_id=f"TR-{name}",
            version=1 if before is None else before.version + 1,
            execution_type=kind,
            account=self.block_account,
            quantity=Decimal(quantity),
            price=Decimal(price),
            cumulative_quantity=Decimal(options["cum"]),
            leaves_quantity=Decimal(options["leaves"]),
            transaction_time_us=samples.RECEIVED_AT_US + int(options.get("time", "1")),
            currency=options.get("currency", "EUR"),
        )
        self.reports[name] = report
        self.names[report.trade_id] = name
        return self._send("trades.enriched", report)

    def fill(self, words: list[str]) -> list[Outcome]:
        """A fill."""
        return self._report(words, ExecutionType.TRADE)

    def correct(self, words: list[str]) -> list[Outcome]:
        """Its correction."""
        return self._report(words, ExecutionType.TRADE_CORRECT)

    def cancel(self, words: list[str]) -> list[Outcome]:
        """Its cancellation."""
        return self._report(words, ExecutionType.TRADE_CANCEL)

    def again(self, words: list[str]) -> list[Outcome]:
        """The last report of a fill, delivered once more."""
        return self._send("trades.enriched", self.reports[words[0]])

    def _instruct(self, words: list[str], kind: AllocationTransactionType) -> list[Outcome]:
        options = scenario.fields_of(words)
        side, security = options.pop("side", "BUY"), options.pop("security_id", samples.ISIN)
        reference = options.pop("of", None)
        shares = tuple(ev.AccountAllocation(account=name, quantity=Decimal(part)) for name, part in options.items())
        for ordinal, share in enumerate(shares):
            key = identity.allocation_id(block=BLOCK_ID, instruction=words[0], account=share.account, ordinal=ordinal)
            self.names[key] = share.account
        instruction = samples.allocation_instruction(
            instruction_id=words[0],
            transaction_type=kind,
            reference_id=reference,
            side=Side(side),
            security_id=security,
            quantity=sum((share.quantity for share in shares), Decimal(0)),
            allocations=shares,
        )
        return self._send("trades.allocation-requests", instruction)

    def allocate(self, words: list[str]) -> list[Outcome]:
        """A new instruction."""
        return self._instruct(words, AllocationTransactionType.NEW)

    def replace(self, words: list[str]) -> list[Outcome]:
        """A replacement."""
        return self._instruct(words, AllocationTransactionType.REPLACE)

    def withdraw(self, words: list[str]) -> list[Outcome]:
        """A cancellation."""
        return self._instruct(words, AllocationTransactionType.CANCEL)

    def wait(self, words: list[str]) -> list[Outcome]:
        """Let minutes pass, with the timer called at their end."""
        self.now_us += int(words[0]) * MINUTE_US
        return self.stage.on_time(self.state, self.now_us)


@pytest.mark.parametrize("told", scenario.read("allocation.txt"), ids=lambda told: told.title)
def test_scenario(told: scenario.Scenario) -> None:
    """After every line exactly the listed outcomes come."""
    world = World()
    for step in told.steps:
        assert world.run(step.words) == step.expected, f"allocation.txt:{step.line}: {' '.join(step.words)}"
