"""`make test` is red when any part is, says which, and the build server runs nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local import check
from deploy.local.check import Outcome, Part
from deploy.local.kafka_jars import REPOSITORY


def _part(name: str, code: int, trace: Path | None = None) -> Part:
    program = f"open({str(trace)!r}, 'a').write({name!r})\n" if trace else ""
    return Part(name=name, command=(sys.executable, "-c", f"{program}raise SystemExit({code})"))


def test_all_green_ends_with_0_and_a_table(capfd: pytest.CaptureFixture[str]) -> None:
    assert check.run([_part("first", 0), _part("second", 0)]) == 0

    rows = capfd.readouterr().out.strip().splitlines()[-3:]
    assert [row.split()[0] for row in rows] == ["first", "second", "total"]
    assert [row.split()[-1] for row in rows] == ["green", "green", "s"]


def test_the_first_red_stops_the_rest_and_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "trace"

    assert check.run([_part("a", 0, trace), _part("b", 3, trace), _part("c", 0, trace)]) == 1

    assert trace.read_text() == "ab"
    out = capfd.readouterr().out
    assert "\nRED: b. " in out
    assert "c                    -    not run" in out


def test_a_missing_tool_is_red(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A gate that is not there must not be open."""
    assert check.run([Part(name="gone", command=(str(tmp_path / "no-such-tool"),))]) == 1
    assert "RED: gone" in capfd.readouterr().out


def test_the_table_adds_up() -> None:
    outcomes = [Outcome(name="a", seconds=1.25, is_green=True), Outcome(name="b", seconds=2.5, is_green=False)]

    assert check.table(outcomes, 3.75, ["c"]).splitlines() == [
        "a                  1.2 s  green",
        "b                  2.5 s  RED",
        "c                    -    not run",
        "total              3.8 s",
    ]


def test_fast_differs_only_in_the_tests_with_a_server() -> None:
    """Everything else stays in, in the same order."""
    every, fast = check.parts(fast=False), check.parts(fast=True)

    names = ["format", "lint", "types", "import rules", "tests", "with a server", "alone"]
    assert [part.name for part in every] == names
    assert [part.name for part in every if part.beside] == ["tests"]
    assert [(part.name, part.command) for part in fast] == [(part.name, part.command) for part in every[:5]]
    assert not any(part.beside for part in fast)


@pytest.mark.parametrize(("code", "other", "whole"), [(0, 0, 0), (1, 0, 1), (0, 1, 1)])
def test_what_runs_beside_another_counts_as_much(
    code: int, other: int, whole: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A red part must not hide behind a green one, and its output must not be lost."""
    words = _part("words", other)
    loud = Part(name="loud", command=(sys.executable, "-c", f"print('heard'); {words.command[-1]}"))
    pair = Part(name="pair", command=_part("pair", code).command, beside=loud)
    trace = tmp_path / "trace"

    assert check.run([pair, _part("next", 0, trace)]) == whole

    out = capfd.readouterr().out
    assert "heard" in out
    assert trace.exists() == (whole == 0)
    assert out.count("RED: ") == whole


def test_every_test_runs_in_exactly_one_part() -> None:
    """Marks that overlap or leave a gap would run a test twice or, worse, never."""
    every = [*check.parts(fast=False), *check.bench_parts()]
    parts = [found for part in every for found in (part, part.beside) if found is not None]
    chosen = [part.command[part.command.index("-m") + 1] for part in parts if "-m" in part.command]

    # Whatever is marked `alone`, `long` or `bench` is marked `server` too.
    for marks in (set[str](), {"server"}, {"server", "alone"}, {"server", "long"}, {"server", "bench"}):
        values = {name: name in marks for name in ("server", "alone", "long", "bench")}
        assert [eval(text, {}, values) for text in chosen].count(True) == 1


def test_only_tests_of_what_is_measured_are_left_to_a_run_of_their_own() -> None:
    """A test of the service with that mark would be a test that `make test` no longer runs."""
    mark = "mark." + "bench"
    marked = {path for path in (REPOSITORY / "tests").rglob("*.py") if mark in path.read_text(encoding="utf-8")}

    assert marked
    assert {path.parent for path in marked} == {REPOSITORY / "tests" / "bench"}


def test_the_tools_are_those_of_this_environment() -> None:
    assert {Path(part.command[0]).parent for part in check.parts(fast=False)} == {Path(sys.executable).parent}


def test_the_build_server_runs_make_test(tmp_path: Path) -> None:
    """And passes its exit code on, from whatever directory it is called."""
    make = tmp_path / "make"
    make.write_text('#!/bin/sh\necho "$PWD: $*"\nexit 7\n')
    make.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}

    answer = subprocess.run(
        [REPOSITORY / ".ci" / "run"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )

    assert (answer.returncode, answer.stdout) == (7, f"{REPOSITORY}: test\n")
