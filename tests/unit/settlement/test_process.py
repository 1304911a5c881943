"""The stage: one instruction per allocation, nothing lost, nothing said twice."""

from __future__ import annotations

from collections import Counter
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.adapters.iso20022 import parse_sese023, render_sese023
from services.domain.code import ExceptionStatus, Function, InstrumentType, PriceType, Side
from services.domain.errors import MessageInvalid
from services.domain.event import ConfirmedTrade, ExceptionEvent, SettlementInstruction, SettlementMessage
from services.domain.reason import Reason
from services.domain.record import Record, replace
from services.settlement import Instructed, Refused, SettlementStage
from services.stage import Outcome, Publish, Received, Stage, Suppress
from tests import samples
from tests.memory_state import MemoryState

NOW_US = samples.RECEIVED_AT_US + 60_000_000


def _render(instruction: SettlementInstruction) -> str:
    """Stand for a depository format that takes four-letter venues only."""
    if len(instruction.venue) != 4:
        raise MessageInvalid(element="Venue", found=instruction.venue, expected="four letters")
    return f"message of {instruction.instruction_id}"


def _received(event: Record) -> Received:
    key = event.allocation_id if isinstance(event, ConfirmedTrade) else None
    return Received(topic="trades.confirmed", key=key, event=event, timestamp_us=samples.RECEIVED_AT_US)


def _run(state: MemoryState, *trades: ConfirmedTrade, now_us: int = NOW_US) -> list[Outcome]:
    return SettlementStage(_render).process([_received(trade) for trade in trades], state, now_us)


def _topics(outcomes: list[Outcome]) -> list[str]:
    return [outcome.topic if isinstance(outcome, Publish) else outcome.cause for outcome in outcomes]


def _exceptions(outcomes: list[Outcome]) -> list[tuple[str, ExceptionStatus]]:
    events = [outcome.event for outcome in outcomes if isinstance(outcome, Publish)]
    return [(event.reason, event.status) for event in events if isinstance(event, ExceptionEvent)]


INVALID = {"venue": "XETRA"}
ELSEWHERE = {"account_chain": samples.account_chain(depository_bic="CEDELULLXXX")}


def test_stage_fulfils_the_contract() -> None:
    """The engine takes any Stage; the type checker compares the signatures here."""
    stage: Stage = SettlementStage(_render)
    assert stage.name == "settlement"
    assert set(stage.state_types) == {Instructed, Refused}


def test_confirmed_trade_becomes_instruction_and_message() -> None:
    """Both carry the same key, so that they meet again wherever they are read."""
    state = MemoryState()
    instruction, message = _run(state, samples.confirmed_trade())
    assert isinstance(instruction, Publish)
    assert isinstance(message, Publish)
    assert isinstance(instruction.event, SettlementInstruction)
    identifier = instruction.event.instruction_id
    assert (instruction.topic, instruction.key) == ("settlement.instructions", identifier)
    assert message == Publish(
        topic="settlement.messages",
        key=identifier,
        event=SettlementMessage(instruction_id=identifier, text=f"message of {identifier}"),
    )
    remembered = state.get(Instructed, samples.confirmed_trade().allocation_id)
    assert remembered is not None
    assert remembered.instruction_id == identifier


def test_same_trade_again_is_a_duplicate_in_the_same_batch_and_later() -> None:
    """A doubled instruction delivers twice."""
    state, trade = MemoryState(), samples.confirmed_trade()
    assert _topics(_run(state, trade, trade)) == ["settlement.instructions", "settlement.messages", "duplicate"]
    assert _run(state, trade) == [Suppress(cause="duplicate")]


