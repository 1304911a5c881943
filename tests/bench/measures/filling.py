"""State that is there before a worker starts: changelog rows as the engine writes them, as many as are asked for.

One item of each kind goes through the stages in memory, and the rows that it leaves are the pattern. Every further item
is the pattern with ids of its own in place of the first one's, of the same length. It lies in the partition where its
key belongs, and the row `Progress` says that nothing of the inputs was read yet, which is what makes the start legal.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from confluent_kafka import KafkaError, Producer

from services.adapters.kafka_producer import PRODUCER_SETTINGS
from services.adapters.murmur2 import partition_of
from services.adapters.topic_codec import FormatCodec
from services.confirmation.state import OpenAllocation
from services.domain.event import Execution
from services.domain.record import replace
from services.engine.log import OutgoingRecord
from services.engine.starting import progress_records
from services.engine.state import Progress, changelog_row, changelog_topic
from services.pipeline import SERVICES, ServiceDefinition
from services.settings import Settings
from tests.bench import data, profile
from tests.bench.measures.stand import DEADLINE_SECONDS, Stand

_ORDER, _EXECUTION = b"O5%08d", b"E5%08d"
"""No trade of the bench comes so far."""
_WHOLE_TABLE = "-"
_FLUSH_SECONDS_MAX = 300.0
_POLL_EVERY = 10_000
_ORDER_NUMBER = 1
_ACCOUNT = b"F%07d"
"""As long as the accounts of the bench. Each unconfirmed allocation has its own, so that none shares its match key."""

Row = tuple[bytes, bytes]
"""Key and value of a changelog record."""


@dataclass(frozen=True)
class Pattern:
    """The rows of one open item."""

    service: str
    what: str
    """The item, for a person, in the plural."""
    rows: Sequence[Row]
    shared_rows: Sequence[Row]
    """Once in every partition, however many items there are."""
    key: bytes
    """By which its input is partitioned."""
    ids: Sequence[tuple[bytes, bytes]]
    """What is the item's own in rows and key, each with the form that takes a number in its place."""

    def item(self, number: int) -> tuple[bytes, list[Row]]:
        """The key and the rows of one item."""
        key, rows = self.key, [*self.rows]
        for old, form in self.ids:
            new = form % number
            assert len(new) == len(old), f"{new!r} is not as long as {old!r}"
            key = key.replace(old, new)
            rows = [(name.replace(old, new), value.replace(old, new)) for name, value in rows]
        return key, rows


def open_blocks(codec: FormatCodec) -> Pattern:
    """Blocks of which fills are still to come, as allocation remembers them."""
    run, order = _run_with(codec, is_done=False)
    rows, shared = _rows(run, "allocation")
    ids = [(_key_of(rows, "Fill"), b"TR%014d"), (_key_of(rows, "OpenBlock"), b"BL%014d"), *_sender_ids(order)]
    return Pattern("allocation", "open blocks", rows, shared, order.encode(), ids)


def unconfirmed_allocations(codec: FormatCodec) -> Pattern:
    """Allocations whose confirmation has not come, as confirmation remembers them."""
    run, order = _run_with(codec, is_done=True)
    rows, shared = _rows(run, "confirmation")
    hosted = next(hosted for hosted in run.hosted if hosted.name == "confirmation")
    (opened,) = hosted.tables.rows[OpenAllocation].values()
    assert isinstance(opened, OpenAllocation)
    trade = opened.trade
    ids = [
        (trade.allocation_id.encode(), b"AL%014d"),
        (trade.block_id.encode(), b"BL%014d"),
        (trade.trade_ids[0].encode(), b"TR%014d"),
        (order.encode(), _ORDER),
        (trade.account.encode(), _ACCOUNT),
    ]
    return Pattern("confirmation", "unconfirmed allocations", rows, shared, trade.match_key.encode(), ids)


def seen_executions(codec: FormatCodec) -> Pattern:
    """Executions as capture remembers them, to recognise a repetition."""
    run, order = _run_with(codec, is_done=True)
    rows, shared = _rows(run, "capture")
    fingerprint = _between(rows[0][1], b'"fingerprint":"', b'"')
    ids = [(_key_of(rows, "SeenExecution"), b"TR%014d"), (fingerprint, b"%032x"), *_sender_ids(order)]
    return Pattern("capture", "seen executions", rows, shared, order.encode(), ids)


