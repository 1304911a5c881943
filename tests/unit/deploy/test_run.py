"""`make run` before it has started anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.kafka_jars import REPOSITORY

_INTERRUPT_AT_IMPORT = """
import os, signal, sys
from importlib.abc import MetaPathFinder

class Interrupt(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.{name})
            sys.stdout.flush()
        return None

sys.meta_path.insert(0, Interrupt())
from deploy.local.run import main
sys.exit(main(["--directory", {directory!r}]))
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("module", ["deploy.local.whole_run", "confluent_kafka", "services.pipeline"])
def test_an_interrupt_while_it_is_imported_ends_it_with_one_line(module: str, name: str, tmp_path: Path) -> None:
    """Somebody who has changed their mind within the first second must not read a page of traceback."""
    code = _INTERRUPT_AT_IMPORT.format(module=module, name=name, directory=str(tmp_path / "run"))
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "stopped before anything was started\n", "")
    assert not (tmp_path / "run").exists()


def test_a_cluster_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A misspelt host in the environment is found by reading one line."""
    others = {name: text for name, text in os.environ.items() if not name.startswith(("KAFKA_", "POSTTRADE_"))}
    environment = others | {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    ended = subprocess.run(
        [sys.executable, "-m", "deploy.local.run", "--directory", str(tmp_path)],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr == "error: no Kafka cluster answered at 127.0.0.1:1 within 8 s\n"


def test_make_does_not_pass_an_interrupt_on_before_it_is_heard() -> None:
    """The interpreter itself takes a moment, in which it would answer with a traceback of its own."""
    recipe = next(line for line in (REPOSITORY / "Makefile").read_text().splitlines() if "deploy.local.run" in line)
    assert recipe.startswith("\t@trap '' INT; exec $(PY) -m deploy.local.run")
