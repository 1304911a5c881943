"""Exactly once, whatever breaks: one worker, its faults and its end. Rebalances are in test_rebalance."""

from __future__ import annotations

import asyncio
import threading

import pytest

from services.adapters.memory_log import MemoryLog
from services.engine import coordinator
from services.engine.log import AbortRequired, Fenced, LogError, OutgoingRecord, TopicPartition
from services.engine.member import BATCH_RECORDS_MAX, CoPartitioningBroken, HostedService
from services.engine.state import StateError
from services.engine.work import Batch
from services.stage import Outcome, State
from tests.engine.harness import (
    ABORT,
    SLOW,
    UNKNOWN,
    UNKNOWN_BUT_DONE,
    FaultyLog,
    Worker,
    check_counting,
    check_joining,
    committed,
    count,
    running,
    start_worker,
    until,
)
from tests.support.engine_stages import PARTITIONS, TOPICS, CountingStage, counting, half, joining, said

KEYS = [f"key-{number}" for number in range(6)]


def say(log: MemoryLog, start: int, stop: int) -> None:
    """Numbers from start to stop, dealt out to the keys."""
    log.send(said(KEYS[number % len(KEYS)], number) for number in range(start, stop))


async def test_a_restart_goes_on_exactly_where_the_last_worker_stopped() -> None:
    """State, outputs and offsets are one: a worker that comes later counts on."""
    log = FaultyLog()
    say(log, 0, 100)
    async with running(log, counting()) as worker:
        await until(log, lambda: count(log, "counted") >= 40, worker)
    say(log, 100, 200)
    async with running(log, counting(), slot=1) as worker:
        await until(log, lambda: count(log, "counted") >= 200, worker)
    check_counting(log)


_FAULTS = [
    *[
        {(step, n): kind}
        for step in ("begin", "produce", "send_offsets", "commit")
        for kind in (ABORT, UNKNOWN)
        for n in (1, 3)
    ],
    *[{(step, n): UNKNOWN_BUT_DONE} for step in ("begin", "produce", "send_offsets", "commit") for n in (1, 3)],
    *[{("commit", n): ABORT, ("abort", n): kind} for kind in (ABORT, UNKNOWN, UNKNOWN_BUT_DONE) for n in (1, 3)],
    {("commit", 1): UNKNOWN, ("commit", 2): UNKNOWN_BUT_DONE, ("commit", 3): ABORT, ("commit", 4): UNKNOWN},
    {("produce", n): SLOW for n in range(1, 4)},
    {("commit", n): SLOW for n in range(1, 4)},
]


@pytest.mark.parametrize("faults", _FAULTS, ids=str)
async def test_a_fault_at_any_step_loses_and_doubles_nothing(faults: dict[tuple[str, int], str]) -> None:
    """The table of everything a producer may answer, at the first and at a later transaction."""
    log = FaultyLog(faults)
    async with running(log, counting()) as worker:
        for start in range(
            0, 120, 30
        ):  # several transactions; the next may overtake the faulty one as prefetched batch
            say(log, start, start + 30)
            await until(log, lambda start=start: count(log, "counted") >= start + 15, worker)  # type: ignore[misc]
        await until(log, lambda: count(log, "counted") >= 120, worker)
    assert log.faults == {}, "a fault was not met"
    check_counting(log)


async def test_faults_in_every_second_transaction_are_survived() -> None:
    """Safety and liveness when nearly nothing works: doubt with and without effect, refusals, all mixed."""
    kinds = [
        ("commit", UNKNOWN_BUT_DONE),
        ("send_offsets", ABORT),
        ("commit", UNKNOWN),
        ("produce", UNKNOWN),
        ("commit", ABORT),
    ]
    log = FaultyLog({(kinds[n % 5][0], 2 * n + 1): kinds[n % 5][1] for n in range(20)})
    async with running(log, counting(), joining()) as worker:
        for number in range(60):
            say(log, number * 5, number * 5 + 5)
            log.send([half("left", str(number)), half("right", str(number))])
            await until(log, lambda number=number: count(log, "counted") >= number * 3, worker)  # type: ignore[misc]
        await until(log, lambda: count(log, "counted") >= 300 and count(log, "joined") >= 60, worker)
    check_counting(log)
    check_joining(log)


