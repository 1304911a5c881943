"""The Faust app of a worker: one agent per hosted service, metrics and health on its web server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import faust

from services.domain.reference import ReferenceRecord
from services.engine.codec import TopicCodec
from services.engine.coordinator import Agents, Coordinator
from services.engine.faust_internals import BatchSchema
from services.engine.local_files import LocalFiles
from services.engine.log import Log
from services.engine.member import HostedService
from services.engine.metrics import Metrics
from services.engine.protection import DEAD_LETTER_SHARE_MAX, Protection
from services.engine.reference import ReferenceFeed
from services.engine.runtime import SYSTEM, Runtime
from services.engine.snapshots import Snapshots
from services.engine.work import Batch

LIVE_SECONDS_MAX = 60.0
"""The loop turns about once a second, also while it waits for a call on another thread."""


@dataclass
class Engine:
    """What a worker is made of, given to the transport through the app."""

    log: Log
    codec: TopicCodec
    services: Sequence[HostedService]
    reference_topics: Mapping[str, type[ReferenceRecord]]
    metrics: Metrics
    transactional_id: str
    files: LocalFiles
    tombstones_kept_seconds: float = 86_400.0
    """How long every changelog keeps a deletion, `delete.retention.ms`; the default is Kafka's."""
    dead_letter_share_max: float = DEAD_LETTER_SHARE_MAX
    """Share of dead letters, from 0 to 1, beyond which a service stops in place."""
    runtime: Runtime = SYSTEM
    coordinator: Coordinator | None = None
    failure: BaseException | None = None
    """What ended the coordinator, also when that was before Faust had started to watch over it."""

    def start(self, agents: Agents) -> Coordinator:
        """Make the coordinator; the transport runs it."""
        self.coordinator = Coordinator(
            log=self.log,
            services=self.services,
            codec=self.codec,
            reference=ReferenceFeed(self.log, self.codec, self.reference_topics, self.runtime),
            metrics=self.metrics,
            transactional_id=self.transactional_id,
            agents=agents,
            runtime=self.runtime,
            snapshots=Snapshots(
                self.log, self.files, self.metrics, self.runtime, tombstones_kept_seconds=self.tombstones_kept_seconds
            ),
            protection=Protection(self.files, self.metrics, self.runtime, share_max=self.dead_letter_share_max),
        )
        return self.coordinator

    @property
    def live(self) -> bool:
        """Whether the loop turns and every call returns; an outage of the broker must not restart every worker."""
        if self.coordinator is None:
            return True
        turns = self.runtime.monotonic() - self.coordinator.turned_at < LIVE_SECONDS_MAX
        return turns and not self.coordinator.is_stuck

    @property
    def halted(self) -> list[str]:
        """Services that stopped in place; see `services.engine.share_limit`."""
        return [] if self.coordinator is None else self.coordinator.halted

    @property
    def ready(self) -> bool:
        """Whether every group has given an assignment and everything owned is restored; see `Coordinator.ready`."""
        return self.coordinator is not None and self.coordinator.ready


class App(faust.App):
    """A Faust app that stops its coordinator before Faust stops the agents."""

    engine: Engine

    async def on_stop(self) -> None:
        """Finish the running round, leave the groups, then let Faust stop the rest."""
        if self.engine.coordinator is not None:
            await self.engine.coordinator.stop()
        await super().on_stop()

    def _create_directories(self) -> None:
        """None: we keep no table in Faust's folders. Ours is made where it is written, and a disk may refuse."""


def make_app(
    engine: Engine, *, app_id: str, web_host: str, web_port: int, data_dir: str, web_enabled: bool = True
) -> App:
    """Build the app: each service is an agent over record batches of its own Faust topic."""
    app = App(
        app_id,
        broker="posttrade://log",
        web_enabled=web_enabled,
        web_host=web_host,
        web_bind=web_host,
        web_port=web_port,
        datadir=data_dir,
        topic_disable_leader=True,
        stream_wait_empty=False,
        topic_allow_declare=False,
    )
    app.engine = engine
    app.consumer_generation_id = 0
    for service in engine.services:
        stage = service.stage
        engine.metrics.register(
            stage.name, inputs=service.inputs, outputs=service.outputs, causes=stage.suppress_causes
        )
        _add_agent(app, stage.name)
    _add_pages(app, engine)
    return app


def _add_agent(app: App, name: str) -> None:
    topic = app.topic(name, schema=BatchSchema(value_type=bytes, key_type=bytes), acks=False)

    async def process(batches: Any) -> None:
        batch: Batch
        async for batch in batches:
            batch.process()

    app.agent(topic, name=name)(process)


def _add_pages(app: App, engine: Engine) -> None:
    async def metrics(view: Any, _request: Any) -> Any:
        return view.bytes(engine.metrics.exposition(), content_type="text/plain", headers={"X-Format": "prometheus"})

    async def livez(view: Any, _request: Any) -> Any:
        return _health(view, ok=engine.live)

    async def readyz(view: Any, _request: Any) -> Any:
        return view.json({"ok": engine.ready, "halted": engine.halted}, status=200 if engine.ready else 503)

    for name, view in (("metrics", metrics), ("livez", livez), ("readyz", readyz)):
        app.page(f"/{name}", name=name)(view)


def _health(view: Any, *, ok: bool) -> Any:
    return view.json({"ok": ok}, status=200 if ok else 503)
