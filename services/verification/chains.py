"""Where sides settle, compared with the standing settlement instructions (SSI) that were ever published."""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from typing import NamedTuple

from services.verification.judge import V2, Judge
from services.verification.model import Decode, World
from services.verification.names import CHAIN_FIELDS, STANDING_INSTRUCTIONS
from services.verification.plain import Plain


class _Standing(NamedTuple):
    """One row, as it was published."""

    instrument_type: str | None
    currency: str | None
    valid_from: date
    valid_to: date | None
    chain: tuple[str | None, ...]


class Chains:
    """Knows every settlement chain that reference data still holds.

    It does not say which of several rows is the right one at the time, only that a chain is nobody's invention: it is
    that of a row of this owner, for the market, the instrument type, the currency and the settlement date.
    """

    def __init__(self, world: World, decode: Decode, judge: Judge) -> None:
        """Read the rows; without their topic nothing is judged."""
        self._judge = judge
        self._rows: defaultdict[tuple[str, str], set[_Standing]] = defaultdict(set)
        self._is_known = STANDING_INSTRUCTIONS in set(world.topics())
        self._is_whole = self._is_known and self._read(world, decode)
        if not self._is_known:
            judge.note(V2, "standing settlement instructions are not known here, so no settlement chain was compared")
        self._unknown = 0

    def _read(self, world: World, decode: Decode) -> bool:
        """Whether every row ever written is still there; compaction removes what was replaced."""
        count = 0
        for entry in world.entries(STANDING_INSTRUCTIONS):
            count += 1
            row = None if entry.value is None else decode(STANDING_INSTRUCTIONS, entry.value)
            if row is not None:
                chain = tuple(row[name] for name in CHAIN_FIELDS)
                standing = _Standing(row["instrument_type"], row["currency"], row["valid_from"], row["valid_to"], chain)
                self._rows[row["owner"], row["settlement_market"]].add(standing)
        return count >= sum(world.stable_ends(STANDING_INSTRUCTIONS).values())

    def check(self, where: str, owner: str, record: Plain, name: str) -> None:
        """The chain in this field of a record is one of the owner's."""
        if not self._is_known:
            return
        chain = tuple(record[name][part] for part in CHAIN_FIELDS)
        rows = self._rows.get((owner, record["settlement_market"]), set())
        follows = any(row.chain == chain and _holds(row, record) for row in rows)
        if follows or self._is_whole:
            told = (where, "has in", name, "what no standing settlement instruction says of", owner)
            self._judge.check(V2, follows, *told)
        else:
            self._unknown += not self._judge.is_quiet

    def settle(self) -> None:
        """Say what could not be judged."""
        if self._unknown:
            sentence = (
                f"{self._unknown} settlement chains are of no standing settlement instruction that is still there"
            )
            self._judge.note(V2, f"{sentence}; compaction has removed older ones, so they are not judged")


def _holds(row: _Standing, record: Plain) -> bool:
    day = record["settlement_date"]
    return (
        row.instrument_type in (None, record["instrument_type"])
        and row.currency in (None, record["currency"])
        and row.valid_from <= day
        and (row.valid_to is None or day <= row.valid_to)
    )
