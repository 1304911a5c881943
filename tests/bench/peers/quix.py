"""Quix Streams, exactly-once: one StreamingDataFrame per service, all in one application.

- State of Quix belongs to the key of the message. So does, as it happens, nearly all that our stages remember: what a
  message reads and writes stands under its order, its match key or its own id. Three exceptions, each decided in favour
  of Quix: rows that only time-driven work reads (`NextDeadline`) are not kept, for Quix has no timers and the
  time-driven work of our stages is left out; nothing is ever held for a repair; a scan over a table is refused, and no
  trade of the bench asks for one. Rows lie in RocksDB with changelog, the only store Quix has, as JSON bytes.
- Two topics meet in Quix by `concat`, which aligns all topics of the application by time; with the topics that the
  application itself writes that took seconds for each step. So what confirmation reads travels on one topic, its
  allocated trades and its confirmations, and the bytes tell which is which. The two inputs of capture never meet and
  are two frames.
- `commit_interval` 0.2 s: its documentation leaves it to the user and defaults to 5 s, which a trade would wait for at
  each of the five services. lz4 and 5 ms of linger; the rest are its defaults.
- Nothing is isolated, parked or written to dead letters.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import msgspec
from quixstreams import Application
from quixstreams.models import Serializer

from services.adapters.avro_careful import HEADER_BYTES
from services.adapters.topic_codec import FormatCodec
from services.domain.errors import DecodeError
from services.domain.record import Record
from services.domain.reference import ReferenceData
from services.stage import DueAt, Received, Stage
from tests.bench.peers import wiring
from tests.bench.peers.kafka_client import reference_values
from tests.bench.peers.wiring import Run, Service

COMMIT_INTERVAL_SECONDS = 0.2
MERGED = {"confirmations.received": "trades.allocated"}
"""Topics whose records travel on another one."""

T = TypeVar("T", bound=Record)


class Outgoing(NamedTuple):
    """One record on its way out."""

    topic: str
    key: str
    value: bytes


class OutgoingSerializer(Serializer):  # type: ignore[misc]  # Quix is not in the environment of the type check
    """The bytes are there already."""

    def __call__(self, value: Outgoing, ctx: Any) -> bytes:
        return value.value


class KeyedState:
    """`services.stage.State` on what Quix keeps for one message key."""

    def __init__(self, stage: Stage, reference: ReferenceData) -> None:
        self.reference = reference
        self.kept: Any = None
        """Quix's state of the message in hand."""
        self._encode = msgspec.json.Encoder(decimal_format="string").encode
        self._decoders = {kind: msgspec.json.Decoder(kind).decode for kind in stage.state_types}

    def get(self, kind: type[T], key: str) -> T | None:
        if kind.__name__ in wiring.NOT_KEPT:
            return None
        row = self.kept.get_bytes(wiring.changelog_key(kind, key))
        return None if row is None else self._decoders[kind](row)  # type: ignore[return-value]  # its own decoder

    def put(self, key: str, value: Record) -> None:
        kind = type(value)
        if kind.__name__ not in wiring.NOT_KEPT:
            self.kept.set_bytes(wiring.changelog_key(kind, key), self._encode(value))

    def delete(self, kind: type[Record], key: str) -> None:
        if kind.__name__ not in wiring.NOT_KEPT:
            self.kept.delete(wiring.changelog_key(kind, key))

    def scan(self, kind: type[T]) -> Iterator[tuple[str, T]]:
        raise NotImplementedError("Quix Streams cannot walk over the state of all keys")

    def due(self, kind: type[T], due_at: DueAt[T], until: int) -> tuple[list[tuple[str, T]], int | None]:
        raise NotImplementedError("Quix Streams cannot walk over the state of all keys")

    def is_held(self, key: str) -> bool:
        return False


