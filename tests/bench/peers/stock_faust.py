"""Stock Faust on its own transport, `--guarantee at_least_once` or `exactly_once`: one agent per service.

- Event by event, as its documentation has it. The state of a service lies in a Faust table in memory, with changelog; a
  row is kept as the object it is and encoded for the changelog alone, which is the fastest way Faust has. Its other
  store, RocksDB, is slower and would be taken for the sake of larger state only.
- Timers cannot change a table, so the time-driven work of our stages is left out, and rows that only it reads
  (`wiring.NOT_KEPT`) are not kept; nothing becomes due in a run.
- Changelog topics are made before the app starts: Faust goes on before those it makes are known to the cluster.
- Nothing is isolated, parked or written to dead letters, and a rebalance of exactly_once is not fenced by generation.
- uvloop, as `faust worker --loop uvloop` takes it, lz4 and 5 ms of linger; the rest are Faust's defaults.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import faust
import mode.loop
import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition  # type: ignore[import-untyped]
from aiokafka.admin import AIOKafkaAdminClient, NewTopic  # type: ignore[import-untyped]
from faust.serializers.codecs import Codec, register

from services.domain.record import Record
from services.domain.reference import ReferenceData
from services.stage import DueAt, Received, Stage, due_by_scan
from tests.bench.peers import wiring
from tests.bench.peers.wiring import Run, Service

T = TypeVar("T", bound=Record)


class RowCodec(Codec):
    """Rows of a service as the name of their kind and JSON, as our own changelog has it."""

    def __init__(self, kinds: Iterable[type[Record]]) -> None:
        super().__init__()
        self._encode = msgspec.json.Encoder(decimal_format="string").encode
        self._decoders = {kind.__name__.encode(): msgspec.json.Decoder(kind).decode for kind in kinds}

    def _dumps(self, s: Any) -> bytes:
        return type(s).__name__.encode() + b"\n" + self._encode(s)

    def _loads(self, s: bytes) -> Any:
        kind, _, row = s.partition(b"\n")
        return self._decoders[kind](row)


class TableState:
    """`services.stage.State` on a Faust table, which holds the rows of all partitions this worker has."""

    def __init__(self, table: Any, reference: ReferenceData) -> None:
        self._table = table
        self.reference = reference

    def get(self, kind: type[T], key: str) -> T | None:
        found: T | None = self._table.get(wiring.changelog_key(kind, key))
        return found

    def put(self, key: str, value: Record) -> None:
        kind = type(value)
        if kind.__name__ not in wiring.NOT_KEPT:
            self._table[wiring.changelog_key(kind, key)] = value

    def delete(self, kind: type[Record], key: str) -> None:
        self._table.pop(wiring.changelog_key(kind, key), None)

    def scan(self, kind: type[T]) -> Iterator[tuple[str, T]]:
        beginning = wiring.changelog_key(kind, "")
        for key in sorted(self._table):
            if key.startswith(beginning):
                yield key[len(beginning) :].decode(), self._table[key]

    def due(self, kind: type[T], due_at: DueAt[T], until: int) -> tuple[list[tuple[str, T]], int | None]:
        return due_by_scan(self, kind, due_at, until)

    def is_held(self, key: str) -> bool:
        return False


async def _reference_values(servers: str, prefix: str) -> list[tuple[str, bytes]]:
    """Topic, without the prefix, and value of every record of reference data that is there now."""
    partitions = [TopicPartition(prefix + topic, 0) for topic in wiring.REFERENCE_TOPICS]  # each has one partition
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        found: list[tuple[str, bytes]] = []
        for partition in partitions:
            while await consumer.position(partition) < ends[partition]:
                batches = await consumer.getmany(timeout_ms=1_000)
                found += [(record.topic[len(prefix) :], record.value) for batch in batches.values() for record in batch]
        return found
    finally:
        await consumer.stop()


def make_app(run: Run, guarantee: str, data_dir: str) -> Any:
    """The app without agents."""
    return faust.App(
        f"{run.prefix}faust",
        broker=f"kafka://{run.servers}",
        store="memory://",
        value_serializer="raw",
        key_serializer="raw",
        processing_guarantee=guarantee,
        topic_partitions=wiring.PARTITIONS,
        topic_replication_factor=1,
        topic_disable_leader=True,
        web_enabled=False,
        datadir=data_dir,
        consumer_auto_offset_reset="earliest",
        producer_linger=wiring.LINGER_MS / 1000,
        producer_compression_type=wiring.COMPRESSION,
    )


def add_copy(app: Any, run: Run) -> None:
    """Pass-through, or Avro."""
    is_avro = run.measure == "avro"
    source = wiring.EXECUTIONS if is_avro else "in"
    incoming = app.topic(run.prefix + source, value_type=bytes)
    outgoing = app.topic(run.prefix + wiring.PASSED_ON, value_type=bytes)
    codec = wiring.make_codec()

    async def copy(stream: Any) -> None:
        async for event in stream.events():
            await outgoing.send(key=event.key, value=event.value)

    async def convert(stream: Any) -> None:
        async for event in stream.events():
            value = codec.encode(source, codec.decode(source, event.value))
            await outgoing.send(key=event.key, value=value)

    app.agent(incoming)(convert if is_avro else copy)


def add_service(app: Any, run: Run, service: Service, codec: Any, reference: ReferenceData) -> None:
    """One agent that runs a stage."""
    stage = service.make_stage()
    incoming = app.topic(*[run.prefix + topic for topic in service.reads], value_type=bytes)
    topics = {name: app.topic(run.prefix + name, value_type=bytes) for name in (*service.writes, wiring.EXCEPTIONS)}
    state = TableState(_table(app, run, stage), reference)
    prefix_length = len(run.prefix)

    async def process(stream: Any) -> None:
        async for event in stream.events():
            message = event.message
            source = message.topic[prefix_length:]
            received = Received(
                topic=source, key=event.key.decode(), event=codec.decode(source, event.value),
                timestamp_us=int(message.timestamp * 1_000_000), partition=message.partition, offset=message.offset,
            )  # fmt: skip
            for outcome in wiring.outcomes_of(stage, received, state, time.time_ns() // 1_000):
                value = codec.encode(outcome.topic, outcome.event)
                await topics[outcome.topic].send(key=outcome.key.encode(), value=value)

    app.agent(incoming, name=service.name)(process)


def _table(app: Any, run: Run, stage: Stage) -> Any:
    codec = f"rows-{stage.name}"
    register(codec, RowCodec(stage.state_types))
    table = app.Table(f"{run.prefix}{stage.name}", partitions=wiring.PARTITIONS, key_type=bytes)
    table.value_serializer = codec  # the argument for it takes only types that Faust itself declares
    return table


async def _make_changelogs(servers: str, topics: Iterable[str]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        compacted = {"cleanup.policy": "compact"}
        await admin.create_topics([NewTopic(name, wiring.PARTITIONS, 1, topic_configs=compacted) for name in topics])
    finally:
        await admin.close()


def main(run: Run, guarantee: str) -> None:
    """Run a worker until it is killed."""
    mode.loop.use("uvloop")
    with tempfile.TemporaryDirectory() as data_dir:
        app = make_app(run, guarantee, data_dir)
        if run.measure in ("pass-through", "avro"):
            add_copy(app, run)
        else:
            codec = wiring.make_codec()
            reference = wiring.reference_data(codec, asyncio.run(_reference_values(run.servers, run.prefix)))
            for service in wiring.services_of(run.measure):
                add_service(app, run, service, codec, reference)
            asyncio.run(_make_changelogs(run.servers, [table.changelog_topic_name for table in app.tables.values()]))
            asyncio.set_event_loop(asyncio.new_event_loop())
        faust.Worker(app, loglevel="warning").execute_from_commandline()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--guarantee", choices=["at_least_once", "exactly_once"], default="at_least_once")
    given, _ = parser.parse_known_args()
    main(wiring.asked_for(), given.guarantee)
