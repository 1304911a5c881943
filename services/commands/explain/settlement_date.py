"""Why a trade settles on a day: services.domain.calendar, as enrichment asks it."""

from __future__ import annotations

from datetime import date, timedelta

from services.commands.explain.kind import Answer, Basis, Case, Kind, Step, day_text, refused
from services.commands.explain.trade import DATE_FIELDS, INSTRUMENT_FIELDS, instrument_of, trade_of
from services.domain.calendar import (
    CalendarMissingError,
    DateDecision,
    DateProblem,
    DateRule,
    calendars_of,
    closure,
    coverage_row,
    decide,
)
from services.domain.event import CapturedTrade
from services.domain.reference import Instrument, ReferenceData

_ONE_DAY = timedelta(days=1)
_SENTENCES = {
    DateRule.AGREED_DATE: "AGREED_DATE: the agreed date (64) wins over 63 and the market's cycle, and must settle",
    DateRule.WHEN_ISSUED: "WHEN_ISSUED: 63 = 7 settles on the first settlement day from the day of issue on",
    DateRule.SPECIAL_CYCLE: "SPECIAL_CYCLE: 63 replaces the market's cycle",
    DateRule.MARKET_CYCLE: "MARKET_CYCLE: the market's cycle on the trade date; a row for the type wins",
}


def decision_of(reference: ReferenceData, trade: CapturedTrade, instrument: Instrument) -> DateDecision:
    """Ask the rule what enrichment asks it."""
    return decide(
        reference,
        instrument.settlement_market,
        instrument.instrument_type,
        trade.currency,
        trade.trade_date,
        trade.settlement_type,
        trade.requested_settlement_date,
        instrument.issue_date,
    )


def sentence(decision: DateDecision) -> str:
    """The rule in words, with the days it counted."""
    counted = "" if decision.days is None else f": T+{decision.days}"
    return f"{_SENTENCES[decision.rule]}{counted}"


def explain(case: Case, reference: ReferenceData) -> Answer:
    """The date, the days that were counted and left out, and the rows behind them."""
    found = instrument_of(case, reference)
    if isinstance(found, Answer):
        return found
    instrument, basis = found
    trade = trade_of(case, instrument)
    if isinstance(trade, Answer):
        return trade
    decision = decision_of(reference, trade, instrument)
    if decision.cycle is not None:
        kind = decision.cycle.instrument_type or "all types"
        basis += (Basis(decision.cycle, f"T+{decision.cycle.days} for {kind}"),)
    steps, rows = _way(reference, trade, instrument, decision)
    basis += rows
    if isinstance(decision.result, DateProblem):
        return refused(decision.result.reason, decision.result.details, steps=steps, basis=basis)
    result = {"settlement_date": decision.result.isoformat(), "weekday": decision.result.strftime("%A")}
    return Answer(result=result, rule=sentence(decision), steps=steps, basis=basis)


def _way(
    reference: ReferenceData, trade: CapturedTrade, instrument: Instrument, decision: DateDecision
) -> tuple[tuple[Step, ...], tuple[Basis, ...]]:
    """Every day that was looked at, and the rows that closed it or by which it is known."""
    market = instrument.settlement_market
    steps: list[Step] = []
    rows: list[Basis] = []
    counted = 0
    for day in _days(decision):
        try:
            closed = closure(reference, market=market, currency=trade.currency, day=day)
        except CalendarMissingError as missing:
            steps.append(Step(day_text(day), f"calendar {missing.calendar} does not know this day"))
            break
        if closed is None:
            counted += 1
            steps.append(Step(day_text(day), f"settlement day {counted}" if decision.days else "settlement day"))
        elif closed.holiday is None:
            steps.append(Step(day_text(day), "weekend"))
        else:
            steps.append(Step(day_text(day), f"closed: {closed.calendar}, {closed.holiday.name}"))
            rows.append(Basis(closed.holiday, f"closed on {day_text(day)}"))
    for calendar in calendars_of(market, trade.currency):
        rows += _coverage(reference, calendar, decision)
    return tuple(steps), tuple(rows)


def _days(decision: DateDecision) -> list[date]:
    """The days the rule looked at, as far as they are known from what it answered."""
    first = decision.start + _ONE_DAY if decision.days else decision.start
    match decision.result:
        case date() as last:
            pass
        case DateProblem(details={"calendar": _, "day": day}):
            last = date.fromisoformat(day)
        case _:
            last = first if decision.rule is DateRule.AGREED_DATE else first - _ONE_DAY
    return [first + number * _ONE_DAY for number in range((last - first).days + 1)]


def _coverage(reference: ReferenceData, calendar: str, decision: DateDecision) -> list[Basis]:
    if not isinstance(decision.result, date):
        return []
    row = coverage_row(reference, calendar, decision.result)
    return [] if row is None else [Basis(row, f"known from {row.first_day.isoformat()} to {row.last_day.isoformat()}")]


KIND = Kind(
    name="settlement-date",
    summary="""Say when a trade settles, and which cycle, holiday and calendar led to it.

    For example: posttrade explain settlement-date --market US --instrument-type EQUITY --currency USD --trade-date
    2026-10-09
    """,
    fields=(*INSTRUMENT_FIELDS, *DATE_FIELDS),
    explain=explain,
)
