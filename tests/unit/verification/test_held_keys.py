"""Nothing overtakes what failed: later records of its key wait behind it until it is resolved, and then go in order."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.local.demo import run_day
from services.adapters.avro_codec import to_json
from services.adapters.memory_log import MemoryLog
from services.adapters.topic_codec import FormatCodec
from services.domain.errors import DecodeError
from services.domain.event import Execution
from services.domain.record import Record
from services.engine.dead_letters import dead_letter
from services.engine.log import LogRecord
from services.pipeline import make_codec, topic_counts
from services.verification import Decode, Entry, verify
from tests import samples
from tests.support import mini_day
from tests.support.snapshot_world import SnapshotWorld, snapshot
from tests.unit.verification.tampering import Tampering

FAILING, FOLLOWING = "E2", ("E21", "E22")


class _FailingCodec:
    """The services' codec but for one report, which it cannot read."""

    def __init__(self, inner: FormatCodec) -> None:
        self._inner = inner
        self.encode = inner.encode

    def handing_over(self, topics: Collection[str]) -> _FailingCodec:
        return _FailingCodec(self._inner.handing_over(topics))

    def decode(self, topic: str, value: bytes | None) -> Record:
        event = self._inner.decode(topic, value)
        if isinstance(event, Execution) and event.execution_id == FAILING and topic == "front-office.executions":
            raise DecodeError("quantity was out of range")
        return event


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> SnapshotWorld:
    """A day in which capture fails at the first of three reports of an order, as the real worker left it."""
    data = mini_day.write(tmp_path_factory.mktemp("held-day"))
    _send_more(data)
    log = MemoryLog(topic_counts())
    run_day(log, _FailingCodec(make_codec()), data)  # type: ignore[arg-type]  # these methods are all it needs
    return snapshot(log)


def _send_more(data: Path) -> None:
    with (data / "executions.jsonl").open("a", encoding="utf-8") as lines:
        for name in FOLLOWING:
            lines.write(json.dumps(to_json(samples.execution(execution_id=name, order_id="O2"))) + "\n")


def _letters(world: SnapshotWorld) -> list[Entry]:
    """The dead letters of the order, in the order of what they stand for."""
    found = [one for one in world.records["dead-letters"] if dict(one.headers)["quarantine"] == b"key/O2"]
    return sorted(found, key=lambda one: int(dict(one.headers)["src.offset"] or b""))


def _source(letter: Entry) -> str:
    headers = {name: (value or b"").decode() for name, value in letter.headers}
    return f"{headers['src.topic']}[{headers['src.partition']}]@{headers['src.offset']}"


def _resolved(world: SnapshotWorld, *letters: Entry) -> SnapshotWorld:
    for number, letter in enumerate(letters):
        topic, _, rest = _source(letter).partition("[")
        of = f"capture/{topic}/{rest.replace(']@', '/')}"
        value = json.dumps({"id": f"r{number}", "of": of, "outcome": "DISCARDED"}).encode()
        world = world.with_added(Entry("dead-letters.resolved", 0, 0, of.encode(), value, 0))
    return world


def _overtakings(world: SnapshotWorld, decode: Decode) -> list[str]:
    (finding,) = (one for one in verify(world, decode).findings if one.invariant == "V3")
    return [sentence for sentence in finding.breaks if "overtook in" in sentence]


def test_what_the_worker_leaves_behind_is_sound(held: SnapshotWorld, decode: Decode) -> None:
    """The real engine parks what follows, in words that the auditor understands."""
    assert [dict(one.headers)["err.class"] for one in _letters(held)] == [b"DECODE", b"PARKED", b"PARKED"]
    report = verify(held, decode)
    assert [sentence for finding in report.findings for sentence in finding.breaks] == []


def test_what_passes_a_record_that_waits_is_told(held: SnapshotWorld, decode: Decode) -> None:
    """A correction that is processed before what it corrects settles another trade than was done."""
    first, second, _ = _letters(held)
    (told,) = _overtakings(held.without(second), decode)
    assert told.startswith(f"{_source(second)} overtook in capture")
    assert told.endswith(_source(first))


def test_what_is_released_out_of_order_is_told(held: SnapshotWorld, decode: Decode) -> None:
    """Also a repair must not let a record pass one that still waits."""
    _, second, _ = _letters(held)
    (told,) = _overtakings(_resolved(held, second), decode)
    assert told.startswith(_source(second))


def test_what_is_released_in_order_is_free(held: SnapshotWorld, decode: Decode) -> None:
    """After the last release the key goes on, and what came later never had to wait."""
    first, second, third = _letters(held)
    assert _overtakings(_resolved(held, first, second), decode) == []
    assert _overtakings(_resolved(held.without(second).without(third), first), decode) == []


def test_what_passed_before_the_release_is_told_afterwards(held: SnapshotWorld, decode: Decode) -> None:
    """That a later record was put aside behind the first shows that the first still waited when this one passed."""
    first, second, third = _letters(held)
    (told,) = _overtakings(_resolved(held.without(second), first, third), decode)
    assert told.startswith(_source(second))


def test_what_is_in_flight_has_not_passed_yet(held: SnapshotWorld, decode: Decode) -> None:
    """A record behind the committed offset is still to be put aside."""
    _, second, third = _letters(held)
    offset = int(dict(second.headers)["src.offset"] or b"")
    place = ("front-office.executions", int(dict(second.headers)["src.partition"] or b""))
    offsets = {**held.offsets["posttrade.capture"], place: offset}
    world = replace(held, settled=False, offsets={**held.offsets, "posttrade.capture": offsets})
    assert _overtakings(world.without(second).without(third), decode) == []


@pytest.mark.parametrize(
    ("service", "topic", "field"),
    [
        ("enrichment", "trades.captured", "order_id"),
        ("allocation", "trades.enriched", "order_id"),
        ("confirmation", "trades.allocated", "match_key"),
    ],
)
def test_every_service_keeps_the_order_of_a_key(
    service: str, topic: str, field: str, troubled: SnapshotWorld, decode: Decode, codec: FormatCodec
) -> None:
    """Wherever a record failed, what has its key and lies behind it in its partition has to wait."""
    first, second = Tampering(troubled, decode, codec).neighbours(topic, field)
    source = LogRecord(topic, first.partition, first.offset, first.key, first.value, first.timestamp_ms, first.headers)
    name = f"key/{(first.key or b'').decode()}"
    letter = dead_letter(source, error_class="BUG", stage=service, message="a fault of ours", quarantine=name)
    entry = Entry("dead-letters", 0, 0, letter.key, letter.value, 0, tuple(letter.headers))
    told = _overtakings(troubled.with_added(entry), decode)
    assert f"{topic}[{second.partition}]@{second.offset}" in [sentence.split()[0] for sentence in told]
    assert all(f" overtook in {service} " in sentence for sentence in told)
