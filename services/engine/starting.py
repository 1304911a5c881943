"""Where a partition is read from when a worker takes it over. No default is right: too early doubles, too late loses.

The changelog says it: every transaction that moves the offsets of a partition writes them there too, as its row
`Progress`. State and position are thus one, whatever the group's coordinator remembers. What the group has committed is
the second witness:
- less than the row, or nothing: the coordinator has forgotten (Kafka 4.2 after a kill, decision 0016; offsets that were
  away for too long). The row is right, and a warning says so.
- more than the row: the state is older than what was done with it. The worker stops.
- something where the row's place is not in the log any more: a person has decided where it goes on, and is obeyed.
- no answer, for its coordinator hangs: the row is enough. Only what needs both witnesses waits.
Without a row a partition was never read, and is read from its beginning, only if state and group are empty as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from services.engine.log import Log, LogError, OffsetsLost, OutgoingRecord, TopicPartition, Unavailable
from services.engine.state import Progress, Tables, changelog_row, changelog_topic

log_event = structlog.get_logger("posttrade.engine")


class StateLost(LogError):
    """The state of a partition is older than what its group has committed, or is gone: going on would double work."""

    def __init__(self, group: str, partition: TopicPartition, cause: str, *, prefix: str) -> None:
        """Name the place and what was found; the sentence says what to do. `prefix` is that of the log."""
        wire_group, wire_topic, number = prefix + group, prefix + partition.topic, partition.partition
        changelog = prefix + changelog_topic(group.rpartition(".")[2])
        super().__init__(
            f"{wire_group} cannot go on in partition {number} of {wire_topic}: {cause}. Restore "
            f"{changelog} from a copy, or set the offset back to what its state knows with "
            f"kafka-consumer-groups --reset-offsets --group {wire_group} --topic {wire_topic}:{number} (a new "
            "installation: --delete-offsets); then start the worker again"
        )


@dataclass(frozen=True)
class _Place:
    """A partition of a group, for what is said about it."""

    group: str
    partition: TopicPartition
    prefix: str

    def lost(self, cause: str) -> StateLost:
        return StateLost(self.group, self.partition, cause, prefix=self.prefix)

    def warn(self, sentence: str, told: int | None, known: int) -> None:
        place = f"{self.partition.topic}[{self.partition.partition}]"
        log_event.warning(sentence, group=self.group, partition=place, committed=told, known=known)


def start_offsets(
    log: Log,
    group: str,
    partitions: Sequence[TopicPartition],
    committed: Mapping[TopicPartition, int | None] | None,
    tables: Mapping[int, Tables],
) -> dict[TopicPartition, int]:
    """Where processing goes on, of what was committed and restored. Raises OffsetsLost when that place is not there.

    `committed` must have been asked before the tables were restored: what a predecessor still commits is then part of
    both; None: there was no answer. Raises StateLost when the tables know less than the group, Unavailable when they
    are not enough and the group must be asked again.
    """
    starts = log.start_offsets(partitions)
    ends = log.end_offsets(partitions, committed_only=False)
    offsets: dict[TopicPartition, int] = {}
    first: dict[str, int] = {}
    for partition in partitions:
        place = _Place(group, partition, log.prefix)
        known = _known(tables[partition.partition], partition)
        start, end = starts[partition], ends[partition]
        if committed is None:
            offsets[partition] = _known_enough(partition, known, start, end)
            continue
        told = committed[partition]
        if known is None:
            _check_never_read(place, told, tables[partition.partition])
            if told is None:
                first[f"{partition.topic}[{partition.partition}]"] = start
        offset = _agreed(place, told, known, start, end)
        if not start <= offset <= end:
            held = f"offsets {start} to {end - 1}" if start < end else f"no record, and goes on at offset {end}"
            cause = f"its next offset is {offset}, but the partition holds {held}"
            raise OffsetsLost(group, partition, cause, prefix=log.prefix)
        offsets[partition] = offset
    if first:
        log_event.info("partitions are read for the first time, from their beginning", group=group, offsets=first)
    return offsets


def _known_enough(partition: TopicPartition, known: int | None, start: int, end: int) -> int:
    if known is None or not start <= known <= end:
        place = f"partition {partition.partition} of {partition.topic}"
        raise Unavailable(f"where {place} goes on cannot be told without the offsets of its group")
    return known


def _known(tables: Tables, partition: TopicPartition) -> int | None:
    row = tables.rows[Progress].get(_key(partition.partition))
    return row.offsets.get(partition.topic) if isinstance(row, Progress) else None


def _check_never_read(place: _Place, told: int | None, tables: Tables) -> None:
    """An offset is not known of an input that this version reads for the first time, or of an untouched partition."""
    if _key(place.partition.partition) in tables.rows[Progress]:
        return
    if told is not None:
        raise place.lost(f"the group has committed offset {told}, but the state holds no trace of it")
    if tables.count() > 0:
        raise place.lost("its state does not say how far it was read, and the group has no offset")


def _agreed(place: _Place, told: int | None, known: int | None, start: int, end: int) -> int:
    """The one offset of two witnesses, either of which may be silent."""
    if known is None:
        return start if told is None else told
    if told == known:
        return known
    if start <= known <= end:
        if told is not None and told > known:
            raise place.lost(f"the group has committed offset {told}, but its state ends at {known}")
        place.warn("the group has forgotten offsets; its state knows them", told, known)
        return known
    if told is not None and start <= told <= end:
        place.warn("the group's offset was set by hand and is obeyed", told, known)
        return told
    return known


def progress_changes(tables: Mapping[int, Tables], offsets: Mapping[TopicPartition, int]) -> dict[int, Progress]:
    """The row to be written for each number of which an offset moves. `offsets` holds whole numbers, every input."""
    changes: dict[int, Progress] = {}
    for number, table in tables.items():
        row = table.rows[Progress].get(_key(number))
        known = row.offsets if isinstance(row, Progress) else {}
        now = {partition.topic: offset for partition, offset in offsets.items() if partition.partition == number}
        if now != {topic: known.get(topic) for topic in now}:
            changes[number] = Progress(offsets=known | now)
    return changes


def progress_records(service: str, changes: Mapping[int, Progress]) -> list[OutgoingRecord]:
    """The changelog records of these rows."""
    topic = changelog_topic(service)
    return [
        OutgoingRecord(topic, *changelog_row(Progress, _key(number), row), (), number)
        for number, row in changes.items()
    ]


def apply_progress(tables: Mapping[int, Tables], changes: Mapping[int, Progress]) -> None:
    """Take the rows over once they are committed."""
    for number, row in changes.items():
        tables[number].apply([(Progress, _key(number), row)])


def _key(number: int) -> str:
    return str(number)
