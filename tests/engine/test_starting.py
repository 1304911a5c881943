"""Where a partition is read from, and when a worker rather stops."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import msgspec
import pytest
import structlog

from services.commands.failure import EXIT_TROUBLE
from services.commands.worker import exit_code_of
from services.engine.log import OffsetsLost, OutgoingRecord, TopicPartition
from services.engine.member import HostedService, Member
from services.engine.metrics import Metrics
from services.engine.outage import Patience
from services.engine.recovery import Recovery
from services.engine.restoring import Restorer
from services.engine.runtime import SYSTEM
from services.engine.snapshot_store import SnapshotStore
from services.engine.state import Started
from tests.engine.harness import FaultyLog, check_counting, committed, count, running, start_worker, until
from tests.support.engine_stages import PARTITIONS, TOPICS, CountingStage, counting, said
from tests.support.memory_files import MemoryFiles

GROUP = "posttrade.counting"
PLACE = TopicPartition("said", 0)


def _say(log: FaultyLog, start: int, stop: int) -> None:
    log.send(msgspec.structs.replace(said("a", number), partition=0) for number in range(start, stop))


async def _processed(log: FaultyLog, records: int) -> None:
    async with running(log, counting()) as worker:
        await until(log, lambda: count(log, "counted") >= records and worker.coordinator.ready, worker)


async def _lost(log: FaultyLog) -> str:
    error = await start_worker(log, counting()).failed()
    assert isinstance(error, OffsetsLost)
    assert exit_code_of(error) == EXIT_TROUBLE
    sentence = str(error)
    assert "posttrade.counting cannot go on in partition 0 of said" in sentence
    assert "kafka-consumer-groups --reset-offsets --group posttrade.counting --topic said:0" in sentence
    return sentence


async def test_a_first_start_reads_from_what_the_log_still_holds_and_says_so() -> None:
    """A new installation, or a new service, on topics that have lived for long."""
    log = FaultyLog()
    _say(log, 0, 10)
    log.delete_records({PLACE: 4})
    with structlog.testing.capture_logs() as lines:
        await _processed(log, 6)
    (said_once,) = [line for line in lines if "for the first time" in line["event"]]
    assert said_once["offsets"]["said[0]"] == 4
    marks = [record for record in committed(log, "state.counting") if record.key == b"Started/0"]
    assert [msgspec.json.decode(mark.value or b"", type=Started).offsets for mark in marks] == [{"said": 4}]


async def test_what_was_deleted_unread_stops_the_worker_with_the_offsets() -> None:
    """Trades that nobody will process are found by a person today, not by a counterparty in a week."""
    log = FaultyLog()
    _say(log, 0, 10)
    await _processed(log, 10)
    _say(log, 10, 30)
    log.delete_records({PLACE: 25})
    assert "its next offset is 10, but the partition holds offsets 25 to 29" in await _lost(log)


async def test_what_is_deleted_under_a_running_worker_stops_it_too() -> None:
    """Retention does not wait for a restart."""
    log = FaultyLog()
    worker = start_worker(log, counting())
    await until(log, lambda: worker.coordinator.ready, worker)
    with log.changed:
        _say(log, 0, 10)
        log.delete_records({PLACE: 5})
    error = await worker.failed()
    assert isinstance(error, OffsetsLost)
    assert "its next offset is 0, but the partition holds offsets 5 to 9" in str(error)


async def test_a_topic_that_was_created_anew_stops_the_worker() -> None:
    """Its offsets mean other records now."""
    log = FaultyLog()
    _say(log, 0, 10)
    await _processed(log, 10)
    log.recreate("said")
    assert "its next offset is 10, but the partition holds no record, and goes on at offset 0" in await _lost(log)


async def test_offsets_that_vanished_from_the_group_stop_the_worker() -> None:
    """The cluster forgets the offsets of a group that was away for long: everything would be done a second time."""
    log = FaultyLog()
    _say(log, 0, 10)
    await _processed(log, 10)
    log.group(GROUP).committed.clear()
    assert "it was first read from 0 on, but the group has no committed offset any more" in await _lost(log)
    assert count(log, "counted") == 10


async def test_state_without_a_mark_is_enough_to_know_that_a_partition_was_read() -> None:
    """State written by a version that left no marks."""
    log = FaultyLog()
    log.send([OutgoingRecord("state.counting", b"Count/a", b'{"count":1,"total":0}', (), 0)])
    assert "no committed offset any more" in await _lost(log)


async def test_a_service_that_gets_one_more_input_reads_that_from_its_beginning() -> None:
    """A new version of a service is no loss of offsets; its mark learns of the new input."""
    log = FaultyLog(topics=dict(TOPICS) | {"also-said": PARTITIONS})
    _say(log, 0, 10)
    await _processed(log, 10)
    wider = HostedService(CountingStage(), ("said", "also-said"), ("counted", "dead-letters"))
    async with running(log, wider) as worker:
        await until(log, lambda: worker.coordinator.ready, worker)
    marks = [record for record in committed(log, "state.counting") if record.key == b"Started/0"]
    offsets = [msgspec.json.decode(mark.value or b"", type=Started).offsets for mark in marks]
    assert offsets == [{"said": 0}, {"said": 0, "also-said": 0}]
    check_counting(log)


class _LateConsumer:
    """Its first answer is from before another worker took the partition up, as that of one that stood still."""

    def __init__(self, *answers: int | None) -> None:
        self._answers = list(answers)

    def committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int | None]:
        offset = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return dict.fromkeys(partitions, offset)


def _restore(log: FaultyLog, *answers: int | None) -> dict[TopicPartition, int]:
    patience = Patience(SYSTEM, lambda: False)
    metrics = Metrics(version="test")
    store = SnapshotStore(MemoryFiles(), metrics, SYSTEM, tombstones_kept_seconds=86_400.0)
    recovery = Recovery(log, store, metrics, SYSTEM)
    member = Member(counting(), log, SYSTEM, lambda item: None)
    member.owned = {0}
    member.consumer = cast(Any, _LateConsumer(*answers))
    return dict(Restorer(log, recovery, SYSTEM, patience, lambda: False).restore(member, [0], 0).offsets)


async def test_a_restore_that_was_overtaken_while_the_worker_stood_still_reads_again() -> None:
    """It would end a healthy worker, and advise an operator to reset offsets that are in order."""
    log = FaultyLog()
    _say(log, 0, 10)
    await _processed(log, 10)
    assert _restore(log, None, 10)[PLACE] == 10
    with pytest.raises(OffsetsLost):
        _restore(log, None)
