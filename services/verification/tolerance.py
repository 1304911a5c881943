"""Whether a matching profile could ever have let two values of a field pass: the auditor's own reckoning.

It knows neither which row of a profile held when the two met nor in what order rows came, so it asks whether any row
that the profile ever had for the field is wide enough. A match that no row allows is wrong in any case.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from typing import Any

from services.verification.plain import Plain

PRICE, SETTLEMENT_DATE, NET_AMOUNT = "PRICE", "SETTLEMENT_DATE", "NET_AMOUNT"
EVER_EQUAL = frozenset({"QUANTITY", "CURRENCY"})
CALCULATED = frozenset({"GROSS_AMOUNT", "ACCRUED_INTEREST", "COMMISSION", "CHARGES"})
TAKES_THEIRS, UNUSED = "CPOP", "NUFM"


class Profiles:
    """Every row that any profile ever had."""

    def __init__(self, records: Iterable[Plain]) -> None:
        """Take the records of the topic of matching profiles."""
        self._rows: defaultdict[tuple[str, str], list[Plain]] = defaultdict(list)
        for record in records:
            if record.get("field") is None:  # also what was written before there were fields
                self._rows[record["profile"], PRICE].append(_older(record["price_tolerance"]))
                for name in ("amount_tolerance", "amount_tolerance_large"):
                    if record[name] is not None:
                        self._rows[record["profile"], NET_AMOUNT].append(_older(record[name]))
            else:
                self._rows[record["profile"], record["field"]].append(record)

    def permits(self, profile: str, field: str, ours: Any, theirs: Any) -> bool:
        """Whether the two may stand in one match; `theirs` None: not stated."""
        if theirs is None or ours == theirs:
            return True
        return field not in EVER_EQUAL and any(_permits(row, field, ours, theirs) for row in self._of(profile, field))

    def takes_theirs(self, profile: str, field: str) -> bool:
        """Whether the counterparty ever populated the field."""
        return field not in CALCULATED and any(row["code"] == TAKES_THEIRS for row in self._of(profile, field))

    def _of(self, profile: str, field: str) -> list[Plain]:
        return self._rows.get((profile, field), [])


def _older(tolerance: Decimal) -> Plain:
    return {"code": "MNMX", "below": tolerance, "above": tolerance}


def _permits(row: Plain, field: str, ours: Any, theirs: Any) -> bool:
    code = row["code"]
    if code == TAKES_THEIRS:
        return field not in CALCULATED
    if code == UNUSED:
        return field != NET_AMOUNT
    if code == "EXCT" or not isinstance(ours, Decimal):
        return False
    apart = Fraction(theirs) - Fraction(ours)
    if code == "MNMX":
        return -Fraction(row["below"]) <= apart <= Fraction(row["above"])
    width = abs(Fraction(ours)) * Fraction(row["percent"]) / 100
    return abs(apart) <= (min(width, Fraction(row["maximum"])) if code == "PTMX" else width)
