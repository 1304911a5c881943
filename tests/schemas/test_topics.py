"""The topics are declared completely and fit together."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas import generate
from services.adapters.avro_schema import read_versions, snake_name
from services.domain.event import CapturedTrade
from services.domain.reference import REFERENCE_KINDS, ReferenceRecord
from services.engine.dead_letters import LETTER_BYTES_MAX
from services.topics import WIRE_RECORDS, Cleanup, TopicFormat, TopicSpecification, load_topics

TOPICS = load_topics()
SERVICES = ("capture", "enrichment", "allocation", "confirmation", "settlement")
INPUTS = ("front-office.executions", "front-office.fix", "front-office.allocations", "counterparty.confirmations")
MIB = 1024 * 1024
VALID = """
description = "d"
key = "order_id"
producers = ["capture"]
consumers = ["enrichment"]
format = "avro"
record = "CapturedTrade"
schema = "captured_trade.v1.avsc"
compatibility = "FULL_TRANSITIVE"
examples = "examples/captured_trade"
[config]
partitions = 4
retention_days = 90
"""


def avro_topics() -> list[TopicSpecification]:
    """Topics whose values are Avro records."""
    return [topic for topic in TOPICS.values() if topic.format is TopicFormat.AVRO]


@pytest.mark.parametrize("topic", avro_topics(), ids=lambda topic: topic.name)
def test_a_topic_names_its_newest_schema_and_examples(topic: TopicSpecification) -> None:
    """Who reads the file must find the schema that is written today."""
    assert topic.record_type is not None
    name = snake_name(topic.record_type)
    assert topic.schema == read_versions()[name][-1].file_name
    assert topic.examples == f"examples/{name}"
    assert list((generate.ROOT / topic.examples).glob("*.json"))


@pytest.mark.parametrize("topic", avro_topics(), ids=lambda topic: topic.name)
def test_a_key_is_a_field_of_the_record(topic: TopicSpecification) -> None:
    """Partitioning follows the key, so it has to be something the record holds."""
    assert topic.record_type is not None
    if issubclass(topic.record_type, ReferenceRecord):
        assert topic.key.startswith(f"{topic.record_type.__name__}.key")
    else:
        assert topic.key in topic.record_type.__struct_fields__


def test_every_record_has_a_topic() -> None:
    """A record without a topic is written nowhere; a kind of reference data without one is never loaded."""
    assert {topic.record_type for topic in avro_topics()} == set(WIRE_RECORDS)
    assert [kind for kind in REFERENCE_KINDS if sum(topic.record_type is kind for topic in TOPICS.values()) != 1] == []


def test_topics_whose_keys_meet_are_partitioned_alike() -> None:
    """A join finds its other side in the same partition, and the state beside it: else trades would never meet."""
    pipeline = [topic for topic in TOPICS.values() if not topic.name.startswith("reference.")]
    assert len({topic.config.partitions for topic in pipeline}) == 1
    for one, other in (
        ("trades.enriched", "trades.allocation-requests"),
        ("trades.allocated", "confirmations.received"),
    ):
        assert TOPICS[one].key == TOPICS[other].key


def test_what_must_not_age_is_compacted() -> None:
    """State and reference data that ran out by age would be gone without a trace."""
    compacted = {name for name, topic in TOPICS.items() if topic.config.cleanup is Cleanup.COMPACT}
    kept = {name for name in TOPICS if name.startswith(("reference.", "state."))}
    assert compacted == kept | {"confirmations.status"}  # the latest row says all of its history
    assert {name for name in TOPICS if name.startswith("state.")} == {f"state.{service}" for service in SERVICES}


def test_a_large_message_reaches_the_dead_letters() -> None:
    """A message of 1 MB arrives, and what arrives fits, with the headers that are added, into every later topic."""
    largest = [TOPICS[name].config.max_message_bytes for name in INPUTS]
    assert largest == [2 * MIB] * len(INPUTS)
    for name, topic in TOPICS.items():
        if name not in INPUTS and not name.startswith("reference."):
            assert topic.config.max_message_bytes == 3 * MIB, name
    # What compresses badly once more than it did for its sender: with its longest headers it is below the limit still.
    assert 2 * MIB + 100_000 < LETTER_BYTES_MAX < 3 * MIB - 10_000


def test_inputs_are_stamped_by_the_broker() -> None:
    """received_at_us is the timestamp of the input record; with the sender's clock it would be a claim."""
    stamped = {name for name, topic in TOPICS.items() if topic.config.message_timestamp_type == "LogAppendTime"}
    assert stamped == set(INPUTS)


