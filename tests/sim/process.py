"""One worker process: the real coordinator on a loop, threads and ports of the simulation."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from services.engine.app import Engine
from services.engine.codec import TopicCodec
from services.engine.coordinator import Coordinator
from services.engine.log import Log
from services.engine.member import HostedService
from services.engine.metrics import Metrics
from services.engine.work import Batch
from services.pipeline import REFERENCE_TOPICS
from tests.engine.harness import PlainAgents
from tests.sim.loop import SimLoop, SimRuntime
from tests.sim.ports import Ports, Process, SimFiles, WorkerFiles, WorkerLog
from tests.sim.scheduler import Actor
from tests.support import sabotage


class WorkerProcess(Process):
    """A worker from its start to its death; a restart is another one on the same slot."""

    def __init__(self, ports: Ports, slot: int, incarnation: int, disk: SimFiles) -> None:
        self.dead = False
        self.paused = False
        self.held: list[Actor] = []
        self.slot = slot
        self.name = f"w{slot}.{incarnation}"
        self.failure: BaseException | None = None
        """What ended it by itself."""
        self.ended = False
        """Stopped in order, or ended by a failure."""
        self.reaped = False
        self.coordinator: Coordinator | None = None
        self._ports = ports
        self._disk = disk
        self._loop = SimLoop(ports.scheduler, self)  # type: ignore[abstract]  # sockets and signals are not simulated
        self._runtime = SimRuntime(ports.scheduler, self)

    def start(
        self, services: Sequence[HostedService], codec: TopicCodec, metrics: Metrics, *, control: str = ""
    ) -> None:
        """Run the coordinator; it goes on by itself."""
        log: Log = WorkerLog(self._ports, self)
        if control:
            log, services = sabotage.apply(control, log), sabotage.hosted(control, services)
        reads_reference = any(service.stage.name == "enrichment" for service in services)
        topics = REFERENCE_TOPICS if reads_reference else {}
        engine = Engine(
            log=log,
            codec=codec,
            services=services,
            reference_topics=topics,
            metrics=metrics,
            transactional_id=f"worker.{self.slot}",
            files=WorkerFiles(self._ports, self, self._disk),
            runtime=self._runtime,
        )
        self.coordinator = engine.start(PlainAgents(Batch.process, []))
        self._ports.note(self.name, "starts")
        task = self._loop.create_task(self.coordinator.run())
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.ended = True
        self._ports.endings += 1
        if not task.cancelled():
            self.failure = task.exception()
        self._ports.note(self.name, f"has ended: {self.failure!r}")
        self._ports.broker.silent(self)

    def stop(self) -> None:
        """Ask it to stop, as SIGTERM does."""
        assert self.coordinator is not None
        self._ports.note(self.name, "is stopped")
        self._loop.create_task(self.coordinator.stop())

    def die(self) -> None:
        """As kill -9. What it was doing is unwound by `reap`, after the turn."""
        if not self.dead:
            self.dead = True
            self._ports.deaths += 1
            self._ports.broker.silent(self)

    def pause(self) -> None:
        """As SIGSTOP."""
        self._ports.note(self.name, "is paused")
        self.paused = True
        self._ports.broker.silent(self)

    def freeze(self, seconds: float | None = None) -> None:
        """Stand still, and go on perhaps only after the session is over."""
        if self.paused:
            return
        self.pause()
        if seconds is None:
            seconds = self._ports.seconds(0.1, 2.5 * self._ports.broker.session_timeout_seconds)
        self._ports.scheduler.after(seconds, self.resume)

    def resume(self) -> None:
        """As SIGCONT."""
        if self.paused and not self.dead:
            self._ports.note(self.name, "goes on")
        self.paused = False
        self._ports.scheduler.release(self)

    def reap(self) -> None:
        """Unwind whatever of a dead process still waits."""
        self.reaped = True
        self._loop.end()
        self._runtime.end()

    @property
    def ready(self) -> bool:
        """Whether it says so itself."""
        return self.coordinator is not None and self.coordinator.ready

    @property
    def runs(self) -> bool:
        """Whether it is there at all, paused or not."""
        return not self.dead and not self.ended
