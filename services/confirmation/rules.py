"""Comparing allocated trades with confirmations: fields, tolerances, and who belongs to whom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from operator import attrgetter

from services.confirmation.state import MatchedConfirmation
from services.confirmation.tolerances import Tolerances, code_of, is_within
from services.domain.code import ChargeType, MatchingField, ToleranceCode
from services.domain.digest import sha256
from services.domain.event import AllocatedTrade, ConfirmedTrade, ReceivedConfirmation
from services.domain.money import EXACT, add
from services.domain.record import Record, asdict
from services.domain.reference import MatchingProfile

_ZERO = Decimal(0)
_normalize = EXACT.normalize

_LATER = (
    "gross_amount", "commission", "charges", "accrued_interest", "transaction_type", "reference_id",
    "confirmation_status",
)  # fmt: skip
"""Fields that confirmations were given later; absent ones are left out of the fingerprint: older ones keep theirs."""

_CONTENT = tuple(
    name for name in ReceivedConfirmation.__struct_fields__ if name != "received_at_us" and name not in _LATER
)
"""Fields that a confirmation keeps when it is sent again."""

_later = attrgetter(*_LATER)
_NONE_LATER = (None,) * len(_LATER)
_content = attrgetter(*_CONTENT)


class Ours(Record, kw_only=True):
    """An open allocated trade with its tolerances."""

    trade: AllocatedTrade
    tolerances: Tolerances

    @property
    def key(self) -> str:
        """Its allocation id."""
        return self.trade.allocation_id


class Theirs(Record, kw_only=True):
    """An open confirmation under its key."""

    key: str
    confirmation: ReceivedConfirmation

    def quotes(self, ours: Ours) -> bool:
        """Whether the confirmation names this allocation by our id, its first id, or the reference we were given."""
        reference, trade = self.confirmation.allocation_reference, ours.trade
        names = (trade.allocation_id, trade.allocation_reference, trade.original_allocation_id)
        return reference is not None and reference in names


class Comparison(Record, kw_only=True):
    """How an allocated trade and a confirmation compare."""

    failures: dict[str, str]
    """Fields that differ beyond tolerance, each with both values; empty when the two may be matched."""
    amount_difference: Decimal
    price_difference: Decimal


_EQUAL = Comparison(failures={}, amount_difference=_ZERO, price_difference=_ZERO)


class Pair(Record, kw_only=True):
    """An allocated trade and the confirmation it belongs to."""

    ours: Ours
    theirs: Theirs
    failures: dict[str, str]
    is_equal: bool = False
    """Whether the two say the same in all that both carry, so that nothing has to be taken from either."""


class Evaluation(Record, kw_only=True):
    """What a group amounts to: pairs to confirm, and pairs that are one trade seen differently."""

    matches: tuple[Pair, ...]
    mismatches: tuple[Pair, ...]


NOTHING = Evaluation(matches=(), mismatches=())
"""What a group of one side amounts to."""


def text(value: object) -> str:
    """Write a value for people: decimals without exponent and without trailing zeros."""
    return format(_normalize(value), "f") if isinstance(value, Decimal) else str(value)


def confirmation_key(confirmation: ReceivedConfirmation) -> str:
    """Name a confirmation: its id is unique per sender. Capture lets no id through that holds the separator."""
    return f"{confirmation.sender}\x1f{confirmation.confirmation_id}"


def fingerprint(confirmation: ReceivedConfirmation) -> str:
    """Digest of what a confirmation says; equal for equal values, however they are written."""
    content = "\x1f".join(
        [
            f"{name}={_normalize(value):f}" if type(value) is Decimal else f"{name}={value}"
            for name, value in zip(_CONTENT, _content(confirmation), strict=True)
        ]
    )
    later = _later(confirmation)
    if later != _NONE_LATER:
        content += "".join(
            [
                f"\x1f{name}={_normalize(value):f}" if type(value) is Decimal else f"\x1f{name}={value}"
                for name, value in zip(_LATER, later, strict=True)
                if value is not None
            ]
        )
    return sha256(content.encode()).hex()[:32]


def fingerprint_of(matched: MatchedConfirmation) -> str:
    """Digest of what a confirmation says that was matched."""
    return matched.fingerprint if matched.confirmation is None else fingerprint(matched.confirmation)


# --- comparing -------------------------------------------------------------------------------------------------------


class FieldComparison(Record, kw_only=True):
    """The two values of one field, and what is made of them."""

    field: MatchingField
    ours: object
    theirs: object
    row: MatchingProfile | None
    """The row of the profile that holds; None: the two must be equal."""
    code: ToleranceCode
    agrees: bool


def compare(trade: AllocatedTrade, confirmation: ReceivedConfirmation, tolerances: Tolerances) -> Comparison:
    """Compare by what pairs the two, then field by field; all failures are named, for the desk needs them all."""
    if _is_equal(trade, confirmation):  # nearly always, and then nothing has to be looked up
        return _EQUAL
    failures: dict[str, str] = {}
    if trade.side.opposite is not confirmation.side.settles_as:
        failures["side"] = _both(trade.side, confirmation.side)
    if trade.isin != confirmation.isin:
        failures["isin"] = _both(trade.isin, confirmation.isin)
    if trade.account != confirmation.account:
        failures["account"] = _both(trade.account, confirmation.account)
    if trade.trade_date != confirmation.trade_date:
        failures["trade_date"] = _both(trade.trade_date, confirmation.trade_date)
    for compared in compared_fields(trade, confirmation, tolerances):
        if not compared.agrees:
            failures[compared.field.lower()] = _both(compared.ours, compared.theirs)
    return Comparison(
        failures=failures,
        amount_difference=abs(EXACT.subtract(trade.net_amount, confirmation.net_amount)),
        price_difference=abs(EXACT.subtract(trade.average_price, confirmation.price)),
    )


def _is_equal(trade: AllocatedTrade, confirmation: ReceivedConfirmation) -> bool:
    """Whether the two say the same in all that both carry."""
    return (
        trade.quantity == confirmation.quantity
        and trade.net_amount == confirmation.net_amount
        and trade.average_price == confirmation.price
        and trade.settlement_date == confirmation.settlement_date
        and trade.currency == confirmation.currency
        and trade.side.opposite is confirmation.side.settles_as
        and trade.isin == confirmation.isin
        and trade.account == confirmation.account
        and trade.trade_date == confirmation.trade_date
        and confirmation.gross_amount in (None, trade.gross_amount)
        and confirmation.accrued_interest in (None, trade.accrued_interest)
        and confirmation.commission is None
        and confirmation.charges is None
    )


def compared_fields(
    trade: AllocatedTrade, confirmation: ReceivedConfirmation, tolerances: Tolerances
) -> list[FieldComparison]:
    """Each field that both sides carry, in the order in which the desk reads them."""
    net = trade.net_amount
    found: list[FieldComparison] = []
    for field, ours, theirs in field_values(trade, confirmation):
        if theirs is None:
            continue
        row = tolerances.row_for(field, net)
        if isinstance(ours, Decimal) and isinstance(theirs, Decimal):
            agrees = is_within(row, ours, theirs)
        else:
            agrees = ours == theirs or code_of(row) in (ToleranceCode.CPOP, ToleranceCode.NUFM)
        found.append(FieldComparison(field=field, ours=ours, theirs=theirs, row=row, code=code_of(row), agrees=agrees))
    return found


def field_values(
    trade: AllocatedTrade, confirmation: ReceivedConfirmation
) -> tuple[tuple[MatchingField, object, object], ...]:
    """Each field with our value and theirs; None where the counterparty does not state it."""
    return (
        (MatchingField.CURRENCY, trade.currency, confirmation.currency),
        (MatchingField.QUANTITY, trade.quantity, confirmation.quantity),
        (MatchingField.PRICE, trade.average_price, confirmation.price),
        (MatchingField.SETTLEMENT_DATE, trade.settlement_date, confirmation.settlement_date),
        (MatchingField.GROSS_AMOUNT, trade.gross_amount, confirmation.gross_amount),
        (MatchingField.ACCRUED_INTEREST, trade.accrued_interest, confirmation.accrued_interest),
        (MatchingField.COMMISSION, commission_of(trade), confirmation.commission),
        (MatchingField.CHARGES, charges_of(trade), confirmation.charges),
        (MatchingField.NET_AMOUNT, trade.net_amount, confirmation.net_amount),
    )


def commission_of(trade: AllocatedTrade) -> Decimal:
    """Our commission on the allocation."""
    return add(*(charge.amount for charge in trade.charges if charge.charge_type is ChargeType.COMMISSION))


def charges_of(trade: AllocatedTrade) -> Decimal:
    """Our fees, taxes and levies on the allocation without commission."""
    return add(*(charge.amount for charge in trade.charges if charge.charge_type is not ChargeType.COMMISSION))


def _both(our: object, their: object) -> str:
    return f"ours {text(our)}, theirs {text(their)}"


# --- who belongs to whom ---------------------------------------------------------------------------------------------

_Rank = tuple[int, tuple[Decimal, ...], int, str, str]
"""Sorts candidates: kind of evidence, differences field by field, days between dates, then ids: no two are equal."""


def evaluate(ours: Sequence[Ours], theirs: Sequence[Theirs]) -> Evaluation:
    """Pair what is open under one match_key. Depends on what is there, not on the order in which it came."""
    if not ours or not theirs:
        return NOTHING
    matches = _match(ours, theirs)
    if matches:
        ours, theirs = _without(matches, ours, theirs)
    mismatches = _mismatch(ours, theirs) if ours and theirs else ()  # nearly always the two were one trade
    return Evaluation(matches=tuple(matches), mismatches=mismatches)


def _without(pairs: Iterable[Pair], ours: Sequence[Ours], theirs: Sequence[Theirs]) -> tuple[list[Ours], list[Theirs]]:
    taken = {pair.ours.key for pair in pairs} | {pair.theirs.key for pair in pairs}
    return [our for our in ours if our.key not in taken], [their for their in theirs if their.key not in taken]


def _is_bound(their: Theirs) -> bool:
    """Whether a confirmation quotes a reference: it is then compared with the allocation it quotes and with no other.

    Also while that allocation has not come yet, or is matched already: were it free meanwhile, the order of arrival
    would decide between two allocations of equal terms, and a superseded confirmation could take a later trade.
    """
    return their.confirmation.allocation_reference is not None


def _match(ours: Sequence[Ours], theirs: Sequence[Theirs]) -> list[Pair]:
    """Quoted first; then by smallest difference, which puts the equal ones before those within tolerance."""
    candidates: list[_Candidate] = []
    for our in ours:
        for their in theirs:
            quoted = their.quotes(our)
            if _is_bound(their) and not quoted:
                continue
            comparison = compare(our.trade, their.confirmation, our.tolerances)
            if comparison.failures:
                continue
            candidates.append(_candidate(0 if quoted else 1, our, their, comparison))
    return _disjoint(candidates)


def _mismatch(ours: Sequence[Ours], theirs: Sequence[Theirs]) -> tuple[Pair, ...]:
    """Quoted first, then equal quantity with the fewest differing fields; then the last two, if two are left."""
    candidates: list[_Candidate] = []
    for our in ours:
        for their in theirs:
            quoted = their.quotes(our)
            if _is_bound(their) and not quoted:
                continue
            if not quoted and our.trade.quantity != their.confirmation.quantity:
                continue
            comparison = compare(our.trade, their.confirmation, our.tolerances)
            candidates.append(_candidate(0 if quoted else len(comparison.failures), our, their, comparison))
    pairs = _disjoint(candidates)
    ours, theirs = _without(pairs, ours, theirs)
    if len(ours) == 1 and len(theirs) == 1 and not _is_bound(theirs[0]):
        failures = compare(ours[0].trade, theirs[0].confirmation, ours[0].tolerances).failures
        pairs.append(Pair(ours=ours[0], theirs=theirs[0], failures=failures))
    return tuple(pairs)


_Candidate = tuple[int, Pair]


def _candidate(kind: int, our: Ours, their: Theirs, comparison: Comparison) -> _Candidate:
    return kind, Pair(ours=our, theirs=their, failures=comparison.failures, is_equal=comparison is _EQUAL)


_RANKED = (
    MatchingField.NET_AMOUNT, MatchingField.PRICE, MatchingField.GROSS_AMOUNT, MatchingField.ACCRUED_INTEREST,
    MatchingField.COMMISSION, MatchingField.CHARGES,
)  # fmt: skip
"""Fields whose difference says which of two candidates is the nearer, the first of them first."""


def _rank(candidate: _Candidate) -> _Rank:
    """What the counterparty does not state counts as equal."""
    kind, pair = candidate
    trade, confirmation = pair.ours.trade, pair.theirs.confirmation
    values = {field: (ours, theirs) for field, ours, theirs in field_values(trade, confirmation)}
    differences = tuple([_difference(*values[field]) for field in _RANKED])
    days = abs((trade.settlement_date - confirmation.settlement_date).days)
    return kind, differences, days, pair.ours.key, pair.theirs.key


def _difference(ours: object, theirs: object) -> Decimal:
    if not isinstance(ours, Decimal) or not isinstance(theirs, Decimal):
        return _ZERO
    return abs(EXACT.subtract(ours, theirs))


def _disjoint(candidates: list[_Candidate]) -> list[Pair]:
    """Take pairs in the order of their rank, each side once."""
    if len(candidates) <= 1:
        return [pair for _, pair in candidates]
    taken: set[str] = set()
    pairs: list[Pair] = []
    for _, pair in sorted(candidates, key=_rank):
        if pair.ours.key in taken or pair.theirs.key in taken:
            continue
        taken |= {pair.ours.key, pair.theirs.key}
        pairs.append(pair)
    return pairs


def populated_fields(pair: Pair) -> tuple[MatchingField, ...]:
    """The fields that are taken from the counterparty (CPOP), because a profile says so."""
    if pair.is_equal:
        return ()
    compared = compared_fields(pair.ours.trade, pair.theirs.confirmation, pair.ours.tolerances)
    return tuple([found.field for found in compared if found.code is ToleranceCode.CPOP])


def confirmed_trade(
    trade: AllocatedTrade, confirmation: ReceivedConfirmation, *, profile: str, populated: tuple[MatchingField, ...]
) -> ConfirmedTrade:
    """Join the two sides, with the function of the trade: confirmed, or taken back.

    Cash is the seller's amount: ours when we deliver, otherwise theirs (T2S, RTS 2018/1229). What the counterparty
    populates is taken from it.
    """
    fields = asdict(trade)
    if MatchingField.PRICE in populated:
        fields["average_price"] = confirmation.price
    if MatchingField.SETTLEMENT_DATE in populated:
        fields["settlement_date"] = confirmation.settlement_date
    takes_theirs = not trade.side.delivers or MatchingField.NET_AMOUNT in populated
    return ConfirmedTrade(
        **fields,
        confirmation_id=confirmation.confirmation_id,
        matching_profile=profile,
        settlement_amount=confirmation.net_amount if takes_theirs else trade.net_amount,
    )