async def test_counters_tell_what_was_committed_and_not_what_was_tried() -> None:
    """A rate that counts aborted work lies exactly when somebody looks at it."""
    log = FaultyLog({("commit", 1): ABORT, ("commit", 2): ABORT})
    say(log, 0, 50)
    async with running(log, counting()) as worker:
        await until(log, lambda: count(log, "counted") >= 50, worker)
        await until(log, lambda: _sample(worker, "posttrade_records_consumed_total", service="counting") == 50, worker)
    assert _sample(worker, "posttrade_records_produced_total", service="counting", topic="counted") == 50
    assert _sample(worker, "posttrade_transactions_total", result="aborted") == 2


def _sample(worker: Worker, name: str, **labels: str) -> float | None:
    return worker.metrics.registry.get_sample_value(name, labels)


async def test_lag_comes_to_zero_and_shows_what_is_not_processed() -> None:
    """Lag that never is 0 teaches people to ignore it; lag that is always 0 hides an outage."""
    log = FaultyLog()
    gate = threading.Event()
    say(log, 0, 30)

    def hold(step: str, number: int) -> None:
        if step == "commit":
            assert gate.wait(10)

    log.hook = hold
    async with running(log, counting()) as worker:
        say(log, 30, 60)
        lag = "posttrade_lag_records"
        await until(log, lambda: log.begun > 0, worker)
        say(log, 60, 100)
        gate.set()
        await until(log, lambda: count(log, "counted") >= 100, worker)
        await until(log, lambda: _sample(worker, lag, service="counting", topic="said") == 0, worker)
        await until(log, lambda: _sample(worker, "posttrade_state_rows", service="counting") == len(KEYS), worker)


# --- the end of a worker


async def test_a_stop_in_the_middle_of_a_commit_finishes_it_and_then_leaves() -> None:
    """A deployment must neither double nor lose the round that was under way."""
    log = FaultyLog()
    reached, release = threading.Event(), threading.Event()

    def hold(step: str, number: int) -> None:
        if step == "commit" and number == 2:  # the first proves the ownership
            reached.set()
            assert release.wait(10)

    log.hook = hold
    say(log, 0, 40)
    worker = start_worker(log, counting())
    await asyncio.to_thread(reached.wait, 10)
    stopping = asyncio.create_task(worker.end())
    await asyncio.sleep(0)
    release.set()
    await stopping
    assert count(log, "counted") > 0
    async with running(log, counting(), slot=1) as other:
        await until(log, lambda: count(log, "counted") >= 40, other)
    check_counting(log)


@pytest.mark.parametrize("turns", [0, 1, 3, 10, 30])
async def test_a_stop_at_any_moment_of_the_start_leaves_the_group(turns: int) -> None:
    """A worker that is stopped while it joins must not keep partitions that nobody then processes."""
    log = FaultyLog()
    say(log, 0, 20)
    worker = start_worker(log, counting(), joining())
    for _ in range(turns):
        await asyncio.sleep(0)
    await worker.end()
    async with running(log, counting(), slot=1) as other:
        await until(log, lambda: count(log, "counted") >= 20, other)
    check_counting(log)


async def test_a_worker_whose_slot_was_taken_over_ends_with_fenced() -> None:
    """Two processes with one identity: the older must go, or they would abort each other for ever."""
    log = FaultyLog()
    worker = start_worker(log, counting())
    await until(log, lambda: worker.coordinator.ready, worker)
    newer = log.producer("worker.0")
    say(log, 0, 10)
    assert isinstance(await worker.failed(), Fenced)
    assert count(log, "counted") == 0
    newer.close()


async def test_a_changelog_row_nobody_understands_ends_the_worker() -> None:
    """Processing with half a memory would double instructions; a loud end does not."""
    log = FaultyLog()
    log.send([OutgoingRecord("state.counting", b"Unheard/key", b"{}", (), 2)])
    worker = start_worker(log, counting())
    error = await worker.failed()
    assert isinstance(error, StateError)
    assert "Unheard" in str(error)


