"""A worker proves what it holds before it processes, and again while it is idle."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from services.engine import member as member_module
from services.engine import proving
from services.engine.log import Fenced, TopicPartition
from services.engine.member import Member
from services.engine.proving import Prover
from services.engine.runtime import SYSTEM
from services.engine.state import Progress, Tables
from tests.engine.harness import (
    ABORT,
    UNKNOWN,
    UNKNOWN_BUT_DONE,
    FaultyLog,
    check_counting,
    check_joining,
    committed,
    count,
    running,
    start_worker,
    until,
)
from tests.support.engine_stages import PARTITIONS, counting, half, joining, said


def _progress(log: FaultyLog, service: str) -> dict[bytes, list[Progress]]:
    """Every position in a changelog, by key, each in order."""
    found: dict[bytes, list[Progress]] = {}
    for record in committed(log, f"state.{service}"):
        if record.key is not None and record.key.startswith(b"Progress/"):
            found.setdefault(record.key, []).append(msgspec.json.decode(record.value or b"", type=Progress))
    return found


async def test_the_first_transaction_of_a_partition_writes_its_position_and_later_ones_only_what_moves() -> None:
    """Offsets that vanish from the group can then be told from a first start, and idle partitions write nothing."""
    log = FaultyLog()
    for slot in range(3):
        async with running(log, counting(), joining(), slot=slot) as worker:
            await until(log, lambda: worker.coordinator.ready, worker)
            held = worker.coordinator._members[1].tables  # what a snapshot is made of: its position must not be missing
            assert all(str(number) in tables.rows[Progress] for number, tables in held.items())
    marks = _progress(log, "joining")
    assert marks == {f"Progress/{n}".encode(): [Progress(offsets={"left": 0, "right": 0})] for n in range(PARTITIONS)}
    group = log.group("posttrade.joining")
    assert group.committed == {TopicPartition(side, n): 0 for side in ("left", "right") for n in range(PARTITIONS)}


async def test_nothing_is_processed_and_the_worker_not_ready_before_the_proof_is_committed() -> None:
    """Somebody else may own the partition: what this worker decides would be refused, or worse, not refused."""
    log = FaultyLog()
    log.send(said(f"key-{n % 5}", n) for n in range(20))
    reached, release = threading.Event(), threading.Event()

    def hold(step: str, number: int) -> None:
        if step == "commit" and number == 1:
            reached.set()
            assert release.wait(10)

    log.hook = hold
    async with running(log, counting()) as worker:
        await until(log, reached.is_set, worker)
        assert not worker.coordinator.ready
        assert worker.announced[-1] == set()
        release.set()
        await until(log, lambda: count(log, "counted") >= 20 and worker.coordinator.ready, worker)
    check_counting(log)


@pytest.mark.parametrize("kind", [ABORT, UNKNOWN, UNKNOWN_BUT_DONE])
@pytest.mark.parametrize("step", ["begin", "produce", "send_offsets", "commit"])
async def test_a_proof_that_fails_is_tried_again(step: str, kind: str) -> None:
    """Nothing but the proof is at stake; whatever became of it, a second one says the same."""
    log = FaultyLog({(step, 1): kind, (step, 2): kind})
    log.send(said(f"key-{n % 5}", n) for n in range(20))
    async with running(log, counting()) as worker:
        await until(log, lambda: count(log, "counted") >= 20 and worker.coordinator.ready, worker)
    assert log.faults == {}
    last = {
        TopicPartition("said", number): _progress(log, "counting")[f"Progress/{number}".encode()][-1].offsets["said"]
        for number in range(PARTITIONS)
    }
    assert last == log.group("posttrade.counting").committed
    check_counting(log)


async def test_an_idle_worker_whose_slot_was_taken_over_notices_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would look ready for days and fail at the first trade."""
    monkeypatch.setattr(proving, "PROVE_SECONDS", 0.1)
    log = FaultyLog()
    worker = start_worker(log, counting())
    await until(log, lambda: worker.coordinator.ready, worker)
    newer = log.producer("worker.0")
    assert isinstance(await worker.failed(), Fenced)
    newer.close()


