"""When a snapshot is taken, and why its offset is right.

The changelog is the truth; a snapshot of a partition says "these rows contain every committed record below offset L".
Who starts from it reads on from L; what is read twice leads to the same rows, for the last record of a key wins.

1. The last stable offset L of the changelog is asked. Below it every transaction has ended.
2. A transaction that *begins* after the answer, and carries this partition's offsets, commits. The group's coordinator
   has compared its generation: no other worker has owned the partition between the restore of our tables and that
   commit. So what was committed below L was there when we restored, or is ours.
3. Right after that commit was applied, without letting anything else of the event loop run, the tables are copied: the
   dictionaries only, for records do not change. Everything of ours that was committed before is in them: each commit
   is applied before the next begins, and one in doubt has its tables replaced by restored ones.
4. The copy is encoded and written on a thread of its own.

What ends an attempt: tables that are no longer those of step 1 (revoked, or rebuilt after a doubt), a change of
ownership, another changelog under the same name, tables of a transaction of which it is not known that it was applied.
The time of writing is taken before step 1: what is deleted later must still be readable in the changelog.

Not to be moved: an offset asked after the transaction of step 2 began could lie behind a commit of a later owner, which
our tables lack.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar
from weakref import WeakSet

from services.engine.local_files import LocalFiles
from services.engine.log import Log, LogError, TopicPartition
from services.engine.member import Member
from services.engine.metrics import Metrics
from services.engine.runtime import Runtime
from services.engine.snapshot_file import Rows
from services.engine.snapshot_store import Snapshot, SnapshotStore
from services.engine.state import Tables, changelog_topic

T = TypeVar("T")

LOOK_SECONDS = 1.0
CHANGES_MIN = 20_000  # with fewer, reading the changelog costs less than writing snapshots
CHANGED_SECONDS_MAX = 600.0
PROOF_SECONDS_MAX = 30.0
RETRY_SECONDS = 60.0
SWEEP_SECONDS = 600.0
STOP_SECONDS_MAX = 4.0  # of the time a worker has to stop


Part = tuple[Member, int]
"""A service and the number of a partition."""
Prove = Callable[[Sequence[Part]], Awaitable[None]]


class Attempt:
    """A snapshot that is to be: its offset is asked, then it waits for the transaction that proves it."""

    def __init__(self, member: Member, number: int, tables: Tables, epoch: int, asked_at_us: int) -> None:
        """Note what it is about, at the moment the offset is asked."""
        self.member = member
        self.number = number
        self.tables = tables
        self.asked_at_us = asked_at_us
        self.offset = -1
        """The answer; until then, -1."""
        self.changes = tables.unsaved
        """Unsaved changes when the offset was asked: so many lie below it."""
        self.copied: asyncio.Future[Rows] = asyncio.get_running_loop().create_future()
        """The rows, once they are proved."""
        self._epoch = epoch

    @property
    def place(self) -> TopicPartition:
        """Where the changes of these tables lie."""
        return TopicPartition(changelog_topic(self.member.stage.name), self.number)

    @property
    def is_current(self) -> bool:
        """Whether the tables are still the partition's, under the same ownership."""
        member, number = self.member, self.number
        return member.epoch == self._epoch and member.tables.get(number) is self.tables and member.holds(number)


