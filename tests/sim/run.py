"""One seed: work and faults together, then peace until everything is drained, then the audit."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import random
from asyncio import events
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from services.engine import coordinator, lag, reference, snapshots
from services.engine.codec import TopicCodec
from services.engine.log import Fenced, OutgoingRecord
from services.engine.member import HostedService, consumer_group
from services.engine.metrics import Metrics
from services.pipeline import hosted_services, topic_counts
from services.settings import Settings
from tests.sim import judge
from tests.sim.amnesia import Amnesia
from tests.sim.broker import Broker
from tests.sim.choking import choking
from tests.sim.clerks import Clerks
from tests.sim.loop import SimRuntime
from tests.sim.options import EVENT_FAULTS, Options
from tests.sim.ports import Ports, SimFiles
from tests.sim.process import WorkerProcess
from tests.sim.scheduler import Scheduler, Stuck
from tests.sim.workload import Sending, Workload, bank, shared_codec

PEACE_SECONDS_MAX = 120.0
"""Once faults have stopped, everything must be drained within this virtual time."""
STEPS_MAX = 400_000
QUIET_SECONDS = 2.5
"""Nothing to read for so long: a tick and a reading of reference data are over."""
_LOOK_SECONDS = 0.5
_EVICTED_SHARE = 0.5
_FORGOTTEN_SHARE = 0.6
_FORGOTTEN_SECONDS_MAX = 8.0


@dataclass
class Outcome:
    """What came of one run."""

    options: Options
    breaks: list[str]
    """Each a sentence; empty when all is well."""
    was_refused: bool
    """Whether the audit found a break; False as well where a run was cut short and not audited."""
    fingerprint: str
    """Of the whole trace, every turn included."""
    calls: int
    steps: int
    seconds: float
    """Of the virtual clock."""
    faults: Counter[str]
    trace: list[str]
    report: str = ""
    """The auditor's findings, one in a line; empty where there was no audit."""
    records: int = 0
    restarts: int = 0


