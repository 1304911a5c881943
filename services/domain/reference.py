"""Reference data: the records, and how they are looked up on a date.

Every record is effective from `valid_from` up to and including `valid_to`; none is a constant in code.
`ReferenceData` is what a stage sees. It changes only between batches, so within one batch it is a constant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Concatenate, ParamSpec, TypeVar

from services.domain.code import (
    AffirmationStep,
    AllocationPolicy,
    ChargeType,
    DayCount,
    InstrumentType,
    MatchingField,
    SecurityIdSource,
    Side,
    ToleranceCode,
    VenueKind,
)
from services.domain.money import EXACT, Rounding
from services.domain.record import Amount, Decimal, Price, Quantity, Rate, Record, date, doc


class ReferenceRecord(Record, kw_only=True):
    """What all reference data has: a validity, and where the row comes from."""

    valid_from: Annotated[date, doc("First day the row holds.")] = date(1900, 1, 1)
    valid_to: Annotated[date | None, doc("Last day the row holds; empty means until further notice.")] = None
    source: Annotated[str, doc("Where the row comes from: law, rule book, counterparty, or 'sample'.")] = ""

    # Fields that, with valid_from, make the key of the record on its compacted topic.
    key_fields: ClassVar[tuple[str, ...]] = ()

    @property
    def key(self) -> str:
        """Key on the compacted topic: a later row under the same key replaces the earlier one."""
        parts = [str(getattr(self, name) if getattr(self, name) is not None else "*") for name in self.key_fields]
        return "|".join([*parts, self.valid_from.isoformat()])

    def lookup_ids(self) -> tuple[str, ...]:
        """Names this record is found by."""
        return (str(getattr(self, self.key_fields[0])),)

    def is_effective(self, on: date) -> bool:
        """Whether the row holds on the given day."""
        return self.valid_from <= on and (self.valid_to is None or on <= self.valid_to)


class Instrument(ReferenceRecord, kw_only=True):
    """A security. Found by ISIN, SEDOL or CUSIP as `SOURCE:value`."""

    key_fields: ClassVar[tuple[str, ...]] = ("isin",)

    isin: Annotated[str, doc("ISO 6166, check digit included.")]
    sedol: Annotated[str | None, doc("SEDOL, when there is one.")] = None
    cusip: Annotated[str | None, doc("CUSIP, when there is one.")] = None
    name: Annotated[str, doc("Name for people.")]
    instrument_type: Annotated[InstrumentType, doc("What settlement cycle and charges depend on.")]
    settlement_market: Annotated[str, doc("Market it settles in, for example US, GB, DE.")]
    currency: Annotated[str, doc("ISO 4217 currency of denomination or quotation.")]
    issuer_country: Annotated[str, doc("ISO 3166 country of the issuer; transaction taxes depend on it.")]
    denomination: Annotated[Quantity, doc("Smallest quantity that can be settled, and its increment.")]
    issue_date: Annotated[
        date | None, doc("Day the security is issued; trades when issued (FIX 63 = 7) settle from then on.")
    ] = None

    def lookup_ids(self) -> tuple[str, ...]:
        """ISIN, SEDOL and CUSIP, each with its scheme."""
        names = (
            (SecurityIdSource.ISIN, self.isin),
            (SecurityIdSource.SEDOL, self.sedol),
            (SecurityIdSource.CUSIP, self.cusip),
        )
        return tuple(f"{scheme}:{value}" for scheme, value in names if value)


class BondTerms(ReferenceRecord, kw_only=True):
    """What interest on a bond accrues by, found by ISIN; effective by settlement date.

    For one fixed rate at a time: a step-up bond has a row for each rate. Floating and index-linked interest cannot be
    said here; such bonds come with their accrued interest in the report (FIX 159).
    """

    key_fields: ClassVar[tuple[str, ...]] = ("isin",)

    isin: Annotated[str, doc("ISO 6166, check digit included.")]
    coupon_rate: Annotated[Rate, doc("Interest a year as a factor on the face amount: 0.025 is 2.5 percent.")]
    coupons_a_year: Annotated[
        int, doc("Coupons a year: 1, 2, 3, 4, 6 or 12; 0 when all interest is paid at maturity.")
    ] = 0
    day_count: Annotated[DayCount, doc("Day count convention.")]
    accrual_start: Annotated[date, doc("Dated date: first day interest accrues from.")]
    first_coupon_date: Annotated[
        date | None, doc("When it does not follow from the others: the first coupon is long.")
    ] = None
    last_regular_coupon_date: Annotated[
        date | None, doc("Coupon date before maturity, when the last coupon is short or long.")
    ] = None
    maturity_date: Annotated[date, doc("Redemption, and the last coupon.")]
    pays_at_month_end: Annotated[bool, doc("Whether coupons fall on the last day of their months.")] = False
    ex_dividend_days: Annotated[
        int,
        doc(
            "A trade that settles behind the day this many days before a coupon date is without that coupon, and its "
            "accrued interest is negative; 0: never."
        ),
    ] = 0
    ex_dividend_calendar: Annotated[
        str | None, doc("Calendar of the ex-dividend days, for example SETTLEMENT:GB; empty: days of the calendar.")
    ] = None
    per_hundred_digits: Annotated[
        int | None,
        doc("Where the market rounds interest per 100 face amount first: to how many decimals; empty: nowhere."),
    ] = None


class AccruedInterestTolerance(ReferenceRecord, kw_only=True):
    """How far reported accrued interest may differ from that of the bond's terms, found by currency.

    The two parts are added. Effective by trade date; without a row nothing may differ.
    """

    key_fields: ClassVar[tuple[str, ...]] = ("currency",)

    currency: Annotated[str, doc("ISO 4217 currency of the trade.")]
    amount: Annotated[Amount, doc("Cash: what rounding does to a single fill.")]
    per_face_amount: Annotated[Rate, doc("Factor on the face amount: what rounding interest per 100 does to it.")]


class Party(ReferenceRecord, kw_only=True):
    """A counterparty, found by its BIC."""

    key_fields: ClassVar[tuple[str, ...]] = ("bic",)

    bic: Annotated[str, doc("ISO 9362.")]
    lei: Annotated[str, doc("ISO 17442.")]
    name: Annotated[str, doc("Legal name.")]
    matching_profile: Annotated[str, doc("Tolerances to apply when its confirmations are compared.")] = "DEFAULT"


class Account(ReferenceRecord, kw_only=True):
    """One of our clients' accounts, found by its id."""

    key_fields: ClassVar[tuple[str, ...]] = ("account",)

    account: Annotated[str, doc("Account id as the front office uses it.")]
    name: Annotated[str, doc("Name for people.")]
    allocation_policy: Annotated[AllocationPolicy, doc("How its blocks reach the accounts that settle.")]


