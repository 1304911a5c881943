"""The programs that are measured: one row each, with what it can do and how much it is given to do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from tests.bench import environments
from tests.bench.python_environments import python_of

PASS_THROUGH, AVRO, ENRICHMENT, PIPELINE = "pass-through", "avro", "enrichment", "pipeline"


class Load(NamedTuple):
    """What one run of a program is given."""

    records: int
    """Records, enough for about six seconds on two cores whatever the program's rate is; or trades of the pipeline, for
    fifteen, because its steps begin and end one after the other."""
    warm_up: int = 0
    """The clock starts when these have arrived, so that start-up and joining the group are not measured."""


@dataclass(frozen=True)
class Program:
    """One measured program."""

    name: str
    title: str
    """As the table has it."""
    guarantee: str
    loads: Mapping[str, Load]
    """What it can do."""
    command: Callable[[], list[str]]
    """What to start; MEASURE, SERVERS and PREFIX are added. Builds its environment if need be."""
    note: str = ""
    """What it does not do, or how it was set up; shown below the tables it is in."""


def _module(name: str, *options: str) -> list[str]:
    return ["-m", f"tests.bench.peers.{name}", *options]


def _stock_faust(guarantee: str) -> Callable[[], list[str]]:
    return lambda: [python_of("stock-faust"), *_module("stock_faust", "--guarantee", guarantee)]


def _kafka_streams(threads: int) -> Callable[[], list[str]]:
    return lambda: [*environments.kafka_streams(), "--threads", str(threads)]


_LIMIT = "The bare loop has no state, no dead letters and no recovery; it is the limit of the client with our codec."
_NO_TIMERS = (
    "Stock Faust and Quix Streams run the same stages and codec, without time-driven work, dead letters and quarantine."
)
_FAUST = "Stock Faust keeps state in memory with changelog topics, runs on uvloop, and takes records one by one."
_QUIX = "Quix Streams keeps state by message key in RocksDB with changelog topics, commit interval 0.2 s."
_JAVA = "Kafka Streams: exactly_once_v2, commit.interval.ms 100, a Java port of the enrichment rules; no pipeline."

PROGRAMS: tuple[Program, ...] = (
    Program(
        "bare", "bare transactional loop", "exactly once",
        {PASS_THROUGH: Load(1_000_000, 100_000), AVRO: Load(300_000, 30_000), ENRICHMENT: Load(150_000, 15_000)},
        lambda: [sys.executable, *_module("bare")], _LIMIT,
    ),
    Program(
        "engine", "this engine", "exactly once",
        {
            PASS_THROUGH: Load(800_000, 80_000), AVRO: Load(300_000, 30_000), ENRICHMENT: Load(120_000, 12_000),
            PIPELINE: Load(40_000),
        },
        lambda: [sys.executable, *_module("engine")],
    ),
    Program(
        "faust", "stock Faust", "at least once",
        {
            PASS_THROUGH: Load(15_000, 1_500), AVRO: Load(15_000, 1_500), ENRICHMENT: Load(12_000, 1_200),
            PIPELINE: Load(2_000),
        },
        _stock_faust("at_least_once"), f"{_NO_TIMERS} {_FAUST}",
    ),
    Program(
        "faust-eos", "stock Faust", "exactly_once",
        {
            PASS_THROUGH: Load(15_000, 1_500), AVRO: Load(15_000, 1_500), ENRICHMENT: Load(12_000, 1_200),
            PIPELINE: Load(2_000),
        },
        _stock_faust("exactly_once"), f"{_NO_TIMERS} {_FAUST}",
    ),
    Program(
        "quix", "Quix Streams", "exactly once",
        {
            PASS_THROUGH: Load(80_000, 8_000), AVRO: Load(60_000, 6_000), ENRICHMENT: Load(40_000, 4_000),
            PIPELINE: Load(8_000),
        },
        lambda: [python_of("quix"), *_module("quix")], f"{_NO_TIMERS} {_QUIX}",
    ),
    *(
        Program(
            f"kafka-streams-{threads}", f"Kafka Streams, {threads} thread{'s' * (threads > 1)}", "exactly once",
            {PASS_THROUGH: Load(600_000, 150_000), AVRO: Load(400_000, 100_000), ENRICHMENT: Load(250_000, 60_000)},
            _kafka_streams(threads), _JAVA,
        )
        for threads in (1, 2)
    ),
)  # fmt: skip
"""In the order of the tables."""

BY_NAME = {program.name: program for program in PROGRAMS}
STOCK_FAUST = ("faust", "faust-eos")
KAFKA_STREAMS = ("kafka-streams-1", "kafka-streams-2")
