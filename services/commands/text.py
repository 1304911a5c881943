"""Plain text for terminals, files and pipes alike: aligned columns, no colours, no wrapping."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

_GAP = "  "


def columns(header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[int] = ()) -> str:
    """A header and rows, each column as wide as its widest cell; the columns numbered in `right` are right-aligned."""
    lines = [tuple(header), *(tuple(row) for row in rows)]
    widths = [max(len(line[number]) for line in lines) for number in range(len(header))]
    to_right = set(right)
    return "\n".join(
        _GAP.join(
            cell.rjust(width) if number in to_right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """` Did you mean …?` with the known name that is most like the given one; empty when none is."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    return f" Did you mean {found[0]}?" if found else ""


def plural(count: int, noun: str) -> str:
    """`1 record`, `2,000 records`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
