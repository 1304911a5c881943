"""A trade out of a case: what the case says, and for the rest whatever the rules do not look at."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from services.capture.rules import refusal_of_execution
from services.commands.explain import readers
from services.commands.explain.kind import Answer, Basis, Case, CaseError, CaseField, refused
from services.domain.checks import isin_check_digit
from services.domain.code import ExecutionType, InstrumentType, PriceType, SecurityIdSource, Side
from services.domain.event import CapturedTrade
from services.domain.reason import Reason
from services.domain.reference import Instrument, ReferenceData

_NOBODY_S_ISIN = "ZZ000000000" + isin_check_digit("ZZ000000000")
_NOWHERE = "XXXX"

INSTRUMENT_FIELDS = (
    CaseField("security_id", "Identifier of the instrument (48), to look the rest up in reference data.", readers.text),
    CaseField("security_id_source", "Its scheme (22): ISIN (taken when left out), SEDOL or CUSIP.",
              readers.one_of(SecurityIdSource)),
    CaseField("market", "Settlement market, for example US, GB, DE; without security_id.", readers.market),
    CaseField("instrument_type", "EQUITY, ETF, GOVERNMENT_BOND or CORPORATE_BOND; without security_id.",
              readers.one_of(InstrumentType)),
)  # fmt: skip
DATE_FIELDS = (
    CaseField("currency", "Settlement currency (15); the instrument's when left out.", readers.currency),
    CaseField("trade_date", "Trade date (75), YYYY-MM-DD.", readers.day, is_required=True),
    CaseField("settlement_type", "SettlType (63): 0 regular, 1 T+0, 2 T+1, 3 T+2, 4 T+3, 5 T+4, 9 T+5, 7 when issued, "
              "6, 8, B.", readers.text),
    CaseField("requested_settlement_date", "Agreed settlement date (64); wins over 63.", readers.day),
    CaseField("issue_date", "Day the security is issued, for 63 = 7; the instrument's when left out.", readers.day),
)  # fmt: skip


def instrument_of(case: Case, reference: ReferenceData) -> tuple[Instrument, tuple[Basis, ...]] | Answer:
    """The instrument of reference data with what the case says otherwise, or one that the case describes.

    An answer when reference data does not hold it, as enrichment would refuse the trade. Raises CaseError.
    """
    basis: tuple[Basis, ...] = ()
    found: Instrument | None = None
    if case["security_id"] is not None:
        source = case["security_id_source"] or SecurityIdSource.ISIN
        name = f"{source}:{case['security_id']}"
        found = reference.find(Instrument, name, on=case["trade_date"])
        if found is None:
            on = case["trade_date"].isoformat()
            return refused(Reason.INSTRUMENT_MISSING, {"instrument": name, "on": on})
        basis = (Basis(found, f"{found.name}: {found.instrument_type} in {found.settlement_market}"),)
    missing = [name for name in ("market", "instrument_type", "currency") if found is None and case[name] is None]
    if missing:
        raise CaseError(f"{' and '.join(missing)} is missing; give it, or the instrument as security_id")
    return _described(case, found), basis


def _described(case: Case, found: Instrument | None) -> Instrument:
    fields: dict[str, Any] = {
        "isin": found.isin if found else _NOBODY_S_ISIN,
        "name": found.name if found else "",
        "instrument_type": case["instrument_type"] or (found and found.instrument_type),
        "settlement_market": case["market"] or (found and found.settlement_market),
        "currency": found.currency if found else case["currency"],
        "issuer_country": case.get("issuer_country") or (found.issuer_country if found else case["market"]),
        "denomination": found.denomination if found else Decimal(1),
        "issue_date": case["issue_date"] or (found and found.issue_date),
    }
    return Instrument(**fields)


def trade_of(case: Case, instrument: Instrument) -> CapturedTrade | Answer:
    """The trade as capture would have let it through; an answer when capture would refuse it."""
    price_type = PriceType.PERCENT_OF_PAR if instrument.instrument_type.is_debt else PriceType.PER_UNIT
    quantity: Decimal = case.get("quantity") or Decimal(1)
    trade = CapturedTrade(
        sender="EXPLAIN",
        execution_id="1",
        execution_type=ExecutionType.TRADE,
        order_id="1",
        account="1",
        side=case.get("side") or Side.BUY,
        security_id=case["security_id"] or instrument.isin,
        security_id_source=case["security_id_source"] or SecurityIdSource.ISIN,
        quantity=quantity,
        price=case.get("price") or Decimal(1),
        price_type=case.get("price_type") or price_type,
        currency=case["currency"] or instrument.currency,
        venue=case.get("venue") or _NOWHERE,
        trade_date=case["trade_date"],
        transaction_time_us=0,
        settlement_type=case["settlement_type"],
        requested_settlement_date=case["requested_settlement_date"],
        counterparty=f"{_NOWHERE}{_NOWHERE}",
        commission=case.get("commission"),
        commission_type=case.get("commission_type"),
        contract_multiplier=case.get("contract_multiplier"),
        cumulative_quantity=quantity,
        leaves_quantity=Decimal(0),
        trade_id="1",
        version=1,
        received_at_us=0,
    )
    refusal = refusal_of_execution(trade, key=trade.order_id)
    return trade if refusal is None else refused(refusal.reason, refusal.details)
