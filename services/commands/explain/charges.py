"""Why a trade is charged what it is: services.enrichment.charges, as enrichment asks it."""

from __future__ import annotations

from decimal import Decimal

from services.commands.explain import readers
from services.commands.explain.kind import Answer, Basis, Case, CaseField, Kind, Step, refused
from services.commands.explain.settlement_date import decision_of, sentence
from services.commands.explain.trade import DATE_FIELDS, INSTRUMENT_FIELDS, instrument_of, trade_of
from services.domain.calendar import DateProblem
from services.domain.code import CommissionType, Side
from services.domain.event import CapturedTrade, Charge
from services.domain.money import EXACT, add
from services.domain.reference import ChargeRule, ReferenceData
from services.enrichment.charges import charges_of, rule_rows
from services.enrichment.commission import COMMISSION, with_commission
from services.enrichment.rules import gross_amount

_ALL = "all"


def explain(case: Case, reference: ReferenceData) -> Answer:
    """Gross amount, each charge, and for each charge of the market the row that held on its date."""
    found = instrument_of(case, reference)
    if isinstance(found, Answer):
        return found
    instrument, basis = found
    trade = trade_of(case, instrument)
    if isinstance(trade, Answer):
        return trade
    decision = decision_of(reference, trade, instrument)
    if isinstance(decision.result, DateProblem):
        return refused(decision.result.reason, decision.result.details, basis=basis)
    settles_on, gross = decision.result, gross_amount(trade)
    charges = charges_of(reference, trade, instrument, gross_amount=gross, settlement_date=settles_on)
    if trade.commission is not None:
        charges = with_commission(charges, trade, gross_amount=gross)
    due = {charge.charge_id: charge for charge in charges}
    rows = rule_rows(reference, instrument, trade_date=trade.trade_date, settlement_date=settles_on)
    if decision.cycle is not None:
        basis += (Basis(decision.cycle, f"T+{decision.cycle.days}"),)
    return Answer(
        result={
            "charges": {charge.charge_id: f"{charge.amount:f} {charge.currency}" for charge in charges},
            "total": f"{add(*[charge.amount for charge in charges]):f} {trade.currency}",
            "gross_amount": f"{gross:f} {trade.currency}",
            "settlement_date": settles_on.isoformat(),
        },
        rule="of each charge of the market the row that holds on its date; exact, then capped, then rounded once",
        steps=(
            Step("gross amount", f"{trade.quantity:f} at {trade.price:f} {trade.price_type}"),
            Step("settlement date", sentence(decision)),
            *(Step(row.charge_id, _outcome(row, due.get(row.charge_id))) for row in rows),
            *(Step(COMMISSION, _commission(trade, charge)) for charge in charges if charge.charge_id == COMMISSION),
        ),
        basis=basis + tuple(Basis(row, _terms(row)) for row in rows),
    )


def _outcome(row: ChargeRule, charge: Charge | None) -> str:
    by = row.effective_by.replace("_", " ").lower()
    if charge is None:
        return f"nothing due (row by {by}): {_condition(row)}"
    return f"{charge.amount:f} {charge.currency} (row by {by})"


def _commission(trade: CapturedTrade, charge: Charge) -> str:
    """What FIX 12 and 13 say; no row of reference data is asked."""
    assert trade.commission is not None
    return f"{charge.amount:f} {charge.currency} (12, 13: {_plain(trade.commission)} {trade.commission_type})"


def _condition(row: ChargeRule) -> str:
    """Whom the row is for."""
    types = ", ".join(row.instrument_types)
    parts = [f"{row.side or 'both'} side{'' if row.side else 's'}", types, f"in {row.currency}"]
    if row.issuer_country is not None:
        parts.append(f"issuers of {row.issuer_country}")
    if row.venue_kind is not None:
        parts.append(str(row.venue_kind))
    if row.threshold_amount is not None:
        parts.append(f"above {_plain(row.threshold_amount)}")
    return f"the row is for {'; '.join(parts)}"


def _terms(row: ChargeRule) -> str:
    """What the row takes."""
    parts = []
    if row.rate_of_gross:
        parts.append(f"{_plain(row.rate_of_gross)} of gross")
    if row.rate_per_unit:
        parts.append(f"{_plain(row.rate_per_unit)} a unit")
    if row.fixed_amount:
        parts.append(f"{_plain(row.fixed_amount)} a trade")
    if row.cap_amount is not None:
        parts.append(f"at most {_plain(row.cap_amount)}")
    unit = "the minor unit" if row.rounding_unit is None else _plain(row.rounding_unit)
    return f"{', '.join(parts) or 'rate 0'}; {row.rounding} to {unit}"


def _plain(value: Decimal) -> str:
    return format(value.normalize(EXACT), "f")


KIND = Kind(
    name="charges",
    summary="""Say which fees, taxes and levies a fill is charged, and by which row of which date.

    For example: posttrade explain charges --market US --instrument-type EQUITY --currency USD --trade-date 2026-04-02
    --side SELL --quantity 1000 --price 250
    """,
    fields=(
        *INSTRUMENT_FIELDS,
        CaseField("issuer_country", "Country of the issuer; the market's when left out.", readers.country),
        CaseField("side", "Side (54): BUY, SELL or SELL_SHORT.", readers.one_of(Side), is_required=True),
        CaseField("quantity", "Units, or face amount (32).", readers.positive, is_required=True),
        CaseField("price", "Price per unit, or percent of par for debt (31).", readers.positive, is_required=True),
        CaseField("venue", "Venue (30), a MIC.", readers.text),
        CaseField("commission", "Commission (12).", readers.decimal),
        CaseField(
            "commission_type",
            "What it is (13): PER_UNIT, PERCENT, ABSOLUTE or PER_BOND.",
            readers.one_of(CommissionType),
        ),
        CaseField("contract_multiplier", "Face amount of one bond (231), for PER_BOND.", readers.positive),
        *DATE_FIELDS,
    ),
    explain=explain,
)