def test_other_terms_after_instruction_raise_a_conflict_once_and_keep_the_trade() -> None:
    """The first instruction stands; the second version is shown, kept, and never instructed."""
    state, trade = MemoryState(), samples.confirmed_trade()
    changed = samples.confirmed_trade(settlement_amount=Decimal("100000.01"))
    _run(state, trade)
    outcomes = _run(state, changed, changed, trade)
    assert _topics(outcomes) == ["exceptions", "still_refused", "duplicate"]
    assert _exceptions(outcomes) == [(Reason.CONFIRMED_TRADE_CONFLICTS, ExceptionStatus.OPEN)]
    kept = state.get(Refused, trade.allocation_id)
    assert kept is not None
    assert kept.trade == changed


def test_invalid_message_publishes_an_exception_and_nothing_else() -> None:
    """The instruction must not go out without its message; the sentence reaches the desk."""
    state, trade = MemoryState(), samples.confirmed_trade(**INVALID)
    (outcome,) = _run(state, trade)
    assert isinstance(outcome, Publish)
    event = outcome.event
    assert isinstance(event, ExceptionEvent)
    assert (outcome.topic, outcome.key) == ("exceptions", event.exception_id)
    assert (event.reason, event.subject_id) == ("INSTRUCTION_INVALID", trade.allocation_id)
    assert (event.service, event.order_id, event.raised_at_us) == ("settlement", trade.order_id, NOW_US)
    assert event.message == "The settlement message would not be valid: Venue was 'XETRA': four letters"
    assert event.details == {"Venue": "XETRA"}
    kept = state.get(Refused, trade.allocation_id)
    assert kept is not None
    assert kept.trade == trade
    assert state.get(Instructed, trade.allocation_id) is None


@pytest.mark.parametrize("trouble", [INVALID, ELSEWHERE, {"quantity": Decimal(0)}])
def test_repaired_trade_is_instructed_and_its_exception_closed(trouble: dict[str, Any]) -> None:
    """A refusal is not the end: the same allocation, sent again repaired, settles, and the desk's list gets shorter."""
    state = MemoryState()
    (opened,) = _run(state, samples.confirmed_trade(**trouble))
    instruction, message, closed = _run(state, samples.confirmed_trade())
    assert _topics([instruction, message]) == ["settlement.instructions", "settlement.messages"]
    assert isinstance(opened, Publish)
    assert isinstance(closed, Publish)
    assert isinstance(closed.event, ExceptionEvent)
    assert (closed.key, closed.event.status) == (opened.key, ExceptionStatus.CLOSED)
    assert state.get(Refused, samples.confirmed_trade().allocation_id) is None


def test_unrepaired_trade_is_not_shown_again_and_a_new_reason_replaces_the_old() -> None:
    """One trouble is one open exception; a stale one must not stay on the list beside the new one."""
    state = MemoryState()
    invalid, elsewhere = samples.confirmed_trade(**INVALID), samples.confirmed_trade(**ELSEWHERE)
    assert _exceptions(_run(state, invalid)) == [(Reason.INSTRUCTION_INVALID, ExceptionStatus.OPEN)]
    assert _run(state, invalid) == [Suppress(cause="still_refused")]
    assert _exceptions(_run(state, elsewhere)) == [
        (Reason.INSTRUCTION_INVALID, ExceptionStatus.CLOSED),
        (Reason.PLACE_OF_SETTLEMENT_DIFFERS, ExceptionStatus.OPEN),
    ]
    other_venue = samples.confirmed_trade(venue="XPARIS")
    _run(state, invalid)
    assert _exceptions(_run(state, other_venue)) == [(Reason.INSTRUCTION_INVALID, ExceptionStatus.OPEN)]


def test_refused_trade_does_not_hold_up_its_neighbours() -> None:
    """One bad venue in a batch must not cost the others their cut-off."""
    good = samples.confirmed_trade(allocation_id="ALGOOD")
    topics = _topics(_run(MemoryState(), samples.confirmed_trade(**INVALID), good))
    assert topics == ["exceptions", "settlement.instructions", "settlement.messages"]


