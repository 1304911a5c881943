"""The fields of one message as values: text, numbers, dates, codes. Every error names its tag and what was expected."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeVar, get_args

from services.adapters.fix.framing import Field, FixError
from services.domain.record import Amount, Price, Quantity

T = TypeVar("T")

TAG_NAMES: Mapping[bytes, str] = MappingProxyType({
    b"1": "Account", b"6": "AvgPx", b"12": "Commission", b"13": "CommType", b"14": "CumQty", b"15": "Currency",
    b"17": "ExecID", b"19": "ExecRefID", b"20": "ExecTransType", b"22": "SecurityIDSource", b"30": "LastMkt",
    b"31": "LastPx", b"32": "LastQty", b"35": "MsgType", b"37": "OrderID", b"43": "PossDupFlag", b"48": "SecurityID",
    b"49": "SenderCompID", b"53": "Quantity", b"54": "Side", b"60": "TransactTime", b"63": "SettlType",
    b"64": "SettlDate", b"70": "AllocID", b"71": "AllocTransType", b"72": "RefAllocID", b"73": "NoOrders",
    b"75": "TradeDate", b"78": "NoAllocs", b"79": "AllocAccount", b"80": "AllocQty", b"97": "PossResend",
    b"120": "SettlCurrency", b"124": "NoExecs", b"150": "ExecType", b"151": "LeavesQty", b"159": "AccruedInterestAmt",
    b"231": "ContractMultiplier", b"375": "ContraBroker", b"382": "NoContraBrokers", b"423": "PriceType",
    b"447": "PartyIDSource", b"448": "PartyID", b"452": "PartyRole", b"453": "NoPartyIDs",
    b"467": "IndividualAllocID", b"479": "CommCurrency", b"892": "TotNoAllocs", b"893": "LastFragment",
})  # fmt: skip
"""Every tag that is read, with its FIX name."""

_DAY_US = 86_400_000_000
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_DATES_CACHED_MAX = 4_096  # trade and settlement dates repeat; beyond it a date is merely parsed again
_TIMESTAMP = re.compile(rb"([0-9]{8})-([0-2][0-9]):([0-5][0-9]):([0-5][0-9]|60)(?:\.([0-9]{1,12}))?")
_HOUR_MAX = 23
_COUNT_DIGITS_MAX = 6
_DATE_DIGITS = 8


def tag_name(tag: bytes) -> str:
    """Name and number of a tag for a sentence: `LastQty (32)`."""
    return f"{TAG_NAMES[tag]} ({tag.decode()})"


class NumberFormat:
    """What a FIX decimal may look like so that the wire type holds it exactly: digits before and after the point.

    No exponent, no plus sign, no NaN (FIX "float"). Zeros beyond the last decimal add nothing and are dropped.
    """

    def __init__(self, wire_type: Any) -> None:
        """Take precision and scale from the wire type's own annotation, so that they are stated once."""
        extra = get_args(wire_type)[1].extra
        self.decimals_max: int = extra["scale"]
        self.whole_digits_max: int = extra["precision"] - extra["scale"]
        pattern = rf"(-?(?=\.?[0-9])0*[0-9]{{0,{self.whole_digits_max}}}(?:\.[0-9]{{0,{self.decimals_max}}})?)0*"
        self._pattern = re.compile(pattern.encode())

    def parse(self, text: bytes) -> Decimal | None:
        """The exact value, or None when the text is no such number. Minus zero is zero."""
        found = self._pattern.fullmatch(text)
        if found is None:
            return None
        value = Decimal(found[1].decode("ascii"))
        return value or Decimal(0)


QUANTITY = NumberFormat(Quantity)
PRICE = NumberFormat(Price)
AMOUNT = NumberFormat(Amount)


