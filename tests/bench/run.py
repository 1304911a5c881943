"""One run of one program: topics, input, the program itself, what came out."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count as count_up
from pathlib import Path

from deploy.local.guarded_process import GuardedProcess
from deploy.local.kafka_jars import REPOSITORY
from services.adapters.topic_admin import TopicAdmin
from services.pipeline import REFERENCE_TOPICS, make_codec
from services.topics import load_topics
from tests.bench import data, workload
from tests.bench.programs import AVRO, ENRICHMENT, PASS_THROUGH, PIPELINE, Load, Program
from tests.bench.workload import Delivery, Record

TARGETS = {PASS_THROUGH: "out", AVRO: "out", ENRICHMENT: "trades.enriched", PIPELINE: "settlement.messages"}
"""Where a measure's output arrives."""
_FIRST_STEP = "trades.captured"
"""Of the pipeline: its first record is the beginning of the work."""
_COPIED = 997
_RUNS = count_up()
"""Numbers in prefixes: offsets of a group outlive its topics, so no run may have the name of another."""


@dataclass(frozen=True)
class Measured:
    """One measured run."""

    program: str
    measure: str
    count: int
    per_second: float
    """Records, or trades of the pipeline."""
    doubled: int
    """Records on the output beyond one for each input."""


def measure(program: Program, measure_name: str, load: Load, servers: str, folder: Path) -> Measured:
    """Run a program on filled topics until everything has come out, and check what came.

    Raises RuntimeError that names the log when the program ends, loses, or changes what it was to pass on.
    """
    records = input_records(measure_name, load.records)
    delivery = deliver(program, measure_name, records, servers, folder)
    check(program, measure_name, records, delivery)
    seconds = delivery.seconds_after(load.warm_up)
    per_second = (load.records - load.warm_up) / max(seconds, 1e-3)
    return Measured(program.name, measure_name, load.records, per_second, len(delivery.records) - load.records)


def deliver(program: Program, measure_name: str, records: Sequence[Record], servers: str, folder: Path) -> Delivery:
    """What a program makes of the records, on topics of its own that are gone afterwards. Raises RuntimeError."""
    prefix = f"bench-{measure_name}-{program.name}-{next(_RUNS)}-"
    count = len(records) // _records_each(measure_name)
    prepare(servers, prefix, measure_name, records)
    try:
        with running(program, measure_name, servers, prefix, folder) as (process, log):
            try:
                delivery = workload.await_delivery(
                    servers, prefix + TARGETS[measure_name], count=count, process=process
                )
            except (RuntimeError, TimeoutError) as failure:
                raise RuntimeError(f"{program.name}, {measure_name}: {failure}; its log is {log}") from failure
        if measure_name != PIPELINE:
            return delivery
        # Steps run ahead of each other: messages come late and then many at once, so their own rate would say nothing.
        began_ms = min(record.timestamp_ms for record in workload.read(servers, prefix + _FIRST_STEP))
        return Delivery(delivery.records, began_ms)
    finally:
        workload.delete_topics_of(servers, prefix)


def input_records(measure_name: str, count: int) -> Sequence[Record]:
    """What a measure is given. The same for every program and round, so it is made once and cut to length."""
    known = _made(measure_name)
    if len(known) < count * _records_each(measure_name):
        made = _made_from(measure_name, count)
        known[:] = made
    return known[: count * _records_each(measure_name)]


def _records_each(measure_name: str) -> int:
    return 2 if measure_name == PIPELINE else 1


@cache
def _made(measure_name: str) -> list[Record]:
    """Filled by `input_records`; forgotten with `forget_input`."""
    return []


def forget_input() -> None:
    """Give the memory of what was made back."""
    _made.cache_clear()


def _made_from(measure_name: str, count: int) -> list[Record]:
    codec = make_codec()
    if measure_name == PASS_THROUGH:
        bodies = [record.value or b"" for record in data.executions(codec, _COPIED)]
        return list(workload.plain_records("in", count, bodies))
    if measure_name == AVRO:
        return [Record(out.topic, out.key or b"", out.value or b"") for out in data.executions(codec, count)]
    if measure_name == ENRICHMENT:
        return [Record(out.topic, out.key or b"", out.value or b"") for out in data.captured(codec, count)]
    return [Record(out.topic, out.key or b"", out.value or b"") for trade in data.trades(codec, count) for out in trade]


def prepare(servers: str, prefix: str, measure_name: str, records: Sequence[Record]) -> None:
    """Make the topics of a run and fill those that a program reads."""
    if measure_name in (PASS_THROUGH, AVRO):
        workload.make_topics(servers, prefix + records[0].topic)
        workload.make_topics(servers, prefix + "out", stamped=True)
        workload.make_topics(servers, f"{prefix}state.pass-through", compact=True)
        workload.make_topics(servers, f"{prefix}dead-letters")
    else:
        stamped = {TARGETS[measure_name], _FIRST_STEP} if measure_name == PIPELINE else {TARGETS[measure_name]}
        for name in stamped:
            workload.make_topics(servers, prefix + name, stamped=True)
        TopicAdmin(servers, prefix=prefix, client_settings={"log_level": 2}).apply(load_topics())
        codec = make_codec()
        rows = [Record(out.topic, out.key or b"", out.value or b"") for out in data.reference_records(codec)]
        assert {row.topic for row in rows} <= REFERENCE_TOPICS.keys()
        workload.fill(servers, prefix, rows)
    workload.fill(servers, prefix, records)


@contextlib.contextmanager
def running(
    program: Program, measure_name: str, servers: str, prefix: str, folder: Path
) -> Iterator[tuple[GuardedProcess, Path]]:
    """Start a program; it is killed at the end, and what it left on the disk goes with its folder."""
    log, own = folder / f"{prefix.rstrip('-')}.log", folder / prefix.rstrip("-")
    own.mkdir(parents=True, exist_ok=True)
    process = GuardedProcess(
        [*program.command(), measure_name, servers, prefix], directory=REPOSITORY, output=log, grace_seconds=0.0,
        environment=os.environ | {"TMPDIR": str(own)},
    )  # fmt: skip
    try:
        yield process, log
    finally:
        process.kill()
        shutil.rmtree(own, ignore_errors=True)


def check(program: Program, measure_name: str, records: Sequence[Record], delivery: Delivery) -> None:
    """Hold what came against what was sent. Raises RuntimeError."""
    if measure_name in (PASS_THROUGH, AVRO):
        wanted = {(record.key, record.value) for record in records}
        wrong = len(wanted ^ {(record.key, record.value) for record in delivery.records})
    elif measure_name == ENRICHMENT:
        wrong = len({record.key for record in records} ^ delivery.keys)
    else:
        wrong = abs(len(delivery.keys) - len(records) // _records_each(measure_name))
    if wrong:
        raise RuntimeError(f"{program.name}, {measure_name}: {wrong} records were not those that had to come out")


def median(values: Sequence[float]) -> float:
    """The middle one; of an even number the lower of the two in the middle."""
    return sorted(values)[(len(values) - 1) // 2]
