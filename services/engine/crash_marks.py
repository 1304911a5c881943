"""Recognises a record that kills the process: what is being handled is noted on the worker's own disk.

Before a batch is processed, the offsets it covers are noted in the file of its service and partition; when it is
processed, the note is ended (not when it is committed: a kill during a commit is nobody's fault). A start that finds a
note which was not ended, of a batch that was not committed meanwhile, counts a death on it.

    deaths 1 and 2   process as always: most kills are accidents
    from then on     single-step: every record of the noted offsets alone, and noted alone
    a death on it    condemned: at the next start the record is a dead letter of class CRASH, and the next one goes on

`on_time` is noted as well. There is no record to put aside for it, so after three deaths it is left out until the next
start, and records are processed meanwhile.

The disk is a help and not the truth: when it refuses, that is said once and work goes on without this protection. A
file holds a length, a checksum and JSON, and is written in place: what a kill leaves behind is read as a whole or as
nothing.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec
import structlog

from services.engine.local_files import LocalFiles, LocalFilesError
from services.engine.log import LogRecord, TopicPartition

log_event = structlog.get_logger("posttrade.engine")

DEATHS_BEFORE_STEPPING = 2
ON_TIME_DEATHS_MAX = 3
_HEADER_BYTES = 8

Running = Literal["", "BATCH", "RECORD", "ON_TIME"]


class Note(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What lies in a file."""

    running: Running = ""
    """What was being handled; empty: nothing."""
    starts: dict[str, int] = {}
    """Of the batch: by topic, the offset from which it was read."""
    ends: dict[str, int] = {}
    """Of the batch: by topic, the offset behind its last record."""
    record: tuple[str, int] | None = None
    """Topic and offset of the record that was handled alone."""
    deaths: int = 0
    """How often the process ended while it handled offsets below `suspect`."""
    suspect: dict[str, int] = {}
    """By topic, the offset behind the last one that may be to blame."""
    condemned: list[tuple[str, int]] = []
    """Topic and offset of every record that killed alone."""
    on_time_deaths: int = 0
    """How often the process ended within `on_time`, one time after the other."""


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Note)


def encode_note(note: Note) -> bytes:
    """The bytes of a file: length, CRC-32, JSON."""
    body = _ENCODER.encode(note)
    return len(body).to_bytes(4, "big") + zlib.crc32(body).to_bytes(4, "big") + body


def decode_note(data: bytes) -> Note | None:
    """What a file says; None when it is torn or not one of ours. Bytes behind the note are those of an older one."""
    length = int.from_bytes(data[:4], "big")
    body = data[_HEADER_BYTES : _HEADER_BYTES + length]
    if len(body) != length or zlib.crc32(body) != int.from_bytes(data[4:_HEADER_BYTES], "big"):
        return None
    try:
        return _DECODER.decode(body)
    except msgspec.DecodeError:
        return None


def after_start(note: Note, positions: Mapping[str, int]) -> Note:
    """What a start makes of a note: a death is counted, or what was committed meanwhile is forgotten.

    `positions` says where each topic goes on. A batch is committed as a whole, so one position behind its start is
    enough to know that it was.
    """
    suspect = {topic: end for topic, end in note.suspect.items() if positions.get(topic, end) < end}
    condemned = [(topic, offset) for topic, offset in note.condemned if positions.get(topic, 0) <= offset]
    counted = Note(
        deaths=note.deaths if suspect else 0,
        suspect=suspect,
        condemned=condemned,
        on_time_deaths=note.on_time_deaths + 1 if note.running == "ON_TIME" else note.on_time_deaths,
    )
    was_open = all(positions.get(topic, 0) <= start for topic, start in note.starts.items())
    if note.running not in ("BATCH", "RECORD") or not was_open:
        return counted
    counted.deaths += 1
    for topic, end in note.ends.items():
        counted.suspect[topic] = max(end, suspect.get(topic, 0))
    if note.running == "RECORD" and note.record is not None:
        counted.condemned.append(note.record)
    return counted


