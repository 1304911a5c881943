"""The process that sends: `python -m tests.chaos.driver DIRECTORY SEED RATE`, until SIGTERM.

At SIGUSR1 it sends a record that ends the process of whoever handles it. At SIGTERM it
sends what is still to be said of the orders under way, waits for every acknowledgement, and ends with 0. What
was acknowledged stands in the journal, a line for each record: topic, partition, offset, digest of key and value.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from services.settings import load_settings
from tests.chaos.digest import digest
from tests.chaos.places import Places
from tests.chaos.stream import Sent, Stream

QUEUE_RECORDS_MAX = 5_000
"""Sent and not acknowledged: so much waits while the broker is away, then the driver waits."""
DELIVERY_SECONDS_MAX = 900
"""Longer than any outage that the harness makes: the client sends again by itself, in order and once."""
_FLUSH_SECONDS = 1.0
_MAX_BYTES = 4_194_304


class Driver:
    """An idempotent producer with a journal."""

    def __init__(self, bootstrap_servers: str, journal: TextIO) -> None:
        """Connect."""
        self._servers = bootstrap_servers
        self._journal = journal
        self._producer = self._connect()
        self._waiting: dict[int, Sent] = {}
        """Sent and not acknowledged, in the order of sending."""
        self._number = 0
        self.counts: Counter[str] = Counter()
        """Acknowledged records by kind."""

    def _connect(self) -> Producer:
        return Producer(
            {
                "bootstrap.servers": self._servers,
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "message.max.bytes": _MAX_BYTES,
                "message.timeout.ms": DELIVERY_SECONDS_MAX * 1000,
                "log_level": 0,
            }
        )

    def send(self, sent: Sent) -> None:
        """Hand a record over; waits while too many are not acknowledged."""
        self._number += 1
        self._waiting[self._number] = sent
        self._produce(self._number, sent)
        while len(self._waiting) > QUEUE_RECORDS_MAX:
            self.poll(0.1)

    def poll(self, seconds: float) -> None:
        """Take in acknowledgements. A client that gave up is replaced, and what it owed is sent again."""
        try:
            self._producer.poll(seconds)
        except KafkaException:
            self._start_again()

    def finish(self) -> None:
        """Wait for the last acknowledgement. Raises TimeoutError when it does not come."""
        deadline = time.monotonic() + DELIVERY_SECONDS_MAX
        while self._waiting:
            self.poll(0.1)
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(self._waiting)} records were not acknowledged")

    def _produce(self, number: int, sent: Sent) -> None:
        def delivered(error: KafkaError | None, message: Message[Any, Any]) -> None:
            if error is None and self._waiting.pop(number, None) is not None:
                self.counts[sent.kind] += 1
                line = f"{sent.topic} {message.partition()} {message.offset()} {digest(sent.key, sent.value)}\n"
                self._journal.write(line)

        self._producer.produce(sent.topic, sent.value, sent.key, on_delivery=delivered)

    def _start_again(self) -> None:
        self._producer.purge()
        self._producer = self._connect()
        for number, sent in list(self._waiting.items()):
            self._produce(number, sent)


def main(directory: str, seed: str, rate: str) -> int:
    """Send until SIGTERM, then finish."""
    places = Places(Path(directory))
    stopping: list[int] = []
    crashes_asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopping.append(number))
    signal.signal(signal.SIGUSR1, lambda number, _frame: crashes_asked.append(number))
    stream = Stream(int(seed), places.schemas)
    with places.journal.open("a", encoding="utf-8") as journal:
        driver = Driver(load_settings(os.environ).bootstrap_servers, journal)
        pace = _Pace(driver, journal, float(rate))
        for sent in stream:
            pace.send(sent)
            while crashes_asked:
                crashes_asked.pop()
                driver.send(stream.crash())
            if stopping:
                break
        _send_all(driver, stream.rest())
        driver.finish()
    places.sent_counts.write_text(json.dumps(driver.counts, indent=2, sort_keys=True) + "\n")
    return 0


def _send_all(driver: Driver, records: Iterable[Sent]) -> None:
    for sent in records:
        driver.send(sent)


class _Pace:
    """Sends at a steady rate; after an outage it goes on at that rate and does not catch up."""

    def __init__(self, driver: Driver, journal: TextIO, rate: float) -> None:
        self._driver = driver
        self._journal = journal
        self._gap_seconds = 1.0 / rate
        self._due = time.monotonic()
        self._flushed = self._due

    def send(self, sent: Sent) -> None:
        now = time.monotonic()
        while now < self._due:
            self._driver.poll(self._due - now)
            now = time.monotonic()
        self._driver.send(sent)
        self._due = max(self._due + self._gap_seconds, now - 1.0)
        if now > self._flushed + _FLUSH_SECONDS:
            self._flushed = now
            self._journal.flush()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
