"""What a consumer fetches ahead of its polls stays within its limit, however much lies there for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from services.adapters.kafka_log import FETCH_QUEUE_KIB_MAX, KafkaLog
from services.engine.log import OutgoingRecord
from tests.support.broker import create_topics

PARTITIONS = 4
RECORD_BYTES = 100_000
RECORDS = 2_000
WAITING_MIB = RECORDS * RECORD_BYTES / 1_048_576
OVERSHOOT_MIB_MAX = 26
"""A fetch that is under way when the limit is reached is still taken in, and the allocator keeps some. Less than the
32 MiB by which the client's own default is higher."""


def test_memory_is_bounded_however_long_a_service_lets_its_input_wait(kafka: str, prefix: str) -> None:
    """One slow batch at the open must not fill the worker's memory with the rest of the day."""
    create_topics(kafka, f"{prefix}.waiting", partitions=PARTITIONS)
    log = KafkaLog(kafka, prefix=f"{prefix}.")
    for start in range(0, RECORDS, 100):
        log.send(
            OutgoingRecord("waiting", None, os.urandom(RECORD_BYTES), (), number % PARTITIONS)
            for number in range(start, start + 100)
        )
    log.close()
    answer = subprocess.run(
        [sys.executable, "-m", "tests.support.slow_consumer", kafka, f"{prefix}."],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    grown_mib = float(answer.stdout)
    limit_mib = FETCH_QUEUE_KIB_MAX / 1024
    assert grown_mib > limit_mib / 2, "nothing was fetched ahead: the limit was not reached, and not tested"
    assert grown_mib < limit_mib + OVERSHOOT_MIB_MAX < WAITING_MIB