def _sender_ids(order: str) -> list[tuple[bytes, bytes]]:
    return [(order.encode(), _ORDER), (order.replace("O", "E").encode(), _EXECUTION)]


def _run_with(codec: FormatCodec, *, is_done: bool) -> tuple[profile.Run, str]:
    """The services after one execution, now; whether its order is done, or half of it is still to come."""
    reference = profile.reference_of(codec, data.reference_records(codec))
    settings = Settings(unallocated_after_seconds=DEADLINE_SECONDS, unconfirmed_after_seconds=DEADLINE_SECONDS)
    run = profile.Run(codec, reference, is_clocked=False, settings=settings)
    record = next(data.executions(codec, 1, first=_ORDER_NUMBER))
    execution = codec.decode(record.topic, record.value)
    assert isinstance(execution, Execution)
    if not is_done:
        execution = replace(execution, leaves_quantity=execution.quantity, cumulative_quantity=execution.quantity)
    now_ms = int(time.time() * 1000)
    run.send([OutgoingRecord(record.topic, record.key, codec.encode(record.topic, execution))], at_ms=now_ms)
    run.run(at_ms=now_ms, due=False)
    return run, execution.order_id


def _rows(run: profile.Run, service: str) -> tuple[list[Row], list[Row]]:
    """The changelog rows of a service's state, those of one item and those of the whole table."""
    own: list[Row] = []
    shared: list[Row] = []
    hosted = next(hosted for hosted in run.hosted if hosted.name == service)
    for kind, table in hosted.tables.rows.items():
        for key, row in table.items():
            name, value = changelog_row(kind, key, row)
            assert value is not None, "a row that is there has a value"
            (shared if key == _WHOLE_TABLE else own).append((name, value))
    assert own, f"{service} remembers nothing of the pattern"
    return own, shared


def _key_of(rows: Sequence[Row], table: str) -> bytes:
    (found,) = [name for name, _ in rows if name.startswith(table.encode() + b"/")]
    return found.partition(b"/")[2]


def _between(text: bytes, before: bytes, after: bytes) -> bytes:
    return text.partition(before)[2].partition(after)[0]


def records(pattern: Pattern, count: int, partitions: int) -> Iterator[OutgoingRecord]:
    """The changelog records of so many items, and what every partition has once."""
    definition = _definition(pattern.service)
    topic = changelog_topic(pattern.service)
    progress = {number: Progress(offsets=dict.fromkeys(definition.inputs, 0)) for number in range(partitions)}
    yield from progress_records(pattern.service, progress)
    for number in range(partitions):
        for name, value in pattern.shared_rows:
            yield OutgoingRecord(topic, name, value, (), number)
    for number in range(count):
        key, rows = pattern.item(number)
        place = partition_of(key, partitions)
        for name, value in rows:
            yield OutgoingRecord(topic, name, value, (), place)


def _definition(service: str) -> ServiceDefinition:
    return next(definition for definition in SERVICES if definition.name == service)


def fill(stand: Stand, pattern: Pattern, count: int) -> int:
    """Write so many items into the changelog of a stand whose workers have not started; how many records these are."""
    stand.context.say(f"{stand.name}: {count:,} {pattern.what} are written into the changelog")
    partitions = stand.log.partitions(changelog_topic(pattern.service))
    return write(stand.context.servers, stand.prefix, records(pattern, count, partitions))


def write(servers: str, prefix: str, rows: Iterable[OutgoingRecord]) -> int:
    """Write records as fast as it goes; how many. Raises RuntimeError when one is refused."""
    errors: list[KafkaError] = []

    def note(error: KafkaError | None, _message: object) -> None:
        if error is not None:
            errors.append(error)

    producer = Producer({"bootstrap.servers": servers, "log_level": 0, **PRODUCER_SETTINGS, "linger.ms": 50})
    number = 0
    for number, record in enumerate(rows, start=1):
        assert record.partition is not None, "a changelog row has its place"
        while True:
            try:
                producer.produce(prefix + record.topic, record.value, record.key, record.partition, on_delivery=note)
                break
            except BufferError:
                producer.poll(0.1)
        if number % _POLL_EVERY == 0:
            producer.poll(0)
    if producer.flush(_FLUSH_SECONDS_MAX) or errors:
        raise RuntimeError(f"changelog rows were not written: {errors[0].str() if errors else 'no answer in time'}")
    return number
