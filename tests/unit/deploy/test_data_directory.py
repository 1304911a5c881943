"""What a broker finds again in its directory, and which ports it may take."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import data_directory
from deploy.local.data_directory import BrokerIdentity, DataDirectory
from deploy.local.tools import LocalServerError


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    return DataDirectory(tmp_path / "data")


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A loopback port on which somebody listens."""
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        yield squatter.getsockname()[1]


def _ended_process_id() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_an_identity_is_found_again_once_there_is_data(directory: DataDirectory) -> None:
    """Before that a start was cut short, and the next one begins anew."""
    identity = BrokerIdentity.draw()
    directory.path.mkdir()
    directory.remember(identity)
    assert directory.identity() is None

    directory.begin_format(identity)
    directory.records_in_the_making.mkdir()
    directory.end_format()

    assert DataDirectory(directory.path).identity() == identity


def test_a_format_cut_short_is_forgotten(directory: DataDirectory) -> None:
    directory.records_in_the_making.mkdir(parents=True)
    (directory.records_in_the_making / "meta.properties").write_text("half")

    directory.begin_format(BrokerIdentity.draw())

    assert not directory.records_in_the_making.exists()
    assert "log.dirs=log.partial" in directory.properties.read_text().splitlines()


@pytest.mark.parametrize("text", [None, "", "{}", '{"port": 1, "unknown": 2}'])
def test_data_without_a_readable_identity_is_not_touched(directory: DataDirectory, text: str | None) -> None:
    """A new cluster id over old records would be refused by Kafka; removing them is for a person to decide."""
    directory.records.mkdir(parents=True)
    if text is not None:
        (directory.path / "broker.json").write_text(text)

    with pytest.raises(LocalServerError, match=r"remove .*/data to begin anew"):
        directory.identity()

    assert directory.records.exists()


def test_the_properties_carry_the_ports_everywhere() -> None:
    identity = BrokerIdentity(port=21001, controller_port=21002, cluster_id="c" * 22)

    lines = identity.properties("log").splitlines()

    assert "listeners=PLAINTEXT://127.0.0.1:21001,CONTROLLER://127.0.0.1:21002" in lines
    assert "advertised.listeners=PLAINTEXT://127.0.0.1:21001" in lines
    assert "controller.quorum.bootstrap.servers=127.0.0.1:21002" in lines
    assert "log.dirs=log" in lines


def test_every_property_is_set_once() -> None:
    """Of two lines for one key Kafka silently takes the last."""
    text = BrokerIdentity.draw().properties("log")
    keys = [line.split("=")[0] for line in text.splitlines() if line and not line.startswith("#")]

    assert len(keys) == len(set(keys)) > 20


def test_own_settings_go_before_those_of_the_template() -> None:
    """Kafka takes the last of two lines, and a listener of a test's own needs the ports."""
    identity = BrokerIdentity(port=21001, controller_port=21002, cluster_id="c" * 22)

    lines = identity.properties("log", {"listeners": "PLAINTEXT://127.0.0.1:${port},OTHER://127.0.0.1:1"}).splitlines()

    own = "listeners=PLAINTEXT://127.0.0.1:21001,OTHER://127.0.0.1:1"
    assert [line for line in lines if line.startswith("listeners=")][-1] == own


def test_a_cluster_id_is_sixteen_bytes_and_no_option() -> None:
    for _ in range(300):
        cluster_id = BrokerIdentity.draw(port=1).cluster_id

        assert len(base64.urlsafe_b64decode(cluster_id + "==")) == 16
        assert not cluster_id.startswith("-")


def test_free_ports_lie_below_those_the_kernel_gives_to_clients() -> None:
    """A client that retries towards a port of that range can be connected to itself and block the broker's return."""
    ports = [data_directory.free_port() for _ in range(100)]

    assert all(20_000 <= port <= 32_000 for port in ports)
    assert len(set(ports)) > 1


def test_the_ports_stay_while_they_are_free() -> None:
    identity = BrokerIdentity.draw()

    assert identity.on_free_ports() == identity


def test_only_a_taken_port_is_replaced(taken_port: int) -> None:
    free = data_directory.free_port()
    client_taken = BrokerIdentity(port=taken_port, controller_port=free, cluster_id="c")
    controller_taken = BrokerIdentity(port=free, controller_port=taken_port, cluster_id="c")

    assert client_taken.on_free_ports().controller_port == free
    assert client_taken.on_free_ports().port not in (taken_port, free)
    assert controller_taken.on_free_ports().port == free
    assert controller_taken.on_free_ports().controller_port not in (taken_port, free)


def test_a_given_port_is_used_and_the_controller_makes_way() -> None:
    first, second = data_directory.free_port(), data_directory.free_port()
    identity = BrokerIdentity(port=first, controller_port=second, cluster_id="c")

    moved = identity.on_free_ports(second)

    assert (moved.port, moved.cluster_id) == (second, "c")
    assert moved.controller_port != second


def test_the_lock_names_its_owner_and_is_given_back(directory: DataDirectory) -> None:
    with directory.lock(0), pytest.raises(LocalServerError, match=f"in use by process {os.getpid()};"):
        DataDirectory(directory.path).lock(60)  # the owner lives: no waiting
    directory.lock(0).close()


def test_the_lock_of_a_dead_owner_is_waited_for(directory: DataDirectory) -> None:
    """Its broker is being stopped: here by a process that holds the lock for a moment longer."""
    with directory.lock(0) as lock:
        lock.truncate(0)
        lock.write(str(_ended_process_id()))
        lock.flush()
        stopping = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.5)"], pass_fds=[lock.fileno()])

    successor = DataDirectory(directory.path).lock(20)

    assert stopping.wait(20) == 0
    successor.close()


def test_the_last_words_are_the_end_of_output_and_log(directory: DataDirectory) -> None:
    directory.path.mkdir()
    assert directory.last_words() == "(it logged nothing)"
    directory.output.write_text("".join(f"output {n}\n" for n in range(20)))
    directory.log.write_text("log 1\nlog 2\n")

    assert directory.last_words(lines_max=4) == "output 18\noutput 19\nlog 1\nlog 2"
