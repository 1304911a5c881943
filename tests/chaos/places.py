"""Where a run keeps what: one folder for everything, and a short path for the socket."""

from __future__ import annotations

import copy
import json
import os
import shutil
from pathlib import Path
from typing import Any

from services.adapters.avro_schema import DIRECTORY, schema_text

_EXECUTION = "execution.v{}.avsc"
_NEW_FIELD = {"name": "desk", "type": ["null", "string"], "default": None, "doc": "Desk that placed the order."}
_LATER_FIELD = "possible_duplicate"


class Places:
    """The folder of one run."""

    def __init__(self, root: Path) -> None:
        """Bind; `make` creates what has to be there."""
        self.root = root
        self.kafka = root / "kafka"
        self.workers = root / "workers"
        self.data = root / "worker-data"
        self.schemas = root / "schemas"
        self.journal = root / "journal"
        self.shown = root / "shown"
        self.sent_counts = root / "sent.json"
        self.faults_log = root / "faults.log"
        self.findings = root / "findings.json"
        self.summary = root / "summary.json"
        self._socket_link = root / "socket"

    def make(self, socket_address: str) -> None:
        """Create the folders, the schemas, and say where the events go."""
        for folder in (self.kafka, self.workers, self.data):
            folder.mkdir(parents=True, exist_ok=True)
        self._socket_link.write_text(socket_address)
        write_schemas(self.schemas)

    @property
    def socket_address(self) -> str:
        """Where workers send their events."""
        return self._socket_link.read_text()

    def arm_file(self, slot: int) -> Path:
        """Where a slot looks for an armed failpoint."""
        return self.workers / f"slot-{slot}.armed"

    def arm(self, slot: int, failpoint: str, action: str) -> None:
        """Arm a failpoint: it is there as a whole or not at all."""
        new = self.workers / f"slot-{slot}.arming"
        new.write_text(f"{failpoint} {action}")
        new.replace(self.arm_file(slot))

    def disarm(self, slot: int) -> None:
        """Take back what was not reached."""
        self.arm_file(slot).unlink(missing_ok=True)

    def worker_log(self, slot: int, start: int) -> Path:
        """What a slot's process of this start logs."""
        return self.workers / f"slot-{slot}.{start:03d}.log"

    def local_files(self, slot: int) -> Path:
        """Where the workers of a slot keep their local files."""
        return self.data / f"slot-{slot}"


def write_schemas(folder: Path) -> None:
    """The shipped schemas, with three versions of the execution: one older, one with a field that was retired, today's.

    The log of a run holds all three, and every reader knows them all.
    """
    shutil.copytree(DIRECTORY, folder)
    versions = sorted(folder.glob(_EXECUTION.format("*")))
    newest = json.loads(versions[-1].read_text(encoding="utf-8"))
    older, other = copy.deepcopy(newest), copy.deepcopy(newest)
    older["fields"] = [field for field in older["fields"] if field["name"] != _LATER_FIELD]
    other["fields"].append(_NEW_FIELD)
    shipped = [json.loads(path.read_text(encoding="utf-8")) for path in versions]
    _write(folder, [older, other, *shipped])


def _write(folder: Path, schemas: list[dict[str, Any]]) -> None:
    for number, schema in enumerate(schemas, start=1):
        (folder / _EXECUTION.format(number)).write_text(schema_text(schema), encoding="utf-8")


def worker_environment(bootstrap_servers: str, data: Path) -> dict[str, str]:
    """The environment of the processes of a run: nothing of the caller's own settings of the service."""
    own = {name: text for name, text in os.environ.items() if not name.startswith(("KAFKA_", "POSTTRADE_"))}
    return own | {
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
        "POSTTRADE_DATA_DIR": str(data),
        "POSTTRADE_UNALLOCATED_AFTER_SECONDS": "60",
        "POSTTRADE_UNCONFIRMED_AFTER_SECONDS": "60",
    }
