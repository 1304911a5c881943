"""Cases as they are given: options, a JSON object, or a file of many; all of them end as text by field name."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from services.commands.explain.kind import Case, CaseError, Kind
from services.commands.text import nearest

_LIST_SEPARATOR = ";"


class Given(NamedTuple):
    """One case of a file: its line, and what it says or why it cannot be read."""

    line: int
    members: Mapping[str, Any] | CaseError


def read_case(kind: Kind, members: Mapping[str, Any]) -> Case:
    """The case's values by field. Raises CaseError, which names every field that is wrong."""
    given = _flat(kind, kind.prepare(members))
    faults = [_unknown(kind, name) for name in given if name not in {field.name for field in kind.fields}]
    values: dict[str, Any] = {}
    for field in kind.fields:
        texts = given.get(field.name, ())
        if field.is_required and not texts:
            faults.append(f"{field.name} is missing: {field.help}")
        if len(texts) > 1 and not field.is_list:
            faults.append(f"{field.name} was given {len(texts)} times, expected once")
            continue
        read: list[object] = []
        for text in texts:
            try:
                read.append(field.read(text))
            except ValueError as error:
                faults.append(f"{field.name} was {text!r}, expected {error}")
        values[field.name] = tuple(read) if field.is_list else next(iter(read), None)
    if faults:
        raise CaseError("; ".join(faults))
    return values


def _unknown(kind: Kind, name: str) -> str:
    known = [field.name for field in kind.fields]
    return f"{name} is no field of {kind.name}.{nearest(name, known)} Known are: {', '.join(known)}"


def _flat(kind: Kind, members: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Texts by field name. An object under a name that is no list becomes fields `<name>_<member>`."""
    lists = {field.name for field in kind.fields if field.is_list}
    flat: dict[str, tuple[str, ...]] = {}

    def enter(name: str, value: Any) -> None:
        name = kind.also_known.get(name, name)
        if not name or value is None or value == "":
            return
        if isinstance(value, Mapping) and name not in lists:
            for member, inner in value.items():
                enter(f"{name}_{member}", inner)
            return
        texts = tuple(_texts(value)) if name in lists else (_text(name, value),)
        flat[name] = flat.get(name, ()) + texts

    for name, value in members.items():
        enter(name, value)
    return flat


def _texts(value: Any) -> Iterator[str]:
    """The values of a list: a JSON list or repeated option, an object of NAME: VALUE, or text with `;` between them."""
    if isinstance(value, Mapping):
        yield from (f"{name}={_text(name, inner)}" for name, inner in value.items())
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(_text("a value of the list", inner))
    else:
        yield from (part.strip() for part in _text("the list", value).split(_LIST_SEPARATOR) if part.strip())


def _text(name: str, value: Any) -> str:
    """A scalar of JSON as the text it was; numbers keep every digit."""
    match value:
        case str():
            return value.strip()
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case Decimal():
            return format(value, "f")
    raise CaseError(f"{name} was a {type(value).__name__}, expected text or a number")


def parse_object(text: str) -> dict[str, Any]:
    """One JSON object; numbers exact. Raises CaseError."""
    try:
        found = json.loads(text, parse_float=Decimal)
    except ValueError as error:
        raise CaseError(f"this is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise CaseError(f"this is JSON of type {type(found).__name__}, expected one object; many cases go in --cases")
    return found


def read_file(name: str, text: str) -> Iterator[Given]:
    """Every case of a file: CSV with a header when its name ends in .csv, else one JSON object a line.

    Lines that are empty or begin with `#` are left out. Raises CaseError when the file as a whole cannot be read.
    """
    yield from _csv_cases(text) if Path(name).suffix.lower() == ".csv" else _json_cases(text)


def _json_cases(text: str) -> Iterator[Given]:
    for number, line in _lines(text):
        try:
            yield Given(number, parse_object(line))
        except CaseError as error:
            yield Given(number, error)


def _csv_cases(text: str) -> Iterator[Given]:
    header: list[str] | None = None
    for number, line in _lines(text):
        try:
            (cells,) = csv.reader(io.StringIO(line), strict=True)
        except (csv.Error, ValueError):
            yield Given(number, CaseError("this is no line of CSV: close every quote on the same line"))
            continue
        if header is None:
            header = [cell.strip() for cell in cells]
            if len(set(header)) != len(header):
                raise CaseError(f"line {number}: the header names a column twice")
        elif len(cells) != len(header):
            yield Given(number, CaseError(f"the line has {len(cells)} cells, expected {len(header)} as in the header"))
        else:
            yield Given(number, dict(zip(header, cells, strict=True)))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        if line.strip() and not line.startswith("#"):
            yield number, line.rstrip("\r")
