"""A snapshot file is believed when everything about it fits, and costs nothing but time when it does not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from services.adapters.memory_log import MemoryLog
from services.domain.record import Record
from services.engine import snapshot_file
from services.engine.local_files import LocalFilesError
from services.engine.log import OutgoingRecord, TopicPartition
from services.engine.metrics import Metrics
from services.engine.recovery import Recovery, RestoreCancelled
from services.engine.runtime import SystemRuntime
from services.engine.snapshot_file import DIGEST_BYTES, MAGIC, Header, fingerprint
from services.engine.snapshot_store import Snapshot, SnapshotStore, file_name
from services.engine.state import Tables, changelog_row
from tests.support.engine_stages import TOPICS, Count
from tests.support.memory_files import MemoryFiles

DAY_SECONDS = 86_400.0
PLACE = TopicPartition("state.counting", 1)
NAME = file_name("counting", 1)
ROWS = 30
TAIL = 5


class _Clock(SystemRuntime):
    """The time of day, moved at will."""

    ahead_us = 0

    def now_us(self) -> int:
        return super().now_us() + self.ahead_us


class _Bench:
    """A changelog of one partition with thirty rows, a snapshot of it, and five more records behind that."""

    def __init__(self) -> None:
        self.log = MemoryLog(TOPICS)
        self.files = MemoryFiles()
        self.metrics = Metrics(version="test")
        self.clock = _Clock()
        self.store = SnapshotStore(self.files, self.metrics, self.clock, tombstones_kept_seconds=DAY_SECONDS)
        rows = {f"key-{n}": Count(count=n, total=n) for n in range(ROWS)}
        self.send(*(changelog_row(Count, key, row) for key, row in rows.items()))
        self.topic_id = self.log.topic_id("state.counting")
        tables: dict[type[Record], dict[str, Record]] = {kind: {} for kind in Tables([Count]).rows}
        snapshot = Snapshot("counting", 1, tables | {Count: {**rows}}, self.topic_id, ROWS, self.clock.now_us())
        assert self.store.save(snapshot, lambda: False)
        self.whole = self.files.content[NAME]
        changes = [("key-0", None), ("key-1", Count(count=9, total=9)), ("new", Count(count=1, total=1))]
        self.send(*(changelog_row(Count, key, row) for key, row in changes))
        self.send(*[changelog_row(Count, "key-2", None)] * (TAIL - len(changes)))
        self.expected = rows | {"key-1": Count(count=9, total=9), "new": Count(count=1, total=1)}
        del self.expected["key-0"], self.expected["key-2"]

    def send(self, *rows: tuple[bytes, bytes | None]) -> None:
        self.log.send(OutgoingRecord("state.counting", key, value, (), 1) for key, value in rows)

    def restored(self) -> dict[str, Record]:
        """The rows after a restore through the store."""
        recovery = Recovery(self.log, self.store, self.metrics, self.clock)
        restored = recovery.restore(service="counting", kinds=[Count], partitions=[1], cancelled=lambda: False)
        return restored[1].rows[Count]

    def value(self, name: str, **labels: str) -> float:
        found = self.metrics.registry.get_sample_value(f"posttrade_{name}", labels)
        return found or 0.0

    def resealed(self, change: Callable[[dict[str, Any]], None]) -> bytes:
        """The file with another header, and a digest that fits."""
        header = msgspec.to_builtins(snapshot_file.decode_header(self.whole))
        change(header)
        return self.with_header(json.dumps(header).encode())

    def with_header(self, head: bytes) -> bytes:
        start = len(MAGIC) + 4
        old = int.from_bytes(self.whole[len(MAGIC) : start], "big")
        rows = self.whole[start + old : -DIGEST_BYTES]
        return sealed(MAGIC + len(head).to_bytes(4, "big") + head + rows)


def sealed(content: bytes) -> bytes:
    """With a digest that fits."""
    return content + hashlib.sha256(content).digest()


@pytest.fixture
def bench() -> _Bench:
    return _Bench()


def test_a_restore_reads_the_snapshot_and_only_the_tail_of_the_changelog(bench: _Bench) -> None:
    """What it is for; the metrics show it."""
    assert bench.restored() == bench.expected
    assert bench.value("restore_rows_total", service="counting", source="snapshot") == ROWS
    assert bench.value("restore_rows_total", service="counting", source="changelog") == TAIL
    assert bench.value("restore_remaining_records", service="counting") == 0
    assert bench.value("snapshots_total", result="written") == 1
    assert bench.value("snapshots_total", result="discarded") == 0


def _changed(**changes: Any) -> Callable[[_Bench], bytes]:
    return lambda bench: bench.resealed(lambda header: header.update(changes))


def _aged(seconds: float) -> Callable[[_Bench], bytes]:
    def change(bench: _Bench) -> bytes:
        return bench.resealed(lambda header: header.update(written_at_us=header["written_at_us"] - int(seconds * 1e6)))

    return change


def _row(bench: _Bench, value: bytes) -> bytes:
    """A file whose only row has this value."""
    head = msgspec.json.encode(msgspec.structs.replace(snapshot_file.decode_header(bench.whole), row_count=1))
    key = b"Count/key-0"
    row = len(key).to_bytes(4, "big") + len(value).to_bytes(4, "big") + key + value
    return sealed(MAGIC + len(head).to_bytes(4, "big") + head + row)


def _longer_row(bench: _Bench) -> bytes:
    torn = bytearray(_row(bench, b"{}")[:-DIGEST_BYTES])
    torn[-len(b"Count/key-0{}") - 1] = 200  # the length of the value
    return sealed(bytes(torn))


MUTATIONS: dict[str, tuple[Callable[[_Bench], bytes], str]] = {
    "empty": (lambda _: b"", "is no snapshot"),
    "something else": (lambda _: sealed(b"x" * 1000), "is no snapshot"),
    "twice": (lambda bench: bench.whole * 2, "is torn or damaged"),
    "appended": (lambda bench: bench.whole + b"\0", "is torn or damaged"),
    "zeros": (lambda bench: bytes(len(bench.whole)), "is torn or damaged"),
    "other service": (_changed(service="joining"), "is of partition 1 of joining"),
    "other partition": (_changed(partition=2), "is of partition 2 of counting"),
    "other topic": (_changed(topic_id="c/1"), "is of another changelog"),
    "other format": (_changed(format_version=999), "has format 999"),
    "other fields": (_changed(fields="0" * 64), "with other fields"),
    "unknown header field": (_changed(more=1), "has a header that cannot be read"),
    "no header": (lambda bench: bench.with_header(b"{"), "has a header that cannot be read"),
    "offset too high": (_changed(offset=ROWS + TAIL + 1), "the changelog ends at 35"),
    "offset below 0": (_changed(offset=-1), "was taken at offset -1"),
    "too old": (_aged(DAY_SECONDS / 2 + 60), "s old; what was deleted since"),
    "of the future": (_aged(-120), "in the future"),
    "row missing": (_changed(row_count=ROWS + 1), "has fewer rows"),
    "row too many": (_changed(row_count=ROWS - 1), "has more rows"),
    "row longer than the file": (_longer_row, "longer than the file"),
    "row of another shape": (lambda bench: _row(bench, b'{"count":"many"}'), "does not fit"),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_what_does_not_fit_is_discarded_aloud_and_the_changelog_read_instead(bench: _Bench, name: str) -> None:
    """A wrong row here would be a wrong instruction; a silent discard would be a slow start nobody understands."""
    mutate, reason = MUTATIONS[name]
    bench.files.content[NAME] = mutate(bench)

    with capture_logs() as logs:
        assert bench.restored() == bench.expected

    warnings = [line for line in logs if line["log_level"] == "warning"]
    assert len(warnings) == 1
    assert warnings[0]["file"] == NAME
    assert reason in warnings[0]["cause"]
    assert NAME not in bench.files.content, "it would be read and refused at every start"
    assert bench.value("snapshots_total", result="discarded") == 1
    assert bench.value("restore_rows_total", service="counting", source="snapshot") == 0
    assert bench.value("restore_rows_total", service="counting", source="changelog") == ROWS + TAIL


def test_every_flipped_bit_and_every_cut_is_noticed(bench: _Bench) -> None:
    """Disks do both; in every part of the file: magic, lengths, header, keys, values, digest."""
    torn = [bench.whole[:length] for length in range(len(bench.whole))]
    for place in range(len(bench.whole)):
        flipped = bytearray(bench.whole)
        flipped[place] ^= 1 << (place % 8)
        torn.append(bytes(flipped))
    with capture_logs():
        for data in torn:
            bench.files.content[NAME] = data
            found = bench.store.load(
                "counting", 1, [Count], topic_id=bench.topic_id, end=ROWS + TAIL, check=lambda: None
            )
            assert found is None, f"{len(data)} of {len(bench.whole)} bytes were taken for a whole snapshot"
    assert bench.value("snapshots_total", result="discarded") == len(torn)


def test_a_snapshot_that_only_just_fits_is_used(bench: _Bench) -> None:
    """The limits themselves: at the changelog's end, almost too old, from a clock that was a little ahead."""
    for change in (_changed(offset=ROWS), _aged(DAY_SECONDS / 2 - 60), _aged(-30)):
        bench.files.content[NAME] = change(bench)
        assert bench.restored() == bench.expected
    assert bench.value("snapshots_total", result="discarded") == 0


