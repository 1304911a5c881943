"""Every check of the project, one after the other, the quick ones first; stops at the first red one.

    python -m deploy.local.check            # all: what `make test` and the build server run
    python -m deploy.local.check --fast     # without the tests that need a server: what `make check` runs

The tests run in three parts: those without a server and those with one two at a time (each of the two processes has a
broker of its own), then those whose promise is about time one after the other with the machine to themselves. Each
part names its ten slowest tests, and at the end a table says how long each part took. The exit code is 0 only when
every part was green.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local.kafka_jars import REPOSITORY

_TOOLS = Path(sys.executable).parent
_INTERRUPTED = 130
_TWO_AT_A_TIME = ("-n", "2", "--dist", "worksteal")
"""As many as the build server has cores. More gain nothing, and waiting times of tests are meant for two busy ones."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One check: a command that ends with 0 when it is green."""

    name: str
    command: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a part."""

    name: str
    seconds: float
    is_green: bool


def parts(*, fast: bool) -> list[Part]:
    """The checks in the order they run; `fast` leaves out the tests marked `server`."""
    checks = [
        Part(name="format", command=_tool("ruff", "format", "--check", ".")),
        Part(name="lint", command=_tool("ruff", "check", ".")),
        Part(name="types", command=_tool("mypy")),
        Part(name="import rules", command=_tool("lint-imports")),
        _tests("tests", "not server", *_TWO_AT_A_TIME),
    ]
    if not fast:
        checks.append(_tests("with a server", "server and not alone", *_TWO_AT_A_TIME))
        checks.append(_tests("alone", "alone"))
    return checks


def run(checks: Sequence[Part]) -> int:
    """Run the checks until one is red, print the table; 0 when all were green, else 1."""
    outcomes: list[Outcome] = []
    for part in checks:
        print(f"\n== {part.name}: {_shown(part)}", flush=True)
        outcomes.append(_run_part(part))
        if not outcomes[-1].is_green:
            break
    print("\n" + table(outcomes, not_run=[part.name for part in checks[len(outcomes) :]]))
    last = outcomes[-1]
    if last.is_green:
        return 0
    print(f"\nRED: {last.name}. What to mend stands above; the command was: {_shown(checks[len(outcomes) - 1])}")
    return 1


def table(outcomes: Sequence[Outcome], not_run: Sequence[str] = ()) -> str:
    """Name, seconds and result of each part, and the total."""
    rows = [
        f"{outcome.name:<14}{outcome.seconds:>8.1f} s  {'green' if outcome.is_green else 'RED'}" for outcome in outcomes
    ]
    rows += [f"{name:<14}{'-':>8}    not run" for name in not_run]
    rows.append(f"{'total':<14}{sum(outcome.seconds for outcome in outcomes):>8.1f} s")
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks that the arguments ask for; the exit code for the shell."""
    parser = argparse.ArgumentParser(prog="deploy.local.check", description="Run every check of the project.")
    parser.add_argument("--fast", action="store_true", help="leave out the tests that need a server")
    options = parser.parse_args(arguments)
    try:
        return run(parts(fast=options.fast))
    except KeyboardInterrupt:
        return _INTERRUPTED


def _tool(name: str, *arguments: str) -> tuple[str, ...]:
    """A command of the virtual environment this runs in: no other version can slip in from PATH."""
    return (str(_TOOLS / name), *arguments)


def _tests(name: str, marks: str, *options: str) -> Part:
    """The tests with these marks. No marks overlap and all together leave no test out."""
    return Part(name=name, command=_tool("pytest", "-m", marks, "--durations", "10", *options))


def _shown(part: Part) -> str:
    program, *arguments = part.command
    return " ".join(
        [os.path.relpath(program, REPOSITORY), *(f"'{text}'" if " " in text else text for text in arguments)]
    )


def _run_part(part: Part) -> Outcome:
    began = time.monotonic()
    try:
        code = subprocess.run(part.command, cwd=REPOSITORY, check=False).returncode  # noqa: S603  # a command of `parts`
        is_green = code == 0
    except OSError as error:  # a missing tool is a red check
        print(f"{part.command[0]} could not be run: {error}")
        is_green = False
    return Outcome(name=part.name, seconds=time.monotonic() - began, is_green=is_green)


if __name__ == "__main__":
    sys.exit(main())
