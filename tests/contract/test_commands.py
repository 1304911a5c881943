"""The command line on a real Kafka, and the worker as a process of its own."""

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
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions
from typer.testing import CliRunner

from deploy.local.data_directory import free_port
from deploy.local.day import SHIPPED_REFERENCE
from services.adapters.avro_codec import to_json
from services.adapters.topic_admin import Action, TopicAdmin
from services.commands.cli import make_app
from services.commands.cluster import Cluster
from services.engine.log import LogError
from services.topics import load_topics
from tests.support import mini_day

COMMAND_SECONDS_MAX = 60.0
WORK_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0
FENCED = 3


class Installation:
    """One installation on the shared broker: the variables that name it, and its workers."""

    def __init__(self, servers: str, prefix: str, directory: Path) -> None:
        """Nothing exists on the cluster yet."""
        self.directory = directory
        self.servers = servers
        self.prefix = prefix
        others = {name: text for name, text in os.environ.items() if not name.startswith(("KAFKA_", "POSTTRADE_"))}
        self.environment = others | {
            "KAFKA_BOOTSTRAP_SERVERS": servers,
            "POSTTRADE_TOPIC_PREFIX": prefix,
            "POSTTRADE_DATA_DIR": str(directory / "worker"),
            "POSTTRADE_WEB_PORT": str(free_port()),  # not the default, which a `make run` beside us may want
        }
        self.workers: list[subprocess.Popen[str]] = []

    def run(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "services", *arguments],
            env=self.environment, input=given, capture_output=True, text=True, timeout=COMMAND_SECONDS_MAX, check=False,
        )  # fmt: skip

    def done(self, *arguments: str, given: str = "") -> str:
        """Run a command that must succeed without a word on standard error; its output."""
        ended = self.run(*arguments, given=given)
        assert (ended.returncode, ended.stderr) == (0, ""), ended.stderr
        return ended.stdout

    def prepared(self, *arguments: str) -> str:
        """Run a command that must succeed, in this process: for what a test needs and does not test. Its output."""
        ended = CliRunner().invoke(make_app(), list(arguments), obj=Cluster(self.environment))
        assert ended.exit_code == 0, ended.output
        return ended.stdout

    def start_worker(self) -> subprocess.Popen[str]:
        """Start a worker of slot 0 and wait until it has taken its partitions."""
        environment = self.environment | {"POSTTRADE_WEB_PORT": str(free_port())}
        log_file = self.directory / f"worker-{len(self.workers)}.log"
        with log_file.open("w") as log:
            command = [sys.executable, "-m", "services", "worker"]
            worker = subprocess.Popen(command, env=environment, stderr=log, text=True)
        self.workers.append(worker)
        self._await_log(worker, log_file, "state restored", times=5)
        return worker

    @staticmethod
    def _await_log(worker: subprocess.Popen[str], log_file: Path, text: str, times: int) -> None:
        deadline = time.monotonic() + WORK_SECONDS_MAX
        while log_file.read_text().count(text) < times:
            assert worker.poll() is None, log_file.read_text()
            assert time.monotonic() < deadline, log_file.read_text()
            time.sleep(0.1)

    def await_instructions(self, count: int) -> list[dict[str, object]]:
        """The instructions, as soon as there are so many."""
        rows = self.prepared(
            "tail", "settlement.instructions", "--json", "--from-beginning", "--max", str(count), "--until-idle", "30"
        )
        found = [json.loads(row) for row in rows.splitlines()]
        assert len(found) == count
        return found

    def stop_all(self) -> None:
        """End what still runs."""
        for worker in self.workers:
            if worker.poll() is None:
                worker.kill()
                worker.wait()


@pytest.fixture
def installation(kafka: str, prefix: str, tmp_path: Path) -> Iterator[Installation]:
    """An empty installation under a prefix of its own."""
    created = Installation(kafka, f"{prefix}.", tmp_path)
    yield created
    created.stop_all()


def test_topics_are_created_compared_altered_and_refused(installation: Installation) -> None:
    """The life of topics: missing, created, unchanged, altered back, refused when partitions differ."""
    assert installation.done("topics", "list").count("missing") == len(load_topics())
    assert installation.done("topics", "apply").splitlines()[-1] == f"{len(load_topics())} created"
    assert installation.done("topics", "apply").splitlines()[-1] == f"{len(load_topics())} unchanged"
    assert "missing" not in installation.done("topics", "list")

    topic = load_topics()["exceptions"]
    admin = TopicAdmin(installation.servers, prefix=installation.prefix)
    admin._alter(topic, {"retention.ms": "1000"})
    assert "differs: retention.ms: 1000 -> " in installation.done("topics", "list")
    assert "1 altered" in installation.done("topics", "apply")
    assert admin.apply({"exceptions": topic})[0].action is Action.NONE

    raw = AdminClient({"bootstrap.servers": installation.servers})
    for grown in raw.create_partitions([NewPartitions(installation.prefix + "exceptions", 8)]).values():
        grown.result(20)
    refused = installation.run("topics", "apply")
    assert refused.returncode == 1
    assert "has 8 partitions, 4 are declared" in refused.stdout
    assert len(refused.stderr.splitlines()) == 1


