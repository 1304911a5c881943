"""Exactly once while partitions move all the time: several workers in one process on one log."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping

import pytest

from services.adapters.memory_log import MemoryGroupMetadata
from services.engine.log import GroupMetadata, OutgoingRecord, TopicPartition, TransactionalProducer
from services.engine.metrics import TRANSACTION_RESULTS
from tests.engine.harness import (
    ABORT,
    UNKNOWN,
    UNKNOWN_BUT_DONE,
    FaultyLog,
    Worker,
    by_key,
    check_counting,
    check_joining,
    count,
    running,
    start_worker,
    until,
)
from tests.support.engine_stages import counting, half, joining, said

KINDS = [
    ("commit", UNKNOWN_BUT_DONE),
    ("commit", UNKNOWN),
    ("commit", ABORT),
    ("send_offsets", ABORT),
    ("produce", UNKNOWN),
]


async def _storm(log: FaultyLog, rounds: int, workers_max: int, chance: random.Random) -> Worker:
    """Workers join and leave, one change a round, under load; at the end one is left and has done everything."""
    workers: list[Worker] = []
    slot = sent = 0
    for number in range(rounds):
        names = [f"key-{chance.randrange(8)}" for _ in range(20)]
        log.send(said(name, sent + place) for place, name in enumerate(names))
        sent += len(names)
        sides = [("left", number), ("right", number - 3)]  # the second half comes after three more rebalances
        log.send(half(side, f"pair-{place}-{n}") for side, place in sides if place >= 0 for n in range(5))
        if not workers or (len(workers) < workers_max and chance.random() < 0.6):
            workers.append(start_worker(log, counting(), joining(), slot=slot))
            slot += 1
        else:
            await workers.pop(chance.randrange(len(workers))).end()
        if chance.random() < 0.5 and workers:  # sometimes let it settle, sometimes let rebalances overtake each other
            wanted = min(sent, count(log, "counted") + 10)
            await until(log, lambda wanted=wanted: count(log, "counted") >= wanted, *workers)  # type: ignore[misc]
    log.send(half("right", f"pair-{place}-{n}") for place in range(rounds - 3, rounds) for n in range(5))
    last = start_worker(log, counting(), joining(), slot=slot)
    for worker in workers:
        await worker.end()
    await until(log, lambda: count(log, "counted") >= sent and count(log, "joined") >= rounds * 5, last)
    await last.end()
    return last


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("workers_max", [2, 3])
async def test_workers_that_join_and_leave_all_the_time_miss_nothing(seed: int, workers_max: int) -> None:
    """Outputs once and in order per key, every join found, state as recomputed; rebalances within rebalances."""
    log = FaultyLog()
    await _storm(log, 14, workers_max, random.Random(seed))
    check_counting(log)
    check_joining(log)


@pytest.mark.parametrize("seed", range(3))
async def test_a_rebalance_storm_with_failing_transactions(seed: int) -> None:
    """Both at once: every third transaction is refused or ends in doubt while its partitions are moving."""
    chance = random.Random(1000 + seed)
    faults: dict[tuple[str, int], str] = {}
    for number in range(1, 400, 3):
        step, kind = chance.choice(KINDS)
        faults[step, number] = kind
    log = FaultyLog(faults)
    await _storm(log, 12, 3, chance)
    check_counting(log)
    check_joining(log)


async def test_a_rebalance_in_the_middle_of_a_restore_starts_it_anew() -> None:
    """Partitions come, the restore waits for a dead worker's transaction, and half of them go again."""
    log = FaultyLog()
    log.send(said(f"key-{n % 8}", n) for n in range(80))
    async with running(log, counting()) as first:
        await until(log, lambda: count(log, "counted") >= 80, first)
    dead = log.producer("dead")
    dead.begin()
    dead.produce([OutgoingRecord("state.counting", b"Count/ghost", b"{}", (), number) for number in range(4)])
    one = start_worker(log, counting(), slot=1)
    await until(log, lambda: len(_owned(log, "posttrade.counting")) == 4, one)
    two = start_worker(log, counting(), slot=2)  # rebalances while `one` restores, and restores itself
    log.send(said(f"key-{n % 8}", n) for n in range(80, 120))
    await until(log, lambda: len(log.group("posttrade.counting").members) == 2, one, two)
    assert count(log, "counted") == 80
    dead.abort()
    await until(log, lambda: count(log, "counted") >= 120 and one.coordinator.ready and two.coordinator.ready, one, two)
    await one.end()
    await two.end()
    check_counting(log)


