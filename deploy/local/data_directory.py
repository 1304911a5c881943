"""What a local broker keeps in its data directory, and who may use it.

broker.json        ports and cluster id, so that the next start continues where this one ended
broker.lock        held while a broker runs on the directory
log/               Kafka's own data
server.properties  written at each start from deploy/kafka/server.properties
broker.log         what Kafka logs; broker.out what the Java machine itself prints
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import random
import shutil
import socket
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from string import Template
from typing import IO, Self

from deploy.local.kafka_jars import REPOSITORY
from deploy.local.tools import LocalServerError

LOOPBACK = "127.0.0.1"

# Below the range from which the kernel draws ports for outgoing connections (32768 and up on Linux, 49152 elsewhere):
# there a client that keeps knocking at a stopped broker could be given the broker's own port, connect to itself and
# keep the broker from coming back.
_PORT_MIN = 20_000
_PORT_MAX = 32_000
_PORT_TRIES_MAX = 200

_LOCK_RETRY_SECONDS = 0.1
_TEMPLATE = REPOSITORY / "deploy" / "kafka" / "server.properties"


@dataclass(frozen=True, kw_only=True)
class BrokerIdentity:
    """What stays the same over restarts on one data directory."""

    port: int
    """Where clients connect, on loopback."""
    controller_port: int
    """Where the node talks to itself as its own controller."""
    cluster_id: str
    """22 characters, base64url of 16 random bytes: Kafka's form of a UUID."""

    @classmethod
    def draw(cls, port: int | None = None) -> Self:
        """A new identity on free ports; `port` is used if given, free or not."""
        port = free_port() if port is None else port
        return cls(port=port, controller_port=free_port(other_than=port), cluster_id=_new_cluster_id())

    def on_free_ports(self, port: int | None = None) -> Self:
        """The same cluster, on `port` if given, with another port for each that somebody else took."""
        if port is None:
            port = self.port if is_free(self.port) else free_port(other_than=self.controller_port)
        keep = self.controller_port != port and is_free(self.controller_port)
        return replace(self, port=port, controller_port=self.controller_port if keep else free_port(other_than=port))

    def properties(self, log_dir: str, settings: Mapping[str, str] | None = None) -> str:
        """The text of server.properties for this node; `log_dir` is relative to where Kafka is started.

        `settings` go before those of the template; they may name `${port}`, `${controller_port}` and `${log_dir}`.
        """
        values = {"port": self.port, "controller_port": self.controller_port, "log_dir": log_dir}
        # At the end, for Kafka takes the last of two lines with one name.
        own = "".join(f"{name}={value}\n" for name, value in (settings or {}).items())
        return Template(_TEMPLATE.read_text() + own).substitute(values)


class DataDirectory:
    """The files of one broker; see the module."""

    def __init__(self, path: Path, settings: Mapping[str, str] | None = None) -> None:
        """Name the directory; nothing is read or made yet. `settings`: see `BrokerIdentity.properties`."""
        self.path = path
        self._settings = settings
        self.log = path / "broker.log"
        self.output = path / "broker.out"
        self.properties = path / "server.properties"
        self.records = path / "log"
        self.records_in_the_making = path / "log.partial"
        self._identity = path / "broker.json"
        self._lock_file = path / "broker.lock"

    def lock(self, patience_seconds: float) -> IO[str]:
        """Take the directory for one broker; closing the file gives it back.

        A directory whose owner is dead may still be held for a moment by the guard that is stopping the owner's
        broker: that is waited for, up to `patience_seconds`.

        Raises:
            LocalServerError: a running process holds the directory.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = self._lock_file.open("a+")
        deadline = time.monotonic() + patience_seconds
        while not _try_lock(lock):
            lock.seek(0)
            owner = lock.read().strip()
            if _is_alive(owner) or time.monotonic() > deadline:
                lock.close()
                raise LocalServerError(
                    f"The data directory {self.path} is in use by process {owner or 'unknown'}; "
                    "stop that one first, or choose another directory."
                )
            time.sleep(_LOCK_RETRY_SECONDS)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        return lock

    def identity(self) -> BrokerIdentity | None:
        """The identity of the broker whose data lies here; None if there is no data yet."""
        if not self.records.exists():
            return None
        try:
            return BrokerIdentity(**json.loads(self._identity.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise LocalServerError(
                f"{self._identity} cannot be read ({error}), so the data beside it cannot be continued; "
                f"remove {self.path} to begin anew."
            ) from error

    def remember(self, identity: BrokerIdentity) -> None:
        """Keep the identity for the next start, in one step."""
        partial = self._identity.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(identity), indent=2) + "\n")
        partial.replace(self._identity)

    def begin_format(self, identity: BrokerIdentity) -> None:
        """Prepare for Kafka's format tool, which writes to `records_in_the_making`."""
        shutil.rmtree(self.records_in_the_making, ignore_errors=True)
        self.write_properties(identity, self.records_in_the_making.name)

    def end_format(self) -> None:
        """The format tool is done: from here on there is data to continue."""
        self.records_in_the_making.rename(self.records)

    def write_properties(self, identity: BrokerIdentity, log_dir: str = "log") -> None:
        """Write server.properties for this identity."""
        self.properties.write_text(identity.properties(log_dir, self._settings))

    def last_words(self, lines_max: int = 15) -> str:
        """The last lines of output and log together, for an error message."""
        lines: list[str] = []
        for file in (self.output, self.log):
            if file.exists():
                lines += file.read_text(errors="replace").splitlines()[-lines_max:]
        return "\n".join(lines[-lines_max:]) or "(it logged nothing)"


def free_port(other_than: int | None = None) -> int:
    """A loopback port on which nobody listens now."""
    for _ in range(_PORT_TRIES_MAX):
        port = random.randint(_PORT_MIN, _PORT_MAX)  # noqa: S311  # no secret
        if port != other_than and is_free(port):
            return port
    raise LocalServerError(f"No free port was found on {LOOPBACK} between {_PORT_MIN} and {_PORT_MAX}.")


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Kafka does: old connections do not count
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _new_cluster_id() -> str:
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        if not text.startswith("-"):  # the format tool would take it for an option
            return text


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_alive(process_id: str) -> bool:
    if not process_id.isdigit():
        return False
    try:
        os.kill(int(process_id), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # alive, and somebody else's
    return True