async def test_an_idle_worker_proves_itself_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readiness must not be a memory."""
    monkeypatch.setattr(proving, "PROVE_SECONDS", 0.1)
    log = FaultyLog()
    async with running(log, counting()) as worker:
        await until(log, lambda: worker.coordinator.ready, worker)
        before = log.begun
        await until(log, lambda: log.begun >= before + 3, worker)
        assert worker.coordinator.ready


async def test_a_transaction_with_records_is_a_proof_as_well() -> None:
    """Else a busy worker would prove every half minute what each of its commits has proved."""
    log = FaultyLog()
    async with running(log, counting()) as worker:
        await until(log, lambda: worker.coordinator.ready, worker)
        (member,) = worker.coordinator._members
        before = dict(member.proved_at)
        log.send([said("a", 1)])
        (number,) = {record.partition for record in committed(log, "said")}
        await until(log, lambda: member.proved_at[number] > before[number], worker)
        assert {n for n, at in member.proved_at.items() if at > before[n]} == {number}


async def test_a_worker_that_cannot_prove_itself_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its group has gone on without it and it has not heard of that yet: whoever asks must learn it."""
    monkeypatch.setattr(proving, "PROVE_SECONDS", 0.05)
    log = FaultyLog()
    async with running(log, counting()) as worker:
        await until(log, lambda: worker.coordinator.ready, worker)
        log.faults = {("send_offsets", log.begun + n): ABORT for n in range(1, 6)}
        await until(log, lambda: not worker.coordinator.ready, worker)
        await until(log, lambda: worker.coordinator.ready, worker)


async def test_idle_partitions_commit_how_far_they_were_read_behind_what_is_never_delivered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A commit of records names the offset after the last; what lies behind it may be deleted without any loss."""
    monkeypatch.setattr(proving, "PROVE_SECONDS", 0.05)
    log = FaultyLog()
    place = TopicPartition("said", 0)
    log.send([msgspec.structs.replace(said("a", 1), partition=0)])
    dead = log.producer("dead")
    dead.begin()
    dead.produce([msgspec.structs.replace(said("a", 2), partition=0)] * 3)
    dead.abort()
    async with running(log, counting()) as worker:
        await until(log, lambda: _committed(log).get(place) == 4, worker)
    log.delete_records({place: 4})
    log.send([msgspec.structs.replace(said("a", 3), partition=0)])
    async with running(log, counting()) as worker:
        await until(log, lambda: count(log, "counted") == 2, worker)


def _committed(log: FaultyLog) -> dict[TopicPartition, int]:
    group = log._groups.get("posttrade.counting")
    return {} if group is None else group.committed


def test_one_service_that_proves_itself_says_nothing_of_another() -> None:
    """A worker of which one group refuses it for good must not look ready because the others accept it."""
    prover = Prover(SYSTEM)
    members = [Member(service, FaultyLog(), SYSTEM, lambda item: None) for service in (counting(), joining())]
    for member in members:
        member.tables[0] = Tables(member.stage.state_types)
        member.next_offsets |= dict.fromkeys(member.partitions_of([0]), 0)
        member.proved_at[0] = SYSTEM.monotonic() - 2 * proving.PROVE_SECONDS
        member._membership = member.reading, cast(Any, object())
    first, second = prover.claims(members)
    prover.failed(first)
    prover.succeeded(second)
    assert prover.is_failing
    prover.succeeded(first)
    assert not prover.is_failing


@pytest.mark.parametrize("kind", [UNKNOWN, UNKNOWN_BUT_DONE])
async def test_an_idle_proof_in_doubt_leaves_state_and_group_in_agreement(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have moved offsets past markers: tables that lack it would make a snapshot that stops the next start."""
    monkeypatch.setattr(proving, "PROVE_SECONDS", 0.05)
    log = FaultyLog()
    place = TopicPartition("said", 0)
    async with running(log, counting()) as worker:
        await until(log, lambda: worker.coordinator.ready, worker)
        with log.changed:
            log.faults["commit", log.begun + 2] = kind
        dead = log.producer("dead")
        dead.begin()
        dead.produce([msgspec.structs.replace(said("a", 2), partition=0)] * 3)
        dead.abort()
        await until(log, lambda: _committed(log).get(place) == 3 and not log.faults, worker)
        await until(log, lambda: worker.coordinator.ready, worker)
        (member,) = worker.coordinator._members
        await until(log, lambda: member.tables[0].rows[Progress]["0"] == Progress(offsets={"said": 3}), worker)
    assert _progress(log, "counting")[b"Progress/0"][-1] == Progress(offsets={"said": 3})