def _holding(kind: Any) -> Any:
    return msgspec.defstruct("Outer", [("rows", tuple[kind, ...])], bases=(Record,), frozen=True)


def test_a_changed_field_anywhere_in_a_row_changes_the_fingerprint() -> None:
    """A version without the field would write the row back without it."""
    inner: Any = msgspec.defstruct("Inner", [("a", int)], bases=(Record,), frozen=True)
    grown: Any = msgspec.defstruct("Inner", [("a", int), ("b", int, 0)], bases=(Record,), frozen=True)
    outer, outer_grown = (_holding(inner), _holding(grown))
    assert fingerprint([outer]) != fingerprint([outer_grown])
    assert fingerprint([outer, inner]) == fingerprint([inner, outer])
    assert fingerprint([outer]) != fingerprint([outer, Count])


def test_loading_ends_when_nobody_waits_for_it(bench: _Bench) -> None:
    """A million rows take seconds, in which the partition may be taken away; the file is still good."""
    recovery = Recovery(bench.log, bench.store, bench.metrics, bench.clock)
    with pytest.raises(RestoreCancelled):
        recovery.restore(service="counting", kinds=[Count], partitions=[1], cancelled=lambda: True)
    assert bench.value("restore_rows_total", service="counting", source="snapshot") == 0
    assert bench.files.content[NAME] == bench.whole


