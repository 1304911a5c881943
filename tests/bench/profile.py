"""`python -m tests.bench.profile`: what one order costs, in µs, by service and by what.

Orders of `tests.crunch.orders` (two fills, one confirmation, of which one instruction comes) go through the batches of
all five services, one partition each, without a log and without threads: what is measured is everything between the
bytes that were polled and the bytes that are to be produced. Input, times and batches are the same in every run, so the
digests of all outputs and of all state changes are, too: a change that is meant to be faster only must not change them.

    decode, encode  the codec of the topics
    rules           the stage, its reads and writes of state included
    rendering       the ISO 20022 message: writing and validating it
    state           the changelog rows and their way into the tables
    engine          the rest of `Batch.process`, and the counting after the commit

Each repetition plays the input twice, with clocks around the parts and without: the parts come from the one, the whole
from the other, and what no part took is the engine's. The whole is processor time; parts are elapsed time, because the
clock of the processor costs as much as what it would measure, and never count for more than the whole. Every batch is
measured in each repetition and its fastest one counts, because other programs use the machine. Figures of two runs of
this program are no ratio: the machine may have been busier in one of them.
"""

from __future__ import annotations

import argparse
import copy
import cProfile
import hashlib
import json
import pstats
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import Any, ParamSpec, TypeVar

from rich.console import Console
from rich.table import Table

from services.adapters import fix
from services.adapters.iso20022 import Sese023Renderer
from services.adapters.topic_codec import FormatCodec
from services.domain import identity
from services.domain.event import Execution
from services.domain.record import Record
from services.domain.reference import ReferenceData, ReferenceRecord
from services.engine.codec import TopicCodec
from services.engine.log import LogRecord, OutgoingRecord
from services.engine.metrics import Metrics
from services.engine.state import Overlay, Tables, changelog_row
from services.engine.tuning import tune_garbage_collector
from services.engine.work import Batch
from services.pipeline import SERVICES, make_codec
from services.settings import Settings
from services.settlement.process import SettlementStage
from services.stage import Outcome, Received, Stage, State
from tests import samples
from tests.crunch import orders

P = ParamSpec("P")
T = TypeVar("T")

WHATS = ("decode", "encode", "rules", "rendering", "state", "engine")
INSTRUCTIONS = "settlement.instructions"
ORDERS_PER_ROUND = 50
"""So that a batch takes milliseconds, and some repetition of it is not disturbed."""
ROUNDS_PER_TICK = 20
START_MS = samples.RECEIVED_AT_US // 1000
REPETITIONS = 3


