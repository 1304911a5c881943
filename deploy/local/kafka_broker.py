"""A real Apache Kafka on this machine, without containers: one process, started and ended by the one that needs it.

    with LocalKafka(data_dir) as kafka:
        Producer({"bootstrap.servers": kafka.bootstrap_servers})

    python -m deploy.local.kafka_broker --data-dir DIR     # the same in the foreground, until Ctrl-C

Guarantees:
- `start` returns when the broker answers metadata requests as the cluster of this data directory, or raises with the
  last lines of its log;
- a second start on the same directory continues on its data, on the same port if that is still free;
- the broker lives in a session of its own: Ctrl-C at the terminal reaches the parent alone, which stops its workers
  first and the broker last;
- it never outlives its parent, not even one that was killed with -9 (deploy/local/guard.py).
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, NoReturn, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from deploy.local.data_directory import LOOPBACK, BrokerIdentity, DataDirectory, is_free
from deploy.local.guarded_process import GuardedProcess
from deploy.local.kafka_jars import REPOSITORY, ensure_jars, kafka_version
from deploy.local.tools import LocalServerError, find_java

_LOGGING = REPOSITORY / "deploy" / "kafka" / "log4j2.properties"

STOP_GRACE_SECONDS = 20.0
"""How long an orderly stop may take before the broker is killed; it takes about one second."""
_METADATA_SECONDS = 0.5
_PORT_TRIES_MAX = 3


class _PortTakenError(LocalServerError):
    """Another process took the port between its choice and the broker's bind."""


