"""What a measure of our own engine is taken on: topics of its own on the bench's broker, trades, real worker processes.

A worker is `python -m services worker` with all five services. What is measured ends at settlement.messages, read as a
gateway reads it. Broker, sender and reader use the same cores as the worker.
"""

from __future__ import annotations

import os
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from deploy.local.data_directory import free_port
from deploy.local.worker_process import WorkerProcess
from services.adapters.kafka_log import KafkaLog
from services.adapters.topic_admin import TopicAdmin
from services.adapters.topic_codec import FormatCodec
from services.engine.lag import LAG_SECONDS
from services.engine.log import OutgoingRecord, TopicPartition
from services.pipeline import DEAD_LETTERS, EXCEPTIONS, SERVICES, make_codec, topic_counts
from services.topics import load_topics
from tests.bench import data
from tests.bench.finding import Context
from tests.bench.measures.process import CpuTime, cpu_time, listening_process
from tests.bench.measures.tail import TOPIC, Tail
from tests.support.broker import delete_topics

Trade = Sequence[OutgoingRecord]
"""What enters for one trade: its execution, and its confirmation."""
TRADES_MAX = 5_000_000
PROGRESS_SECONDS = 10.0
STILL_SECONDS_MAX = 90.0
"""So long nothing may be instructed while something waits."""
READY_SECONDS_MAX = 240.0
"""A worker restores up to millions of rows before it is ready."""
_POLL_SECONDS = 0.05
_LOOK_SECONDS = 0.1
DEADLINE_SECONDS = 7 * 86_400
"""Nothing falls overdue while it is measured: the desk's exceptions are not what is measured here."""


@dataclass(frozen=True)
class Burst:
    """Trades sent as fast as they can be sent, and what bringing all of them through took."""

    trades: int
    seconds: float
    """From the first sending until the last message was in the log."""
    workers: CpuTime
    broker: CpuTime

    @property
    def trades_per_second(self) -> float:
        """The rate over all of it."""
        return self.trades / self.seconds