class Simulation:
    """One run; `go` answers with its outcome."""

    def __init__(self, options: Options, world: World) -> None:
        self.options = options
        self.world = world
        rng = random.Random(f"schedule {options.seed}")
        self._rng = random.Random(f"events {options.seed}")
        self.scheduler = Scheduler(rng, stall_rate=options.stall_rate, stall_seconds=0.2)
        self.broker = Broker(
            world.topics(options.partitions),
            clock=SimRuntime(self.scheduler, _Nobody()),
            scheduler=self.scheduler,
            session_timeout_seconds=options.session_timeout_seconds,
            transaction_timeout_seconds=options.transaction_timeout_seconds,
            amnesia=Amnesia(random.Random(f"amnesia {options.seed}")),
        )
        self.ports = Ports(options, self.scheduler, self.broker, random.Random(f"calls {options.seed}"))
        self.processes: list[WorkerProcess] = []
        self.slots: dict[int, WorkerProcess] = {}
        """The process that a supervisor watches over, by slot: another one starts when it ends."""
        self.disks: dict[int, SimFiles] = {}
        self.unsent: list[Sending] = []
        self.breaks: list[str] = []
        self.restarts = 0
        self._peace_at = 0.0
        self._quiet_since: float | None = None
        self._done = False

    # --- workers

    def start(self, slot: int) -> None:
        """Start a process on a slot, whoever else runs there."""
        disk = self.disks.setdefault(slot, SimFiles())
        if self._rng.random() < self.options.damage_share:
            self.ports.injected["damaged file"] += bool(disk.contents)
            self.ports.note("disk", disk.damage(self._rng))
        process = WorkerProcess(self.ports, slot, len(self.processes), disk)
        self.processes.append(process)
        self.slots[slot] = process
        process.start(
            self.world.services(self.options), self.world.codec, self.world.metrics, control=self.options.control
        )

    def _look_after(self) -> None:
        """Bury the dead, and let supervisors start anew what ended unasked."""
        for process in self.processes:
            if process.dead and not process.reaped:
                process.reap()
                self._restart_later(process)
            elif process.ended and not process.reaped:
                process.reaped = True
                if process.failure is not None and not isinstance(process.failure, Fenced):
                    self.breaks.append(f"{process.name} ended by {process.failure!r}")
                    self._done = True
                self._restart_later(process)

    def _restart_later(self, process: WorkerProcess) -> None:
        if self.slots.get(process.slot) is not process:
            return  # nobody watches over it, or it was stopped on purpose

        def restart() -> None:
            if self.slots.get(process.slot) is process and not self._done:
                self.restarts += 1
                self.start(process.slot)

        self.scheduler.after(self._rng.uniform(0.1, self.options.restart_seconds_max), restart)

    # --- faults that come at a moment

    def _plan(self) -> None:
        for name in EVENT_FAULTS:
            for _ in range(self.options.event_counts.get(name, 0)):
                moment = self._rng.uniform(0.0, self.options.work_seconds)
                self.scheduler.at(moment, functools.partial(self._strike, name))

    def _strike(self, name: str) -> None:
        running = [process for process in self.slots.values() if process.runs and not process.paused]
        victim = self._rng.choice(running) if running else None
        if name == "outage":
            self._outage()
        elif name == "amnesia":
            self._amnesia()
        elif name == "join":
            self.ports.injected[name] += 1
            self.start(max(self.disks, default=-1) + 1)
        elif victim is not None:
            self.ports.injected[name] += 1
            getattr(self, f"_{name}")(victim)

    def _outage(self) -> None:
        if self.broker.away:
            return
        self.ports.injected["outage"] += 1
        self.broker.away = True
        self.ports.note("broker", "is away")

        def back() -> None:
            self.broker.away = False
            self.ports.note("broker", "is back")
            with self.broker.changed:
                self.broker.changed.notify_all()

        self.scheduler.after(self._rng.uniform(0.2, 6.0), back)

    def _amnesia(self) -> None:
        forgotten = [group for group, _ in self.world.inputs if self._rng.random() < _FORGOTTEN_SHARE]
        self.ports.injected["amnesia"] += bool(forgotten)
        for group in forgotten:
            seconds = self._rng.uniform(0.2, _FORGOTTEN_SECONDS_MAX)
            self.ports.note("broker", f"forgets {group} for {seconds:.3f} s")
            self.broker.forget(group, seconds)

    def _kill(self, victim: WorkerProcess) -> None:
        self.ports.note(victim.name, "KILLED")
        victim.die()

    def _leave(self, victim: WorkerProcess) -> None:
        if len(self.slots) > 1:
            del self.slots[victim.slot]
        victim.stop()

    def _pause(self, victim: WorkerProcess) -> None:
        victim.freeze()

    def _evict(self, victim: WorkerProcess) -> None:
        """Twice within a moment, so that it also befalls whoever has just taken over."""

        def evict() -> None:
            for process in self.processes:
                if process is victim or self._rng.random() < _EVICTED_SHARE:
                    self.broker.evict(process, lambda: self._rng.random() < _EVICTED_SHARE)

        evict()
        self.scheduler.after(self._rng.uniform(0.0, 1.5), evict)

    def _usurp(self, victim: WorkerProcess) -> None:
        self._pause(victim)

        def usurp() -> None:
            if not self._done and self.slots.get(victim.slot) is victim:
                self.start(victim.slot)

        self.scheduler.after(self._rng.uniform(0.0, self.options.session_timeout_seconds), usurp)

    # --- the run

    def go(self) -> Outcome:
        """Run to the end."""
        try:
            return self._go()
        finally:
            events._set_running_loop(None)

    def _go(self) -> Outcome:
        self.unsent = self.world.prepare(self)
        for slot in range(self.options.workers):
            self.start(slot)
        self._plan()
        self.world.begin(self)
        self._send_next()
        self.scheduler.at(self.options.work_seconds, self._make_peace)
        try:
            while not self._done:
                self.scheduler.step()
                if self.ports.deaths or self.ports.endings:
                    self.ports.deaths = self.ports.endings = 0
                    self._look_after()
                if self.scheduler.steps > STEPS_MAX:
                    raise Stuck(f"not done after {STEPS_MAX:,} steps")
        except Stuck as error:
            self.breaks.append(f"liveness: {error}; {self._what_is_left()}")
        return self._outcome()

    def _send_next(self) -> None:
        """Whoever sends waits while the log is away."""
        while self.unsent and self.unsent[0].at <= self.scheduler.now and not self.broker.away:
            self._send(self.unsent.pop(0).records)
        if self.unsent:
            self.scheduler.at(max(self.unsent[0].at, self.scheduler.now + 0.01), self._send_next)

    def _send(self, records: Sequence[OutgoingRecord]) -> None:
        self.ports.note("sender", ", ".join(f"{record.topic} {record.key!r}" for record in records[:3]))
        self.broker.send(records)

    def _make_peace(self) -> None:
        """Faults stop; what is paused or away comes back by itself."""
        self.ports.note("run", "peace")
        self.ports.enabled = False
        self._peace_at = self.scheduler.now
        self._look()

    def _look(self) -> None:
        """Whether all is drained and has stayed so."""
        if self._busy():
            self._quiet_since = None
        elif self._quiet_since is None:
            self._quiet_since = self.scheduler.now
        elif self.scheduler.now - self._quiet_since >= QUIET_SECONDS:
            if not self.world.goes_on(self):
                self._done = True
                return
            self._quiet_since = None
        if self.scheduler.now - self._peace_at > PEACE_SECONDS_MAX:
            self.breaks.append(f"liveness: not drained {PEACE_SECONDS_MAX:.0f} s after peace; {self._what_is_left()}")
            self._done = True
            return
        self.scheduler.after(_LOOK_SECONDS, self._look)

    def _busy(self) -> bool:
        if self.unsent or self.broker.away or self.broker.is_open or self.broker.amnesia.lasts:
            return True
        if any(p.paused for p in self.processes):
            return True
        if not all(process.runs and process.ready for process in self.slots.values()):
            return True
        return any(self.broker.remaining(group, inputs) for group, inputs in self.world.inputs)

    def _what_is_left(self) -> str:
        left = {group: self.broker.remaining(group, inputs) for group, inputs in self.world.inputs}
        workers = ", ".join(
            f"{process.name} {'runs' if process.runs else 'is gone'}{'' if process.ready else ', not ready'}"
            for process in self.processes
            if process.runs or self.slots.get(process.slot) is process
        )
        return f"unread {left}, open transactions {self.broker.is_open}, workers: {workers}"

    def _outcome(self) -> Outcome:
        for process in self.processes:
            if not process.dead:
                process.dead = True
                process.reap()
        # A run that was cut short is not drained, and an audit of it would only hide why.
        verdict = judge.Verdict([], "", 0) if self.breaks else self.world.judge(self)
        ports, scheduler = self.ports, self.scheduler
        digest = hashlib.blake2b("\n".join(ports.trace).encode(), digest_size=16)
        digest.update(bytes(scheduler.picks))
        faults = ports.injected + Counter({name: n for name, n in self.broker.counts.items() if n})
        return Outcome(
            options=self.options,
            breaks=self.breaks + verdict.breaks,
            was_refused=bool(verdict.breaks),
            fingerprint=digest.hexdigest(),
            calls=ports.calls,
            steps=scheduler.steps,
            seconds=scheduler.now,
            faults=faults,
            trace=ports.trace,
            report=verdict.report,
            records=verdict.records,
            restarts=self.restarts,
        )


