"""The local broker keeps its promises on a real Kafka: transactions, data over restarts, no process left behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource

from deploy.local.data_directory import DataDirectory
from deploy.local.kafka_broker import LocalKafka
from deploy.local.kafka_jars import REPOSITORY
from deploy.local.tools import LocalServerError
from tests.support.broker import create_topics
from tests.support.processes import await_end

pytestmark = pytest.mark.server

END_SECONDS_MAX = 30.0
"""Longer than the guard's grace: an orderly stop takes about a second."""
CLIENT_SECONDS_MAX = 30.0


def _produce(bootstrap_servers: str, topic: str, *values: str) -> None:
    producer = Producer({"bootstrap.servers": bootstrap_servers, "acks": "all"})
    for value in values:
        producer.produce(topic, value=value)
    assert producer.flush(CLIENT_SECONDS_MAX) == 0


def _read(bootstrap_servers: str, topic: str, group: str = "reader") -> list[str]:
    """Every committed record of partition 0, to the end it has now."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap_servers, "group.id": group, "isolation.level": "read_committed"}
        | {"enable.partition.eof": False, "log_level": 0}
    )
    partition = TopicPartition(topic, 0, 0)
    _, end = consumer.get_watermark_offsets(partition, timeout=CLIENT_SECONDS_MAX)
    consumer.assign([partition])
    values: list[str] = []
    while consumer.position([partition])[0].offset < end:  # a commit or abort mark takes an offset too
        for message in consumer.consume(100, timeout=0.2):
            assert message.error() is None
            values.append((message.value() or b"").decode())
    consumer.close()
    return values


def _answers(bootstrap_servers: str, seconds_max: float) -> bool:
    try:
        AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0}).list_topics(timeout=seconds_max)
    except KafkaException:
        return False
    return True


@pytest.fixture(scope="module")
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """A broker that the tests of this module may kill, pause and restart; each leaves it running."""
    with LocalKafka(tmp_path_factory.mktemp("kafka"), quick=True) as broker:
        yield broker


def test_outputs_and_offsets_of_a_transaction_appear_together_or_not_at_all(kafka: str, prefix: str) -> None:
    source, sink, group = f"{prefix}-in", f"{prefix}-out", f"{prefix}-group"
    create_topics(kafka, source, sink)
    _produce(kafka, source, "a", "b")
    consumer = Consumer(
        {"bootstrap.servers": kafka, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False}
    )
    consumer.subscribe([source])
    batch = [message for _ in range(2) for message in consumer.consume(1, timeout=CLIENT_SECONDS_MAX)]
    assert [message.value() for message in batch] == [b"a", b"b"]
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": f"{prefix}-transaction"})
    producer.init_transactions(CLIENT_SECONDS_MAX)

    for ending in (producer.abort_transaction, producer.commit_transaction):
        producer.begin_transaction()
        producer.produce(sink, value=ending.__name__)
        producer.send_offsets_to_transaction(
            [TopicPartition(source, 0, 2)], consumer.consumer_group_metadata(), CLIENT_SECONDS_MAX
        )
        producer.flush(CLIENT_SECONDS_MAX)
        ending(CLIENT_SECONDS_MAX)
        committed = consumer.committed([TopicPartition(source, 0)], CLIENT_SECONDS_MAX)[0].offset

        assert committed == (2 if ending == producer.commit_transaction else -1001)
    consumer.close()

    assert _read(kafka, sink, f"{prefix}-reader") == ["commit_transaction"]


def test_records_are_kept_whatever_their_age(kafka: str, prefix: str) -> None:
    """Sample trades carry timestamps of days long past; deletion by age would remove them within minutes."""
    create_topics(kafka, prefix)
    resource = ConfigResource(ConfigResource.Type.TOPIC, prefix)
    admin = AdminClient({"bootstrap.servers": kafka})

    config = admin.describe_configs([resource])[resource].result(CLIENT_SECONDS_MAX)

    assert (config["retention.ms"].value, config["retention.bytes"].value) == ("-1", "-1")
    assert config["max.message.bytes"].value == str(4 * 1024 * 1024)


def test_a_second_start_continues_on_the_data(tmp_path: Path) -> None:
    """The same cluster with its records, on the same port; on another when that one was taken meanwhile."""
    with LocalKafka(tmp_path, quick=True) as first:
        create_topics(first.bootstrap_servers, "kept")
        _produce(first.bootstrap_servers, "kept", "before")
    with LocalKafka(tmp_path, quick=True) as second:
        assert (second.port, second.cluster_id) == (first.port, first.cluster_id)
        _produce(second.bootstrap_servers, "kept", "between")
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", first.port))
        squatter.listen()
        with LocalKafka(tmp_path, quick=True) as third:
            assert (third.port != first.port, third.cluster_id) == (True, first.cluster_id)
            assert _read(third.bootstrap_servers, "kept") == ["before", "between"]


def test_a_killed_broker_comes_back_on_its_port_with_its_records(own_kafka: LocalKafka, prefix: str) -> None:
    address = own_kafka.bootstrap_servers
    create_topics(address, prefix)
    _produce(address, prefix, "before the kill")
    own_kafka.kill()
    assert not own_kafka.is_running
    assert not _answers(address, seconds_max=0.5)

    own_kafka.restart()

    assert own_kafka.bootstrap_servers == address
    assert _read(address, prefix) == ["before the kill"]


def test_a_paused_broker_answers_nothing_until_it_is_resumed(own_kafka: LocalKafka) -> None:
    own_kafka.pause()
    assert not _answers(own_kafka.bootstrap_servers, seconds_max=1)
    own_kafka.resume()
    assert _answers(own_kafka.bootstrap_servers, seconds_max=CLIENT_SECONDS_MAX)


@pytest.mark.parametrize("is_paused", [False, True])
def test_stop_leaves_no_process_and_no_temporary_directory(is_paused: bool) -> None:
    """A paused process does not see SIGTERM by itself."""
    broker = LocalKafka(quick=True).start()
    process_id, session, data_dir = broker.process_id, os.getsid(broker.process_id), broker.data_dir
    if is_paused:
        broker.pause()

    broker.stop()

    assert await_end(process_id, 0)
    with pytest.raises(ProcessLookupError):
        os.killpg(session, 0)  # nobody is left of the guard's session
    assert not data_dir.exists()


def test_a_broker_outlives_the_thread_that_started_it(own_kafka: LocalKafka) -> None:
    """The kernel's parent-death signal follows threads; a program may start its servers from a pool."""
    starter = Thread(target=own_kafka.restart)
    starter.start()
    starter.join()

    assert not await_end(own_kafka.process_id, 1)
    assert _answers(own_kafka.bootstrap_servers, seconds_max=CLIENT_SECONDS_MAX)


