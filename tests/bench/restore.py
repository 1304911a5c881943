"""`python -m tests.bench.restore`: how long a partition's state takes to come back, with a snapshot and without.

Rows are those of capture, one for each execution. The changelog holds every row once, as after compaction, or three
times, as before it. With a snapshot only the last thousand records are read from the changelog. One partition, one
thread, broker on the same machine; rows a second of the state, not records read.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from deploy.local.kafka_broker import LocalKafka
from services.adapters.disk_files import DiskFiles
from services.adapters.kafka_log import KafkaLog
from services.domain.record import Record
from services.engine.log import OutgoingRecord, TopicPartition
from services.engine.metrics import Metrics
from services.engine.recovery import Recovery
from services.engine.runtime import SYSTEM
from services.engine.snapshot_store import Snapshot, SnapshotStore
from services.engine.state import Tables, changelog_topic
from services.engine.tuning import tune_garbage_collector
from services.pipeline import SERVICES, make_codec
from services.settings import Settings
from tests.bench.measures import filling
from tests.bench.workload import make_topics
from tests.support.broker import delete_topics

COUNTS = (100_000, 1_000_000)
TAIL = 1_000


@dataclass(frozen=True)
class Times:
    """One measured size, in seconds."""

    service: str
    rows: int
    times_written: int
    cold: float
    copied: float
    written: float
    megabytes: float
    with_snapshot: float


def _restore(log: KafkaLog, store: SnapshotStore, service: str, kinds: Sequence[type[Record]]) -> tuple[Tables, float]:
    started = time.monotonic()
    recovery = Recovery(log, store, Metrics(version="bench"), SYSTEM)
    tables = recovery.restore(service=service, kinds=kinds, partitions=[0], cancelled=lambda: False)
    return tables[0], time.monotonic() - started


def _fill(servers: str, prefix: str, pattern: filling.Pattern, item_count: int, times_written: int) -> int:
    """Write the items once or several times over; how many rows they are."""

    def records() -> Iterable[OutgoingRecord]:
        return filling.records(pattern, item_count, partitions=1)

    counts = [filling.write(servers, prefix, records()) for _ in range(times_written)]
    return min(counts)


def measure(
    servers: str, prefix: str, pattern: filling.Pattern, item_count: int, times_written: int, folder: Path
) -> Times:
    """Fill a changelog, restore from it, save what was restored, and restore from that.

    `prefix` is one that no topic has yet. Raises AssertionError when a restore gives other rows than were written.
    """
    topic = changelog_topic(pattern.service)
    kinds = next(one for one in SERVICES if one.name == pattern.service).make_stage(Settings()).state_types
    make_topics(servers, f"{prefix}{topic}", compact=True)
    log = KafkaLog(servers, prefix=prefix, client_settings={"log_level": 0})
    try:
        count = _fill(servers, prefix, pattern, item_count, times_written) - 1  # its progress is no row of a table
        store = SnapshotStore(DiskFiles(folder), Metrics(version="bench"), SYSTEM, tombstones_kept_seconds=86_400.0)
        tables, cold = _restore(log, store, pattern.service, kinds)
        assert tables.count() == count, f"{tables.count()} rows came back instead of {count}"

        started = time.monotonic()
        rows = {kind: dict(table) for kind, table in tables.rows.items()}
        copied = time.monotonic() - started
        place = TopicPartition(topic, 0)
        offset = max(0, log.end_offsets([place], committed_only=True)[place] - TAIL)
        snapshot = Snapshot(pattern.service, 0, rows, tables.changelog_id, offset, SYSTEM.now_us())
        started = time.monotonic()
        assert store.save(snapshot, lambda: False), "the snapshot was not written"
        written = time.monotonic() - started
        size = sum(path.stat().st_size for path in folder.glob("*.snapshot"))

        again, with_snapshot = _restore(log, store, pattern.service, kinds)
        assert again.rows == tables.rows, "the snapshot and its tail gave another state than the changelog"
    finally:
        log.close()
        delete_topics(servers, f"{prefix}{topic}")
    return Times(pattern.service, count, times_written, cold, copied, written, size / 1e6, with_snapshot)


COLUMNS = (
    "service", "rows", "times written", "changelog, s", "rows/s", "snapshot, s", "rows/s", "copied, ms", "written, s",
    "MB",
)  # fmt: skip


def row_of(one: Times) -> list[str]:
    """Of the table with these columns."""
    return [
        one.service, f"{one.rows:,}", str(one.times_written), f"{one.cold:.1f}", f"{one.rows / one.cold:,.0f}",
        f"{one.with_snapshot:.1f}", f"{one.rows / one.with_snapshot:,.0f}", f"{one.copied * 1000:.0f}",
        f"{one.written:.1f}", f"{one.megabytes:.0f}",
    ]  # fmt: skip


def main() -> int:
    """Measure every size, and print a table and one line of JSON."""
    tune_garbage_collector()
    sizes = [int(text) for text in sys.argv[1:]] or list(COUNTS)
    pattern = filling.seen_executions(make_codec())
    found: list[Times] = []
    with LocalKafka() as broker, tempfile.TemporaryDirectory() as folder:
        for count in sizes:
            for times_written in (1, 3):
                name = f"restore-{count}-{times_written}."
                found.append(
                    measure(broker.bootstrap_servers, name, pattern, count, times_written, Path(folder) / name)
                )
    table = Table(title="restore of one partition")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for one in found:
        table.add_row(*row_of(one))
    Console(width=140).print(table)
    print(
        json.dumps(
            [
                {name: round(value, 4) if isinstance(value, float) else value for name, value in vars(one).items()}
                for one in found
            ]
        )
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
