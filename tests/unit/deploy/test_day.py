"""The day that `make run` and `make demo` send: completed after any interruption, never sent twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.local import day
from deploy.local.demo import main
from deploy.local.quiet import has_unread
from services.adapters.memory_log import MemoryLog
from services.commands.scan import read_all
from services.engine.log import OutgoingRecord, TopicPartition
from services.pipeline import REFERENCE_TOPICS, make_codec, topic_counts
from tests.support import mini_day

CODEC = make_codec()
Sent = Counter[tuple[str, bytes | None, bytes | None]]


def _quiet(_text: str) -> None:
    """Nobody reads it."""


def _send(log: MemoryLog, data: Path) -> day.SampleDay:
    sample = day.SampleDay(log, CODEC, data)
    for phase in (sample.day, sample.late):
        sample.send_reference(phase, _quiet)
        sample.send_files(phase, _quiet)
    return sample


def _inputs(log: MemoryLog) -> Sent:
    return Counter((record.topic, record.key, record.value) for record in read_all(log, day.INPUT_TOPICS))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the small day."""
    return mini_day.write(tmp_path_factory.mktemp("day"))


def test_a_second_run_sends_nothing(data: Path) -> None:
    """`make run` twice: the second one goes on with the data of the first."""
    log = MemoryLog(topic_counts())
    _send(log, data)
    once, rows = _inputs(log), len(list(read_all(log, REFERENCE_TOPICS)))
    second = _send(log, data)
    assert _inputs(log) == once
    assert len(list(read_all(log, REFERENCE_TOPICS))) == rows
    assert second.found_count == once.total()
    assert second.strangers == 0


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kept=st.integers(min_value=0, max_value=16))
def test_a_run_that_was_cut_off_is_completed(data: Path, kept: int) -> None:
    """Whatever part of the files got through before kill -9, the next run sends the rest, repeated reports included."""
    whole = MemoryLog(topic_counts())
    _send(whole, data)
    cut = MemoryLog(topic_counts())
    for topic, key, value in list(_inputs(whole).elements())[:kept]:
        cut.send([OutgoingRecord(topic, key, value)])
    _send(cut, data)
    assert _inputs(cut) == _inputs(whole)


def test_records_that_are_not_of_the_day_are_noticed(data: Path) -> None:
    """What a person sent on top is no fault of the day; the promise is not held against it."""
    log = MemoryLog(topic_counts())
    log.send([OutgoingRecord("front-office.fix", b"X", b"another")])
    assert _send(log, data).strangers == 1


def test_unread_means_a_record_not_an_offset() -> None:
    """A service is at rest only when its group has read everything."""
    log = MemoryLog(topic_counts())
    log.send([OutgoingRecord("front-office.fix", b"X", b"1", (), 0)])
    assert has_unread(log, {}, ["front-office.fix"])
    assert not has_unread(log, {TopicPartition("front-office.fix", 0): 1}, ["front-office.fix"])


def test_the_demo_keeps_its_promise_and_says_so_in_its_last_line(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One JSON object for whoever calls it from a script."""
    assert main(["--data", str(data)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        '{"executions":7,"allocations":6,"confirmations":6,"instructions":6,"exceptions":1,"dead_letters":2}'
    )
