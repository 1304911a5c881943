"""How declared topics are held against those of a cluster."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from services.adapters import topic_admin
from services.adapters.topic_admin import Action, ExistingTopic, TopicAdmin, compare
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


class ClientWithoutLeaders:
    """A client that has once seen no leader, and believes it until it reads the metadata of all topics."""

    def __init__(self) -> None:
        self.has_leaders = False

    def list_topics(self, timeout: float) -> None:
        """Metadata of all topics."""
        self.has_leaders = True

    def list_offsets(self, partitions: Iterable[Any], request_timeout: float) -> dict[Any, Future[None]]:
        """Answer from what is believed."""
        answers: dict[Any, Future[None]] = {partition: Future() for partition in partitions}
        for answer in answers.values():
            if self.has_leaders:
                answer.set_result(None)
            else:
                answer.set_exception(KafkaException(KafkaError(KafkaError._NOENT)))
        return answers


def test_a_client_that_saw_no_leaders_is_made_to_look_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """One creation in forty hung like this on a real broker until its deadline had passed."""
    monkeypatch.setattr(topic_admin, "_LEADERS_SECONDS_MAX", 5.0)
    admin = TopicAdmin("127.0.0.1:1", client_settings={"log_level": 0})
    client = ClientWithoutLeaders()
    monkeypatch.setattr(admin, "_client", client)
    admin._await_leaders([TOPIC])
    assert client.has_leaders


def test_the_list_needs_no_cluster() -> None:
    """What is declared can be read on a laptop."""
    result = run("topics list", Cluster({}))
    assert result.exit_code == 0, result.stderr
    header, *rows = result.stdout.splitlines()
    assert "on the cluster" not in header
    assert [row.split()[0] for row in rows] == list(load_topics())