async def test_inputs_with_different_partition_counts_are_refused_at_the_start() -> None:
    """A join would silently miss."""
    log = FaultyLog(topics=dict(TOPICS) | {"right": 3})
    error = await start_worker(log, joining()).failed()
    assert isinstance(error, CoPartitioningBroken)
    assert "right has 3" in str(error)


async def test_a_missing_output_topic_is_found_at_the_start() -> None:
    """Not with the first record, hours later."""
    log = FaultyLog(topics={name: n for name, n in TOPICS.items() if name != "counted"})
    assert "counted" in str(await start_worker(log, counting()).failed())


class _DuePanics(CountingStage):
    is_mended = False

    def on_time(self, state: State, now_us: int) -> list[Outcome]:
        if not self.is_mended:
            raise RuntimeError("due work failed")
        return []


async def test_due_work_that_raises_is_shown_and_asked_again_while_records_go_on() -> None:
    """`on_time` has no input that could be put aside; a worker that ended with it would end again at each start."""
    log, stage = FaultyLog(), _DuePanics()
    say(log, 0, 10)
    async with running(log, HostedService(stage, ("said",), ("counted",))) as worker:
        value = worker.metrics.registry.get_sample_value

        def failing() -> float | None:
            return value("posttrade_on_time_failing", {"service": "counting"})

        await until(log, lambda: count(log, "counted") >= 10 and failing() == PARTITIONS, worker)
        assert (value("posttrade_on_time_failures_total", {"service": "counting"}) or 0) >= PARTITIONS
        stage.is_mended = True
        await until(log, lambda: failing() == 0, worker)
    check_counting(log)


async def test_a_fatal_error_does_not_wait_for_a_rebalance_that_nobody_answers() -> None:
    """The polling thread waits for the coordinator inside a rebalance; when that has died, the end must still come."""
    log = _LopsidedLog(TOPICS)
    loop = asyncio.get_running_loop()
    started = loop.time()
    error = await start_worker(log, joining()).failed()
    assert isinstance(error, CoPartitioningBroken)
    assert loop.time() - started < 5


class _LopsidedLog(MemoryLog):
    """Hands out partitions of two topics that do not belong together."""

    def consumer(self, group: str, topics, listener):  # type: ignore[no-untyped-def]
        member = super().consumer(group, topics, listener)
        assert member._offered is not None
        partitions, generation = member._offered
        member.offer(tuple(p for p in partitions if p != TopicPartition("right", 2)), generation)
        return member


async def test_an_end_does_not_wait_for_a_restore() -> None:
    """A dead worker's transaction can hold a restore for half a minute; the end of this one must not wait for it."""
    log = FaultyLog()
    dead = log.producer("dead")
    dead.begin()
    dead.produce([OutgoingRecord("state.counting", b"Count/a", b"{}", (), 0)])
    log.send([OutgoingRecord("state.joining", b"Unheard/a", b"{}", (), 0)])  # ends the worker while the other restores
    before = threading.active_count()
    assert isinstance(await start_worker(log, counting(), joining()).failed(), StateError)
    await until(log, lambda: threading.active_count() <= before + 2)  # the waits' own threads may have come


async def test_a_batch_that_cannot_be_finished_ends_the_worker() -> None:
    """What the agent could not answer is raised by `run`, never swallowed."""
    log = FaultyLog()

    def fail(batch: Batch) -> None:
        batch.failure = LogError("the agent broke")
        batch.finished.set()

    worker = start_worker(log, counting(), deliver=fail)
    say(log, 0, 5)
    assert str(await worker.failed()) == "the agent broke"


async def test_the_lag_probe_of_a_broken_cluster_does_not_end_the_worker() -> None:
    """A measurement that fails is no reason to stop working; the consumer and producer decide that themselves."""
    log = _NoEnds(TOPICS)
    async with running(log, counting()) as worker:
        await until(log, lambda: log.asked > 2, worker)
        say(log, 0, 10)
        await until(log, lambda: count(log, "counted") >= 10, worker)


