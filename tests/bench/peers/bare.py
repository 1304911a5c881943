"""The limit: a transactional confluent-kafka loop without an engine. No state, no dead letters, no recovery.

Avro and enrichment use our codec and the pure function of the rules; what is left of the difference to the engine is
what the engine costs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from services.domain.event import CapturedTrade
from services.enrichment.rules import Problem, enrich
from tests.bench.peers import wiring
from tests.bench.peers.kafka_client import reference_values
from tests.bench.peers.wiring import Run

BATCH_RECORDS_MAX = 5_000
_ANSWER_SECONDS = 30

Convert = Callable[[bytes], bytes]


def route(run: Run) -> tuple[str, str, Convert | None]:
    """From where to where, and what happens to a value in between."""
    if run.measure == "pass-through":
        return "in", wiring.PASSED_ON, None
    codec = wiring.make_codec()
    decode, encode = codec.decode, codec.encode
    if run.measure == "avro":
        return (
            wiring.EXECUTIONS,
            wiring.PASSED_ON,
            lambda value: encode(wiring.EXECUTIONS, decode(wiring.EXECUTIONS, value)),
        )
    reference = wiring.reference_data(codec, reference_values(run.servers, run.prefix))

    def enriched(value: bytes) -> bytes:
        trade = decode("trades.captured", value)
        assert isinstance(trade, CapturedTrade)
        result = enrich(trade, reference)
        assert not isinstance(result, Problem), f"reference data are missing: {result}"
        return encode("trades.enriched", result)

    return "trades.captured", "trades.enriched", enriched


def main(run: Run) -> None:
    """Consume, convert, produce, commit; for ever."""
    source, target, convert = route(run)
    source, target = run.prefix + source, run.prefix + target
    consumer = Consumer(
        {
            "bootstrap.servers": run.servers,
            "group.id": f"{run.prefix}bare",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": run.servers,
            "transactional.id": f"{run.prefix}bare",
            "linger.ms": wiring.LINGER_MS,
            "compression.type": wiring.COMPRESSION,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    producer.init_transactions(_ANSWER_SECONDS)
    consumer.subscribe([source])
    while True:
        messages = consumer.consume(BATCH_RECORDS_MAX, 0.25)
        if not messages:
            continue
        producer.begin_transaction()
        ends: dict[Any, int] = {}
        for message in messages:
            value = message.value()
            producer.produce(target, value if convert is None else convert(value or b""), message.key())
            ends[message.partition()] = (message.offset() or 0) + 1
        offsets = [TopicPartition(source, number, end) for number, end in ends.items()]
        producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata(), _ANSWER_SECONDS)
        producer.commit_transaction(_ANSWER_SECONDS)


if __name__ == "__main__":
    main(wiring.asked_for(("pass-through", "avro", "enrichment")))