class TemplateShare(Record, kw_only=True):
    """One line of an allocation template."""

    account: Annotated[str, doc("Account that settles the share.")]
    weight: Annotated[Rate, doc("Weight of the share; weights need not add up to 1.")]


class AllocationTemplate(ReferenceRecord, kw_only=True):
    """Standing division of an account's blocks, found by the block account."""

    key_fields: ClassVar[tuple[str, ...]] = ("account",)

    account: Annotated[str, doc("Block account.")]
    shares: Annotated[tuple[TemplateShare, ...], doc("Accounts in the order in which ties are broken.")]


class StandingSettlementInstruction(ReferenceRecord, kw_only=True):
    """Where an owner settles (SSI), found by owner. The most specific row wins: fields left empty match all."""

    key_fields: ClassVar[tuple[str, ...]] = ("owner", "settlement_market", "instrument_type", "currency")

    owner: Annotated[str, doc("Counterparty BIC or account id.")]
    settlement_market: Annotated[str, doc("Market the row is for.")]
    instrument_type: Annotated[InstrumentType | None, doc("Instrument type the row is for; empty: all.")] = None
    currency: Annotated[str | None, doc("Settlement currency the row is for; empty: all.")] = None
    depository_bic: Annotated[str, doc("Place of settlement.")]
    participant_bic: Annotated[str, doc("Participant of the depository.")]
    participant_account: Annotated[str | None, doc("Participant's account at the depository.")] = None
    client_bic: Annotated[str | None, doc("Participant's client.")] = None
    safekeeping_account: Annotated[str, doc("Account at the participant.")]


class SettlementCycle(ReferenceRecord, kw_only=True):
    """Days from trade date to settlement date, found by market; effective by trade date."""

    key_fields: ClassVar[tuple[str, ...]] = ("settlement_market", "instrument_type")

    settlement_market: Annotated[str, doc("Market the row is for.")]
    instrument_type: Annotated[InstrumentType | None, doc("Instrument type the row is for; empty: all.")] = None
    days: Annotated[int, doc("Settlement days after trade date: 1 for T+1.")]


