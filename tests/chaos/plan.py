"""What will be done to the system: a list of faults from minutes and seed. The same two, the same list."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

MINUTES_FULL = 60.0
"""The run for which the full numbers of faults are counted."""


class FaultKind(StrEnum):
    """What can be done; the value is how reports name it."""

    KILL = "kill -9 at random"
    KILL_SOON = "kill -9 before the last one is over"
    FAILPOINT = "kill -9 at a failpoint"
    ABORT = "transaction aborted"
    PAUSE_SESSION = "pause past the session timeout"
    PAUSE_TRANSACTION = "pause inside a transaction past its timeout"
    PAUSE_WITH_BATCH = "pause with a batch decided but not written"
    PAUSE_REPLACED = "pause, while another takes the slot over"
    BROKER_RESTART = "broker restart"
    BROKER_KILL = "broker kill -9"
    BROKER_PAUSE = "broker pause"
    ADD = "worker added"
    REMOVE = "worker removed"
    CRASH_RECORD = "record that ends the process"
    DISK_FULL = "state directory full"
    TORN_FILES = "snapshots damaged"


PAUSES = (
    FaultKind.PAUSE_SESSION,
    FaultKind.PAUSE_TRANSACTION,
    FaultKind.PAUSE_WITH_BATCH,
    FaultKind.PAUSE_REPLACED,
)
KILLS = (FaultKind.KILL, FaultKind.KILL_SOON, FaultKind.FAILPOINT, FaultKind.TORN_FILES)
BROKER_STARTS = (FaultKind.BROKER_KILL, FaultKind.BROKER_RESTART)
"""After these the broker reads everything back from its disk."""
MEMBERSHIP = (FaultKind.ADD, FaultKind.REMOVE)


class Failpoint(StrEnum):
    """Named places in a worker, all around its log and none in its code."""

    BEFORE_OFFSETS = "before_offsets"
    """Outputs are produced, the offsets are not yet sent."""
    AFTER_OFFSETS = "after_offsets"
    """The offsets are part of the transaction, which is not yet committed."""
    INSIDE_COMMIT = "inside_commit"
    """Up to 5 ms after the commit was asked for."""
    AFTER_COMMIT = "after_commit"
    """The commit has returned; nothing local knows of it."""
    AFTER_APPLY = "after_apply"
    """The worker has taken the commit in and decided the next batch; nothing of that is written."""
    IN_RESTORE = "in_restore"
    """While state is read back from its changelog."""


TORN_KINDS = ("truncated", "bit flipped", "removed", "another partition's", "an older one's")
"""What is done to a slot's snapshots while no worker uses them."""

WORKERS_MAX = 4
WORKERS_AT_START = 2


@dataclass(frozen=True)
class Fault:
    """One fault; `detail` says which failpoint or kind of damage."""

    kind: FaultKind
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.kind} ({self.detail})" if self.detail else str(self.kind)


@dataclass(frozen=True)
class Quotas:
    """The least that a run must have done to count."""

    kills: int
    pauses: int
    broker_starts: int
    rebalances: int


def quotas(minutes: float) -> Quotas:
    """200 kills, 20 pauses, 10 broker kills and restarts, 50 rebalances in an hour; a short run does some of each."""
    share = minutes / MINUTES_FULL
    return Quotas(
        kills=max(10, math.ceil(200 * share)),
        pauses=max(2, math.ceil(20 * share)),
        broker_starts=max(1, math.ceil(10 * share)),
        rebalances=max(5, math.ceil(50 * share)),
    )


def make_plan(minutes: float, seed: int) -> list[Fault]:
    """Every fault of a run in its order. Each failpoint comes at least once, a broker is killed at least once."""
    chance = random.Random(f"plan {seed}")
    share = minutes / MINUTES_FULL
    faults = [
        *_times(max(3, int(75 * share)), Fault(FaultKind.KILL)),
        *_times(math.ceil(60 * share), Fault(FaultKind.KILL_SOON)),
        *(Fault(FaultKind.FAILPOINT, point) for point in Failpoint for _ in range(math.ceil(12 * share))),
        *_times(math.ceil(12 * share), Fault(FaultKind.ABORT)),
        *_in_turn(PAUSES, max(2, math.ceil(24 * share)), chance),
        *_times(math.ceil(6 * share), Fault(FaultKind.BROKER_KILL)),
        *_times(round(6 * share), Fault(FaultKind.BROKER_RESTART)),
        *_times(round(4 * share), Fault(FaultKind.BROKER_PAUSE)),
        *_times(math.ceil(12 * share), Fault(FaultKind.DISK_FULL)),
        *_torn(max(1, int(30 * share)), chance),
    ]
    chance.shuffle(faults)
    crashes = math.ceil(10 * share)
    return list(_with_crashes(_with_membership(faults, max(4, math.ceil(60 * share))), crashes))


def _times(count: int, fault: Fault) -> list[Fault]:
    return [fault] * count


def _in_turn(kinds: tuple[FaultKind, ...], count: int, chance: random.Random) -> list[Fault]:
    order = list(kinds)
    chance.shuffle(order)
    return [Fault(order[number % len(order)]) for number in range(count)]


def _torn(count: int, chance: random.Random) -> list[Fault]:
    """The kinds in turn; an older snapshot is the last, for it is one that was kept when others were damaged."""
    kinds = list(TORN_KINDS[:-1])
    chance.shuffle(kinds)
    kinds.append(TORN_KINDS[-1])
    return [Fault(FaultKind.TORN_FILES, kinds[number % len(kinds)]) for number in range(count)]


def _with_membership(faults: list[Fault], changes: int) -> Iterator[Fault]:
    """Strew in workers that come and go, from one to four and back, again and again."""
    workers, rising = WORKERS_AT_START, True
    after = {len(faults) * number // changes for number in range(changes)}
    extra = changes - len(after)
    for position, fault in enumerate(faults):
        for _ in range((position in after) + (extra if position == 0 else 0)):
            if workers in (1, WORKERS_MAX):
                rising = workers == 1
            workers += 1 if rising else -1
            yield Fault(FaultKind.ADD if rising else FaultKind.REMOVE)
        yield fault


def _with_crashes(faults: Iterator[Fault], count: int) -> Iterator[Fault]:
    """Strew in records that end the process, where few workers are: each of them may have to meet it three times."""
    workers, left = WORKERS_AT_START, count
    for number, fault in enumerate(faults):
        if left and workers <= WORKERS_AT_START and (number == 0 or fault.kind in MEMBERSHIP):
            left -= 1
            yield Fault(FaultKind.CRASH_RECORD)
        workers += {FaultKind.ADD: 1, FaultKind.REMOVE: -1}.get(fault.kind, 0)
        yield fault


CONTROL_PLANS = {
    "offsets-outside-transaction": [Fault(FaultKind.FAILPOINT, Failpoint.AFTER_OFFSETS)] * 4,
    "no-group-metadata": [Fault(FaultKind.PAUSE_WITH_BATCH)] * 6,
    "read-uncommitted": [Fault(FaultKind.ABORT)] * 6,
    "position-offsets": [Fault(FaultKind.FAILPOINT, Failpoint.AFTER_COMMIT), Fault(FaultKind.KILL)] * 3,
    "no-rewind": [Fault(FaultKind.ABORT)] * 6,
    "dedupe-off": [Fault(FaultKind.KILL)],
}
"""For each negative control the faults under which its sabotage has to show, several times over."""