class _NoEnds(MemoryLog):
    asked = 0

    def end_offsets(self, partitions, *, committed_only: bool):  # type: ignore[no-untyped-def]
        if committed_only:  # only lag asks for these
            self.asked += 1
            raise LogError("the cluster did not answer")
        return super().end_offsets(partitions, committed_only=committed_only)


async def test_dead_letters_are_committed_with_their_neighbours() -> None:
    """A record that cannot be read must not stop those behind it, nor vanish."""
    log = FaultyLog({("commit", 1): UNKNOWN, ("commit", 2): ABORT})
    log.send([OutgoingRecord("said", b"broken", b"not json", (("h", b"1"),))])
    say(log, 0, 12)
    async with running(log, counting()) as worker:
        await until(log, lambda: count(log, "counted") >= 12 and count(log, "dead-letters") >= 1, worker)
    (letter,) = committed(log, "dead-letters")
    assert (letter.key, letter.value, letter.headers[0]) == (b"broken", b"not json", ("h", b"1"))


async def test_a_worker_whose_transactions_fail_all_the_time_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """It turns, it answers, it owns its partitions, and nothing goes out: whoever watches readiness must see that."""
    monkeypatch.setattr(coordinator, "FAILING_SECONDS_MAX", 0.5)
    log, refusing = FaultyLog(), threading.Event()

    def hook(step: str, _number: int) -> None:
        if step == "commit" and refusing.is_set():
            raise AbortRequired("a record was refused")

    log.hook = hook
    async with running(log, counting()) as worker:
        await until(log, lambda: worker.coordinator.ready, worker)
        refusing.set()
        say(log, 0, 10)
        await until(log, lambda: not worker.coordinator.ready, worker)
        refusing.clear()
        await until(log, lambda: worker.coordinator.ready, worker)
    check_counting(log)


async def test_each_assignment_is_announced_once_its_state_is_there() -> None:
    """Agents get batches only for what was announced."""
    log = FaultyLog()
    async with running(log, counting(), joining()) as worker:
        await until(log, lambda: worker.coordinator.ready, worker)
        assert worker.announced[-1] == {(name, number) for name in ("counting", "joining") for number in range(4)}


async def test_a_commit_does_not_wait_for_the_restores_of_other_services() -> None:
    """Restores may wait long for a dead worker's transaction; those that are ready must go on meanwhile."""
    names = [f"held-{number}" for number in range(5)]
    topics = dict(TOPICS) | {f"state.{name}": 4 for name in names}
    log = FaultyLog(topics=topics)
    dead = log.producer("dead")
    dead.begin()
    dead.produce([OutgoingRecord(f"state.{name}", b"Count/a", b"{}", (), 0) for name in names])
    async with running(log, counting()) as worker:
        await until(log, lambda: worker.coordinator.ready, worker)
        async with running(log, *(_named(name) for name in names), counting(), slot=1) as both:
            for number in range(100):
                log.send([said(f"key-{number}", number)])
            await until(log, lambda: count(log, "counted") >= 100, worker, both)
            assert not both.coordinator.ready
            dead.abort()
            await until(log, lambda: both.coordinator.ready, worker, both)
    check_counting(log)


def _named(name: str) -> HostedService:
    stage = CountingStage()
    stage.name = name
    return HostedService(stage, ("left",), ("counted",))


async def test_after_a_transaction_that_failed_the_next_poll_asks_for_less() -> None:
    """What does not fit a transaction of a slow cluster would be aborted and read again for ever."""
    log = FaultyLog({("commit", 2): ABORT})
    log.send(said(f"key-{n % 5}", n) for n in range(20))
    async with running(log, counting()) as worker:
        await until(log, lambda: count(log, "counted") >= 20, worker)
        (member,) = worker.coordinator._members
        assert member._records_cap < BATCH_RECORDS_MAX / 2
    check_counting(log)
