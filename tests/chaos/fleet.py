"""The worker processes of a run: started, ended, stopped and looked after, each by its own id."""

from __future__ import annotations

import contextlib
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from deploy.local.guarded_process import GuardedProcess
from deploy.local.kafka_jars import REPOSITORY
from services.commands.failure import EXIT_FENCED
from tests.chaos.places import Places
from tests.chaos.poison import EXIT_CODE

STOP_GRACE_SECONDS = 35.0
"""A worker ends its own stop after 25 s."""
KILLED = 128 + signal.SIGKILL
YOUNG_SECONDS = 5.0
"""A worker that has ended by then could not start."""
YOUNG_ENDS_MAX = 5


class CrashLoopError(Exception):
    """Workers cannot run; starting more of them shows nothing."""


@dataclass
class Worker:
    """One running process of a slot."""

    slot: int
    process: GuardedProcess
    started_at: float
    """Monotonic seconds."""

    @property
    def id(self) -> int:
        """Its process id."""
        return self.process.id


@dataclass
class Ends:
    """How processes ended that nobody had asked to."""

    by_exit_code: Counter[int] = field(default_factory=Counter)
    logs: list[str] = field(default_factory=list)
    """Their logs, for whoever wants to know why."""


class Fleet:
    """Slots 0 to n, of which each has one process, or two for a moment while one takes over from the other."""

    def __init__(self, places: Places, environment: Mapping[str, str], control: str = "") -> None:
        """Start nothing yet."""
        self._places = places
        self._environment = environment
        self._control = control
        self._starts: Counter[int] = Counter()
        self.workers: dict[int, Worker] = {}
        self.replaced: list[Worker] = []
        """Processes whose slot another has taken over."""
        self._young_ends = 0
        self.ends = Ends()
        self.clean_stops: Counter[int] = Counter()
        """Exit codes of workers that were asked to stop."""

    def start(self, slot: int) -> Worker:
        """Start a slot's process; one that is still there is kept apart as replaced."""
        if slot in self.workers:
            self.replaced.append(self.workers.pop(slot))
        self._starts[slot] += 1
        command = [sys.executable, "-m", "tests.chaos.worker", str(self._places.root), str(slot)]
        process = GuardedProcess(
            [*command, self._control] if self._control else command,
            directory=REPOSITORY,
            output=self._places.worker_log(slot, self._starts[slot]),
            grace_seconds=STOP_GRACE_SECONDS,
            environment=self._environment,
        )
        self.workers[slot] = Worker(slot, process, time.monotonic())
        return self.workers[slot]

    def add(self) -> Worker:
        """Start the first free slot."""
        return self.start(next(slot for slot in range(len(self.workers) + 1) if slot not in self.workers))

    def remove(self, slot: int) -> None:
        """Ask a slot's worker to end in good order, and wait."""
        had_begun = self.log_bytes(slot) > 0  # before that, the interpreter itself ends at SIGTERM
        code = self.workers.pop(slot).process.stop()
        self.clean_stops[code if had_begun else 0] += 1

    def kill(self, slot: int) -> int:
        """Kill -9; the process id of the dead."""
        worker = self.workers.pop(slot)
        worker.process.kill()
        return worker.id

    def await_end(self, slot: int, seconds_max: float) -> bool:
        """Wait for a worker that is to end by itself, and take it off the list; False when it has not in time."""
        worker = self.workers[slot]
        deadline = time.monotonic() + seconds_max
        while worker.process.exit_code() is None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        worker.process.stop()
        del self.workers[slot]
        return True

    def tend(self) -> list[int]:
        """Start again what has ended unasked, as a supervisor does; the slots concerned."""
        ended = [slot for slot, worker in self.workers.items() if worker.process.exit_code() is not None]
        for slot in ended:
            worker = self.workers.pop(slot)
            code = worker.process.stop()
            self.ends.by_exit_code[code] += 1
            self._refuse_crash_loop(worker, code)
            if code != EXIT_CODE:
                self.ends.logs.append(f"exit code {code}: {self._places.worker_log(slot, self._starts[slot])}")
            self.start(slot)
        return ended

    def _refuse_crash_loop(self, worker: Worker, code: int) -> None:
        soon = time.monotonic() - worker.started_at < YOUNG_SECONDS
        self._young_ends = self._young_ends + 1 if soon and code != EXIT_CODE else 0
        if self._young_ends >= YOUNG_ENDS_MAX:
            log = self._places.worker_log(worker.slot, self._starts[worker.slot])
            raise CrashLoopError(f"{YOUNG_ENDS_MAX} workers in a row ended at once, the last with {code}; see {log}")

    def retire_replaced(self, seconds_max: float) -> list[int]:
        """Wait for the processes whose slot was taken over; their exit codes, 3 when they noticed by themselves.

        The successor may be the one that ends, for its predecessor takes the slot back: then it is started again, as a
        supervisor does, and the predecessor ends.
        """
        codes = []
        deadline = time.monotonic() + seconds_max
        while self.replaced:
            worker = self.replaced.pop()
            while worker.process.exit_code() is None and time.monotonic() < deadline:
                self.tend()
                time.sleep(0.05)
            codes.append(worker.process.exit_code() or 0)
            worker.process.stop()
        return codes

    def log_bytes(self, slot: int) -> int:
        """How much the slot's process has logged."""
        return self._places.worker_log(slot, self._starts[slot]).stat().st_size

    def tell_where(self) -> None:
        """Have every worker write the stacks of its threads into its log."""
        for worker in (*self.workers.values(), *self.replaced):
            send(worker, signal.SIGUSR1)

    def limit_files(self, slot: int, bytes_max: int | None) -> None:
        """Let no file of the worker grow beyond this size, as if its disk were full; None lifts the limit."""
        limit = resource.RLIM_INFINITY if bytes_max is None else bytes_max
        _, hard = resource.prlimit(self.workers[slot].id, resource.RLIMIT_FSIZE)
        resource.prlimit(self.workers[slot].id, resource.RLIMIT_FSIZE, (limit, hard))

    def stop(self) -> None:
        """Ask all to end, and end those that do not."""
        for worker in (*self.workers.values(), *self.replaced):
            send(worker, signal.SIGCONT)
            send(worker, signal.SIGTERM)
        for slot in list(self.workers):
            self.remove(slot)
        for worker in self.replaced:
            worker.process.stop()
        self.replaced.clear()


def send(worker: Worker, number: signal.Signals) -> None:
    """A signal to a worker that may be ending at this very moment."""
    with contextlib.suppress(ProcessLookupError):
        worker.process.send(number)


EXPECTED_ENDS = frozenset({EXIT_CODE, EXIT_FENCED, KILLED})
"""Exit codes of ends that the harness itself brings about."""
