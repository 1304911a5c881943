"""Reference data from CSV files, one file per kind, checked to the last field before anything is loaded.

The header names the fields of the record in any order; a column that is missing takes the field's default. An empty
cell is the default too. Lines that begin with `#` are comments. Lists are separated by `;`, shares of an allocation
template are `ACCOUNT=weight`. Every fault in every file is found and reported at once, by file, line and column.
"""

from __future__ import annotations

import csv
import re
import types
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec
from stdnum import cusip, isin
from stdnum.exceptions import ValidationError
from stdnum.gb import sedol

from services.domain.checks import is_lei
from services.domain.code import ChargeType, Side, ToleranceCode
from services.domain.day_count import faults_of
from services.domain.reference import (
    CODES_OF_FIELD,
    Account,
    AccruedInterestTolerance,
    AffirmationDeadline,
    AllocationTemplate,
    BondTerms,
    CalendarCoverage,
    ChargeExemption,
    ChargeRule,
    Holiday,
    Instrument,
    MatchingProfile,
    Party,
    ReferenceRecord,
    SettlementCycle,
    StandingSettlementInstruction,
    TemplateShare,
    TimeZoneOffset,
)

SHIPPED_DIRECTORY = Path(__file__).parents[2] / "deploy" / "reference"
"""The defaults that every installation starts from; its README says where they come from and how to change them."""

FILE_NAMES: dict[type[ReferenceRecord], str] = {
    Instrument: "instruments.csv",
    Party: "parties.csv",
    Account: "accounts.csv",
    AllocationTemplate: "allocation-templates.csv",
    StandingSettlementInstruction: "standing-settlement-instructions.csv",
    SettlementCycle: "settlement-cycles.csv",
    Holiday: "holidays.csv",
    CalendarCoverage: "calendar-coverages.csv",
    ChargeRule: "charge-rules.csv",
    MatchingProfile: "matching-profiles.csv",
    AffirmationDeadline: "affirmation-deadlines.csv",
    TimeZoneOffset: "time-zone-offsets.csv",
    BondTerms: "bond-terms.csv",
    AccruedInterestTolerance: "accrued-interest-tolerances.csv",
    ChargeExemption: "charge-exemptions.csv",
}
"""Name of each kind's file, in the order in which files are loaded. Any of them may be absent."""


def topic_of(kind: type[ReferenceRecord]) -> str:
    """The compacted topic of a kind of reference data, for example `reference.settlement-cycles`."""
    return "reference." + FILE_NAMES[kind].removesuffix(".csv")


