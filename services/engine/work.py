"""One batch of one partition of one service: decode, decide, encode. Pure but for the stage's overlay.

A record that makes the stage or the encoder raise is isolated by halving the batch: its neighbours go through, it goes
to `dead-letters`, and later records of its key follow it (`services.engine.quarantine`). Nothing is produced here; the
whole result becomes durable, or not, in one transaction.
"""

from __future__ import annotations

import asyncio
import functools
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from services.domain.code import ExceptionStatus
from services.domain.errors import DecodeError, EncodeError, NotAMessageError
from services.domain.event import ExceptionEvent
from services.domain.record import Record
from services.engine import quarantine
from services.engine.codec import TopicCodec
from services.engine.crash_marks import DEATHS_BEFORE_STEPPING, CrashMark
from services.engine.dead_letters import BUG, CRASH, DECODE, PARKED, dead_letter
from services.engine.log import LogRecord, OutgoingRecord
from services.engine.quarantine import Parked, Place
from services.engine.repair import (
    Action,
    Repair,
    RepairMalformed,
    RepairOutcome,
    parse_repair,
    repairs_topic,
    resolution_record,
)
from services.engine.share_limit import Verdicts
from services.engine.state import Overlay, changelog_row, changelog_topic
from services.stage import Outcome, Publish, Received, Stage, Suppress

RECORD_BYTES_MAX = (
    1_000_000  # below every topic's max.message.bytes: an oversized output is a bug of one record, not an outage
)

Item = tuple[LogRecord, Received]


@dataclass
class Tally:
    """What happened in one batch, to be counted once it is committed."""

    consumed: int = 0
    produced: Counter[str] = field(default_factory=Counter)
    suppressed: Counter[str] = field(default_factory=Counter)
    exceptions: Counter[str] = field(default_factory=Counter)
    dead_letters: Counter[str] = field(default_factory=Counter)
    repairs: Counter[str] = field(default_factory=Counter)
    """By outcome."""
    received_at_us: list[int] = field(default_factory=list)
    """When the inputs behind the published events entered the log, for end-to-end times."""


@dataclass
class Result:
    """Everything one batch wants to make durable."""

    records: list[OutgoingRecord] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)

    def __bool__(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.records)


class Failed(Exception):
    """A record could not be handled: class and sentence for its dead letter."""

    def __init__(self, error_class: str, message: str, *, is_message: bool = True) -> None:
        """`is_message` is False for what no release will ever read."""
        super().__init__(message)
        self.error_class = error_class
        self.message = message
        self.is_message = is_message


