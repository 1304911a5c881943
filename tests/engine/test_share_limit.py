"""When too many records fail, the service stops in place and says so; its neighbours go on."""

from __future__ import annotations

import re
from collections import deque
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from services.adapters.memory_log import MemoryLog
from services.engine import share_limit
from services.engine.share_limit import JUDGED_FROM_RECORDS, WINDOW_RECORDS, ShareLimits, ShareWindow, Verdicts
from tests.engine.batches import Partition
from tests.engine.harness import FaultyLog, OneThreadConsumer, committed, count, running, until
from tests.support.engine_stages import PARTITIONS, TOPICS, counting, half, joining, said
from tests.support.poison import RAISES, PoisonedStage, poisoned, unreadable


def _verdicts(text: str) -> Verdicts:
    """`.` for a record that went through, `x` for one that failed."""
    verdicts = Verdicts()
    for letter in text:
        verdicts.add(failed=letter == "x")
    return verdicts


@given(st.lists(st.text(alphabet="...x", max_size=400), max_size=8))
def test_the_window_says_what_counting_every_record_one_by_one_says(parts: list[str]) -> None:
    """Also within a batch, also where the judging begins, however records fall into batches."""
    window, last, seen = ShareWindow(), deque[bool](maxlen=WINDOW_RECORDS), 0
    for part in parts:
        highest = 0.0
        for letter in part:
            last.append(letter == "x")
            seen += 1
            # A record that went through can only lower the share: to look after a failed one is enough.
            if seen == JUDGED_FROM_RECORDS or (seen > JUDGED_FROM_RECORDS and letter == "x"):
                highest = max(highest, sum(last) / len(last))
        assert window.add(_verdicts(part)) == pytest.approx(highest)


def test_a_bad_stretch_within_one_big_batch_is_seen() -> None:
    """A batch of 10,000 records with 300 failures in a row is 3 % as a whole and hopeless in the middle."""
    verdicts = _verdicts("." * 5_000 + "x" * 300 + "." * 4_700)
    assert ShareLimits(0.2).judge({"capture": [verdicts]}) == ["capture"]
    assert ShareLimits(0.31).judge({"capture": [verdicts]}) == []


def test_judging_begins_with_the_hundredth_record_whatever_it_is() -> None:
    """Thirty failures at the start are judged as soon as there is something to judge by, not at the next failure."""
    limits = ShareLimits(0.2)
    early = _verdicts("x" * 30 + "." * 69)
    assert limits.judge({"capture": [early]}) == []
    limits.commit("capture", early)
    assert limits.judge({"capture": [_verdicts(".")]}) == ["capture"]


def test_what_was_not_committed_is_not_held_against_a_service() -> None:
    """An abort reads the batch again; it must not count twice."""
    limits = ShareLimits(0.2)
    bad = _verdicts("." * 85 + "x" * 15)
    for _ in range(10):
        assert limits.judge({"capture": [bad]}) == []
    limits.commit("capture", bad)
    assert limits.judge({"capture": [_verdicts("x" * 15)]}) == ["capture"]


def test_followers_and_repairs_are_not_counted() -> None:
    """One failed key with a thousand followers is one failure."""
    partition = Partition()
    partition.add(said("a", RAISES))
    for number in range(500):
        partition.add(said("a", 1_000 + number))
    partition.repair(partition.sources[0])
    partition.run()
    assert partition.waiting() == {"key/a": list(range(501))}
    (result,) = partition.results
    assert result.tally.dead_letters == {"BUG": 2, "PARKED": 500}
    assert (partition.verdicts[0].count, partition.verdicts[0].failed) == (1, [0])


def _send_poison(log: MemoryLog) -> None:
    """150 good records on every partition or so, then three poisoned ones for each good one."""
    log.send(said(f"good-{number}", 1_000) for number in range(600))
    log.send(unreadable(f"bad-{number}") if number % 4 else said(f"late-{number}", 1_000) for number in range(800))


async def test_a_service_beyond_the_limit_stops_in_place_and_its_neighbour_goes_on() -> None:
    """Then the fault is ours: a day of trades must not become dead letters while nobody looks."""
    log = FaultyLog()
    _send_poison(log)
    with capture_logs() as said_aloud:
        async with running(log, counting(), joining()) as worker:
            value = worker.metrics.registry.get_sample_value
            halted = lambda: value("posttrade_service_halted", {"service": "counting"}) == 1  # noqa: E731
            await until(log, halted, worker)
            letters = count(log, "dead-letters")
            log.send(half(side, f"pair-{number}") for number in range(50) for side in ("left", "right"))
            await until(log, lambda: count(log, "joined") == 50, worker)
            assert worker.coordinator.halted == ["counting"]
            assert not worker.coordinator.ready, "readyz must say that something is wrong"
            assert count(log, "dead-letters") == letters, "nothing of it moves any more"
            assert letters <= 0.2 * WINDOW_RECORDS
    (sentence,) = [line for line in said_aloud if line["event"] == "service halted"]
    assert sentence["log_level"] == "critical"
    assert "restart this worker" in sentence["cause"]