def test_settings_are_given_to_kafka_in_its_words() -> None:
    """One day of retention is 86,400,000 ms; ratios keep their digits."""
    assert TOPICS["trades.captured"].config.to_kafka() == {
        "cleanup.policy": "delete",
        "retention.ms": str(90 * 86_400_000),
        "max.message.bytes": str(3 * MIB),
    }
    assert TOPICS["state.capture"].config.to_kafka() == {
        "cleanup.policy": "compact",
        "max.message.bytes": str(3 * MIB),
        "min.cleanable.dirty.ratio": "0.2",
        "segment.ms": "3600000",
        "delete.retention.ms": "86400000",
    }


def test_a_valid_file_is_read(tmp_path: Path) -> None:
    """The counterpart of the refusals below."""
    (tmp_path / "trades.captured.toml").write_text(VALID, encoding="utf-8")
    topic = load_topics(tmp_path)["trades.captured"]

    assert topic.record_type is CapturedTrade
    assert (topic.key, topic.producers, topic.consumers) == ("order_id", ("capture",), ("enrichment",))
    assert (topic.config.partitions, topic.config.retention_days, topic.config.cleanup) == (4, 90, Cleanup.DELETE)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("[config]", "colour = 1\n[config]", "colour"),
        ("partitions = 4", "partitions = 4\nreplicas = 3", "replicas"),
        ('key = "order_id"', "", "key"),
        ("partitions = 4", "partitions = 0", "partitions was below 1"),
        ("partitions = 4", 'partitions = "4"', "int"),
        ("retention_days = 90", "", "retention_days was not given exactly"),
        ("retention_days = 90", 'retention_days = 90\ncleanup = "compact"', "retention_days was not given exactly"),
        ("retention_days = 90", 'retention_days = 90\nmessage_timestamp_type = "now"', "message_timestamp_type"),
        ("retention_days = 90", "retention_days = 90\ndelete_retention_ms = 1", "delete_retention_ms was given"),
        ("FULL_TRANSITIVE", "NONE", "compatibility was NONE"),
        ('schema = "captured_trade.v1.avsc"', "", "schema was not given"),
        ("CapturedTrade", "Nothing", "record was Nothing"),
        ('"avro"', '"json"', "format"),
        ('"avro"', '"raw"', "was not given exactly for format"),
        ("[config]", 'name = "x"\n[config]', "name was given"),
        ("[config]", "[config", "schemas/topics/"),
    ],
)
def test_a_file_that_says_something_unknown_is_refused(tmp_path: Path, old: str, new: str, problem: str) -> None:
    """A setting with a slip of the pen would be no setting at all; the error names the file."""
    assert old in VALID
    (tmp_path / "trades.captured.toml").write_text(VALID.replace(old, new), encoding="utf-8")

    with pytest.raises(ValueError, match=r"^schemas/topics/trades\.captured\.toml: ") as error:
        load_topics(tmp_path)
    assert problem in str(error.value)


def test_a_changelog_says_how_long_it_keeps_deletions(tmp_path: Path) -> None:
    """A worker judges by it how old its snapshots may be: with a guess a deleted row could come back."""
    declared = generate.ROOT / "topics" / "state.capture.toml"
    without = [line for line in declared.read_text(encoding="utf-8").splitlines() if "delete_retention" not in line]
    (tmp_path / "state.capture.toml").write_text("\n".join(without), encoding="utf-8")

    with pytest.raises(ValueError, match="delete_retention_ms was not given"):
        load_topics(tmp_path)