class Batch:
    """The unit of work the transport hands to a service's agent."""

    def __init__(
        self,
        *,
        stage: Stage,
        partition: int,
        records: Sequence[LogRecord],
        overlay: Overlay,
        codec: TopicCodec,
        now_us: int,
        due: bool,
        monotonic: Callable[[], float],
    ) -> None:
        """Bind what the agent needs; nothing is processed yet. `due` asks for what time or reference data owes."""
        self.stage = stage
        self.partition = partition
        self.records = records
        self.overlay = overlay
        self._codec = codec
        self._now_us = now_us
        self._due = due
        self._monotonic = monotonic
        self._rows: dict[tuple[type[Record], str], tuple[Record | None, OutgoingRecord]] = {}
        """Changelog records of the changes so far, by table and key, each with the value it was made from."""
        self._revision = overlay.revision
        """That of the changes these records were made of."""
        self._repairs_topic = repairs_topic(stage.name)
        self._key_waits = overlay.has_rows(quarantine.Quarantine)
        """Whether any key has to be looked up."""
        self._failed_keys: set[str] = set()
        """Keys that failed since a run of records was begun: those of them that are still in it must follow."""
        self._mark: CrashMark | None = None
        self._span: tuple[Mapping[str, int], Mapping[str, int]] = ({}, {})
        self.verdicts = Verdicts()
        self.on_time_failure: str | None = None
        """Where `on_time` raised; nothing of it was kept, and the records were processed nevertheless."""
        self.is_on_time_asked = due
        self.result: Result | None = None
        self.failure: BaseException | None = None
        self.seconds = 0.0
        self.finished = asyncio.Event()

    def watch(self, mark: CrashMark, starts: Mapping[str, int], ends: Mapping[str, int]) -> None:
        """Note what is handled, so that a record which kills the process is recognised; offsets by topic."""
        self._mark = mark
        self._span = starts, ends

    def process(self) -> None:
        """Run the stage; afterwards either `result` or `failure` is set, and `finished`."""
        started = self._monotonic()
        try:
            self.result = self._run()
            if self._mark is not None:
                self._mark.end()
        except Exception as error:  # noqa: BLE001  # the coordinator stops the worker with it: nothing is swallowed
            self.failure = error
        self.seconds = self._monotonic() - started
        self.finished.set()

    def _run(self) -> Result:
        result = Result()
        result.tally.consumed = len(self.records)
        if self._due:
            self._on_time(result)
        if self._mark is not None and self.records:
            self._mark.begin(*self._span)
        wary = self._mark if self._mark is not None and self._mark.is_wary else None
        run: list[Item] = []
        for record in self.records:
            if wary is not None and wary.is_suspect(record):
                run = self._finish(result, run)
                wary.step(record)
                run = self._finish(result, self._take_up(result, run, record, condemned=wary.is_condemned(record)))
                wary.stepped()
            else:
                run = self._take_up(result, run, record)
        self._finish(result, run)
        self._encode_changes()  # what a failed attempt has left behind of keys that others changed, too
        result.records += [self._rows[kind, key][1] for kind, key, _ in self.overlay.changes()]
        return result

    def _on_time(self, result: Result) -> None:
        """Do what is due. What raises here has no record that could be put aside: it is left out, and asked again."""
        mark = self._mark
        if mark is not None:
            if mark.on_time_is_left_out:
                self.on_time_failure = "the process ended each time"
                return
            mark.begin_on_time()
        before = self.overlay.mark()
        attempt = Result()
        try:
            self._take(attempt, self.stage.on_time(self.overlay, self._now_us))
            self._encode_changes()
        except Exception as error:  # noqa: BLE001  # records must not wait for work that has nothing to do with them
            self.overlay.rewind(before)
            self.on_time_failure = _where(error)
        else:
            _merge(result, attempt)
        if mark is not None:
            mark.survived_on_time()

    # --- one record after the other

    def _take_up(self, result: Result, run: list[Item], record: LogRecord, *, condemned: bool = False) -> list[Item]:
        """Add a record to the run, or deal with it; answers the run that goes on."""
        if record.topic == self._repairs_topic:
            run = self._finish(result, run)
            self._repair(result, record, condemned=condemned)
            return run
        if self._key_waits:
            key = quarantine.key_of(record)
            if key is not None and quarantine.holds(self.overlay, key):
                self._follow(result, record, key)
                return run
        try:
            if condemned:
                raise Failed(CRASH, _CRASHED)
            run.append((record, self._read(record)))
        except Failed as failed:
            run = self._finish(result, run)  # earlier records of the key come first
            if self._key_waits and quarantine.holds(self.overlay, quarantine.key_of(record)):
                self._follow(result, record, quarantine.key_of(record) or "")
            else:
                self._fail(result, record, failed)
        return run

    def _read(self, record: LogRecord) -> Received:
        try:
            event = self._codec.decode(record.topic, record.value)
            key = None if record.key is None else record.key.decode()
        except UnicodeDecodeError:
            raise Failed(DECODE, "the key is not UTF-8") from None
        except DecodeError as error:
            raise Failed(DECODE, str(error), is_message=not isinstance(error, NotAMessageError)) from None
        except Exception as error:  # noqa: BLE001  # a bug in a reader must not stop the neighbours either
            raise Failed(BUG, _where(error)) from None
        return _received(record, key, event)

    def _finish(self, result: Result, run: list[Item]) -> list[Item]:
        """Process the run; answers a new one."""
        if run:
            self._failed_keys.clear()
            self._process(result, run)
            return []
        return run

    def _process(self, result: Result, items: Sequence[Item]) -> None:
        """Process a run of records; where it raises, halve it until the culprit is alone."""
        if self._failed_keys:
            items = self._without_followers(result, items)
        if not items:
            return
        mark = self.overlay.mark()
        try:
            attempt = self._attempt([received for _, received in items])
        except Exception as error:  # noqa: BLE001  # any bug in a stage must not stop its neighbours
            self.overlay.rewind(mark)
            if len(items) == 1:
                self._fail(result, items[0][0], Failed(BUG, _where(error)))
                return
            middle = len(items) // 2
            self._process(result, items[:middle])
            self._process(result, items[middle:])
            return
        self.verdicts.count += len(items)
        _merge(result, attempt)

    def _attempt(self, batch: Sequence[Received]) -> Result:
        attempt = Result()
        self._take(attempt, self.stage.process(batch, self.overlay, self._now_us))
        self._encode_changes()
        return attempt

    def _encode_changes(self) -> None:
        """Make the changelog records while the culprit of one that cannot be written can still be isolated."""
        revision = self.overlay.revision
        if revision == self._revision:
            return
        topic = changelog_topic(self.stage.name)
        for kind, key, value in self.overlay.changes():
            row = self._rows.get((kind, key))
            if row is not None and row[0] is value:
                continue
            key_bytes, value_bytes = changelog_row(kind, key, value)
            size = len(key_bytes) + len(value_bytes or b"")
            if size > RECORD_BYTES_MAX:
                raise EncodeError(f"a row of {kind.__name__} was {size} bytes, more than {RECORD_BYTES_MAX}")
            self._rows[kind, key] = value, OutgoingRecord(topic, key_bytes, value_bytes, (), self.partition)
        self._revision = revision

    def _take(self, result: Result, outcomes: Sequence[Outcome]) -> None:
        encode = self._codec.encode
        tally = result.tally
        for outcome in outcomes:
            if type(outcome) is not Publish:  # isinstance of a struct goes through ABCMeta: ten times slower
                assert type(outcome) is Suppress
                tally.suppressed[outcome.cause] += 1
                continue
            key, value = outcome.key.encode(), encode(outcome.topic, outcome.event)
            size = len(key) + len(value)
            if size > RECORD_BYTES_MAX:
                raise EncodeError(f"a record for {outcome.topic} was {size} bytes, more than {RECORD_BYTES_MAX}")
            result.records.append(OutgoingRecord(outcome.topic, key, value))
            tally.produced[outcome.topic] += 1
            _note(tally, outcome.event)

    # --- what failed, and what follows it

    def _fail(self, result: Result, record: LogRecord, failed: Failed) -> None:
        """Put a record aside; its key waits from now on, if it has one and the record was meant to say something."""
        key = quarantine.key_of(record) if failed.is_message else None
        if key is None:
            name = quarantine.own_name(record.topic, record.offset)
        else:
            name = quarantine.key_name(key)
            self._key_waits = True
            self._failed_keys.add(key)
        quarantine.park(self.overlay, name, record, attempt=1)
        self._bury(result, record, failed, name)
        self.verdicts.add(failed=True)

    def _follow(self, result: Result, record: LogRecord, key: str) -> None:
        """The key waits, so the record does."""
        name = quarantine.key_name(key)
        first = quarantine.head(self.overlay, name)
        assert first is not None
        quarantine.park(self.overlay, name, record, attempt=0)
        message = f"waits behind {first.topic}/{first.partition}/{first.offset} of the same key"
        self._bury(result, record, Failed(PARKED, message), name, attempt=0)

    def _without_followers(self, result: Result, items: Sequence[Item]) -> list[Item]:
        """What is left of a run in which keys failed."""
        left: list[Item] = []
        for record, received in items:
            if received.key is not None and received.key in self._failed_keys:
                self._follow(result, record, received.key)
            else:
                left.append((record, received))
        return left

    def _bury(
        self,
        result: Result,
        record: LogRecord,
        failed: Failed,
        name: str,
        *,
        attempt: int = 1,
        changed: str | None = None,
    ) -> None:
        letter = dead_letter(
            record,
            error_class=failed.error_class,
            stage=self.stage.name,
            message=failed.message,
            quarantine=name,
            attempt=attempt,
            changed=changed,
        )
        result.records.append(letter)
        result.tally.dead_letters[failed.error_class] += 1

    # --- repairs

    def _repair(self, result: Result, record: LogRecord, *, condemned: bool) -> None:
        """Do what a repair asks for, or say why not."""
        outcome = self._outcome(result, record, condemned=condemned)
        result.records.append(resolution_record(self.stage.name, record, outcome))
        result.tally.repairs[outcome.value] += 1

    def _outcome(self, result: Result, record: LogRecord, *, condemned: bool) -> RepairOutcome:
        try:
            repair = parse_repair(record)
        except RepairMalformed:
            return RepairOutcome.REFUSED_MALFORMED
        name, place = self._find(repair.source)
        if place is Place.GONE:
            return RepairOutcome.ALREADY_RESOLVED
        if place is Place.BEHIND:
            return RepairOutcome.REFUSED_OUT_OF_ORDER
        row = quarantine.head(self.overlay, name)
        assert row is not None
        if repair.action is Action.DISCARD:
            quarantine.release(self.overlay, name)
            return RepairOutcome.DISCARDED
        if not repair.value_is(row.value_sha256):
            return RepairOutcome.REFUSED_MALFORMED
        return self._replay(result, repair, name, row, condemned=condemned)

    def _find(self, source: LogRecord) -> tuple[str, Place]:
        names = [quarantine.own_name(source.topic, source.offset)]
        key = quarantine.key_of(source)
        if key is not None:
            names.append(quarantine.key_name(key))
        places = [(name, quarantine.place(self.overlay, name, source.topic, source.offset)) for name in names]
        return next((found for found in places if found[1] is not Place.GONE), places[0])

    def _replay(self, result: Result, repair: Repair, name: str, row: Parked, *, condemned: bool) -> RepairOutcome:
        """Process the record at the head as if it came now, with the time at which it really came."""
        source = repair.source
        source = LogRecord(
            source.topic, source.partition, source.offset, source.key, source.value, row.timestamp_ms, source.headers
        )
        mark = self.overlay.mark()
        try:
            if condemned:
                raise Failed(CRASH, _CRASHED)
            attempt = self._attempt([self._read(source)])
        except Exception as error:  # noqa: BLE001  # as when it came for the first time
            self.overlay.rewind(mark)
            failed = error if isinstance(error, Failed) else Failed(BUG, _where(error))
            quarantine.failed_again(self.overlay, name, attempt=row.attempt + 1)
            self._bury(result, source, failed, name, attempt=row.attempt + 1, changed=repair.changed)
            return RepairOutcome.FAILED_AGAIN
        _merge(result, attempt)
        quarantine.release(self.overlay, name)
        return RepairOutcome.REPLAYED


