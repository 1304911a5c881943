"""Runs the rounds: gather what was polled, let the agents process it, make it durable in one transaction.

Everything that changes ownership or state happens here, between two rounds, on the event loop. The polling threads only
fetch and wait; restores run beside and report back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, Protocol, TypeVar

import structlog

from services.engine.assignments import Assignments
from services.engine.codec import TopicCodec
from services.engine.commits import COMMITTED, IN_DOUBT, Commits
from services.engine.in_flight import InFlight, release, rewind
from services.engine.lag import LagMeter
from services.engine.log import GroupMetadata, Log, LogRecord, TopicPartition
from services.engine.member import HostedService, Member, Polled, Rebalance
from services.engine.metrics import Metrics
from services.engine.outage import NotAwaited, Patience
from services.engine.protection import Protection
from services.engine.proving import Claim, Prover
from services.engine.pulse import Pulse
from services.engine.recovery import Recovery, RestoreCancelled
from services.engine.reference import ReferenceFeed
from services.engine.restoring import Restored, Restorer
from services.engine.rounds import Work, by_number
from services.engine.runtime import Runtime
from services.engine.snapshots import Part, Snapshots
from services.engine.state import Overlay
from services.engine.work import Batch

T = TypeVar("T")
log_event = structlog.get_logger("posttrade.engine")

POLL_SECONDS = 0.25
TICK_SECONDS = 1.0
STOP_SECONDS_MAX = 10.0
WAKE_UP = None
"""Posted when the outcome of the transaction on its way is there, and when the worker is to stop."""
FAILING_SECONDS_MAX = 30.0
"""For so long a service's transactions may fail, one after the other, before the worker is not ready."""


class Agents(Protocol):
    """Who processes batches: one agent for each (service, partition) that is ours."""

    async def deliver(self, service: str, partition: int, batch: Batch) -> None:
        """Put a batch before its agent; `batch.finished` tells when it is processed."""
        ...

    async def announce(self, partitions: set[tuple[str, int]]) -> None:
        """These, and no others, are ours and restored."""
        ...