class Fault(NamedTuple):
    """One thing wrong in one file."""

    file: str
    line: int
    """1 is the first line of the file; 0 speaks of the file as a whole."""
    column: str
    """Empty when it is about the whole line or file."""
    value: str
    expected: str

    def __str__(self) -> str:
        """One line for the terminal."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        column = f" column {self.column}" if self.column else ""
        return f"{place}:{column} was {self.value!r}, expected {self.expected}"


class ReferenceFileError(Exception):
    """The files cannot be loaded. Mend every fault that is listed; nothing was loaded."""

    def __init__(self, faults: list[Fault]) -> None:
        """Keep the faults, and list them all in the message."""
        super().__init__(f"{len(faults)} fault(s) in reference data files:\n" + "\n".join(map(str, faults)))
        self.faults = tuple(faults)


class _Row(NamedTuple):
    file: str
    line: int
    record: ReferenceRecord


def load_directory(path: Path | str) -> list[ReferenceRecord]:
    """Read every reference data file in a directory, in the order of FILE_NAMES, rows in the order of their lines.

    Files of other types are left alone; a CSV file of an unknown name is a fault, since its data would be missing.
    Raises ReferenceFileError, which holds all faults of all files.
    """
    directory = Path(path)
    if not directory.is_dir():
        raise ReferenceFileError([Fault(str(directory), 0, "", "no directory", "a directory of CSV files")])
    present = {entry.name for entry in directory.iterdir() if entry.suffix.lower() == ".csv"}
    known = ", ".join(FILE_NAMES.values())
    faults = [Fault(name, 0, "", name, f"one of {known}") for name in sorted(present - set(FILE_NAMES.values()))]
    records: list[ReferenceRecord] = []
    for kind, name in FILE_NAMES.items():
        if name in present:
            rows = _read_file(directory / name, kind, faults)
            faults.extend(_overlaps(rows))
            records.extend(row.record for row in rows)
    if faults:
        raise ReferenceFileError(faults)
    return records


# --- lines and cells -------------------------------------------------------------------------------------------------


class _Column(NamedTuple):
    name: str
    parse: Callable[[str], object]
    required: bool


def _read_file(path: Path, kind: type[ReferenceRecord], faults: list[Fault]) -> list[_Row]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        faults.append(Fault(path.name, 0, "", f"byte {error.start}", "UTF-8 text"))
        return []
    columns = _columns(kind)
    lines = _cells(path.name, text, faults)
    header_line, header = next(lines, (0, []))
    header_faults = _header_faults(path.name, header_line, header, columns)
    if header_faults:
        faults.extend(header_faults)
        return []
    rows = []
    for line, cells in lines:
        if len(cells) != len(header):
            faults.append(Fault(path.name, line, "", f"{len(cells)} cells", f"{len(header)} cells, as in the header"))
            continue
        record = _record(kind, path.name, line, dict(zip(header, cells, strict=True)), columns, faults)
        if record is not None:
            rows.append(_Row(path.name, line, record))
    return rows


def _cells(file: str, text: str, faults: list[Fault]) -> Iterator[tuple[int, list[str]]]:
    """Number and cells of every line that is neither empty nor a comment. A cell never spans lines."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            (cells,) = csv.reader([line], strict=True)
        except (csv.Error, ValueError):
            faults.append(Fault(file, number, "", line, "cells separated by commas, quotes closed on the same line"))
            continue
        yield number, [cell.strip() for cell in cells]


def _header_faults(file: str, line: int, header: list[str], columns: dict[str, _Column]) -> list[Fault]:
    expected = "one of " + ", ".join(columns)
    faults = [Fault(file, line, name, name, expected) for name in header if name not in columns]
    twice = sorted({name for name in header if header.count(name) > 1})
    faults += [Fault(file, line, name, name, "each column once") for name in twice]
    missing = [column.name for column in columns.values() if column.required and column.name not in header]
    faults += [Fault(file, line, name, "no column", "a column, because the field has no default") for name in missing]
    return faults


def _record(
    kind: type[ReferenceRecord],
    file: str,
    line: int,
    cells: dict[str, str],
    columns: dict[str, _Column],
    faults: list[Fault],
) -> ReferenceRecord | None:
    values: dict[str, object] = {}
    found: list[Fault] = []
    for name, cell in cells.items():
        column = columns[name]
        if not cell:
            if column.required:
                found.append(Fault(file, line, name, "", "a value"))
            continue
        try:
            values[name] = column.parse(cell)
        except _CellError as error:
            found.append(Fault(file, line, name, cell, str(error)))
    if not found:
        record = kind(**values)  # type: ignore[arg-type]  # each value was parsed by the type of its field
        found = [Fault(file, line, name, cells.get(name, ""), expected) for name, expected in _contradictions(record)]
        if not found:
            return record
    faults.extend(found)
    return None


# --- what a cell may hold --------------------------------------------------------------------------------------------


class _CellError(Exception):
    """What was expected of a cell."""


_PLAIN_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_PLAIN_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SIGNED_MINUTES = re.compile(r"-?[0-9]{1,3}")
_INTEGER = re.compile(r"[0-9]{1,4}")
_RESERVED = re.compile(r"[\x00-\x1f\x7f|]")  # `|` joins the parts of a record's key


