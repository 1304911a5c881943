"""A cluster in memory for commands, and a way to run them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from typer.testing import CliRunner, Result

from services.adapters.memory_log import MemoryLog
from services.commands.cli import make_app
from services.commands.cluster import Cluster
from services.engine.log import Log
from services.pipeline import topic_counts


class MemoryCluster(Cluster):
    """Commands work on this log; no cluster is named in its settings."""

    def __init__(self, log: MemoryLog | None = None) -> None:
        """Start with empty topics unless a log is given."""
        super().__init__({})
        self.memory = log or MemoryLog(topic_counts())

    @contextmanager
    def log(self) -> Iterator[Log]:
        """The log in memory."""
        yield self.memory


def run(arguments: str | list[str], cluster: Cluster | None = None, given: str | bytes | None = None) -> Result:
    """Run a command line; standard output and error come apart."""
    words: Any = arguments.split() if isinstance(arguments, str) else arguments
    return CliRunner().invoke(make_app(), words, input=given, obj=cluster or MemoryCluster())
