"""While work goes on: what lies after the committed offsets may have had its effect or not; what lies before must."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from services.adapters.memory_log import MemoryLog
from services.engine.log import OutgoingRecord, TopicPartition
from services.pipeline import topic_counts
from services.verification import Decode, Entry, verify
from services.verification.names import INPUTS, group_of
from tests.support.snapshot_world import SnapshotWorld, memory_world


def _at(world: SnapshotWorld, service: str, share: float) -> SnapshotWorld:
    """The world in motion, where the service has committed this share of its inputs."""
    group = group_of(service)
    offsets = {place: int(offset * share) for place, offset in world.offsets[group].items()}
    return replace(world, settled=False, offsets={**world.offsets, group: offsets})


@pytest.mark.parametrize("service", INPUTS)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_effects_of_inputs_in_flight_are_no_break(
    service: str, share: float, troubled: SnapshotWorld, decode: Decode
) -> None:
    """Between the reading of the offsets and of the topics work goes on."""
    report = verify(_at(troubled, service, share), decode)
    assert [sentence for finding in report.findings for sentence in finding.breaks] == []


def _field(decode: Decode, entry: Entry, name: str) -> object:
    record = decode(entry.topic, entry.value)
    assert record is not None
    return record[name]


def _without_effects(world: SnapshotWorld, allocation_id: object, decode: Decode) -> SnapshotWorld:
    """As if settlement had not yet processed the allocation."""
    (instruction,) = [
        entry
        for entry in world.records["settlement.instructions"]
        if _field(decode, entry, "allocation_id") == allocation_id
    ]
    effects = [instruction, *(one for one in world.records["settlement.messages"] if one.key == instruction.key)]
    effects += [one for one in world.records["state.settlement"] if one.key == f"Instructed/{allocation_id}".encode()]
    assert len(effects) == 3
    for effect in effects:
        world = world.without(effect)
    return world


@pytest.mark.parametrize("is_committed", [True, False])
def test_what_was_not_processed_yet_is_not_lost(is_committed: bool, troubled: SnapshotWorld, decode: Decode) -> None:
    """The committed offset alone decides whether a missing instruction is lost or still to come."""
    instructed = Counter(_field(decode, one, "allocation_id") for one in troubled.records["settlement.instructions"])
    confirmed = troubled.records["trades.confirmed"]
    trade = [one for one in confirmed if instructed[_field(decode, one, "allocation_id")] == 1][-1]
    group = group_of("settlement")
    offsets = {**troubled.offsets[group], (trade.topic, trade.partition): trade.offset + is_committed}
    world = replace(troubled, settled=False, offsets={**troubled.offsets, group: offsets})
    report = verify(_without_effects(world, _field(decode, trade, "allocation_id"), decode), decode)
    assert report.is_sound is not is_committed


def test_what_is_older_than_asked_for_is_known_and_not_judged(troubled: SnapshotWorld, decode: Decode) -> None:
    """A lost input is seen when it is new enough; ids from before still count as known."""
    lost = next(entry for entry in troubled.records["trades.captured"] if entry.partition == 1)
    world = troubled.without(lost)
    latest_ms = max(entry.timestamp_ms for entries in troubled.records.values() for entry in entries)
    assert not verify(world, decode, since_ms=0).is_sound
    assert verify(troubled, decode, since_ms=latest_ms + 1).is_sound
    assert verify(world, decode, since_ms=latest_ms + 1).is_sound, "what was lost is older"


def test_what_retention_has_removed_is_not_missed(troubled: SnapshotWorld, decode: Decode) -> None:
    """Effects outlive their causes: with a beginning the rest of a trade's life is no break, without one it is."""
    world = troubled
    for topic in ("front-office.executions", "front-office.fix", "trades.captured", "trades.enriched"):
        world = world.with_topic(topic, ())
    latest_ms = max(entry.timestamp_ms for entries in troubled.records.values() for entry in entries)
    assert verify(world, decode, since_ms=latest_ms + 1).is_sound
    assert not verify(world, decode).is_sound


def test_a_transaction_that_hangs_is_told_after_it_was_waited_for(decode: Decode) -> None:
    """The cut waits for open transactions; one that does not end is a break also while work goes on."""
    log = MemoryLog(topic_counts())
    producer = log.producer("hanging")
    producer.begin()
    producer.produce([OutgoingRecord("trades.captured", b"key", b"value", (), 0)])
    world = memory_world(log, settled=False)
    assert list(world.entries("trades.captured")) == []
    (found,) = [finding for finding in verify(world, decode, is_cut=True).findings if finding.break_count]
    assert found.breaks == ("trades.captured[0] holds an open transaction from 0 to 1",)
    assert verify(world, decode).is_sound, "without waiting it may end yet"
    producer.abort()
    assert verify(memory_world(log, settled=False), decode, is_cut=True).is_sound


def test_the_cut_stays_where_it_was_made() -> None:
    """Records that come while the auditor reads are not part of what it judges."""
    log = MemoryLog({"trades.captured": 1})
    log.send([OutgoingRecord("trades.captured", b"key", b"before")])
    world = memory_world(log, settled=False, topics=["trades.captured"])
    log.send([OutgoingRecord("trades.captured", b"key", b"after")])
    assert [entry.value for entry in world.entries("trades.captured")] == [b"before"]
    assert log.end_offsets([TopicPartition("trades.captured", 0)], committed_only=True) == {("trades.captured", 0): 2}
