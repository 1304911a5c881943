"""Fees, taxes and levies of one fill, from the ChargeRule rows of its market."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from services.domain import money
from services.domain.code import VenueKind
from services.domain.event import CapturedTrade, Charge
from services.domain.reference import ChargeExemption, ChargeRule, Instrument, ReferenceData

TRADE_DATE = "TRADE_DATE"
SETTLEMENT_DATE = "SETTLEMENT_DATE"
_NOTHING = Decimal(0)


def charges_of(
    reference: ReferenceData,
    trade: CapturedTrade,
    instrument: Instrument,
    *,
    gross_amount: Decimal,
    settlement_date: date,
) -> tuple[Charge, ...]:
    """Every charge of the fill, rounded, in the order of charge_id; those that come to nothing are left out.

    A fill without cash (a cancellation that carries no economics) has none, not even fixed ones.
    """
    if gross_amount == _NOTHING:
        return ()
    rules = rule_rows(reference, instrument, trade_date=trade.trade_date, settlement_date=settlement_date)
    charges = []
    for rule in rules:
        if not _applies(rule, trade, instrument, gross_amount):
            continue
        if _is_exempt(reference, rule, instrument.isin, trade.trade_date, settlement_date):
            continue
        amount = _amount(rule, quantity=trade.quantity, gross_amount=gross_amount)
        if amount != _NOTHING:
            charges.append(
                Charge(charge_id=rule.charge_id, charge_type=rule.charge_type, amount=amount, currency=rule.currency)
            )
    return tuple(charges)


def _effective_rules(
    reference: ReferenceData, market: str, trade_date: date, settlement_date: date
) -> tuple[ChargeRule, ...]:
    """The row of each charge that holds on the date the charge goes by; the latest valid_from wins, as everywhere."""
    rows = [row for row in reference.find_all(ChargeRule, market, on=trade_date) if row.effective_by == TRADE_DATE]
    rows += [
        row for row in reference.find_all(ChargeRule, market, on=settlement_date) if row.effective_by == SETTLEMENT_DATE
    ]
    latest: dict[str, ChargeRule] = {}
    for row in rows:
        known = latest.get(row.charge_id)
        if known is None or row.valid_from > known.valid_from:
            latest[row.charge_id] = row
    return tuple(latest[charge_id] for charge_id in sorted(latest))


def _applies(rule: ChargeRule, trade: CapturedTrade, instrument: Instrument, gross_amount: Decimal) -> bool:
    if instrument.instrument_type not in rule.instrument_types:
        return False
    if rule.side is not None and rule.side is not trade.side.settles_as:
        return False
    if rule.issuer_country is not None and rule.issuer_country != instrument.issuer_country:
        return False
    if rule.currency != trade.currency:
        return False
    if rule.venue_kind is not None and rule.venue_kind is not VenueKind.of(trade.venue):
        return False
    return rule.threshold_amount is None or gross_amount > rule.threshold_amount


def _is_exempt(reference: ReferenceData, rule: ChargeRule, isin: str, trade_date: date, settlement_date: date) -> bool:
    """Whether the charge spares the instrument on the date the charge goes by."""
    on = trade_date if rule.effective_by == TRADE_DATE else settlement_date
    return reference.find(ChargeExemption, f"{rule.charge_id}:{isin}", on=on) is not None


def _amount(rule: ChargeRule, *, quantity: Decimal, gross_amount: Decimal) -> Decimal:
    """The charge before rounding is exact; the cap is applied to it, then it is rounded once."""
    amount = money.add(
        money.multiply(gross_amount, rule.rate_of_gross),
        money.multiply(quantity, rule.rate_per_unit),
        rule.fixed_amount,
    )
    if rule.cap_amount is not None:
        amount = min(amount, rule.cap_amount)
    if rule.rounding_unit is None:
        return money.round_amount(amount, currency=rule.currency, mode=rule.rounding)
    units = money.round_quotient(amount, rule.rounding_unit, digits=0, mode=rule.rounding)
    return money.round_amount(money.multiply(units, rule.rounding_unit), currency=rule.currency)


def rule_rows(
    reference: ReferenceData, instrument: Instrument, *, trade_date: date, settlement_date: date
) -> tuple[ChargeRule, ...]:
    """The rows that `charges_of` goes through: of each charge of the market the one that holds on its date."""
    return reference.derived(_effective_rules, instrument.settlement_market, trade_date, settlement_date)
