"""The checked-in files, read by hand and played through all stages; what wrote them takes no part."""

from __future__ import annotations

import base64
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from deploy.sample_day.generate import DATA
from services.adapters import fix
from services.adapters.avro_codec import AvroCodec
from services.adapters.reference_files import load_directory
from services.adapters.topic_codec import FormatCodec
from services.domain.code import Function
from services.domain.event import (
    AllocatedTrade,
    AllocationInstruction,
    ConfirmedTrade,
    CounterpartyConfirmation,
    Execution,
    SettlementInstruction,
)
from services.domain.record import Record
from services.pipeline import make_codec
from tests.support.pipeline_in_memory import Pipeline

MARKET_DATA = DATA.parents[1] / "reference"
NOW_US = 1_772_485_200_000_000  # 2026-03-02T21:00:00Z
QUARTER_US = 15 * 60 * 1_000_000

JSON_FILES: tuple[tuple[str, str, type[Record], str], ...] = (
    ("executions.jsonl", "front-office.executions", Execution, "order_id"),
    ("allocations.jsonl", "front-office.allocations", AllocationInstruction, "order_id"),
    ("confirmations.jsonl", "counterparty.confirmations", CounterpartyConfirmation, "confirmation_id"),
)
Sent = tuple[str, str | None, bytes | None]


@lru_cache(maxsize=1)
def codec() -> FormatCodec:
    """One codec for all tests: reading the schemas takes a moment."""
    return make_codec()


@lru_cache(maxsize=1)
def expected() -> dict[str, Any]:
    """What the day promises."""
    loaded: dict[str, Any] = json.loads((DATA / "expected.json").read_text(encoding="utf-8"))
    return loaded


def read_records(folder: Path) -> list[Sent]:
    """Every record in the files of one phase: topic, key, value; files in the order of JSON_FILES, FIX last."""
    return [*_json_records(folder), *_fix_records(folder)]


def _json_records(folder: Path) -> Iterator[Sent]:
    avro: AvroCodec = codec().avro
    for name, topic, kind, key_field in JSON_FILES:
        path = folder / name
        for line in path.read_bytes().splitlines() if path.exists() else ():
            plain = json.loads(line)
            if "$base64" in plain:
                yield topic, plain["$key"], base64.b64decode(plain["$base64"], validate=True)
            elif "$key" in plain:
                yield topic, plain["$key"], plain["$value"]
            else:
                event = msgspec.convert(plain, kind)
                yield topic, getattr(event, key_field), avro.encode(event)


def _fix_records(folder: Path) -> Iterator[Sent]:
    path = folder / "executions.fix"
    for raw in fix.split_messages(path.read_bytes()) if path.exists() else ():
        yield "front-office.fix", fix.order_id(raw), raw


def counts(pipeline: Pipeline) -> dict[str, int]:
    """What is there, counted as expected.json defines it."""
    return {
        "executions": sum(_is_execution(pipeline, topic) for topic in ("front-office.executions", "front-office.fix")),
        "allocations": _standing(pipeline.events("trades.allocated", AllocatedTrade)),
        "confirmations": _standing(pipeline.events("trades.confirmed", ConfirmedTrade)),
        "instructions": _standing(pipeline.events("settlement.instructions", SettlementInstruction)),
        "exceptions": len(pipeline.open_exceptions()),
        "dead_letters": len(pipeline.entries("dead-letters")),
    }


def _standing(events: Iterable[AllocatedTrade | SettlementInstruction]) -> int:
    """What was published less what was taken back."""
    return sum(1 if event.function is Function.NEW else -1 for event in events)


def _is_execution(pipeline: Pipeline, topic: str) -> int:
    dead = Counter(entry.value for entry in pipeline.entries("dead-letters"))
    readable = [entry for entry in pipeline.entries(topic) if entry.value and not dead[entry.value]]
    return sum(isinstance(codec().decode(topic, entry.value), Execution) for entry in readable)


def promised_counts(promise: dict[str, Any]) -> dict[str, int]:
    """The six counts of a promise."""
    return {name: value for name, value in promise.items() if name != "details"}


def new_pipeline(partitions: int = 1) -> Pipeline:
    """All services, with the data every installation has and that of the sample day."""
    pipeline = Pipeline(now_us=NOW_US, partitions=partitions, codec=codec())
    pipeline.load(load_directory(MARKET_DATA))
    pipeline.load(load_directory(DATA / "reference"))
    return pipeline


def send(pipeline: Pipeline, records: Sequence[Sent], shuffle: random.Random | None = None) -> None:
    """Send records; with `shuffle`, topics overtake each other and are read in between, each in its own order."""
    if shuffle is None:
        for record in records:
            pipeline.send(*record)
        pipeline.run()
        return
    waiting: dict[str, list[Sent]] = {}
    for record in reversed(records):
        waiting.setdefault(record[0], []).append(record)
    while waiting:
        topic = shuffle.choice(sorted(waiting))
        for _ in range(min(shuffle.randint(1, 60), len(waiting[topic]))):
            pipeline.send(*waiting[topic].pop())
        if not waiting[topic]:
            del waiting[topic]
        if shuffle.randrange(3) == 0:
            pipeline.run(shuffle)
    pipeline.run(shuffle)


def play(shuffle: random.Random | None = None, partitions: int = 1) -> tuple[Pipeline, dict[str, int]]:
    """The whole day: the pipeline in the end, and the counts before the late files."""
    pipeline = new_pipeline(partitions)
    send(pipeline, read_records(DATA), shuffle)
    before_late = counts(pipeline)
    pipeline.load(load_directory(DATA / "late" / "reference"))
    send(pipeline, read_records(DATA / "late"), shuffle)
    return pipeline, before_late