async def test_a_halt_names_what_most_of_the_refused_round_failed_with_and_one_place_to_look() -> None:
    """Its dead letters were not committed: no list shows them, and the operator would look for a cause in vain."""
    log, stage = FaultyLog(topics=dict.fromkeys(TOPICS, 1)), PoisonedStage()
    log.send([unreadable("bad"), said("behind", RAISES), said("behind", 1_000)])
    log.send(said(f"k{number}", RAISES if number % 2 else 1_000) for number in range(400))
    with capture_logs() as said_aloud:
        async with running(log, poisoned(stage)) as worker:
            await until(log, lambda: worker.coordinator.halted == ["counting"], worker)
    (sentence,) = [line["cause"] for line in said_aloud if line["event"] == "service halted"]
    assert re.search(
        r"failed (\d+) of (\d+) by BUG: ValueError raised at \S*poison\.py:\d+, for example said/0/1; mend", sentence
    )
    assert "secret" not in sentence
    assert committed(log, "dead-letters") == []


async def test_a_restart_after_the_cause_is_mended_goes_on_where_it_stopped() -> None:
    """Nothing was lost: what was not committed is processed by the next start."""
    log, stage = FaultyLog(topics=dict.fromkeys(TOPICS, 1)), PoisonedStage()
    log.send(said(f"k{number}", RAISES if number % 2 else 1_000) for number in range(400))
    async with running(log, poisoned(stage)) as worker:
        await until(log, lambda: worker.coordinator.halted == ["counting"], worker)
    assert count(log, "counted") + count(log, "dead-letters") == 0, "the round that went too far is not committed"
    stage.is_mended = True
    async with running(log, poisoned(stage)) as worker:
        await until(log, lambda: count(log, "counted") + count(log, "dead-letters") == 400, worker)
        assert worker.coordinator.ready


async def test_a_halted_service_says_so_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line an hour ago is not read by the shift that begins now."""
    monkeypatch.setattr(share_limit, "REMIND_SECONDS", 0.05)
    log = FaultyLog()
    log.send(unreadable(f"bad-{number}") for number in range(800))
    with capture_logs() as said_aloud:
        async with running(log, counting()) as worker:
            await until(log, lambda: sum(line["event"] == "service halted" for line in said_aloud) > 2, worker)


async def test_a_halted_service_fetches_nothing_any_more() -> None:
    """It would read the whole backlog over and over, to drop it."""
    log = FaultyLog()
    log.send(unreadable(f"bad-{number}") for number in range(800))
    async with running(log, counting(), joining()) as worker:
        await until(log, lambda: worker.coordinator.halted == ["counting"], worker)
        consumer = cast(OneThreadConsumer, worker.coordinator._members[0].consumer)
        await until(log, lambda: len(consumer._inner._paused) == PARTITIONS, worker)
        before = consumer._inner.positions()
        log.send(said(f"k{number}", 1_000) for number in range(100))
        log.send([half("left", "pair"), half("right", "pair")])
        await until(log, lambda: count(log, "joined") == 1, worker)
        assert consumer._inner.positions() == before


async def test_what_a_halted_service_is_assigned_later_stays_still_as_well() -> None:
    """A rebalance must not start it again behind the operator's back."""
    log = FaultyLog()
    log.send(unreadable(f"bad-{number}") for number in range(1_600))
    everything = {("counting", number) for number in range(PARTITIONS)}
    async with running(log, counting(), joining()) as first:
        await until(log, lambda: first.coordinator.halted == ["counting"], first)
        async with running(log, counting(), slot=1) as second:
            await until(log, lambda: second.coordinator.halted == ["counting"], second)
        await until(log, lambda: everything <= first.announced[-1], first)
        letters = count(log, "dead-letters")
        log.send(half(side, f"pair-{number}") for number in range(50) for side in ("left", "right"))
        await until(log, lambda: count(log, "joined") == 50, first)
        assert count(log, "dead-letters") == letters


async def test_an_outage_is_never_a_dead_letter() -> None:
    """Trouble in the world is waited out; it says nothing about a record."""
    steps = ("begin", "produce", "send_offsets", "commit")
    faults = {(step, number): "abort" for number, step in enumerate(steps, 1)}
    faults |= {(step, number): "unknown" for number, step in enumerate(steps, 5)}
    log = FaultyLog(faults)
    log.send(said(f"k{number}", 1_000) for number in range(40))
    async with running(log, counting()) as worker:
        await until(log, lambda: count(log, "counted") == 40, worker)
    assert committed(log, "dead-letters") == []
    assert not log.faults, "every fault was met"
