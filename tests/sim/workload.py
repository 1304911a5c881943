"""What the senders send: whole flows of the sample day's generator, repeated, reordered and with garbage in between.

The day is made once per process and kept as bytes; a run draws some of its flows.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from deploy.sample_day import catalogue
from deploy.sample_day.day import flows
from deploy.sample_day.files import Sent, records
from deploy.sample_day.flow import Flow, Promise
from services.adapters.reference_files import load_directory, topic_of
from services.adapters.topic_codec import FormatCodec
from services.domain.reference import Holiday, ReferenceRecord
from services.engine.log import OutgoingRecord
from services.pipeline import make_codec
from tests.sim.choking import KINDS, Mark, Marks
from tests.sim.options import Options

_DAY_SEED = 7
_PLAIN_FILLS = 60
_MARKET_DATA = Path(__file__).parents[2] / "deploy" / "reference"
_HOLIDAYS_FROM, _HOLIDAYS_TO = (2026, 2), (2026, 4)
_EXECUTIONS = "front-office.executions"
BREAKABLE = ("allocation", "capture", "confirmation", "enrichment", "settlement")
"""Services that are given bugs."""


class Prepared(NamedTuple):
    """One flow as records."""

    name: str
    promise: Promise
    main: tuple[OutgoingRecord, ...]
    late: tuple[OutgoingRecord, ...]


@dataclass(frozen=True)
class Bank:
    """The whole day."""

    flows: tuple[Prepared, ...]
    reference: tuple[OutgoingRecord, ...]
    late_reference: tuple[OutgoingRecord, ...]


class Sending(NamedTuple):
    """Records that are sent at one moment."""

    at: float
    records: tuple[OutgoingRecord, ...]


@functools.cache
def shared_codec() -> FormatCodec:
    """The codec of all topics."""
    return make_codec()


@functools.cache
def bank() -> Bank:
    """The day, made once."""
    codec = shared_codec()
    market = [row for row in load_directory(_MARKET_DATA) if not isinstance(row, Holiday) or _is_near(row)]
    return Bank(
        flows=tuple(_prepared(list(flows(_DAY_SEED, _PLAIN_FILLS)))),
        reference=tuple(_row(row, codec) for row in (*market, *catalogue.reference())),
        late_reference=tuple(_row(row, codec) for row in catalogue.late_reference()),
    )


def _prepared(made: list[Flow]) -> Iterator[Prepared]:
    """All in one go: the writer of the records is expensive to make."""
    parts = [part for flow in made for part in (sorted(flow.messages, key=lambda one: one.at_us), flow.late)]
    written = records(message for part in parts for message in part)
    done = iter([tuple(map(_outgoing, islice(written, len(part)))) for part in parts])
    for flow in made:
        yield Prepared(flow.trouble or "plain", flow.promise, next(done), next(done))


def _outgoing(sent: Sent) -> OutgoingRecord:
    return OutgoingRecord(sent.topic, sent.key.encode(), sent.value)


def _is_near(holiday: Holiday) -> bool:
    return _HOLIDAYS_FROM <= (holiday.day.year, holiday.day.month) <= _HOLIDAYS_TO


def _row(row: ReferenceRecord, codec: FormatCodec) -> OutgoingRecord:
    topic = topic_of(type(row))
    return OutgoingRecord(topic, row.key.encode(), codec.encode(topic, row))


class Workload:
    """What one run sends, and what the flows promise of it."""

    def __init__(self, options: Options, rng: random.Random) -> None:
        self._options = options
        self._rng = rng
        self.flows = rng.sample(bank().flows, options.flows)
        self.late_at = options.work_seconds * rng.uniform(0.3, 1.0)
        """When the reference data that was missing comes, and the confirmations that were waited for."""
        self.sendings = sorted(self._sendings(), key=lambda sending: sending.at)
        self.is_tidied = options.tidies
        """Whether nothing waits for a person in the end."""
        self.marks = Marks({Mark(rng.choice(BREAKABLE), rng.randrange(KINDS)) for _ in range(options.chokes)})

    def _sendings(self) -> Iterator[Sending]:
        for flow in self.flows:
            main = self._reordered(list(flow.main))
            yield from self._spread(main, self._rng.uniform(0.0, self._options.work_seconds / 2))
            yield from self._spread(list(flow.late), self.late_at)
        yield Sending(self.late_at, bank().late_reference)
        for _ in range(self._options.garbage):
            key = self._rng.choice(self._rng.choice(self.flows).main).key
            garbage = OutgoingRecord(_EXECUTIONS, key, self._rng.randbytes(40))
            yield Sending(self._rng.uniform(0.0, self._options.work_seconds), (garbage,))

    def _spread(self, messages: list[OutgoingRecord], at: float) -> Iterator[Sending]:
        """One after the other, some of them again later."""
        for message in messages:
            yield Sending(at, (message,))
            if self._rng.random() < self._options.resend_share:
                yield Sending(at + self._rng.uniform(0.0, self._options.work_seconds / 2), (message,))
            at += self._rng.choice((0.0, 0.001, 0.1, 0.3))

    def _reordered(self, messages: list[OutgoingRecord]) -> list[OutgoingRecord]:
        for index in range(1, len(messages)):
            if self._rng.random() < self._options.reorder_share:
                messages[index - 1], messages[index] = messages[index], messages[index - 1]
        return messages

    def promised_instructions(self, given_up: Collection[str]) -> int | None:
        """How many instructions must stand in the end; None when what is processed is not what the flows say.

        `given_up` are dead letters that are not garbage and of which somebody wanted to hear no more.
        """
        waits = (self._options.garbage or self._options.chokes) and not self._options.tidies
        if self._options.reorder_share or waits or given_up:
            return None
        if any(flow.promise.dead_letters for flow in self.flows):
            return None  # what follows a dead letter under its key waits for a person
        if any(flow.promise.late_comes_last for flow in self.flows):
            return None  # here the late files come whenever it happens
        return sum(flow.promise.instructions for flow in self.flows)
