"""Why an account is given what it is: services.allocation.division, as allocation asks it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction

from services.allocation.division import QuantityDivision, divide_amount, quantity_division
from services.commands.explain import readers
from services.commands.explain.kind import Answer, Basis, Case, CaseError, CaseField, Kind, Step, refused
from services.domain.money import EXACT, Apportionment, add, apportionment, is_in_units, minor_unit_digits
from services.domain.reason import Reason
from services.domain.reference import AllocationTemplate, Instrument, ReferenceData

Shares = Sequence[tuple[str, Decimal]]


def explain(case: Case, reference: ReferenceData) -> Answer:
    """Quantity and cash of each account, and who was given what does not divide."""
    found = _shares(case, reference)
    if isinstance(found, Answer):
        return found
    shares, basis = found
    denomination, more = _denomination(case, reference)
    division = quantity_division(case["quantity"], [weight for _, weight in shares], denomination=denomination)
    steps = _quantity_steps(case["quantity"], shares, division, denomination)
    result: dict[str, object] = {
        "quantity": {account: _plain(part) for (account, _), part in zip(shares, division.quantities, strict=True)}
    }
    if case["amount"] is not None:
        amounts, cash_steps = _cash(case, shares, division.quantities)
        result["amount"] = {account: f"{part:f}" for (account, _), part in zip(shares, amounts, strict=True)}
        steps += cash_steps
    return Answer(
        result=result,
        rule="largest remainder in whole denominations, ties to the earlier account; cash by quantity alike",
        steps=tuple(steps),
        basis=basis + more,
    )


def _shares(case: Case, reference: ReferenceData) -> tuple[Shares, tuple[Basis, ...]] | Answer:
    """The shares of the case, or of the standing template of its block account. Raises CaseError."""
    if case["share"] and case["account"] is not None:
        raise CaseError("share and account exclude each other: give the shares, or the account that has a template")
    if case["account"] is None:
        shares: Shares = case["share"]
        basis: tuple[Basis, ...] = ()
    else:
        on = _trade_date(case, "account")
        row = reference.find(AllocationTemplate, case["account"], on=on)
        if row is None:
            details = {"account": case["account"], "on": on.isoformat()}
            return refused(Reason.ALLOCATION_TEMPLATE_MISSING, details)
        shares = tuple((share.account, share.weight) for share in row.shares)
        basis = (Basis(row, ", ".join(f"{account} {_plain(weight)}" for account, weight in shares)),)
    if not shares:
        raise CaseError("no share was given: give share ACCOUNT=WEIGHT for each, or account and trade_date")
    if len({account for account, _ in shares}) != len(shares):
        raise CaseError("an account has two shares; give each account once")
    if not any(weight for _, weight in shares):
        raise CaseError("all weights are 0; give at least one above 0")
    return shares, basis


def _trade_date(case: Case, needed_for: str) -> date:
    on: date | None = case["trade_date"]
    if on is None:
        raise CaseError(f"trade_date is missing; reference data for {needed_for} is looked up on it")
    return on


def _denomination(case: Case, reference: ReferenceData) -> tuple[Decimal, tuple[Basis, ...]]:
    """Smallest quantity that can be settled: given, the instrument's, or 1."""
    if case["denomination"] is not None or case["isin"] is None:
        return case["denomination"] or Decimal(1), ()
    on = _trade_date(case, "isin")
    row = reference.find(Instrument, f"ISIN:{case['isin']}", on=on)
    if row is None:
        raise CaseError(f"instrument {case['isin']} is not in reference data on {on}; give denomination")
    return row.denomination, (Basis(row, f"denomination {_plain(row.denomination)}"),)


def _quantity_steps(quantity: Decimal, shares: Shares, division: QuantityDivision, denomination: Decimal) -> list[Step]:
    total = sum((Fraction(weight) for _, weight in shares), Fraction(0))
    steps = [
        Step(
            account,
            f"weight {_plain(weight)} of {_fraction(total)}: exactly "
            f"{_fraction(Fraction(quantity) * Fraction(weight) / total)}, given {_plain(part)}",
        )
        for (account, weight), part in zip(shares, division.quantities, strict=True)
    ]
    steps += _remainder_steps(shares, division.lots, f"one denomination ({_plain(denomination)})")
    if division.residue:
        why = "it is no whole denomination and stays in one place, the largest share"
        steps.append(Step(shares[division.residue_to][0], f"{_plain(division.residue)} more: {why}"))
    return steps


def _remainder_steps(shares: Shares, divided: Apportionment, unit: str) -> list[Step]:
    """Who was given a unit more, and by which remainder."""
    return [
        Step(
            shares[index][0],
            f"{unit} more: remainder {_fraction(Fraction(divided.remainders[index], divided.weight_total))}, "
            f"{_rank(place, index, divided)}",
        )
        for place, index in enumerate(divided.favoured, start=1)
    ]


def _rank(place: int, index: int, divided: Apportionment) -> str:
    tied = [other for other, rest in enumerate(divided.remainders) if rest == divided.remainders[index]]
    ranked = "the largest" if place == 1 else f"number {place} by size"
    return ranked if len(tied) == 1 else f"{ranked}; of equal remainders the earlier account"


def _cash(case: Case, shares: Shares, quantities: Sequence[Decimal]) -> tuple[tuple[Decimal, ...], list[Step]]:
    if case["currency"] is None:
        raise CaseError("currency is missing; the amount is divided in its minor unit")
    digits, amount = minor_unit_digits(case["currency"]), case["amount"]
    if not is_in_units(amount, digits=digits):
        raise CaseError(f"amount was {amount}, finer than the minor unit of {case['currency']}; round it first")
    amounts = divide_amount(
        amount, quantities, given_quantity=Decimal(0), whole_quantity=add(*quantities), digits=digits
    )
    divided = apportionment(amount, quantities, digits=digits)
    unit = Decimal(1).scaleb(-digits, context=EXACT)
    return amounts, _remainder_steps(shares, divided, f"{unit:f} {case['currency']}")


def _fraction(value: Fraction) -> str:
    """A fraction as a decimal where it is one, else as it is."""
    whole, rest = divmod(value.numerator, value.denominator)
    if not rest:
        return str(whole)
    return f"{whole} {rest}/{value.denominator}" if whole else f"{rest}/{value.denominator}"


def _plain(value: Decimal) -> str:
    return format(value.normalize(EXACT), "f")


KIND = Kind(
    name="allocation",
    summary="""Say how a block is divided among accounts, and which account was given what does not divide.

    For example: posttrade explain allocation --quantity 1000 --share FUND-A=1 --share FUND-B=1 --share FUND-C=1
    --amount 100000.00 --currency EUR
    """,
    fields=(
        CaseField("quantity", "Quantity of the block.", readers.positive, is_required=True),
        CaseField(
            "share",
            "ACCOUNT=WEIGHT, in the order in which ties are broken; percentages are weights.",
            readers.share,
            is_list=True,
        ),
        CaseField("account", "Block account, to divide by its standing template.", readers.text),
        CaseField("trade_date", "Trade date (75), on which reference data is looked up.", readers.day),
        CaseField("isin", "Instrument, for its denomination.", readers.text),
        CaseField("denomination", "Smallest quantity that can be settled; 1 when left out.", readers.positive),
        CaseField("amount", "Cash of the block to divide by quantity.", readers.decimal),
        CaseField("currency", "Currency of the amount.", readers.currency),
    ),
    explain=explain,
)
