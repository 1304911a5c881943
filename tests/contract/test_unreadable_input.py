"""What other clients may write and ours refuses to look at must not end a worker: it would end at every start."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from confluent_kafka import Producer

from services.adapters.kafka_log import KafkaLog
from services.engine.log import LogError, OutgoingRecord, TopicPartition
from tests.contract.logs import join, poll_count
from tests.support.broker import create_topics


def test_a_header_name_that_is_no_text_costs_the_headers_and_not_the_record(kafka: str, prefix: str) -> None:
    """Kafka takes any bytes there. The record came in, so it is processed, and so are those around it."""
    log = KafkaLog(kafka, prefix=f"{prefix}.")
    create_topics(kafka, f"{prefix}.in")
    good = (("good", b"1"),)
    before = [b"before"] * 200  # so many that Python has optimised the reading of headers when the odd ones come
    log.send(OutgoingRecord("in", b"k", value, good, 0) for value in before)
    sender = [sys.executable, "-m", "tests.support.odd_header_sender", kafka, f"{prefix}.in", "0", "odd"]
    subprocess.run(sender, check=True, timeout=60)
    log.send([OutgoingRecord("in", b"k", b"after", good, 0)])

    consumer, _ = join(log, "g", "in")
    read_by_group = poll_count(consumer, len(before) + 2)
    consumer.close()
    reader = log.reader({TopicPartition("in", 0): 0})
    read_by_tool = []
    while not reader.at_end():
        read_by_tool += reader.poll(10, 0.2)
    reader.close()
    log.close()

    expected = [*((value, good) for value in before), (b"odd", ()), (b"after", good)]
    assert [(record.value, record.headers) for record in read_by_group] == expected
    assert [(record.value, record.headers) for record in read_by_tool] == expected


def test_what_the_client_cannot_unpack_is_named_with_its_place_and_what_to_do(kafka: str, prefix: str) -> None:
    """A few kilobytes that unpack to more than the client takes come again at each start: a person must remove them."""
    small = {"receive.message.max.bytes": 5_000_000, "fetch.max.bytes": 4_500_000}
    log = KafkaLog(kafka, prefix=f"{prefix}.", client_settings=small)
    create_topics(kafka, f"{prefix}.in")
    packing = {"compression.type": "zstd", "message.max.bytes": 9_000_000}
    sender = Producer({"bootstrap.servers": kafka, **packing})
    sender.produce(f"{prefix}.in", b"x" * 8_000_000)
    assert sender.flush(30) == 0

    consumer, _ = join(log, "g", "in")
    place = re.escape(
        f"group {prefix}.g cannot go on in partition 0 of {prefix}.in: what lies at offset 0 cannot be unpacked"
    )
    with pytest.raises(LogError, match=f"{place}.*kafka-delete-records"):
        poll_count(consumer, 1)
    consumer.close()
    log.close()
