"""Our engine: enrichment and pipeline are the worker as `posttrade worker` runs it, with a topic prefix.

Pass-through and Avro are the smallest stage there is, on the same engine.

`--loss 0.4` takes away that share of the rate by idling in a loop, so that somebody can see that a check turns red:

    python -m tests.bench.peers.engine --loss 0.4 MEASURE SERVERS PREFIX
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from services.adapters.disk_files import DiskFiles
from services.adapters.topic_codec import FormatCodec
from services.commands import logs
from services.commands.worker import EndLimit, run_worker
from services.domain.record import Record
from services.engine.app import App, Engine, make_app
from services.engine.codec import TopicCodec
from services.engine.log import Log
from services.engine.member import HostedService
from services.engine.metrics import Metrics
from services.pipeline import make_codec, make_log, make_worker
from services.settings import Settings
from services.stage import Outcome, Publish, Received, Stage, State
from tests.bench.peers import wiring
from tests.bench.peers.wiring import Run

_IDLE_SECONDS_MAX = 0.5
"""A longer pause between two batches was waiting, for the start above all, and is not made longer."""


class Bytes(Record, kw_only=True):
    """A value as it lies in the log."""

    value: bytes


class BytesCodec:
    """Reads and writes nothing."""

    def decode(self, topic: str, value: bytes | None) -> Record:
        return Bytes(value=value or b"")

    def encode(self, topic: str, event: Record) -> bytes:
        assert isinstance(event, Bytes)
        return event.value


class ExecutionCodec:
    """Our codec, with a further topic that holds executions."""

    def __init__(self, codec: FormatCodec) -> None:
        self.decode = codec.decode
        self._encode = codec.encode

    def encode(self, topic: str, event: Record) -> bytes:
        return self._encode(wiring.EXECUTIONS if topic == wiring.PASSED_ON else topic, event)


class PassThrough:
    """Publishes what it gets."""

    name = "pass-through"
    state_types: tuple[type[Record], ...] = ()
    suppress_causes: tuple[str, ...] = ()

    def process(self, batch: Sequence[Received], state: State, now_us: int) -> list[Outcome]:
        return [Publish(topic=wiring.PASSED_ON, key=received.key or "", event=received.event) for received in batch]

    def on_time(self, state: State, now_us: int) -> list[Outcome]:
        return []


class Slower:
    """A stage that loses time: after each batch it waits a share of what passed since the one before."""

    _ended_at = 0.0  # of all slowed stages: one batch runs at a time

    def __init__(self, stage: Stage, loss: float) -> None:
        self.name, self.state_types, self.suppress_causes = stage.name, stage.state_types, stage.suppress_causes
        self.on_time = stage.on_time
        self._process = stage.process
        self._loss = loss

    def process(self, batch: Sequence[Received], state: State, now_us: int) -> list[Outcome]:
        outcomes = self._process(batch, state, now_us)
        now = time.monotonic()
        until = now + min(now - Slower._ended_at, _IDLE_SECONDS_MAX) * self._loss / (1 - self._loss)
        while time.monotonic() < until:
            pass
        Slower._ended_at = time.monotonic()
        return outcomes


def pass_through(log: Log, data_dir: str, measure: str) -> App:
    """The smallest stage, for bytes or for executions."""
    codec: TopicCodec = BytesCodec() if measure == "pass-through" else ExecutionCodec(make_codec())
    source = "in" if measure == "pass-through" else wiring.EXECUTIONS
    worker = Engine(
        log=log,
        codec=codec,
        services=[HostedService(PassThrough(), (source,), (wiring.PASSED_ON,))],
        reference_topics={},
        metrics=Metrics(version="bench"),
        transactional_id="bench.worker",
        files=DiskFiles(Path(data_dir)),
    )
    return make_app(worker, app_id="bench", web_host="127.0.0.1", web_port=6066, data_dir=data_dir, web_enabled=False)


def main(run: Run, loss: float) -> int:
    """Run a worker until it is killed."""
    logs.configure("warning")
    with tempfile.TemporaryDirectory() as data_dir:
        settings = Settings(bootstrap_servers=run.servers, topic_prefix=run.prefix, data_dir=data_dir)
        log = make_log(settings)
        if run.measure in ("pass-through", "avro"):
            app = pass_through(log, data_dir, run.measure)
        else:
            services = [service.name for service in wiring.services_of(run.measure)]
            app = make_worker(settings, log, services=services, web_enabled=False)
        if loss:
            app.engine.services = [
                HostedService(Slower(hosted.stage, loss), hosted.inputs, hosted.outputs)
                for hosted in app.engine.services
            ]
        return run_worker(app, EndLimit())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--loss", type=float, default=0.0)
    given, _ = parser.parse_known_args()
    sys.exit(main(wiring.asked_for(), given.loss))