class LocalKafka:
    """One Kafka node of our own. Not for use by several threads at once."""

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        port: int | None = None,
        quick: bool = False,
        heap_mib: int = 512,
        start_seconds_max: float = 60.0,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Describe the broker; `start` or `with` brings it up.

        Args:
            data_dir: kept between runs; None means a temporary one that `stop` removes.
            port: where clients connect, on loopback; None means the one used last on this data, or a free one.
            quick: up sooner, slower under load. For tests of behaviour, not of speed.
            heap_mib: Java heap, MiB.
            start_seconds_max: deadline for the broker to answer, seconds; fetching the jars the first time not counted.
            settings: broker settings that go before those of deploy/kafka/server.properties.
        """
        self._given_dir = data_dir
        self._given_port = port
        self._quick = quick
        self._heap_mib = heap_mib
        self._start_seconds_max = start_seconds_max
        self._settings = settings
        self._directory: DataDirectory | None = None
        self._identity: BrokerIdentity | None = None
        self._lock: IO[str] | None = None
        self._process: GuardedProcess | None = None
        self._java: list[str] = []

    @property
    def bootstrap_servers(self) -> str:
        """The address for clients, `127.0.0.1:port`. Stays the same over `kill`, `restart` and `pause`."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def port(self) -> int:
        """Where clients connect, on loopback."""
        return self._started()[1].port

    @property
    def cluster_id(self) -> str:
        """The cluster's own name; the same for the life of the data directory."""
        return self._started()[1].cluster_id

    @property
    def data_dir(self) -> Path:
        """Where the data lies."""
        return self._started()[0].path

    @property
    def log_file(self) -> Path:
        """What Kafka logs."""
        return self._started()[0].log

    @property
    def process_id(self) -> int:
        """The running Java process."""
        return self._running().id

    @property
    def is_running(self) -> bool:
        """Is there a process? True for a paused one."""
        return self._process is not None and self._process.exit_code() is None

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, whatever happened."""
        self.stop()

    def start(self) -> Self:
        """Bring the broker up; returns when it answers.

        Raises:
            MissingToolError: Java is missing or too old, or Maven is missing and the jars are not there yet.
            LocalServerError: the directory is in use, or the broker did not come up; the message shows its last lines.
        """
        if self._lock is not None:
            raise LocalServerError("This broker was started already; stop it first.")
        self._java = self._java_command()
        path = self._given_dir or Path(tempfile.mkdtemp(prefix="posttrade-kafka-"))
        self._directory = DataDirectory(path.resolve(), self._settings)
        try:
            self._lock = self._directory.lock(STOP_GRACE_SECONDS)
            self._start_on_some_port(self._directory)
        except BaseException:  # Ctrl-C too must not leave a half-started broker
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the broker in good order and give the directory back. Does nothing when there is nothing to stop."""
        if self._process is not None:
            self._process.stop()
            self._process = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        if self._given_dir is None and self._directory is not None:
            shutil.rmtree(self._directory.path, ignore_errors=True)

    def kill(self) -> None:
        """End the broker as a power cut would (SIGKILL). The data and the port are kept for `restart`."""
        self._running().kill()
        self._process = None

    def restart(self) -> None:
        """Bring the broker up again on the same data and the same port; ends a running one in good order first.

        After `kill` this takes some 3 s longer: the session of the killed process has to end first.

        Raises:
            LocalServerError: the port was taken meanwhile, or the broker did not come up.
        """
        directory, identity = self._started()
        if self._process is not None:
            self._process.stop()
            self._process = None
        try:
            self._start_once(directory, identity)
        except BaseException:
            self.stop()
            raise

    def pause(self) -> None:
        """Freeze the broker (SIGSTOP): connections stay open and nothing answers, as in a network partition."""
        self._running().send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused broker run on (SIGCONT)."""
        self._running().send(signal.SIGCONT)

    def wait(self) -> int:
        """Wait until the broker has ended by itself or by another's hand; the exit code of Java."""
        return self._running().wait()

    def _start_on_some_port(self, directory: DataDirectory) -> None:
        for tries_left in reversed(range(_PORT_TRIES_MAX)):
            known = directory.identity()
            identity = known.on_free_ports(self._given_port) if known else BrokerIdentity.draw(self._given_port)
            try:
                self._start_once(directory, identity)
            except _PortTakenError:
                if self._given_port is not None or not tries_left:
                    raise
            else:
                return

    def _start_once(self, directory: DataDirectory, identity: BrokerIdentity) -> None:
        deadline = time.monotonic() + self._start_seconds_max
        self._identity = identity
        self._refuse_taken_ports(identity)
        directory.remember(identity)
        if not directory.records.exists():
            self._format(directory, identity, deadline)
        directory.write_properties(identity)
        self._process = self._launch(directory, "kafka.Kafka", directory.properties.name)
        try:
            self._await_answer(deadline)
        except BaseException:
            self._process.kill()
            self._process = None
            raise

    def _launch(self, directory: DataDirectory, *main_class_and_arguments: str) -> GuardedProcess:
        """Start Java. The guard keeps the lock, so the directory stays taken until Java is really gone."""
        assert self._lock is not None
        return GuardedProcess(
            [*self._java, *main_class_and_arguments],
            directory=directory.path,
            output=directory.output,
            grace_seconds=STOP_GRACE_SECONDS,
            guard_files=[self._lock.fileno()],
        )

    def _format(self, directory: DataDirectory, identity: BrokerIdentity, deadline: float) -> None:
        """Write the first metadata of a new cluster; a format cut short leaves nothing that a later start would use."""
        directory.begin_format(identity)
        options = ["--standalone", "--cluster-id", identity.cluster_id, "--config", directory.properties.name]
        process = self._launch(directory, "kafka.tools.StorageTool", "format", *options)
        try:
            code = process.wait(max(deadline - time.monotonic(), 0))
        except BaseException as error:
            process.kill()
            if isinstance(error, subprocess.TimeoutExpired):
                self._fail(f"was not formatted within {self._start_seconds_max:g} s")
            raise
        process.stop()
        if code != 0:
            self._fail(f"could not be formatted (exit code {code})")
        directory.end_format()

    def _await_answer(self, deadline: float) -> None:
        """Wait until the broker answers a metadata request as our cluster.

        Another process on our port could answer too, hence the look at the cluster id.
        """
        process = self._running()
        # Without log_level 0 librdkafka prints a line for each attempt before the broker listens.
        client = AdminClient(
            {
                "bootstrap.servers": self.bootstrap_servers,
                "log_level": 0,
                "reconnect.backoff.ms": 50,
                "reconnect.backoff.max.ms": 200,
            }
        )
        while time.monotonic() < deadline:
            if process.exit_code() is not None:
                self._refuse_taken_ports(self._started()[1])
                self._fail(f"ended with exit code {process.wait()} before it answered")
            try:
                metadata = client.list_topics(timeout=_METADATA_SECONDS)
            except KafkaException:
                continue
            if metadata.brokers and str(metadata.cluster_id) == self.cluster_id:  # str: the library's stub says None
                return
            time.sleep(_METADATA_SECONDS / 10)
        self._fail(f"did not answer on {self.bootstrap_servers} within {self._start_seconds_max:g} s")

    @staticmethod
    def _refuse_taken_ports(identity: BrokerIdentity) -> None:
        for port in (identity.port, identity.controller_port):
            if not is_free(port):
                raise _PortTakenError(f"Port {port} of {LOOPBACK} is in use by another process.")

    def _fail(self, what: str) -> NoReturn:
        directory = self._started()[0]
        raise LocalServerError(
            f"The local Kafka {what}. Data: {directory.path}. Its last lines:\n{directory.last_words()}"
        )

    def _java_command(self) -> list[str]:
        """Java with its options, up to the name of the main class."""
        java, jars = find_java(), ensure_jars()
        return [
            str(java),
            f"-Xmx{self._heap_mib}m",
            "-XX:+UseSerialGC",  # one heap of this size on few cores: the collector that starts soonest
            *(["-XX:TieredStopAtLevel=1"] if self._quick else []),
            "-XX:+ExitOnOutOfMemoryError",
            "-XX:-UsePerfData",  # no files in the system's temporary directory
            "-Djava.awt.headless=true",
            f"-Dlog4j2.configurationFile={_LOGGING.as_uri()}",
            "-Dkafka.log.file=broker.log",
            "-cp",
            f"{jars}/*",
        ]

    def _started(self) -> tuple[DataDirectory, BrokerIdentity]:
        if self._directory is None or self._identity is None:
            raise LocalServerError("This broker was not started yet.")
        return self._directory, self._identity

    def _running(self) -> GuardedProcess:
        if self._process is None:
            raise LocalServerError("This broker does not run.")
        return self._process


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a broker in the foreground until Ctrl-C or SIGTERM; the exit code for the shell."""
    parser = argparse.ArgumentParser(prog="deploy.local.kafka_broker", description="Run a local Apache Kafka.")
    parser.add_argument("--data-dir", type=Path, help="kept between runs; default: a temporary one, removed at the end")
    parser.add_argument("--port", type=int, help="default: the one used last on this data, or a free one")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts us in the background had it ignored
    try:
        with LocalKafka(options.data_dir, port=options.port) as kafka:
            print(f"Kafka {kafka_version()} is up at {kafka.bootstrap_servers}, process {kafka.process_id}, "
                  f"data in {kafka.data_dir}. Ctrl-C stops it.", flush=True)  # fmt: skip
            code = kafka.wait()
            print(f"The local Kafka ended by itself with exit code {code}; see {kafka.log_file}.", file=sys.stderr)
            return 1
    except LocalServerError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