class _Nobody:
    """The owner of the broker's clock."""

    dead = False
    paused = False
    held: list[Any] = []  # noqa: RUF012  # nothing is ever held


class World:
    """What is simulated: services, topics, senders, and who judges."""

    codec: TopicCodec
    metrics: Metrics
    inputs: list[tuple[str, tuple[str, ...]]]
    """Groups with the topics they read."""

    def topics(self, partitions: int) -> dict[str, int]:
        """Every topic with its number of partitions."""
        raise NotImplementedError

    def services(self, options: Options) -> list[HostedService]:
        """What every worker hosts."""
        raise NotImplementedError

    def prepare(self, simulation: Simulation) -> list[Sending]:
        """What lies on the log at the start, and what is sent when."""
        raise NotImplementedError

    def begin(self, simulation: Simulation) -> None:
        """The workers have been started: whoever acts beside them begins."""

    def goes_on(self, simulation: Simulation) -> bool:
        """All is drained: whether somebody has given the workers more to do."""
        return False

    def judge(self, simulation: Simulation) -> judge.Verdict:
        """Judge the log as it is in the end."""
        raise NotImplementedError


class Pipeline(World):
    """The five services."""

    def __init__(self) -> None:
        self.codec = judge.RememberingCodec(shared_codec())
        self._hosted: dict[int, list[HostedService]] = {}
        self.metrics = Metrics(version="simulation")
        hosted = self._services(Options(seed=0))
        for service in hosted:
            stage = service.stage
            self.metrics.register(
                stage.name, inputs=service.inputs, outputs=service.outputs, causes=stage.suppress_causes
            )
        self.inputs = [(consumer_group(service.stage.name), service.inputs) for service in hosted]

    def topics(self, partitions: int) -> dict[str, int]:
        return {name: 1 if count == 1 else partitions for name, count in topic_counts_once().items()}

    def services(self, options: Options) -> list[HostedService]:
        return choking(self._services(options), self.workload.marks)

    def _services(self, options: Options) -> list[HostedService]:
        """Stages hold nothing, so all workers of all runs share them."""
        after = options.overdue_after_seconds
        if after not in self._hosted:
            settings = Settings(unallocated_after_seconds=after, unconfirmed_after_seconds=after)
            self._hosted[after] = hosted_services(settings)
        return self._hosted[after]

    def prepare(self, simulation: Simulation) -> list[Sending]:
        simulation.broker.send(bank().reference)
        self.workload = Workload(simulation.options, random.Random(f"work {simulation.options.seed}"))
        self.clerks = Clerks(simulation, self.workload.marks, self.codec)
        return self.workload.sendings

    def begin(self, simulation: Simulation) -> None:
        self.clerks.begin()

    def goes_on(self, simulation: Simulation) -> bool:
        return self.clerks.tidy()

    def judge(self, simulation: Simulation) -> judge.Verdict:
        self.clerks.count()
        return judge.judge(simulation.broker, self.workload, self.clerks.given_up)


