"""What the outputs of tests/support/engine_stages must be, recomputed from the input alone. Reads any log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import msgspec

from services.domain.record import Record
from services.engine.log import Log, LogRecord, TopicPartition
from services.engine.state import Tables, changelog_topic
from tests.support.engine_stages import Count, Counted, Joined, Said

Read = Callable[[str], Sequence[LogRecord]]
"""Every committed record of a topic, in order within each partition."""


def read_to_end(log: Log, topic: str) -> list[LogRecord]:
    """Every committed record of a topic; waits for transactions that are open."""
    reader = log.reader({TopicPartition(topic, number): 0 for number in range(log.partitions(topic))})
    records: list[LogRecord] = []
    while not reader.at_end():
        records += reader.poll(10_000, 0.2)
    reader.close()
    return sorted(records, key=lambda record: (record.partition, record.offset))


def by_key(records: Iterable[LogRecord]) -> dict[bytes, list[LogRecord]]:
    """Records by key, each in order."""
    found: defaultdict[bytes, list[LogRecord]] = defaultdict(list)
    for record in records:
        assert record.key is not None
        found[record.key].append(record)
    return dict(found)


def rebuilt_state(read: Read, service: str, kinds: Iterable[type[Record]]) -> dict[type[Record], dict[str, Record]]:
    """What a restore would come to, from the changelog of every partition, without the engine's own tables."""
    kinds = tuple(kinds)
    tables = Tables(kinds)
    for record in read(changelog_topic(service)):
        assert record.key is not None
        tables.restore(record.key, record.value)
    return {kind: tables.rows[kind] for kind in kinds}


def check_counting(read: Read) -> None:
    """Every input led to exactly one output, in order of its key, and the state is what the input comes to."""
    expected_state: dict[str, Record] = {}
    outputs, inputs = by_key(read("counted")), by_key(read("said"))
    for key, records in inputs.items():
        numbers = [msgspec.json.decode(record.value or b"", type=Said).number for record in records]
        expected = [Counted(number=number, count=place) for place, number in enumerate(numbers, start=1)]
        found = [msgspec.json.decode(record.value or b"", type=Counted) for record in outputs.get(key, [])]
        assert found == expected, f"outputs of {key!r} are not exactly those of its input"
        expected_state[key.decode()] = Count(count=len(numbers), total=sum(numbers))
    assert outputs.keys() == inputs.keys()
    assert rebuilt_state(read, "counting", [Count]) == {Count: expected_state}


def check_joining(read: Read) -> None:
    """Every key with two halves led to exactly one pair."""
    outputs = by_key(read("joined"))
    both = by_key(read("left")).keys() & by_key(read("right")).keys()
    for key in both:
        name = key.decode()
        found = [msgspec.json.decode(record.value or b"", type=Joined) for record in outputs.get(key, [])]
        assert found == [Joined(left=f"left {name}", right=f"right {name}")], f"pairs of {key!r} are not exactly one"
    assert outputs.keys() == both
