"""What the workers tell while they live: each a datagram to a socket of the harness, sent before its next step.

A worker that kills itself has told what it did before; nothing is buffered in the process that dies. Times are of the
machine's monotonic clock, which all processes share.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

_DATAGRAM_BYTES_MAX = 65_536

Place = tuple[str, int]
"""Service and number of its partition."""


class Teller:
    """The worker's side."""

    def __init__(self, address: str, slot: int) -> None:
        """Connect; the harness is listening before it starts a worker."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.connect(address)
        self._slot = slot

    def tell(self, kind: str, **details: Any) -> None:
        """Send one event; what cannot be sent is left out, for a worker must not die of being watched."""
        event = {"kind": kind, "slot": self._slot, "pid": os.getpid(), "at": time.monotonic(), **details}
        with contextlib.suppress(OSError):
            self._socket.send(json.dumps(event).encode())


@dataclass(frozen=True)
class Commit:
    """A place's last commit."""

    at: float
    process_id: int


@dataclass(frozen=True)
class Gap:
    """A time in which nobody held any partition of a group."""

    service: str
    began: float
    ended: float


@dataclass
class Watched:
    """All that is known of the workers; read it under `Events.changed`."""

    commits: dict[Place, Commit] = field(default_factory=dict)
    commit_count: int = 0
    generations: dict[str, set[int]] = field(default_factory=dict)
    """Generations of each group in which some worker was given partitions: one for each rebalance."""
    holders: dict[str, dict[int, int]] = field(default_factory=dict)
    """Slots of the workers that hold partitions of each group, by process id."""
    unassigned_since: dict[str, float] = field(default_factory=dict)
    """Since when nobody holds any, by service."""
    gaps: list[Gap] = field(default_factory=list)
    """Those that are over."""
    reached: Counter[str] = field(default_factory=Counter)
    """How often each failpoint was reached and acted upon."""
    told: Counter[str] = field(default_factory=Counter)
    """Events by kind."""


class Events:
    """The harness's side: a thread that listens, and a state that others wait on."""

    def __init__(self, directory: Path) -> None:
        """Listen on a socket in this directory, whose path must be short."""
        self.address = str(directory / "events")
        self.changed = threading.Condition()
        self.watched = Watched()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._thread = threading.Thread(target=self._listen, name="events", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        Teller(self.address, -1).tell("close")
        self._thread.join(5)
        self._socket.close()

    def wait(self, probe: Callable[[Watched], T | None], seconds_max: float) -> T | None:
        """Wait until the probe finds something in the state; None when it does not in time."""
        with self.changed:
            return self.changed.wait_for(lambda: probe(self.watched), seconds_max)

    def read(self, probe: Callable[[Watched], T]) -> T:
        """Look at the state."""
        with self.changed:
            return probe(self.watched)

    def _listen(self) -> None:
        while True:
            event = json.loads(self._socket.recv(_DATAGRAM_BYTES_MAX))
            if event["kind"] == "close":
                return
            with self.changed:
                enter(self.watched, event)
                self.changed.notify_all()


def enter(watched: Watched, event: dict[str, Any]) -> None:
    """Take one event in."""
    watched.told[event["kind"]] += 1
    match event["kind"]:
        case "commit":
            watched.commit_count += 1
            commit = Commit(event["at"], event["pid"])
            for service, number in event["places"]:
                watched.commits[service, number] = commit
        case "assigned":
            watched.generations.setdefault(event["service"], set()).add(event["generation"])
            _hold(watched, event["service"], event, holds=bool(event["partitions"]))
        case "revoked":
            _hold(watched, event["service"], event, holds=False)
        case "started":  # whoever had the slot before is gone, and may have had no time to say so
            for service, holders in watched.holders.items():
                for process_id in [old for old, slot in holders.items() if slot == event["slot"]]:
                    _hold(watched, service, {**event, "pid": process_id}, holds=False)
        case "failpoint":
            watched.reached[event["name"]] += 1


def _hold(watched: Watched, service: str, event: dict[str, Any], *, holds: bool) -> None:
    """A worker holds partitions of a group from now on, or none."""
    holders = watched.holders.setdefault(service, {})
    if holds:
        holders[event["pid"]] = event["slot"]
        if service in watched.unassigned_since:
            watched.gaps.append(Gap(service, watched.unassigned_since.pop(service), event["at"]))
    elif holders.pop(event["pid"], None) is not None and not holders:
        watched.unassigned_since[service] = event["at"]


def unassigned_seconds(watched: Watched, since: float, now: float) -> dict[str, float]:
    """For how long at most nobody held partitions of each group, of the time after a moment; 0 is left out."""
    longest: dict[str, float] = {}
    running = [Gap(service, began, now) for service, began in watched.unassigned_since.items()]
    for gap in (*watched.gaps, *running):
        seconds = gap.ended - max(gap.began, since)
        if seconds > longest.get(gap.service, 0.0):
            longest[gap.service] = seconds
    return longest


def places_of(watched: Watched, process_ids: Iterable[int], since: float) -> set[Place]:
    """Places that these processes were the last to commit, after a point in time."""
    wanted = set(process_ids)
    return {place for place, commit in watched.commits.items() if commit.process_id in wanted and commit.at >= since}
