"""A record that kills the process is recognised after three starts, and nothing else is blamed for it."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.adapters.disk_files import DiskFiles
from services.domain.reference import ReferenceData
from services.engine.crash_marks import CrashMark, CrashMarks, Note, after_start, decode_note, encode_note
from services.engine.local_files import LocalFiles, LocalFilesError
from services.engine.log import LogRecord, TopicPartition
from services.engine.state import Overlay, Tables
from services.engine.work import Batch, Result
from tests.support import engine_stages
from tests.support.engine_stages import Count, JsonCodec, Said, said
from tests.support.memory_files import MemoryFiles
from tests.support.poison import KILLS, Killed, PoisonedStage

SAID = TopicPartition("said", 0)
REPAIRS = TopicPartition("repairs.counting", 0)


def _records(numbers: list[int], start: int = 0) -> list[LogRecord]:
    """One key each, so that none waits behind another."""
    found = []
    for offset, number in enumerate(numbers, start):
        record = said(f"k{offset}", number)
        found.append(LogRecord("said", 0, offset, record.key, record.value, 1_000 + offset))
    return found


class Machine:
    """A worker's life on one disk: starts, batches and sudden ends."""

    def __init__(self, files: LocalFiles | None = None) -> None:
        self.files = files or MemoryFiles()
        self.protected: list[int] = []
        self.start()

    def start(self) -> None:
        self.stage = PoisonedStage()
        self.marks = CrashMarks(self.files, self.protected.append)

    def batch(self, records: list[LogRecord], *, due: bool = False, position: int | None = None) -> Batch:
        starts = {SAID: records[0].offset if records else position or 0, REPAIRS: 0}
        batch = Batch(
            stage=self.stage,
            partition=0,
            records=records,
            overlay=Overlay(Tables([Count]), ReferenceData()),
            codec=JsonCodec(),
            now_us=0,
            due=due,
            monotonic=lambda: 0.0,
        )
        ends = {"said": records[-1].offset + 1} if records else {}
        batch.watch(self.marks.of("counting", 0, starts), dict.fromkeys(ends, starts[SAID]), ends)
        return batch

    def run(self, records: list[LogRecord], *, due: bool = False) -> Result:
        batch = self.batch(records, due=due)
        batch.process()
        assert batch.failure is None
        assert batch.result is not None
        return batch.result

    def dies(self, records: list[LogRecord], *, due: bool = False) -> None:
        with pytest.raises(Killed):
            self.batch(records, due=due).process()
        self.start()


def _letters(result: Result) -> list[tuple[str, str]]:
    headers = [dict(record.headers) for record in result.records if record.topic == "dead-letters"]
    return [((h["src.offset"] or b"").decode(), (h["err.class"] or b"").decode()) for h in headers]


def _counted(result: Result) -> int:
    return sum(record.topic == "counted" for record in result.records)


def test_a_record_that_kills_is_a_dead_letter_at_the_fourth_start_and_its_neighbours_go_through() -> None:
    """Two deaths as always, one step by step, then the culprit alone is put aside."""
    machine, records = Machine(), _records([1, 2, KILLS, 4])
    for _ in range(2):
        machine.dies(records)
    machine.dies(records)
    result = machine.run(records)
    assert _letters(result) == [("2", "CRASH")]
    assert _counted(result) == 3
    assert 2 not in [received.offset for call in machine.stage.calls for received in call]


def test_two_records_that_kill_are_recognised_one_after_the_other() -> None:
    """The second needs one death more, not three."""
    machine, records = Machine(), _records([KILLS, 2, KILLS, 4])
    for _ in range(4):
        machine.dies(records)
    result = machine.run(records)
    assert _letters(result) == [("0", "CRASH"), ("2", "CRASH")]
    assert _counted(result) == 2


def test_the_third_start_goes_step_by_step_only_over_the_noted_offsets() -> None:
    """What came later is not suspect and is processed at full speed."""
    machine, records = Machine(), _records([1, 2, KILLS])
    for _ in range(2):
        machine.dies(records)
    machine.stage.kill = lambda: None
    machine.run(_records([1, 2, KILLS, 4, 5, 6]))
    assert [len(call) for call in machine.stage.calls] == [1, 1, 1, 3]


def test_what_kills_behind_the_suspects_is_not_blamed_on_the_last_of_them() -> None:
    """A record that was handled alone and lived is innocent."""
    machine, records = Machine(), _records([1, KILLS, 3])
    for _ in range(2):
        machine.dies(records)
    deaths = iter([lambda: None, machine.stage.kill])

    def kill() -> None:
        next(deaths)()

    machine.stage.kill = kill
    with pytest.raises(Killed):
        machine.batch(_records([1, KILLS, 3, 4, KILLS])).process()
    machine.start()
    machine.batch(records)
    note = decode_note(machine.files.read("crash-mark.counting.0") or b"")
    assert note is not None
    assert (note.condemned, note.suspect) == ([], {"said": 5})


