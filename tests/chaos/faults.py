"""How each fault is done, and how long the work needs to be going on again after it."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.kafka_broker import LocalKafka
from tests.chaos.events import Events, Place, Watched, places_of, unassigned_seconds
from tests.chaos.fleet import Fleet, send
from tests.chaos.places import Places
from tests.chaos.plan import BROKER_STARTS, Failpoint, Fault, FaultKind
from tests.chaos.worker import SESSION_TIMEOUT_MS

SESSION_SECONDS = SESSION_TIMEOUT_MS / 1000
TAKEOVER_SECONDS_MAX = SESSION_SECONDS + 10.0
"""From the kill of a worker to the next commit of its last partition by another."""
UNASSIGNED_SECONDS_MAX = SESSION_SECONDS + 10.0
"""A group of which nobody holds a partition for longer, once the broker is back, is mentioned in the end."""
PAUSE_SECONDS = SESSION_SECONDS + 3.0
"""Past the session timeout and past the transaction timeout."""
BROKER_PAUSE_SECONDS = 20.0
DISK_FULL_SECONDS = 6.0
"""Long enough for a snapshot to fail, and to fail again."""
_DISK_FULL_LOG_BYTES = 16_384
"""What a worker whose disk is full may still log."""
STUCK_SECONDS = 150.0
"""So long after a fault every partition must be moving again."""
_REACH_SECONDS = 15.0
_REACH_RESTORE_SECONDS = 45.0
"""The same with the start of a process before it, on a machine that starts others."""
_ACTIVE_SECONDS = 10.0
_TRIES_MAX = 3
_SNAPSHOTS = "*.snapshot"


class StuckError(Exception):
    """The work does not go on after a fault."""


@dataclass
class Tally:
    """What was done."""

    done: Counter[FaultKind] = field(default_factory=Counter)
    details: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    takeover_seconds: list[float] = field(default_factory=list)
    """Of kills that nothing else disturbed, with another worker alive."""
    unassigned: list[tuple[str, float]] = field(default_factory=list)
    """Services, with seconds, of whose group nobody held a partition for too long after the broker was back."""
    snapshots_damaged: int = 0
    replaced_exit_codes: Counter[int] = field(default_factory=Counter)


class Faults:
    """Does faults, one after the other."""

    def __init__(
        self,
        places: Places,
        fleet: Fleet,
        broker: LocalKafka,
        events: Events,
        chance: random.Random,
        send_crash_record: Callable[[], None],
    ) -> None:
        """Bind what the faults are done to; `send_crash_record` has the driver send one."""
        self._places = places
        self._fleet = fleet
        self._broker = broker
        self._events = events
        self._chance = chance
        self._send_crash_record = send_crash_record
        self.tally = Tally()

    def do(self, fault: Fault) -> None:
        """Do it and wait until the work goes on. Raises StuckError when it does not."""
        self._fleet.tend()
        began = time.monotonic()
        active = self._active(began)
        self._how(fault)()
        self.tally.done[fault.kind] += 1
        self.tally.details[str(fault)] += 1
        done = time.monotonic()
        try:
            if fault.kind is not FaultKind.KILL_SOON:
                self.await_progress(active, done)
        finally:
            if fault.kind in BROKER_STARTS:
                self._note_unassigned(done)

    def _note_unassigned(self, since: float) -> None:
        now = time.monotonic()
        longest = self._events.read(lambda watched: unassigned_seconds(watched, since, now))
        self.tally.unassigned += [one for one in sorted(longest.items()) if one[1] > UNASSIGNED_SECONDS_MAX]

    def _how(self, fault: Fault) -> Callable[[], None]:
        simple: dict[FaultKind, Callable[[], None]] = {
            FaultKind.KILL: self._kill,
            FaultKind.KILL_SOON: self._kill_soon,
            FaultKind.ABORT: self._abort,
            FaultKind.PAUSE_SESSION: self._pause,
            FaultKind.PAUSE_TRANSACTION: lambda: self._pause_at(Failpoint.BEFORE_OFFSETS),
            FaultKind.PAUSE_WITH_BATCH: lambda: self._pause_at(Failpoint.AFTER_APPLY),
            FaultKind.PAUSE_REPLACED: self._pause_replaced,
            FaultKind.BROKER_RESTART: self._broker.restart,
            FaultKind.BROKER_KILL: self._broker_kill,
            FaultKind.BROKER_PAUSE: self._broker_pause,
            FaultKind.ADD: self._add,
            FaultKind.REMOVE: lambda: self._fleet.remove(self._slot()),
            FaultKind.CRASH_RECORD: self._crash_record,
            FaultKind.DISK_FULL: self._disk_full,
            FaultKind.TORN_FILES: lambda: self._torn_files(fault.detail),
        }
        if fault.kind is FaultKind.FAILPOINT:
            return lambda: self._kill_at(Failpoint(fault.detail))
        return simple[fault.kind]

    # --- what is waited for

    def _active(self, now: float) -> set[Place]:
        return self._events.read(
            lambda watched: {place for place, last in watched.commits.items() if last.at > now - _ACTIVE_SECONDS}
        )

    def await_progress(self, places: Collection[Place], since: float) -> None:
        """Wait until each of these places has committed after a point in time; tends the fleet meanwhile."""
        deadline = time.monotonic() + STUCK_SECONDS
        while not self._events.wait(lambda watched: _all_after(watched, places, since), 1.0):
            self._fleet.tend()
            if time.monotonic() > deadline:
                still = self._events.read(
                    lambda watched: sorted(place for place in places if watched.commits[place].at <= since)
                )
                raise StuckError(f"no commit within {STUCK_SECONDS:.0f} s in {still}")

    # --- kills

    def _slot(self) -> int:
        return self._chance.choice(sorted(self._fleet.workers))

    def _working_slot(self) -> int:
        """A slot whose worker is at work, if there is one: its death is felt."""
        now = time.monotonic()
        busy = self._events.read(
            lambda watched: {last.process_id for last in watched.commits.values() if last.at > now - _ACTIVE_SECONDS}
        )
        slots = sorted(slot for slot, worker in self._fleet.workers.items() if worker.id in busy)
        return self._chance.choice(slots) if slots else self._slot()

    def _kill(self) -> None:
        slot = self._working_slot()
        others = len(self._fleet.workers) > 1
        at = time.monotonic()
        victim = self._fleet.kill(slot)
        self.tally.kills += 1
        held = self._events.read(lambda watched: places_of(watched, [victim], at - _ACTIVE_SECONDS))
        restarts_at_once = not others or self._chance.random() < 0.5
        if restarts_at_once:
            self._fleet.start(slot)
        if others and held:
            self._measure_takeover(victim, held, at)
        if not restarts_at_once:
            self._fleet.start(slot)

    def _measure_takeover(self, victim: int, held: set[Place], at: float) -> None:
        deadline = time.monotonic() + STUCK_SECONDS
        while (taken := self._events.wait(lambda watched: _taken_over(watched, held, victim), 1.0)) is None:
            if self._fleet.tend():  # another died meanwhile: not one takeover but two
                return
            if time.monotonic() > deadline:
                places = sorted(held)
                raise StuckError(f"{places} of the killed worker were not taken over within {STUCK_SECONDS:.0f} s")
        self.tally.takeover_seconds.append(taken - at)

    def _kill_soon(self) -> None:
        slot = self._slot()
        self._fleet.kill(slot)
        self.tally.kills += 1
        self._fleet.start(slot)
        time.sleep(self._chance.uniform(0.5, 4.0))  # the fault itself: the next one comes in the middle of recovery

    def _kill_at(self, failpoint: Failpoint) -> None:
        for _ in range(_TRIES_MAX):
            slot = self._working_slot()  # one that has nothing to do would not get there
            before = self._reached(failpoint)
            self._places.arm(slot, failpoint, "kill")
            reach_seconds = _REACH_SECONDS
            if failpoint is Failpoint.IN_RESTORE:
                reach_seconds = _REACH_RESTORE_SECONDS
                self._fleet.kill(slot)
                self.tally.kills += 1
                self._fleet.start(slot)
            ended = self._fleet.await_end(slot, reach_seconds)
            self._places.disarm(slot)
            if ended:
                self._fleet.start(slot)
            if self._reached(failpoint) > before:
                self.tally.kills += 1
                return
        raise StuckError(f"failpoint {failpoint} was not reached in {_TRIES_MAX} tries")

    def _reached(self, failpoint: Failpoint) -> int:
        return self._events.read(lambda watched: watched.reached[failpoint])

    def _abort(self) -> None:
        self._arm_and_await(Failpoint.AFTER_OFFSETS, "abort")

    def _arm_and_await(self, failpoint: Failpoint, action: str) -> int:
        """Arm it on some worker and wait until it acts; the slot."""
        for _ in range(_TRIES_MAX):
            slot = self._working_slot()  # one that has nothing to do would not get there
            before = self._reached(failpoint)
            self._places.arm(slot, failpoint, action)
            acted = self._events.wait(lambda watched: watched.reached[failpoint] > before, _REACH_SECONDS)  # noqa: B023  # ends within the turn
            self._places.disarm(slot)
            if acted:
                return slot
            self._fleet.tend()
        raise StuckError(f"failpoint {failpoint} was not reached in {_TRIES_MAX} tries")

    # --- pauses

    def _pause(self) -> None:
        worker = self._fleet.workers[self._slot()]
        send(worker, signal.SIGSTOP)
        time.sleep(PAUSE_SECONDS)
        send(worker, signal.SIGCONT)

    def _pause_at(self, failpoint: Failpoint) -> None:
        worker = self._fleet.workers[self._arm_and_await(failpoint, "stop")]
        time.sleep(PAUSE_SECONDS)
        send(worker, signal.SIGCONT)

    def _pause_replaced(self) -> None:
        slot = self._slot()
        worker = self._fleet.workers[slot]
        send(worker, signal.SIGSTOP)
        self._fleet.start(slot)
        time.sleep(PAUSE_SECONDS)
        send(worker, signal.SIGCONT)
        for code in self._fleet.retire_replaced(STUCK_SECONDS):
            self.tally.replaced_exit_codes[code] += 1

    # --- broker

    def _broker_kill(self) -> None:
        self._broker.kill()
        self._broker.restart()

    def _broker_pause(self) -> None:
        self._broker.pause()
        try:
            time.sleep(BROKER_PAUSE_SECONDS)
        finally:
            self._broker.resume()

    # --- membership

    def _add(self) -> None:
        worker = self._fleet.add()
        deadline = time.monotonic() + STUCK_SECONDS
        while not self._events.wait(lambda watched: places_of(watched, [worker.id], worker.started_at), 1.0):
            self._fleet.tend()
            if self._fleet.workers.get(worker.slot) is not worker:  # it died of something else; its successor counts
                return
            if time.monotonic() > deadline:
                raise StuckError(f"the added worker of slot {worker.slot} got nothing to do")

    # --- poison

    def _crash_record(self) -> None:
        """Wait for the first death; the ones after it, until the record is recognised, are part of the recovery."""
        before = self._events.read(lambda watched: watched.told["exit"])
        self._send_crash_record()
        deadline = time.monotonic() + STUCK_SECONDS
        while not self._events.wait(lambda watched: watched.told["exit"] > before, 0.2):
            self._fleet.tend()
            if time.monotonic() > deadline:
                raise StuckError("nobody met the record that ends the process")

    # --- disk

    def _disk_full(self) -> None:
        slot = self._slot()
        worker = self._fleet.workers[slot]
        self._fleet.limit_files(slot, self._fleet.log_bytes(slot) + _DISK_FULL_LOG_BYTES)
        time.sleep(DISK_FULL_SECONDS)
        if self._fleet.workers.get(slot) is worker and worker.process.exit_code() is None:
            self._fleet.limit_files(slot, None)

    def _torn_files(self, kind: str) -> None:
        slot = self._working_slot()  # only that one has snapshots
        self._fleet.kill(slot)
        self.tally.kills += 1
        snapshots = sorted(self._places.local_files(slot).glob(_SNAPSHOTS))
        older = self._places.root / "older" / f"slot-{slot}"
        kept = {path.name: path.read_bytes() for path in older.glob(_SNAPSHOTS)}
        if snapshots and not kept:
            shutil.copytree(self._places.local_files(slot), older, dirs_exist_ok=True)
        for number, path in enumerate(snapshots):
            damaged = self._damage(path, kind, other=snapshots[number - 1], older=kept.get(path.name))
            self.tally.snapshots_damaged += damaged
        self._fleet.start(slot)

    def _damage(self, path: Path, kind: str, *, other: Path, older: bytes | None) -> bool:
        """Whether the file is another now."""
        data = path.read_bytes()
        match kind:
            case "truncated":
                path.write_bytes(data[: self._chance.randint(0, len(data))])
            case "bit flipped":
                path.write_bytes(self._flipped(data))
            case "another partition's" if other.exists():
                path.write_bytes(other.read_bytes())
            case "an older one's" if older is not None:
                path.write_bytes(older)
            case "removed":
                path.unlink()
        return not path.exists() or path.read_bytes() != data

    def _flipped(self, data: bytes) -> bytes:
        if not data:
            return data
        position = self._chance.randrange(len(data))
        return data[:position] + bytes([data[position] ^ 1 << self._chance.randrange(8)]) + data[position + 1 :]


def _all_after(watched: Watched, places: Collection[Place], since: float) -> bool:
    return all(watched.commits[place].at > since for place in places)


def _taken_over(watched: Watched, held: Collection[Place], victim: int) -> float | None:
    """When the last of these places was committed by another; None while one was not."""
    commits = [watched.commits[place] for place in held]
    if any(commit.process_id == victim for commit in commits):
        return None
    return max(commit.at for commit in commits)
