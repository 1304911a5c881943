"""How a worker ends: the exit code is all that a supervisor sees, and it must come."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from services.adapters.memory_log import MemoryLog
from services.commands.worker import STOP_SECONDS_MAX, EndLimit, exit_code_of, run_worker
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


@pytest.fixture
def limit() -> Iterator[EndLimit]:
    """The limit of an end, which here must never end the process."""
    codes: list[int] = []
    limit = EndLimit(end=codes.append)
    yield limit
    limit.lift()
    assert codes == [], "the end took too long"


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
def test_a_worker_that_is_asked_to_stop_ends_with_0(
    log: MemoryLog, tmp_path: Path, limit: EndLimit, number: signal.Signals
) -> None:
    """A deployment replaces workers all the time; that is no fault."""
    app = _worker(log, tmp_path)
    _once_ready(app, lambda: os.kill(os.getpid(), number))
    assert run_worker(app, limit) == 0


@pytest.mark.parametrize("folder", ["not/yet/there", "refused/worker"])
def test_a_worker_starts_wherever_its_folder_is_to_be(
    log: MemoryLog, tmp_path: Path, limit: EndLimit, folder: str
) -> None:
    """The folder of a first start has no parents yet; and a disk that refuses costs protection, never the start."""
    (tmp_path / "refused").touch()
    app = _worker(log, tmp_path / folder)
    _once_ready(app, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert run_worker(app, limit) == 0


def test_a_worker_whose_slot_is_taken_over_ends_with_3(log: MemoryLog, tmp_path: Path, limit: EndLimit) -> None:
    """The supervisor must not start it again against its successor."""
    app = _worker(log, tmp_path)

    def take_over() -> None:
        log.producer("posttrade.worker.0")
        value = make_codec().encode("front-office.executions", samples.execution())
        log.send([OutgoingRecord("front-office.executions", b"O1", value)])

    _once_ready(app, take_over)
    assert run_worker(app, limit) == 3


def test_a_worker_that_cannot_start_ends_with_1(
    log: MemoryLog, tmp_path: Path, limit: EndLimit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A coordinator that fails before its first round must not leave an empty process behind."""

    def refuse(*_arguments: object) -> None:
        raise LogError("the topic is not there")

    monkeypatch.setattr(log, "reader", refuse)
    began = time.monotonic()
    assert run_worker(_worker(log, tmp_path), limit) == 1
    assert time.monotonic() - began < END_SECONDS_MAX


def test_a_worker_that_meets_trouble_on_its_way_ends_with_1(
    log: MemoryLog, tmp_path: Path, limit: EndLimit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error on a background task of the coordinator ends the process as well."""
    app = _worker(log, tmp_path)

    def refuse(*_arguments: object, **_options: object) -> None:
        raise LogError("the cluster is gone")

    _once_ready(app, lambda: monkeypatch.setattr("services.adapters.memory_log.MemoryGroupConsumer.poll", refuse))
    began = time.monotonic()
    assert run_worker(app, limit) == 1
    assert time.monotonic() - began < END_SECONDS_MAX


def test_the_limit_of_an_end_runs_from_its_first_reason_and_through_what_follows_the_worker() -> None:
    """A limit that began anew behind the worker would let an end take twice the time that Kubernetes grants."""
    ended = threading.Event()
    codes: list[int] = []

    def end(code: int) -> None:
        codes.append(code)
        ended.set()

    before = set(threading.enumerate())
    limit = EndLimit(1.0, end)
    limit.start(0)
    (timer,) = set(threading.enumerate()) - before
    for code in (3, 1):  # it is fenced while it stops, and then the command goes on
        limit.start(code)
    assert set(threading.enumerate()) - before == {timer}
    assert timer.daemon, "the end must not wait for its own limit"
    assert ended.wait(20)
    assert codes == [3], "the exit code is the first that is not 0"


def test_a_limit_that_is_lifted_ends_nothing() -> None:
    """A process that goes on after the worker must not be ended later."""
    ended = threading.Event()
    limit = EndLimit(0.05, lambda _code: ended.set())
    limit.start(0)
    limit.lift()
    assert not ended.wait(0.2)


def test_the_limit_of_a_worker_begins_with_the_signal_and_stands_when_it_has_stopped(
    log: MemoryLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the end of the worker and that of the process threads may hang: the same seconds hold for both."""
    made: list[threading.Timer] = []
    timer = threading.Timer

    def make(seconds: float, end: Callable[[], None]) -> threading.Timer:
        made.append(timer(seconds, end))
        return made[-1]

    limit = EndLimit(end=lambda _code: None)
    app = _worker(log, tmp_path)
    monkeypatch.setattr("services.commands.worker.threading.Timer", make)
    _once_ready(app, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert run_worker(app, limit) == 0
    limit.start(0)  # as the command does
    try:
        (only,) = made
        assert only.interval == STOP_SECONDS_MAX < 30
        assert only.is_alive(), "it was lifted with the worker's end"
    finally:
        limit.lift()


def test_only_fencing_is_3() -> None:
    """3 means: do not restart. Nothing else may say so."""
    assert exit_code_of(Fenced("x")) == 3
    assert exit_code_of(LogError("x")) == 1
    assert exit_code_of(RuntimeError("x")) == 1