def test_foreign_event_and_foreign_error_are_our_own_bugs() -> None:
    """They must reach the engine, which isolates them; hiding them would lose trades."""
    with pytest.raises(TypeError, match="AllocatedTrade"):
        SettlementStage(_render).process([_received(samples.allocated_trade())], MemoryState(), NOW_US)

    def broken(instruction: SettlementInstruction) -> str:
        raise KeyError(instruction.isin)

    with pytest.raises(KeyError):
        SettlementStage(broken).process([_received(samples.confirmed_trade())], MemoryState(), NOW_US)


def test_time_alone_does_nothing() -> None:
    """Refused trades wait for a person, not for the clock."""
    state = MemoryState()
    _run(state, samples.confirmed_trade(**INVALID))
    assert SettlementStage(_render).on_time(state, NOW_US + 10**12) == []


VERSIONS = [
    samples.confirmed_trade(allocation_id=allocation, **changes)
    for allocation in ("AL1", "AL2", "AL3")
    for changes in ({}, INVALID, ELSEWHERE, {"settlement_amount": Decimal("99999.99")})
]


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from(VERSIONS), max_size=25), st.integers(1, 7))
def test_every_event_is_accounted_for_and_no_allocation_is_instructed_twice(
    trades: list[ConfirmedTrade], batch_size: int
) -> None:
    """In any order and any batches: at most one instruction per allocation, and whoever has none is shown."""
    state, outcomes = MemoryState(), list[Outcome]()
    for start in range(0, len(trades), batch_size):
        outcomes += _run(state, *trades[start : start + batch_size])
    published = [outcome.event for outcome in outcomes if isinstance(outcome, Publish)]
    instructed = Counter(event.allocation_id for event in published if isinstance(event, SettlementInstruction))
    assert all(count == 1 for count in instructed.values())
    messages = Counter(event.instruction_id for event in published if isinstance(event, SettlementMessage))
    assert len(messages) == len(instructed)

    status = {event.exception_id: event for event in published if isinstance(event, ExceptionEvent)}
    visible = {event.subject_id for event in status.values() if event.status is ExceptionStatus.OPEN}
    kept = {key for key, _ in state.scan(Refused)}
    assert visible == kept
    assert set(instructed) | kept == {trade.allocation_id for trade in trades}
    # each allocation without an instruction has exactly one open exception
    for allocation in kept - set(instructed):
        assert sum(e.subject_id == allocation and e.status is ExceptionStatus.OPEN for e in status.values()) == 1

    again = MemoryState()
    replayed = [outcome for trade in trades for outcome in _run(again, trade)]
    assert replayed == outcomes, "the result must not depend on how the log was cut into batches"
    assert again.tables == state.tables


@pytest.mark.parametrize("side", [Side.BUY, Side.SELL, Side.SELL_SHORT])
@pytest.mark.parametrize(
    ("instrument_type", "price_type"),
    [(InstrumentType.EQUITY, PriceType.PER_UNIT), (InstrumentType.GOVERNMENT_BOND, PriceType.PERCENT_OF_PAR)],
)
@pytest.mark.parametrize(
    ("currency", "amount"), [("EUR", "100000.00"), ("JPY", "100000"), ("USD", "99999.99"), ("GBP", "0.01")]
)
def test_message_says_what_was_confirmed(
    side: Side, instrument_type: InstrumentType, price_type: PriceType, currency: str, amount: str
) -> None:
    """From the confirmed trade to the real message and back: direction, quantity and cash are those of the trade."""
    trade = samples.confirmed_trade(
        side=side,
        instrument_type=instrument_type,
        price_type=price_type,
        currency=currency,
        settlement_amount=Decimal(amount),
    )
    outcomes = SettlementStage(render_sese023).process([_received(trade)], MemoryState(), NOW_US)
    (message,) = [o.event for o in outcomes if isinstance(o, Publish) and isinstance(o.event, SettlementMessage)]
    read = parse_sese023(message.text)
    sells = side is not Side.BUY
    assert read.transaction_id == message.instruction_id
    assert (read.movement.value, read.credit_debit) == (("DELI", "CRDT") if sells else ("RECE", "DBIT"))
    assert read.other_side_delivers is not sells
    assert (read.quantity, read.is_face_amount) == (trade.quantity, instrument_type.is_debt)
    assert (read.amount, read.currency) == (Decimal(amount), currency)
    assert (read.isin, read.settlement_date) == (trade.isin, trade.settlement_date)
    assert read.safekeeping_account == trade.account_chain.safekeeping_account


