"""A restore that takes longer than a consumer may be silent: the polling thread polls on, nobody is thrown out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import pytest

from services.adapters.kafka_log import KafkaLog
from services.adapters.kafka_timeouts import Timeouts
from services.adapters.memory_log import MemoryLog
from services.engine.log import OutgoingRecord
from tests.engine.harness import Worker, start_worker
from tests.support.app import until
from tests.support.broker import create_topics
from tests.support.engine_oracles import check_counting, read_to_end
from tests.support.engine_stages import TOPICS, counting, said

MAX_POLL_SECONDS = 7.0
WORKER = Timeouts(
    session_ms=6_000, transaction_ms=5_000, message_ms=4_000, request_ms=4_000,
    max_poll_interval_ms=int(MAX_POLL_SECONDS * 1000),
)  # fmt: skip
DEAD = Timeouts(session_ms=100_000, transaction_ms=60_000, max_poll_interval_ms=300_000)
"""A transaction that holds a restore for as long as the test wants."""


@pytest.fixture
def logs(kafka: str, prefix: str) -> Iterator[tuple[KafkaLog, KafkaLog]]:
    """The same topics for a worker, and for one that died in a long transaction."""
    for name, partitions in TOPICS.items():
        create_topics(kafka, f"{prefix}.{name}", partitions=partitions)
    made = [KafkaLog(kafka, prefix=f"{prefix}.", timeouts=timeouts) for timeouts in (WORKER, DEAD)]
    yield made[0], made[1]
    for log in made:
        log.close()


def _sample(worker: Worker, name: str) -> float | None:
    return worker.metrics.registry.get_sample_value(name, {"service": "counting"})


async def test_a_restore_longer_than_max_poll_interval_costs_no_membership(
    logs: tuple[KafkaLog, KafkaLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Years of state take minutes to read; a member that is thrown out meanwhile begins anew, for ever."""
    log, other = logs
    dead = other.producer("dead")
    dead.begin()
    dead.produce([OutgoingRecord("state.counting", b"Count/ghost", b"{}", (), 0)])
    assert dead._producer.flush(20) == 0
    log.send(said(f"key-{n}", n) for n in range(20))
    worker = start_worker(cast(MemoryLog, log), counting())  # any log will do
    await until(lambda: _sample(worker, "posttrade_rebalances_total"), "an assignment")
    assert worker.task is not None
    with pytest.raises(TimeoutError):  # it goes on for so long, and does not end
        await asyncio.wait_for(asyncio.shield(worker.task), MAX_POLL_SECONDS + 3)
    assert not worker.coordinator.ready
    assert _sample(worker, "posttrade_rebalances_total") == 1
    dead.abort()
    await until(lambda: worker.coordinator.ready, "readiness")
    await until(lambda: len(read_to_end(log, "counted")) == 20, "everything counted")
    assert _sample(worker, "posttrade_rebalances_total") == 1
    await worker.end()
    dead.close()
    read: Any = read_to_end
    check_counting(lambda topic: read(log, topic))
