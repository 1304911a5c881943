"""Snapshots where they are needed: a worker process that was killed, its disk, and a real changelog."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from deploy.local.data_directory import free_port
from services.adapters.disk_files import DiskFiles
from services.adapters.kafka_log import KafkaLog
from services.engine.log import OutgoingRecord, TopicPartition
from services.engine.metrics import Metrics
from services.engine.recovery import Recovery
from services.engine.runtime import SYSTEM
from services.engine.snapshot_store import Snapshot, SnapshotStore
from services.engine.state import Tables, changelog_row
from tests.support.broker import create_topics, delete_topics
from tests.support.engine_oracles import check_counting, read_to_end
from tests.support.engine_stages import PARTITIONS, TOPICS, Count, said

WAIT_SECONDS_MAX = 60.0


@pytest.fixture
def log(kafka: str, prefix: str) -> Iterator[KafkaLog]:
    """The topics of the test's services on the session's broker."""
    for name, partitions in TOPICS.items():
        config = {"cleanup_policy": "compact"} if name.startswith("state.") else {}
        create_topics(kafka, f"{prefix}.{name}", partitions=partitions, **config)
    kafka_log = KafkaLog(kafka, prefix=f"{prefix}.")
    yield kafka_log
    kafka_log.close()


class Worker:
    """One worker process with its metrics page."""

    def __init__(self, kafka: str, prefix: str, folder: Path) -> None:
        self._port = free_port()
        command = [sys.executable, "-m", "tests.support.engine_worker", kafka, f"{prefix}.", "0", str(folder)]
        self._output = (folder.parent / f"{self._port}.log").open("wb")
        self.process = subprocess.Popen([*command, str(self._port)], stdout=self._output, stderr=self._output)

    def metric(self, name: str, labels: str = "") -> float:
        """Its value now; -1 as long as there is no page."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=5) as page:
                text = page.read().decode()
        except (urllib.error.URLError, ConnectionError):
            return -1.0
        found = re.search(rf"^posttrade_{name}{{{re.escape(labels)}}} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else -1.0

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Ask again and again; fails when it ends or takes too long."""
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while not condition():
            assert self.process.poll() is None, "the worker has ended"
            assert time.monotonic() < deadline, f"{what} did not come about"
            time.sleep(0.05)

    def end(self, number: int) -> int:
        """Send a signal and wait; the exit code."""
        self.process.send_signal(number)
        try:
            return self.process.wait(20)
        finally:
            self.process.kill()
            self._output.close()


def _counted(worker: Worker) -> float:
    return worker.metric("records_consumed_total", 'service="counting"')


def _restored(worker: Worker, source: str) -> float:
    return worker.metric("restore_rows_total", f'service="counting",source="{source}"')


def _rows(folder: Path) -> int:
    """Rows of `counting` that are in snapshots, by the headers of the files."""
    counts = [re.search(rb'"row_count":(\d+)', path.read_bytes()) for path in folder.glob("state-counting-*.snapshot")]
    return sum(int(found[1]) for found in counts if found)


def _lacking(log: KafkaLog, folder: Path) -> int:
    """Records of the changelog of `counting` that lie behind the offsets of its snapshots."""
    headers = [path.read_bytes() for path in folder.glob("state-counting-*.snapshot")]
    found = [(re.search(rb'"partition":(\d+)', text), re.search(rb'"offset":(\d+)', text)) for text in headers]
    offsets = {int(partition[1]): int(offset[1]) for partition, offset in found if partition and offset}
    return sum(record.offset >= offsets[record.partition] for record in read_to_end(log, "state.counting"))


def test_a_killed_worker_reads_only_what_its_snapshots_lack(
    log: KafkaLog, kafka: str, prefix: str, tmp_path: Path
) -> None:
    """Years of changelog are not read again; what came after the snapshots is, and the state is whole."""
    folder = tmp_path / "slot-0"
    folder.mkdir()
    log.send(said(f"key-{n}", n) for n in range(3_000))
    first = Worker(kafka, prefix, folder)
    try:
        first.until(lambda: _rows(folder) == 3_000 + PARTITIONS, "a snapshot of every row")
    finally:
        first.end(signal.SIGKILL)
    changelog, lacking = len(read_to_end(log, "state.counting")), _lacking(log, folder)

    log.send(said(f"key-{n}", 1) for n in range(100))
    second = Worker(kafka, prefix, folder)
    try:
        second.until(lambda: _counted(second) >= 100, "the rest of the input")
        assert _restored(second, "snapshot") == 3_000 + PARTITIONS
        assert _restored(second, "changelog") == lacking, "of the transaction that proved a snapshot, and of later ones"
        assert lacking < changelog
        assert second.metric("restore_remaining_records", 'service="counting"') == 0
        assert second.metric("snapshots_total", 'result="discarded"') == 0
    finally:
        assert second.end(signal.SIGTERM) == 0
    check_counting(lambda topic: read_to_end(log, topic))

    third = Worker(kafka, prefix, folder)
    try:
        third.until(lambda: _restored(third, "snapshot") >= 3_000, "a restore")
        log.send([said("after", 1)])
        third.until(lambda: _counted(third) >= 1, "the last input")
        assert _restored(third, "changelog") == 0, "a clean stop leaves nothing to replay"
    finally:
        assert third.end(signal.SIGTERM) == 0
    check_counting(lambda topic: read_to_end(log, topic))


def test_a_snapshot_of_a_deleted_topic_is_not_taken_for_one_of_its_successor(
    log: KafkaLog, kafka: str, prefix: str, tmp_path: Path
) -> None:
    """Same name, offsets that fit, other rows: the state must be what the new changelog says."""
    metrics, files = Metrics(version="test"), DiskFiles(tmp_path)
    store = SnapshotStore(files, metrics, SYSTEM, tombstones_kept_seconds=86_400.0)
    tables = Tables([Count])
    tables.apply([(Count, f"old-{n}", Count(count=n, total=n)) for n in range(20)])
    snapshot = Snapshot("counting", 0, tables.rows, log.topic_id("state.counting"), 20, SYSTEM.now_us())
    assert store.save(snapshot, lambda: False)

    delete_topics(kafka, f"{prefix}.state.counting")
    create_topics(kafka, f"{prefix}.state.counting", partitions=PARTITIONS, cleanup_policy="compact")
    rows = {f"new-{n}": Count(count=n, total=n) for n in range(30)}
    log.send(OutgoingRecord("state.counting", *changelog_row(Count, key, row), (), 0) for key, row in rows.items())
    place = TopicPartition("state.counting", 0)
    assert log.end_offsets([place], committed_only=True) == {place: 30}

    with capture_logs() as logs:
        found = Recovery(log, store, metrics, SYSTEM).restore(
            service="counting", kinds=[Count], partitions=[0], cancelled=lambda: False
        )

    assert found[0].rows[Count] == rows
    (warning,) = [line for line in logs if line["log_level"] == "warning"]
    assert warning["file"] == "state-counting-0.snapshot"
    assert "another changelog" in warning["cause"]
    assert files.names() == []
