"""Ids are derived, never drawn: the same input yields the same id, so a replay derives it again."""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from struct import Struct

from services.domain.digest import sha256

_SEPARATOR = "\x1f"  # cannot occur in a FIX or Avro identifier that capture lets through
_DIGEST_CHARACTERS = 14  # 70 bits: at 10**8 ids a year the chance of any collision is below 1 in 200,000

_CACHED_BLOCKS_MAX = 16_384  # the fills of an order come close together; beyond it an id is merely derived again

_BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"  # RFC 4648
_PAIRS = tuple(first + second for first in _BASE32 for second in _BASE32)
_PAIR_BITS = 10
_STRAIGHT_CHARACTERS, _STRAIGHT_BYTES = 16, 10
_parts_of_80_bits = Struct(">QH").unpack_from


def base32(digest: bytes, *, characters: int) -> str:
    """The first characters, an even number, of a digest long enough for them, in base 32 (RFC 4648).

    base64.b32encode, written in Python, took three times as long as the loop, seven times for each order; ids have no
    more than 16 characters, for which a line without a loop takes half as long again.
    """
    if characters <= _STRAIGHT_CHARACTERS and len(digest) >= _STRAIGHT_BYTES:
        return _sixteen(digest)[:characters]
    bits = characters * 5
    number = int.from_bytes(digest[: (bits + 7) // 8], "big") >> -bits % 8
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(bits - _PAIR_BITS, -1, -_PAIR_BITS)])


def _sixteen(digest: bytes) -> str:
    """The first 80 bits, ten for each pair: six pairs are in the first 64, one is in both parts."""
    upper, lower = _parts_of_80_bits(digest)
    pair = _PAIRS
    return (
        f"{pair[upper >> 54]}{pair[upper >> 44 & 1023]}{pair[upper >> 34 & 1023]}{pair[upper >> 24 & 1023]}"
        f"{pair[upper >> 14 & 1023]}{pair[upper >> 4 & 1023]}"
        f"{pair[(upper & 15) << 6 | lower >> 10]}{pair[lower & 1023]}"
    )


def _derive(prefix: str, parts: tuple[str, ...]) -> str:
    return prefix + base32(sha256(_SEPARATOR.join(parts).encode()), characters=_DIGEST_CHARACTERS)


def trade_id(*, sender: str, trade_date: date, execution_id: str, side: str) -> str:
    """Identify one execution: ExecID (17) is unique per sender (49) and day (75); two sides of one trade differ."""
    return _derive("TR", (sender, trade_date.isoformat(), execution_id, side))


@lru_cache(maxsize=_CACHED_BLOCKS_MAX)
def block_id(*, order_id: str, trade_date: date) -> str:
    """Identify the block of all fills of one order on one trade date."""
    return _derive("BL", (order_id, trade_date.isoformat()))


def allocation_id(*, block: str, instruction: str, account: str, ordinal: int, version: int = 1) -> str:
    """Identify one account's share of a block under one allocation instruction (or template), in one version of it."""
    parts = (block, instruction, account, str(ordinal))
    return _derive("AL", parts if version == 1 else (*parts, str(version)))


def instruction_id(*, allocation: str, version: int, account: str, leg: str) -> str:
    """Identify one settlement instruction; 16 characters, which every depository takes as a reference."""
    return _derive("SI", (allocation, str(version), account, leg))


def exception_id(*, service: str, subject: str, reason: str) -> str:
    """Identify one exception: the same trouble with the same subject is one exception, however often it is met."""
    return _derive("EX", (service, subject, reason))


def match_key(*, counterparty: str, account: str, isin: str, side: str, trade_date: date) -> str:
    """Name what both sides of a trade know before they compare details; confirmation is partitioned by it.

    `counterparty` is the counterparty's BIC, `side` is ours as Side.settles_as gives it. Quantity, price and amounts
    are compared, not keyed.
    """
    return f"{counterparty}|{account}|{isin}|{side}|{trade_date.isoformat()}"
