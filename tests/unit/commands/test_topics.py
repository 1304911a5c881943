"""How declared topics are held against those of a cluster."""

from __future__ import annotations

import pytest

from services.adapters.topic_admin import Action, ExistingTopic, compare
from services.commands.cluster import Cluster
from services.topics import load_topics
from tests.unit.commands.support import run

TOPIC = load_topics()["state.capture"]
AS_DECLARED = TOPIC.config.to_kafka() | {"retention.ms": "604800000"}


def test_what_is_missing_is_created() -> None:
    """The first `topics apply` on an empty cluster."""
    assert compare(TOPIC, None).action is Action.CREATE


def test_what_is_as_declared_is_left_alone() -> None:
    """Settings that are not declared are the cluster's own business."""
    assert compare(TOPIC, ExistingTopic(TOPIC.config.partitions, AS_DECLARED)).action is Action.NONE


@pytest.mark.parametrize("partitions", [1, 8])
def test_another_number_of_partitions_is_refused(partitions: int) -> None:
    """More partitions would part keys from their duplicates; only a person can decide what to do."""
    change = compare(TOPIC, ExistingTopic(partitions, {}))
    assert change.action is Action.REFUSE
    assert f"has {partitions} partitions, {TOPIC.config.partitions} are declared" in change.details


def test_a_differing_setting_is_altered_and_named() -> None:
    """Who applies sees what was and what is."""
    existing = ExistingTopic(TOPIC.config.partitions, AS_DECLARED | {"cleanup.policy": "delete"})
    change = compare(TOPIC, existing)
    assert (change.action, change.details) == (Action.ALTER, "cleanup.policy: delete -> compact")


def test_a_number_written_otherwise_is_the_same_number() -> None:
    """Kafka gives 0.10 back as 0.1; that must not be altered at every start."""
    name, value = next((n, v) for n, v in TOPIC.config.to_kafka().items() if n == "min.cleanable.dirty.ratio")
    existing = ExistingTopic(TOPIC.config.partitions, AS_DECLARED | {name: value + "0"})
    assert compare(TOPIC, existing).action is Action.NONE


def test_the_list_needs_no_cluster() -> None:
    """What is declared can be read on a laptop."""
    result = run("topics list", Cluster({}))
    assert result.exit_code == 0, result.stderr
    header, *rows = result.stdout.splitlines()
    assert "on the cluster" not in header
    assert [row.split()[0] for row in rows] == list(load_topics())
