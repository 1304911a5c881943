"""`make` tells a newcomer what there is; every target says what it does and works without an earlier one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.local.kafka_jars import REPOSITORY

TARGETS = [
    "help",
    "setup",
    "run",
    "demo",
    "test",
    "check",
    "format",
    "bench",
    "bench-check",
    "crunch",
    "sim",
    "chaos",
    "schemas",
    "sample",
    "topics",
    "clean",
]


def _make(directory: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # The make that runs these tests hands its own options down in MAKEFLAGS.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *arguments], cwd=directory, env=inherited | environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The Makefile and the files it looks at, without an environment."""
    for name in ("Makefile", "pyproject.toml", "uv.lock"):
        shutil.copy(REPOSITORY / name, tmp_path)
    return tmp_path


def test_make_lists_every_target_in_one_line_each(clone: Path) -> None:
    answer = _make(clone)

    listed = re.findall(r"^  make ([a-z-]+) +(.+)$", answer.stdout, re.MULTILINE)
    assert [name for name, _ in listed] == TARGETS
    assert all(len(line) <= 100 for line in answer.stdout.splitlines())
    assert re.findall(r"^(\w+)$", answer.stdout, re.MULTILINE) == ["Start", "Check", "Data"]


def test_every_target_is_listed_and_phony() -> None:
    text = (REPOSITORY / "Makefile").read_text()
    phony = " ".join(re.findall(r"^\.PHONY: (.+)$", text, re.MULTILINE)).split()

    assert re.findall(r"^([a-z-]+):", text, re.MULTILINE) == phony == TARGETS


@pytest.mark.parametrize("target", [name for name in TARGETS if name not in ("help", "clean")])
def test_a_target_sets_up_what_it_needs_once(clone: Path, target: str) -> None:
    fresh = _make(clone, "--dry-run", target).stdout
    ready = clone / ".venv" / ".ready"
    ready.parent.mkdir()
    ready.touch()
    again = _make(clone, "--dry-run", target).stdout
    os.utime(ready, (0, 0))  # older than the lock file
    changed = _make(clone, "--dry-run", target).stdout

    assert "uv sync --quiet --locked" in fresh
    assert "uv sync" not in again
    assert "uv sync --quiet --locked" in changed


@pytest.mark.parametrize(
    ("python", "message"),
    [
        ("no-such-python", "error: no-such-python was not found; install Python 3.11 or newer"),
        ("./old-python", "error: Python 3.11 or newer is needed and ./old-python is Python 3.9.2; name a newer one"),
    ],
)
def test_a_missing_or_old_python_is_told_in_one_line(clone: Path, python: str, message: str) -> None:
    old = clone / "old-python"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2\nexit 1\n')
    old.chmod(0o755)

    answer = _make(clone, "setup", f"PYTHON={python}", LANG="C")

    assert answer.returncode == 2
    assert answer.stderr.splitlines()[0].startswith(message)
    assert not (clone / ".venv").exists()


def test_clean_keeps_the_jars(clone: Path) -> None:
    """They are 44 MB from the network and no data of anybody."""
    (clone / ".local" / "run" / "kafka").mkdir(parents=True)
    (clone / ".local" / "kafka" / "libs-1").mkdir(parents=True)

    assert _make(clone, "clean").returncode == 0

    assert sorted(path.name for path in (clone / ".local").iterdir()) == ["kafka"]
