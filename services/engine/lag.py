"""How far each service is behind, asked of the log from time to time, beside the work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from services.engine.log import Log, LogError, TopicPartition
from services.engine.member import Member
from services.engine.metrics import Metrics

log_event = structlog.get_logger("posttrade.engine")

LAG_SECONDS = 2.0

Ask = Callable[[list[TopicPartition]], Awaitable[dict[TopicPartition, int]]]


class LagMeter:
    """Compares what the log holds with what the members have read."""

    def __init__(self, members: Sequence[Member], metrics: Metrics, stable_ends: Ask) -> None:
        """Bind; `stable_ends` asks the log, on a thread, for the last stable offset of each partition."""
        self._members = members
        self._metrics = metrics
        self._stable_ends = stable_ends

    async def follow(self) -> None:
        """Measure until cancelled. A measurement that fails must not end the work it measures."""
        while True:
            await asyncio.sleep(LAG_SECONDS)
            for member in self._members:
                if member.consumer is None:
                    continue
                try:
                    await self._measure(member)
                except LogError as error:
                    log_event.warning("lag could not be measured", service=member.stage.name, cause=str(error))

    async def _measure(self, member: Member) -> None:
        assert member.consumer is not None
        ends = await self._stable_ends(member.partitions_of(member.tables))
        positions = member.consumer.positions()
        lag = dict.fromkeys(member.inputs, 0)
        for partition, end in ends.items():
            position = max(positions.get(partition, 0), member.next_offsets.get(partition, 0))
            lag[partition.topic] += max(0, end - position)
        for topic, count in lag.items():
            self._metrics.lag.labels(member.stage.name, topic).set(count)
        rows = sum(tables.count() for tables in member.tables.values())
        self._metrics.state_rows.labels(member.stage.name).set(rows)


def stable_ends(log: Log) -> Callable[[list[TopicPartition]], dict[TopicPartition, int]]:
    """The question to the log, blocking."""
    return lambda partitions: log.end_offsets(partitions, committed_only=True)
