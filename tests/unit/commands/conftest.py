"""A whole small day, processed once for the tests that read what came out of it."""

from __future__ import annotations

import pytest

from deploy.local.demo import run_day
from services.adapters.memory_log import MemoryLog
from services.pipeline import make_codec, topic_counts
from tests.support import mini_day
from tests.unit.commands.support import MemoryCluster


@pytest.fixture(scope="session")
def processed(tmp_path_factory: pytest.TempPathFactory) -> MemoryCluster:
    """The log after the day, to be read only."""
    log = MemoryLog(topic_counts())
    run_day(log, make_codec(), mini_day.write(tmp_path_factory.mktemp("day")))
    return MemoryCluster(log)