def test_a_directory_serves_one_broker_at_a_time(own_kafka: LocalKafka) -> None:
    with pytest.raises(LocalServerError, match=rf"in use by process {os.getpid()}"):
        LocalKafka(own_kafka.data_dir).start()

    assert _answers(own_kafka.bootstrap_servers, seconds_max=CLIENT_SECONDS_MAX)


def test_a_given_port_that_is_taken_is_an_error(tmp_path: Path) -> None:
    """Whoever names a port has clients that look there; another one would not help them."""
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        port = squatter.getsockname()[1]

        with pytest.raises(LocalServerError, match=f"Port {port} of 127.0.0.1 is in use by another process"):
            LocalKafka(tmp_path, port=port, quick=True).start()


def test_a_failed_start_shows_why_and_leaves_nothing_behind(tmp_path: Path) -> None:
    broker = LocalKafka(tmp_path, heap_mib=1)

    with pytest.raises(LocalServerError, match=r"(?s)exit code 1.*Too small maximum heap"):
        broker.start()

    assert not broker.is_running
    assert not (tmp_path / "log").exists(), "a later start would take a half-made directory for data"


def test_a_start_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(LocalServerError, match=r"was not formatted within 0\.1 s"):
        LocalKafka(tmp_path, start_seconds_max=0.1).start()

    assert not (tmp_path / "log").exists(), "a later start would take a half-made directory for data"


@dataclass(frozen=True)
class Foreground:
    """The command as a person runs it, and the broker below it."""

    parent: subprocess.Popen[str]
    broker: int
    """The process id of Java; the id of its session is that of its guard."""
    address: str


@pytest.fixture
def foreground(tmp_path: Path) -> Iterator[Foreground]:
    """The command on the data directory `tmp_path`, up."""
    command = [sys.executable, "-m", "deploy.local.kafka_broker", "--data-dir", str(tmp_path)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as parent:
        try:
            assert parent.stdout is not None
            line = parent.stdout.readline()
            found = re.search(r"is up at (127\.0\.0\.1:\d+), process (\d+)", line)
            assert found is not None, line
            yield Foreground(parent, int(found[2]), found[1])
        finally:
            parent.kill()


def test_a_broker_ends_when_its_parent_is_killed(foreground: Foreground, tmp_path: Path) -> None:
    """Even by kill -9; and until it has ended nobody else gets its directory."""
    guard = os.getsid(foreground.broker)
    os.kill(guard, signal.SIGSTOP)  # the broker is not ended before we have looked
    try:
        foreground.parent.kill()
        foreground.parent.wait()
        with pytest.raises(LocalServerError, match=f"in use by process {foreground.parent.pid}"):
            DataDirectory(tmp_path).lock(0)
    finally:
        os.kill(guard, signal.SIGCONT)

    with LocalKafka(tmp_path, quick=True) as successor:  # waits for the end instead of failing
        assert await_end(foreground.broker, 0)
        assert successor.bootstrap_servers == foreground.address


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_stops_its_broker_in_good_order(
    foreground: Foreground, tmp_path: Path, number: signal.Signals
) -> None:
    """Ctrl-C at a terminal goes to every process of its session: the broker is in another one and is stopped by us."""
    assert os.getsid(foreground.broker) != os.getsid(foreground.parent.pid)

    foreground.parent.send_signal(number)
    rest, _ = foreground.parent.communicate(timeout=END_SECONDS_MAX)

    assert (foreground.parent.returncode, rest) == (0, "")
    assert await_end(foreground.broker, 0)
    assert (tmp_path / "log" / ".kafka_cleanshutdown").exists()
    assert "Transition from SHUTTING_DOWN to SHUTDOWN" in (tmp_path / "broker.log").read_text()
