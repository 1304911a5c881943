"""What other clients may write and ours refuses to look at must not end a worker: it would end at every start."""

from __future__ import annotations

import subprocess
import sys

from services.adapters.kafka_log import KafkaLog
from services.engine.log import OutgoingRecord, TopicPartition
from tests.contract.logs import join, poll_count
from tests.support.broker import create_topics


def test_a_header_name_that_is_no_text_costs_the_headers_and_not_the_record(kafka: str, prefix: str) -> None:
    """Kafka takes any bytes there. The record came in, so it is processed, and so are those around it."""
    log = KafkaLog(kafka, prefix=f"{prefix}.")
    create_topics(kafka, f"{prefix}.in")
    log.send([OutgoingRecord("in", b"k", b"before", (("good", b"1"),), 0)])
    sender = [sys.executable, "-m", "tests.support.odd_header_sender", kafka, f"{prefix}.in", "0", "odd"]
    subprocess.run(sender, check=True, timeout=60)
    log.send([OutgoingRecord("in", b"k", b"after", (("good", b"1"),), 0)])

    consumer, _ = join(log, "g", "in")
    read_by_group = poll_count(consumer, 3)
    consumer.close()
    reader = log.reader({TopicPartition("in", 0): 0})
    read_by_tool = []
    while not reader.at_end():
        read_by_tool += reader.poll(10, 0.2)
    reader.close()
    log.close()

    good = (("good", b"1"),)
    expected = [(b"before", good), (b"odd", ()), (b"after", good)]
    assert [(record.value, record.headers) for record in read_by_group] == expected
    assert [(record.value, record.headers) for record in read_by_tool] == expected
