"""Snapshots in the worst of circumstances: a restore from any that was ever written equals a full replay."""

from __future__ import annotations

import asyncio
import random

import pytest

from services.engine import snapshots
from tests.engine.harness import (
    ABORT,
    UNKNOWN,
    UNKNOWN_BUT_DONE,
    FaultyLog,
    Worker,
    check_counting,
    check_joining,
    count,
    start_worker,
    until,
)
from tests.engine.snapshot_harness import KeepingFiles, check_all, is_saved
from tests.support.engine_stages import counting, half, joining, said


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot after every change."""
    monkeypatch.setattr(snapshots, "LOOK_SECONDS", 0.002)
    monkeypatch.setattr(snapshots, "CHANGED_SECONDS_MAX", 0.0)
    monkeypatch.setattr(snapshots, "RETRY_SECONDS", 0.01)


class Crash(Exception):
    """The process is gone, at a step of a transaction."""


SNAPSHOTS_MIN = 5


class Storm:
    """Workers of three slots that start, stop, crash, and are thrown out of their groups, under load and on bad disks.

    A slot keeps its disk. Transactions are refused and end in doubt all the time.
    """

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.log = FaultyLog()
        self.log.hook = self._step
        self.disks = [KeepingFiles(self.chance) for _ in range(3)]
        self.workers: dict[int, Worker] = {}
        self.zombies: list[tuple[int, Worker]] = []
        self.sent = self.rounds = 0
        self._crashes: set[int] = set()

    @property
    def snapshots(self) -> int:
        """How many were written."""
        return sum(len(files.history) for files in self.disks)

    def _step(self, step: str, number: int) -> None:
        if number in self._crashes and step == ("begin", "produce", "send_offsets", "commit")[number % 4]:
            raise Crash(step)

    async def run(self, rounds: int) -> None:
        """So many rounds, more on a machine that is too busy for snapshots, then one worker that does what is left."""
        while self.rounds < rounds or (self.snapshots < SNAPSHOTS_MIN and self.rounds < 3 * rounds):
            self._send()
            await self._change()
            if self.workers and self.chance.random() < 0.5:
                wanted = min(self.sent, count(self.log, "counted") + 20)
                await until(self.log, lambda wanted=wanted: count(self.log, "counted") >= wanted or self._ended())  # type: ignore[misc]
            if self.chance.random() < 0.4:
                await until(self.log, lambda: all(map(is_saved, self.workers.values())) or self._ended())
        self._crashes.clear()
        self.log.faults.clear()
        for worker in [*self.workers.values(), *(worker for _, worker in self.zombies)]:
            await self._end(worker)
        for slot in range(3):
            self.log.producer(f"worker.{slot}").close()
        self.log.send(half("right", f"pair-{n}") for n in range(max(0, self.rounds - 3), self.rounds))
        last = start_worker(self.log, counting(), joining(), files=self.disks[0])
        await until(
            self.log,
            lambda: count(self.log, "counted") >= self.sent and count(self.log, "joined") >= self.rounds,
            last,
        )
        await last.end()

    def _ended(self) -> bool:
        workers = [*self.workers.values(), *(worker for _, worker in self.zombies)]
        return any(map(_is_done, workers))

    def _send(self) -> None:
        names = [f"key-{self.chance.randrange(200)}" for _ in range(20)]  # most are not written again
        self.log.send(said(name, self.sent + place) for place, name in enumerate(names))
        self.sent += len(names)
        self.log.send([half("left", f"pair-{self.rounds}")])
        if self.rounds >= 3:
            self.log.send([half("right", f"pair-{self.rounds - 3}")])
        self.rounds += 1
        for number in range(self.log.begun + 1, self.log.begun + 6):
            kind = self.chance.choice([ABORT, UNKNOWN, UNKNOWN_BUT_DONE, "", "", ""])
            if kind:
                self.log.faults["commit", number] = kind

    async def _change(self) -> None:
        """One event of the storm."""
        self._bury()
        free = sorted({0, 1, 2} - self.workers.keys())
        event = self.chance.choice(["start", "start", "stop", "crash", "evict"]) if self.workers else "start"
        if event == "start" and free:
            slot = self.chance.choice(free)
            self.workers[slot] = start_worker(self.log, counting(), joining(), slot=slot, files=self.disks[slot])
        elif event == "stop":
            slot = self.chance.choice(sorted(self.workers))
            await self._end(self.workers.pop(slot))
            self.log.producer(f"worker.{slot}").close()  # it may have crashed while it stopped
        elif event == "crash":
            self._crashes.add(self.log.begun + self.chance.randrange(1, 4))
        elif event == "evict":
            slot = self.chance.choice(sorted(self.workers))
            zombie = self.workers.pop(slot)
            self.zombies.append((slot, zombie))
            with self.log.changed:
                for service in zombie.coordinator._members:
                    if service.consumer is not None:
                        self.log.leave(service.consumer._inner)  # type: ignore[attr-defined]

    def _bury(self) -> None:
        """Transactions that dead workers have left open time out: until then nobody can restore."""
        for slot, worker in [*self.workers.items(), *self.zombies]:
            if _is_done(worker):
                _check_end(worker)
                if self.workers.get(slot) is worker:
                    del self.workers[slot]
                if slot not in self.workers:  # else its successor has done so
                    self.log.producer(f"worker.{slot}").close()
        self.zombies = [(slot, worker) for slot, worker in self.zombies if not _is_done(worker)]

    async def _end(self, worker: Worker) -> None:
        """Stop it, unless it has crashed meanwhile or its slot was taken over."""
        await worker.coordinator.stop()
        assert worker.task is not None
        await asyncio.wait([worker.task], timeout=15)
        _check_end(worker)


def _is_done(worker: Worker) -> bool:
    return worker.task is not None and worker.task.done()


def _check_end(worker: Worker) -> None:
    assert worker.task is not None
    assert worker.task.done(), "the worker hangs"
    failure = worker.task.exception()
    assert failure is None or isinstance(failure, Crash) or "taken over" in str(failure), failure


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens_a_snapshot_and_its_tail_equal_the_changelog(seed: int) -> None:
    """Rebalances, aborts, commits in doubt, crashes at each step, zombies, full and torn disks, all at once."""
    storm = Storm(seed)

    await storm.run(25)

    check_counting(storm.log)
    check_joining(storm.log)
    check_all(storm.log, storm.disks)
    assert storm.snapshots >= SNAPSHOTS_MIN, "hardly any snapshot was taken"
