"""Comparing allocated trades with confirmations: fields, tolerances, and who belongs to whom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from operator import attrgetter

from services.domain.digest import sha256
from services.domain.event import AllocatedTrade, ConfirmedTrade, ReceivedConfirmation
from services.domain.money import EXACT
from services.domain.record import Record, asdict
from services.domain.reference import MatchingProfile, Party, ReferenceData

EXACT_PROFILE = "EXACT"
"""Name of the profile without any tolerance, applied when the counterparty has none."""

_ZERO = Decimal(0)
_normalize = EXACT.normalize

_CONTENT = tuple(name for name in ReceivedConfirmation.__struct_fields__ if name != "received_at_us")
"""Fields that a confirmation keeps when it is sent again."""

_content = attrgetter(*_CONTENT)


class Tolerances(Record, kw_only=True):
    """A matching profile as it applies to one allocated trade."""

    profile: str
    price: Decimal
    """Largest absolute difference of prices."""
    amount: Decimal
    """Largest absolute difference of cash, chosen by the size of our net amount."""


_NO_TOLERANCE = Tolerances(profile=EXACT_PROFILE, price=_ZERO, amount=_ZERO)


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


class Pair(Record, kw_only=True):
    """An allocated trade and the confirmation it belongs to."""

    ours: Ours
    theirs: Theirs
    failures: dict[str, str]


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
    return sha256(content.encode()).hex()[:32]


def tolerances_for(trade: AllocatedTrade, reference: ReferenceData) -> Tolerances:
    """The counterparty's matching profile on the trade date; its row for the currency wins over its row for all.

    Without party, profile or row there is no tolerance at all.
    """
    party = reference.find(Party, trade.counterparty, on=trade.trade_date)
    if party is None:
        return _NO_TOLERANCE
    row = reference.derived(_profile, party.matching_profile, trade.trade_date, trade.currency)
    if row is None:
        return _NO_TOLERANCE
    return Tolerances(profile=row.profile, price=row.price_tolerance, amount=_amount_tolerance(row, trade))


def _profile(reference: ReferenceData, name: str, on: date, currency: str) -> MatchingProfile | None:
    rows = reference.find_all(MatchingProfile, name, on=on)
    for wanted in (currency, None):
        row = next((row for row in rows if row.currency == wanted), None)
        if row is not None:
            return row
    return None


def _amount_tolerance(row: MatchingProfile, trade: AllocatedTrade) -> Decimal:
    if row.amount_threshold is None or row.amount_tolerance_large is None:
        return row.amount_tolerance
    return row.amount_tolerance_large if trade.net_amount > row.amount_threshold else row.amount_tolerance


def compare(trade: AllocatedTrade, confirmation: ReceivedConfirmation, tolerances: Tolerances) -> Comparison:
    """Compare field by field; all failures are named, for the desk needs them all."""
    price_difference = abs(EXACT.subtract(trade.average_price, confirmation.price))
    amount_difference = abs(EXACT.subtract(trade.net_amount, confirmation.net_amount))
    failures: dict[str, str] = {}
    if trade.side.opposite is not confirmation.side.settles_as:
        failures["side"] = _both(trade.side, confirmation.side)
    if trade.isin != confirmation.isin:
        failures["isin"] = _both(trade.isin, confirmation.isin)
    if trade.account != confirmation.account:
        failures["account"] = _both(trade.account, confirmation.account)
    if trade.currency != confirmation.currency:
        failures["currency"] = _both(trade.currency, confirmation.currency)
    if trade.quantity != confirmation.quantity:
        failures["quantity"] = _both(trade.quantity, confirmation.quantity)
    if price_difference > tolerances.price:
        failures["price"] = _both(trade.average_price, confirmation.price)
    if trade.trade_date != confirmation.trade_date:
        failures["trade_date"] = _both(trade.trade_date, confirmation.trade_date)
    if trade.settlement_date != confirmation.settlement_date:
        failures["settlement_date"] = _both(trade.settlement_date, confirmation.settlement_date)
    if amount_difference > tolerances.amount:
        failures["net_amount"] = _both(trade.net_amount, confirmation.net_amount)
    return Comparison(failures=failures, amount_difference=amount_difference, price_difference=price_difference)


def _both(our: object, their: object) -> str:
    return f"ours {text(our)}, theirs {text(their)}"


# --- who belongs to whom ---------------------------------------------------------------------------------------------

_Rank = tuple[int, Decimal, Decimal, str, str]
"""Sorts candidate pairs: kind of evidence, difference of cash, of price, then ids, so that no two are equal."""


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
    candidates: list[tuple[_Rank, Pair]] = []
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
    candidates: list[tuple[_Rank, Pair]] = []
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


def _candidate(kind: int, our: Ours, their: Theirs, comparison: Comparison) -> tuple[_Rank, Pair]:
    rank = (kind, comparison.amount_difference, comparison.price_difference, our.key, their.key)
    return rank, Pair(ours=our, theirs=their, failures=comparison.failures)


def _disjoint(candidates: list[tuple[_Rank, Pair]]) -> list[Pair]:
    """Take pairs in the order of their rank, each side once."""
    if len(candidates) <= 1:
        return [pair for _, pair in candidates]
    taken: set[str] = set()
    pairs: list[Pair] = []
    for _, pair in sorted(candidates, key=lambda candidate: candidate[0]):
        if pair.ours.key in taken or pair.theirs.key in taken:
            continue
        taken |= {pair.ours.key, pair.theirs.key}
        pairs.append(pair)
    return pairs


def confirmed_trade(pair: Pair) -> ConfirmedTrade:
    """Join the two sides. Cash is the seller's amount: ours when we deliver, otherwise theirs (T2S, RTS 2018/1229)."""
    trade, confirmation = pair.ours.trade, pair.theirs.confirmation
    return ConfirmedTrade(
        **asdict(trade),
        confirmation_id=confirmation.confirmation_id,
        matching_profile=pair.ours.tolerances.profile,
        settlement_amount=trade.net_amount if trade.side.delivers else confirmation.net_amount,
    )
