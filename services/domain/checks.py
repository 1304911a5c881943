"""Shape and check digit of identifiers: what can be told from the text alone, before any reference data is asked.

The functions take text as it was sent and repair nothing: a lower-case or padded identifier is refused, because two
spellings of one name would be two names to every comparison that follows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType

from services.domain.code import SecurityIdSource

IDENTIFIER_CHARACTERS_MAX = 64
"""Longest identifier that is let in. FIX and Avro set no limit; state keys, topics and screens need one."""

_CACHED_IDENTIFIERS_MAX = 16_384  # distinct instruments seen in a day; beyond it the check is merely done again

_ISIN = re.compile(r"[A-Z]{2}[A-Z0-9]{9}[0-9]")
_SEDOL = re.compile(r"[0-9]{7}|[B-DF-HJ-NP-TV-Z][0-9B-DF-HJ-NP-TV-Z]{5}[0-9]")
_CUSIP = re.compile(r"[0-9A-Z*@#]{8}[0-9]")
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
    """Whether the text is an ISIN with a right check digit (ISO 6166: Luhn over the letters written as 10 to 35)."""
    if not _ISIN.fullmatch(text):
        return False
    digits = "".join(str(int(character, 36)) for character in text)
    return _luhn_sum(digits) % 10 == 0


def _luhn_sum(digits: str) -> int:
    """Sum of all digits, every second one from the right doubled and its own digits added."""
    odd = sum(int(digit) for digit in digits[-1::-2])
    even = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return odd + even


@lru_cache(maxsize=_CACHED_IDENTIFIERS_MAX)
def is_sedol(text: str) -> bool:
    """Whether the text is a SEDOL with a right check digit (LSE Masterfile: no vowels, weights 1, 3, 1, 7, 3, 9)."""
    if not _SEDOL.fullmatch(text):
        return False
    total = sum(weight * int(character, 36) for weight, character in zip(_SEDOL_WEIGHTS, text, strict=False))
    return (10 - total % 10) % 10 == int(text[-1])


@lru_cache(maxsize=_CACHED_IDENTIFIERS_MAX)
def is_cusip(text: str) -> bool:
    """Whether the text is a CUSIP with a right check digit (ANSI X9.6: every second value doubled, digits added)."""
    if not _CUSIP.fullmatch(text):
        return False
    values = [_CUSIP_ALPHABET.index(character) * (1 + index % 2) for index, character in enumerate(text[:-1])]
    total = sum(sum(divmod(value, 10)) for value in values)
    return (10 - total % 10) % 10 == int(text[-1])


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