class Snapshots:
    """Takes snapshots beside the rounds, one at a time. Everything but asking and writing is on the event loop."""

    def __init__(
        self, log: Log, files: LocalFiles, metrics: Metrics, runtime: Runtime, *, tombstones_kept_seconds: float
    ) -> None:
        """Bind; `follow` takes them."""
        self.store = SnapshotStore(files, metrics, runtime, tombstones_kept_seconds=tombstones_kept_seconds)
        self._log = log
        self._metrics = metrics
        self._runtime = runtime
        self._thread = runtime.executor(1, "snapshots")
        self._waiting: set[Attempt] = set()
        self._open: list[tuple[Part, Tables]] = []
        """What takes part in the transaction that is under way, or did in the last one if its end was not told."""
        self._doubtful: WeakSet[Tables] = WeakSet()
        """Tables of transactions whose end was never told: they may lack what was committed."""
        self._finishing = False
        self._given_up = False
        self._next_attempt = self._next_sweep = 0.0

    # --- called by the coordinator for every transaction

    def is_waited_for(self, member: Member, number: int) -> bool:
        """Whether a transaction should take place for this partition although it has nothing to write."""
        return any((attempt.member, attempt.number) == (member, number) for attempt in self._waiting)

    def begin(self, parts: Iterable[Part]) -> list[Attempt]:
        """Before a transaction of these parts. Answers the attempts that its commit would prove.

        Its end must be told, by `applied` or `had_no_effect`; else its tables are not believed any more.
        """
        self._doubtful.update(tables for _, tables in self._open)
        found = [((member, number), member.tables.get(number)) for member, number in parts]
        self._open = [(part, tables) for part, tables in found if tables is not None]
        taking_part = [tables for _, tables in self._open]
        return [attempt for attempt in self._waiting if attempt.tables in taking_part and self._is_sound(attempt)]

    def had_no_effect(self) -> None:
        """The transaction was certainly aborted: the tables are what they were."""
        self._open = []

    def applied(self, proved: Iterable[Attempt]) -> None:
        """The transaction was committed and applied just now; `proved` is what `begin` answered.

        It was not applied to what is being taken from us: such tables are not believed any more.
        """
        self._doubtful.update(tables for (member, number), tables in self._open if not member.holds(number))
        self._open = []
        for attempt in proved:
            if self._is_sound(attempt) and not attempt.copied.done():
                attempt.copied.set_result({kind: dict(table) for kind, table in attempt.tables.rows.items()})

    def _is_sound(self, attempt: Attempt) -> bool:
        return attempt.is_current and attempt.tables not in self._doubtful

    # --- beside the rounds

    async def follow(self, members: Sequence[Member]) -> None:
        """Take what is due, until cancelled."""
        while not self._finishing:
            await asyncio.sleep(LOOK_SECONDS)
            now = self._runtime.monotonic()
            if now >= self._next_sweep:
                self._next_sweep = now + SWEEP_SECONDS
                await self._on_thread(self.store.sweep)
            self._show_age(members)
            due = self._due(members)
            if due and now >= self._next_attempt and not await self._take(*due[0]):
                self._next_attempt = self._runtime.monotonic() + RETRY_SECONDS

    def _show_age(self, members: Sequence[Member]) -> None:
        for member in members:
            ages = [self._age_seconds(tables) for tables in member.tables.values() if tables.unsaved or tables.count()]
            self._metrics.snapshot_age.labels(member.stage.name).set(max(ages, default=0.0))

    def _age_seconds(self, tables: Tables) -> float:
        return max(0.0, (self._runtime.now_us() - tables.saved_at_us) / 1e6)

    def _due(self, members: Sequence[Member]) -> list[tuple[Member, int]]:
        """What is worth a snapshot, the most changed first.

        Written after as many changes as there are rows, so that every change costs about one row written; after ten
        minutes with any change; and before it is so old that it could not be used.
        """
        found: list[tuple[int, Member, int]] = []
        for member in [member for member in members if not member.halted]:  # which takes part in no transaction
            for number, tables in member.tables.items():
                rows, age_seconds = tables.count(), self._age_seconds(tables)
                if (
                    tables.unsaved >= max(CHANGES_MIN, rows)
                    or (tables.unsaved and age_seconds >= CHANGED_SECONDS_MAX)
                    or (rows and age_seconds >= self.store.age_seconds_max / 2)
                ):
                    found.append((tables.unsaved, member, number))
        return [(member, number) for _, member, number in sorted(found, key=lambda row: row[0], reverse=True)]

    async def _take(self, member: Member, number: int) -> bool:
        """One snapshot, from the question to the file; False when it should be tried again only after a while."""
        try:
            attempts = await self._ask([(member, number)])
        except LogError as error:
            self.store.failed(str(error))
            return False
        if not attempts or self._finishing:
            return True
        (attempt,) = attempts
        self._waiting.add(attempt)
        await self._proved(attempt)
        self._waiting.discard(attempt)
        return not attempt.copied.done() or await self._write(attempt)

    async def _proved(self, attempt: Attempt) -> None:
        deadline = self._runtime.monotonic() + PROOF_SECONDS_MAX
        while attempt in self._waiting and not attempt.copied.done() and attempt.is_current:
            if self._runtime.monotonic() > deadline:
                return
            await asyncio.wait([attempt.copied], timeout=LOOK_SECONDS)

    async def _ask(self, wanted: Sequence[Part]) -> list[Attempt]:
        """Ask for the offsets; what changed hands meanwhile is left out. Raises LogError."""
        asked_at_us = self._runtime.now_us()
        attempts = [
            Attempt(member, number, member.tables[number], member.epoch, asked_at_us) for member, number in wanted
        ]
        ids, ends = await self._on_thread(partial(_ids_and_ends, self._log, [attempt.place for attempt in attempts]))
        for attempt in attempts:
            topic = attempt.place.topic
            if attempt.tables.changelog_id != ids[topic]:
                raise LogError(f"topic {topic} was created anew under a running worker; restart the worker")
            attempt.offset = ends[attempt.place]
        return [attempt for attempt in attempts if attempt.is_current]

    async def _write(self, attempt: Attempt, *, hurry: bool = False) -> bool:
        service, tables, rows = attempt.member.stage.name, attempt.tables, attempt.copied.result()
        snapshot = Snapshot(service, attempt.number, rows, tables.changelog_id, attempt.offset, attempt.asked_at_us)
        save = partial(self.store.save, snapshot, lambda: self._given_up, hurry=hurry)
        if not await self._on_thread(save):
            return False
        tables.unsaved -= attempt.changes
        tables.saved_at_us = attempt.asked_at_us
        return True

    async def _on_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    # --- the end

    async def finish(self, members: Sequence[Member], prove: Prove) -> None:
        """After the last round, before the groups are left: save what changed, as far as there is time.

        `prove` makes one transaction with the offsets of these partitions and nothing else. It is never asked for a
        partition whose tables, and so whose offsets, may be behind what was committed.
        """
        self._finishing = True
        self._waiting.clear()
        unsettled = [tables for _, tables in self._open]
        changed = [
            (tables.unsaved, member, number)
            for member in members
            for number, tables in member.tables.items()
            if tables.unsaved and tables not in self._doubtful and tables not in unsettled
        ]
        if not changed:
            return
        wanted = [(member, number) for _, member, number in sorted(changed, key=lambda row: row[0], reverse=True)]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS_MAX):
                await self._finish(wanted, prove)

    async def _finish(self, wanted: Sequence[Part], prove: Prove) -> None:
        try:
            attempts = await self._ask(wanted)
            self._waiting.update(attempts)
            await prove([(attempt.member, attempt.number) for attempt in attempts])
        except LogError as error:  # whoever stops has done its work: not even being fenced is a reason to fail now
            self.store.failed(str(error))
            return
        for attempt in attempts:
            if attempt.copied.done() and not await self._write(attempt, hurry=True):
                return

    def close(self) -> None:
        """Give up what is being written; the file before it stays."""
        self._given_up = True
        self._thread.shutdown(wait=False)


def _ids_and_ends(log: Log, places: Sequence[TopicPartition]) -> tuple[dict[str, str], dict[TopicPartition, int]]:
    # In this order: an offset of a changelog that was created anew in between must not go with the new one's id.
    ids = {topic: log.topic_id(topic) for topic in {place.topic for place in places}}
    return ids, log.end_offsets(places, committed_only=True)
