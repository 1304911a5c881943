"""What the driver sends, before it is sent."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import pytest

from services.adapters.avro_codec import AvroCodec
from services.adapters.avro_schema import fingerprint, read_versions
from services.adapters.topic_codec import FormatCodec
from services.domain.errors import DecodeError
from services.domain.event import Execution
from services.topics import load_topics
from tests.chaos import poison
from tests.chaos.places import write_schemas
from tests.chaos.stream import SCHEMA_EVERY, Sent, Stream

RECORDS = 9_000


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The schemas of a run."""
    folder = tmp_path_factory.mktemp("chaos") / "schemas"
    write_schemas(folder)
    return folder


@pytest.fixture(scope="module")
def sent(schemas: Path) -> list[Sent]:
    """The beginning of a run, and its end."""
    stream = Stream(11, schemas)
    return [*itertools.islice(stream, RECORDS), *stream.rest()]


def test_the_same_seed_sends_the_same_bytes(schemas: Path, sent: list[Sent]) -> None:
    """Else a failed run could not be repeated."""
    again = Stream(11, schemas)

    assert [*itertools.islice(again, RECORDS), *again.rest()] == sent


def test_every_kind_of_trouble_is_sent(sent: list[Sent]) -> None:
    """What is never sent is never tried."""
    kinds = Counter(record.kind for record in sent)

    assert {f"poison {kind}" for kind in poison.KINDS} <= kinds.keys()
    assert min(kinds[kind] for kind in ("execution", "FIX message", "allocation", "confirmation", "resent")) > 50
    assert kinds["replayed"] > 5


def test_the_schema_changes_in_mid_stream(schemas: Path, sent: list[Sent]) -> None:
    """Readers have to take each version, one after the other and mixed with older records."""
    known = {fingerprint(version.schema) for version in read_versions(schemas)["execution"]}
    written = Counter(record.value[2:10] for record in sent if record.kind == "execution" and record.value is not None)

    assert len(known) == 2 + len(read_versions()["execution"]), "two that are still to come, and those that are there"
    assert written.keys() == known
    assert max(written.values()) <= 2 * SCHEMA_EVERY


def test_what_is_not_poison_can_be_read(schemas: Path, sent: list[Sent]) -> None:
    """Only poison may end among the dead letters; an error of the harness must not look like one of the service."""
    codec = FormatCodec(load_topics(), AvroCodec(schemas))
    unreadable: Counter[str] = Counter()
    for record in sent:
        try:
            codec.decode(record.topic, record.value)
        except DecodeError:
            unreadable[record.kind] += 1

    readable = {"null key", "key that is no text", poison.STAGE_RAISES}
    assert unreadable.keys() == {f"poison {kind}" for kind in poison.KINDS if kind not in readable}


def test_ids_are_unique_over_all_days(schemas: Path, sent: list[Sent]) -> None:
    """Two executions under one id would be a conflict that the service rightly refuses."""
    codec = FormatCodec(load_topics(), AvroCodec(schemas))
    once = [record for record in sent if record.kind in ("execution", "FIX message")]
    events = [codec.decode(record.topic, record.value) for record in once]
    ids = Counter((event.sender, event.execution_id) for event in events if isinstance(event, Execution))

    assert len({event.trade_date for event in events if isinstance(event, Execution)}) > 1
    assert max(ids.values()) == 1


def test_all_that_was_begun_is_finished(schemas: Path, sent: list[Sent]) -> None:
    """After the rest has been sent every order without trouble has all its fills."""
    codec = FormatCodec(load_topics(), AvroCodec(schemas))
    done: dict[str, bool] = {}
    for record in sent:
        if record.kind in ("execution", "FIX message"):
            event = codec.decode(record.topic, record.value)
            if isinstance(event, Execution):
                done[event.order_id] = done.get(event.order_id, False) or event.leaves_quantity == 0

    assert all(done.values())
