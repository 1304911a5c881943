"""Every check of the project, one after the other, the quick ones first; stops at the first red one.

    python -m deploy.local.check            # all: what `make test` and the build server run
    python -m deploy.local.check --fast     # without the tests that need a server: what `make check` runs
    python -m deploy.local.check --bench    # the tests of what it is measured beside: what `make bench-check` runs

The tests run in four parts: those without a server two at a time, and beside them, for most of its minutes are waiting,
`make chaos` in its short form; those with a server two at a time (each of the two processes has a broker of its own);
then those whose promise is about time one after the other with the machine to themselves. Each part names its ten
slowest tests, and at the end a table says how long each part took. The exit code is 0 only when every part was green.

Tests marked `bench` are about the programs this service is measured beside, and about nothing that it does itself: they
build those first. They have a run of their own, so that `make test` needs no toolchain of theirs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from deploy.local.kafka_jars import REPOSITORY

_TOOLS = Path(sys.executable).parent
_INTERRUPTED = 130
_INTERRUPTED_SECONDS_MAX = 30.0
_LATER = ("nice", "-n", "10")
"""What can wait gives way to what must not."""
_TWO_AT_A_TIME = ("-n", "2", "--dist", "worksteal")
"""As many as the build server has cores. More gain nothing, and waiting times of tests are meant for two busy ones."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One check: a command that ends with 0 when it is green."""

    name: str
    command: tuple[str, ...]
    beside: Part | None = None
    """Runs at the same time, before this one in the queue for the processors; shown when both have ended."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a part."""

    name: str
    seconds: float
    is_green: bool
    shown: str = ""
    """The command."""


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
        checks[-1] = replace(checks[-1], beside=_tests("chaos", "long"))
        checks.append(_tests("with a server", "server and not alone and not long and not bench", *_TWO_AT_A_TIME))
        checks.append(_tests("alone", "alone"))
    return checks


def bench_parts() -> list[Part]:
    """The checks of the programs that the service is measured beside."""
    return [_tests("bench", "bench")]


def run(checks: Sequence[Part]) -> int:
    """Run the checks until one is red, print the table; 0 when all were green, else 1."""
    outcomes: list[Outcome] = []
    waiting = list(checks)
    began = time.monotonic()
    while waiting and all(outcome.is_green for outcome in outcomes):
        outcomes += _run_part(waiting.pop(0))
    seconds = time.monotonic() - began
    print("\n" + table(outcomes, seconds, not_run=[part.name for part in waiting]))
    for outcome in outcomes:
        if not outcome.is_green:
            print(f"\nRED: {outcome.name}. What to mend stands above; the command was: {outcome.shown}")
    return int(not all(outcome.is_green for outcome in outcomes))


def table(outcomes: Sequence[Outcome], seconds: float, not_run: Sequence[str] = ()) -> str:
    """Name, seconds and result of each part, and how long all took."""
    rows = [
        f"{outcome.name:<14}{outcome.seconds:>8.1f} s  {'green' if outcome.is_green else 'RED'}" for outcome in outcomes
    ]
    rows += [f"{name:<14}{'-':>8}    not run" for name in not_run]
    rows.append(f"{'total':<14}{seconds:>8.1f} s")
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks that the arguments ask for; the exit code for the shell."""
    parser = argparse.ArgumentParser(prog="deploy.local.check", description="Run every check of the project.")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--fast", action="store_true", help="leave out the tests that need a server")
    which.add_argument("--bench", action="store_true", help="only the tests of what the service is measured beside")
    options = parser.parse_args(arguments)
    try:
        return run(bench_parts() if options.bench else parts(fast=options.fast))
    except KeyboardInterrupt:
        return _INTERRUPTED


def _tool(name: str, *arguments: str) -> tuple[str, ...]:
    """A command of the virtual environment this runs in: no other version can slip in from PATH."""
    return (str(_TOOLS / name), *arguments)


def _tests(name: str, marks: str, *options: str) -> Part:
    """The tests with these marks. No marks overlap; those of `parts` and `bench_parts` together leave no test out."""
    return Part(name=name, command=_tool("pytest", "-m", marks, "--durations", "10", *options))


def _shown(part: Part) -> str:
    program, *arguments = part.command
    return " ".join(
        [os.path.relpath(program, REPOSITORY), *(f"'{text}'" if " " in text else text for text in arguments)]
    )


def _run_part(part: Part) -> list[Outcome]:
    """Run it, and what runs beside it; answers how both ended."""
    print(f"\n== {part.name}: {_shown(part)}", flush=True)
    if part.beside is None:
        return [_outcome(part, _started(part, None), time.monotonic())]
    print(f"== beside it, shown afterwards, {part.beside.name}: {_shown(part.beside)}", flush=True)
    with TemporaryFile() as said:
        began = time.monotonic()
        other = _started(part.beside, said)
        outcomes = [_outcome(part, _started(replace(part, command=(*_LATER, *part.command)), None), began)]
        outcomes.append(_outcome(part.beside, other, began))
        said.seek(0)
        print(f"\n== {part.beside.name}", flush=True)
        print(said.read().decode(errors="replace"), flush=True)
    return outcomes


def _started(part: Part, output: IO[bytes] | None) -> subprocess.Popen[bytes] | None:
    try:
        return subprocess.Popen(part.command, cwd=REPOSITORY, stdout=output, stderr=output)  # noqa: S603  # of `parts`
    except OSError as error:  # a missing tool is a red check
        print(f"{part.command[0]} could not be run: {error}")
        return None


def _outcome(part: Part, process: subprocess.Popen[bytes] | None, began: float) -> Outcome:
    """How it ended: waits for it, and when interrupted gives it the time to end what it has started."""
    if process is None:
        return Outcome(name=part.name, seconds=0.0, is_green=False, shown=_shown(part))
    try:
        code = process.wait()
    except KeyboardInterrupt:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_INTERRUPTED_SECONDS_MAX)
        process.kill()
        raise
    return Outcome(name=part.name, seconds=time.monotonic() - began, is_green=code == 0, shown=_shown(part))


if __name__ == "__main__":
    sys.exit(main())
