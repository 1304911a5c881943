"""Reads scenario tables: what happens, line by line, and after each line everything that comes of it.

== Title of the scenario
command word word          what happens
-> outcome                 what comes of it; all of it, in this order; nothing listed means nothing comes
# a remark
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).parent


@dataclass
class Step:
    """One command and the outcomes listed below it."""

    line: int
    words: list[str]
    expected: list[str] = field(default_factory=list)


@dataclass
class Scenario:
    """A title and its steps."""

    title: str
    steps: list[Step] = field(default_factory=list)


def read(name: str) -> list[Scenario]:
    """All scenarios of a table. Raises ValueError for a line that belongs to nothing."""
    scenarios: list[Scenario] = []
    for number, raw in enumerate((FOLDER / name).read_text(encoding="utf-8").splitlines(), start=1):
        line = raw.split("#")[0].strip()
        if not line:
            continue
        if line.startswith("=="):
            scenarios.append(Scenario(title=line.removeprefix("==").strip()))
        elif line.startswith("->") and scenarios and scenarios[-1].steps:
            scenarios[-1].steps[-1].expected.append(" ".join(line.removeprefix("->").split()))
        elif scenarios and not line.startswith("->"):
            scenarios[-1].steps.append(Step(line=number, words=line.split()))
        else:
            raise ValueError(f"{name}:{number}: {raw!r} belongs to no scenario or command")
    return scenarios


def fields_of(words: list[str]) -> dict[str, str]:
    """The `name=value` words of a command."""
    return dict(word.split("=", 1) for word in words if "=" in word)