def _owned(log: FaultyLog, group: str) -> set[TopicPartition]:
    with log.changed:
        return {key for member in log.group(group).members for key in member._positions}


async def _zombie(log: FaultyLog) -> None:
    """A worker decides, loses its partitions before the commit, and another has done its work when it goes on."""
    reached, release = threading.Event(), threading.Event()
    zombie = start_worker(log, counting())
    await until(log, lambda: zombie.coordinator.ready, zombie)
    first, ended = log.begun + 1, _ended(zombie)  # the transactions that proved its ownership are over

    def hold(step: str, number: int) -> None:
        if step == "begin" and number == first:
            reached.set()
            assert release.wait(10)

    log.hook = hold
    log.send(said(f"key-{n % 8}", n) for n in range(40))
    await until(log, reached.is_set, zombie)
    with log.changed:  # its heartbeats stopped: the group goes on without it
        (member,) = log.group("posttrade.counting").members
        log.leave(member)
    async with running(log, counting(), slot=1) as owner:
        await until(log, lambda: count(log, "counted") >= 40, owner)
        release.set()
        await until(log, lambda: _ended(zombie) > ended, zombie)
    await zombie.end()
    check_counting(log)


def _ended(worker: Worker) -> float:
    name = "posttrade_transactions_total"
    return sum(
        worker.metrics.registry.get_sample_value(name, {"result": result}) or 0 for result in TRANSACTION_RESULTS
    )


async def test_a_batch_whose_generation_is_over_is_not_committed() -> None:
    """The zombie's outputs would come twice."""
    await _zombie(FaultyLog())


class _UnfencedLog(FaultyLog):
    """Takes offsets of any generation, as Kafka does without group metadata."""

    def producer(self, transactional_id: str) -> TransactionalProducer:  # type: ignore[override]  # a wrapper
        producer = super().producer(transactional_id)
        send_offsets = producer.send_offsets

        def unfenced(offsets: Mapping[TopicPartition, int], metadata: GroupMetadata) -> None:
            group = self.group("posttrade.counting")
            members = [member.number for member in group.members]
            newest = MemoryGroupMetadata("posttrade.counting", members[0], group.generation) if members else metadata
            send_offsets(offsets, newest)

        producer.send_offsets = unfenced  # type: ignore[method-assign]
        return producer


async def test_the_zombie_is_seen_by_the_check_when_nothing_fences_it() -> None:
    """The control: a check that passes without fencing proves nothing about it."""
    with pytest.raises(AssertionError, match="are not exactly those of its input"):
        await _zombie(_UnfencedLog())


@pytest.mark.parametrize("seed", range(2))
async def test_due_work_is_done_once_although_partitions_move(seed: int) -> None:
    """Time-driven outputs have no input that could be committed twice: the group's generation must fence them."""
    chance = random.Random(seed)
    log = FaultyLog(
        {("commit", n): UNKNOWN_BUT_DONE for n in range(2, 60, 4)} | {("commit", n): ABORT for n in range(4, 60, 4)}
    )
    workers: list[Worker] = []
    for number in range(14):
        log.send(half("left", f"late-{number}-{n}") for n in range(10))
        if len(workers) < 2 or (len(workers) < 3 and chance.random() < 0.5):
            workers.append(start_worker(log, joining(overdue_after_us=30_000), slot=number))
        else:
            await workers.pop(0).end()
        wanted = number * 10 - 20
        await until(log, lambda wanted=wanted: count(log, "overdue") >= wanted, *workers)  # type: ignore[misc]
    await until(log, lambda: count(log, "overdue") >= 140, *workers)
    for worker in workers:
        await worker.end()
    assert {len(records) for records in by_key(log, "overdue").values()} == {1}
    assert len(by_key(log, "overdue")) == 140
