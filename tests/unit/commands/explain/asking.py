"""Asking `posttrade explain` in every way there is, and reading the answer."""

from __future__ import annotations

import json
from typing import Any

from services.commands.cluster import Cluster
from tests.unit.commands.support import run

NOBODY = Cluster({})
"""No cluster is named: an explanation from files needs none."""


def ask(kind: str, **options: str) -> dict[str, Any]:
    """The answer to a case given as options, as JSON."""
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    result = run(["explain", kind, "--json", *words], NOBODY)
    assert result.exit_code == 0, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def ask_json(kind: str, case: Any, *options: str) -> dict[str, Any]:
    """The answer to a case given as JSON on standard input."""
    result = run(["explain", kind, "--json", *options], NOBODY, given=json.dumps(case))
    assert result.exit_code == 0, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def table_of(kind: str, **options: str) -> str:
    """The answer as people see it."""
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    result = run(["explain", kind, *words], NOBODY)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def refusal_of(kind: str, *words: str, given: str = "") -> str:
    """The one line of an error; nothing is printed, and the exit code says that the arguments were wrong."""
    result = run(["explain", kind, *words], NOBODY, given=given)
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    return line.removeprefix("error: ")
