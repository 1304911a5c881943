"""A member may stand still and keep what it owns: a halted service on either log."""

from __future__ import annotations

from services.engine.log import Log, TopicPartition
from tests.contract.logs import join, log, poll_count, send

__all__ = ["log"]


def test_a_paused_partition_is_silent_others_go_on_and_it_stays_ours(log: Log) -> None:
    """What was fetched ahead must not slip through, and nobody else may be given it to meet the same wall."""
    send(log, "single", *[str(number) for number in range(50)])
    consumer, ownership = join(log, "g", "single", "out")
    first = poll_count(consumer, 5)
    paused = TopicPartition("single", 0)
    consumer.pause([paused, TopicPartition("single", 7)])
    send(log, "out", *[f"o{number}" for number in range(20)])
    others = poll_count(consumer, 20)
    assert {record.topic for record in others} == {"out"}
    assert paused in ownership.owned

    consumer.seek({paused: first[-1].offset + 1})
    consumer.resume([paused])
    rest = poll_count(consumer, 50 - len(first))
    assert [record.offset for record in [*first, *rest]] == list(range(50)), "it goes on where it stopped"
    consumer.close()
