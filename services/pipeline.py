"""The map: the services in the order of a trade, each with the topics it reads and writes, and how a worker is wired.

    front office ──► capture ──► enrichment ──► allocation ──► confirmation ──► settlement ──► depository
                        │                          ▲                ▲
                        ├── allocation requests ───┘                │
    counterparties ──► capture ── confirmations received ───────────┘

Every service also writes `exceptions` (for the desk) and `dead-letters` (what could not be read or processed), takes
repairs of the latter on `repairs.<service>`, and says on `dead-letters.resolved` what became of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from services.adapters.disk_files import DiskFiles
from services.adapters.iso20022 import MessageRenderer
from services.adapters.kafka_log import KafkaLog
from services.adapters.kafka_timeouts import DEFAULT_TIMEOUTS, Timeouts
from services.adapters.reference_files import topic_of
from services.adapters.topic_codec import FormatCodec
from services.allocation.process import AllocationStage
from services.capture.process import CaptureStage
from services.confirmation.process import ConfirmationStage
from services.domain.reference import REFERENCE_KINDS, ReferenceRecord
from services.engine.app import App, Engine, make_app
from services.engine.log import Log
from services.engine.member import HostedService
from services.engine.metrics import Metrics
from services.engine.repair import RESOLVED_TOPIC, repairs_topic
from services.enrichment.process import EnrichmentStage
from services.settings import Settings, SettingsError
from services.settlement.process import SettlementStage
from services.stage import Stage
from services.topics import TopicFormat, load_topics

EXCEPTIONS = "exceptions"
DEAD_LETTERS = "dead-letters"


@dataclass(frozen=True)
class ServiceDefinition:
    """One service: what its stage reads and writes, and how that is made from the settings."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    make_stage: Callable[[Settings], Stage]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Every topic it takes records from, that of its repairs included."""
        return (*self.reads, repairs_topic(self.name))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Every topic it writes to, besides its changelog."""
        return (*self.writes, EXCEPTIONS, DEAD_LETTERS, RESOLVED_TOPIC)


SERVICES: tuple[ServiceDefinition, ...] = (
    ServiceDefinition(
        "capture",
        ("front-office.executions", "front-office.fix", "front-office.allocations", "counterparty.confirmations"),
        ("trades.captured", "trades.allocation-requests", "confirmations.received"),
        lambda _: CaptureStage(),
    ),
    ServiceDefinition(
        "enrichment",
        ("trades.captured",),
        ("trades.enriched",),
        lambda _: EnrichmentStage(),
    ),
    ServiceDefinition(
        "allocation",
        ("trades.enriched", "trades.allocation-requests"),
        ("trades.allocated",),
        lambda settings: AllocationStage(unallocated_after_us=settings.unallocated_after_seconds * 1_000_000),
    ),
    ServiceDefinition(
        "confirmation",
        ("trades.allocated", "confirmations.received"),
        ("trades.confirmed", "confirmations.status"),
        lambda settings: ConfirmationStage(unconfirmed_after_us=settings.unconfirmed_after_seconds * 1_000_000),
    ),
    ServiceDefinition(
        "settlement",
        ("trades.confirmed",),
        ("settlement.instructions", "settlement.messages"),
        lambda settings: SettlementStage(render=_renderer(settings).render),
    ),
)
"""All services, in pipeline order."""

SERVICE_NAMES = tuple(service.name for service in SERVICES)

REFERENCE_TOPICS: Mapping[str, type[ReferenceRecord]] = {topic_of(kind): kind for kind in REFERENCE_KINDS}
"""Compacted topic of each kind of reference data."""


def _renderer(settings: Settings) -> MessageRenderer:
    return MessageRenderer(_path(settings.sese023_schema), _path(settings.sese020_schema))


def _path(name: str) -> Path | None:
    return Path(name) if name else None


def make_codec() -> FormatCodec:
    """The codec of all topics; reading the schemas takes a moment, so make it once."""
    return FormatCodec(load_topics())


def make_log(
    settings: Settings,
    *,
    client_settings: Mapping[str, Any] | None = None,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
) -> KafkaLog:
    """The cluster the settings name. Raises SettingsError when they name none.

    `client_settings` go to every client in place of those that `Settings.kafka_client` gives.
    """
    if not settings.bootstrap_servers:
        raise SettingsError("KAFKA_BOOTSTRAP_SERVERS is not set; set it to host:port of the cluster, or use `make run`")
    given = settings.kafka_client() if client_settings is None else client_settings
    prefix = settings.topic_prefix
    return KafkaLog(settings.bootstrap_servers, prefix=prefix, client_settings=given, timeouts=timeouts)


def hosted_services(settings: Settings, names: Iterable[str] = SERVICE_NAMES) -> list[HostedService]:
    """Make the stages of the named services. Raises SettingsError for an unknown name."""
    wanted = set(names)
    unknown = sorted(wanted - set(SERVICE_NAMES))
    if unknown or not wanted:
        raise SettingsError(
            f"unknown service {', '.join(unknown) or '(none named)'}; known are: {', '.join(SERVICE_NAMES)}"
        )
    return [
        HostedService(service.make_stage(settings), service.inputs, service.outputs)
        for service in SERVICES
        if service.name in wanted
    ]


def handed_over(names: Iterable[str]) -> list[str]:
    """Topics that one of the named services writes and another of them reads."""
    wanted = set(names)
    hosted = [service for service in SERVICES if service.name in wanted]
    written = {topic for service in hosted for topic in service.writes}
    return [topic for service in hosted for topic in service.reads if topic in written]


def make_worker(
    settings: Settings,
    log: Log,
    *,
    services: Iterable[str] = SERVICE_NAMES,
    codec: FormatCodec | None = None,
    web_enabled: bool = True,
) -> App:
    """Wire a worker: the Faust app with one agent per service, on the given log."""
    names = tuple(services)
    engine = Engine(
        log=log,
        codec=(codec or make_codec()).handing_over(handed_over(names)),
        services=hosted_services(settings, names),
        reference_topics=REFERENCE_TOPICS,
        metrics=Metrics(version=version("posttrade")),
        transactional_id=f"posttrade.worker.{settings.worker_slot}",
        files=DiskFiles(Path(settings.data_dir) / f"slot-{settings.worker_slot}"),
        tombstones_kept_seconds=_tombstones_kept_seconds(),
        dead_letter_share_max=float(settings.dead_letter_share_max),
    )
    return make_app(
        engine,
        app_id="posttrade",
        web_host=settings.web_host,
        web_port=settings.web_port + settings.worker_slot,
        data_dir=settings.data_dir,
        web_enabled=web_enabled,
    )


def _tombstones_kept_seconds() -> float:
    """How long every changelog keeps a deletion, as the topic files declare it."""
    kept = [topic.config.delete_retention_ms for topic in load_topics().values() if topic.format is TopicFormat.STATE]
    return min(kept_ms for kept_ms in kept if kept_ms is not None) / 1000


def topic_counts() -> dict[str, int]:
    """Every topic with its number of partitions, as the topic files declare it."""
    return {name: topic.config.partitions for name, topic in load_topics().items()}