@functools.cache
def topic_counts_once() -> dict[str, int]:
    """Reading the topic files takes a while."""
    return topic_counts()


_WAITS: tuple[tuple[Any, str, float], ...] = (
    (coordinator, "POLL_SECONDS", 0.4),
    (reference, "FOLLOW_SECONDS", 1.0),
    (lag, "LAG_SECONDS", 5.0),
    (snapshots, "CHANGES_MIN", 10),
)
"""Idle waits of the engine, made longer, for an idle turn costs real time; and snapshots, which come far more often.

Nothing depends on any of these but how long things take.
"""


@contextlib.contextmanager
def surroundings() -> Iterator[None]:
    """Longer waits, and a log of the engine that nobody sees, for the time of any number of runs."""
    before = [(module, name, getattr(module, name)) for module, name, _ in _WAITS]
    configuration = structlog.get_config()
    for module, name, seconds in _WAITS:
        setattr(module, name, seconds)
    structlog.configure(processors=[_silence])
    try:
        yield
    finally:
        for module, name, seconds in before:
            setattr(module, name, seconds)
        structlog.configure(**configuration)


def _silence(_logger: Any, _method: str, _event: Any) -> Any:
    raise structlog.DropEvent


def simulate(options: Options, world: World) -> Outcome:
    """One run, inside `surroundings`."""
    return Simulation(options, world).go()
