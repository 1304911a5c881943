"""An answer as a table for people or as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from services.commands.explain.kind import Answer, CaseError
from services.commands.shown import json_line
from services.commands.text import columns


def table(answer: Answer) -> str:
    """Result and rule, then the steps, then the reference rows."""
    facts = [*((name, _text(value)) for name, value in answer.result.items()), ("rule", answer.rule)]
    width = max(len(name) for name, _ in facts)
    parts = ["\n".join(f"{name.ljust(width)}  {value}" for name, value in facts)]
    if answer.steps:
        parts.append(columns(("step", "says"), answer.steps))
    if answer.basis:
        rows = [(one.file, one.row.key, one.says, one.effective, one.row.source) for one in answer.basis]
        parts.append(columns(("reference data", "row", "says", "effective", "source"), rows))
    return "\n\n".join(parts)


def answer_line(answer: Answer) -> str:
    """The answer as one JSON object on one line."""
    return json_line(answer.as_json())


def many_lines(results: Iterable[tuple[int, Answer | CaseError]]) -> Iterable[str]:
    """One JSON object for each case, with its line in the file."""
    for line, result in results:
        told = {"error": str(result)} if isinstance(result, CaseError) else result.as_json()
        yield json_line({"line": line, **told})


def many_table(results: Sequence[tuple[int, Answer | CaseError]]) -> str:
    """One line for each case."""
    rows = [(str(line), *_summary(result)) for line, result in results]
    return columns(("line", "answer", "rule"), rows, right=[0])


def _summary(result: Answer | CaseError) -> tuple[str, str]:
    if isinstance(result, CaseError):
        return "error", str(result)
    return ", ".join(f"{name} {_text(value)}" for name, value in result.result.items()), result.rule


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(inner)}" for name, inner in value.items()) or "none"
    return str(value)
