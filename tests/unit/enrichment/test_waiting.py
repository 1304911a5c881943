"""Trades that wait: they are never lost, never overtaken, and go on by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from datetime import date
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.domain.code import ExecutionType, PriceType
from services.domain.event import CapturedTrade, EnrichedTrade, ExceptionEvent
from services.domain.record import replace
from services.domain.reference import Instrument, Party
from services.enrichment import process
from services.enrichment.process import EnrichmentStage
from services.enrichment.state import RefusedTrade, WaitingTrade
from services.stage import Outcome, Publish
from tests import samples
from tests.memory_state import MemoryState
from tests.unit.enrichment.desk import (
    COMPLETE,
    COUNTERPARTY_SSI,
    NOW_US,
    PARTY,
    Desk,
    instrument,
    open_exceptions,
    received,
    reference,
    words,
)

V1 = samples.captured_trade()
V2 = replace(V1, version=2, execution_id="E1-2", execution_type=ExecutionType.TRADE_CORRECT, price=Decimal(101))
V3 = replace(V1, version=3, execution_id="E1-3", execution_type=ExecutionType.TRADE_CANCEL)
OTHER = samples.captured_trade(execution_id="E2")
WITHOUT_SSI = tuple(record for record in COMPLETE if record is not COUNTERPARTY_SSI)


def test_trade_goes_through_at_once_when_all_is_there() -> None:
    desk = Desk(COMPLETE)
    assert desk.take(V1, OTHER) == ["enriched E1 v1", "enriched E2 v1"]
    assert desk.tick() == []
    assert desk.state.tables.get(WaitingTrade, {}) == {}


def test_a_trade_when_issued_waits_for_the_issue_date_and_goes_on_with_it() -> None:
    """FIX 63 = 7: the row of the instrument that has the date closes the exception, which names the instrument."""
    desk = Desk(COMPLETE)
    assert desk.take(replace(V1, settlement_type="7")) == ["OPEN ISSUE_DATE_MISSING"]
    (outcome,) = desk.outcomes
    assert isinstance(outcome, Publish)
    assert isinstance(outcome.event, ExceptionEvent)
    assert outcome.event.details == {"settlement_type": "7", "isin": samples.ISIN}
    desk.put(instrument(issue_date=date(2026, 3, 12)))
    assert desk.tick() == ["CLOSED ISSUE_DATE_MISSING", "enriched E1 v1"]
    last = desk.outcomes[-1]
    assert isinstance(last, Publish)
    assert isinstance(last.event, EnrichedTrade)
    assert last.event.settlement_date == date(2026, 3, 12)


def test_trade_waits_through_everything_that_is_missing_one_after_another() -> None:
    """Data arrives piece by piece: each exception is closed before the next opens, and at last the trade goes on."""
    desk = Desk()
    assert desk.take(V1) == ["OPEN INSTRUMENT_MISSING"]
    steps = [
        ["CLOSED INSTRUMENT_MISSING", "OPEN COUNTERPARTY_MISSING"],
        ["CLOSED COUNTERPARTY_MISSING", "OPEN ACCOUNT_MISSING"],
        ["CLOSED ACCOUNT_MISSING", "OPEN SETTLEMENT_CYCLE_MISSING"],
        ["CLOSED SETTLEMENT_CYCLE_MISSING", "OPEN CALENDAR_MISSING"],
        ["CLOSED CALENDAR_MISSING", "OPEN CALENDAR_MISSING"],
        ["CLOSED CALENDAR_MISSING", "OPEN COUNTERPARTY_SSI_MISSING"],
        ["CLOSED COUNTERPARTY_SSI_MISSING", "OPEN ACCOUNT_SSI_MISSING"],
        ["CLOSED ACCOUNT_SSI_MISSING", "enriched E1 v1"],
    ]
    for record, expected in zip(COMPLETE, steps, strict=True):
        assert desk.tick() == []
        desk.put(record)
        assert desk.tick() == expected
    assert open_exceptions(desk.outcomes) == set()
    assert desk.state.tables[WaitingTrade] == {}


def test_open_exception_says_what_is_missing_for_which_trade() -> None:
    """The desk reads trade, order, sentence and names; the closing has the same id."""
    desk = Desk(WITHOUT_SSI)
    desk.take(V1)
    desk.put(COUNTERPARTY_SSI)
    desk.tick()
    opened, closed, _ = [outcome.event for outcome in desk.outcomes if isinstance(outcome, Publish)]
    assert isinstance(opened, ExceptionEvent)
    assert isinstance(closed, ExceptionEvent)
    assert (opened.service, opened.subject_id, opened.order_id) == ("enrichment", V1.trade_id, "O1")
    assert opened.raised_at_us == NOW_US
    assert opened.details == {
        "owner": samples.COUNTERPARTY_BIC,
        "settlement_market": "DE",
        "instrument_type": "EQUITY",
        "currency": "EUR",
        "on": "2026-03-04",
    }
    assert opened.message.endswith(
        "Found: owner DEUTDEFFXXX, settlement_market DE, instrument_type EQUITY, currency EUR, on 2026-03-04."
    )
    assert (closed.exception_id, closed.details) == (opened.exception_id, opened.details)


# --- order -----------------------------------------------------------------------------------------------------------


def test_later_versions_queue_behind_a_waiting_trade_and_others_go_on() -> None:
    """A cancellation that overtook its trade would leave the trade alive."""
    unhindered = samples.captured_trade(execution_id="E3", counterparty="PARBFRPPXXX")
    desk = Desk((*WITHOUT_SSI, replace(PARTY, bic="PARBFRPPXXX"), replace(COUNTERPARTY_SSI, owner="PARBFRPPXXX")))
    assert desk.take(V1, V2, unhindered, V3) == ["OPEN COUNTERPARTY_SSI_MISSING", "enriched E3 v1"]
    assert desk.take(OTHER) == ["OPEN COUNTERPARTY_SSI_MISSING"]
    desk.put(COUNTERPARTY_SSI)
    closed = "CLOSED COUNTERPARTY_SSI_MISSING"
    by_trade = {
        V1.trade_id: [closed, "enriched E1 v1", "enriched E1-2 v2", "enriched E1-3 v3"],
        OTHER.trade_id: [closed, "enriched E2 v1"],
    }
    assert desk.tick() == [word for trade_id in sorted(by_trade) for word in by_trade[trade_id]]
    assert open_exceptions(desk.outcomes) == set()


def test_version_that_comes_after_the_data_but_before_the_retry_still_queues() -> None:
    """Data is there, the clock has not ticked: the correction alone could go on, and must not."""
    desk = Desk(WITHOUT_SSI)
    desk.take(V1)
    desk.put(COUNTERPARTY_SSI)
    assert desk.take(V2) == []
    assert desk.tick() == ["CLOSED COUNTERPARTY_SSI_MISSING", "enriched E1 v1", "enriched E1-2 v2"]


def test_queued_version_may_have_to_wait_for_something_else() -> None:
    """The first goes on, the second opens an exception of its own and keeps what is behind it."""
    in_dollar = replace(V2, currency="USD")
    desk = Desk(WITHOUT_SSI)
    desk.take(V1, in_dollar, V3)
    desk.put(COUNTERPARTY_SSI)
    assert desk.tick() == ["CLOSED COUNTERPARTY_SSI_MISSING", "enriched E1 v1", "OPEN CALENDAR_MISSING"]
    assert desk.state.tables[WaitingTrade][V1.trade_id].trades == (in_dollar, V3)  # type: ignore[attr-defined]
    desk.put(replace(COMPLETE[5], calendar="CURRENCY:USD"))
    assert desk.tick() == ["CLOSED CALENDAR_MISSING", "enriched E1-2 v2", "enriched E1-3 v3"]


def test_queued_version_that_is_refused_does_not_hold_up_the_next() -> None:
    """A refusal is final for its version; the cancellation behind it goes on and lifts it."""
    refused = replace(V2, price_type=PriceType.PERCENT_OF_PAR)
    desk = Desk(WITHOUT_SSI)
    desk.take(V1, refused, V3)
    desk.put(COUNTERPARTY_SSI)
    assert desk.tick() == [
        "CLOSED COUNTERPARTY_SSI_MISSING",
        "enriched E1 v1",
        "OPEN PRICE_TYPE_UNSUITABLE",
        "CLOSED PRICE_TYPE_UNSUITABLE",
        "enriched E1-3 v3",
    ]


# --- refusals --------------------------------------------------------------------------------------------------------


def test_refusal_stays_open_until_a_later_version_replaces_it() -> None:
    """No data lifts it; a correction does."""
    desk = Desk(COMPLETE)
    assert desk.take(replace(V1, requested_settlement_date=date(2026, 3, 7))) == [
        "OPEN SETTLEMENT_DATE_NOT_BUSINESS_DAY"
    ]
    desk.put(replace(PARTY, name="Other"))
    assert desk.tick() == []
    assert desk.take(V2) == ["CLOSED SETTLEMENT_DATE_NOT_BUSINESS_DAY", "enriched E1-2 v2"]
    assert desk.state.tables[RefusedTrade] == {}
    assert desk.take(V3) == ["enriched E1-3 v3"]


def test_refusal_of_a_refused_trade_is_closed_and_opened_anew() -> None:
    """The desk sees what the newest version lacks, under the same exception."""
    refused = replace(V1, price_type=PriceType.PERCENT_OF_PAR)
    desk = Desk(COMPLETE)
    desk.take(refused)
    second = replace(refused, version=2)
    assert desk.take(second) == ["CLOSED PRICE_TYPE_UNSUITABLE", "OPEN PRICE_TYPE_UNSUITABLE"]
    assert len(open_exceptions(desk.outcomes)) == 1


def test_refusal_does_not_stop_its_neighbours() -> None:
    desk = Desk(COMPLETE)
    assert desk.take(replace(V1, settlement_type="6"), OTHER) == ["OPEN SETTLEMENT_TYPE_UNSUITABLE", "enriched E2 v1"]


# --- when a waiting trade is tried -----------------------------------------------------------------------------------


class CountingStage(EnrichmentStage):
    """Counts tries."""

    tries = 0

    def _try_again(self, trade_id: str, waiting: WaitingTrade, state: object, now_us: int) -> list[Outcome]:
        self.tries += 1
        return super()._try_again(trade_id, waiting, state, now_us)  # type: ignore[arg-type]


def test_waiting_trade_is_tried_once_per_change_of_data() -> None:
    """`on_time` runs every second for hours: it must not compute the same failure again and again."""
    desk = Desk(WITHOUT_SSI)
    desk.stage = stage = CountingStage()
    desk.take(V1, OTHER)
    for _ in range(5):
        assert desk.tick() == []
    assert stage.tries == 2
    desk.put(replace(PARTY, name="Changed"))
    for _ in range(5):
        assert desk.tick() == []
    assert stage.tries == 4


def test_waiting_trade_is_tried_after_a_restart_even_at_the_same_version_number() -> None:
    """Another process counts versions differently: equal numbers do not mean equal data."""
    before = Desk(WITHOUT_SSI)
    before.take(V1)
    before.tick()
    after = Desk(COMPLETE)
    after.data.version = before.data.version
    after.state.tables = before.state.tables
    assert after.tick() == ["CLOSED COUNTERPARTY_SSI_MISSING", "enriched E1 v1"]


def test_one_stage_may_be_given_other_data_at_the_same_version_number() -> None:
    """The note of failed tries belongs to one data object, not to a number."""
    desk = Desk(WITHOUT_SSI)
    desk.take(V1)
    desk.tick()
    other = MemoryState(reference(COMPLETE))
    other.reference.version = desk.data.version
    other.tables = desk.state.tables
    assert words(desk.stage.on_time(other, NOW_US)) == ["CLOSED COUNTERPARTY_SSI_MISSING", "enriched E1 v1"]


def test_try_of_an_aborted_transaction_is_made_again() -> None:
    """The engine drops state and outcomes of a transaction that failed; the same call must then give the same again."""
    desk = Desk(WITHOUT_SSI)
    desk.take(V1)
    desk.tick()
    desk.put(COUNTERPARTY_SSI)
    tables = deepcopy(desk.state.tables)
    first = desk.stage.on_time(desk.state, NOW_US)
    desk.state.tables = tables
    assert desk.stage.on_time(desk.state, NOW_US) == first
    assert words(first) == ["CLOSED COUNTERPARTY_SSI_MISSING", "enriched E1 v1"]


def test_one_stage_serves_partitions_apart() -> None:
    """Tries of one partition do not count for the other."""
    data = reference(WITHOUT_SSI)
    stage = EnrichmentStage()
    states = [MemoryState(data), MemoryState(data)]
    for state, trade in zip(states, (V1, OTHER), strict=True):
        stage.process([received(trade)], state, NOW_US)
        assert stage.on_time(state, NOW_US) == []
    data.put(COUNTERPARTY_SSI)
    assert words(stage.on_time(states[0], NOW_US)) == ["CLOSED COUNTERPARTY_SSI_MISSING", "enriched E1 v1"]
    assert words(stage.on_time(states[1], NOW_US)) == ["CLOSED COUNTERPARTY_SSI_MISSING", "enriched E2 v1"]


def test_late_data_does_not_release_everything_in_one_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred thousand trades may wait for one instrument; each call releases a part, and none is forgotten."""
    monkeypatch.setattr(process, "OUTCOMES_PER_CALL_MAX", 6)
    desk = Desk(WITHOUT_SSI)
    desk.take(*(samples.captured_trade(execution_id=f"E{number}") for number in range(10)))
    desk.put(COUNTERPARTY_SSI)
    assert [len(desk.tick()) for _ in range(5)] == [6, 6, 6, 2, 0]
    assert open_exceptions(desk.outcomes) == set()


