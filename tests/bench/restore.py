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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Producer
from rich.console import Console
from rich.table import Table

from deploy.local.kafka_broker import LocalKafka
from services.adapters.disk_files import DiskFiles
from services.adapters.kafka_log import KafkaLog
from services.capture.process import CaptureStage
from services.capture.state import SeenExecution
from services.engine.log import TopicPartition
from services.engine.metrics import Metrics
from services.engine.recovery import Recovery
from services.engine.runtime import SYSTEM
from services.engine.snapshot_store import Snapshot, SnapshotStore
from services.engine.state import Tables, changelog_row
from services.engine.tuning import tune_garbage_collector
from tests.bench.workload import make_topics

COUNTS = (100_000, 1_000_000)
TAIL = 1_000
WAIT_SECONDS_MAX = 300.0


@dataclass(frozen=True)
class Times:
    """One measured size, in seconds."""

    rows: int
    times_written: int
    cold: float
    copied: float
    written: float
    megabytes: float
    with_snapshot: float


def _rows(count: int) -> Iterator[tuple[bytes, bytes | None]]:
    for number in range(count):
        row = SeenExecution(
            fingerprint=f"{number:032x}",
            trade_id=f"TR{number:016d}",
            order_id=f"ORDER-{number // 4:09d}",
            version=1,
            is_cancelled=False,
        )
        yield changelog_row(SeenExecution, row.trade_id, row)


def _fill(servers: str, topic: str, count: int, times_written: int) -> None:
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "linger.ms": 20,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    for _ in range(times_written):
        for number, (key, value) in enumerate(_rows(count)):
            producer.produce(topic, value, key, partition=0)
            if number % 10_000 == 0:
                producer.poll(0)
        producer.flush(WAIT_SECONDS_MAX)


def _restore(log: KafkaLog, store: SnapshotStore) -> tuple[Tables, float]:
    started = time.monotonic()
    recovery = Recovery(log, store, Metrics(version="bench"), SYSTEM)
    tables = recovery.restore(
        service="capture", kinds=CaptureStage.state_types, partitions=[0], cancelled=lambda: False
    )
    return tables[0], time.monotonic() - started


def measure(servers: str, count: int, times_written: int, folder: Path) -> Times:
    """Fill a changelog, restore from it, save what was restored, and restore from that."""
    prefix = f"restore-{count}-{times_written}."
    make_topics(servers, f"{prefix}state.capture", compact=True)
    _fill(servers, f"{prefix}state.capture", count, times_written)
    log = KafkaLog(servers, prefix=prefix)
    store = SnapshotStore(DiskFiles(folder), Metrics(version="bench"), SYSTEM, tombstones_kept_seconds=86_400.0)
    tables, cold = _restore(log, store)
    assert tables.count() == count, f"{tables.count()} rows came back instead of {count}"

    started = time.monotonic()
    rows = {kind: dict(table) for kind, table in tables.rows.items()}
    copied = time.monotonic() - started
    place = TopicPartition("state.capture", 0)
    offset = log.end_offsets([place], committed_only=True)[place] - TAIL
    snapshot = Snapshot("capture", 0, rows, tables.changelog_id, offset, SYSTEM.now_us())
    started = time.monotonic()
    assert store.save(snapshot, lambda: False), "the snapshot was not written"
    written = time.monotonic() - started
    size = sum(path.stat().st_size for path in folder.glob("*.snapshot"))

    again, with_snapshot = _restore(log, store)
    assert again.rows == tables.rows, "the snapshot and its tail gave another state than the changelog"
    log.close()
    return Times(count, times_written, cold, copied, written, size / 1e6, with_snapshot)


def main() -> int:
    """Measure every size, and print a table and one line of JSON."""
    tune_garbage_collector()
    sizes = [int(text) for text in sys.argv[1:]] or list(COUNTS)
    found: list[Times] = []
    with LocalKafka() as broker, tempfile.TemporaryDirectory() as folder:
        for count in sizes:
            for times_written in (1, 3):
                place = Path(folder) / f"{count}-{times_written}"
                found.append(measure(broker.bootstrap_servers, count, times_written, place))
    table = Table(title="restore of one partition")
    columns = (
        "rows", "times written", "changelog, s", "rows/s", "snapshot, s", "rows/s", "copied, ms", "written, s", "MB",
    )  # fmt: skip
    for column in columns:
        table.add_column(column, justify="right")
    for one in found:
        table.add_row(
            f"{one.rows:,}", str(one.times_written), f"{one.cold:.1f}", f"{one.rows / one.cold:,.0f}",
            f"{one.with_snapshot:.1f}", f"{one.rows / one.with_snapshot:,.0f}", f"{one.copied * 1000:.0f}",
            f"{one.written:.1f}", f"{one.megabytes:.0f}",
        )  # fmt: skip
    Console(width=140).print(table)
    print(json.dumps([{name: round(value, 4) for name, value in vars(one).items()} for one in found]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
