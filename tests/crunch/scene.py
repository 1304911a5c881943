"""A broker, a real worker process with all five services, a sender and an observer: what the crunch is played on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.local.data_directory import free_port
from deploy.local.kafka_broker import LocalKafka
from deploy.local.worker_process import WorkerProcess
from services.adapters.kafka_log import KafkaLog
from services.adapters.topic_admin import TopicAdmin
from services.adapters.topic_codec import FormatCodec
from services.pipeline import make_codec
from services.topics import load_topics
from tests.crunch import orders
from tests.crunch.observer import Observation, Observer
from tests.crunch.sender import Sender

CAUGHT_UP_LAG_MAX = 100
"""Records of all services together, markers of transactions included: nothing waits for longer than a moment."""
MEASURED_ORDERS = 3_000
"""What is sent whenever less than `MEASURED_LAG_MIN` waits."""
MEASURED_LAG_MIN = 3 * MEASURED_ORDERS
MEASURE_SECONDS_MAX = 90.0


@dataclass(frozen=True)
class Scene:
    """Everything that takes part."""

    broker: LocalKafka
    log: KafkaLog
    codec: FormatCodec
    worker: WorkerProcess
    sender: Sender
    observer: Observer

    def until(self, condition: Callable[[Observation], bool], seconds_max: float, what: str) -> Observation:
        """Look until something holds; fails loudly when it does not in time or somebody has ended."""
        deadline = time.monotonic() + seconds_max
        while True:
            self.worker.check()
            self.sender.check()
            seen = self.observer.last()
            if condition(seen):
                return seen
            assert time.monotonic() < deadline, f"{what} did not come about in {seconds_max:.0f} s; last: {seen}"

    def measure_rate(self, warm_up_seconds: float, seconds: float) -> float:
        """Orders a second that this machine brings from input to instruction while there is always more to do.

        Counted from the first look after `warm_up_seconds` of instructions: until then Java compiles what matters.
        """
        looks: list[Observation] = []

        def measured(seen: Observation) -> bool:
            if seen.lag < MEASURED_LAG_MIN:
                self.sender.send(MEASURED_ORDERS)
            if seen.instructed:
                looks.append(seen)
            return bool(looks) and seen.began >= looks[0].began + warm_up_seconds + seconds

        self.until(measured, MEASURE_SECONDS_MAX, "a measured rate")
        first = next(look for look in looks if look.began >= looks[0].began + warm_up_seconds)
        last = looks[-1]
        self.until(lambda seen: seen.instructed >= self.sender.sent, MEASURE_SECONDS_MAX, "the last instruction")
        return (last.instructed - first.instructed) / (last.began - first.began)


@contextmanager
def playing(directory: Path) -> Iterator[Scene]:
    """Start everything, and end everything."""
    codec = make_codec()
    with ExitStack() as stack:
        broker = stack.enter_context(LocalKafka(directory / "kafka"))
        TopicAdmin(broker.bootstrap_servers, client_settings={"log_level": 0}).apply(load_topics())
        log = KafkaLog(broker.bootstrap_servers)
        stack.callback(log.close)
        orders.send_reference(log, codec)
        port = free_port()
        others = {name: text for name, text in os.environ.items() if not name.startswith(("KAFKA_", "POSTTRADE_"))}
        environment = others | {
            "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "POSTTRADE_WEB_PORT": str(port),
            "POSTTRADE_DATA_DIR": str(directory / "worker"),
        }
        worker = WorkerProcess(environment, directory / "worker.log", f"http://127.0.0.1:{port}")
        stack.enter_context(worker)
        worker.await_ready()
        observer = Observer(broker.bootstrap_servers, worker.web_url, worker.id)
        stack.callback(observer.stop)
        observer.start()
        sender = Sender(log, codec)
        stack.callback(sender.stop)
        yield Scene(broker, log, codec, worker, sender, observer)