class CrashMark:
    """The mark of one partition of one service."""

    def __init__(self, note: Note, write: Callable[[bytes], None]) -> None:
        """Begin with what the start made of the file; `write` replaces the file's content and never raises."""
        self._note = note
        self._write = write
        write(encode_note(note))  # else a death that is counted would be counted again
        self.on_time_is_left_out = note.on_time_deaths >= ON_TIME_DEATHS_MAX
        if self.on_time_is_left_out:
            self._note.on_time_deaths = ON_TIME_DEATHS_MAX - 1  # the next start tries once more
            self._settle()

    def begin(self, starts: Mapping[str, int], ends: Mapping[str, int]) -> None:
        """A batch is about to be processed; offsets by topic."""
        note = self._note
        if note.suspect:
            self._pass(starts)
        note.running, note.starts, note.ends = "BATCH", dict(starts), dict(ends)
        self._write(encode_note(note))

    def _pass(self, starts: Mapping[str, int]) -> None:
        """Offsets that are behind us are suspects no more."""
        note = self._note
        note.suspect = {topic: end for topic, end in note.suspect.items() if starts.get(topic, 0) < end}
        note.condemned = [(topic, offset) for topic, offset in note.condemned if starts.get(topic, 0) <= offset]
        if not note.suspect:
            note.deaths = 0

    def begin_on_time(self) -> None:
        """`on_time` is about to be called."""
        self._note.running = "ON_TIME"
        self._write(encode_note(self._note))

    def survived_on_time(self) -> None:
        """`on_time` has returned, or raised: it does not kill."""
        if not self.on_time_is_left_out:
            self._note.on_time_deaths = 0

    def is_suspect(self, record: LogRecord) -> bool:
        """Whether the record must be handled alone."""
        return self.is_wary and record.offset < self._note.suspect.get(record.topic, 0)

    def step(self, record: LogRecord) -> None:
        """A record is about to be handled alone."""
        self._note.running, self._note.record = "RECORD", (record.topic, record.offset)
        self._write(encode_note(self._note))

    def stepped(self) -> None:
        """The record was handled; what comes now is not its fault."""
        self._note.running, self._note.record = "BATCH", None
        self._write(encode_note(self._note))

    def is_condemned(self, record: LogRecord) -> bool:
        """Whether the record has killed, alone."""
        return (record.topic, record.offset) in self._note.condemned

    @property
    def is_wary(self) -> bool:
        """Whether any record needs to be asked about."""
        return self._note.deaths >= DEATHS_BEFORE_STEPPING

    def end(self) -> None:
        """What was begun is processed."""
        note = self._note
        note.running, note.starts, note.ends, note.record = "", {}, {}, None
        self._settle()

    def _settle(self) -> None:
        if self._note.suspect or self._note.on_time_deaths:
            self._write(encode_note(self._note))
        else:
            self._write(_IDLE)


_IDLE = encode_note(Note())


class CrashMarks:
    """The marks of a worker, one file for each (service, partition)."""

    def __init__(self, files: LocalFiles, protected: Callable[[int], None]) -> None:
        """Bind; `protected` is told whether the disk takes notes: 1 or 0."""
        self._files = files
        self._protected = protected
        self._marks: dict[tuple[str, int], CrashMark] = {}
        self._works = True
        protected(1)

    def of(self, service: str, number: int, positions: Mapping[TopicPartition, int]) -> CrashMark:
        """The mark of a partition; read from disk the first time, when `positions` is where its inputs go on."""
        mark = self._marks.get((service, number))
        if mark is None:
            mark = self._marks[service, number] = self._open(service, number, positions)
        return mark

    def _open(self, service: str, number: int, positions: Mapping[TopicPartition, int]) -> CrashMark:
        name = f"crash-mark.{service}.{number}"
        found = self._read(name)
        note = after_start(found, {partition.topic: offset for partition, offset in positions.items()})
        if note.deaths >= DEATHS_BEFORE_STEPPING:
            log_event.warning(
                "the process ended again and again on these records, which are now handled one by one",
                service=service, partition=number, starts=note.deaths + 1, until=note.suspect,
            )  # fmt: skip
        if note.on_time_deaths >= ON_TIME_DEATHS_MAX:
            log_event.critical(
                "the process ended each time in time-driven work, which is left out until this worker is restarted; "
                "mend it, or deadlines and reference data that came late are not acted on",
                service=service, partition=number,
            )  # fmt: skip
        return CrashMark(note, lambda data: self._note(name, data))

    def _read(self, name: str) -> Note:
        data = None
        try:
            data = self._files.read(name)
        except LocalFilesError as error:
            self._fail(error)
        found = None if data is None else decode_note(data)
        if data is not None and found is None:
            log_event.warning("a crash mark could not be read and is begun anew", file=name)
        return found or Note()

    def _note(self, name: str, data: bytes) -> None:
        if not self._works:
            return
        try:
            self._files.note(name, data)
        except LocalFilesError as error:
            self._fail(error)

    def _fail(self, error: LocalFilesError) -> None:
        if self._works:
            self._works = False
            self._protected(0)
            log_event.error(
                "the worker's disk refuses; a record that kills the process would not be recognised until it is mended "
                "and this worker restarted",
                cause=str(error),
            )