class Holiday(ReferenceRecord, kw_only=True):
    """One day on which a settlement calendar is closed, found by calendar. Weekends are closed without a row."""

    key_fields: ClassVar[tuple[str, ...]] = ("calendar", "day")

    calendar: Annotated[str, doc("`SETTLEMENT:<market>`, `TRADING:<MIC>` or `CURRENCY:<ISO 4217>`.")]
    day: Annotated[date, doc("The closed day.")]
    name: Annotated[str, doc("Name of the holiday.")]


class CalendarCoverage(ReferenceRecord, kw_only=True):
    """The span of days for which a calendar's holidays are known; outside of it nobody may guess. Found by calendar."""

    key_fields: ClassVar[tuple[str, ...]] = ("calendar",)

    calendar: Annotated[str, doc("Name of the calendar, as in Holiday.")]
    first_day: Annotated[date, doc("First day that is covered.")]
    last_day: Annotated[date, doc("Last day that is covered.")]


class ChargeRule(ReferenceRecord, kw_only=True):
    """How one fee, tax or levy is computed, found by settlement market."""

    key_fields: ClassVar[tuple[str, ...]] = ("settlement_market", "charge_id")

    settlement_market: Annotated[str, doc("Market the charge is raised in.")]
    charge_id: Annotated[str, doc("Name of the charge, for example GB_SDRT.")]
    charge_type: Annotated[ChargeType, doc("FIX MiscFeeType (139).")]
    effective_by: Annotated[str, doc("TRADE_DATE or SETTLEMENT_DATE: which date selects the row.")] = "TRADE_DATE"
    side: Annotated[Side | None, doc("Side that pays: BUY, SELL, or empty for both.")] = None
    instrument_types: Annotated[tuple[InstrumentType, ...], doc("Instrument types it applies to.")]
    issuer_country: Annotated[str | None, doc("Only instruments of issuers in this country; empty: all.")] = None
    rate_of_gross: Annotated[Rate, doc("Factor on the gross amount.")] = Decimal(0)
    rate_per_unit: Annotated[Rate, doc("Cash per unit of quantity.")] = Decimal(0)
    fixed_amount: Annotated[Amount, doc("Cash per trade.")] = Decimal(0)
    threshold_amount: Annotated[Amount | None, doc("Only when the gross amount is above this.")] = None
    cap_amount: Annotated[Amount | None, doc("Never more than this.")] = None
    currency: Annotated[str, doc("Currency of amounts; the charge applies to trades in this currency.")]
    rounding: Annotated[Rounding, doc("How the result is rounded.")] = Rounding.HALF_UP
    rounding_unit: Annotated[
        Amount | None, doc("What the result is rounded to a multiple of; empty: the currency's minor unit.")
    ] = None
    venue_kind: Annotated[VenueKind | None, doc("Only executions on, or off, a trading venue; empty: all.")] = None


class ChargeExemption(ReferenceRecord, kw_only=True):
    """An instrument that a charge spares, found by charge and ISIN; effective by the date the charge goes by.

    For what no rate can say: issuers below a market capitalisation, growth markets, a company's first years.
    """

    key_fields: ClassVar[tuple[str, ...]] = ("charge_id", "isin")

    charge_id: Annotated[str, doc("The charge, for example FR_FTT.")]
    isin: Annotated[str, doc("The instrument, ISO 6166.")]

    def lookup_ids(self) -> tuple[str, ...]:
        """Charge and ISIN together."""
        return (f"{self.charge_id}:{self.isin}",)


_CALCULATED = frozenset({
    ToleranceCode.EXCT, ToleranceCode.PTOL, ToleranceCode.PTMX, ToleranceCode.MNMX, ToleranceCode.NUFM,
})  # fmt: skip

CODES_OF_FIELD: Mapping[MatchingField, frozenset[ToleranceCode]] = {
    MatchingField.QUANTITY: frozenset({ToleranceCode.EXCT}),
    MatchingField.CURRENCY: frozenset({ToleranceCode.EXCT}),
    MatchingField.SETTLEMENT_DATE: frozenset({ToleranceCode.EXCT, ToleranceCode.CPOP}),
    MatchingField.PRICE: _CALCULATED | {ToleranceCode.CPOP},
    MatchingField.GROSS_AMOUNT: _CALCULATED,
    MatchingField.ACCRUED_INTEREST: _CALCULATED,
    MatchingField.COMMISSION: _CALCULATED,
    MatchingField.CHARGES: _CALCULATED,
    MatchingField.NET_AMOUNT: (_CALCULATED | {ToleranceCode.CPOP}) - {ToleranceCode.NUFM},
}
"""Which codes a field may have.

The depository compares quantity, currency, date and cash again, without more tolerance than the cash has. And what is
part of a block's calculated total (gross amount, accrued interest, commission, charges) cannot be forced: were our side
to take the counterparty's value (CPOP), the parts would no longer add up to the block.
"""