def make_application(run: Run, state_dir: str) -> Application:
    """The application without frames."""
    return Application(
        broker_address=run.servers,
        consumer_group=f"{run.prefix}quix",
        processing_guarantee="exactly-once",
        commit_interval=COMMIT_INTERVAL_SECONDS,
        auto_offset_reset="earliest",
        state_dir=state_dir,
        producer_extra_config={"linger.ms": wiring.LINGER_MS, "compression.type": wiring.COMPRESSION},
        loglevel="WARNING",
    )


def add_copy(app: Application, run: Run) -> None:
    """Pass-through, or Avro."""
    is_avro = run.measure == "avro"
    source = wiring.EXECUTIONS if is_avro else "in"
    frame = app.dataframe(_incoming(app, run, source))
    if is_avro:
        codec = wiring.make_codec()
        frame = frame.apply(lambda value: codec.encode(source, codec.decode(source, value)))
    frame.to_topic(
        app.topic(
            run.prefix + wiring.PASSED_ON, key_serializer="bytes", value_serializer="bytes", key_deserializer="bytes"
        )
    )


def _incoming(app: Application, run: Run, topic: str, key: str = "bytes") -> Any:
    return app.topic(run.prefix + topic, key_deserializer=key, value_deserializer="bytes")


def add_service(
    app: Application, run: Run, service: Service, outgoing: dict[str, Any], codec: FormatCodec, reference: ReferenceData
) -> None:
    """The frames that run a stage: one for all inputs that must meet."""
    stage = service.make_stage()
    travels_on = {topic: MERGED.get(topic, topic) for topic in service.reads}
    for merged in dict.fromkeys(travels_on.values()):
        topics = [topic for topic, other in travels_on.items() if other == merged]
        frame = app.dataframe(_incoming(app, run, merged, key="str")).apply(_decoder(codec, topics), metadata=True)
        published = frame.apply(_processor(stage, KeyedState(stage, reference), codec), stateful=True, expand=True)
        published.to_topic(lambda value, _key, _timestamp, _headers: outgoing[value.topic], key=lambda value: value.key)


def _decoder(codec: FormatCodec, topics: list[str]) -> Callable[[bytes, str, int, Any], Received]:
    """Reads what travels on a topic; whose record it is follows from the fingerprint of its schema."""
    topic_of: dict[bytes, str] = {}

    def decode(value: bytes, key: str, timestamp_ms: int, headers: Any) -> Received:
        topic = topic_of.get(value[:HEADER_BYTES]) or learn(value)
        return Received(topic=topic, key=key, event=codec.decode(topic, value), timestamp_us=timestamp_ms * 1_000)

    def learn(value: bytes) -> str:
        for topic in topics[:-1]:
            with contextlib.suppress(DecodeError):
                codec.decode(topic, value)
                break
        else:
            topic = topics[-1]
        topic_of[value[:HEADER_BYTES]] = topic
        return topic

    return decode


def _processor(stage: Stage, state: KeyedState, codec: FormatCodec) -> Callable[[Received, Any], list[Outgoing]]:
    def process(received: Received, kept: Any) -> list[Outgoing]:
        state.kept = kept
        return [
            Outgoing(outcome.topic, outcome.key, codec.encode(outcome.topic, outcome.event))
            for outcome in wiring.outcomes_of(stage, received, state, time.time_ns() // 1_000)
        ]

    return process


def main(run: Run) -> None:
    """Run an application until it is killed."""
    with tempfile.TemporaryDirectory() as state_dir:
        app = make_application(run, state_dir)
        if run.measure in ("pass-through", "avro"):
            add_copy(app, run)
        else:
            codec = wiring.make_codec()
            reference = wiring.reference_data(codec, reference_values(run.servers, run.prefix))
            services = wiring.services_of(run.measure)
            written = {topic for service in services for topic in (*service.writes, wiring.EXCEPTIONS)}
            outgoing = {
                topic: app.topic(
                    run.prefix + MERGED.get(topic, topic), key_serializer="str", value_serializer=OutgoingSerializer()
                )
                for topic in written
            }
            for service in services:
                add_service(app, run, service, outgoing, codec, reference)
        app.run()


if __name__ == "__main__":
    main(wiring.asked_for())