class Meter:
    """Time spent on each kind of work within the batch that is measured."""

    def __init__(self) -> None:
        self._ns: dict[str, int] = dict.fromkeys(WHATS, 0)
        self._own_ns = 0
        self._own_ns = self._clock_ns()

    def _clock_ns(self) -> int:
        """What the clock tells of a call that takes no time: the fastest of many."""
        calls = 2_000
        timed = self.timed("engine", bool)
        found: list[int] = []
        for _ in range(50):
            for _ in range(calls):
                timed()
            found.append(self.take()["engine"] // calls)
        return min(found)

    def timed(self, what: str, function: Callable[P, T]) -> Callable[P, T]:
        """The function, its time counted under `what`."""
        ns, clock = self._ns, time.perf_counter_ns

        def measured(*args: P.args, **kwargs: P.kwargs) -> T:
            began = clock()
            try:
                return function(*args, **kwargs)
            finally:
                ns[what] += clock() - began - self._own_ns

        return measured

    def take(self) -> dict[str, int]:
        """What was measured since the last time; rules without the rendering that they ask for."""
        parts = {what: max(0, spent_ns) for what, spent_ns in self._ns.items()}
        parts["rules"] = max(0, parts["rules"] - parts["rendering"])
        self._ns.update(dict.fromkeys(WHATS, 0))
        return parts


class _MeasuredCodec:
    def __init__(self, codec: TopicCodec, meter: Meter) -> None:
        self.decode: Callable[[str, bytes | None], Record] = meter.timed("decode", codec.decode)
        self.encode: Callable[[str, Record], bytes] = meter.timed("encode", codec.encode)


class _MeasuredStage:
    def __init__(self, stage: Stage, meter: Meter) -> None:
        self.name = stage.name
        self.state_types = stage.state_types
        self.suppress_causes = stage.suppress_causes
        self.process: Callable[[Sequence[Received], State, int], list[Outcome]] = meter.timed("rules", stage.process)
        self.on_time: Callable[[State, int], list[Outcome]] = meter.timed("rules", stage.on_time)


class _Hosted:
    """One service on its one partition."""

    def __init__(self, name: str, inputs: Sequence[str], stage: Stage) -> None:
        self.name = name
        self.inputs = inputs
        self.stage = stage
        self.tables = Tables(stage.state_types)
        self.waiting: list[LogRecord] = []


class Run:
    """The five services, from inputs to instructions; times in ns are by service and number of the batch."""

    def __init__(
        self, codec: FormatCodec, reference: ReferenceData, *, is_clocked: bool, settings: Settings | None = None
    ) -> None:
        self.whole: dict[tuple[str, int], int] = {}
        self.parts: dict[tuple[str, int], dict[str, int]] = {}
        self.digests = {"outputs": hashlib.sha256(), "state": hashlib.sha256()}
        self.produced: defaultdict[str, int] = defaultdict(int)
        self._meter = Meter() if is_clocked else None
        self._codec: TopicCodec = codec
        self._reference = reference
        self._metrics = Metrics(version="bench")
        self._offsets: defaultdict[str, Iterator[int]] = defaultdict(count)
        self._batches = 0
        render = Sese023Renderer().render
        if self._meter is not None:
            self._codec = _MeasuredCodec(codec, self._meter)
            render = self._meter.timed("rendering", render)
        self.hosted: list[_Hosted] = []
        for definition in SERVICES:
            stage = definition.make_stage(settings or Settings())
            if definition.name == "settlement":
                stage = SettlementStage(render=render)
            if self._meter is not None:
                stage = _MeasuredStage(stage, self._meter)
            self.hosted.append(_Hosted(definition.name, definition.inputs, stage))

    def start_from(self, opened: Rows) -> None:
        """Let every table hold these rows and no others."""
        for hosted in self.hosted:
            for kind, rows in hosted.tables.rows.items():
                rows.clear()
                rows.update(opened.get(hosted.name, {}).get(kind, {}))

    def send(self, records: Iterable[OutgoingRecord], *, at_ms: int) -> None:
        """Put records before the services that read them."""
        for record in records:
            readers = [hosted for hosted in self.hosted if record.topic in hosted.inputs]
            offset = next(self._offsets[record.topic])
            for hosted in readers:
                hosted.waiting.append(LogRecord(record.topic, 0, offset, record.key, record.value, at_ms))

    def run(self, *, at_ms: int, due: bool) -> None:
        """One batch of each service, in the order of the pipeline."""
        for hosted in self.hosted:
            records, hosted.waiting = hosted.waiting, []
            if records or due:
                self.send(self._process(hosted, records, at_ms=at_ms, due=due), at_ms=at_ms)

    def _process(
        self, hosted: _Hosted, records: Sequence[LogRecord], *, at_ms: int, due: bool
    ) -> Sequence[OutgoingRecord]:
        batch = Batch(
            stage=hosted.stage,
            partition=0,
            records=records,
            overlay=Overlay(hosted.tables, self._reference),
            codec=self._codec,
            now_us=at_ms * 1000,
            due=due,
            monotonic=time.monotonic,
        )
        began = time.thread_time_ns()
        batch.process()
        processed = time.thread_time_ns()
        if batch.failure is not None:
            raise batch.failure
        assert batch.result is not None
        assert batch.on_time_failure is None, batch.on_time_failure
        result = batch.result
        assert not result.tally.dead_letters, f"{hosted.name} wrote dead letters"
        began_after = time.thread_time_ns()
        hosted.tables.apply(batch.overlay.changes())
        applied = time.thread_time_ns()
        self._metrics.count(hosted.name, result.tally, now_us=at_ms * 1000 + 500_000)
        counted = time.thread_time_ns()
        place = hosted.name, self._batches
        self._batches += 1
        self.whole[place] = processed - began + counted - began_after
        if self._meter is not None:
            self.parts[place] = self._meter.take() | {"state": _rows_ns(batch) + applied - began_after}
        self._digest(result.records)
        return result.records

    def _digest(self, records: Iterable[OutgoingRecord]) -> None:
        for record in records:
            kind = "state" if record.topic.startswith("state.") else "outputs"
            parts = (record.topic.encode(), record.key, record.value)
            self.digests[kind].update(b"".join(b"-" if part is None else b"%d:" % len(part) + part for part in parts))
            self.produced[record.topic] += 1


def _rows_ns(batch: Batch) -> int:
    """How long the changelog rows of a batch take, made once more."""
    changes = batch.overlay.changes()
    began = time.perf_counter_ns()
    for kind, key, value in changes:
        changelog_row(kind, key, value)
    return time.perf_counter_ns() - began


def reference_of(codec: FormatCodec, records: Iterable[OutgoingRecord]) -> ReferenceData:
    """The records of the topics `reference.*`, entered as the engine enters them."""
    data = ReferenceData()
    for record in records:
        row = codec.decode(record.topic, record.value)
        assert isinstance(row, ReferenceRecord)
        data.put(row)
    return data


def _reference(codec: FormatCodec) -> ReferenceData:
    """What `send_reference` writes."""
    written: list[OutgoingRecord] = []

    class _Sent:
        def send(self, records: Iterable[OutgoingRecord]) -> None:
            written.extend(records)

    sent: Any = _Sent()
    orders.send_reference(sent, codec)
    return reference_of(codec, written)


def _as_fix(codec: FormatCodec, record: OutgoingRecord) -> OutgoingRecord:
    if record.topic != orders.EXECUTIONS:
        return record
    execution = codec.decode(record.topic, record.value)
    assert isinstance(execution, Execution)
    return OutgoingRecord("front-office.fix", record.key, fix.encode_execution(execution))


def make_input(codec: FormatCodec, order_count: int, *, is_fix: bool) -> list[list[OutgoingRecord]]:
    """What enters, order by order."""
    made = [list(orders.records(codec, number)) for number in range(order_count)]
    return [[_as_fix(codec, record) for record in order] for order in made] if is_fix else made


Rows = dict[str, dict[type[Record], dict[str, Record]]]
"""By service and table."""


def open_rows(codec: FormatCodec, reference: ReferenceData, item_count: int) -> Rows:
    """The rows of an unfinished block and of an unconfirmed allocation, each of them there that many times."""
    run = Run(codec, reference, is_clocked=False)
    unfinished, unconfirmed = (list(orders.records(codec, number)) for number in (10_000_000, 10_000_001))
    run.send([*unfinished[:1], *unconfirmed[: orders.FILLS]], at_ms=START_MS)
    run.run(at_ms=START_MS, due=False)
    for hosted in run.hosted:
        for rows in hosted.tables.rows.values():
            for key, row in list(rows.items()):
                if key != "-":  # one row for the whole table
                    rows.update((f"{key}-{number}", copy.copy(row)) for number in range(1, item_count))
    return {hosted.name: hosted.tables.rows for hosted in run.hosted}


def play(run: Run, given: Sequence[Sequence[OutgoingRecord]]) -> None:
    """Send every order and run until all are instructed. Raises AssertionError when one is not."""
    before = run.produced[INSTRUCTIONS]
    for round_number, start in enumerate(range(0, len(given), ORDERS_PER_ROUND)):
        at_ms = START_MS + 1000 + 50 * round_number
        run.send((record for order in given[start : start + ORDERS_PER_ROUND] for record in order), at_ms=at_ms)
        run.run(at_ms=at_ms, due=round_number % ROUNDS_PER_TICK == 0)
    instructed = run.produced[INSTRUCTIONS] - before
    assert instructed == len(given), f"{instructed} of {len(given)} orders were instructed"


def profiled(
    codec_of_run: Callable[[], FormatCodec],
    reference: ReferenceData,
    given: Sequence[Sequence[OutgoingRecord]],
    *,
    repetitions: int = REPETITIONS,
    opened: Rows | None = None,
) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """µs per order by service and what, and the digests of outputs and state changes.

    Raises AssertionError when an order is not instructed or two repetitions differ in what they give.
    """
    tune_garbage_collector()
    runs: dict[bool, list[Run]] = {True: [], False: []}
    for _ in range(repetitions):
        for is_clocked, alike in runs.items():
            run = Run(codec_of_run(), reference, is_clocked=is_clocked)
            identity.block_id.cache_clear()  # a block comes once; what stays the same all day may be remembered
            run.start_from(opened or {})
            play(run, given)
            run.start_from({})  # a million rows of each repetition need not stay
            alike.append(run)
    digests = [{kind: digest.hexdigest() for kind, digest in run.digests.items()} for run in runs[True] + runs[False]]
    assert all(found == digests[0] for found in digests), "two repetitions gave different outputs"
    return figures(runs[True], runs[False], len(given)), digests[0]


def figures(clocked: Sequence[Run], bare: Sequence[Run], order_count: int) -> dict[str, dict[str, float]]:
    """µs per order by service and what; of each batch the fastest repetition."""
    found: dict[str, dict[str, float]] = {hosted.name: dict.fromkeys(WHATS, 0.0) for hosted in bare[0].hosted}
    for place in bare[0].whole:
        parts = min((run.parts[place] for run in clocked), key=lambda parts: sum(parts.values()))
        whole_ns = min(run.whole[place] for run in bare)
        spent_ns = sum(parts.values())
        # Parts are elapsed time: where another program ran meanwhile they shrink to the processor time of the whole.
        share = min(1.0, whole_ns / spent_ns) if spent_ns else 1.0
        for what, part_ns in parts.items():
            found[place[0]][what] += part_ns * share / 1000 / order_count
        found[place[0]]["engine"] += max(0, whole_ns - spent_ns) / 1000 / order_count
    return found


def show(found: dict[str, dict[str, float]], console: Console) -> None:
    """Print services by what, with sums."""
    table = Table(title="µs per order")
    for column in ("service", *WHATS, "sum"):
        table.add_column(column, justify="left" if column == "service" else "right")
    for service, parts in found.items():
        table.add_row(service, *(f"{parts[what]:.1f}" for what in WHATS), f"{sum(parts.values()):.1f}")
    sums = [sum(parts[what] for parts in found.values()) for what in WHATS]
    table.add_row("all", *(f"{value:.1f}" for value in sums), f"{sum(sums):.1f}")
    console.print(table)


def _top_functions(codec: FormatCodec, given: Sequence[Sequence[OutgoingRecord]], count_shown: int) -> None:
    run = Run(codec, _reference(codec), is_clocked=False)
    profile = cProfile.Profile()
    profile.enable()
    play(run, given)
    profile.disable()
    pstats.Stats(profile).sort_stats("tottime").print_stats(count_shown)


def main() -> int:
    """Measure, print the table, the digests, the functions that take the most, and a line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.profile", description="What one order costs.")
    parser.add_argument("--orders", type=int, default=2_000, help="orders that are measured")
    parser.add_argument("--open-items", type=int, default=0, help="open blocks and open allocations beside them")
    parser.add_argument("--fix", action="store_true", help="fills come as FIX instead of Avro")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS, help="runs of which the fastest counts")
    parser.add_argument("--functions", type=int, default=0, help="how many functions to list, as cProfile sees them")
    given = parser.parse_args()
    codec = make_codec()
    made = make_input(codec, given.orders, is_fix=given.fix)
    reference = _reference(codec)
    opened = open_rows(codec, reference, given.open_items) if given.open_items else {}
    found, digests = profiled(lambda: codec, reference, made, repetitions=given.repetitions, opened=opened)
    show(found, Console(width=120))
    if given.functions:
        _top_functions(codec, made, given.functions)
    print(json.dumps({"orders": given.orders, "open_items": given.open_items, "us": found, **digests}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
