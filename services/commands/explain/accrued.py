"""Why interest has accrued: services.domain.accrued_interest, as enrichment asks it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction

from services.commands.explain import readers
from services.commands.explain.kind import Answer, Basis, Case, CaseField, Kind, Step, day_text, refused
from services.domain.accrued_interest import (
    AccrualProblem,
    accrued_amount,
    accrued_per_unit,
    is_ex_dividend,
    tolerance_of,
)
from services.domain.day_count import CouponPeriod, coupon_period, year_fraction
from services.domain.money import EXACT, add
from services.domain.reason import Reason
from services.domain.reference import AccruedInterestTolerance, BondTerms, ReferenceData
from services.enrichment.accrued import anew
from services.enrichment.state import DoubtedTrade


def explain(case: Case, reference: ReferenceData) -> Answer:
    """The amount, the coupon period and the day count behind it, and whether a reported amount agrees."""
    isin: str = case["isin"]
    settles_on: date = case["settlement_date"]
    terms = reference.find(BondTerms, isin, on=settles_on)
    basis: tuple[Basis, ...] = () if terms is None else (Basis(terms, _terms(terms)),)
    per_unit = accrued_per_unit(reference, isin, settles_on)
    if isinstance(per_unit, AccrualProblem):
        return refused(per_unit.reason, per_unit.details, basis=basis)
    assert terms is not None
    amount = accrued_amount(per_unit, case["quantity"], currency=case["currency"])
    result: dict[str, object] = {"accrued_interest": f"{amount:f} {case['currency']}"}
    steps = _steps(reference, terms, settles_on, per_unit)
    if case["reported"] is not None:
        agrees, step, more = _compared(case, reference, amount, settles_on)
        result["reported_agrees"] = agrees
        steps.append(step)
        basis += more
    return Answer(
        result=result,
        rule=f"{terms.day_count}: from the last coupon date up to, and without, the settlement date; rounded once",
        steps=tuple(steps),
        basis=basis,
    )


def _steps(reference: ReferenceData, terms: BondTerms, settles_on: date, per_unit: Fraction) -> list[Step]:
    period = coupon_period(terms, settles_on)
    assert period is not None
    steps = [
        Step("coupon period", _period(period)),
        Step("accrued since its start", f"{year_fraction(terms, period.start, settles_on)} of a year"),
    ]
    if terms.coupon_rate and is_ex_dividend(reference, terms, settles_on, coupon_date=period.end):
        days = f"{terms.ex_dividend_days} days of {terms.ex_dividend_calendar or 'the calendar'}"
        why = f"settles behind the day {days} before the coupon: the seller keeps it, and interest is negative"
        steps.append(Step("ex-dividend", why))
    steps.append(Step("per unit of face amount", f"{_plain(terms.coupon_rate)} a year: {per_unit}"))
    if terms.per_hundred_digits is not None:
        steps.append(Step("rounded per 100 first", f"to {terms.per_hundred_digits} decimals, by the terms"))
    return steps


def _period(period: CouponPeriod) -> str:
    kind = "regular" if period.is_regular else "short or long"
    return f"{day_text(period.start)} to {day_text(period.end)}, {kind}"


def _compared(
    case: Case, reference: ReferenceData, amount: Decimal, settles_on: date
) -> tuple[bool, Step, tuple[Basis, ...]]:
    """Whether the reported amount (159) lies within tolerance of the computed one, as enrichment looks at it."""
    on = case["trade_date"] or settles_on
    tolerance = tolerance_of(reference, currency=case["currency"], face_amount=case["quantity"], on=on)
    doubt = DoubtedTrade(
        order_id="", isin=case["isin"], trade_date=on, settlement_date=settles_on, quantity=case["quantity"],
        currency=case["currency"], accrued_interest=case["reported"], reason=Reason.ACCRUED_INTEREST_DIFFERS,
        details={},
    )  # fmt: skip
    agrees = anew(reference, doubt) is None
    difference = f"{_plain(add(case['reported'], -amount))}, tolerance {_plain(tolerance)}"
    says = f"{'agrees' if agrees else 'differs'}: off by {difference}; what is reported settles"
    row = reference.find(AccruedInterestTolerance, case["currency"], on=on)
    return agrees, Step("reported (159)", says), () if row is None else (Basis(row, f"tolerance {_plain(tolerance)}"),)


def _terms(terms: BondTerms) -> str:
    coupons = f"{terms.coupons_a_year} a year" if terms.coupons_a_year else "at maturity"
    return f"{_plain(terms.coupon_rate)}, {coupons}, {terms.day_count}, matures {terms.maturity_date.isoformat()}"


def _plain(value: Decimal) -> str:
    return format(value.normalize(EXACT), "f")


KIND = Kind(
    name="accrued",
    summary="""Say how much interest has accrued on a bond, over which coupon period and by which day count.

    For example: posttrade explain accrued --isin GB0032452392 --settlement-date 2026-03-03 --quantity 100000
    --currency GBP --reference deploy/sample_day/data/reference
    """,
    fields=(
        CaseField("isin", "The bond, whose terms are in reference data.", readers.text, is_required=True),
        CaseField("settlement_date", "Settlement date, up to which interest accrues.", readers.day, is_required=True),
        CaseField("quantity", "Face amount (32).", readers.positive, is_required=True),
        CaseField("currency", "Currency (15).", readers.currency, is_required=True),
        CaseField("reported", "Accrued interest of the report (159), to compare.", readers.decimal),
        CaseField("trade_date", "Trade date (75), for the tolerance; the settlement date when left out.", readers.day),
    ),
    explain=explain,
)