def test_a_disk_that_cannot_be_read_costs_only_time(bench: _Bench) -> None:
    """And is told once a minute, not for every partition."""

    class Broken(MemoryFiles):
        def read(self, name: str) -> bytes | None:
            raise LocalFilesError(f"/data/{name}: Input/output error")

        def names(self) -> list[str]:
            raise LocalFilesError("/data: Input/output error")

    store = SnapshotStore(Broken(), bench.metrics, bench.clock, tombstones_kept_seconds=DAY_SECONDS)
    recovery = Recovery(bench.log, store, bench.metrics, bench.clock)
    with capture_logs() as logs:
        for _ in range(5):
            store.sweep()
            restored = recovery.restore(service="counting", kinds=[Count], partitions=[1], cancelled=lambda: False)
            assert restored[1].rows[Count] == bench.expected
    assert [line["cause"] for line in logs if line["log_level"] == "warning"] == ["/data: Input/output error"]


def test_files_that_are_too_old_are_removed_also_of_partitions_that_went_elsewhere(bench: _Bench) -> None:
    """They would fill the disk; one that is young stays, for its partition may come back."""
    young, broken = file_name("joining", 3), file_name("joining", 0)
    bench.files.content |= {broken: b"nonsense", "in-flight": b"not ours"}
    bench.clock.ahead_us = int((DAY_SECONDS / 2 + 60) * 1e6)
    snapshot = Snapshot("joining", 3, {}, bench.topic_id, 0, bench.clock.now_us())
    assert bench.store.save(snapshot, lambda: False)
    with capture_logs():
        bench.store.sweep()

    assert bench.files.names() == ["in-flight", young]


def test_a_write_that_nobody_waits_for_ends_in_the_middle(bench: _Bench) -> None:
    """A stopping worker has little time; the file before it stays."""
    snapshot = Snapshot("counting", 1, {Count: {"a": Count(count=1, total=1)}}, bench.topic_id, 1, 0)
    parts_left = [2]

    def given_up() -> bool:
        parts_left[0] -= 1
        return parts_left[0] < 0

    assert not bench.store.save(snapshot, given_up)
    assert bench.files.content[NAME] == bench.whole
    assert bench.value("snapshots_total", result="failed") == 0


def test_a_bug_while_a_file_is_written_is_counted_and_not_raised(bench: _Bench) -> None:
    """It only saves time: the work must go on."""
    rows: Any = {Count: {"a": object()}}
    with capture_logs() as logs:
        assert not bench.store.save(Snapshot("counting", 1, rows, bench.topic_id, 1, 0), lambda: False)
    assert bench.value("snapshots_total", result="failed") == 1
    assert "TypeError" in logs[0]["cause"]
    assert bench.files.content[NAME] == bench.whole


def test_a_header_says_everything_that_is_checked() -> None:
    """A field that is added must be checked, here and in `SnapshotStore`."""
    assert Header.__struct_fields__ == (
        "format_version", "service", "partition", "topic_id", "fields", "offset", "row_count", "written_at_us",
    )  # fmt: skip
