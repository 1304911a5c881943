"""The enrichment stage: what goes on, what waits, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from services.domain.code import ExceptionStatus
from services.domain.event import CapturedTrade, EnrichedTrade
from services.domain.exceptions import About, ValueAtRisk, exception_event, value_of_amount, value_of_report
from services.domain.reason import Reason
from services.domain.record import Record
from services.domain.reference import ReferenceData
from services.enrichment.accrued import anew, doubt_about
from services.enrichment.rules import Problem, enrich
from services.enrichment.state import DoubtedTrade, RefusedTrade, WaitingTrade
from services.stage import Outcome, Publish, Received, State

NAME = "enrichment"
INPUT_TOPIC = "trades.captured"
OUTPUT_TOPIC = "trades.enriched"
EXCEPTIONS_TOPIC = "exceptions"

OUTCOMES_PER_CALL_MAX = 5_000
"""At most about this many outcomes of waiting trades in one call, so that a late data file cannot make a transaction
too large; the rest follows at the next call."""


class EnrichmentStage:
    """The Stage (services.stage) that adds reference data to trades."""

    name = NAME
    state_types: tuple[type[Record], ...] = (WaitingTrade, RefusedTrade, DoubtedTrade)
    suppress_causes: tuple[str, ...] = ()

    def __init__(self) -> None:
        """Start with nothing tried."""
        # A note of failed tries, not state: enrich() depends on trade and reference data alone, so what failed fails
        # again until the data changes. The note holds for one data object at one version and dies with the process,
        # whose successor counts versions differently: there everything is tried once more. Only a try that changed
        # nothing is noted, so an aborted transaction loses no try. Trade ids are unique, so one note serves all
        # partitions, and a partition that leaves and comes back finds nothing wrong in it.
        self._reference: ReferenceData | None = None
        self._version = -1
        self._changes_seen = 0
        self._tried: set[tuple[str, int]] = set()
        self._upheld: set[str] = set()
        """Trades whose doubt was looked at and stays, noted as tries are."""

    def process(self, batch: Sequence[Received], state: State, now_us: int) -> list[Outcome]:
        """Enrich every trade, or open its exception. A later version of a waiting trade joins its queue in silence."""
        outcomes: list[Outcome] = []
        for received in batch:
            trade = received.event
            if type(trade) is not CapturedTrade:  # isinstance of a struct goes through ABCMeta: ten times slower
                raise TypeError(f"event was {type(trade).__name__}, expected CapturedTrade")
            waiting = state.get(WaitingTrade, trade.trade_id)
            if waiting is None:
                outcomes.extend(_advance((trade,), state, now_us))
            else:
                queue = WaitingTrade(trades=(*waiting.trades, trade), reason=waiting.reason, details=waiting.details)
                state.put(trade.trade_id, queue)
        return outcomes

    def on_time(self, state: State, now_us: int) -> list[Outcome]:
        """Try waiting trades again, each once per change of reference data; what goes on closes its exception.

        Trades of an order that is held stay where they are: what waits there for a repair may cancel them.
        """
        self._forget_tries_of_other_data(state.reference)
        due, _ = state.due(WaitingTrade, self._due_at_change, self._changes_seen)
        # The order is the same in all versions: capture sees to it. What is held stays due, and is named at each call.
        untried = [(trade_id, waiting) for trade_id, waiting in due if not state.is_held(waiting.trades[0].order_id)]
        doubts, _ = state.due(DoubtedTrade, self._doubt_due_at_change, self._changes_seen)
        outcomes: list[Outcome] = []
        for trade_id, waiting in untried:
            if len(outcomes) >= OUTCOMES_PER_CALL_MAX:
                break
            outcomes.extend(self._try_again(trade_id, waiting, state, now_us))
        for trade_id, doubt in doubts:
            if len(outcomes) >= OUTCOMES_PER_CALL_MAX:
                break
            if not state.is_held(doubt.order_id):
                outcomes.extend(self._look_again(trade_id, doubt, state, now_us))
        return outcomes

    def _forget_tries_of_other_data(self, reference: ReferenceData) -> None:
        if reference is not self._reference or reference.version != self._version:
            self._reference, self._version = reference, reference.version
            self._changes_seen += 1
            self._tried.clear()
            self._upheld.clear()

    def _due_at_change(self, trade_id: str, waiting: WaitingTrade, _: State) -> int:
        """The change of reference data, as we count them, that a row is to be tried at: this one, or the next."""
        return self._changes_seen + ((trade_id, waiting.trades[0].version) in self._tried)

    def _doubt_due_at_change(self, trade_id: str, _: DoubtedTrade, __: State) -> int:
        return self._changes_seen + (trade_id in self._upheld)

    def _look_again(self, trade_id: str, doubt: DoubtedTrade, state: State, now_us: int) -> list[Outcome]:
        """Close a doubt that other terms or tolerances dispel; tell it anew when they say something else."""
        again = anew(state.reference, doubt)
        if again == doubt:
            self._upheld.add(trade_id)
            return []
        subject = _doubted(trade_id, doubt)
        outcomes: list[Outcome] = [_closing(subject, doubt.reason, doubt.details, "has changed", now_us)]
        state.delete(DoubtedTrade, trade_id)
        if again is not None:
            state.put(trade_id, again)
            outcomes.append(_opening(subject, again.reason, again.details, now_us))
        return outcomes

    def _try_again(self, trade_id: str, waiting: WaitingTrade, state: State, now_us: int) -> list[Outcome]:
        first = waiting.trades[0]
        result = enrich(first, state.reference)
        if type(result) is Problem and (result.reason, result.details) == (waiting.reason, waiting.details):
            self._tried.add((trade_id, first.version))
            return []
        closing = _closing(_subject(first), waiting.reason, waiting.details, "has arrived", now_us)
        state.delete(WaitingTrade, trade_id)
        return [closing, *_advance(waiting.trades, state, now_us)]


def _advance(trades: tuple[CapturedTrade, ...], state: State, now_us: int) -> list[Outcome]:
    """Take the versions of one trade in order, up to and including the first that has to wait."""
    outcomes: list[Outcome] = []
    for position, trade in enumerate(trades):
        outcomes.extend(_close_earlier(trade, state, now_us))
        result = enrich(trade, state.reference)
        if type(result) is not Problem:
            outcomes.append(Publish(topic=OUTPUT_TOPIC, key=result.order_id, event=result))
            if result.accrued_interest_amount is not None:
                outcomes.extend(_doubt(result, state, now_us))
            continue
        outcomes.append(_opening(_subject(trade), result.reason, result.details, now_us))
        if result.waits:
            queue = trades[position:]
            state.put(trade.trade_id, WaitingTrade(trades=queue, reason=result.reason, details=result.details))
            break
        state.put(trade.trade_id, RefusedTrade(reason=result.reason, details=result.details))
    return outcomes


def _close_earlier(trade: CapturedTrade, state: State, now_us: int) -> list[Outcome]:
    """Close what is open about an earlier version; one that waits is in line before this one, and closed by itself."""
    outcomes: list[Outcome] = []
    if trade.version == 1:
        return outcomes
    for earlier in (state.get(RefusedTrade, trade.trade_id), state.get(DoubtedTrade, trade.trade_id)):
        if earlier is not None:
            why = "was replaced by a later version"
            outcomes.append(_closing(_subject(trade), earlier.reason, earlier.details, why, now_us))
            state.delete(type(earlier), trade.trade_id)
    return outcomes


def _doubt(trade: EnrichedTrade, state: State, now_us: int) -> list[Outcome]:
    """Show reported accrued interest that the bond's terms contradict; the trade has gone on."""
    doubt = doubt_about(state.reference, trade)
    if doubt is None:
        return []
    state.put(trade.trade_id, doubt)
    return [_opening(_doubted(trade.trade_id, doubt), doubt.reason, doubt.details, now_us)]


