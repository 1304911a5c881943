"""The snapshot files of one worker slot: written beside the work, believed only when everything about them fits.

A snapshot is a quicker start and nothing else: whatever is wrong with a file or with the disk is said, counted and gone
on without. Calls block; they run on threads, never on the event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import structlog

from services.domain.record import Record
from services.engine import snapshot_file
from services.engine.local_files import LocalFiles, LocalFilesError
from services.engine.metrics import Metrics
from services.engine.runtime import Runtime
from services.engine.snapshot_file import Header, Rows, SnapshotRefused
from services.engine.state import StateError, Tables

log_event = structlog.get_logger("posttrade.engine")

COMPLAINT_SECONDS = 60.0
PAUSE_SECONDS = 0.001  # after each thousand rows, so that the event loop need not fight for the interpreter
CLOCK_SECONDS_MAX = 60.0  # by which a clock may be set back without doubt about the age of a file
_ROWS_BETWEEN_CHECKS = 10_000
_PREFIX, _SUFFIX = "state-", ".snapshot"


@dataclass(frozen=True)
class Snapshot:
    """The rows of one partition, and what they are."""

    service: str
    partition: int
    rows: Rows
    topic_id: str
    offset: int
    written_at_us: int


class _GivenUp(Exception):
    """Nobody waits for the file any more."""


def file_name(service: str, partition: int) -> str:
    """The file of one partition of one service."""
    return f"{_PREFIX}{service}-{partition}{_SUFFIX}"


class SnapshotStore:
    """Loads, saves and removes snapshots."""

    def __init__(
        self, files: LocalFiles, metrics: Metrics, runtime: Runtime, *, tombstones_kept_seconds: float
    ) -> None:
        """Bind. `tombstones_kept_seconds` is how long the changelogs keep a deletion (`delete.retention.ms`).

        A snapshot older than that may hold a row whose deletion can no longer be read. Half of it is the margin: for a
        restore that takes long, and for clocks that differ.
        """
        self.age_seconds_max = tombstones_kept_seconds / 2
        self._files = files
        self._metrics = metrics
        self._runtime = runtime
        self._written_at_us: dict[str, int] = {}
        """What the files say of themselves, as far as they were looked at."""
        self._next_complaint = 0.0

    # --- reading

    def load(
        self,
        service: str,
        partition: int,
        kinds: Iterable[type[Record]],
        *,
        topic_id: str,
        end: int,
        check: Callable[[], None],
    ) -> tuple[Tables, int] | None:
        """Tables as the snapshot has them, and the offset from which the changelog must be read.

        None without a file that can be believed, for a changelog of this id that ends at `end`: a file that cannot is
        named in a warning and removed. `check` is called now and then; what it raises ends the loading.
        """
        name = file_name(service, partition)
        data = self._read(name)
        if data is None:
            return None
        try:
            header, rows = snapshot_file.decode(data)
            tables = Tables(kinds)
            self._check(header, service, partition, tables, topic_id=topic_id, end=end)
            for number, (key, value) in enumerate(rows):
                tables.restore(key, value)
                if number % _ROWS_BETWEEN_CHECKS == 0:
                    check()
        except (SnapshotRefused, StateError) as error:
            self._discard(name, str(error))
            return None
        tables.unsaved = 0
        tables.saved_at_us = self._written_at_us[name] = header.written_at_us
        self._metrics.restore_rows.labels(service, "snapshot").inc(header.row_count)
        return tables, header.offset

    def _check(self, header: Header, service: str, partition: int, tables: Tables, *, topic_id: str, end: int) -> None:
        """Hold the header against what is wanted. Raises SnapshotRefused."""
        if (header.service, header.partition) != (service, partition):
            raise SnapshotRefused(f"is of partition {header.partition} of {header.service}")
        if header.topic_id != topic_id:
            raise SnapshotRefused("is of another changelog: the topic was created anew, or it is of another cluster")
        if header.fields != snapshot_file.fingerprint(tables.rows):
            raise SnapshotRefused("was written by a version of the program with other fields")
        if not 0 <= header.offset <= end:
            raise SnapshotRefused(f"was taken at offset {header.offset}, but the changelog ends at {end}")
        self._check_age(header)

    def _check_age(self, header: Header) -> None:
        age_seconds = self._age_seconds(header.written_at_us)
        if age_seconds > self.age_seconds_max:
            raise SnapshotRefused(
                f"is {age_seconds:.0f} s old; what was deleted since can be told for {self.age_seconds_max:.0f} s only"
            )
        if age_seconds < -CLOCK_SECONDS_MAX:
            raise SnapshotRefused(f"was written {-age_seconds:.0f} s in the future: this machine's clock was moved")

    def _age_seconds(self, written_at_us: int) -> float:
        return (self._runtime.now_us() - written_at_us) / 1e6

    def _read(self, name: str) -> bytes | None:
        try:
            return self._files.read(name)
        except LocalFilesError as error:
            self._complain("a snapshot could not be read", str(error))
            return None

    def _discard(self, name: str, reason: str) -> None:
        log_event.warning("snapshot discarded, state is read from the changelog", file=name, cause=f"it {reason}")
        self._metrics.snapshots.labels("discarded").inc()
        self._delete(name)

    def _delete(self, name: str) -> None:
        self._written_at_us.pop(name, None)
        try:
            self._files.delete(name)
        except LocalFilesError as error:
            self._complain("a snapshot could not be removed", str(error))

    # --- writing

    def save(self, snapshot: Snapshot, given_up: Callable[[], bool], *, hurry: bool = False) -> bool:
        """Write a file in place of the one before; answers whether it is there.

        Ends in the middle once `given_up` says so. Pauses now and then, unless there is a `hurry`.
        """
        name = file_name(snapshot.service, snapshot.partition)
        header = Header(
            format_version=snapshot_file.FORMAT_VERSION,
            service=snapshot.service,
            partition=snapshot.partition,
            topic_id=snapshot.topic_id,
            fields=snapshot_file.fingerprint(snapshot.rows),
            offset=snapshot.offset,
            row_count=sum(len(table) for table in snapshot.rows.values()),
            written_at_us=snapshot.written_at_us,
        )
        try:
            parts = snapshot_file.encode(header, snapshot.rows)
            self._files.replace(name, self._paced(parts, given_up, 0.0 if hurry else PAUSE_SECONDS))
        except _GivenUp:
            return False
        except LocalFilesError as error:
            self.failed(str(error))
            return False
        except Exception as error:  # noqa: BLE001  # a bug in what only saves time must not end the work
            self.failed(f"{type(error).__name__} while {name} was written")
            return False
        self._written_at_us[name] = header.written_at_us
        self._metrics.snapshots.labels("written").inc()
        return True

    def _paced(self, parts: Iterator[bytes], given_up: Callable[[], bool], pause_seconds: float) -> Iterator[bytes]:
        for part in parts:
            if given_up():
                raise _GivenUp
            yield part
            if pause_seconds:
                self._runtime.sleep(pause_seconds)

    def failed(self, cause: str) -> None:
        """Count a snapshot that was not written, and say why, at most once a minute."""
        self._metrics.snapshots.labels("failed").inc()
        self._complain("no snapshot could be written; a restart takes longer until one is", cause)

    def _complain(self, event: str, cause: str) -> None:
        now = self._runtime.monotonic()
        if now >= self._next_complaint:
            self._next_complaint = now + COMPLAINT_SECONDS
            log_event.warning(event, cause=cause)

    # --- tidying

    def sweep(self) -> None:
        """Remove files that are too old to be believed, above all those of partitions that went elsewhere."""
        try:
            names = [name for name in self._files.names() if name.startswith(_PREFIX) and name.endswith(_SUFFIX)]
        except LocalFilesError as error:
            self._complain("the snapshots could not be listed", str(error))
            return
        for name in names:
            try:
                written_at_us = self._written(name)
            except SnapshotRefused as error:
                self._discard(name, str(error))
                continue
            if written_at_us is not None and self._age_seconds(written_at_us) > self.age_seconds_max:
                log_event.info("snapshot removed: it is too old to be used", file=name)
                self._delete(name)

    def _written(self, name: str) -> int | None:
        if name not in self._written_at_us:
            data = self._read(name)
            if data is None:
                return None
            self._written_at_us[name] = snapshot_file.decode_header(data).written_at_us
        return self._written_at_us[name]
