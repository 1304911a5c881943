"""What every program needs, whatever library it runs on: what it was asked for, our stages and codec, reference data.

Imports nothing of the engine, of Faust or of a Kafka client: each program runs in the environment of its own library.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from services.adapters.iso20022 import Sese023Renderer
from services.adapters.reference_files import topic_of
from services.adapters.topic_codec import FormatCodec
from services.allocation.process import AllocationStage
from services.capture.process import CaptureStage
from services.confirmation.process import ConfirmationStage
from services.domain.record import Record
from services.domain.reference import REFERENCE_KINDS, ReferenceData, ReferenceRecord
from services.enrichment.process import EnrichmentStage
from services.settlement.process import SettlementStage
from services.stage import Outcome, Publish, Received, Stage, State
from services.topics import load_topics

PARTITIONS: Final = 4
LINGER_MS: Final = 5
COMPRESSION: Final = "lz4"
EXECUTIONS: Final = "front-office.executions"
PASSED_ON: Final = "out"
"""Where pass-through and Avro write to."""
OVERDUE_AFTER_US: Final = 900 * 1_000_000
"""The default of our settings; nothing becomes overdue in a run."""
REFERENCE_TOPICS: Final = tuple(topic_of(kind) for kind in REFERENCE_KINDS)
MEASURES: Final = ("pass-through", "avro", "enrichment", "pipeline")


class Run(NamedTuple):
    """What a program was asked for."""

    measure: str
    servers: str
    prefix: str


@dataclass(frozen=True)
class Service:
    """One service of the pipeline: a stage with the topics that the bench uses.

    `services.pipeline` has the same with all topics; a test holds the two together. Left out are inputs on which the
    bench sends nothing: a program that polls fewer topics is faster.
    """

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    make_stage: Callable[[], Stage]


SERVICES: tuple[Service, ...] = (
    Service(
        "capture",
        (EXECUTIONS, "counterparty.confirmations"),
        ("trades.captured", "confirmations.received"),
        CaptureStage,
    ),
    Service("enrichment", ("trades.captured",), ("trades.enriched",), EnrichmentStage),
    Service(
        "allocation",
        ("trades.enriched",),
        ("trades.allocated",),
        lambda: AllocationStage(unallocated_after_us=OVERDUE_AFTER_US),
    ),
    Service(
        "confirmation",
        ("trades.allocated", "confirmations.received"),
        ("trades.confirmed", "confirmations.status"),
        lambda: ConfirmationStage(unconfirmed_after_us=OVERDUE_AFTER_US),
    ),
    Service(
        "settlement",
        ("trades.confirmed",),
        ("settlement.instructions", "settlement.messages"),
        lambda: SettlementStage(render=Sese023Renderer().render),
    ),
)
NOT_KEPT: Final = frozenset({"NextDeadline"})
"""Kinds of rows that only time-driven work reads, which programs without it need not keep."""
EXCEPTIONS: Final = "exceptions"
"""Every service may write to it; the trades of the bench give no reason to."""


def services_of(measure: str) -> tuple[Service, ...]:
    """The services that a measure of stages runs: enrichment alone, or all."""
    return SERVICES if measure == "pipeline" else tuple(service for service in SERVICES if service.name == measure)


def make_codec() -> FormatCodec:
    """Our codec of all topics, the same that the engine is given."""
    return FormatCodec(load_topics())


def reference_data(codec: FormatCodec, values: Iterable[tuple[str, bytes]]) -> ReferenceData:
    """What stages look things up in, from topic and value of each record on `reference.*`."""
    data = ReferenceData()
    for topic, value in values:
        row = codec.decode(topic, value)
        assert isinstance(row, ReferenceRecord), f"{topic} held {type(row).__name__}"
        data.put(row)
    return data


def outcomes_of(stage: Stage, received: Received, state: State, now_us: int) -> list[Publish]:
    """What a stage publishes for one record."""
    outcomes: list[Outcome] = stage.process([received], state, now_us)
    return [outcome for outcome in outcomes if type(outcome) is Publish]


def changelog_key(kind: type[Record], key: str) -> bytes:
    """One name for a row among those of all kinds, where a library keeps all rows of a service in one store."""
    return f"{kind.__name__}/{key}".encode()


def asked_for(measures: Iterable[str] = MEASURES) -> Run:
    """The run that the command line names, which begins with a measure this program can do. Ends with a sentence."""
    known = tuple(measures)
    arguments = sys.argv[-3:]
    if len(sys.argv) < 4 or arguments[0] not in known:
        sys.exit(f"error: the command line ends with MEASURE SERVERS PREFIX; MEASURE is one of {', '.join(known)}")
    return Run(*arguments)
