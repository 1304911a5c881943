"""Where a partition is read from, and when a worker rather stops."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, cast

import msgspec
import pytest
import structlog

from services.commands.failure import EXIT_TROUBLE
from services.commands.worker import exit_code_of
from services.engine.log import OffsetsLost, OutgoingRecord, TopicPartition, Unavailable
from services.engine.member import HostedService, Member
from services.engine.metrics import Metrics
from services.engine.outage import Patience
from services.engine.recovery import Recovery, RestoreCancelled
from services.engine.restoring import Restorer
from services.engine.runtime import SYSTEM
from services.engine.snapshot_store import SnapshotStore
from services.engine.starting import StateLost
from services.engine.state import Progress
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


def _positions(log: FaultyLog) -> list[dict[str, int]]:
    marks = [record for record in committed(log, "state.counting") if record.key == b"Progress/0"]
    return [msgspec.json.decode(mark.value or b"", type=Progress).offsets for mark in marks]


async def _lost(log: FaultyLog) -> str:
    error = await start_worker(log, counting()).failed()
    assert isinstance(error, OffsetsLost)
    assert exit_code_of(error) == EXIT_TROUBLE
    sentence = str(error)
    assert "posttrade.counting cannot go on in partition 0 of said" in sentence
    assert "kafka-consumer-groups --reset-offsets --group posttrade.counting --topic said:0" in sentence
    return sentence


async def _stopped(log: FaultyLog) -> str:
    error = await start_worker(log, counting()).failed()
    assert isinstance(error, StateLost)
    assert exit_code_of(error) == EXIT_TROUBLE
    sentence = str(error)
    assert "Restore state.counting from a copy, or set the offset back" in sentence
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
    assert _positions(log)[0] == {"said": 4}


async def test_what_was_deleted_unread_stops_the_worker_with_the_offsets() -> None:
    """Trades that nobody will process are found by a person today, not by a counterparty in a week."""
    log = FaultyLog()
    _say(log, 0, 10)
    await _processed(log, 10)
    _say(log, 10, 30)
    log.delete_records({PLACE: 25})
    assert "its next offset is 10, but the partition holds offsets 25 to 29" in await _lost(log)


def _of_one_of_several_installations() -> FaultyLog:
    log = FaultyLog()
    log.prefix = "uat."
    return log


async def test_the_command_for_an_operator_names_group_and_topic_as_they_are_called_on_the_wire() -> None:
    """He pastes it: without the prefix it would move the offsets of another installation, or of nobody."""
    on_the_wire = "kafka-consumer-groups --reset-offsets --group uat.posttrade.counting --topic uat.said:0"
    log = _of_one_of_several_installations()
    _say(log, 0, 10)
    await _processed(log, 10)
    log.recreate("state.counting")
    lost = str(await start_worker(log, counting()).failed())
    assert "uat.posttrade.counting cannot go on in partition 0 of uat.said" in lost
    assert "Restore uat.state.counting from a copy" in lost
    assert on_the_wire in lost

    log = _of_one_of_several_installations()
    _say(log, 0, 10)
    await _processed(log, 10)
    _say(log, 10, 30)
    log.delete_records({PLACE: 25})
    assert on_the_wire in str(await start_worker(log, counting()).failed())


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


async def test_offsets_that_vanished_from_the_group_cost_nothing() -> None:
    """The cluster forgets the offsets of a group that was away for long, or its coordinator loses its memory."""
    log = FaultyLog()
    _say(log, 0, 10)
    await _processed(log, 10)
    log.group(GROUP).committed.clear()
    _say(log, 10, 15)
    with structlog.testing.capture_logs() as lines:
        await _processed(log, 15)
    warnings = [line for line in lines if "has forgotten offsets" in line["event"]]
    assert [(line["committed"], line["known"]) for line in warnings if line["partition"] == "said[0]"] == [(None, 10)]
    assert log.group(GROUP).committed[PLACE] == 15
    check_counting(log)


async def test_offsets_that_went_back_are_not_believed() -> None:
    """A coordinator that has read half of its own log answers with what was true long ago: all would be done again."""
    log = FaultyLog()
    _say(log, 0, 10)
    await _processed(log, 10)
    log.group(GROUP).committed[PLACE] = 4
    _say(log, 10, 15)
    await _processed(log, 15)
    check_counting(log)


async def test_state_that_is_older_than_the_offsets_stops_the_worker() -> None:
    """A changelog that was deleted, or restored from an old copy: duplicates would not be recognised any more."""
    log = FaultyLog()
    _say(log, 0, 10)
    await _processed(log, 10)
    log.recreate("state.counting")
    sentence = await _stopped(log)
    assert "the group has committed offset 10, but the state holds no trace of it" in sentence
    row = msgspec.json.encode(Progress(offsets={"said": 6}))
    log.send([OutgoingRecord("state.counting", b"Progress/0", row, (), 0)])
    assert "the group has committed offset 10, but its state ends at 6" in await _stopped(log)
    assert count(log, "counted") == 10


async def test_state_that_does_not_say_how_far_it_was_read_stops_the_worker() -> None:
    """Rows without a position: nobody can tell what of the input is in them."""
    log = FaultyLog()
    log.send([OutgoingRecord("state.counting", b"Count/a", b'{"count":1,"total":0}', (), 0)])
    assert "does not say how far it was read, and the group has no offset" in await _stopped(log)


async def test_after_a_loss_of_input_a_person_decides_where_it_goes_on() -> None:
    """What the message of the stopped worker tells the person to do must be enough."""
    log = FaultyLog()
    _say(log, 0, 10)
    await _processed(log, 10)
    _say(log, 10, 30)
    log.delete_records({PLACE: 25})
    await _lost(log)
    log.group(GROUP).committed[PLACE] = 25
    with structlog.testing.capture_logs() as lines:
        await _processed(log, 15)
    assert [line["committed"] for line in lines if "set by hand and is obeyed" in line["event"]] == [25]


async def test_a_service_that_gets_one_more_input_reads_that_from_its_beginning() -> None:
    """A new version of a service is no loss of offsets; its position learns of the new input."""
    log = FaultyLog(topics=dict(TOPICS) | {"also-said": PARTITIONS})
    _say(log, 0, 10)
    await _processed(log, 10)
    wider = HostedService(CountingStage(), ("said", "also-said"), ("counted", "dead-letters"))
    async with running(log, wider) as worker:
        await until(log, lambda: worker.coordinator.ready, worker)
    assert _positions(log)[-1] == {"said": 10, "also-said": 0}
    _say(log, 10, 15)
    await _processed(log, 15)
    assert _positions(log)[-1] == {"said": 15, "also-said": 0}, "the older version, taken back, forgets no place"
    check_counting(log)


HANGS = -1
"""As an answer: there is none."""


class _LateConsumer:
    """Its first answer is from before another worker took the partition up, as that of one that stood still."""

    def __init__(self, answer: int | None) -> None:
        self._answer = answer

    def committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int | None]:
        if self._answer == HANGS:
            raise Unavailable("committed offsets could not be read: timed out")
        return dict.fromkeys(partitions, self._answer)


STOPPED_AFTER = 20
"""Looks at whether the worker stops, after which it does."""


def _restore(log: FaultyLog, answer: int | None) -> dict[TopicPartition, int]:
    asked = itertools.count()
    patience = Patience(SYSTEM, lambda: next(asked) > STOPPED_AFTER)
    metrics = Metrics(version="test")
    store = SnapshotStore(MemoryFiles(), metrics, SYSTEM, tombstones_kept_seconds=86_400.0)
    recovery = Recovery(log, store, metrics, SYSTEM)
    member = Member(counting(), log, SYSTEM, lambda item: None)
    member.owned = {0}
    member.consumer = cast(Any, _LateConsumer(answer))
    return dict(Restorer(log, recovery, SYSTEM, patience, lambda: False).restore(member, [0], 0).offsets)


async def test_a_restore_that_was_overtaken_while_the_worker_stood_still_goes_by_the_state() -> None:
    """Else it would end a healthy worker, and advise an operator to reset offsets that are in order."""
    log = FaultyLog()
    _say(log, 0, 10)
    await _processed(log, 10)
    assert _restore(log, None)[PLACE] == 10


async def test_a_coordinator_that_hangs_holds_up_no_partition_whose_state_is_there() -> None:
    """One that waits for ever for the end of a transaction that has ended answers nobody; the state is enough."""
    log = FaultyLog()
    _say(log, 0, 10)
    await _processed(log, 10)
    assert _restore(log, HANGS)[PLACE] == 10


async def test_without_state_a_coordinator_that_hangs_is_waited_for() -> None:
    """To begin at the beginning because nobody answers would do everything a second time."""
    log = FaultyLog()
    _say(log, 0, 10)
    with pytest.raises(RestoreCancelled):
        _restore(log, HANGS)
