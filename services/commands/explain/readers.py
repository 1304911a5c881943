"""Text to value, for the fields of cases. Each raises ValueError that says what was expected."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import TypeVar

E = TypeVar("E", bound=Enum)

_DECIMAL = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,12})?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def text(value: str) -> str:
    """Any text."""
    return value


def pattern(expression: str, expected: str) -> Callable[[str], str]:
    """Text of a form."""
    compiled = re.compile(expression)

    def read(value: str) -> str:
        if compiled.fullmatch(value) is None:
            raise ValueError(expected)
        return value

    return read


market = pattern("[A-Z]{2}", "a market of two capitals, for example DE")
currency = pattern("[A-Z]{3}", "an ISO 4217 currency code of three capitals")
country = pattern("[A-Z]{2}", "an ISO 3166 country code of two capitals")


def day(value: str) -> date:
    """A date."""
    if _DATE.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise ValueError("a date that exists, as YYYY-MM-DD")


def decimal(value: str) -> Decimal:
    """A plain number, exact."""
    if _DECIMAL.fullmatch(value) is None:
        raise ValueError("a plain decimal number of at most 20 digits before and 12 after the point")
    return Decimal(value)


def positive(value: str) -> Decimal:
    """A plain number above 0."""
    found = decimal(value)
    if found <= 0:
        raise ValueError("a plain decimal number above 0")
    return found


def one_of(kind: type[E]) -> Callable[[str], E]:
    """A code of a closed set; its case does not matter."""
    expected = "one of " + ", ".join(str(member.value) for member in kind)

    def read(value: str) -> E:
        try:
            return kind(value.upper())
        except ValueError:
            raise ValueError(expected) from None

    return read


def share(value: str) -> tuple[str, Decimal]:
    """An account and its weight or percentage, as ACCOUNT=WEIGHT."""
    account, equals, weight = value.partition("=")
    if not account.strip() or not equals:
        raise ValueError("shares as ACCOUNT=WEIGHT, for example FUND-A=60")
    found = decimal(weight.strip().removesuffix("%"))
    if found < 0:
        raise ValueError("a weight of 0 or more")
    return account.strip(), found