def test_real_renderer_refuses_cash_finer_than_the_currency() -> None:
    """Half a yen came through the pipeline: the desk sees it, the depository does not."""
    trade = samples.confirmed_trade(currency="JPY", settlement_amount=Decimal("100000.5"))
    outcomes = SettlementStage(render_sese023).process([_received(trade)], MemoryState(), NOW_US)
    assert _exceptions(outcomes) == [(Reason.INSTRUCTION_INVALID, ExceptionStatus.OPEN)]
    (event,) = [o.event for o in outcomes if isinstance(o, Publish) and isinstance(o.event, ExceptionEvent)]
    assert event.details == {"SttlmAmt/Amt": "100000.5"}


# --- taking back ------------------------------------------------------------------------------------------------------


def _back(trade: ConfirmedTrade) -> ConfirmedTrade:
    return replace(trade, function=Function.CANCEL)


def test_an_instructed_trade_that_is_taken_back_is_cancelled_under_its_id() -> None:
    """Instruction and message together, under one key, so that nothing overtakes its own cancellation; and once."""
    state, trade = MemoryState(), samples.confirmed_trade()
    (new, _) = _run(state, trade)

    outcomes = _run(state, _back(trade), _back(trade), trade)

    assert _topics(outcomes) == ["settlement.instructions", "settlement.messages", "duplicate", "duplicate"]
    cancelled = outcomes[0]
    assert isinstance(new, Publish)
    assert isinstance(cancelled, Publish)
    assert cancelled.key == new.key
    assert isinstance(new.event, SettlementInstruction)
    assert cancelled.event == replace(new.event, function=Function.CANCEL)


def test_a_refused_trade_that_is_taken_back_is_forgotten() -> None:
    """Nothing went out, so nothing is cancelled; repaired data must not instruct it any more."""
    state, trade = MemoryState(), samples.confirmed_trade(**INVALID)
    _run(state, trade)

    assert _exceptions(_run(state, _back(trade))) == [(Reason.INSTRUCTION_INVALID, ExceptionStatus.CLOSED)]
    assert state.get(Refused, trade.allocation_id) is None
    assert _topics(_run(state, samples.confirmed_trade())) == ["duplicate"]


def test_what_was_never_instructed_has_nothing_to_cancel() -> None:
    """A person discarded the trade; if it were replayed after all, it must not settle."""
    state, trade = MemoryState(), samples.confirmed_trade()

    assert _topics(_run(state, _back(trade), trade)) == ["nothing_to_cancel", "duplicate"]


@pytest.mark.parametrize(("days_before", "is_late"), [(1, False), (0, True), (-1, True)])
def test_a_cancellation_on_the_settlement_date_is_shown(days_before: int, is_late: bool) -> None:
    """It may have settled; who can tell is the depository."""
    state, trade = MemoryState(), samples.confirmed_trade()
    _run(state, trade)
    day = trade.settlement_date.toordinal() - date(1970, 1, 1).toordinal() - days_before
    received = Received(topic="trades.confirmed", key=None, event=_back(trade), timestamp_us=day * 86_400_000_000)

    outcomes = SettlementStage(_render).process([received], state, NOW_US)

    late = [(Reason.INSTRUCTION_CANCELLED_LATE, ExceptionStatus.OPEN)]
    assert _exceptions(outcomes) == (late if is_late else [])
    assert _topics(outcomes)[:2] == ["settlement.instructions", "settlement.messages"]