def _pattern(pattern: str, expected: str) -> Callable[[str], str]:
    compiled = re.compile(pattern)

    def parse(cell: str) -> str:
        if compiled.fullmatch(cell) is None:
            raise _CellError(expected)
        return cell

    return parse


def _check_digit(validate: Callable[[str], str], expected: str) -> Callable[[str], str]:
    def parse(cell: str) -> str:
        try:
            canonical = validate(cell)
        except ValidationError:
            canonical = ""
        if canonical != cell:  # the library mends case and blanks; a name that was mended is not the one on the wire
            raise _CellError(expected)
        return cell

    return parse


def _text(cell: str) -> str:
    if _RESERVED.search(cell):
        raise _CellError("text without control characters and without |")
    return cell


def _day(cell: str) -> date:
    if _PLAIN_DATE.fullmatch(cell) is None:
        raise _CellError("a date as YYYY-MM-DD")
    try:
        return date.fromisoformat(cell)
    except ValueError:
        raise _CellError("a date that exists, as YYYY-MM-DD") from None


def _count(cell: str) -> int:
    if _INTEGER.fullmatch(cell) is None:
        raise _CellError("a whole number, 0 or more")
    return int(cell)


def _signed_minutes(cell: str) -> int:
    if _SIGNED_MINUTES.fullmatch(cell) is None:
        raise _CellError("whole minutes ahead of UTC, negative behind it")
    return int(cell)


def _flag(cell: str) -> bool:
    if cell not in ("true", "false"):
        raise _CellError("true or false")
    return cell == "true"


def _decimal(*, precision: int, scale: int, positive: bool) -> Callable[[str], Decimal]:
    sign = "above 0" if positive else "0 or more"
    expected = (
        f"a plain decimal number {sign} with at most {precision - scale} digits before and {scale} after the point"
    )

    def parse(cell: str) -> Decimal:
        if _PLAIN_DECIMAL.fullmatch(cell) is None:
            raise _CellError(expected)
        value = Decimal(cell)
        whole, _, decimals = cell.removeprefix("-").partition(".")
        too_long = len(whole) > precision - scale or len(decimals) > scale
        if too_long or value < 0 or (positive and value == 0):
            raise _CellError(expected)
        return value

    return parse


def _enum(kind: type[Enum]) -> Callable[[str], Enum]:
    expected = "one of " + ", ".join(str(member.value) for member in kind)

    def parse(cell: str) -> Enum:
        try:
            return kind(cell)
        except ValueError:
            raise _CellError(expected) from None

    return parse


def _list(parse_item: Callable[[str], object]) -> Callable[[str], tuple[object, ...]]:
    def parse(cell: str) -> tuple[object, ...]:
        return tuple(parse_item(item.strip()) for item in cell.split(";"))

    return parse


_WEIGHT = _decimal(precision=20, scale=12, positive=True)


def _share(item: str) -> TemplateShare:
    account, equals, weight = item.partition("=")
    if not account.strip() or not equals:
        raise _CellError("shares as ACCOUNT=weight;ACCOUNT=weight")
    return TemplateShare(account=_text(account.strip()), weight=_WEIGHT(weight.strip()))


_CURRENCY = _pattern("[A-Z]{3}", "an ISO 4217 currency code of three capitals")
_BIC = _pattern("[A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}([A-Z0-9]{3})?", "a BIC of 8 or 11 characters (ISO 9362)")
_CALENDAR = _pattern(
    "SETTLEMENT:[A-Z]{2}|TRADING:[A-Z0-9]{4}|CURRENCY:[A-Z]{3}",
    "SETTLEMENT:<market>, TRADING:<MIC> or CURRENCY:<ISO 4217>",
)
_MARKET = _pattern("[A-Z]{2}", "a market of two capitals, for example DE")

