"""What is explained is what the services do: generated cases through the command's reader and rule, and the stage."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from functools import cache
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.commands.explain import allocation, charges, identifier, settlement_date
from services.commands.explain.cases import parse_object, read_case
from services.commands.explain.kind import Answer, Kind
from services.domain import checks
from services.domain.code import AllocationPolicy, InstrumentType, PriceType, SecurityIdSource, Side
from services.domain.event import CapturedTrade, EnrichedTrade, ExceptionEvent
from services.domain.reference import ReferenceData, ReferenceRecord
from services.enrichment.process import EnrichmentStage
from services.stage import Publish
from tests import samples
from tests.memory_state import MemoryState
from tests.scenarios import test_dates
from tests.unit.allocation import desk as allocation_desk
from tests.unit.capture import desk as capture_desk
from tests.unit.enrichment import desk
from tests.unit.reference_files.shipped import shipped_reference

CASES = settings(max_examples=500, deadline=None)
MARKETS = ("US", "GB", "DE", "FR", "IT", "CH", "JP", "HK", "CN", "IN", "BR")
SPAN = st.dates(date(2024, 1, 1), date(2030, 12, 31))


@cache
def shipped() -> ReferenceData:
    """The shipped data with everything that a sample trade needs beside it in each market."""
    owners = (samples.COUNTERPARTY_BIC, "FUND-A")
    chains = [desk.settlement_instruction(owner, settlement_market=market) for owner in owners for market in MARKETS]
    return shipped_reference(desk.PARTY, desk.account(), *chains)


def explained(kind: Kind, case: dict[str, Any], *more: ReferenceRecord) -> Answer:
    """The answer to the case as it would come on standard input."""
    reference = shipped()
    for row in more:
        reference.put(row)
    return kind.explain(read_case(kind, parse_object(json.dumps(case, default=str))), reference)


def enriched(trade: CapturedTrade) -> EnrichedTrade | ExceptionEvent:
    """What the enrichment stage makes of the trade."""
    (outcome,) = EnrichmentStage().process([desk.received(trade)], MemoryState(shipped()), desk.NOW_US)
    assert isinstance(outcome, Publish)
    assert isinstance(outcome.event, EnrichedTrade | ExceptionEvent)
    return outcome.event


@CASES
@given(
    market=st.sampled_from(MARKETS),
    instrument_type=st.sampled_from(InstrumentType),
    issuer_country=st.sampled_from(("US", "GB", "FR", "HK")),
    currency=st.sampled_from(("USD", "GBP", "EUR", "CHF", "JPY", "HKD", "CNY", "SEK")),
    trade_date=SPAN,
    settlement_type=st.sampled_from((None, None, None, *"0123456789B")),
    agreed_after=st.none() | st.integers(0, 40),
    issued_after=st.none() | st.integers(-3, 20),
    side=st.sampled_from(Side),
    quantity=st.decimals("0.01", "5000000", places=2),
    price=st.decimals("0.01", "2000", places=4).filter(lambda price: price > 0),
)
def test_dates_and_charges_are_those_of_enrichment(
    *,
    market: str,
    instrument_type: InstrumentType,
    issuer_country: str,
    currency: str,
    trade_date: date,
    settlement_type: str | None,
    agreed_after: int | None,
    issued_after: int | None,
    side: Side,
    quantity: Decimal,
    price: Decimal,
) -> None:
    """The settlement date, every charge and the gross amount; or the reason, with all that it names."""

    def after(days: int | None) -> date | None:
        return None if days is None else date.fromordinal(trade_date.toordinal() + days)

    agreed, issued = after(agreed_after), after(issued_after)
    instrument = desk.instrument(
        settlement_market=market, instrument_type=instrument_type, issuer_country=issuer_country, issue_date=issued
    )
    shipped().put(instrument)
    found = enriched(
        samples.captured_trade(
            currency=currency,
            price_type=PriceType.PERCENT_OF_PAR if instrument_type.is_debt else PriceType.PER_UNIT,
            trade_date=trade_date,
            settlement_type=settlement_type,
            requested_settlement_date=agreed,
            side=side,
            quantity=quantity,
            price=price,
            accrued_interest_amount=Decimal(0) if instrument_type.is_debt else None,
        )
    )
    case = {
        "market": market, "instrument_type": instrument_type, "currency": currency, "trade_date": trade_date,
        "settlement_type": settlement_type, "requested_settlement_date": agreed, "issue_date": issued,
    }  # fmt: skip
    by_name = {"security_id": instrument.isin} | {
        name: value for name, value in case.items() if name not in ("market", "instrument_type", "issue_date")
    }
    fill = {"side": side, "quantity": quantity, "price": price}
    _same_date(explained(settlement_date.KIND, case), found)
    _same_date(explained(settlement_date.KIND, by_name), found)
    _same_charges(explained(charges.KIND, case | fill | {"issuer_country": issuer_country}), found)
    _same_charges(explained(charges.KIND, by_name | fill), found)


def _same_reason(answer: Answer, found: ExceptionEvent) -> None:
    assert answer.result["reason"] == found.reason
    for name, value in found.details.items():
        assert name == "isin" or f"{name} {value}" in answer.result["found"]


def _same_date(answer: Answer, found: EnrichedTrade | ExceptionEvent) -> None:
    if isinstance(found, ExceptionEvent):
        _same_reason(answer, found)
    else:
        assert answer.result["settlement_date"] == found.settlement_date.isoformat()


def _same_charges(answer: Answer, found: EnrichedTrade | ExceptionEvent) -> None:
    if isinstance(found, ExceptionEvent):
        _same_reason(answer, found)
        return
    due = {charge.charge_id: f"{charge.amount:f} {charge.currency}" for charge in found.charges}
    assert answer.result["charges"] == due
    assert answer.result["gross_amount"] == f"{found.gross_amount:f} {found.currency}"
    assert set(due) <= {getattr(basis.row, "charge_id", "") for basis in answer.basis}


def test_every_line_of_the_scenario_table_is_explained_the_same() -> None:
    """The table of the desk, asked a third time."""
    for line in test_dates.LINES:
        case = {
            "market": line.market, "instrument_type": line.instrument_type, "currency": line.currency,
            "trade_date": line.traded, "settlement_type": line.settlement_type,
            "requested_settlement_date": line.agreed, "issue_date": line.issued,
        }  # fmt: skip
        result = explained(settlement_date.KIND, case).result
        if isinstance(line.settles, date):
            assert result["settlement_date"] == line.settles.isoformat(), test_dates.name(line)
        else:
            assert result["reason"] == line.settles, test_dates.name(line)
            assert all(f"{name} {value}" in result["found"] for name, value in line.details.items())


# --- allocation ------------------------------------------------------------------------------------------------------


@settings(max_examples=500, deadline=None)
@given(
    quantity=st.integers(1, 10**7).map(Decimal),
    weights=st.lists(st.integers(0, 1_000), min_size=3, max_size=3).filter(any),
    denomination=st.sampled_from(("1", "10", "100", "0.5")),
    price=st.integers(1, 10**6).map(lambda cents: Decimal(cents).scaleb(-2)),
)
def test_shares_and_cash_are_those_of_the_allocation_stage(
    quantity: Decimal, weights: list[int], denomination: str, price: Decimal
) -> None:
    """A block by template: the same accounts with the same quantity and gross amount, and it all adds up."""
    weighted = {name: str(weight) for name, weight in zip(allocation_desk.ACCOUNTS, weights, strict=True)}
    gross = quantity * price
    reference = allocation_desk.reference_data(AllocationPolicy.TEMPLATE)
    reference.put(allocation_desk.instrument(denomination))
    reference.put(allocation_desk.template("FUND-A", **weighted))
    trade = samples.enriched_trade(
        quantity=quantity, cumulative_quantity=quantity, price=price, gross_amount=gross, net_amount=gross
    )
    shares = allocation_desk.allocated(allocation_desk.run(MemoryState(reference), trade))
    case = {
        "quantity": quantity, "denomination": denomination, "amount": gross, "currency": "EUR",
        "share": weighted,
    }  # fmt: skip
    result = explained(allocation.KIND, case).result
    quantities = {name: Decimal(part) for name, part in result["quantity"].items() if Decimal(part)}
    assert quantities == {share.account: share.quantity for share in shares}
    amounts = {name: Decimal(part) for name, part in result["amount"].items() if name in quantities}
    assert amounts == {share.account: share.gross_amount for share in shares}
    assert sum(quantities.values()) == quantity
    assert sum(amounts.values()) == gross


# --- identifiers -----------------------------------------------------------------------------------------------------

LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ0123456789"
BODIES = {SecurityIdSource.ISIN: 11, SecurityIdSource.SEDOL: 6, SecurityIdSource.CUSIP: 8}


@CASES
@given(
    scheme=st.sampled_from(SecurityIdSource),
    body=st.text(LETTERS, min_size=11, max_size=11),
    digit=st.sampled_from("0123456789"),
    length=st.sampled_from((0, 0, 0, 0, -1, 1)),
)
def test_an_identifier_is_valid_when_capture_takes_it(
    scheme: SecurityIdSource, body: str, digit: str, length: int
) -> None:
    """What is called right is captured, what is called wrong is refused, and the proposed digit makes it right."""
    value = body[: BODIES[scheme] + length] + digit
    taken = capture_desk.trades(
        capture_desk.Desk().take(samples.execution(security_id=value, security_id_source=scheme))
    )
    result = explained(identifier.KIND, {"value": value, "scheme": scheme}).result
    assert result["valid"] is bool(taken)
    if "expected" in result:
        assert checks.IS_SECURITY_ID[scheme](result["expected"])
        assert result["expected"][:-1] == value[:-1]