class Stand:
    """One installation; ended by `standing`."""

    def __init__(self, context: Context, name: str, folder: Path) -> None:
        """Make the topics and write the reference data. `folder` is for what workers keep."""
        self.context = context
        self.name = name
        self.prefix = f"bench-{name}-{uuid.uuid4().hex[:6]}-"
        self.workers: list[WorkerProcess] = []
        self.sent = 0
        self.codec: FormatCodec = make_codec()
        self._folder = folder
        self._counts = topic_counts()
        stamped = {
            # The broker's clock on everything: rates come from it.
            topic: replace(spec, config=replace(spec.config, message_timestamp_type="LogAppendTime"))
            for topic, spec in load_topics().items()
        }
        TopicAdmin(context.servers, prefix=self.prefix, client_settings={"log_level": 0}).apply(stamped)
        self.log = KafkaLog(context.servers, prefix=self.prefix, client_settings={"log_level": 0})
        self.log.send(data.reference_records(self.codec))
        self.tail = Tail(context.servers, self.prefix, self._counts[TOPIC])
        self._trades = data.trades(self.codec, TRADES_MAX)
        self._broker = listening_process(int(context.servers.rpartition(":")[2]))

    def take(self, count: int) -> list[Trade]:
        """The next trades, not sent yet."""
        return list(islice(self._trades, count))

    def send(self, trades: Sequence[Trade]) -> None:
        """Write them as fast as it goes; on return the broker has acknowledged all."""
        self.log.send(record for trade in trades for record in trade)
        self.sent += len(trades)

    def launch_worker(self, slot: int = 0) -> WorkerProcess:
        """Start a worker, and do not wait until it is ready."""
        port = free_port()
        others = {name: text for name, text in os.environ.items() if not name.startswith(("KAFKA_", "POSTTRADE_"))}
        environment = others | {
            "KAFKA_BOOTSTRAP_SERVERS": self.context.servers,
            "POSTTRADE_TOPIC_PREFIX": self.prefix,
            "POSTTRADE_WORKER_SLOT": str(slot),
            "POSTTRADE_WEB_PORT": str(port - slot),  # the slot is added to it
            "POSTTRADE_DATA_DIR": str(self._folder),
            "POSTTRADE_UNALLOCATED_AFTER_SECONDS": str(DEADLINE_SECONDS),
            "POSTTRADE_UNCONFIRMED_AFTER_SECONDS": str(DEADLINE_SECONDS),
        }
        log_file = self.context.folder / f"{self.name}-worker-{slot}.log"
        worker = WorkerProcess(environment, log_file, f"http://127.0.0.1:{port}")
        self.workers.append(worker)
        return worker

    def start_worker(self, slot: int = 0) -> WorkerProcess:
        """Start a worker; on return it is ready."""
        worker = self.launch_worker(slot)
        worker.await_ready(READY_SECONDS_MAX)
        return worker

    def await_shares(self) -> None:
        """Wait until every partition of every service is restored on a worker, and all workers hold as many."""
        whole = sum(self._counts[service.reads[0]] for service in SERVICES)
        deadline = time.monotonic() + READY_SECONDS_MAX
        while True:
            self.check_running()
            owned = [metric_sum(worker.web_url, "posttrade_owned_partitions") for worker in self.workers]
            if sum(owned) == whole and max(owned) == min(owned):
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"the workers did not share {whole} partitions evenly, they hold {owned}")
            time.sleep(_LOOK_SECONDS)

    def restored(self) -> int:
        """Changelog records that the running workers have read to restore their state."""
        return int(sum(metric_sum(worker.web_url, "posttrade_restore_rows") for worker in self.workers))

    def settled_rows(self) -> int:
        """Rows of state of the running workers, which count them every few seconds; for when nothing is under way."""
        deadline = time.monotonic() + READY_SECONDS_MAX
        rows = -1.0
        while time.monotonic() < deadline:
            before, rows = rows, sum(metric_sum(worker.web_url, "posttrade_state_rows") for worker in self.workers)
            if rows == before:
                return int(rows)
            time.sleep(2 * LAG_SECONDS)
        raise TimeoutError("the number of rows of state does not settle although nothing is sent")

    def stop_workers(self) -> None:
        """End them in good order."""
        while self.workers:
            self.workers.pop().stop()

    def check_running(self) -> None:
        """Raises LocalServerError when a worker has ended."""
        for worker in self.workers:
            worker.check()

    def await_instructed(self) -> None:
        """Read on until each trade that was sent has its message. Raises TimeoutError when it stands still."""
        moved_at = said_at = time.monotonic()
        while self.tail.distinct < self.sent:
            if self.tail.poll(_POLL_SECONDS):
                moved_at = time.monotonic()
            self.check_running()
            now = time.monotonic()
            if now - moved_at > STILL_SECONDS_MAX:
                raise TimeoutError(f"{self.tail.distinct} of {self.sent} trades were instructed, then none any more")
            if now - said_at > PROGRESS_SECONDS:
                said_at = now
                self.context.say(f"{self.name}: {self.tail.distinct:,} of {self.sent:,} trades are instructed")

    def burst(self, count: int) -> Burst:
        """Send so many to running workers and see all of them through."""
        trades = self.take(count)
        workers, broker = self.workers_cpu(), cpu_time(self._broker)
        began = time.time()
        self.send(trades)
        self.await_instructed()
        seconds = max(self.tail.last_ms / 1000 - began, 1e-3)
        return Burst(count, seconds, self.workers_cpu() - workers, cpu_time(self._broker) - broker)

    def workers_cpu(self) -> CpuTime:
        """Of all running workers together."""
        return sum((cpu_time(worker.id) for worker in self.workers), CpuTime.none())

    def check(self) -> None:
        """Raises RuntimeError unless each trade has one message, and nothing has gone wrong."""
        while self.tail.poll(1.0):
            pass
        if not self.tail.total == self.tail.distinct == self.sent:
            raise RuntimeError(
                f"{self.sent} trades were sent and {self.tail.distinct} instructed, with {self.tail.total} messages; "
                f"see the logs in {self.context.folder}"
            )
        places = [TopicPartition(topic, n) for topic in (DEAD_LETTERS, EXCEPTIONS) for n in range(self._counts[topic])]
        found = self.log.end_offsets(places, committed_only=True)
        if any(found.values()):
            raise RuntimeError(f"there are exceptions or dead letters, of which none was meant to be: {found}")

    def close(self) -> None:
        """End the workers and delete the topics."""
        with ExitStack() as stack:
            stack.callback(delete_topics, self.context.servers, *(self.prefix + topic for topic in self._counts))
            stack.callback(self.log.close)
            stack.callback(self.tail.close)
            self.stop_workers()


@contextmanager
def standing(context: Context, name: str) -> Iterator[Stand]:
    """An installation of its own, and its end."""
    with tempfile.TemporaryDirectory(prefix="posttrade-bench-") as folder:
        stand = Stand(context, name, Path(folder))
        try:
            yield stand
        finally:
            stand.close()


def metric_sum(web_url: str, name: str) -> float:
    """The sum of all series of a metric that a worker tells; 0 when it tells none yet."""
    with urllib.request.urlopen(f"{web_url}/metrics", timeout=10) as answer:
        page = answer.read().decode()
    return sum(
        row.value for family in text_string_to_metric_families(page) if family.name == name for row in family.samples
    )
