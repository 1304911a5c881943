"""Disks that remember what was written, and what every snapshot must hold."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping

from services.domain.record import Record
from services.engine import snapshot_file
from services.engine.local_files import LocalFiles, LocalFilesError
from services.engine.metrics import Metrics
from services.engine.recovery import Recovery
from services.engine.runtime import SYSTEM
from services.engine.snapshot_store import SnapshotStore
from services.engine.state import Tables, changelog_topic
from tests.engine.harness import FaultyLog, Worker, committed
from tests.support.engine_stages import PARTITIONS, counting, joining
from tests.support.memory_files import MemoryFiles

KINDS = {"counting": counting().stage.state_types, "joining": joining().stage.state_types}
Rows = Mapping[type[Record], Mapping[str, Record]]


class KeepingFiles(MemoryFiles):
    """Remembers everything that was ever written, and writes as a bad disk does when it is told to."""

    def __init__(self, chance: random.Random | None = None) -> None:
        """With `chance` every fourth write is refused and every fourth torn."""
        super().__init__()
        self.history: list[bytes] = []
        self._chance = chance

    @property
    def snapshots(self) -> list[str]:
        """Names of the snapshots that are there."""
        return [name for name in self.names() if name.endswith(".snapshot")]

    def replace(self, name: str, parts: Iterable[bytes]) -> None:
        data = b"".join(parts)
        if not name.endswith(".snapshot"):
            super().replace(name, [data])
            return
        self.history.append(data)
        fate = self._chance.randrange(4) if self._chance else 2
        if fate == 0:
            raise LocalFilesError(f"{name}: No space left on device")
        if fate == 1:
            data = data[: len(data) // 2]
        super().replace(name, [data])


def check_snapshot(log: FaultyLog, data: bytes) -> None:
    """What the file promises: it contains every committed record below its offset.

    Each row must be what the last record of its key below the offset says, or a later one: a row that a later record
    would mend anyway is not good enough.
    """
    header, rows = snapshot_file.decode(data)
    allowed: defaultdict[bytes, list[bytes | None]] = defaultdict(lambda: [None])
    for record in committed(log, changelog_topic(header.service)):
        assert record.key is not None
        if record.partition == header.partition:
            if record.offset < header.offset:
                allowed[record.key] = []
            allowed[record.key].append(record.value)
    found = dict(rows)
    for key, values in allowed.items():
        assert found.get(key) in values, f"{key!r} is behind the changelog below {header.offset}"
    assert found.keys() <= allowed.keys(), "rows that nobody committed"


def restored(log: FaultyLog, files: LocalFiles, service: str) -> dict[int, Rows]:
    """Every partition's rows after a restore with these files."""
    metrics = Metrics(version="test")
    store = SnapshotStore(files, metrics, SYSTEM, tombstones_kept_seconds=86_400.0)
    tables = Recovery(log, store, metrics, SYSTEM).restore(
        service=service, kinds=KINDS[service], partitions=range(PARTITIONS), cancelled=lambda: False
    )
    return {number: found.rows for number, found in tables.items()}


def check_all(log: FaultyLog, disks: Iterable[KeepingFiles]) -> None:
    """Every snapshot that was ever written, and a restart from what lies on each disk."""
    for files in disks:
        for data in files.history:
            check_snapshot(log, data)
        for service in KINDS:
            assert restored(log, files, service) == restored(log, MemoryFiles(), service)


def value(metrics: Metrics, name: str, **labels: str) -> float:
    """A metric of a worker."""
    return metrics.registry.get_sample_value(f"posttrade_{name}", labels) or 0.0


def written(worker: Worker) -> float:
    """Snapshots it has written."""
    return value(worker.metrics, "snapshots_total", result="written")


def failures(worker: Worker) -> float:
    """Snapshots it could not write."""
    return value(worker.metrics, "snapshots_total", result="failed")


def tables_of(worker: Worker) -> list[Tables]:
    """Tables of everything it owns and has restored."""
    return [tables for member in worker.coordinator._members for tables in list(member.tables.values())]


def is_saved(worker: Worker) -> bool:
    """Whether every change is in a snapshot."""
    return not any(tables.unsaved for tables in tables_of(worker))
