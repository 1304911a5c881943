"""Which matching profile holds for a trade, and how far a field may be apart under its code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal

from services.domain.code import InstrumentType, MatchingField, ToleranceCode
from services.domain.event import AllocatedTrade
from services.domain.money import EXACT, multiply
from services.domain.record import Record, replace
from services.domain.reference import CODES_OF_FIELD, MatchingProfile, Party, ReferenceData

EXACT_PROFILE = "EXACT"
"""Name of the profile without any tolerance, applied when neither the counterparty nor the installation has one."""

DEFAULT_PROFILE = "DEFAULT"
"""Name of the profile that holds when the one that the counterparty names has no row for the trade."""

_PERCENT_DIGITS = -2


class Tolerances(Record, kw_only=True):
    """A matching profile as it applies to one currency and instrument type on one trade date."""

    profile: str
    rows: Mapping[MatchingField, tuple[MatchingProfile, ...]]
    """The rows of each field that has any, the most specific and highest `net_amount_above` first."""

    def row_for(self, field: MatchingField, net_amount: Decimal) -> MatchingProfile | None:
        """The row that holds for a field of a trade with this net amount of ours; None: the field must be equal."""
        for row in self.rows.get(field, ()):
            if row.net_amount_above is None or net_amount > row.net_amount_above:
                return row
        return None


NO_TOLERANCE = Tolerances(profile=EXACT_PROFILE, rows={})


def tolerances_for(trade: AllocatedTrade, reference: ReferenceData) -> Tolerances:
    """The profile that the counterparty names on the trade date, else the default one, else none at all."""
    party = reference.find(Party, trade.counterparty, on=trade.trade_date)
    if party is None:
        return NO_TOLERANCE
    kind = trade.instrument_type
    return reference.derived(_tolerances, party.matching_profile, trade.trade_date, trade.currency, kind)


def _tolerances(
    reference: ReferenceData, named: str, on: date, currency: str, instrument_type: InstrumentType
) -> Tolerances:
    for name in (named, DEFAULT_PROFILE):
        found = tolerances_of(
            name, reference.find_all(MatchingProfile, name, on=on), currency=currency, instrument_type=instrument_type
        )
        if found.rows:
            return found
    return NO_TOLERANCE


def tolerances_of(
    profile: str, rows: Iterable[MatchingProfile], *, currency: str, instrument_type: InstrumentType
) -> Tolerances:
    """Put the rows of one profile together for a currency and an instrument type.

    For each field a row for both wins over one for the currency, that over one for the instrument type, and that over
    one for all; of rows that are equally specific the one for the larger net amounts is asked first.
    """
    fitting = [
        stated
        for row in rows
        if row.currency in (None, currency) and row.instrument_type in (None, instrument_type)
        for stated in _stated(row)
    ]
    fitting.sort(key=_rank, reverse=True)  # stable: of rows that rank alike the later valid_from stays first
    by_field: dict[MatchingField, tuple[MatchingProfile, ...]] = {}
    for row in fitting:
        assert row.field is not None
        by_field[row.field] = (*by_field.get(row.field, ()), row)
    return Tolerances(profile=profile, rows=by_field)


def _rank(row: MatchingProfile) -> tuple[bool, bool, Decimal]:
    above = Decimal(-1) if row.net_amount_above is None else row.net_amount_above
    return row.currency is not None, row.instrument_type is not None, above


def _stated(row: MatchingProfile) -> list[MatchingProfile]:
    """The row itself; or what a row of the older form says, a row for each field."""
    if row.field is not None:
        return [row]
    bare = replace(
        row, price_tolerance=Decimal(0), amount_tolerance=Decimal(0), amount_threshold=None, amount_tolerance_large=None
    )
    price, amount, large = row.price_tolerance, row.amount_tolerance, row.amount_tolerance_large
    found = [
        replace(bare, field=MatchingField.PRICE, code=ToleranceCode.MNMX, below=price, above=price),
        replace(bare, field=MatchingField.NET_AMOUNT, code=ToleranceCode.MNMX, below=amount, above=amount),
    ]
    if row.amount_threshold is not None and large is not None:
        found.append(replace(found[1], net_amount_above=row.amount_threshold, below=large, above=large))
    return found


def code_of(row: MatchingProfile | None) -> ToleranceCode:
    """The code of a row. Equal is asked for without a row, and where a code is not allowed for its field."""
    if row is None or row.field is None or row.code is None or row.code not in CODES_OF_FIELD[row.field]:
        return ToleranceCode.EXCT
    return row.code


def allowance(row: MatchingProfile | None, ours: Decimal) -> tuple[Decimal, Decimal] | None:
    """How far theirs may lie below and above our value; None: as far as it likes (CPOP, NUFM)."""
    code = code_of(row)
    if row is None or code is ToleranceCode.EXCT:
        return Decimal(0), Decimal(0)
    if code in (ToleranceCode.CPOP, ToleranceCode.NUFM):
        return None
    if code is ToleranceCode.MNMX:
        return row.below or Decimal(0), row.above or Decimal(0)
    part = multiply(abs(ours), row.percent or Decimal(0)).scaleb(_PERCENT_DIGITS, context=EXACT)
    if code is ToleranceCode.PTMX:
        part = min(part, row.maximum or Decimal(0))
    return part, part


def is_within(row: MatchingProfile | None, ours: Decimal, theirs: Decimal) -> bool:
    """Whether the two values of a field agree under the row."""
    if ours == theirs:
        return True
    allowed = allowance(row, ours)
    if allowed is None:
        return True
    below, above = allowed
    return -below <= EXACT.subtract(theirs, ours) <= above