class _Subject(NamedTuple):
    """What an exception is about."""

    trade_id: str
    order_id: str
    value: ValueAtRisk | None


def _subject(trade: CapturedTrade) -> _Subject:
    return _Subject(trade.trade_id, trade.order_id, value_of_report(trade))


def _doubted(trade_id: str, doubt: DoubtedTrade) -> _Subject:
    """The trade settles; what may be wrong with it is its interest."""
    return _Subject(trade_id, doubt.order_id, value_of_amount(doubt.accrued_interest, doubt.currency))


def _opening(subject: _Subject, reason: str, details: dict[str, str], now_us: int) -> Publish:
    message = f"{Reason[reason].meaning} Found: {_text(details)}."
    return _exception(subject, reason, details, ExceptionStatus.OPEN, message, now_us)


def _closing(subject: _Subject, reason: str, details: dict[str, str], why: str, now_us: int) -> Publish:
    message = f"Closed, because what it names {why}: {_text(details)}."
    return _exception(subject, reason, details, ExceptionStatus.CLOSED, message, now_us)


def _text(details: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in details.items())


def _exception(
    subject: _Subject, reason: str, details: dict[str, str], status: ExceptionStatus, message: str, now_us: int
) -> Publish:
    event = exception_event(
        service=NAME,
        reason=Reason[reason],
        status=status,
        about=About(subject.trade_id, subject.order_id, subject.value),
        message=message,
        details=details,
        now_us=now_us,
    )
    return Publish(topic=EXCEPTIONS_TOPIC, key=event.exception_id, event=event)