class Coordinator:
    """The heart of a worker."""

    def __init__(  # noqa: PLR0913  # the parts of a worker, each by its name
        self,
        *,
        log: Log,
        services: Sequence[HostedService],
        codec: TopicCodec,
        reference: ReferenceFeed,
        metrics: Metrics,
        transactional_id: str,
        agents: Agents,
        runtime: Runtime,
        snapshots: Snapshots,
        protection: Protection,
    ) -> None:
        """Bind everything; `run` starts it."""
        self._log = log
        self._codec = codec
        self._reference = reference
        self._metrics = metrics
        self._agents = agents
        self._runtime = runtime
        self._services = tuple(services)
        self._members: list[Member] = []
        self._inbox: asyncio.Queue[Any] = asyncio.Queue()
        # A restore may wait long for a dead worker's transaction, and one that was overtaken ends a little after the
        # next has begun: room for two of each service, so that none waits behind another's.
        self._threads = runtime.executor(2 * len(services) + 2, "engine")
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._finished = asyncio.Event()
        self._snapshots = snapshots
        recovery = Recovery(log, snapshots.store, metrics, runtime)
        self._patience = Patience(runtime, lambda: self._stopping)
        self._pulse = Pulse(runtime, self._patience)
        self._assignments = Assignments(metrics, runtime, prefix=log.prefix)
        self._restorer = Restorer(log, recovery, runtime, self._patience, self._is_restoring_in_vain)
        self._commits = Commits(
            log, transactional_id, runtime=runtime, patience=self._patience, metrics=metrics, awaited=self._awaited
        )
        self._prover = Prover(runtime)
        self._protection = protection
        self._in_flight = InFlight(
            self._commits, snapshots=snapshots, prover=self._prover, protection=protection, metrics=metrics,
            runtime=runtime, rebuild=self._rebuild,
        )  # fmt: skip
        self._next_tick = 0.0
        self.turned_at = runtime.monotonic()
        """When the loop last turned; the liveness probe looks at it."""

    # --- life

    async def run(self) -> None:
        """Work until `stop`. Raises what must end the worker: Fenced, unreadable state, trouble that does not pass."""
        loop = asyncio.get_running_loop()

        def post(item: Any) -> None:
            loop.call_soon_threadsafe(self._inbox.put_nowait, item)

        try:
            await self._prepare_start(post)
            ask = partial(self._ask, "lag")
            lag = LagMeter(self._members, self._metrics, self._log, self._runtime, ask, self._assignments)
            background = [self._reference.follow(), lag.follow(), self._snapshots.follow(self._members)]
            self._tasks |= {asyncio.create_task(self._watch(task)) for task in background}
            self._tasks |= {asyncio.create_task(self._watch(m.poll_forever(POLL_SECONDS))) for m in self._members}
            while not self._stopping:
                await self._turn()
            await self._in_flight.land()
            await self._snapshots.finish(self._members, self._prove)
        except NotAwaited:
            log_event.info("stopped while the log was away; what it did not answer is asked at the next start")
        finally:
            await self._shut_down()
            self._finished.set()

    async def _prepare_start(self, post: Callable[[Any], None]) -> None:
        """Everything that must be there before the first poll; waits while the log is away."""
        await self._ask("reference data", self._reference.load, self._pulse.went_on)
        self._metrics.reference_records.set(self._reference.count)
        await self._commits.open()
        for service in self._services:
            name = service.stage.name
            self._members.append(await self._ask(f"topics of {name}", Member, service, self._log, self._runtime, post))
            self._assignments.expect(name, service.inputs)

    async def stop(self) -> None:
        """Finish the round, leave the groups, release everything; returns when done."""
        self._stopping = True
        self._inbox.put_nowait(WAKE_UP)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._finished.wait(), STOP_SECONDS_MAX)

    async def _watch(self, coroutine: Any) -> None:
        """Carry an error of a background task to the main loop, which ends the worker with it."""
        try:
            await coroutine
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  # raised again by `_turn`
            self._inbox.put_nowait(error)

    async def _shut_down(self) -> None:
        self._stopping = True  # also after an error: it is what cancels restores
        for member in self._members:
            member.stopping = True
        self._reference.stop()
        await self._in_flight.abandon(STOP_SECONDS_MAX)
        leaving = {asyncio.create_task(member.leave()) for member in self._members}
        deadline = self._runtime.monotonic() + STOP_SECONDS_MAX
        while leaving and self._runtime.monotonic() < deadline:
            self._release_waiting()
            _, leaving = await asyncio.wait(leaving, timeout=0.05)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._commits.close()
        self._snapshots.close()
        self._threads.shutdown(wait=False)

    def _release_waiting(self) -> None:
        """Let polling threads go whose batches or rebalances nobody will look at any more."""
        while not self._inbox.empty():
            item = self._inbox.get_nowait()
            if isinstance(item, Polled):
                release([item])
            elif isinstance(item, Rebalance) and not item.done.done():
                item.done.set_result(None)

    async def _ask(self, what: str, function: Callable[..., T], *arguments: Any) -> T:
        """The log's answer to a question, on a thread; waits while the log is away."""
        return await self._on_thread(self._patience.ask, what, partial(function, *arguments))

    async def _on_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        return await self._awaited(self._threads, function, *arguments)

    async def _awaited(self, threads: Executor, function: Callable[..., T], *arguments: Any) -> T:
        """The result of a call on a thread. However long it takes, the loop turns meanwhile and the worker is live."""
        future = asyncio.get_running_loop().run_in_executor(threads, function, *arguments)
        future.add_done_callback(_note_end)  # whoever awaited it may be gone by then
        long = threads is self._threads  # restores; what the commit thread does is over in seconds, or in an outage
        with self._pulse.call("restore or question" if long else "transaction", may_take_long=long):
            while not (await asyncio.wait({future}, timeout=TICK_SECONDS))[0]:
                self.turned_at = self._runtime.monotonic()
                self._pulse.remind(self._members)
        return future.result()

    # --- one turn

    async def _turn(self) -> None:
        items = await self._gather()
        self.turned_at = self._runtime.monotonic()
        if not self._in_flight:
            self._pulse.turn()
        try:
            await self._handle(items)
        except BaseException:
            for item in items:  # polling threads may wait for an answer: `_release_waiting` gives it
                self._inbox.put_nowait(item)
            raise

    async def _handle(self, items: Sequence[Any]) -> None:
        """Above a transaction on its way only records and what is due are taken up; all else waits for its outcome."""
        due = self._runtime.monotonic() >= self._next_tick or self._reference.take_changed()
        polled: list[Polled] = [item for item in items if isinstance(item, Polled)]
        others = [item for item in items if item is not WAKE_UP and not isinstance(item, Polled)]
        if others or self._in_flight.is_over or (due and self._prover.claims(self._members)):
            await self._land()
        for item in others:
            if isinstance(item, Exception):
                raise item
            if isinstance(item, Rebalance):
                await self._rebalance(item)
            elif isinstance(item, Restored):
                self._prover.add(item)
                if item.is_current:
                    item.member.restored_offsets.update(item.offsets)
        if self._stopping:
            release(polled)
            return
        if not self._in_flight:
            for claim in self._prover.claims(self._members):
                await self._prove_ownership(claim)
        await self._round([item for item in polled if item.is_current], due=due)
        release(item for item in polled if not self._in_flight.holds(item))

    async def _land(self) -> bool:
        """Enter the outcome of the transaction on its way; whether what was decided since can stand."""
        was_on_its_way = bool(self._in_flight)
        is_true = await self._in_flight.land()
        if was_on_its_way:
            self._pulse.turn()
        return is_true

    async def _gather(self) -> list[Any]:
        """Everything that is waiting; when nothing is, wait for the first item or the next tick."""
        items: list[Any] = []
        wait_seconds = self._prover.wait_seconds(max(0.0, self._next_tick - self._runtime.monotonic()))
        with contextlib.suppress(TimeoutError):
            items.append(await asyncio.wait_for(self._inbox.get(), wait_seconds))
        while not self._inbox.empty():
            items.append(self._inbox.get_nowait())
        return items

    # --- ownership

    async def _rebalance(self, rebalance: Rebalance) -> None:
        member = rebalance.member
        new = member.take(rebalance)
        self._assignments.changed(member.stage.name, is_assigned=rebalance.assigned or bool(member.owned))
        self._metrics.rebalances.labels(member.stage.name).inc()
        change = "assigned" if rebalance.assigned else "revoked"
        log_event.info("partitions changed", service=member.stage.name, change=change, owned=sorted(member.owned))
        await self._announce()
        rebalance.done.set_result(None)
        if new:
            task = asyncio.create_task(self._watch(self._restore(member, new, member.epoch)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _is_restoring_in_vain(self) -> bool:
        """From a restore, at every step of it."""
        self._pulse.went_on()
        return self._stopping

    async def _restore(self, member: Member, numbers: list[int], epoch: int) -> None:
        with contextlib.suppress(RestoreCancelled):
            restored = await self._on_thread(self._restorer.restore, member, numbers, epoch)
            self._inbox.put_nowait(restored)

    async def _prove_ownership(self, claim: Claim) -> None:
        """Commit what `services.engine.proving` asks for; what was restored is processed from then on."""
        outcome = await self._commits.commit(claim.records, claim.groups)
        if outcome != COMMITTED:
            self._prover.failed(claim)
            if outcome == IN_DOUBT and claim.restored is None:  # it may have moved the offsets of what is at work
                await self._rebuild([(claim.member, number) for number in claim.numbers])
            return
        self._prover.succeeded(claim)
        if claim.restored is not None:
            await self._install(claim.restored)

    async def _install(self, restored: Restored) -> None:
        member = restored.member
        member.tables.update(restored.tables)
        member.next_offsets.update(restored.offsets)
        rows = sum(tables.count() for tables in restored.tables.values())
        self._metrics.restore_seconds.labels(member.stage.name).observe(restored.seconds)
        log_event.info(
            "state restored", service=member.stage.name, partitions=sorted(restored.tables), rows=rows,
            seconds=round(restored.seconds, 3),
        )  # fmt: skip
        await self._announce()
        member.resume_soon(restored.tables)

    async def _announce(self) -> None:
        ready = {(member.stage.name, number) for member in self._members for number in member.tables}
        for member in self._members:
            self._metrics.owned_partitions.labels(member.stage.name).set(len(member.tables))
            self._protection.count_waiting(member)
        await self._agents.announce(ready)

    @property
    def ready(self) -> bool:
        """Whether the log answers, rounds take no longer than they may, and every service has an assignment.

        And has restored and proved what is assigned to it, is not halted, and its transactions do not fail all the
        time.
        """
        if len(self._members) < len(self._services) or self._prover.is_failing or self._patience.waits_for:
            return False
        return not self._pulse.is_slow and all(
            not self._assignments.lacks(member.stage.name)
            and member.owned == member.tables.keys()
            and not member.halted
            and not self._is_failing(member)
            for member in self._members
        )

    def _is_failing(self, member: Member) -> bool:
        since = member.failing_since
        return since is not None and self._runtime.monotonic() - since > FAILING_SECONDS_MAX

    @property
    def is_stuck(self) -> bool:
        """Whether a call does not return, although the log is not known to be away; see `services.engine.pulse`."""
        return bool(self._pulse.stuck(self._members))

    @property
    def halted(self) -> list[str]:
        """Services that stand still because too many of their records failed."""
        return self._protection.halted

    # --- the round

    async def _round(self, polled: Sequence[Polled], *, due: bool) -> None:
        if due:
            self._next_tick = self._runtime.monotonic() + TICK_SECONDS
            self._metrics.reference_records.set(self._reference.count)
            self._protection.remind()
            self._assignments.remind()
            self._pulse.remind(self._members)
        works = self._prepare([item for item in polled if not item.member.halted], due=due)
        if not works:
            return
        await asyncio.gather(*(self._process(work) for work in works))
        for work in works:
            if work.batch.failure is not None:
                raise work.batch.failure
        if not any(self._matters(work) for work in works):  # nothing was due, as in nearly every second
            self._admitted(works)
            return
        if not await self._land():  # what these were decided on is not true
            rewind(works)
            return
        await self._depart(works, polled)

    async def _depart(self, works: Sequence[Work], polled: Sequence[Polled] = ()) -> None:
        """Send what was decided on its way, as far as there is anything to write."""
        for work in works:
            work.batch.overlay.settle()
        lasting = [work for work in self._admitted(works) if self._lasts(work)]
        if lasting:
            self._in_flight.start(lasting, polled, lambda: self._inbox.put_nowait(WAKE_UP))

    def _lasts(self, work: Work) -> bool:
        """Whether it is to be made durable. A partition whose snapshot waits for a proof may have nothing to write."""
        batch = work.batch
        return bool(batch.records or batch.result) or self._snapshots.is_waited_for(work.member, batch.partition)

    def _matters(self, work: Work) -> bool:
        """Whether anything came of it, be it that time-driven work failed."""
        return self._lasts(work) or work.batch.on_time_failure is not None

    def _admitted(self, works: Sequence[Work]) -> list[Work]:
        """What may be made durable; a service of which too many records failed stops where it is."""
        halted = self._protection.admit([(work.member.stage.name, work.batch) for work in works])
        for work in works:
            work.member.halted |= work.member.stage.name in halted
        return [work for work in works if not work.member.halted]

    def _prepare(self, polled: Sequence[Polled], *, due: bool) -> list[Work]:
        now_us = self._runtime.now_us()
        fetched: dict[tuple[Member, int], tuple[list[LogRecord], GroupMetadata]] = {}
        for item in polled:
            for number, records in by_number(item.records).items():
                if number in item.member.tables:  # else no longer ours: another worker may be processing it
                    earlier, _ = fetched.get((item.member, number), ([], None))
                    fetched[item.member, number] = (earlier + records if earlier else records, item.metadata)
        works = [
            self._work(member, number, records, metadata, now_us, due=due)
            for (member, number), (records, metadata) in fetched.items()
        ]
        if due:
            for member in [member for member in self._members if not member.halted]:
                idle = [number for number in sorted(member.tables) if (member, number) not in fetched]
                membership = member.metadata
                if idle and membership is not None:
                    works += [self._work(member, number, [], membership, now_us, due=True) for number in idle]
        return works

    def _work(
        self,
        member: Member,
        number: int,
        records: Sequence[LogRecord],
        metadata: GroupMetadata,
        now_us: int,
        *,
        due: bool,
    ) -> Work:
        batch = Batch(
            stage=member.stage,
            partition=number,
            records=records,
            overlay=Overlay(member.tables[number], self._reference.data, self._in_flight.overlay_of(member, number)),
            codec=self._codec,
            now_us=now_us,
            due=due,
            monotonic=self._runtime.monotonic,
        )
        # Work that is due without new records still carries offsets: they are what the group's generation is checked
        # by.
        offsets = self._in_flight.offsets_of(member, number)
        ends = {record.topic: record.offset + 1 for record in records}
        self._protection.watch(member.stage.name, batch, offsets, ends)
        offsets.update({TopicPartition(topic, number): end for topic, end in ends.items()})
        return Work(member, batch, offsets, metadata)

    async def _process(self, work: Work) -> None:
        await self._agents.deliver(work.member.stage.name, work.batch.partition, work.batch)
        await work.batch.finished.wait()
        if work.batch.records:
            work.member.adapt(len(work.batch.records), work.batch.seconds)
            self._metrics.batch_seconds.labels(work.member.stage.name).observe(work.batch.seconds)

    async def _prove(self, parts: Sequence[Part]) -> None:
        """Commit an empty transaction: it shows that these partitions are still ours (`services.engine.snapshots`)."""
        works: list[Work] = []
        for member, number in parts:
            membership = member.metadata
            if membership is not None:
                works.append(self._work(member, number, [], membership, self._runtime.now_us(), due=False))
                works[-1].batch.process()
        await self._depart(works)
        await self._in_flight.land()

    async def _rebuild(self, parts: Sequence[Part]) -> None:
        """Only the log knows: rebuild the state of everything that took part, and read on from what is committed."""
        await asyncio.gather(*(self._rebuild_one(member, number) for member, number in parts if member.holds(number)))
        for member, _ in parts:
            member.rewind_due = True

    async def _rebuild_one(self, member: Member, number: int) -> None:
        with contextlib.suppress(RestoreCancelled):  # taken from us, or all stops
            restored = await self._on_thread(self._restorer.restore, member, [number], member.epoch)
            member.tables.update(restored.tables)
            member.next_offsets.update(restored.offsets)


def _note_end(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