def test_records_of_another_topic_before_a_suspect_are_not_noted_as_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are processed before the suspect is begun: a death among them is theirs."""
    monkeypatch.setitem(engine_stages._INPUTS, "also", Said)
    machine = Machine()
    machine.marks._marks["counting", 0] = CrashMark(
        Note(deaths=2, suspect={"said": 1}), lambda data: machine.files.note("crash-mark.counting.0", data)
    )
    (deadly,), (suspect,) = _records([KILLS]), _records([1])
    batch = machine.batch([suspect])
    batch.records = [msgspec.structs.replace(deadly, topic="also"), suspect]
    with pytest.raises(Killed):
        batch.process()
    note = decode_note(machine.files.read("crash-mark.counting.0") or b"")
    assert note is not None
    assert (note.running, note.record) == ("BATCH", None)


def test_a_batch_that_was_committed_meanwhile_is_not_blamed() -> None:
    """A kill in a commit leaves the batch done: the next death belongs to another one."""
    note = Note(running="BATCH", starts={"said": 0}, ends={"said": 3}, deaths=1, suspect={"said": 3})
    assert after_start(note, {"said": 3}) == Note()
    assert after_start(note, {"said": 0}) == Note(deaths=2, suspect={"said": 3})


def test_a_kill_between_batches_counts_nothing() -> None:
    """Chaos kills all the time; only a kill during processing says something about a record."""
    machine, records = Machine(), _records([1, 2, 3])
    for _ in range(5):
        machine.run(records)  # processed, and killed before the commit: the same records come again
        machine.start()
    machine.run(records)
    assert [len(call) for call in machine.stage.calls] == [3], "step by step without a reason"


def test_a_condemned_record_stays_condemned_until_its_batch_is_committed() -> None:
    """An abort or a kill in the commit reads the batch again; it must not kill once more."""
    machine, records = Machine(), _records([1, KILLS, 3])
    for _ in range(3):
        machine.dies(records)
    for _ in range(3):
        assert _letters(machine.run(records)) == [("1", "CRASH")]
        machine.start()
    machine.run(_records([5, 6], start=3))
    machine.start()
    assert decode_note(machine.files.read("crash-mark.counting.0") or b"") == Note()


def test_smaller_batches_at_the_next_start_do_not_let_the_culprit_escape() -> None:
    """A start fetches what it fetches; the suspicion is on offsets, not on batches."""
    machine, records = Machine(), _records([1, 2, 3, KILLS])
    machine.dies(records)
    machine.run(records[:2])
    machine.dies(records[2:])
    machine.dies(records[2:])
    assert _letters(machine.run(records[2:])) == [("3", "CRASH")]


def test_a_batch_that_ends_with_an_error_of_the_engine_counts_as_a_death() -> None:
    """The worker ends with it, and would do so for ever."""
    machine, records = Machine(), _records([1])
    batch = machine.batch(records)
    batch._run = lambda: (_ for _ in ()).throw(RuntimeError("engine"))  # type: ignore[method-assign]
    batch._mark.begin(*batch._span)  # type: ignore[union-attr]
    batch.process()
    assert batch.failure is not None
    machine.start()
    machine.batch(records)
    note = decode_note(machine.files.read("crash-mark.counting.0") or b"")
    assert note is not None
    assert note.deaths == 1


def test_time_driven_work_that_kills_is_left_out_after_three_deaths_and_records_go_on() -> None:
    """There is no record to put aside; without this every start would end at its first tick."""
    machine, records = Machine(), _records([1])

    def kill() -> None:
        raise Killed

    for _ in range(3):
        machine.stage.due = kill
        machine.dies(records, due=True)
    machine.stage.due = kill
    batch = machine.batch(records, due=True)
    batch.process()
    assert batch.result is not None
    assert _counted(batch.result) == 1
    assert batch.on_time_failure == "the process ended each time"
    machine.start()
    machine.run(records, due=True)  # mended: the next start tries once more
    assert machine.batch(records, due=True).on_time_failure is None


class FullDisk(MemoryFiles):
    """Refuses to write."""

    def note(self, name: str, data: bytes) -> None:
        raise LocalFilesError(f"{name}: No space left on device")


def test_a_disk_that_refuses_switches_the_protection_off_and_nothing_else() -> None:
    """A full disk must not stop settlement."""
    machine = Machine(FullDisk())
    assert _counted(machine.run(_records([1, 2]))) == 2
    assert _counted(machine.run(_records([3], start=2))) == 1
    assert machine.protected == [1, 0], "said once"


@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 400))
def test_whatever_a_kill_leaves_in_the_file_is_read_whole_or_not_at_all(old: bytes, cut: int, flipped: int) -> None:
    """A half-written note that was believed could condemn a good record."""
    note = Note(running="RECORD", starts={"said": 1}, ends={"said": 9}, record=("said", 4), deaths=3)
    data = encode_note(note)
    assert decode_note(data + old) == note, "bytes of a longer note from before are not looked at"
    torn = data[: cut % len(data)] + old[cut % len(data) :]
    assert decode_note(torn) in (None, note, Note())
    damaged = bytearray(data)
    damaged[flipped % len(data)] ^= 0x40
    assert decode_note(bytes(damaged)) is None


def test_a_note_on_a_real_disk_survives_and_is_cheap(tmp_path: Path) -> None:
    """Two for every batch: a batch takes about 200 ms, so that a millisecond would be felt. Measured about 0.02 ms."""
    machine = Machine(DiskFiles(tmp_path))
    machine.dies(_records([KILLS]))
    assert "crash-mark.counting.0" in DiskFiles(tmp_path).names()
    mark = CrashMarks(DiskFiles(tmp_path), lambda _: None).of("other", 0, {SAID: 0})
    began = time.perf_counter()
    for offset in range(200):
        mark.begin({"said": offset}, {"said": offset + 1})
        mark.end()
    assert (time.perf_counter() - began) / 400 < 0.001
