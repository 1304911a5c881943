"""The transaction on its way: what one round decided becomes durable while the next round is decided.

At most one. Nothing of the next round leaves the worker before this one is known to be committed: its overlays lie on
top of those here, and when this one fails it is dropped and read again (docs/decisions/0018). Whatever else the
coordinator does, ownership, restores, proofs, what is due, it does after `land`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from services.engine.commits import ABORTED, COMMITTED, IN_DOUBT, Commits
from services.engine.log import TopicPartition
from services.engine.member import Member, Polled
from services.engine.metrics import Metrics
from services.engine.protection import Protection
from services.engine.proving import Prover
from services.engine.rounds import Work, group_offsets
from services.engine.runtime import Runtime
from services.engine.snapshots import Attempt, Part, Snapshots
from services.engine.starting import apply_progress, progress_records
from services.engine.state import Overlay, Progress

RETRY_SECONDS = 0.2

Rebuild = Callable[[Sequence[Part]], Awaitable[None]]
"""Replaces the tables of these by what the log holds."""


@dataclass(frozen=True)
class _Flight:
    works: Sequence[Work]
    polled: Sequence[Polled]
    progress: Sequence[dict[int, Progress]]
    """Of each work."""
    proved: Sequence[Attempt]
    outcome: asyncio.Task[str]


class InFlight:
    """Holds it, and enters its outcome. Belongs to the coordinator, on the event loop."""

    def __init__(
        self,
        commits: Commits,
        *,
        snapshots: Snapshots,
        prover: Prover,
        protection: Protection,
        metrics: Metrics,
        runtime: Runtime,
        rebuild: Rebuild,
    ) -> None:
        """Nothing is on its way."""
        self._commits = commits
        self._snapshots = snapshots
        self._prover = prover
        self._protection = protection
        self._metrics = metrics
        self._runtime = runtime
        self._rebuild = rebuild
        self._flight: _Flight | None = None

    def __bool__(self) -> bool:
        """Whether there is one."""
        return self._flight is not None

    @property
    def is_over(self) -> bool:
        """Whether its outcome is there and not yet entered."""
        return self._flight is not None and self._flight.outcome.done()

    def holds(self, polled: Polled) -> bool:
        """Whether this is waited for by the one on its way."""
        return self._flight is not None and polled in self._flight.polled

    def overlay_of(self, member: Member, number: int) -> Overlay | None:
        """What it changes in the state of a partition."""
        work = self._work_of(member, number)
        return None if work is None else work.batch.overlay

    def offsets_of(self, member: Member, number: int) -> dict[TopicPartition, int]:
        """Where each input of a partition goes on, once it is committed."""
        work = self._work_of(member, number)
        return member.offsets_of(number) if work is None else dict(work.offsets)

    def _work_of(self, member: Member, number: int) -> Work | None:
        works = () if self._flight is None else self._flight.works
        return next((work for work in works if work.member is member and work.batch.partition == number), None)

    def start(self, works: Sequence[Work], polled: Sequence[Polled], ended: Callable[[], None]) -> None:
        """Begin to make these durable. `ended` is called when the outcome is there; `land` enters it, and must be."""
        assert self._flight is None, "one transaction at a time"
        progress = [dict(work.progress) for work in works]
        records = [record for work in works if work.batch.result for record in work.batch.result.records]
        for work, rows in zip(works, progress, strict=True):
            records += progress_records(work.member.stage.name, rows)
        proved = self._snapshots.begin([(work.member, work.batch.partition) for work in works])
        outcome = asyncio.create_task(self._commits.commit(records, group_offsets(works)))

        def note_end(outcome: asyncio.Task[str]) -> None:
            # A round may be under way that takes longer: what the members fetch meanwhile is there when it ends.
            if not outcome.cancelled() and outcome.exception() is None and outcome.result() == COMMITTED:
                for item in polled:
                    item.durable.set()
            ended()

        outcome.add_done_callback(note_end)
        self._flight = _Flight(works, polled, progress, proved, outcome)

    async def land(self) -> bool:
        """Wait for the outcome and enter it; whether what was decided since can stand. Raises what ends the worker."""
        flight = self._flight
        if flight is None:
            return True
        outcome = await flight.outcome
        self._flight = None
        try:
            await self._enter(flight, outcome)
        finally:
            release(flight.polled)
        return outcome == COMMITTED

    async def _enter(self, flight: _Flight, outcome: str) -> None:
        if outcome == ABORTED:
            self._snapshots.had_no_effect()
            rewind(flight.works)
            await asyncio.sleep(RETRY_SECONDS)
        elif outcome == IN_DOUBT:
            await self._rebuild([(work.member, work.batch.partition) for work in flight.works])
        else:
            self._apply(flight)
            self._snapshots.applied(flight.proved)
        for member in {work.member for work in flight.works if work.batch.records}:
            member.note_transaction(committed=outcome == COMMITTED)

    def _apply(self, flight: _Flight) -> None:
        """The commit has returned: what was decided is now true."""
        now_us = self._runtime.now_us()
        for work, progress in zip(flight.works, flight.progress, strict=True):
            member, batch = work.member, work.batch
            assert batch.result is not None
            if member.holds(batch.partition):  # else it is the new owner's to know
                member.tables[batch.partition].apply(batch.overlay.changes())
                apply_progress(member.tables, progress)
                self._prover.note(member, [batch.partition])
                self._protection.committed(member, batch)
                member.next_offsets.update(work.offsets)
            self._metrics.count(member.stage.name, batch.result.tally, now_us=now_us)

    async def abandon(self, seconds_max: float) -> None:
        """The worker ends because of something else: see the call out."""
        flight, self._flight = self._flight, None
        if flight is not None:
            await asyncio.wait({flight.outcome}, timeout=seconds_max)
            if flight.outcome.done() and not flight.outcome.cancelled():
                flight.outcome.exception()  # looked at: what ends the worker is known already


def release(polled: Iterable[Polled]) -> None:
    """Let the members poll on."""
    for item in polled:
        item.durable.set()
        item.done.set()


def rewind(works: Iterable[Work]) -> None:
    """Nothing of these was committed: their members read the same records again."""
    for work in works:
        if work.batch.records:
            work.member.rewind_due = True
