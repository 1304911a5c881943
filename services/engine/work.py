"""One batch of one partition of one service: decode, decide, encode. Pure but for the stage's overlay.

A record that makes the stage or the encoder raise is isolated by halving the batch: its neighbours go through, it goes
to `dead-letters`. Nothing is produced here; the whole result becomes durable, or not, in one transaction.
"""

from __future__ import annotations

import asyncio
import functools
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from services.domain.code import ExceptionStatus
from services.domain.errors import DecodeError, EncodeError
from services.domain.event import ExceptionEvent
from services.domain.record import Record
from services.engine.codec import TopicCodec
from services.engine.dead_letters import BUG, DECODE, dead_letter
from services.engine.log import LogRecord, OutgoingRecord
from services.engine.state import Overlay, changelog_row, changelog_topic
from services.stage import Outcome, Publish, Received, Stage, Suppress

RECORD_BYTES_MAX = (
    1_000_000  # below every topic's max.message.bytes: an oversized output is a bug of one record, not an outage
)


@dataclass
class Tally:
    """What happened in one batch, to be counted once it is committed."""

    consumed: int = 0
    produced: Counter[str] = field(default_factory=Counter)
    suppressed: Counter[str] = field(default_factory=Counter)
    exceptions: Counter[str] = field(default_factory=Counter)
    dead_letters: Counter[str] = field(default_factory=Counter)
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
        self.result: Result | None = None
        self.failure: BaseException | None = None
        self.seconds = 0.0
        self.finished = asyncio.Event()

    def process(self) -> None:
        """Run the stage; afterwards either `result` or `failure` is set, and `finished`."""
        started = self._monotonic()
        try:
            self.result = self._run()
        except Exception as error:  # noqa: BLE001  # the coordinator stops the worker with it: nothing is swallowed
            self.failure = error
        self.seconds = self._monotonic() - started
        self.finished.set()

    def _run(self) -> Result:
        result = Result()
        result.tally.consumed = len(self.records)
        if self._due:
            self._take(result, self.stage.on_time(self.overlay, self._now_us))
            self._encode_changes()
        readable: list[tuple[LogRecord, Received]] = []
        for record in self.records:
            try:
                event = self._codec.decode(record.topic, record.value)
                key = None if record.key is None else record.key.decode()
            except (DecodeError, UnicodeDecodeError) as error:
                message = "the key is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
                self._bury(result, record, DECODE, message)
                continue
            except Exception as error:  # noqa: BLE001  # a bug in a reader must not stop the neighbours either
                self._bury(result, record, BUG, _where(error))
                continue
            readable.append((record, _received(record, key, event)))
        self._process(result, readable)
        self._encode_changes()  # what a failed attempt has left behind of keys that others changed, too
        result.records += [self._rows[kind, key][1] for kind, key, _ in self.overlay.changes()]
        return result

    def _encode_changes(self) -> None:
        """Make the changelog records while the culprit of one that cannot be written can still be isolated."""
        topic = changelog_topic(self.stage.name)
        for kind, key, value in self.overlay.changes():
            row = self._rows.get((kind, key))
            if row is not None and row[0] is value:
                continue
            key_bytes, value_bytes = changelog_row(kind, key, value)
            if value_bytes is not None and len(value_bytes) > RECORD_BYTES_MAX:
                size = len(value_bytes)
                raise EncodeError(f"a row of {kind.__name__} was {size} bytes, more than {RECORD_BYTES_MAX}")
            self._rows[kind, key] = value, OutgoingRecord(topic, key_bytes, value_bytes, (), self.partition)

    def _process(self, result: Result, items: Sequence[tuple[LogRecord, Received]]) -> None:
        """Process a run of records; where it raises, halve it until the culprit is alone."""
        if not items:
            return
        mark = self.overlay.mark() if len(items) < len(self.records) or self._due else {}
        attempt = Result()
        try:
            self._take(attempt, self.stage.process([received for _, received in items], self.overlay, self._now_us))
            self._encode_changes()
        except Exception as error:  # noqa: BLE001  # any bug in a stage must not stop its neighbours
            self.overlay.rewind(mark)
            if len(items) == 1:
                self._bury(result, items[0][0], BUG, _where(error))
                return
            middle = len(items) // 2
            self._process(result, items[:middle])
            self._process(result, items[middle:])
            return
        _merge(result, attempt)

    def _take(self, result: Result, outcomes: Sequence[Outcome]) -> None:
        encode = self._codec.encode
        tally = result.tally
        for outcome in outcomes:
            if type(outcome) is not Publish:  # isinstance of a struct goes through ABCMeta: ten times slower
                assert isinstance(outcome, Suppress)
                tally.suppressed[outcome.cause] += 1
                continue
            value = encode(outcome.topic, outcome.event)
            if len(value) > RECORD_BYTES_MAX:
                raise EncodeError(f"a record for {outcome.topic} was {len(value)} bytes, more than {RECORD_BYTES_MAX}")
            result.records.append(OutgoingRecord(outcome.topic, outcome.key.encode(), value))
            tally.produced[outcome.topic] += 1
            _note(tally, outcome.event)

    def _bury(self, result: Result, record: LogRecord, error_class: str, message: str) -> None:
        letter = dead_letter(record, error_class=error_class, stage=self.stage.name, message=message)
        result.records.append(letter)
        result.tally.dead_letters[error_class] += 1


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
