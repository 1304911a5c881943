"""Snapshots of a working worker: when they are taken, what they must not promise, and what trouble costs."""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from services.adapters.disk_files import DiskFiles
from services.engine import recovery, snapshot_file, snapshots
from services.engine.local_files import LocalFilesError
from services.engine.log import OutgoingRecord, TopicPartition
from services.engine.restoring import Restored
from services.engine.snapshots import Part, Snapshots
from tests.engine.harness import (
    UNKNOWN_BUT_DONE,
    FaultyLog,
    Worker,
    check_counting,
    committed,
    count,
    running,
    start_worker,
    until,
)
from tests.engine.snapshot_harness import (
    KeepingFiles,
    check_all,
    failures,
    is_saved,
    restored,
    tables_of,
    value,
    written,
)
from tests.support.engine_stages import PARTITIONS, counting, half, joining, said
from tests.support.memory_files import MemoryFiles

NO_SNAPSHOTS = 10**9


class Crash(Exception):
    """The process is gone."""


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot after every change."""
    monkeypatch.setattr(snapshots, "LOOK_SECONDS", 0.002)
    monkeypatch.setattr(snapshots, "CHANGED_SECONDS_MAX", 0.0)
    monkeypatch.setattr(snapshots, "RETRY_SECONDS", 0.01)


async def _settled(log: FaultyLog, worker: Worker, consumed: int) -> None:
    """Wait until so many records were processed, and every change is in a snapshot."""

    def settled() -> bool:
        applied = value(worker.metrics, "records_consumed_total", service="counting") >= consumed
        return applied and len(tables_of(worker)) == PARTITIONS and is_saved(worker)

    await until(log, settled, worker)


async def test_a_crash_after_a_snapshot_restores_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of the snapshot are not read from the changelog, what came later is."""
    log, files = FaultyLog(), KeepingFiles()
    worker = start_worker(log, counting(), files=files)
    log.send(said(f"key-{n}", n) for n in range(100))
    await _settled(log, worker, 100)
    newest = {
        snapshot_file.decode_header(data).written_at_us for data in map(files.content.__getitem__, files.snapshots)
    }
    assert {tables.saved_at_us for tables in tables_of(worker)} == newest, "the age that is shown is that of the file"
    monkeypatch.setattr(snapshots, "CHANGED_SECONDS_MAX", NO_SNAPSHOTS)
    log.send(said(f"late-{n}", n) for n in range(7))
    await until(log, lambda: count(log, "counted") >= 107, worker)
    crash = log.begun + 1
    log.hook = lambda step, number: _raise(Crash(step)) if number >= crash else None
    log.send([said("last", 1)])
    assert isinstance(await worker.failed(), Crash)
    log.hook = lambda step, number: None

    async with running(log, counting(), files=files) as second:
        await until(log, lambda: count(log, "counted") >= 108, second)
        assert value(second.metrics, "restore_rows_total", service="counting", source="snapshot") == 100 + PARTITIONS
        late = value(second.metrics, "restore_rows_total", service="counting", source="changelog")
        assert 7 < late <= 7 + 7, "seven rows, and in each transaction how far it came"
        assert value(second.metrics, "restore_remaining_records", service="counting") == 0
    check_counting(log)


def _raise(error: Exception) -> None:
    raise error


async def test_a_clean_stop_leaves_nothing_to_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rolling restart is the most common one, and most partitions have changed since their last snapshot."""
    monkeypatch.setattr(snapshots, "CHANGED_SECONDS_MAX", NO_SNAPSHOTS)
    log, files = FaultyLog(), KeepingFiles()
    async with running(log, counting(), joining(), files=files) as first:
        log.send([*(said(f"key-{n}", n) for n in range(50)), half("left", "alone")])
        await until(log, lambda: count(log, "counted") >= 50 and count(log, "state.joining") > PARTITIONS, first)
        assert files.snapshots == []
    assert written(first) == len(files.snapshots) == 2 * PARTITIONS, "each partition was taken up: that is a change"

    async with running(log, counting(), joining(), files=files) as second:
        await until(log, lambda: second.coordinator.ready, second)
    assert value(second.metrics, "restore_rows_total", service="counting", source="changelog") == 0
    assert value(second.metrics, "restore_rows_total", service="joining", source="snapshot") == 1 + PARTITIONS
    assert written(second) == 0, "nothing changed"
    check_all(log, [files])


async def test_a_stop_does_not_wait_for_a_slow_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever stops a worker kills it after a while; leaving the group is worth more than a file."""
    monkeypatch.setattr(snapshots, "CHANGED_SECONDS_MAX", NO_SNAPSHOTS)
    monkeypatch.setattr(snapshots, "STOP_SECONDS_MAX", 0.1)
    release = threading.Event()

    class Slow(MemoryFiles):
        def replace(self, name: str, parts: Iterable[bytes]) -> None:
            assert release.wait(15) or not name.endswith(".snapshot")
            super().replace(name, parts)

    log, files = FaultyLog(), Slow()
    worker = start_worker(log, counting(), files=files)
    log.send(said(f"key-{n}", n) for n in range(50))
    await until(log, lambda: count(log, "counted") >= 50, worker)
    await worker.end()
    release.set()
    worker.coordinator._snapshots._thread.shutdown(wait=True)

    assert [name for name in files.names() if name.endswith(".snapshot")] == [], "given up: nobody waits for it"
    check_counting(log)


