"""A topic's identity: a file made from one must not be taken for one of its successor."""

from __future__ import annotations

import pytest

from services.adapters.kafka_log import KafkaLog
from services.engine.log import Log, LogError
from tests.contract.logs import log
from tests.support.broker import create_topics, delete_topics

__all__ = ["log"]


def test_a_topic_keeps_its_id_and_shares_it_with_no_other(log: Log) -> None:
    """The first is what a snapshot is recognised by at the next start, the second what keeps it from another topic."""
    log_ids = [log.topic_id(topic) for topic in ("in", "other-in", "in")]

    assert log_ids[0] == log_ids[2]
    assert log_ids[0] != log_ids[1]


def test_a_topic_that_is_not_there_has_no_id(log: Log) -> None:
    """An answer would be taken for an id."""
    with pytest.raises(LogError, match="nowhere"):
        log.topic_id("nowhere")


def test_a_topic_created_anew_is_another_one_for_every_client(kafka: str, prefix: str) -> None:
    """It has the name and the offsets of the old one, and none of its records."""
    create_topics(kafka, f"{prefix}.t")
    before, other = KafkaLog(kafka, prefix=f"{prefix}."), KafkaLog(kafka, prefix=f"{prefix}.")
    first = before.topic_id("t")
    assert other.topic_id("t") == first

    delete_topics(kafka, f"{prefix}.t")
    create_topics(kafka, f"{prefix}.t")

    assert before.topic_id("t") == other.topic_id("t") != first
    for client in (before, other):
        client.close()
