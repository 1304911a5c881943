"""A kind of question: what its cases hold, and the form every answer has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, NamedTuple

from services.adapters.avro_codec import to_json
from services.adapters.reference_files import FILE_NAMES
from services.domain.reason import Reason
from services.domain.record import Record
from services.domain.reference import ReferenceData, ReferenceRecord


class CaseError(Exception):
    """A case cannot be asked; the sentence says what was found and what to do."""


class CaseField(NamedTuple):
    """One thing a case may say: an option, a member of the JSON object, a column of the CSV file."""

    name: str
    help: str
    """For people; with the FIX tag where there is one."""
    read: Callable[[str], object]
    """Text to value. Raises ValueError whose text is what was expected."""
    is_required: bool = False
    is_list: bool = False
    """Whether it may be given several times; `;` between the values in a CSV cell."""


Case = Mapping[str, Any]
"""The values of a case by field, all fields present; what is not given is None, or () for a list."""


class Basis(NamedTuple):
    """A reference row that led to the answer."""

    row: ReferenceRecord
    says: str
    """What it contributed, in a few words."""

    @property
    def file(self) -> str:
        """Where such rows are kept."""
        return FILE_NAMES[type(self.row)].removesuffix(".csv")

    @property
    def effective(self) -> str:
        """First and last day."""
        last = self.row.valid_to
        return f"{self.row.valid_from.isoformat()} to {last.isoformat() if last else 'further notice'}"

    def as_json(self) -> dict[str, Any]:
        """The row with its name, its days and its source, and all its fields."""
        return {
            "kind": self.file,
            "key": self.row.key,
            "says": self.says,
            "valid_from": self.row.valid_from.isoformat(),
            "valid_to": None if self.row.valid_to is None else self.row.valid_to.isoformat(),
            "source": self.row.source,
            "row": to_json(self.row),
        }


class Step(NamedTuple):
    """One step on the way to the answer."""

    what: str
    says: str


class Answer(Record, kw_only=True):
    """What the rule said, and why."""

    result: dict[str, Any]
    """The answer itself, by name: text, numbers as text, booleans."""
    rule: str
    """The rule that gave it, in a sentence."""
    steps: tuple[Step, ...] = ()
    basis: tuple[Basis, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The answer as one JSON object."""
        return {
            "result": self.result,
            "rule": self.rule,
            "steps": [step._asdict() for step in self.steps],
            "rows": [basis.as_json() for basis in self.basis],
        }


class Kind(NamedTuple):
    """One kind of question."""

    name: str
    summary: str
    """What it answers, in one sentence."""
    fields: tuple[CaseField, ...]
    explain: Callable[[Case, ReferenceData], Answer]
    """Raises CaseError for a case that contradicts itself or asks for what reference data does not hold."""
    also_known: Mapping[str, str] = {}
    """Other names of fields in JSON and CSV; an empty name means that the member is left aside."""
    prepare: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict
    """Brings what is given into the form of the fields; nothing needs it that is given field by field."""


def refused(
    reason: Reason, details: Mapping[str, str], *, steps: tuple[Step, ...] = (), basis: tuple[Basis, ...] = ()
) -> Answer:
    """The answer where the rule gives a reason in place of a result."""
    found = ", ".join(f"{name} {value}" for name, value in details.items())
    result = {"reason": str(reason), "found": found, "desk_action": reason.desk_action}
    return Answer(result=result, rule=reason.meaning, steps=steps, basis=basis)


def day_text(day: date) -> str:
    """A date with its day of the week."""
    return f"{day.isoformat()} {day.strftime('%a')}"