class Message:
    """The fields of one message body, by tag, and in their order for repeating groups."""

    def __init__(self, begin_string: str, fields: list[Field], *, single_tags: frozenset[bytes]) -> None:
        """Index the fields; raises FixError when one of `single_tags` comes twice with different values."""
        self.begin_string = begin_string
        self.ordered = fields
        self.by_tag = dict(fields)
        if len(self.by_tag) != len(fields):
            first = dict(reversed(fields))
            for tag in sorted(single_tags):
                if first.get(tag) != self.by_tag.get(tag):
                    raise FixError(f"{tag_name(tag)} came twice with different values")

    def has(self, tag: bytes) -> bool:
        """Whether the tag came at all."""
        return tag in self.by_tag

    def value(self, tag: bytes) -> bytes:
        """The bytes of a required field."""
        return _value(self.by_tag, tag)

    def text(self, tag: bytes) -> str:
        """The text of a required field."""
        return read_text(self.by_tag, tag)

    def optional_text(self, tag: bytes) -> str | None:
        """The text of a field, or None when it did not come."""
        return read_text(self.by_tag, tag) if tag in self.by_tag else None

    def number(self, tag: bytes, number_format: NumberFormat) -> Decimal:
        """The exact value of a required field."""
        return read_number(self.by_tag, tag, number_format)

    def optional_number(self, tag: bytes, number_format: NumberFormat) -> Decimal | None:
        """The exact value of a field, or None when it did not come."""
        return read_number(self.by_tag, tag, number_format) if tag in self.by_tag else None

    def code(self, tag: bytes, codes: Mapping[bytes, T]) -> T:
        """What the code of a required field stands for."""
        found = codes.get(_value(self.by_tag, tag))
        if found is None:
            raise FixError(f"{tag_name(tag)} was not one of {_choices(codes)}")
        return found

    def count(self, tag: bytes) -> int:
        """A number of things."""
        value = _value(self.by_tag, tag)
        if not value.isdigit() or len(value) > _COUNT_DIGITS_MAX:
            raise FixError(f"{tag_name(tag)} was not a number of entries")
        return int(value)

    def flag(self, tag: bytes) -> bool:
        """A Boolean field; absent means no."""
        value = self.by_tag.get(tag)
        if value is None or value == b"N":
            return False
        if value != b"Y":
            raise FixError(f"{tag_name(tag)} was neither Y nor N")
        return True

    def local_date(self, tag: bytes) -> date:
        """A required date (FIX LocalMktDate, YYYYMMDD)."""
        day = _date(_value(self.by_tag, tag))
        if day is None:
            raise FixError(f"{tag_name(tag)} was not a date written YYYYMMDD")
        return day

    def optional_local_date(self, tag: bytes) -> date | None:
        """A date, or None when it did not come."""
        return self.local_date(tag) if tag in self.by_tag else None

    def timestamp_us(self, tag: bytes) -> int:
        """A required UTC time (FIX UTCTimestamp) in microseconds since the epoch; finer digits are cut off."""
        value = _timestamp_us(_value(self.by_tag, tag))
        if value is None:
            raise FixError(f"{tag_name(tag)} was not a UTC time written YYYYMMDD-HH:MM:SS with an optional fraction")
        return value

    def group(
        self, count_tag: bytes, member_tags: frozenset[bytes], *, first_tag: bytes | None
    ) -> list[dict[bytes, bytes]]:
        """The entries of a repeating group, `member_tags` only.

        The first tag after the count begins each entry; `first_tag` says which it must be, None that senders differ.
        The members must not be used elsewhere in the message, so that the end of the last entry needs no dictionary.
        Raises FixError when the count is not the number of entries, or when a member lies outside of the group.
        """
        count = self.count(count_tag)
        begin = next(index for index, field in enumerate(self.ordered) if field[0] == count_tag) + 1
        if any(tag in member_tags for tag, _ in self.ordered[:begin]):
            raise FixError(f"a field of the group {tag_name(count_tag)} came before its count")
        found_first = self.ordered[begin][0] if begin < len(self.ordered) and count else None
        if found_first is not None and first_tag is not None and found_first != first_tag:
            raise FixError(f"the entries of {tag_name(count_tag)} did not begin with {tag_name(first_tag)}")
        entries: list[dict[bytes, bytes]] = []
        for tag, value in self.ordered[begin:]:
            if tag == found_first:
                entries.append({})
            if tag in member_tags:
                _put_member(entries, tag, value, count_tag)
        if len(entries) != count:
            raise FixError(f"{tag_name(count_tag)} was {count}, but {len(entries)} entries came")
        return entries


def _put_member(entries: list[dict[bytes, bytes]], tag: bytes, value: bytes, count_tag: bytes) -> None:
    if not entries:
        raise FixError(f"{tag_name(tag)} came outside of the entries that {tag_name(count_tag)} counts")
    if tag in entries[-1]:
        raise FixError(f"{tag_name(tag)} came twice in one entry of {tag_name(count_tag)}")
    entries[-1][tag] = value


def read_text(fields: Mapping[bytes, bytes], tag: bytes) -> str:
    """The text of a required field of a message or of a group's entry."""
    try:
        return _value(fields, tag).decode()
    except UnicodeDecodeError:
        raise FixError(f"{tag_name(tag)} was not text") from None


def read_number(fields: Mapping[bytes, bytes], tag: bytes, number_format: NumberFormat) -> Decimal:
    """The exact value of a required field of a message or of a group's entry."""
    number = number_format.parse(_value(fields, tag))
    if number is None:
        raise FixError(
            f"{tag_name(tag)} was not a plain number with at most {number_format.whole_digits_max} digits"
            f" and {number_format.decimals_max} decimals"
        )
    return number


def _value(fields: Mapping[bytes, bytes], tag: bytes) -> bytes:
    value = fields.get(tag)
    if value is None:
        raise FixError(f"{tag_name(tag)} was missing")
    if not value:
        raise FixError(f"{tag_name(tag)} was empty")
    return value


def _choices(codes: Mapping[bytes, Any]) -> str:
    return ", ".join(code.decode() for code in codes)


@lru_cache(maxsize=_DATES_CACHED_MAX)
def _date(value: bytes) -> date | None:
    if len(value) != _DATE_DIGITS or not value.isdigit():
        return None
    try:
        return date(int(value[:4]), int(value[4:6]), int(value[6:]))
    except ValueError:
        return None


def _timestamp_us(value: bytes) -> int | None:
    found = _TIMESTAMP.fullmatch(value)
    day = _date(found[1]) if found else None
    if found is None or day is None:
        return None
    hours, minutes, seconds = int(found[2]), int(found[3]), int(found[4])
    if hours > _HOUR_MAX:
        return None
    # A leap second (60) counts as the first second after it, as POSIX time has it.
    fraction_us = int((found[5] or b"").ljust(6, b"0")[:6])
    whole_us = ((hours * 60 + minutes) * 60 + seconds) * 1_000_000
    return (day.toordinal() - _EPOCH_ORDINAL) * _DAY_US + whole_us + fraction_us
