"""People who look at the dead letters and decide: what waits is processed now, or never.

There are two of them, and they do not ask each other: now and then both decide about the same letter, in the same way
or not, or about one that is dealt with, or that has others before it; some bring a value that is not the original one.
When all is drained, in some runs, everything that still waits is repaired, the bugs first.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from services.commands.letters import Case, collect
from services.domain.errors import DecodeError
from services.engine.codec import TopicCodec
from services.engine.dead_letters import TOPIC
from services.engine.log import OutgoingRecord
from services.engine.repair import RESOLVED_TOPIC, Action
from tests.sim.broker import Broker
from tests.sim.choking import Mark, Marks
from tests.sim.options import Options
from tests.sim.ports import Ports
from tests.sim.scheduler import Scheduler
from tests.support.desk import lines, repair

_AGAIN_SECONDS = 0.5
_GARBAGE = b"\xc3\x01"


class Run(Protocol):
    """What the clerks know of a run."""

    options: Options
    scheduler: Scheduler
    broker: Broker
    ports: Ports


@dataclass(frozen=True)
class Order:
    """A case with what is to become of it."""

    case: Case
    action: Action
    value: bytes | None
    changed: bool = False


class Clerks:
    """Their decisions in one run."""

    def __init__(self, run: Run, marks: Marks, codec: TopicCodec) -> None:
        """Bind; `begin` lets them begin."""
        self._run = run
        self._marks = marks
        self._codec = codec
        self._rng = random.Random(f"clerks {run.options.seed}")
        self._number = 0
        self.given_up: set[str] = set()
        """Ids of readable letters that somebody wanted to be discarded."""

    def begin(self) -> None:
        """They decide at moments of their own, and bugs are mended at moments of theirs."""
        seconds = self._run.options.work_seconds
        for mark in sorted(self._marks.broken):
            if self._rng.random() < 0.7:
                self._run.scheduler.at(self._rng.uniform(0.2, 1.0) * seconds, partial(self._mend, mark))
        for _ in range(self._run.options.repairs):
            self._run.scheduler.at(self._rng.uniform(0.2, 1.2) * seconds, self._decide)

    def _mend(self, mark: Mark) -> None:
        self._run.ports.note("release", f"mends {mark}")
        self._marks.broken.discard(mark)

    # --- one decision

    def _decide(self) -> None:
        if self._run.broker.away:
            self._run.scheduler.after(_AGAIN_SECONDS, self._decide)
            return
        case = self._choose(self.cases())
        if case is None:
            return
        order = self._order(case)
        records = [self._record(order)]
        if self._rng.random() < 0.2:  # the same once more
            records *= 2
        if self._rng.random() < 0.3:  # the colleague, who has not seen it
            records.append(self._record(self._order(case)))
        for record in records:
            self._run.scheduler.after(self._rng.choice((0.0, 0.0, 0.3)), partial(self._send, [record]))

    def _choose(self, cases: Sequence[Case]) -> Case | None:
        """Mostly the first of a line; else one behind it, or one that is dealt with."""
        waiting = lines(cases)
        first = [line[0] for line in waiting]
        behind = [case for line in waiting for case in line[1:]]
        drawn = self._rng.random()
        choices = first if drawn < 0.6 else behind if drawn < 0.8 else cases
        return self._rng.choice(choices or cases) if cases else None

    def _order(self, case: Case) -> Order:
        drawn = self._rng.random()
        if drawn < 0.1:  # it does not say that the value is another
            return Order(case, Action.REPLAY, _GARBAGE)
        if drawn < 0.2:
            return Order(case, Action.REPLAY, _GARBAGE, changed=True)
        if drawn < 0.4:
            if self._is_readable(case):
                self.given_up.add(case.id)
            return Order(case, Action.DISCARD, case.source.value)
        return Order(case, Action.REPLAY, case.source.value)

    def _record(self, order: Order) -> OutgoingRecord:
        self._number += 1
        repair_id, by = f"r{self._number}", f"clerk {self._number % 2}"
        return repair(order.case, order.action, repair_id=repair_id, by=by, value=order.value, changed=order.changed)

    def _send(self, records: Sequence[OutgoingRecord]) -> None:
        for record in records:
            headers = dict(record.headers)
            told = b" ".join(headers[name] or b"" for name in ("repair.action", "repair.of", "repair.id")).decode()
            self._run.ports.note("clerk", f"{record.topic}: {told}")
        self._run.broker.send(records)

    # --- in the end

    def tidy(self) -> bool:
        """Have everything repaired that still waits; False once nothing does, or where nobody tidies up."""
        if not self._run.options.tidies:
            return False
        for mark in sorted(self._marks.broken):
            self._mend(mark)
        records = [self._record(order) for order in self._last_orders()]
        self._send(records)
        return bool(records)

    def _last_orders(self) -> Iterator[Order]:
        """What can be read is processed, in the order in which it waits."""
        for case in self.cases():
            if case.is_open:
                action = Action.REPLAY if self._is_readable(case) else Action.DISCARD
                yield Order(case, action, case.source.value)

    def _is_readable(self, case: Case) -> bool:
        try:
            self._codec.decode(case.source.topic, case.source.value)
        except DecodeError:
            return False
        return True

    def cases(self) -> list[Case]:
        """Every dead letter with what was done about it."""
        broker = self._run.broker
        return collect([*broker.committed_records(TOPIC), *broker.committed_records(RESOLVED_TOPIC)])

    def count(self) -> None:
        """Count, among the faults, what was done and answered."""
        injected = self._run.ports.injected
        injected["stage raises"] += self._marks.raised
        for case in self.cases():
            for resolution in case.resolutions:
                injected[f"repair {resolution.outcome.value}"] += 1
