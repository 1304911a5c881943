"""Rebuilds a partition's tables from its changelog; the same path at every start, rebalance and doubt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from services.domain.record import Record
from services.engine.log import GroupConsumer, Log, TopicPartition
from services.engine.state import Tables, changelog_topic

_POLL_SECONDS = 0.2
_RECORDS_MAX = 10_000


class RestoreCancelled(Exception):
    """The partitions were taken away, or the worker stops, before the restore was done."""


def start_offsets(consumer: GroupConsumer, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
    """Where processing goes on. Waits until no transaction that touches these offsets is pending.

    Must come before the changelog's end is measured: what a predecessor still commits is then part of both.
    """
    committed = consumer.committed(partitions)
    return {partition: offset if offset is not None else 0 for partition, offset in committed.items()}


def restore_tables(
    log: Log,
    *,
    service: str,
    kinds: Iterable[type[Record]],
    partitions: Iterable[int],
    cancelled: Callable[[], bool],
) -> Mapping[int, Tables]:
    """Read the changelog of each partition up to its high watermark.

    The high watermark, not the last stable offset: an open transaction of a dead predecessor may lie before committed
    rows of the last owner, so its end (commit, abort or timeout) is waited for. Raises StateError for a row that no
    table can hold, RestoreCancelled when `cancelled` says so.
    """
    kinds = tuple(kinds)
    tables = {number: Tables(kinds) for number in partitions}
    topic = changelog_topic(service)
    if not kinds or not tables:
        return tables
    reader = log.reader({TopicPartition(topic, number): 0 for number in tables})
    try:
        while not reader.at_end():
            for record in reader.poll(_RECORDS_MAX, _POLL_SECONDS):
                assert record.key is not None, "a changelog row has a key"
                tables[record.partition].restore(record.key, record.value)
            if cancelled():
                raise RestoreCancelled
    finally:
        reader.close()
    return tables
