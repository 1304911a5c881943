"""How a worker ends: the exit code is all that a supervisor sees, and it must come."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from services.adapters.memory_log import MemoryLog
from services.commands.worker import exit_code_of, run_worker
from services.engine.app import App
from services.engine.log import Fenced, LogError, OutgoingRecord
from services.pipeline import make_codec, make_worker, topic_counts
from services.settings import Settings
from tests import samples

END_SECONDS_MAX = 20.0


@pytest.fixture
def log() -> MemoryLog:
    """Empty topics."""
    return MemoryLog(topic_counts())


def _worker(log: MemoryLog, directory: Path) -> App:
    settings = msgspec.structs.replace(Settings(), data_dir=str(directory))
    return make_worker(settings, log, web_enabled=False)


def _once_ready(app: App, act: Callable[[], None]) -> None:
    """Act on a thread beside the worker, as soon as it is ready."""

    def wait_and_act() -> None:
        while not app.engine.ready:
            time.sleep(0.02)
        act()

    threading.Thread(target=wait_and_act, daemon=True).start()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_asked_to_stop_ends_with_0(log: MemoryLog, tmp_path: Path, number: signal.Signals) -> None:
    """A deployment replaces workers all the time; that is no fault."""
    app = _worker(log, tmp_path)
    _once_ready(app, lambda: os.kill(os.getpid(), number))
    assert run_worker(app) == 0


def test_a_worker_whose_slot_is_taken_over_ends_with_3(log: MemoryLog, tmp_path: Path) -> None:
    """The supervisor must not start it again against its successor."""
    app = _worker(log, tmp_path)

    def take_over() -> None:
        log.producer("posttrade.worker.0")
        value = make_codec().encode("front-office.executions", samples.execution())
        log.send([OutgoingRecord("front-office.executions", b"O1", value)])

    _once_ready(app, take_over)
    assert run_worker(app) == 3


def test_a_worker_that_cannot_start_ends_with_1(
    log: MemoryLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A coordinator that fails before its first round must not leave an empty process behind."""

    def refuse(*_arguments: object) -> None:
        raise LogError("the topic is not there")

    monkeypatch.setattr(log, "reader", refuse)
    began = time.monotonic()
    assert run_worker(_worker(log, tmp_path)) == 1
    assert time.monotonic() - began < END_SECONDS_MAX


def test_a_worker_that_meets_trouble_on_its_way_ends_with_1(
    log: MemoryLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error on a background task of the coordinator ends the process as well."""
    app = _worker(log, tmp_path)

    def refuse(*_arguments: object, **_options: object) -> None:
        raise LogError("the cluster is gone")

    _once_ready(app, lambda: monkeypatch.setattr("services.adapters.memory_log.MemoryGroupConsumer.poll", refuse))
    began = time.monotonic()
    assert run_worker(app) == 1
    assert time.monotonic() - began < END_SECONDS_MAX


def test_only_fencing_is_3() -> None:
    """3 means: do not restart. Nothing else may say so."""
    assert exit_code_of(Fenced("x")) == 3
    assert exit_code_of(LogError("x")) == 1
    assert exit_code_of(RuntimeError("x")) == 1
