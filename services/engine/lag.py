"""How far each service is behind: records, and the age of the oldest; asked of the log from time to time.

A record is behind until the offset after it is committed; that it was fetched or is being processed does not count.
Markers of transactions, which lie in the log like records and are never delivered, are not behind. Partitions that are
owned but not yet restored are: the lag of a worker must not vanish while it recovers.

While the group shares its partitions out anew nothing is owned, and the last measurement stands. When that goes on for
too long every partition of the inputs is measured: nobody may be processing them, and a lag of 0 would hide it. Each
worker in that state tells all of them, so that their sum is too large then; one that another worker processes is told
twice only while this one cannot come back into the group.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import structlog

from services.engine.assignments import Assignments
from services.engine.log import Log, LogError, TopicPartition
from services.engine.member import Member
from services.engine.metrics import Metrics
from services.engine.runtime import Runtime

log_event = structlog.get_logger("posttrade.engine")

LAG_SECONDS = 2.0
"""Time between two measurements, and by how much the age of a record may be told too high."""
ASK_AGE_SECONDS = 10.0
"""Time between two looks at the oldest record of a partition that was behind before it was first measured."""
UNASSIGNED_SECONDS = 10.0
"""Time between two measurements without an assignment: each asks the group anew."""
_READ_SECONDS_MAX = 5.0
_POLL_SECONDS = 0.1
_SEEN_MAX = 512


class OnThread(Protocol):
    """Runs a call that blocks on another thread."""

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Awaitable[Any]:
        """Await its result."""
        ...


class Arrivals:
    """When the records of one partition came, as far as repeated looks at its end tell: between two looks."""

    def __init__(self) -> None:
        """No look yet."""
        self._seen: deque[tuple[int, int]] = deque()
        """(time of the look, end found) of looks that found more than is done, oldest first."""
        self._done_us: int | None = None
        """The last look whose end is done: what is behind came after it."""

    def oldest_us(self, now_us: int, end: int, done: int) -> int | None:
        """Note a look. Not later than this the oldest record behind came; None when it was there before the first look.

        Answers `now_us` when nothing is behind. `end` and `done` are next offsets: of the log, and of the group.
        """
        self._seen.append((now_us, end))
        while self._seen and self._seen[0][1] <= done:
            self._done_us = self._seen.popleft()[0]
        if len(self._seen) > _SEEN_MAX:  # hours behind: coarser steps will do, and each still errs to the older side
            self._seen = deque(list(self._seen)[::2])
        return self._done_us


class LagMeter:
    """Compares what the log holds with what the groups have committed."""

    def __init__(
        self,
        members: Sequence[Member],
        metrics: Metrics,
        log: Log,
        runtime: Runtime,
        on_thread: OnThread,
        assignments: Assignments,
    ) -> None:
        """Bind; what blocks runs through `on_thread`."""
        self._assignments = assignments
        self._unassigned_due: dict[str, float] = {}
        """By service without an assignment: when it is measured again."""
        self._members = members
        self._metrics = metrics
        self._log = log
        self._runtime = runtime
        self._on_thread = on_thread
        self._arrivals: dict[tuple[str, TopicPartition], Arrivals] = {}
        self._asked: dict[tuple[str, TopicPartition], tuple[int, int]] = {}
        """When the log was asked for the oldest record, and the record's own time."""
        self._unrestored: dict[str, tuple[int, Mapping[TopicPartition, int | None]]] = {}
        """By service: the epoch, and what the group had committed in partitions that are not restored yet."""

    async def follow(self) -> None:
        """Measure until cancelled."""
        await asyncio.gather(*(self._follow(member) for member in self._members))

    async def _follow(self, member: Member) -> None:
        """One service. A measurement that fails must not end the work it measures."""
        while True:
            await asyncio.sleep(LAG_SECONDS)
            if member.consumer is None:
                continue
            try:
                if self._assignments.lacks(member.stage.name):
                    await self._measure_unassigned(member)
                else:
                    owned = member.partitions_of(sorted(member.owned))
                    await self._measure(member, owned, partial(self._committed, member, owned))
            except LogError as error:
                log_event.warning("lag could not be measured", service=member.stage.name, cause=str(error))

    async def _measure_unassigned(self, member: Member) -> None:
        """All partitions of the inputs, once the group hangs. Others may be at work on them, so the group is asked."""
        service, now = member.stage.name, self._runtime.monotonic()
        if not self._assignments.hangs(service) or now < self._unassigned_due.get(service, now):
            return
        assert member.consumer is not None
        self._unassigned_due[service] = now + UNASSIGNED_SECONDS
        count = await self._on_thread(self._log.partitions, member.inputs[0])
        partitions = member.partitions_of(range(count))
        await self._measure(member, partitions, partial(self._on_thread, member.consumer.committed, partitions))

    async def _measure(
        self,
        member: Member,
        partitions: Sequence[TopicPartition],
        ask_committed: Callable[[], Awaitable[Mapping[TopicPartition, int | None]]],
    ) -> None:
        epoch = member.epoch
        committed = await ask_committed()
        now_us = self._runtime.now_us()  # before the ends: what comes after it may be missing in them
        highs, ends = await self._on_thread(_ends, self._log, partitions)
        if member.epoch != epoch:
            return  # other partitions by now; the next measurement comes soon
        done = {partition: self._done(member, partition, committed) for partition in partitions}
        lag, unstable = dict.fromkeys(member.inputs, 0), dict.fromkeys(member.inputs, 0)
        for partition, end in ends.items():
            lag[partition.topic] += max(0, end - done[partition])
            unstable[partition.topic] += max(0, highs[partition] - end)
        self._tell(member, lag, unstable)
        came_us = self._came_us(member.stage.name, now_us, ends, done)
        unseen = {partition: done[partition] for partition, time_us in came_us.items() if time_us is None}
        self._tell_age(member, now_us, came_us | await self._ask(member.stage.name, unseen, now_us))

    def _came_us(
        self, service: str, now_us: int, ends: Mapping[TopicPartition, int], done: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int | None]:
        """When the oldest record behind came; None where it was there before the first look."""
        keys = {(service, partition) for partition in ends}
        # What is not ours now, and comes back later, will not have been looked at meanwhile.
        self._arrivals = {key: seen for key, seen in self._arrivals.items() if key[0] != service or key in keys}
        self._asked = {key: answer for key, answer in self._asked.items() if key[0] != service or key in keys}
        return {
            partition: self._arrivals.setdefault((service, partition), Arrivals()).oldest_us(
                now_us, end, done[partition]
            )
            for partition, end in ends.items()
        }

    def _done(self, member: Member, partition: TopicPartition, committed: Mapping[TopicPartition, int | None]) -> int:
        """The offset before which nothing is behind: what is committed now, and markers that follow it."""
        known = _known(member, partition)
        done = committed.get(partition) if known is None else known
        return max(done or 0, member.settled.get(partition, 0))

    async def _committed(self, member: Member, owned: Iterable[TopicPartition]) -> Mapping[TopicPartition, int | None]:
        """What the group has committed where no restore has told it yet; asked once in an epoch, it does not change."""
        epoch = member.epoch
        missing = [partition for partition in owned if _known(member, partition) is None]
        if not missing:
            return {}
        known = self._unrestored.get(member.stage.name)
        if known is None or known[0] != epoch:
            found = await self._ask_committed(member, missing)
            if found is None:
                return {}
            known = epoch, found
            self._unrestored[member.stage.name] = known
        return known[1]

    async def _ask_committed(
        self, member: Member, missing: list[TopicPartition]
    ) -> Mapping[TopicPartition, int | None] | None:
        """Ask the group; None when it is restored, or other partitions are ours, before the answer comes.

        The answer waits out pending transactions. Once restored that may be our own, the first of which proves what was
        restored, and its hanging must be seen.
        """
        assert member.consumer is not None
        epoch = member.epoch
        asking: asyncio.Future[Mapping[TopicPartition, int | None]]
        asking = asyncio.ensure_future(self._on_thread(member.consumer.committed, missing))
        asking.add_done_callback(lambda answer: answer.cancelled() or answer.exception())  # it may come too late
        while not asking.done():
            await asyncio.wait({asking}, timeout=LAG_SECONDS)
            if member.epoch != epoch or all(_known(member, partition) is not None for partition in missing):
                return None
        return asking.result()

    async def _ask(self, service: str, behind: Mapping[TopicPartition, int], now_us: int) -> dict[TopicPartition, int]:
        """The same for partitions that were behind from the start: read in the log, and not too often."""
        due_us = now_us - int(ASK_AGE_SECONDS * 1e6)
        due = {
            partition: offset
            for partition, offset in behind.items()
            if self._asked.get((service, partition), (due_us, 0))[0] <= due_us
        }
        if due:
            found = await self._on_thread(_times_us, self._log, self._runtime, due)
            for partition in due:
                _, earlier_us = self._asked.get((service, partition), (0, now_us))
                self._asked[service, partition] = now_us, found.get(partition, earlier_us)
        return {partition: self._asked[service, partition][1] for partition in behind}

    def _tell(self, member: Member, lag: Mapping[str, int], unstable: Mapping[str, int]) -> None:
        service = member.stage.name
        for topic, count in lag.items():
            self._metrics.lag.labels(service, topic).set(count)
            self._metrics.lag_unstable.labels(service, topic).set(unstable[topic])
        rows = sum(tables.count() for tables in member.tables.values())
        self._metrics.state_rows.labels(service).set(rows)

    def _tell_age(self, member: Member, now_us: int, came_us: Mapping[TopicPartition, int | None]) -> None:
        oldest_us = dict.fromkeys(member.inputs, now_us)
        for partition, time_us in came_us.items():
            if time_us is not None:
                oldest_us[partition.topic] = min(time_us, oldest_us[partition.topic])
        for topic, time_us in oldest_us.items():
            self._metrics.lag_seconds.labels(member.stage.name, topic).set((now_us - time_us) / 1e6)


def _known(member: Member, partition: TopicPartition) -> int | None:
    """Where the partition is read on from, as a commit or a restore has told; None before its restore is done."""
    return member.next_offsets.get(partition, member.restored_offsets.get(partition))


def _ends(
    log: Log, partitions: Sequence[TopicPartition]
) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
    """High watermarks and last stable offsets. In this order: what is committed in between must not look unstable."""
    return log.end_offsets(partitions, committed_only=False), log.end_offsets(partitions, committed_only=True)


def _times_us(log: Log, runtime: Runtime, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    """Time of the first record at or after each offset, microseconds; without those where none was found in time."""
    found: dict[TopicPartition, int] = {}
    deadline = runtime.monotonic() + _READ_SECONDS_MAX
    reader = log.reader(offsets)
    try:
        while len(found) < len(offsets) and not reader.at_end() and runtime.monotonic() < deadline:
            for record in reader.poll(len(offsets), _POLL_SECONDS):
                found.setdefault(TopicPartition(record.topic, record.partition), record.timestamp_ms * 1000)
    finally:
        reader.close()
    return found
