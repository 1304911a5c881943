"""Runs dates.txt: each line through the rule, and through the enrichment stage."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from functools import cache
from typing import Any, NamedTuple

import pytest

from services.domain.calendar import DateProblem, settlement_date
from services.domain.code import InstrumentType, PriceType
from services.domain.event import EnrichedTrade, ExceptionEvent
from services.domain.reference import Instrument, ReferenceData, ReferenceRecord
from services.enrichment.process import EnrichmentStage
from services.stage import Publish
from tests import samples
from tests.memory_state import MemoryState
from tests.scenarios.scenario import FOLDER
from tests.unit.enrichment import desk
from tests.unit.reference_files.shipped import shipped_records, shipped_reference

TYPES = {
    "EQUITY": InstrumentType.EQUITY,
    "CORPORATE": InstrumentType.CORPORATE_BOND,
    "GOVERNMENT": InstrumentType.GOVERNMENT_BOND,
}
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


class Line(NamedTuple):
    """One line of the table."""

    number: int
    market: str
    instrument_type: InstrumentType
    currency: str
    traded: date
    settlement_type: str | None
    agreed: date | None
    issued: date | None
    settles: date | str
    """The date, or the reason."""
    details: dict[str, str]
    """What the exception names, as far as the table says it."""


def _day(words: list[str]) -> date | None:
    """Take a date with its day of the week, or `-`. Raises ValueError when the two contradict each other."""
    first = words.pop(0)
    if first == "-":
        return None
    day = date.fromisoformat(words.pop(0))
    if WEEKDAYS[day.weekday()] != first:
        raise ValueError(f"{day} was told to be a {first}")
    return day


def _line(number: int, words: list[str]) -> Line:
    market, kind, currency = (words.pop(0) for _ in range(3))
    traded = _day(words)
    assert traded is not None
    settlement_type = words.pop(0)
    agreed, issued = _day(words), _day(words)
    settles: date | str | None = _day(words) if words[0] in WEEKDAYS else words.pop(0)
    assert settles is not None
    return Line(
        number=number,
        market=market,
        instrument_type=TYPES[kind],
        currency=currency,
        traded=traded,
        settlement_type=None if settlement_type == "-" else settlement_type,
        agreed=agreed,
        issued=issued,
        settles=settles,
        details=dict(word.split("=", 1) for word in words),
    )


def read() -> list[Line]:
    """Every line of the table."""
    found = []
    for number, raw in enumerate((FOLDER / "dates.txt").read_text(encoding="utf-8").splitlines(), start=1):
        text = raw.split("#")[0].strip()
        if text and not text.startswith("=="):
            found.append(_line(number, text.split()))
    return found


LINES = read()


def name(line: Line) -> str:
    """Where the line is."""
    return f"dates.txt:{line.number}"


def details_of(line: Line, found: dict[str, str]) -> dict[str, str]:
    """Of the details those that the table tells."""
    return {name: value for name, value in found.items() if name in line.details}


@cache
def shipped() -> ReferenceData:
    """The shipped data, only looked at."""
    return shipped_reference()


def test_the_table_is_there() -> None:
    """A table that is not read passes for ever."""
    assert len(LINES) > 60


@pytest.mark.parametrize("line", LINES, ids=name)
def test_the_rule_by_itself(line: Line) -> None:
    """The date, or the reason with what it names."""
    found = settlement_date(
        shipped(),
        market=line.market,
        instrument_type=line.instrument_type,
        currency=line.currency,
        trade_date=line.traded,
        settlement_type=line.settlement_type,
        requested_settlement_date=line.agreed,
        issue_date=line.issued,
    )
    if isinstance(found, DateProblem):
        assert (found.reason, details_of(line, found.details)) == (line.settles, line.details)
    else:
        assert found == line.settles


def trade_of(line: Line) -> tuple[Any, tuple[ReferenceRecord, ...]]:
    """The captured trade of a line, and the reference data it needs beside what is shipped."""
    is_debt = line.instrument_type.is_debt
    trade = samples.captured_trade(
        currency=line.currency,
        price_type=PriceType.PERCENT_OF_PAR if is_debt else PriceType.PER_UNIT,
        trade_date=line.traded,
        settlement_type=line.settlement_type,
        requested_settlement_date=line.agreed,
        accrued_interest_amount=Decimal(0) if is_debt else None,
    )
    instrument: Instrument = desk.instrument(
        settlement_market=line.market, instrument_type=line.instrument_type, issue_date=line.issued
    )
    chains = (desk.settlement_instruction(owner, settlement_market=line.market) for owner in OWNERS)
    return trade, (instrument, desk.PARTY, desk.account(), *chains)


OWNERS = (samples.COUNTERPARTY_BIC, "FUND-A")


@pytest.mark.parametrize("line", LINES, ids=name)
def test_the_enrichment_stage(line: Line) -> None:
    """What goes out is an enriched trade with that date, or an exception with that reason."""
    trade, rows = trade_of(line)
    reference = ReferenceData()
    for row in (*_market_data(line.market, line.currency), *rows):
        reference.put(row)
    (outcome,) = EnrichmentStage().process([desk.received(trade)], MemoryState(reference), desk.NOW_US)
    assert isinstance(outcome, Publish)
    event = outcome.event
    if isinstance(event, EnrichedTrade):
        assert event.settlement_date == line.settles
        return
    assert isinstance(event, ExceptionEvent)
    assert (event.reason, details_of(line, event.details)) == (line.settles, line.details)


def _market_data(market: str, currency: str) -> tuple[ReferenceRecord, ...]:
    """The shipped rows of one market and currency: all that a line needs, and quicker to hold than all."""
    names = {market, f"SETTLEMENT:{market}", f"CURRENCY:{currency}"}
    return tuple(row for row in shipped_records() if names & set(row.lookup_ids()))
