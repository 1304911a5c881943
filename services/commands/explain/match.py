"""Why a confirmation matches or not: services.confirmation, as the confirmation stage asks it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from services.commands.explain import readers
from services.commands.explain.kind import Answer, Basis, Case, CaseError, CaseField, Kind, Step
from services.confirmation.rules import FieldComparison, compare, compared_fields, text
from services.confirmation.tolerances import Tolerances, allowance, tolerances_for, tolerances_of
from services.domain.code import ChargeType, InstrumentType, PriceType, Side
from services.domain.event import AllocatedTrade, Charge, ReceivedConfirmation, SettlementChain
from services.domain.money import add
from services.domain.reference import MatchingProfile, Party, ReferenceData

_NOBODY = "NOBODYXX"
_SIDES = ("ours", "theirs")
_ALIASES = {"average_price": "price"}
_DECIMALS = ("gross_amount", "accrued_interest", "commission", "charges")
_NOTHING = Decimal(0)


def explain(case: Case, reference: ReferenceData) -> Answer:
    """Matched or not, and field by field both values, what may lie between them, and the row that says so."""
    trade, confirmation = _ours(case), _theirs(case)
    tolerances, basis = _tolerances(case, trade, reference)
    comparison = compare(trade, confirmation, tolerances)
    fields = compared_fields(trade, confirmation, tolerances)
    pairing = tuple(
        Step(name, comparison.failures.get(name) or f"agree: {text(getattr(trade, name))}")
        for name in ("side", "isin", "account", "trade_date")
    )
    rows = {compared.row.key: compared.row for compared in fields if compared.row is not None}
    return Answer(
        result={
            "matches": not comparison.failures,
            "profile": tolerances.profile,
            "differ": ", ".join(comparison.failures) or "nothing beyond tolerance",
        },
        rule="what pairs the two must be equal; then each field under the row of the profile that is the most specific",
        steps=(*pairing, *(Step(compared.field.lower(), _told(compared)) for compared in fields)),
        basis=basis + tuple(Basis(row, _terms(row)) for row in rows.values()),
    )


def _told(compared: FieldComparison) -> str:
    """Both values, and how far they may be apart."""
    verdict = "agree" if compared.agrees else "differ"
    return f"{verdict}: ours {text(compared.ours)}, theirs {text(compared.theirs)}; {compared.code} {_room(compared)}"


def _room(compared: FieldComparison) -> str:
    if not isinstance(compared.ours, Decimal):
        return "equal" if compared.code == "EXCT" else "theirs is taken"
    allowed = allowance(compared.row, compared.ours)
    if allowed is None:
        return "any value"
    below, above = allowed
    return f"up to {text(below)} below and {text(above)} above ours"


def _terms(row: MatchingProfile) -> str:
    parts = [f"{row.field or 'older form'} {row.code or ''}".strip()]
    parts += [
        f"{name.replace('_', ' ')} {text(value)}"
        for name in ("net_amount_above", "percent", "maximum", "below", "above")
        if (value := getattr(row, name)) is not None
    ]
    return ", ".join(parts)


def _tolerances(case: Case, trade: AllocatedTrade, reference: ReferenceData) -> tuple[Tolerances, tuple[Basis, ...]]:
    """By the profile that is named, or by the one of the counterparty's row, as the stage finds it."""
    if case["profile"] is None:
        party = reference.find(Party, trade.counterparty, on=trade.trade_date)
        basis = () if party is None else (Basis(party, f"profile {party.matching_profile}"),)
        return tolerances_for(trade, reference), basis
    if case["counterparty"] is not None:
        raise CaseError("profile and counterparty exclude each other: name one, or neither for no tolerance")
    rows = reference.find_all(MatchingProfile, case["profile"], on=trade.trade_date)
    found = tolerances_of(case["profile"], rows, currency=trade.currency, instrument_type=trade.instrument_type)
    if not found.rows:
        raise CaseError(f"profile {case['profile']} has no row for {trade.currency} on {trade.trade_date.isoformat()}")
    return found, ()


# --- the two records -------------------------------------------------------------------------------------------------

_CHAIN = SettlementChain(depository_bic=_NOBODY, participant_bic=_NOBODY, safekeeping_account="")


def _ours(case: Case) -> AllocatedTrade:
    instrument_type: InstrumentType = case["ours_instrument_type"] or InstrumentType.EQUITY
    return AllocatedTrade(
        allocation_id="", block_id="", order_id="", trade_ids=(), block_account="",
        account=case["ours_account"] or "", side=case["ours_side"] or Side.BUY, isin=case["ours_isin"] or "",
        instrument_type=instrument_type, settlement_market="", venue="", quantity=case["ours_quantity"],
        average_price=case["ours_price"],
        price_type=PriceType.PERCENT_OF_PAR if instrument_type.is_debt else PriceType.PER_UNIT,
        currency=case["ours_currency"], gross_amount=_or_nothing(case, "gross_amount"),
        accrued_interest=_or_nothing(case, "accrued_interest"), charges=_our_charges(case),
        net_amount=case["ours_net_amount"], trade_date=case["ours_trade_date"],
        settlement_date=case["ours_settlement_date"], counterparty=case["counterparty"] or _NOBODY,
        counterparty_lei="", counterparty_chain=_CHAIN, account_chain=_CHAIN, match_key="", received_at_us=0,
    )  # fmt: skip