# Fields whose name says more than their type does. All other fields are read by their type.
_BY_NAME: dict[str, Callable[[str], object]] = {
    "isin": _check_digit(isin.validate, "an ISIN with its check digit (ISO 6166)"),
    "sedol": _check_digit(sedol.validate, "a SEDOL with its check digit"),
    "cusip": _check_digit(cusip.validate, "a CUSIP with its check digit"),
    "lei": _check_digit(lambda cell: cell if is_lei(cell) else "", "an LEI with its check digits (ISO 17442)"),
    "bic": _BIC,
    "depository_bic": _BIC,
    "participant_bic": _BIC,
    "client_bic": _BIC,
    "currency": _CURRENCY,
    "issuer_country": _pattern("[A-Z]{2}", "an ISO 3166 country code of two capitals"),
    "settlement_market": _MARKET,
    "calendar": _CALENDAR,
    "local_time": _pattern("([01][0-9]|2[0-3]):[0-5][0-9]", "a time of day as HH:MM"),
    "time_zone": _pattern("[A-Za-z_]+/[A-Za-z_/]+", "a time zone of the IANA database, for example America/New_York"),
    "offset_minutes": _signed_minutes,
    "ex_dividend_calendar": _CALENDAR,
    "effective_by": _pattern("TRADE_DATE|SETTLEMENT_DATE", "one of TRADE_DATE, SETTLEMENT_DATE"),
}
_POSITIVE = frozenset({"denomination", "rounding_unit"})


def _columns(kind: type[ReferenceRecord]) -> dict[str, _Column]:
    hints = get_type_hints(kind, include_extras=True)
    columns = {}
    for field in msgspec.structs.fields(kind):
        parse = _BY_NAME.get(field.name) or _by_type(hints[field.name], field.name)
        columns[field.name] = _Column(field.name, parse, field.required)
    return columns


def _by_type(hint: Any, name: str) -> Callable[[str], object]:
    """How cells of a declared type are read. Raises TypeError for a type that the loader lacks."""
    wire: dict[str, Any] = {}
    while get_origin(hint) in (Annotated, Union, types.UnionType):
        if get_origin(hint) is Annotated:
            for meta in hint.__metadata__:
                wire |= meta.extra or {}
            hint = hint.__origin__
        else:
            (hint,) = (choice for choice in get_args(hint) if choice is not type(None))
    if hint is Decimal:
        return _decimal(precision=wire["precision"], scale=wire["scale"], positive=name in _POSITIVE)
    if get_origin(hint) is tuple:
        return _list(_by_type(get_args(hint)[0], name))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enum(hint)
    simple: dict[Any, Callable[[str], object]] = {str: _text, date: _day, int: _count, bool: _flag}
    simple[TemplateShare] = _share
    if hint not in simple:
        raise TypeError(f"field {name} was of type {hint}, which a CSV cell cannot hold")
    return simple[hint]


# --- what cells may not say together ---------------------------------------------------------------------------------


def _contradictions(record: ReferenceRecord) -> Iterator[tuple[str, str]]:
    """Column and expectation of everything in a row that contradicts itself."""
    if record.valid_to is not None and record.valid_to < record.valid_from:
        yield "valid_to", f"{record.valid_from.isoformat()} (valid_from) or later"
    if isinstance(record, CalendarCoverage) and record.last_day < record.first_day:
        yield "last_day", f"{record.first_day.isoformat()} (first_day) or later"
    if isinstance(record, Holiday) and not record.is_effective(record.day):
        yield "day", "a day between valid_from and valid_to"
    if isinstance(record, ChargeRule) and record.side is Side.SELL_SHORT:
        yield "side", "BUY, SELL or nothing; a short sale pays what a sale pays"
    if isinstance(record, MatchingProfile):
        yield from _profile_contradictions(record)
    if isinstance(record, AffirmationDeadline) and record.local_time < _CLOCKS_HAVE_CHANGED:
        yield "local_time", f"{_CLOCKS_HAVE_CHANGED} or later: before, the day's clock may still be changed"
    if isinstance(record, ChargeRule) and ChargeType.COMMISSION in (record.charge_type, record.charge_id):
        yield "charge_id", "a charge; a commission is what the execution says"
    if isinstance(record, BondTerms):
        yield from faults_of(record)
    if isinstance(record, AllocationTemplate):
        accounts = [share.account for share in record.shares]
        if len(set(accounts)) != len(accounts):
            yield "shares", "each account once"


