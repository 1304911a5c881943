"""One real Kafka for the whole test session, and what tests need to keep out of each other's way on it.

Nothing here skips: a machine without Java or Maven gives a red test that says what to install.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from deploy.local.kafka_broker import LocalKafka

_ADMIN_SECONDS_MAX = 20.0


@pytest.fixture(scope="session")
def local_kafka() -> Iterator[LocalKafka]:
    """The broker of this session. Shared: a test that stops, kills or pauses one starts its own."""
    with LocalKafka(quick=True) as broker:
        yield broker


@pytest.fixture(scope="session")
def kafka(local_kafka: LocalKafka) -> str:
    """Bootstrap servers of the session's broker. Begin every topic, group and transactional id with `prefix`."""
    return local_kafka.bootstrap_servers


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """A beginning for names on the shared broker that no other test has: the test's own name and a random part."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:60]
    return f"{name}-{uuid.uuid4().hex[:8]}"


def create_topics(bootstrap_servers: str, *names: str, partitions: int = 1, **config: str) -> None:
    """Create topics of one replica; they exist on return. Keys of `config` have `_` for `.`: `retention_ms="-1"`."""
    settings = {key.replace("_", "."): value for key, value in config.items()}
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    topics = [NewTopic(name, num_partitions=partitions, replication_factor=1, config=settings) for name in names]
    for created in admin.create_topics(topics, operation_timeout=_ADMIN_SECONDS_MAX).values():
        created.result(_ADMIN_SECONDS_MAX)


def delete_topics(bootstrap_servers: str, *names: str) -> None:
    """Delete topics; they are gone on return, and their names free."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 2})  # whose end is no news
    for deleted in admin.delete_topics([*names], operation_timeout=_ADMIN_SECONDS_MAX).values():
        deleted.result(_ADMIN_SECONDS_MAX)
