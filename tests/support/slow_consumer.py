"""A group consumer that polls one record and then looks only at its own memory, until that stands still.

python -m tests.support.slow_consumer BOOTSTRAP_SERVERS PREFIX      prints by how many MiB the process has grown
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from services.adapters.kafka_log import KafkaLog
from services.engine.log import GroupConsumer, TopicPartition

_STILL_SECONDS = 2.0
_LOOK_SECONDS = 0.1
_STILL_MIB = 1.0


class Resuming:
    """Takes whatever it is given, from its beginning."""

    consumer: GroupConsumer

    def on_assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """Read on at once."""
        self.consumer.seek(dict.fromkeys(partitions, 0))
        self.consumer.resume(partitions)

    def on_revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """Nothing is kept."""


def resident_mib() -> float:
    """Memory of this process."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def main(bootstrap_servers: str, prefix: str) -> None:
    """Poll one record, wait for the client to have fetched what it will, print the growth."""
    listener = Resuming()
    listener.consumer = KafkaLog(bootstrap_servers, prefix=prefix).consumer("slow", ["waiting"], listener)
    before = resident_mib()
    while not listener.consumer.poll(1, 1.0):
        pass
    highest, changed_at = resident_mib(), time.monotonic()
    while time.monotonic() - changed_at < _STILL_SECONDS:
        time.sleep(_LOOK_SECONDS)
        if resident_mib() > highest + _STILL_MIB:
            highest, changed_at = resident_mib(), time.monotonic()
    sys.stdout.write(f"{highest - before}\n")
    listener.consumer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
