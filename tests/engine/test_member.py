"""One service in its group: ownership, readings, and the size of its polls."""

from __future__ import annotations

import asyncio
import itertools
import threading
from typing import Any, cast

import pytest

from services.adapters.memory_log import MemoryLog
from services.engine import member as member_module
from services.engine.log import LogError, TopicPartition
from services.engine.member import (
    BATCH_RECORDS_MAX,
    BATCH_RECORDS_MIN,
    BATCH_SECONDS_TARGET,
    CoPartitioningBroken,
    Member,
    Polled,
    Rebalance,
)
from services.engine.runtime import SYSTEM
from services.engine.state import Tables
from tests.support.engine_stages import TOPICS, Waiting, joining


def _member(posted: list[Any] | None = None) -> Member:
    return Member(joining(), MemoryLog(TOPICS), SYSTEM, (posted if posted is not None else []).append)


def _both(*numbers: int) -> list[TopicPartition]:
    return [TopicPartition(topic, number) for topic in ("left", "right") for number in numbers]


def _take(member: Member, *numbers: int, assigned: bool) -> list[int]:
    return member.take(Rebalance(member, _both(*numbers), assigned=assigned))


def _restored(member: Member, *numbers: int) -> None:
    for number in numbers:
        member.tables[number] = Tables([Waiting])
        member.next_offsets |= dict.fromkeys(member.partitions_of([number]), 0)


def test_what_is_assigned_must_be_restored_and_what_is_revoked_is_forgotten() -> None:
    """Nothing of a partition may outlive its ownership: another worker's changes would be missing from it."""
    member = _member()
    assert _take(member, 0, 1, assigned=True) == [0, 1]
    _restored(member, 0, 1)
    assert _take(member, 2, assigned=True) == [2]
    assert _take(member, 0, assigned=False) == []
    assert member.owned == {1, 2}
    assert set(member.tables) == {1}
    assert set(member.next_offsets) == set(_both(1))
    assert _take(member, 0, assigned=True) == [0, 2], "partition 2 is not restored yet and must be asked for again"


def test_every_change_of_ownership_overtakes_running_restores() -> None:
    """A restore that began before must not be installed after."""
    member = _member()
    epochs = [member.epoch]
    for assigned in (True, False, True):
        _take(member, 3, assigned=assigned)
        epochs.append(member.epoch)
    assert epochs == [0, 1, 2, 3]


def test_halves_of_a_partition_are_refused() -> None:
    """A join would silently miss the half that is elsewhere."""
    member = _member()
    with pytest.raises(CoPartitioningBroken, match="joining was given different partitions"):
        member.take(Rebalance(member, [*_both(0), TopicPartition("left", 1)], assigned=True))


@pytest.mark.parametrize("topic", ["right", "state.joining"])
def test_inputs_and_changelog_must_have_the_same_partitions(topic: str) -> None:
    """The operator learns which topic differs, before the first record."""
    with pytest.raises(CoPartitioningBroken, match=f"{topic} has 5.*; recreate the topics"):
        Member(joining(), MemoryLog(dict(TOPICS) | {topic: 5}), SYSTEM, print)


def test_a_missing_topic_is_named() -> None:
    """Input, output or changelog."""
    for missing in ("left", "joined", "state.joining"):
        with pytest.raises(LogError, match=missing):
            Member(joining(), MemoryLog({name: n for name, n in TOPICS.items() if name != missing}), SYSTEM, print)


def test_records_of_an_earlier_reading_are_not_current() -> None:
    """After a rebalance or a rewind the same records come again: processing both would double them."""
    posted: list[Any] = []
    member = _member(posted)
    member.stopping = True  # nobody answers the rebalance here
    polled = Polled(member, [], object(), member.reading)
    current = [polled.is_current]
    member.rewind_due = True
    current.append(polled.is_current)
    member.rewind_due = False
    member.on_revoked(_both(0))
    current.append(polled.is_current)
    assert current == [True, False, False]
    assert posted == []


def test_a_rebalance_holds_the_polling_thread_until_it_is_answered() -> None:
    """Partitions may be given away only once nothing of them is under way."""
    posted: list[Any] = []
    arrived = threading.Event()

    def post(item: Any) -> None:
        posted.append(item)
        arrived.set()

    member = Member(joining(), MemoryLog(TOPICS), SYSTEM, post)
    polling = threading.Thread(target=member.on_revoked, args=(_both(0),))
    polling.start()
    assert arrived.wait(5)
    polling.join(0.05)
    assert polling.is_alive(), "the rebalance went on before the coordinator had let go"
    posted[0].done.set_result(None)
    polling.join(5)
    assert not polling.is_alive()


