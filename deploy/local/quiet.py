"""When the pipeline has come to rest: nothing unread anywhere, and nothing new for a while.

"Nothing unread" is asked service by service in the order of the pipeline, from what each group has committed: as
nothing is sent meanwhile, a service that has nothing left gives the next one nothing more. "For a while" is for what
is owed without a new record: work that waited for reference data is taken up at the next tick of about a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from services.commands.scan import partitions_of
from services.engine.log import Log, LogError, TopicPartition
from services.engine.member import consumer_group

SETTLE_SECONDS = 3.0
STALLED_SECONDS_MAX = 120.0
_POLL_SECONDS = 0.5
_RECORDS_MAX = 5_000

Committed = Callable[[str], Mapping[TopicPartition, int]]
"""Offsets that a group has committed, by the group's name."""


class Stalled(Exception):
    """There is work left and nobody does it."""


class Progress:
    """Counts the committed records of topics, as they come."""

    def __init__(self, log: Log, topics: Sequence[str]) -> None:
        """Begin at the oldest record."""
        self.counts = dict.fromkeys(topics, 0)
        self.changed_at = time.monotonic()
        """When the last record was seen."""
        self._reader = log.reader(dict.fromkeys(partitions_of(log, topics), 0))

    def poll(self) -> bool:
        """Wait a moment and count what has come; whether anything has."""
        records = self._reader.poll(_RECORDS_MAX, _POLL_SECONDS)
        for record in records:
            self.counts[record.topic] += 1
        if records:
            self.changed_at = time.monotonic()
        return bool(records)

    def close(self) -> None:
        """Release the reader."""
        self._reader.close()


def has_unread(log: Log, committed: Mapping[TopicPartition, int], topics: Sequence[str]) -> bool:
    """Whether there is a committed record that the group has not read.

    Offsets alone do not tell: after the last record of a transaction lies a marker that no group ever reads.
    """
    start = {partition: committed.get(partition, 0) for partition in partitions_of(log, topics)}
    reader = log.reader(start)
    try:
        while not reader.at_end():
            if reader.poll(1, _POLL_SECONDS):
                return True
    finally:
        reader.close()
    return False


def await_quiet(
    log: Log,
    committed: Committed,
    services: Sequence[tuple[str, Sequence[str]]],
    progress: Progress,
    *,
    check: Callable[[], None],
    report: Callable[[Mapping[str, int]], None],
    settle_seconds: float = SETTLE_SECONDS,
) -> None:
    """Return when the pipeline is at rest. `services` are the names and inputs in pipeline order.

    `check` is called twice a second and raises when waiting is in vain; `report` gets the counts as often. Raises
    Stalled when there is work and none was done for two minutes.
    """
    began = time.monotonic()
    while True:
        progress.poll()
        check()
        report(progress.counts)
        now = time.monotonic()
        idle_seconds = now - max(progress.changed_at, began)
        if idle_seconds < settle_seconds:
            continue
        busy = _first_busy(log, committed, services)
        if busy is None:
            return
        if idle_seconds > STALLED_SECONDS_MAX:
            raise Stalled(f"{busy} has unread records and has done nothing for {idle_seconds:.0f} s")


def _first_busy(log: Log, committed: Committed, services: Sequence[tuple[str, Sequence[str]]]) -> str | None:
    try:
        return next(
            (name for name, inputs in services if has_unread(log, committed(consumer_group(name)), inputs)), None
        )
    except LogError:  # the cluster is slow to answer: ask again at the next turn
        return "a service"
