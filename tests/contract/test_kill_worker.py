"""The promise in the large: `make run`, its worker killed in the middle of the sample day, `make run` again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.demo import run_day
from deploy.local.kafka_broker import LocalKafka
from services.adapters.kafka_log import KafkaLog
from services.adapters.memory_log import MemoryLog
from services.adapters.topic_codec import FormatCodec
from services.domain.event import SettlementInstruction
from services.domain.record import Record, replace
from services.engine.log import Log
from services.pipeline import make_codec, topic_counts
from tests.support.app import read_events
from tests.support.processes import await_end

RUN_SECONDS_MAX = 150


@pytest.fixture
def runs() -> Iterator[list[subprocess.Popen[str]]]:
    """Every `make run` that was started; what a failed test leaves behind is stopped and collected."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for run in started:
        if run.poll() is None:
            run.send_signal(signal.SIGINT)
        run.communicate()


def start_run(runs: list[subprocess.Popen[str]], directory: Path, *options: str) -> subprocess.Popen[str]:
    """`make run` on a cluster and in a folder of its own."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("KAFKA_", "POSTTRADE_"))}
    command = [sys.executable, "-m", "deploy.local.run", "--directory", str(directory), *options]
    run = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    )
    runs.append(run)
    return run


def kill_worker_at_first_instruction(run: subprocess.Popen[str]) -> int:
    """Read what `make run` says; kill its worker as soon as instructions show. Answers how many had shown."""
    worker = 0
    assert run.stdout is not None
    for line in run.stdout:
        if found := re.search(r"the worker is ready, process (\d+)", line):
            worker = int(found[1])
        if (shown := re.search(r"instructions ([1-9]\d*)", line)) and worker:
            os.kill(worker, signal.SIGKILL)
            return int(shown[1])
    raise AssertionError("make run ended before the first instruction")


def read_until(run: subprocess.Popen[str], text: str) -> str:
    """What it says up to the line with this text."""
    said = ""
    assert run.stdout is not None
    for line in run.stdout:
        said += line
        if text in line:
            return said
    raise AssertionError(said)


def worker_of(said: str) -> int:
    """Process id of the worker, as it was shown."""
    found = re.search(r"the worker is ready, process (\d+)", said)
    assert found is not None, said
    return int(found[1])


def instructions(log: Log, codec: FormatCodec) -> Counter[Record]:
    """What was instructed, how often; without the time at which the fills came in, which no two runs share."""
    found = read_events(log, codec, "settlement.instructions")
    assert all(isinstance(instruction, SettlementInstruction) for instruction in found)
    return Counter(replace(instruction, received_at_us=0) for instruction in found)


@pytest.mark.server
def test_a_killed_worker_leaves_the_same_instructions_as_an_undisturbed_day(
    runs: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    """Nothing lost, nothing instructed twice, every term of every instruction the same."""
    codec = make_codec()
    run = start_run(runs, tmp_path, "--exit-when-done")
    before = kill_worker_at_first_instruction(run)
    said, _ = run.communicate(timeout=RUN_SECONDS_MAX)
    assert run.returncode == 1, said
    assert "The worker ended" in said

    again = start_run(runs, tmp_path)  # stays up until it is told to stop
    undisturbed = MemoryLog(topic_counts())
    run_day(undisturbed, codec)  # while the other starts and works
    said = read_until(again, "send more")
    assert "as promised" in said
    for shown in ("/metrics", "KAFKA_BOOTSTRAP_SERVERS=", "tail settlement.instructions", "trade TR"):
        assert shown in said
    second = start_run(runs, tmp_path)
    refused, _ = second.communicate(timeout=RUN_SECONDS_MAX)
    assert (second.returncode, len(refused.splitlines())) == (1, 1), refused
    assert "Another `make run` works in" in refused
    again.send_signal(signal.SIGINT)
    rest, _ = again.communicate(timeout=RUN_SECONDS_MAX)
    assert (again.returncode, rest.strip()) == (0, "stopping"), rest
    assert await_end(worker_of(said), 10), "the worker is gone too"

    expected = instructions(undisturbed, codec)
    with LocalKafka(tmp_path / "kafka", quick=True) as broker:
        log = KafkaLog(broker.bootstrap_servers)
        found = instructions(log, codec)
        log.close()
    assert before < len(expected), "the kill came in the middle of the day"
    assert max(found.values()) == 1
    assert found == expected