class MatchingProfile(ReferenceRecord, kw_only=True):
    """How far one field may be apart when a counterparty's confirmation is compared with ours; found by profile.

    A row without a field is in the older form: tolerances for price and net amount in the last four columns.
    """

    key_fields: ClassVar[tuple[str, ...]] = ("profile", "currency", "instrument_type", "field", "net_amount_above")

    profile: Annotated[str, doc("Name that Party.matching_profile refers to.")]
    currency: Annotated[str | None, doc("Currency the row is for; empty: all. The row for the currency wins.")] = None
    price_tolerance: Annotated[Price, doc("Older form: largest absolute difference of average prices.")] = Decimal(0)
    amount_tolerance: Annotated[
        Amount, doc("Older form: largest absolute difference of net amounts up to amount_threshold.")
    ] = Decimal(0)
    amount_threshold: Annotated[
        Amount | None, doc("Older form: above this net amount the large tolerance applies.")
    ] = None
    amount_tolerance_large: Annotated[
        Amount | None, doc("Older form: largest absolute difference above amount_threshold.")
    ] = None
    instrument_type: Annotated[InstrumentType | None, doc("Instrument type the row is for; empty: all.")] = None
    field: Annotated[MatchingField | None, doc("What is compared.")] = None
    net_amount_above: Annotated[
        Amount | None, doc("Only when our net amount is above this; of several rows the highest that applies wins.")
    ] = None
    code: Annotated[ToleranceCode | None, doc("How it is compared.")] = None
    percent: Annotated[Rate | None, doc("PTOL, PTMX: percent of our value; 2 means 2 percent.")] = None
    maximum: Annotated[Price | None, doc("PTMX: never more than this.")] = None
    below: Annotated[Price | None, doc("MNMX: how far theirs may lie below ours.")] = None
    above: Annotated[Price | None, doc("MNMX: how far theirs may lie above ours.")] = None

    @property
    def key(self) -> str:
        """As of any row; a row for a field adds what it is for, so that rows of the older form keep their keys."""
        parts = [self.profile, self.currency or "*"]
        if self.field is not None:
            parts += [
                self.instrument_type or "*",
                self.field.value,
                "*" if self.net_amount_above is None else f"{EXACT.normalize(self.net_amount_above):f}",
            ]
        return "|".join([*parts, self.valid_from.isoformat()])


class AffirmationDeadline(ReferenceRecord, kw_only=True):
    """Until when on trade date a step of the confirmation has to be done, found by settlement market."""

    key_fields: ClassVar[tuple[str, ...]] = ("settlement_market", "instrument_type", "step")

    settlement_market: Annotated[str, doc("Market the row is for.")]
    instrument_type: Annotated[InstrumentType | None, doc("Instrument type the row is for; empty: all.")] = None
    step: Annotated[AffirmationStep, doc("ALLOCATE or AFFIRM.")]
    local_time: Annotated[str, doc("Time of day in the time zone, HH:MM, from 03:00: changes of the clock are past.")]
    time_zone: Annotated[str, doc("Name in the IANA time zone database, for example America/New_York.")]
    warning_minutes: Annotated[int, doc("The desk is told so many minutes before.")]


class TimeZoneOffset(ReferenceRecord, kw_only=True):
    """How far a time zone's clocks are ahead of UTC, found by zone; from 03:00 local time of valid_from."""

    key_fields: ClassVar[tuple[str, ...]] = ("time_zone",)

    time_zone: Annotated[str, doc("Name in the IANA time zone database.")]
    offset_minutes: Annotated[int, doc("Minutes ahead of UTC; negative in America.")]


R = TypeVar("R", bound=ReferenceRecord)
P = ParamSpec("P")
T = TypeVar("T")

DERIVED_MAX = 65_536
"""Answers kept by `ReferenceData.derived`; when there are more, all are forgotten and found again as they are asked."""

_NOT_KEPT = object()