def test_event_of_another_type_is_our_bug() -> None:
    """The engine isolates the record; nothing is guessed."""
    stage = EnrichmentStage()
    with pytest.raises(TypeError, match="Execution, expected CapturedTrade"):
        stage.process([replace(received(V1), event=samples.execution())], MemoryState(), NOW_US)


@pytest.mark.parametrize("kind", [WaitingTrade, RefusedTrade])
def test_state_survives_its_changelog(kind: type[WaitingTrade | RefusedTrade]) -> None:
    """Rows are written as JSON and read back after a crash; decimals and dates must come back the same."""
    desk = Desk(WITHOUT_SSI)
    desk.take(V1, V2, replace(OTHER, price_type=PriceType.PERCENT_OF_PAR))
    (row,) = desk.state.tables[kind].values()
    encoded = msgspec.json.Encoder(decimal_format="string").encode(row)
    assert msgspec.json.decode(encoded, type=kind) == row


# --- anything, in any order ------------------------------------------------------------------------------------------

TRADES = [
    [samples.captured_trade(execution_id=name, version=version) for version in (1, 2, 3)] for name in ("A", "B", "C")
]
actions = st.permutations([*("trade 0", "trade 1", "trade 2") * 3, *(f"data {n}" for n in range(8)), *("tick",) * 4])


