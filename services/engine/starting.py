"""Where a partition is read from when a worker takes it over. No default is right: too early doubles, too late loses.

The group's committed offset says it. Where none is committed the partition was never read, and is read from its
beginning, only if the changelog says so too: from the first transaction of a partition on it holds a row `Started`, and
a group whose offsets have vanished from the cluster would otherwise do all its work a second time.
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from services.engine.log import Log, OffsetsLost, OutgoingRecord, TopicPartition
from services.engine.state import Started, Tables, changelog_row, changelog_topic

log_event = structlog.get_logger("posttrade.engine")


def start_offsets(
    log: Log, group: str, committed: Mapping[TopicPartition, int | None], tables: Mapping[int, Tables]
) -> dict[TopicPartition, int]:
    """Where processing goes on, of what was committed and restored. Raises OffsetsLost when that place is not there.

    `committed` must have been asked before the tables were restored: what a predecessor still commits is then part of
    both.
    """
    starts = log.start_offsets(committed)
    ends = log.end_offsets(committed, committed_only=False)
    offsets: dict[TopicPartition, int] = {}
    first: dict[str, int] = {}
    for partition, offset in committed.items():
        start, end = starts[partition], ends[partition]
        if offset is None:
            _check_never_started(group, partition, tables[partition.partition])
            first[f"{partition.topic}[{partition.partition}]"] = start
        elif not start <= offset <= end:
            held = f"offsets {start} to {end - 1}" if start < end else f"no record, and goes on at offset {end}"
            raise OffsetsLost(group, partition, f"its next offset is {offset}, but the partition holds {held}")
        offsets[partition] = start if offset is None else offset
    if first:
        log_event.info("partitions are read for the first time, from their beginning", group=group, offsets=first)
    return offsets


def _check_never_started(group: str, partition: TopicPartition, tables: Tables) -> None:
    started = tables.rows[Started].get(_key(partition.partition))
    if started is None and tables.count() == 0:
        return
    if isinstance(started, Started) and partition.topic not in started.offsets:
        return  # an input that this version of the service reads for the first time
    first = started.offsets[partition.topic] if isinstance(started, Started) else "an unknown offset"
    cause = f"it was first read from {first} on, but the group has no committed offset any more"
    raise OffsetsLost(group, partition, cause)


def started_changes(tables: Mapping[int, Tables], offsets: Mapping[TopicPartition, int]) -> dict[int, Started]:
    """The row to be written for each number of which an input is read for the first time."""
    changes: dict[int, Started] = {}
    for number, table in tables.items():
        row = table.rows[Started].get(_key(number))
        known = row.offsets if isinstance(row, Started) else {}
        now = {partition.topic: offset for partition, offset in offsets.items() if partition.partition == number}
        if now.keys() - known.keys():
            changes[number] = Started(offsets=now | known)
    return changes


def started_records(service: str, changes: Mapping[int, Started]) -> list[OutgoingRecord]:
    """The changelog records of these rows."""
    topic = changelog_topic(service)
    return [
        OutgoingRecord(topic, *changelog_row(Started, _key(number), row), (), number) for number, row in changes.items()
    ]


def apply_started(tables: Mapping[int, Tables], changes: Mapping[int, Started]) -> None:
    """Take the rows over once they are committed."""
    for number, row in changes.items():
        tables[number].apply([(Started, _key(number), row)])


def _key(number: int) -> str:
    return str(number)