def test_a_command_without_its_topics_says_what_to_run(installation: Installation) -> None:
    """The first thing that a new installation meets."""
    ended = installation.run("summary")
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.endswith("does not exist; run: posttrade topics apply")


def test_reference_data_and_events_go_in_and_come_out(installation: Installation) -> None:
    """What load and send write is what tail reads, on a real cluster as in memory."""
    installation.done("topics", "apply")
    assert "total" in installation.done("reference", "load", str(SHIPPED_REFERENCE))
    lines = "".join(json.dumps(to_json(event)) + "\n" for event in mini_day.executions())
    assert installation.done("send", "executions", "-", given=lines) == "sent 6 records to front-office.executions\n"
    shown = installation.done("tail", "front-office.executions", "--json", "--from-beginning", "--max", "6")
    values = [json.loads(line)["value"]["execution_id"] for line in shown.splitlines()]
    assert sorted(values) == sorted(event.execution_id for event in mini_day.executions())
    assert "executions" in installation.done("summary")


def _send_day(installation: Installation) -> None:
    data = mini_day.write(installation.directory / "day")
    installation.prepared("topics", "apply")
    installation.prepared("reference", "load", str(SHIPPED_REFERENCE))
    installation.prepared("reference", "load", str(data / "reference"))
    installation.prepared("send", "confirmations", str(data / "confirmations.jsonl"))
    installation.prepared("send", "allocations", str(data / "allocations.jsonl"))


def test_a_worker_instructs_and_stops_when_asked(installation: Installation) -> None:
    """From the report to the instruction, and exit code 0 at SIGTERM."""
    _send_day(installation)
    worker = installation.start_worker()
    installation.done("send", "executions", str(installation.directory / "day" / "executions.jsonl"))
    instructions = installation.await_instructions(3)
    assert len({str(row["key"]) for row in instructions}) == 3
    assert "instructed: SI" in installation.done("trade", "O1")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(STOP_SECONDS_MAX) == 0


def test_a_second_worker_of_a_slot_takes_over_and_the_first_ends_with_3(installation: Installation) -> None:
    """Two workers of one slot would be two writers of one transaction; the older one goes, and nothing is doubled."""
    _send_day(installation)
    first = installation.start_worker()
    second = installation.start_worker()
    installation.prepared("send", "executions", str(installation.directory / "day" / "executions.jsonl"))
    installation.await_instructions(3)
    assert first.wait(STOP_SECONDS_MAX) == FENCED
    last_line = (installation.directory / "worker-0.log").read_text().splitlines()[-1]
    assert "another worker has taken over this slot" in json.loads(last_line)["cause"]
    second.send_signal(signal.SIGTERM)
    assert second.wait(STOP_SECONDS_MAX) == 0


def test_a_worker_without_its_topics_ends_with_1(installation: Installation) -> None:
    """One line says what to do; the process does not stay behind empty."""
    ended = installation.run("worker")
    assert ended.returncode == 1
    assert "run: posttrade topics apply" in json.loads(ended.stderr.splitlines()[-1])["cause"]
    assert "Traceback" not in ended.stderr


def test_the_cluster_that_is_not_there_is_named_within_ten_seconds(
    installation: Installation, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nobody should wait for half a minute to learn of a misspelt host, nor read what the client library thinks of it.

    In this process: how long an interpreter takes to start on a busy machine is not what is promised.
    """
    installation.environment["KAFKA_BOOTSTRAP_SERVERS"] = "127.0.0.1:1"
    began = time.monotonic()
    ended = CliRunner().invoke(make_app(), ["tail", "exceptions"], obj=Cluster(installation.environment))
    assert time.monotonic() - began < 10
    assert ended.exit_code == 1
    assert ended.stderr == "error: no Kafka cluster answered at 127.0.0.1:1 within 8 s\n"
    assert capfd.readouterr() == ("", "")
    with pytest.raises(LogError):
        TopicAdmin("127.0.0.1:1", client_settings={"log_level": 0}).reach(0.2)
