"""Shape and check digit of identifiers: what can be told from the text alone, before any reference data is asked.

The functions take text as it was sent and repair nothing: a lower-case or padded identifier is refused, because two
spellings of one name would be two names to every comparison that follows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from services.domain.code import SecurityIdSource

IDENTIFIER_CHARACTERS_MAX = 64
"""Longest identifier that is let in. FIX and Avro set no limit; state keys, topics and screens need one."""

_CACHED_IDENTIFIERS_MAX = 16_384  # distinct instruments seen in a day; beyond it the check is merely done again

_ISIN = re.compile(r"[A-Z]{2}[A-Z0-9]{9}[0-9]")
_SEDOL = re.compile(r"[0-9]{7}|[B-DF-HJ-NP-TV-Z][0-9B-DF-HJ-NP-TV-Z]{5}[0-9]")
_CUSIP = re.compile(r"[0-9A-Z*@#]{8}[0-9]")
_LEI = re.compile(r"[A-Z0-9]{18}[0-9]{2}")
_BIC = re.compile(r"[A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}(?:[A-Z0-9]{3})?")
_CURRENCY = re.compile(r"[A-Z]{3}")
_MIC = re.compile(r"[A-Z0-9]{4}")

_CUSIP_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ*@#"
_SEDOL_WEIGHTS = (1, 3, 1, 7, 3, 9)


def is_identifier(text: str) -> bool:
    """Whether the text can name something: printable ASCII, not blank, at most IDENTIFIER_CHARACTERS_MAX characters."""
    if not text or len(text) > IDENTIFIER_CHARACTERS_MAX:
        return False
    return text.isascii() and text.isprintable() and not text.isspace()


@lru_cache(maxsize=_CACHED_IDENTIFIERS_MAX)
def is_isin(text: str) -> bool:
    """Whether the text is an ISIN with a right check digit (ISO 6166)."""
    return _ISIN.fullmatch(text) is not None and isin_check_digit(text[:-1]) == text[-1]


def isin_check_digit(text: str) -> str:
    """The check digit behind the first eleven characters: Luhn over the letters written as 10 to 35 (ISO 6166)."""
    digits = "".join(str(int(character, 36)) for character in text)
    return str(-_luhn_sum(digits + "0") % 10)


def _luhn_sum(digits: str) -> int:
    """Sum of all digits, every second one from the right doubled and its own digits added."""
    odd = sum(int(digit) for digit in digits[-1::-2])
    even = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return odd + even


@lru_cache(maxsize=_CACHED_IDENTIFIERS_MAX)
def is_sedol(text: str) -> bool:
    """Whether the text is a SEDOL with a right check digit (LSE Masterfile: digits and capitals without vowels)."""
    return _SEDOL.fullmatch(text) is not None and sedol_check_digit(text[:-1]) == text[-1]


def sedol_check_digit(text: str) -> str:
    """The check digit behind the first six characters: weights 1, 3, 1, 7, 3, 9, letters as 10 to 35."""
    total = sum(weight * int(character, 36) for weight, character in zip(_SEDOL_WEIGHTS, text, strict=True))
    return str(-total % 10)


@lru_cache(maxsize=_CACHED_IDENTIFIERS_MAX)
def is_cusip(text: str) -> bool:
    """Whether the text is a CUSIP with a right check digit (ANSI X9.6)."""
    return _CUSIP.fullmatch(text) is not None and cusip_check_digit(text[:-1]) == text[-1]


def cusip_check_digit(text: str) -> str:
    """The check digit behind the first eight characters: every second value doubled, digits added (ANSI X9.6)."""
    values = [_CUSIP_ALPHABET.index(character) * (1 + index % 2) for index, character in enumerate(text)]
    return str(-sum(sum(divmod(value, 10)) for value in values) % 10)


@lru_cache(maxsize=_CACHED_IDENTIFIERS_MAX)
def is_lei(text: str) -> bool:
    """Whether the text is a legal entity identifier with right check digits (ISO 17442)."""
    return _LEI.fullmatch(text) is not None and lei_check_digits(text[:-2]) == text[-2:]


def lei_check_digits(text: str) -> str:
    """The two check digits behind the first eighteen characters: 98 less the remainder by 97 (ISO 7064, MOD 97-10)."""
    number = int("".join(str(int(character, 36)) for character in text) + "00")
    return f"{98 - number % 97:02d}"


@lru_cache(maxsize=_CACHED_IDENTIFIERS_MAX)
def is_bic(text: str) -> bool:
    """Whether the text has the shape of a BIC of 8 or 11 characters (ISO 9362, pattern of ISO 20022 BICFIDec2014)."""
    return _BIC.fullmatch(text) is not None


def is_currency(text: str) -> bool:
    """Whether the text has the shape of an ISO 4217 code: three capital letters."""
    return _CURRENCY.fullmatch(text) is not None


def is_mic(text: str) -> bool:
    """Whether the text has the shape of an ISO 10383 market identifier code: four capital letters or digits."""
    return _MIC.fullmatch(text) is not None


IS_SECURITY_ID: Mapping[SecurityIdSource, Callable[[str], bool]] = MappingProxyType(
    {SecurityIdSource.ISIN: is_isin, SecurityIdSource.SEDOL: is_sedol, SecurityIdSource.CUSIP: is_cusip}
)
"""The check for an instrument identifier, by its scheme."""


class IdentifierScheme(NamedTuple):
    """What the text of an identifier must be, taken apart into the checks that `is_valid` makes."""

    name: str
    standard: str
    is_valid: Callable[[str], bool]
    shape: re.Pattern[str]
    form: str
    """The shape in words."""
    check_digits: Callable[[str], str] | None = None
    """The last characters, from those before them; None where there are none."""
    check_digits_count: int = 0


IDENTIFIER_SCHEMES: Mapping[str, IdentifierScheme] = MappingProxyType({
    scheme.name: scheme
    for scheme in (
        IdentifierScheme(
            "ISIN", "ISO 6166", is_isin, _ISIN, "two capitals, nine capitals or digits, one check digit",
            isin_check_digit, 1,
        ),
        IdentifierScheme(
            "SEDOL", "London Stock Exchange SEDOL Masterfile", is_sedol, _SEDOL,
            "six digits, or a consonant and five digits or consonants; then one check digit", sedol_check_digit, 1,
        ),
        IdentifierScheme(
            "CUSIP", "ANSI X9.6", is_cusip, _CUSIP, "eight digits, capitals, *, @ or #; then one check digit",
            cusip_check_digit, 1,
        ),
        IdentifierScheme(
            "LEI", "ISO 17442", is_lei, _LEI, "eighteen capitals or digits, two check digits", lei_check_digits, 2
        ),
        IdentifierScheme(
            "BIC", "ISO 9362", is_bic, _BIC,
            "four capitals or digits, two capitals for the country, two capitals or digits, and three more or none",
        ),
        IdentifierScheme("MIC", "ISO 10383", is_mic, _MIC, "four capitals or digits"),
    )
})  # fmt: skip
"""Every scheme of identifiers, by name."""