_CLOCKS_HAVE_CHANGED = "03:00"
"""By then a zone's clocks show what they show for the rest of the day on which they are changed."""

_VALUES_OF = {
    ToleranceCode.EXCT: frozenset[str](),
    ToleranceCode.PTOL: frozenset({"percent"}),
    ToleranceCode.PTMX: frozenset({"percent", "maximum"}),
    ToleranceCode.MNMX: frozenset({"below", "above"}),
    ToleranceCode.CPOP: frozenset[str](),
    ToleranceCode.NUFM: frozenset[str](),
}
"""Columns that go with each code; the others stay empty."""


def _profile_contradictions(record: MatchingProfile) -> Iterator[tuple[str, str]]:
    """A row is for one field with its code and values, or in the older form, which knows neither."""
    if _is_half_given(record.amount_threshold, record.amount_tolerance_large):
        yield "amount_tolerance_large", "a value together with amount_threshold, or neither"
    if record.field is None or record.code is None:
        if _is_half_given(record.field, record.code):
            yield ("field" if record.field is None else "code"), "a value: field and code come together"
        for name in ("instrument_type", "net_amount_above", "percent", "maximum", "below", "above"):
            if getattr(record, name) is not None:
                yield name, "nothing in a row without field and code"
        return
    if record.price_tolerance or record.amount_tolerance or record.amount_threshold is not None:
        yield "field", "nothing in a row of the older form, with price_tolerance and amount_tolerance"
    allowed = CODES_OF_FIELD[record.field]
    if record.code not in allowed:
        yield "code", f"one of {', '.join(sorted(allowed))} for {record.field}"
    for name in ("percent", "maximum", "below", "above"):
        needed = name in _VALUES_OF[record.code]
        if needed is not (getattr(record, name) is not None):
            yield name, f"{'a value' if needed else 'nothing'} for {record.code}"


def _is_half_given(one: object, other: object) -> bool:
    return (one is None) != (other is None)


def _overlaps(rows: list[_Row]) -> list[Fault]:
    """Rows under one name whose validities overlap: which of them holds would be an accident."""
    by_name: dict[tuple[str, ...], list[_Row]] = {}
    for row in rows:
        for name in _names(row.record):
            by_name.setdefault(name, []).append(row)
    faults: dict[tuple[int, int], Fault] = {}
    for name, same in by_name.items():
        same.sort(key=lambda row: (row.record.valid_from, row.line))
        holding = same[0]  # of the rows so far, the one that holds longest
        for row in same[1:]:
            if row.record.valid_from <= _last_day(holding):
                expected = f"a day after valid_to of line {holding.line}, which has the same {' '.join(name)}"
                fault = Fault(row.file, row.line, "valid_from", row.record.valid_from.isoformat(), expected)
                faults.setdefault((holding.line, row.line), fault)
            holding = max(holding, row, key=_last_day)
    return list(faults.values())


def _last_day(row: _Row) -> date:
    return row.record.valid_to or date.max


def _names(record: ReferenceRecord) -> list[tuple[str, ...]]:
    """Every name that must mean one record on any one day: its key, and for an instrument each of its identifiers."""
    key = tuple(f"{field}={getattr(record, field)}" for field in record.key_fields)
    if isinstance(record, Instrument):
        return [key, *((name,) for name in record.lookup_ids())]
    return [key]
