"""What a worker says of itself, and beside it the truth as the broker tells it.

The truth comes from clients of its own: last stable offset of every input minus what its group has committed. Offsets
are compared, so markers of transactions at the end of a partition count here; they are few, and named in `MARKERS_MAX`.
"""

from __future__ import annotations

import http.client
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # re-exported without a mark
from prometheus_client.parser import text_string_to_metric_families

from services.engine.member import consumer_group
from services.pipeline import SERVICES, topic_counts

OBSERVE_SECONDS = 0.5
_ANSWER_SECONDS_MAX = 10.0
Input = tuple[str, str]
"""Service and input topic."""
INPUTS: tuple[Input, ...] = tuple((service.name, topic) for service in SERVICES for topic in service.inputs)


@dataclass(frozen=True)
class Observation:
    """One look, from `began` to `ended` (seconds on the monotonic clock)."""

    began: float
    ended: float
    truth: Mapping[Input, int]
    """Offsets that are not committed, by service and topic."""
    told: Mapping[Input, float]
    """posttrade_lag_records."""
    told_seconds: Mapping[Input, float]
    """posttrade_lag_seconds."""
    instructed: int
    state_rows: int
    resident_mib: float
    is_live: bool
    is_ready: bool

    @property
    def lag(self) -> int:
        """Of all services together."""
        return sum(self.truth.values())

    @property
    def lag_seconds(self) -> float:
        """The highest that is told."""
        return max(self.told_seconds.values())


class Observer:
    """Looks again and again, on a thread of its own."""

    def __init__(self, bootstrap_servers: str, web_url: str, process_id: int) -> None:
        """Bind; `start` begins to look."""
        self.seen: list[Observation] = []
        self._admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
        self._address = urlsplit(web_url).netloc
        self._status = Path(f"/proc/{process_id}/status")
        self._stopping = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def last(self) -> Observation:
        """The newest look, made after this call began. Raises what ended the looking."""
        asked, deadline = time.monotonic(), time.monotonic() + 4 * _ANSWER_SECONDS_MAX
        while not self.seen or self.seen[-1].began < asked:
            if self._failure is not None:
                raise self._failure
            assert time.monotonic() < deadline, "the observer hangs"
            time.sleep(OBSERVE_SECONDS / 5)
        return self.seen[-1]

    def _run(self) -> None:
        try:
            while not self._stopping.wait(OBSERVE_SECONDS):
                self.seen.append(self._observe())
        except Exception as error:  # noqa: BLE001  # raised again by `last`
            self._failure = error

    def _observe(self) -> Observation:
        began = time.monotonic()
        page = self._get("/metrics")[1]
        is_live, is_ready = self._get("/livez")[0] == 200, self._get("/readyz")[0] == 200
        truth = self._truth()
        families = {family.name: family.samples for family in text_string_to_metric_families(page)}

        def gauge(name: str) -> dict[Input, float]:
            return {(row.labels["service"], row.labels["topic"]): row.value for row in families[name]}

        produced = families["posttrade_records_produced"]
        return Observation(
            began=began, ended=time.monotonic(), truth=truth, told=gauge("posttrade_lag_records"),
            told_seconds=gauge("posttrade_lag_seconds"),
            instructed=int(sum(row.value for row in produced if row.labels["topic"] == "settlement.instructions")),
            state_rows=int(sum(row.value for row in families["posttrade_state_rows"])),
            resident_mib=self._resident_mib(), is_live=is_live, is_ready=is_ready,
        )  # fmt: skip

    def _get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(self._address, timeout=_ANSWER_SECONDS_MAX)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def _truth(self) -> dict[Input, int]:
        """Committed offsets first: what is processed meanwhile makes the lag appear higher, never lower."""
        committed: dict[tuple[str, str, int], int] = {}
        for service in SERVICES:
            asked = [ConsumerGroupTopicPartitions(consumer_group(service.name))]
            (answer,) = self._admin.list_consumer_group_offsets(asked).values()
            for row in answer.result(_ANSWER_SECONDS_MAX).topic_partitions:
                committed[service.name, row.topic, row.partition] = max(0, row.offset)
        counts = topic_counts()
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        wanted = {
            TopicPartition(topic, number): latest
            for topic in {topic for _, topic in INPUTS}
            for number in range(counts[topic])
        }
        futures = self._admin.list_offsets(wanted, isolation_level=IsolationLevel.READ_COMMITTED)
        truth = dict.fromkeys(INPUTS, 0)
        for place, future in futures.items():
            end = future.result(_ANSWER_SECONDS_MAX).offset
            for service_name, topic in INPUTS:
                if topic == place.topic:
                    truth[service_name, topic] += end - committed.get((service_name, topic, place.partition), 0)
        return truth

    def _resident_mib(self) -> float:
        found = re.search(r"^VmRSS:\s+(\d+) kB", self._status.read_text(), re.MULTILINE)
        assert found is not None, "the worker is gone"
        return int(found[1]) / 1024
