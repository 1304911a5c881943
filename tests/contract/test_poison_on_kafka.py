"""Poison in production's own setting: real worker processes, a real Kafka, the real command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.adapters.topic_codec import FormatCodec
from services.domain.event import CapturedTrade
from services.engine.log import Log, OutgoingRecord
from services.pipeline import make_codec
from tests import samples
from tests.support.app import header, kafka_log, read_events, read_topic
from tests.support.poison_worker import KILLS, MENDED, RAISES

__all__ = ["kafka_log"]

EXECUTIONS = "front-office.executions"
WAIT_SECONDS_MAX = 60.0


class Site:
    """One installation: its log, its worker of slot 0, its operator."""

    def __init__(self, log: Log, servers: str, prefix: str, directory: Path) -> None:
        self.log = log
        self.codec: FormatCodec = make_codec()
        self.directory = directory
        others = {name: text for name, text in os.environ.items() if not name.startswith(("KAFKA_", "POSTTRADE_"))}
        self.environment = others | {"KAFKA_BOOTSTRAP_SERVERS": servers, "POSTTRADE_TOPIC_PREFIX": f"{prefix}."}
        self.command = [sys.executable, "-m", "tests.support.poison_worker", servers, f"{prefix}.", str(directory)]
        self.worker: subprocess.Popen[bytes] | None = None

    def send(self, order: str, execution: str) -> None:
        """One execution, keyed by its order."""
        event = samples.execution(order_id=order, execution_id=execution)
        self.log.send([OutgoingRecord(EXECUTIONS, order.encode(), self.codec.encode(EXECUTIONS, event))])

    def start(self) -> subprocess.Popen[bytes]:
        """Start the worker; its output goes to a file."""
        with (self.directory / "worker.log").open("ab") as output:
            self.worker = subprocess.Popen(self.command, stdout=output, stderr=output)
        return self.worker

    def await_letters(self, count: int) -> None:
        """Wait until so many dead letters are there; the worker must live."""
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while len(read_topic(self.log, "dead-letters")) < count:
            assert self.worker is not None
            assert self.worker.poll() is None, (self.directory / "worker.log").read_text()[-3000:]
            assert time.monotonic() < deadline, (self.directory / "worker.log").read_text()[-3000:]

    def captured(self) -> list[str]:
        """Executions that went through, in order of their partitions."""
        events = read_events(self.log, self.codec, "trades.captured")
        return [event.execution_id for event in events if isinstance(event, CapturedTrade)]

    def operator(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `posttrade deadletters …`."""
        return subprocess.run(
            [sys.executable, "-m", "services", "deadletters", *words],
            env=self.environment, capture_output=True, text=True, timeout=WAIT_SECONDS_MAX * 2, check=False,
        )  # fmt: skip

    def stop(self) -> None:
        """End what still runs."""
        if self.worker is not None and self.worker.poll() is None:
            self.worker.kill()
            self.worker.wait()


@pytest.fixture
def site(kafka_log: Log, kafka: str, prefix: str, tmp_path: Path) -> Iterator[Site]:
    """An installation under a prefix of its own."""
    created = Site(kafka_log, kafka, prefix, tmp_path)
    yield created
    created.stop()


def test_a_record_that_kills_the_worker_is_put_aside_after_three_starts(site: Site) -> None:
    """A supervisor starts the worker again and again; without this the day would end at that record."""
    for number in range(4):
        site.send(f"ORDER-{number}", f"E{number}")
    site.send("ORDER-2", KILLS)
    site.send("ORDER-2", "E9")
    for number in range(4, 8):
        site.send(f"ORDER-{number}", f"E{number}")
    for _ in range(3):
        assert site.start().wait(WAIT_SECONDS_MAX) == -signal.SIGKILL
    worker = site.start()
    site.await_letters(2)
    letters = {
        header(letter, "err.class"): header(letter, "src.offset") for letter in read_topic(site.log, "dead-letters")
    }
    assert letters.keys() == {"CRASH", "PARKED"}
    assert int(letters["CRASH"]) < int(letters["PARKED"])
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while len(site.captured()) < 8 and time.monotonic() < deadline:
        assert worker.poll() is None, "it died once more"
    assert sorted(site.captured()) == [f"E{number}" for number in range(8)]
    worker.terminate()
    assert worker.wait(WAIT_SECONDS_MAX) == 0


def test_an_operator_replays_a_key_through_the_command_line(site: Site) -> None:
    """In vain before the bug is mended, in order and once after it."""
    site.start()
    site.send("ORDER-1", RAISES)
    site.send("ORDER-1", "E2")
    site.await_letters(2)
    listed = site.operator("list", "--json")
    assert (listed.returncode, listed.stderr) == (0, "")
    first, second = (json.loads(line)["id"] for line in listed.stdout.splitlines())

    who = ("--by", "ann", "--reason", "release 7", "--yes")
    vain = site.operator("replay", first, *who)
    assert (vain.returncode, vain.stdout.splitlines()[0]) == (1, f"{first}: FAILED_AGAIN")
    assert site.captured() == []

    (site.directory / MENDED).touch()
    done = site.operator("replay", first, *who)
    assert (done.returncode, done.stdout) == (0, f"{first}: REPLAYED\n{second}: REPLAYED\n"), done.stderr
    assert site.captured() == [RAISES, "E2"]
    assert site.operator("list").stdout == "nothing waits\n"
    again = site.operator("replay", first, *who)
    assert (again.returncode, site.captured()) == (1, [RAISES, "E2"])
    done_by = [json.loads(record.value or b"")["by"] for record in read_topic(site.log, "dead-letters.resolved")]
    assert done_by == ["ann"] * 3
