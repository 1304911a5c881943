"""A reader beside the faults: `python -m tests.chaos.watcher DIRECTORY`, until SIGTERM.

It reads what a settlement system would read, committed records only, while workers and broker die, and writes down each
record that it was shown. What was shown once has to lie there at the end, in the same place and with the same bytes.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TextIO

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

from services.settings import load_settings
from services.topics import load_topics
from tests.chaos.digest import digest
from tests.chaos.places import Places

TOPICS = ("settlement.instructions", "settlement.messages", "dead-letters", "dead-letters.resolved", "exceptions")
"""What leaves the service."""
_POLL_SECONDS = 0.5
_RECORDS_MAX = 500


def main(directory: str) -> int:
    """Read until SIGTERM."""
    places = Places(Path(directory))
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopping.append(number))
    consumer = Consumer(
        {
            "bootstrap.servers": load_settings(os.environ).bootstrap_servers,
            "group.id": "watcher",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "log_level": 0,
        }
    )
    declared = load_topics()
    consumer.assign(
        [
            TopicPartition(topic, number, OFFSET_BEGINNING)
            for topic in TOPICS
            for number in range(declared[topic].config.partitions)
        ]
    )
    with places.shown.open("w", encoding="utf-8") as shown:
        while not stopping:
            _read(consumer, shown)
    consumer.close()
    return 0


def _read(consumer: Consumer, shown: TextIO) -> None:
    try:
        messages = consumer.consume(_RECORDS_MAX, _POLL_SECONDS)
    except KafkaException:  # the broker is away: that is part of the run
        return
    for message in messages:
        if message.error() is None:
            content = digest(message.key(), message.value())
            shown.write(f"{message.topic()} {message.partition()} {message.offset()} {content}\n")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