class ReferenceData:
    """All reference data a worker holds, in memory, by kind and name."""

    def __init__(self) -> None:
        """Start empty; the engine fills it from the compacted `reference.*` topics."""
        self.version = 0
        self._by_key: dict[type[ReferenceRecord], dict[str, ReferenceRecord]] = {}
        self._by_name: dict[type[ReferenceRecord], dict[str, dict[str, ReferenceRecord]]] = {}
        self._holidays: dict[str, dict[date, Holiday]] = {}
        self._derived: dict[tuple[Any, ...], Any] = {}

    def put(self, record: ReferenceRecord) -> None:
        """Add a record, or replace the one under its key. For the engine and for tests, never for a stage."""
        kind = type(record)
        self.remove(kind, record.key)
        self._by_key.setdefault(kind, {})[record.key] = record
        names = self._by_name.setdefault(kind, {})
        for name in record.lookup_ids():
            names.setdefault(name, {})[record.key] = record
        self._changed(kind)

    def remove(self, kind: type[ReferenceRecord], key: str) -> None:
        """Take the record under `key` away, if there is one. For the engine and for tests, never for a stage."""
        record = self._by_key.get(kind, {}).pop(key, None)
        if record is None:
            return
        for name in record.lookup_ids():
            del self._by_name[kind][name][key]
        self._changed(kind)

    def _changed(self, kind: type[ReferenceRecord]) -> None:
        self.version += 1
        self._derived.clear()
        if kind is Holiday:
            self._holidays.clear()

    def find_all(self, kind: type[R], name: str, *, on: date) -> list[R]:
        """All records of that kind and name that hold on the day, latest valid_from first, then by key."""
        rows = self._by_name.get(kind, {}).get(name)
        if not rows:
            return []
        found = [row for row in rows.values() if row.is_effective(on)]
        if len(found) > 1:  # the common case is one row, and a key takes longer to build than the search
            found.sort(key=lambda row: (-row.valid_from.toordinal(), row.key))
        return found  # type: ignore[return-value]  # a kind's table holds records of that kind only

    def find(self, kind: type[R], name: str, *, on: date) -> R | None:
        """The record of that kind and name that holds on the day; the latest valid_from wins."""
        found = self._derived.get((_find, kind, name, on), _NOT_KEPT)  # nine times for each order: asked right here
        if found is _NOT_KEPT:
            found = self.derived(_find, kind, name, on)
        return found  # type: ignore[no-any-return]  # as above

    def derived(self, function: Callable[Concatenate[ReferenceData, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the function says of this data and the arguments, computed once until the data changes.

        The function must be pure, its arguments hashable and equal only where it makes no difference, its result
        immutable; what it raises is not kept. Trades of one day ask the same few questions: where a counterparty
        settles, when a market does, which charges hold. Keeping the answers halved the rules of enrichment.
        """
        assert not kwargs, "arguments are named by their place, so that one question has one key"
        key = (function, *args)
        found = self._derived.get(key, _NOT_KEPT)
        if found is _NOT_KEPT:
            if len(self._derived) >= DERIVED_MAX:
                self._derived.clear()
            found = self._derived[key] = function(self, *args, **kwargs)
        return found  # type: ignore[no-any-return]  # under the function's key lies what the function gave

    def holidays(self, calendar: str) -> Mapping[date, Holiday]:
        """The row of each holiday of a calendar, without weekends.

        Empty for an unknown calendar: ask CalendarCoverage first.
        """
        days = self._holidays.get(calendar)
        if days is None:
            rows = self._by_name.get(Holiday, {}).get(calendar, {})
            found = [row for _, row in sorted(rows.items()) if isinstance(row, Holiday)]
            days = self._holidays[calendar] = {row.day: row for row in found}
        return days

    def count(self) -> int:
        """Number of records held."""
        return sum(len(rows) for rows in self._by_key.values())

    def all(self, kind: type[R]) -> Iterator[R]:
        """Every record of a kind, by key."""
        rows = self._by_key.get(kind, {})
        for key in sorted(rows):
            yield rows[key]  # type: ignore[misc]  # a kind's table holds records of that kind only


def _find(data: ReferenceData, kind: type[ReferenceRecord], name: str, on: date) -> ReferenceRecord | None:
    found = data.find_all(kind, name, on=on)
    return found[0] if found else None


REFERENCE_KINDS: tuple[type[ReferenceRecord], ...] = (
    Instrument,
    Party,
    Account,
    AllocationTemplate,
    StandingSettlementInstruction,
    SettlementCycle,
    Holiday,
    CalendarCoverage,
    ChargeRule,
    MatchingProfile,
    AffirmationDeadline,
    TimeZoneOffset,
    BondTerms,
    AccruedInterestTolerance,
    ChargeExemption,
)
"""Every kind of reference data, in the order in which files are loaded."""
