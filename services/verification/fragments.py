"""Allocation instructions that come in fragments: a second time, from FIX 892 and 893 alone."""

from __future__ import annotations

from collections.abc import Mapping

from services.verification.names import PART_FIELDS, REQUEST_FIELDS
from services.verification.plain import Plain, content_mark


def is_fragment(record: Plain) -> bool:
    """Whether more accounts belong to the instruction than it lists."""
    total = record["total_allocations"]
    return record["last_fragment"] is False or (total is not None and total != len(record["allocations"]))


def whole_mark(fragments: Mapping[bytes, Plain]) -> bytes | None:
    """Content of an instruction whose fragments these are, if they are all: its accounts by name."""
    records = list(fragments.values())
    shares = [share for record in records for share in record["allocations"]]
    if not records or len(shares) != records[0]["total_allocations"]:
        return None
    whole = {**records[0], "last_fragment": None}
    whole["allocations"] = sorted(shares, key=lambda share: (share["account"], share["quantity"]))
    return content_mark(whole, REQUEST_FIELDS, PART_FIELDS)
