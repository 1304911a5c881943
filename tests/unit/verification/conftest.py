"""Two days, processed once by the real worker on a log in memory, and a reader that remembers what it has read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from deploy.local import day
from deploy.local.demo import run_day
from deploy.sample_day.day import SEED, generate
from deploy.sample_day.files import files
from services.adapters.memory_log import MemoryLog
from services.adapters.plain_avro import PlainReader
from services.adapters.topic_codec import FormatCodec
from services.pipeline import make_codec, topic_counts
from services.verification import Decode
from tests import samples
from tests.support import mini_day
from tests.support.snapshot_world import SnapshotWorld, snapshot
from tests.unit.verification.repairing import repairs

TRADES_WITHOUT_TROUBLE = 12


@pytest.fixture(scope="session")
def codec() -> FormatCodec:
    """The services' own codec, for making records that are wrong in one field."""
    return make_codec()


@pytest.fixture(scope="session")
def decode() -> Decode:
    """The auditor's reader; each value is read once, however many worlds it lies in."""
    reader = PlainReader()
    known: dict[tuple[str, bytes | None], Mapping[str, Any] | None] = {}

    def read(topic: str, value: bytes | None) -> Mapping[str, Any] | None:
        if (topic, value) not in known:
            known[topic, value] = reader(topic, value)
        return known[topic, value]

    return read


@pytest.fixture(scope="session")
def mini_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a handful of trades."""
    return mini_day.write(tmp_path_factory.mktemp("audited-day"))


@pytest.fixture(scope="session")
def mini_log(codec: FormatCodec, mini_data: Path) -> MemoryLog:
    """The log after the small day; only `repaired` goes on with it."""
    log = MemoryLog(topic_counts())
    run_day(log, codec, mini_data)
    return log


@pytest.fixture(scope="session")
def mini(mini_log: MemoryLog) -> SnapshotWorld:
    """A handful of trades, small enough to try every record."""
    return snapshot(mini_log)


@pytest.fixture(scope="session")
def repaired(mini: SnapshotWorld, mini_log: MemoryLog, mini_data: Path, codec: FormatCodec) -> SnapshotWorld:
    """The small day after its dead letters were dealt with: one mended and replayed, one discarded."""
    assert mini.records["dead-letters"], "the day as it was is taken before it goes on"
    mended = codec.encode("front-office.executions", samples.execution(execution_id="E7", order_id="O1"))
    mini_log.send(repairs(mini, {"front-office.executions": mended}))
    run_day(mini_log, codec, mini_data)
    return snapshot(mini_log)


@pytest.fixture(scope="session")
def sample(codec: FormatCodec) -> SnapshotWorld:
    """The sample day."""
    log = MemoryLog(topic_counts())
    run_day(log, codec, day.DATA)
    return snapshot(log)


@pytest.fixture(scope="session")
def troubled(codec: FormatCodec, tmp_path_factory: pytest.TempPathFactory) -> SnapshotWorld:
    """A day with little beside every trouble that can be planned."""
    folder = tmp_path_factory.mktemp("troubled-day")
    promised = {"expected.json": json.dumps(dict.fromkeys(day.PROMISED, 0)).encode()}
    for name, content in (files(generate(SEED, TRADES_WITHOUT_TROUBLE)) | promised).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    log = MemoryLog(topic_counts())
    run_day(log, codec, folder)
    return snapshot(log)
