"""The programs that are measured.

Each is started as `python -m tests.bench.peers NAME SERVERS INPUT OUTPUT` and killed when the last record has arrived.
All copy INPUT to OUTPUT unchanged, record by record.

- bare        a transactional confluent-kafka loop: consume, produce, send offsets, commit. The limit.
- engine      our engine: Faust app, transport, a stage that publishes what it gets.
- faust       stock Faust, at least once, as its documentation has it.
- faust-eos   stock Faust with processing_guarantee="exactly_once".
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

BATCH_RECORDS_MAX = 5_000


def bare(servers: str, source: str, target: str) -> None:
    """The loop without an engine."""
    from confluent_kafka import Consumer, Producer, TopicPartition

    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": f"bare-{target}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "transactional.id": f"bare-{target}",
            "linger.ms": 5,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    producer.init_transactions(30)
    consumer.subscribe([source])
    while True:
        messages = consumer.consume(BATCH_RECORDS_MAX, 0.25)
        if not messages:
            continue
        producer.begin_transaction()
        ends: dict[Any, Any] = {}
        for message in messages:
            producer.produce(target, message.value(), message.key())
            ends[message.partition()] = (message.offset() or 0) + 1
        offsets = [TopicPartition(source, number, end) for number, end in ends.items()]
        producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata(), 30)
        producer.commit_transaction(30)


def engine(servers: str, source: str, target: str) -> None:
    """Our engine with the smallest stage and bytes for records."""
    import faust
    import uvloop

    from services.adapters.disk_files import DiskFiles
    from services.adapters.kafka_log import KafkaLog
    from services.domain.record import Record
    from services.engine.app import Engine, make_app
    from services.engine.member import HostedService
    from services.engine.metrics import Metrics
    from services.engine.tuning import tune_garbage_collector
    from services.stage import Outcome, Publish, Received, State

    class Bytes(Record, kw_only=True):
        value: bytes

    class BytesCodec:
        def decode(self, topic: str, value: bytes | None) -> Record:
            return Bytes(value=value or b"")

        def encode(self, topic: str, event: Record) -> bytes:
            assert isinstance(event, Bytes)
            return event.value

    class PassThrough:
        name = "pass-through"
        state_types: tuple[type[Record], ...] = ()
        suppress_causes: tuple[str, ...] = ()

        def process(self, batch: Sequence[Received], state: State, now_us: int) -> list[Outcome]:
            return [Publish(topic=target, key=received.key or "", event=received.event) for received in batch]

        def on_time(self, state: State, now_us: int) -> list[Outcome]:
            return []

    tune_garbage_collector()
    uvloop.install()  # as `posttrade worker` does; the stock programs run as `faust worker` runs by default
    with tempfile.TemporaryDirectory() as data_dir:
        worker = Engine(
            log=KafkaLog(servers),
            codec=BytesCodec(),
            services=[HostedService(PassThrough(), (source,), (target,))],
            reference_topics={},
            metrics=Metrics(version="bench"),
            transactional_id=f"engine-{target}",
            files=DiskFiles(Path(data_dir)),
        )
        app = make_app(
            worker, app_id="bench", web_host="127.0.0.1", web_port=6066, data_dir=data_dir, web_enabled=False
        )
        faust.Worker(app, loglevel="warning").execute_from_commandline()


def stock_faust(servers: str, source: str, target: str, guarantee: str = "at_least_once") -> None:
    """Stock Faust on its own transport."""
    import faust

    with tempfile.TemporaryDirectory() as data_dir:
        app = faust.App(
            f"stock-{target}",
            broker=f"kafka://{servers}",
            value_serializer="raw",
            key_serializer="raw",
            processing_guarantee=guarantee,
            topic_partitions=4,
            topic_replication_factor=1,
            topic_disable_leader=True,
            web_enabled=False,
            datadir=data_dir,
            consumer_auto_offset_reset="earliest",
        )
        incoming, outgoing = app.topic(source, value_type=bytes), app.topic(target, value_type=bytes)

        async def copy(stream: Any) -> None:
            async for event in stream.events():
                await outgoing.send(key=event.key, value=event.value)

        app.agent(incoming)(copy)
        faust.Worker(app, loglevel="warning").execute_from_commandline()


PEERS: dict[str, Callable[[str, str, str], None]] = {
    "bare": bare,
    "engine": engine,
    "faust": stock_faust,
    "faust-eos": lambda servers, source, target: stock_faust(servers, source, target, "exactly_once"),
}

if __name__ == "__main__":
    PEERS[sys.argv[1]](*sys.argv[2:5])