def test_a_rebalance_that_nobody_answers_is_let_go_and_nothing_of_it_stays_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One wall-clock budget: the group must not wait for a stuck round, nor the round mistake what it holds."""
    monkeypatch.setattr(member_module, "REBALANCE_SECONDS_MAX", 0.01)
    posted: list[Any] = []
    member = _member(posted)
    _take(member, 0, 1, assigned=True)
    _restored(member, 0, 1)
    member._membership = member.reading, object()
    vouched = [member.metadata is not None]
    member.on_revoked(_both(0))
    assert (member.holds(0), member.holds(1)) == (False, True)
    member._membership = member.reading, object()  # the poll after it: of the next generation
    vouched.append(member.metadata is not None)
    member.take(posted[0])
    vouched.append(member.metadata is not None)
    assert vouched == [True, False, True], "a new membership must not vouch for what was restored under the old one"
    assert set(member.tables) == {1}


@pytest.mark.parametrize(
    ("before", "records", "seconds", "after"),
    [
        (200, 200, BATCH_SECONDS_TARGET, 200),
        (200, 200, BATCH_SECONDS_TARGET / 100, 400),  # at most twice as many
        (200, 200, BATCH_SECONDS_TARGET * 100, 100),  # at least half as many
        (200, 150, BATCH_SECONDS_TARGET, 150),
        (BATCH_RECORDS_MAX, BATCH_RECORDS_MAX, 1e-6, BATCH_RECORDS_MAX),
        (BATCH_RECORDS_MIN, 5, 60.0, BATCH_RECORDS_MIN),
        (200, 0, 1.0, 200),
        (200, 10, 0.0, 200),
    ],
)
def test_the_poll_size_approaches_the_batch_time_in_steps(
    before: int, records: int, seconds: float, after: int
) -> None:
    """One slow batch must not throttle a worker, one fast batch must not block the loop for seconds."""
    member = _member()
    member.records_max = before
    member.adapt(records, seconds)
    assert member.records_max == after


def test_after_a_transaction_that_failed_less_is_polled_and_slowly_more_again() -> None:
    """On a slow cluster a batch that does not fit its transaction would be aborted and read again for ever."""
    member = _member()
    member.records_max = 4000
    member.note_transaction(committed=False)
    sizes = [member.records_max]
    for _ in range(9):
        member.note_transaction(committed=True)
        member.adapt(sizes[-1], BATCH_SECONDS_TARGET / 100)  # the processor would take any number
        sizes.append(member.records_max)
    assert sizes[0] == 2000
    assert all(earlier < later <= 1.1 * earlier + 1 for earlier, later in itertools.pairwise(sizes))
    assert sizes[-1] > 4000
    for _ in range(20):
        member.note_transaction(committed=False)
    assert member.records_max == BATCH_RECORDS_MIN


def test_nothing_is_resumed_while_a_change_of_ownership_waits_to_be_taken() -> None:
    """It was restored under an ownership that is over: read on from there, another worker's records come twice."""
    member = _member()
    _take(member, 0, assigned=True)
    _restored(member, 0)
    consumer = _Resumed()
    member.consumer = cast(Any, consumer)
    member.resume_soon([0])
    member._untaken.append(Rebalance(member, _both(0), assigned=False))
    member._resume()
    assert consumer.resumed == []
    member._untaken.clear()
    member.resume_soon([0])
    member._resume()
    assert consumer.resumed == [set(_both(0))]


class _Resumed:
    """Notes what is resumed."""

    def __init__(self) -> None:
        self.resumed: list[set[TopicPartition]] = []

    def seek(self, offsets: dict[TopicPartition, int]) -> None:
        """Nothing to move."""

    def resume(self, offsets: dict[TopicPartition, int]) -> None:
        """Note it."""
        self.resumed.append(set(offsets))


async def test_leaving_before_joining_never_joins() -> None:
    """A worker that is stopped while it starts must not hold partitions that nobody processes."""
    log = MemoryLog(TOPICS)
    member = Member(joining(), log, SYSTEM, lambda item: None)
    polling = asyncio.create_task(member.poll_forever(0.01))
    await asyncio.sleep(0)  # its joining is under way
    await asyncio.wait_for(member.leave(), 5)
    await asyncio.wait_for(asyncio.gather(polling, return_exceptions=True), 5)
    assert "posttrade.joining" not in log._groups or log.group("posttrade.joining").members == []
