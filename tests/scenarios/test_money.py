"""Runs money.txt: what a trade costs, by the enrichment stage with the shipped charges, calendars and tolerances."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from services.domain.code import (
    AllocationPolicy,
    CommissionType,
    DayCount,
    ExceptionStatus,
    ExecutionType,
    InstrumentType,
    PriceType,
    Side,
)
from services.domain.event import EnrichedTrade, ExceptionEvent
from services.domain.reference import (
    Account,
    BondTerms,
    ChargeExemption,
    Instrument,
    Party,
    StandingSettlementInstruction,
)
from services.enrichment.process import EnrichmentStage
from services.stage import Outcome, Publish, Received
from tests import samples
from tests.memory_state import MemoryState
from tests.scenarios import scenario
from tests.unit.reference_files.shipped import shipped_reference

_LEI = "7LTWFZYICNSX8D621K86"


def _owner(owner: str, market: str) -> StandingSettlementInstruction:
    return StandingSettlementInstruction(
        owner=owner, settlement_market=market, depository_bic="DAKVDEFFXXX", participant_bic="PARBDEFFXXX",
        safekeeping_account=f"{owner}-{market}",
    )  # fmt: skip


class World:
    """The stage, one instrument, and the trades of a scenario by their names."""

    def __init__(self) -> None:
        """Know the market data that is shipped, an account and a counterparty."""
        self.reference = shipped_reference(
            Account(account="FUND-A", name="Fund A", allocation_policy=AllocationPolicy.SINGLE),
            Party(bic=samples.COUNTERPARTY_BIC, lei=_LEI, name="Counterparty"),
        )
        self.state = MemoryState(self.reference)
        self.stage = EnrichmentStage()
        self.currency = ""
        self.is_debt = False
        self.versions: dict[str, int] = {}

    def run(self, words: list[str]) -> list[str]:
        """Do one line; say what came of it."""
        command: Callable[[list[str]], list[Outcome]] = getattr(self, words[0].replace("-", "_"))
        return [tell(outcome) for outcome in command(words[1:])]

    # --- reference data ---

    def _instrument(self, words: list[str], kind: InstrumentType) -> list[Outcome]:
        market, self.currency = words[:2]
        options = scenario.fields_of(words)
        for owner in ("FUND-A", samples.COUNTERPARTY_BIC):
            self.reference.put(_owner(owner, market))
        self.is_debt = kind.is_debt
        self.reference.put(
            Instrument(
                isin=samples.ISIN,
                name="Instrument",
                instrument_type=kind,
                settlement_market=market,
                currency=self.currency,
                issuer_country=options.get("issuer", market),
                denomination=Decimal(1),
            )
        )
        return self.stage.on_time(self.state, 0)

    def share(self, words: list[str]) -> list[Outcome]:
        """A share."""
        return self._instrument(words, InstrumentType.EQUITY)

    def fund(self, words: list[str]) -> list[Outcome]:
        """An exchange-traded fund."""
        return self._instrument(words, InstrumentType.ETF)

    def bond(self, words: list[str]) -> list[Outcome]:
        """A bond, of which nothing more is known."""
        return self._instrument(words, InstrumentType.CORPORATE_BOND)

    def terms(self, words: list[str]) -> list[Outcome]:
        """What interest on it accrues by."""
        options = scenario.fields_of(words)
        row: dict[str, Any] = {
            "isin": samples.ISIN,
            "coupon_rate": Decimal(options["rate"]) / 100,
            "coupons_a_year": int(options["a_year"]),
            "day_count": DayCount(options["count"]),
            "accrual_start": date.fromisoformat(options["begins"]),
            "maturity_date": date.fromisoformat(options["matures"]),
            "pays_at_month_end": "month-end" in words,
            "ex_dividend_days": int(options.get("ex", "0")),
            "ex_dividend_calendar": options.get("calendar"),
        }
        for name, field in (("first", "first_coupon_date"), ("last", "last_regular_coupon_date")):
            if name in options:
                row[field] = date.fromisoformat(options[name])
        if "digits" in options:
            row["per_hundred_digits"] = int(options["digits"])
        self.reference.put(BondTerms(**row))
        return self.stage.on_time(self.state, 0)

    def exempt(self, words: list[str]) -> list[Outcome]:
        """The instrument is spared a charge from one day to another."""
        begins, ends = (date.fromisoformat(word) for word in words[1:3])
        self.reference.put(ChargeExemption(charge_id=words[0], isin=samples.ISIN, valid_from=begins, valid_to=ends))
        return self.stage.on_time(self.state, 0)

    # --- trades ---

    def _trade(self, words: list[str], side: Side, kind: ExecutionType = ExecutionType.TRADE) -> list[Outcome]:
        name, quantity, price = words[:3]
        options = scenario.fields_of(words)
        version = self.versions[name] = self.versions.get(name, 0) + 1
        settles, accrued, commission = options.get("settles"), options.get("accrued"), options.get("commission")
        trade = samples.captured_trade(
            execution_id=f"{name}-{version}",
            trade_id=f"TR-{name}",
            version=version,
            execution_type=kind,
            side=side,
            quantity=Decimal(quantity),
            price=Decimal(price),
            price_type=PriceType.PERCENT_OF_PAR if self.is_debt else PriceType.PER_UNIT,
            currency=self.currency,
            venue=options.get("venue", "XLON"),
            trade_date=date.fromisoformat(options.get("on", "2026-03-02")),
            requested_settlement_date=date.fromisoformat(settles) if settles else None,
            accrued_interest_amount=Decimal(accrued) if accrued else None,
            commission=Decimal(commission) if commission else None,
            commission_type=CommissionType(options["type"]) if commission else None,
            contract_multiplier=Decimal(options["face"]) if "face" in options else None,
        )
        received = Received(topic="trades.captured", key=trade.order_id, event=trade, timestamp_us=0)
        return self.stage.process([received], self.state, 0)

    def buy(self, words: list[str]) -> list[Outcome]:
        """A purchase, or under a name that was there its correction."""
        kind = ExecutionType.TRADE_CORRECT if words[0] in self.versions else ExecutionType.TRADE
        return self._trade(words, Side.BUY, kind)

    def sell(self, words: list[str]) -> list[Outcome]:
        """A sale."""
        return self._trade(words, Side.SELL)

    def sell_short(self, words: list[str]) -> list[Outcome]:
        """A short sale."""
        return self._trade(words, Side.SELL_SHORT)

    def cancel(self, words: list[str]) -> list[Outcome]:
        """The purchase of that name is cancelled."""
        return self._trade(words, Side.BUY, ExecutionType.TRADE_CANCEL)


def tell(outcome: Outcome) -> str:
    """An outcome as a bill: gross, what comes on top and what goes off, net."""
    assert isinstance(outcome, Publish)
    event = outcome.event
    if isinstance(event, ExceptionEvent):
        if event.reason == "ACCRUED_INTEREST_DIFFERS" and event.status is ExceptionStatus.OPEN:
            details = event.details
            return f"OPEN {event.reason} {details['reported']} for {details['computed']}"
        return f"{event.status} {event.reason}"
    assert isinstance(event, EnrichedTrade)
    parts = [str(event.gross_amount)]
    if event.accrued_interest:
        parts.append(f"{'-' if event.accrued_interest < 0 else '+'} accrued {abs(event.accrued_interest)}")
    sign = "-" if event.side.delivers else "+"
    parts += [f"{sign} {charge.charge_id} {charge.amount}" for charge in event.charges]
    return f"{event.settlement_date} {' '.join(parts)} = {event.net_amount}"


@pytest.mark.parametrize("told", scenario.read("money.txt"), ids=lambda told: told.title)
def test_scenario(told: scenario.Scenario) -> None:
    """After every line exactly the listed outcomes come."""
    world = World()
    for step in told.steps:
        assert world.run(step.words) == step.expected, f"money.txt:{step.line}: {' '.join(step.words)}"