# --- one budget for a rebalance, whatever is under way


@pytest.mark.parametrize("step", ["begin", "send_offsets", "commit"])
async def test_a_rebalance_does_not_wait_longer_than_its_budget_for_a_stuck_round(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that hangs must not cost this worker its membership in all groups, nor the others their partitions."""
    monkeypatch.setattr(member_module, "REBALANCE_SECONDS_MAX", 0.05)
    log = FaultyLog()
    reached, release = threading.Event(), threading.Event()
    async with running(log, counting(), joining()) as stuck:
        await until(log, lambda: stuck.coordinator.ready, stuck)
        first = log.begun + 1

        def hold(name: str, number: int) -> None:
            if name == step and number == first:
                reached.set()
                assert release.wait(20)

        log.hook = hold
        log.send(said(f"key-{n % 8}", n) for n in range(40))
        log.send(half(side, f"pair-{n}") for n in range(10) for side in ("left", "right"))
        await until(log, reached.is_set, stuck)
        async with running(log, counting(), joining(), slot=1) as other:
            groups = [log.group(name) for name in ("posttrade.counting", "posttrade.joining")]
            await until(log, lambda: all(len(_holders(log, group)) == 2 for group in groups), stuck, other)
            log.send(said(f"key-{n % 8}", n) for n in range(40, 80))
            release.set()
            await until(log, lambda: count(log, "counted") >= 80 and count(log, "joined") >= 10, stuck, other)
            await until(log, lambda: stuck.coordinator.ready and other.coordinator.ready, stuck, other)
    check_counting(log)
    check_joining(log)


def _holders(log: FaultyLog, group: object) -> list[object]:
    with log.changed:
        members = group.members  # type: ignore[attr-defined]
        return [member for member in members if member._positions and member._offered is None]


async def test_a_stop_with_a_stuck_round_and_a_rebalance_that_was_let_go_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything at once, as on the day when it matters."""
    monkeypatch.setattr(member_module, "REBALANCE_SECONDS_MAX", 0.02)
    log = FaultyLog()
    reached, release = threading.Event(), threading.Event()
    stuck = start_worker(log, counting())
    await until(log, lambda: stuck.coordinator.ready, stuck)
    first = log.begun + 1

    def hold(name: str, number: int) -> None:
        if name == "commit" and number == first:
            reached.set()
            assert release.wait(20)

    log.hook = hold
    log.send(said(f"key-{n % 8}", n) for n in range(40))
    await until(log, reached.is_set, stuck)
    async with running(log, counting(), slot=1) as other:
        await until(log, lambda: len(_holders(log, log.group("posttrade.counting"))) == 2, stuck, other)
        stopping = asyncio.create_task(stuck.end())
        await asyncio.sleep(0)
        release.set()
        await stopping
        await until(log, lambda: count(log, "counted") >= 40, other)
    check_counting(log)


# --- a rebalance at any moment


@pytest.mark.parametrize("is_restored", [True, False])
def test_a_membership_that_ends_while_it_is_looked_at_proves_nothing(is_restored: bool) -> None:
    """The polling thread may take it away between two looks: the worker would end with it in its hands."""

    class Fleeting:
        def __init__(self) -> None:
            self.looks = 0
            self.stage = counting().stage
            self.tables = {0: Tables([])}
            self.proved_at = {0: -10_000.0}

        @property
        def metadata(self) -> object | None:
            self.looks += 1
            return "generation 7" if self.looks == 1 else None

        def read_offsets_of(self, number: int) -> dict[TopicPartition, int]:
            return {TopicPartition("said", number): 5}

    member = cast(Any, Fleeting())
    prover = Prover(SYSTEM)
    if is_restored:
        offsets = member.read_offsets_of(0)
        prover.add(cast(Any, SimpleNamespace(member=member, tables=member.tables, offsets=offsets, is_current=True)))
        member.proved_at = {}
    claims = prover.claims([member])
    assert [claim.metadata for claim in claims] == ["generation 7"]
