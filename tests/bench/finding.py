"""What a measure of the bench is given, and what it gives back.

A measure is a module of `tests.bench.measures` with `def measure(context: Context) -> Finding`. It shows how far it is
with `context.say`, raises when a run fails, and judges nothing itself: `tests.bench.targets.judge` holds its values
against the targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Context:
    """Where and how much a measure measures."""

    servers: str
    """Bootstrap servers of the run's broker, on this machine. It serves one measured program at a time: topics, groups
    and transactional ids begin with a name of the measure's own (`bench-h-0-`). What stops a broker starts its own."""
    folder: Path
    """Exists, empty, the measure's own: logs of programs, worker folders. It is kept after the run."""
    console: Console
    """Progress for a person; results go into the finding."""
    scale: float = 1.0
    """Share of the full record counts: 1 to measure, less to see that everything works."""
    rounds: int = 3
    """How often everything is measured; medians count."""

    def say(self, text: str) -> None:
        """Tell what comes next and how long it takes, or what was found: one line."""
        self.console.print(f"  {text}", highlight=False, markup=False)

    def scaled(self, count: int, *, at_least: int = 1) -> int:
        """The share of a full count, and never less than what the measure needs to make sense."""
        return max(at_least, round(count * self.scale))


@dataclass(frozen=True)
class Target:
    """One promise of the table of targets; `least` must be reached, `aim` should be."""

    measure: str
    """Letter."""
    what: str
    """Key of the value in question, for example `times stock Faust`."""
    least: float | None = None
    aim: float | None = None
    lower_is_better: bool = False


@dataclass(frozen=True)
class Verdict:
    """A value held against its target."""

    target: Target
    value: float

    def _reaches(self, wanted: float | None) -> bool | None:
        if wanted is None:
            return None
        return self.value <= wanted if self.target.lower_is_better else self.value >= wanted

    @property
    def meets_least(self) -> bool | None:
        """Whether the value is good enough; None when nothing less than the aim was asked."""
        return self._reaches(self.target.least)

    @property
    def meets_aim(self) -> bool | None:
        """Whether the value is what is aimed at; None when there is no aim."""
        return self._reaches(self.target.aim)

    def to_json(self) -> dict[str, Any]:
        """For the last line of the bench."""
        return {
            "measure": self.target.measure,
            "what": self.target.what,
            "value": self.value,
            "least": self.target.least,
            "aim": self.target.aim,
            "meets_least": self.meets_least,
            "meets_aim": self.meets_aim,
        }


@dataclass(frozen=True)
class Finding:
    """What a measure found."""

    measure: str
    """Letter, as in the list of measures."""
    title: str
    """Heading of the table: what was measured, in which unit."""
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    """As a person reads them; as long as `columns`."""
    figures: Mapping[str, Any]
    """Every figure behind the table, in JSON's types and unrounded where rounding would hide something."""
    verdicts: Sequence[Verdict] = field(default=())
    """From `tests.bench.targets.judge`."""
    notes: Sequence[str] = field(default=())
    """What a reader must know to read the table right: what a program does not do, what stood in the way."""

    def to_table(self) -> Table:
        """The table for the terminal: the first column is text, the others are figures."""
        table = Table(title=f"({self.measure}) {self.title}", title_justify="left")
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="right" if number else "left")
        for row in self.rows:
            table.add_row(*row)
        return table

    def to_json(self) -> dict[str, Any]:
        """For the last line of the bench."""
        return {"title": self.title, **self.figures, "notes": list(self.notes)}