def _or_nothing(case: Case, name: str) -> Decimal:
    found: Decimal | None = case[f"ours_{name}"]
    return _NOTHING if found is None else found


def _our_charges(case: Case) -> tuple[Charge, ...]:
    """Commission and charges as the one charge each that adds up to them."""
    kinds = (("commission", ChargeType.COMMISSION), ("charges", ChargeType.TAX))
    return tuple(
        Charge(charge_id=name.upper(), charge_type=kind, amount=amount, currency=case["ours_currency"])
        for name, kind in kinds
        if (amount := _or_nothing(case, name))
    )


def _theirs(case: Case) -> ReceivedConfirmation:
    """What the counterparty says; of what pairs the two, what it leaves out is taken as ours."""

    def either(name: str) -> Any:
        found = case[f"theirs_{name}"]
        return case[f"ours_{name}"] if found is None else found

    side: Side | None = case["theirs_side"]
    ours: Side = case["ours_side"] or Side.BUY
    trade_date: date = either("trade_date")
    return ReceivedConfirmation(
        sender=case["counterparty"] or _NOBODY, confirmation_id="", account=either("account") or "",
        side=ours.opposite if side is None else side, isin=either("isin") or "", quantity=case["theirs_quantity"],
        price=case["theirs_price"], currency=either("currency"), net_amount=case["theirs_net_amount"],
        trade_date=trade_date, settlement_date=case["theirs_settlement_date"], match_key="", received_at_us=0,
        **{name: case[f"theirs_{name}"] for name in _DECIMALS},
    )  # fmt: skip


def _fields(side: str) -> tuple[CaseField, ...]:
    whose = "Our" if side == "ours" else "Their"
    needed = side == "ours"
    fields = [
        CaseField("quantity", f"{whose} quantity.", readers.positive, is_required=True),
        CaseField("price", f"{whose} average price.", readers.positive, is_required=True),
        CaseField("net_amount", f"{whose} net amount.", readers.decimal, is_required=True),
        CaseField("settlement_date", f"{whose} settlement date.", readers.day, is_required=True),
        CaseField("currency", f"{whose} settlement currency.", readers.currency, is_required=needed),
        CaseField("trade_date", f"{whose} trade date.", readers.day, is_required=needed),
        CaseField("side", f"{whose} side, as {'we see' if needed else 'they see'} it.", readers.one_of(Side)),
        CaseField("isin", f"{whose} instrument.", readers.text),
        CaseField("account", f"{whose} account.", readers.text),
        *(CaseField(name, f"{whose} {name.replace('_', ' ')}.", readers.decimal) for name in _DECIMALS),
    ]
    if needed:
        fields.append(CaseField("instrument_type", "Type of the instrument.", readers.one_of(InstrumentType)))
    return tuple(field._replace(name=f"{side}_{field.name}") for field in fields)


def _prepare(members: Mapping[str, Any]) -> Mapping[str, Any]:
    """The list of our charges, as an allocated trade has it, as commission and the sum of the others."""
    ours = members.get("ours")
    if not isinstance(ours, Mapping) or not isinstance(ours.get("charges"), list):
        return members
    sums: dict[str, Decimal] = {}
    for charge in ours["charges"]:
        name = "commission" if charge["charge_type"] == ChargeType.COMMISSION else "charges"
        sums[name] = add(sums.get(name, _NOTHING), readers.decimal(str(charge["amount"])))
    return {**members, "ours": {**{name: value for name, value in ours.items() if name != "charges"}, **sums}}


def _also_known() -> Mapping[str, str]:
    """Records of the topics are taken as they are: what is not compared is left aside."""
    known = {f"{side}_{other}": f"{side}_{name}" for side in _SIDES for other, name in _ALIASES.items()}
    for side, record in zip(_SIDES, (AllocatedTrade, ReceivedConfirmation), strict=True):
        fields = {field.name for field in _fields(side)}
        for name in record.__struct_fields__:
            known.setdefault(f"{side}_{name}", f"{side}_{name}" if f"{side}_{name}" in fields else "")
    return MappingProxyType(known)


KIND = Kind(
    name="match",
    summary="""Say whether a confirmation matches an allocated trade, field by field, and by which row of which profile.

    Two records as JSON on standard input: {"ours": …, "theirs": …, "counterparty": …}, as `posttrade tail --json` has
    them; or fields as options. For example: posttrade explain match --profile DEFAULT --ours-quantity 100 …
    """,
    fields=(
        CaseField("profile", "Matching profile; or give the counterparty.", readers.text),
        CaseField("counterparty", "BIC of the counterparty, whose profile holds.", readers.text),
        *_fields("ours"),
        *_fields("theirs"),
    ),
    explain=explain,
    also_known=_also_known(),
    prepare=_prepare,
)