_CRASHED = f"the process ended {DEATHS_BEFORE_STEPPING + 1} times while this record was handled, the last time alone"


def _received(record: LogRecord, key: str | None, event: Record) -> Received:
    return Received(
        topic=record.topic,
        key=key,
        event=event,
        timestamp_us=record.timestamp_ms * 1000,
        partition=record.partition,
        offset=record.offset,
    )


def _note(tally: Tally, event: Record) -> None:
    kind = type(event)
    if kind is ExceptionEvent:
        assert isinstance(event, ExceptionEvent)
        if event.status is ExceptionStatus.OPEN:
            tally.exceptions[event.reason] += 1
    elif _knows_receipt(kind):
        tally.received_at_us.append(event.received_at_us)  # type: ignore[attr-defined]  # just asked


@functools.cache
def _knows_receipt(kind: type[Record]) -> bool:
    return "received_at_us" in kind.__struct_fields__


def _merge(result: Result, part: Result) -> None:
    result.records += part.records
    result.tally.produced += part.tally.produced
    result.tally.suppressed += part.tally.suppressed
    result.tally.exceptions += part.tally.exceptions
    result.tally.received_at_us += part.tally.received_at_us


def _where(error: Exception) -> str:
    """Type of the error and the line that raised it: enough to find it, none of the payload a message might quote."""
    frames = traceback.extract_tb(sys.exc_info()[2] if error.__traceback__ is None else error.__traceback__)
    place = f"{frames[-1].filename.rsplit('/', 3)[-1]}:{frames[-1].lineno}" if frames else "unknown place"
    return f"{type(error).__name__} raised at {place}"