def run(steps: Sequence[str]) -> tuple[Desk, list[CapturedTrade]]:
    """Trades and data arrive as told; at the end all has arrived and time passes once more."""
    desk = Desk()
    waiting_versions = [iter(versions) for versions in TRADES]
    sent: list[CapturedTrade] = []
    for step in steps:
        word, _, number = step.partition(" ")
        if word == "trade":
            trade = next(waiting_versions[int(number)])
            sent.append(trade)
            desk.take(trade)
        elif word == "data":
            desk.put(COMPLETE[int(number)])
        else:
            desk.tick()
    desk.tick()
    return desk, sent


@given(steps=actions)
@settings(max_examples=60)
def test_every_version_leaves_once_and_in_order_however_trades_and_data_interleave(steps: list[str]) -> None:
    """Nothing lost, nothing doubled, nothing overtaken, no exception left open; and a replay gives the same bytes."""
    desk, sent = run(steps)
    left = [
        (outcome.event.trade_id, outcome.event.version)
        for outcome in desk.outcomes
        if isinstance(outcome, Publish) and isinstance(outcome.event, EnrichedTrade)
    ]
    assert sorted(left) == sorted((trade.trade_id, trade.version) for trade in sent)
    for versions in TRADES:
        assert [version for trade_id, version in left if trade_id == versions[0].trade_id] == [1, 2, 3]
    assert open_exceptions(desk.outcomes) == set()
    assert all(not rows for rows in desk.state.tables.values())
    assert run(steps)[0].outcomes == desk.outcomes


def test_data_that_is_taken_away_makes_later_trades_wait_and_keeps_earlier_ones() -> None:
    """A record deleted by mistake stops new trades visibly; it does not touch what has left."""
    desk = Desk(COMPLETE)
    assert desk.take(V1) == ["enriched E1 v1"]
    desk.data.remove(Party, PARTY.key)
    assert desk.take(OTHER) == ["OPEN COUNTERPARTY_MISSING"]
    desk.data.remove(Instrument, instrument().key)
    assert desk.tick() == ["CLOSED COUNTERPARTY_MISSING", "OPEN INSTRUMENT_MISSING"]
    desk.put(PARTY, instrument())
    assert desk.tick() == ["CLOSED INSTRUMENT_MISSING", "enriched E2 v1"]
