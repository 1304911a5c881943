"""The reference data that is shipped in deploy/reference, for tests of what it says."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from services.adapters.reference_files import load_directory
from services.domain.reference import ReferenceData, ReferenceRecord

DIRECTORY = Path(__file__).parents[3] / "deploy" / "reference"


@cache
def shipped_records() -> tuple[ReferenceRecord, ...]:
    """Every shipped row; read once."""
    return tuple(load_directory(DIRECTORY))


def shipped_reference(*more: ReferenceRecord) -> ReferenceData:
    """All shipped rows and some more, as a stage sees them; the caller may change it."""
    reference = ReferenceData()
    for record in (*shipped_records(), *more):
        reference.put(record)
    return reference