async def _zombie(log: FaultyLog) -> list[KeepingFiles]:
    """A worker that was thrown out asks for an offset behind its successor's rows; its disk then."""
    files = KeepingFiles()
    zombie = start_worker(log, counting(), files=files)
    log.send(said(f"key-{n}", n) for n in range(40))
    await until(log, lambda: count(log, "counted") >= 40, zombie)
    with log.changed:
        (member,) = log.group("posttrade.counting").members
        log.leave(member)
    async with running(log, counting(), slot=1) as owner:
        log.send(said(f"other-{n}", n) for n in range(40))
        await until(log, lambda: count(log, "counted") >= 80, owner)
        for tables in zombie.coordinator._members[0].tables.values():
            tables.unsaved += 1  # now it asks
        ended = _transactions(zombie)
        await until(log, lambda: _transactions(zombie) >= ended + 3, zombie)
    await zombie.end()
    return [files]


def _transactions(worker: Worker) -> float:
    results = ("committed", "aborted")
    return sum(value(worker.metrics, "transactions_total", result=result) for result in results)


async def test_a_zombie_takes_no_snapshot_of_what_it_no_longer_owns() -> None:
    """It would lack the rows of the new owner, below an offset that promises them."""
    log = FaultyLog()

    check_all(log, await _zombie(log))


async def test_the_check_sees_a_snapshot_that_was_taken_without_its_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: the same zombie, whose refused transaction is taken for a proof."""
    begin, had_no_effect = Snapshots.begin, Snapshots.had_no_effect

    def remember(self: Snapshots, parts: Iterable[Part]) -> list[snapshots.Attempt]:
        self.sabotaged = begin(self, parts)  # type: ignore[attr-defined]
        return self.sabotaged  # type: ignore[attr-defined,no-any-return]

    def believe(self: Snapshots) -> None:
        had_no_effect(self)
        self.applied(self.sabotaged)  # type: ignore[attr-defined]

    monkeypatch.setattr(Snapshots, "begin", remember)
    monkeypatch.setattr(Snapshots, "had_no_effect", believe)
    log = FaultyLog()
    disks = await _zombie(log)
    with pytest.raises(AssertionError, match="is behind the changelog"):
        check_all(log, disks)


async def test_a_transaction_that_had_begun_before_the_question_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its generation may have been checked before the partition went to somebody who committed below the answer."""
    log, files = FaultyLog(), KeepingFiles()
    monkeypatch.setattr(snapshots, "CHANGED_SECONDS_MAX", NO_SNAPSHOTS)
    async with running(log, counting(), files=files) as worker:
        await until(log, lambda: worker.coordinator.ready, worker)
        inside, release = threading.Event(), threading.Event()
        held = log.begun + 1

        def hold(step: str, number: int) -> None:
            if (step, number) == ("commit", held):
                inside.set()
                assert release.wait(15)

        log.hook = hold
        log.send([said("a", 1)])
        await until(log, inside.is_set, worker)
        stable, high = (log.end_offsets(map(place, range(PARTITIONS)), committed_only=only) for only in (True, False))
        (number,) = (n for n in range(PARTITIONS) if stable[place(n)] < high[place(n)])
        member = worker.coordinator._members[0]
        member.tables[number].unsaved += 1
        monkeypatch.setattr(snapshots, "CHANGED_SECONDS_MAX", 0.0)
        await until(log, lambda: worker.coordinator._snapshots.is_waited_for(member, number), worker)
        (attempt,) = worker.coordinator._snapshots._waiting
        proved = log.begun
        release.set()
        await until(log, lambda: bool(files.history), worker)

        assert attempt.offset == stable[place(number)]
        assert log.begun > proved, "a transaction of its own"
    check_all(log, [files])


def place(number: int) -> TopicPartition:
    return TopicPartition("state.counting", number)


async def test_an_open_transaction_of_a_dead_worker_holds_the_offset_back() -> None:
    """Its rows may still be committed or aborted; a snapshot must not promise them."""
    log, files = FaultyLog(), KeepingFiles()
    async with running(log, counting(), files=files) as worker:
        await until(log, lambda: worker.coordinator.ready, worker)
        dead = log.producer("dead")
        dead.begin()
        dead.produce([OutgoingRecord("state.counting", b"Count/ghost", b"{}", (), n) for n in range(PARTITIONS)])
        log.send(said(f"key-{n}", n) for n in range(40))
        await _settled(log, worker, 40)
        assert {snapshot_file.decode_header(data).offset for data in files.history} == {1}, "behind the first row"
        dead.abort()
    check_all(log, [files])


