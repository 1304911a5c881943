"""The auditor on the topics of a run, after its end."""

from __future__ import annotations

from pathlib import Path

from services.adapters.kafka_log import KafkaLog
from services.adapters.log_world import LogWorld
from services.adapters.plain_avro import PlainReader
from services.adapters.topic_admin import TopicAdmin
from services.engine.member import consumer_group
from services.pipeline import SERVICES
from services.topics import load_topics
from services.verification import Report, verify


def audit(log: KafkaLog, admin: TopicAdmin, schemas: Path) -> Report:
    """All ten invariants, on topics on which nothing moves any more."""
    world = LogWorld(
        log,
        admin.committed,
        topics=in_pipeline_order(),
        groups=[consumer_group(service.name) for service in SERVICES],
        settled=True,
    )
    return verify(world, PlainReader(schemas))


def in_pipeline_order() -> list[str]:
    """Every topic, causes before effects; what no service names comes last."""
    named = [topic for service in SERVICES for topic in (*service.inputs, *service.outputs)]
    return list(dict.fromkeys([*named, *load_topics()]))