async def test_a_worker_that_stops_in_doubt_neither_snapshots_nor_proves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tables and offsets may be behind: a proof would send the group back, and what came since would be doubled."""
    monkeypatch.setattr(snapshots, "CHANGED_SECONDS_MAX", NO_SNAPSHOTS)
    log, files = FaultyLog(), KeepingFiles()
    worker = start_worker(log, counting(), files=files)
    log.send(said(f"key-{n}", n) for n in range(40))
    await until(log, lambda: count(log, "counted") >= 40, worker)
    last = log.begun + 1
    restore = worker.coordinator._restorer.restore

    def stop_and_restore(*arguments: Any) -> Restored:
        worker.coordinator._stopping = True
        return restore(*arguments)

    monkeypatch.setattr(worker.coordinator._restorer, "restore", stop_and_restore)
    log.faults["commit", last] = UNKNOWN_BUT_DONE
    log.send(said(f"late-{n}", n) for n in range(40))
    await until(log, lambda: log.begun >= last, worker)
    await worker.end()

    behind = [tables for tables in tables_of(worker) if tables.unsaved]
    assert behind, "there was something to save"
    assert log.begun == last, "no transaction after the one in doubt"
    assert files.history == []
    async with running(log, counting(), files=files) as second:
        await until(log, lambda: count(log, "counted") >= 80, second)
    check_counting(log)


async def test_a_changelog_created_anew_under_a_running_worker_ends_its_snapshots(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its rows are not in the new topic; its offsets are of another."""
    monkeypatch.setattr(snapshots, "CHANGED_SECONDS_MAX", NO_SNAPSHOTS)
    log, files = FaultyLog(), KeepingFiles()
    async with running(log, counting(), files=files) as worker:
        await until(log, lambda: worker.coordinator.ready, worker)
        monkeypatch.setattr(log, "topic_id", lambda topic: "another")
        monkeypatch.setattr(snapshots, "CHANGED_SECONDS_MAX", 0.0)
        with capture_logs() as logs:
            log.send([said("a", 1)])
            await until(log, lambda: failures(worker) >= 2, worker)
        assert files.history == []
    complaints = [line["cause"] for line in logs if line["log_level"] == "warning"]
    assert complaints == ["topic state.counting was created anew under a running worker; restart the worker"]


async def test_after_a_refused_write_the_disk_is_left_alone_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copying and encoding all rows every second, for nothing, would slow the work down."""
    monkeypatch.setattr(snapshots, "RETRY_SECONDS", float(NO_SNAPSHOTS))
    looks: list[None] = []
    monkeypatch.setattr(Snapshots, "_show_age", lambda self, members: looks.append(None))

    class Full(MemoryFiles):
        def replace(self, name: str, parts: Iterable[bytes]) -> None:
            raise LocalFilesError(f"{name}: No space left on device")

    log = FaultyLog()
    worker = start_worker(log, counting(), files=Full())
    log.send([said("a", 1)])
    await until(log, lambda: failures(worker) >= 1, worker)
    seen = len(looks)
    await until(log, lambda: len(looks) >= seen + 20, worker)

    assert failures(worker) == 1
    await worker.end()


def _snapshots(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.snapshot"))


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file of this process may grow beyond 20 kB, until `resource.setrlimit` says otherwise."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_full_disk_costs_nothing_but_snapshots_and_they_come_back(small_files: None, tmp_path: Path) -> None:
    """The worker neither stops nor loses; it says so once, not at every attempt."""
    log, files = FaultyLog(), DiskFiles(tmp_path)
    with capture_logs() as logs:
        async with running(log, counting(), files=files) as worker:
            log.send(said(f"a-rather-long-name-{n}", n) for n in range(2_000))
            await until(log, lambda: count(log, "counted") >= 2_000, worker)
            await until(log, lambda: failures(worker) >= 3, worker)
            await until(log, lambda: not list(tmp_path.glob("*.new")), worker)  # halves of files take room, too
            resource.setrlimit(resource.RLIMIT_FSIZE, resource.getrlimit(resource.RLIMIT_FSIZE)[1:] * 2)
            await _settled(log, worker, 2_000)
    complaints = [line for line in logs if line["log_level"] == "warning"]
    assert len(complaints) == 1
    assert "too large" in complaints[0]["cause"]
    assert sum(snapshot_file.decode_header(path.read_bytes()).row_count for path in _snapshots(tmp_path)) > 2_000
    assert restored(log, files, "counting") == restored(log, MemoryFiles(), "counting")
    check_counting(log)


async def test_a_long_restore_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise nobody knows whether it comes to an end."""
    monkeypatch.setattr(recovery, "PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr(recovery, "_RECORDS_MAX", 10)
    log = FaultyLog()
    async with running(log, counting()) as worker:
        log.send(said(f"key-{n}", n) for n in range(100))
        await until(log, lambda: count(log, "counted") >= 100, worker)
    with capture_logs() as logs:
        restored(log, MemoryFiles(), "counting")
    told = [(line["rows"], line["remaining"]) for line in logs if line["event"] == "state is being restored"]
    rows = len(committed(log, "state.counting"))
    assert rows > 100, "each transaction says how far it came"
    assert (told[0], told[-1]) == ((10, rows - 10), (rows, 0))
