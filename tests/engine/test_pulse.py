"""A call that never returns is seen: the worker is not ready after half a minute, and not live after two."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import structlog

from services.adapters.memory_log import MemoryLog
from services.engine import pulse
from services.engine.app import LIVE_SECONDS_MAX
from services.engine.coordinator import Coordinator
from services.engine.log import OutgoingRecord, Unavailable
from services.engine.member import Member, Rebalance
from services.engine.outage import Patience
from services.engine.pulse import CALL_SECONDS_MAX, ROUND_SECONDS_MAX, Pulse
from services.engine.runtime import SystemRuntime
from services.pipeline import make_worker, topic_counts
from services.settings import Settings
from tests.engine.harness import FaultyLog, running, until
from tests.support.engine_stages import TOPICS, counting, said


class Clock(SystemRuntime):
    """Moves only when it is told, or while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 50.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def _pulse() -> tuple[Pulse, Clock, Patience]:
    clock = Clock()
    patience = Patience(clock, lambda: False)
    return Pulse(clock, patience), clock, patience


def _polling(since: float | None) -> Member:
    return cast(Member, SimpleNamespace(stage=SimpleNamespace(name="counting"), polling_since=since))


def test_the_limits_are_half_a_minute_and_two() -> None:
    """Beyond any call that is bounded by a timeout of its own, and below what people wait for."""
    assert (ROUND_SECONDS_MAX, CALL_SECONDS_MAX) == (30.0, 120.0)


def test_a_round_is_slow_after_half_a_minute_until_the_next_begins() -> None:
    """Work waits behind it, whatever it waits for."""
    beat, clock, _ = _pulse()
    seen: list[bool] = []
    for seconds in (ROUND_SECONDS_MAX, 0.1):
        clock.now += seconds
        seen.append(beat.is_slow)
    beat.turn()
    assert [*seen, beat.is_slow] == [False, True, False]


def test_a_call_is_stuck_after_two_minutes_and_no_longer_once_it_returns() -> None:
    """A worker must be started anew for a call that never returns, and not for one that was slow."""
    beat, clock, _ = _pulse()
    with beat.call("transaction", may_take_long=False):
        clock.now += CALL_SECONDS_MAX
        assert beat.stuck([]) == {}
        clock.now += 1
        beat.went_on()  # a restore beside it must not speak for it
        assert beat.stuck([]) == {"transaction": CALL_SECONDS_MAX + 1}
    assert beat.stuck([]) == {}


def test_a_long_call_is_stuck_only_when_it_stands_still() -> None:
    """A restore of years may take an hour: a restart would begin it anew, for ever."""
    beat, clock, _ = _pulse()
    with beat.call("restore or question", may_take_long=True):
        for _ in range(40):
            clock.now += CALL_SECONDS_MAX - 1
            assert beat.stuck([]) == {}
            beat.went_on()
        clock.now += CALL_SECONDS_MAX + 1
        assert beat.stuck([]) == {"restore or question": CALL_SECONDS_MAX + 1}


def test_a_poll_that_does_not_return_is_stuck() -> None:
    """Nothing else waits for it, so that nothing else would notice."""
    beat, clock, _ = _pulse()
    began = clock.now
    clock.now += CALL_SECONDS_MAX + 1
    assert beat.stuck([_polling(None), _polling(clock.now)]) == {}
    assert beat.stuck([_polling(began)]) == {"poll of counting": CALL_SECONDS_MAX + 1}


def test_an_outage_is_not_held_against_a_call_neither_during_nor_right_after_it() -> None:
    """A restart of every worker mends no broker; and what waited through it has its time only from then on."""
    beat, clock, patience = _pulse()
    seen: list[dict[str, float]] = []

    def away_for_an_hour() -> None:
        if patience.waits_for:
            seen.append(beat.stuck([]))
        if clock.now < 3600:
            raise Unavailable("no broker answers")

    with beat.call("transaction", may_take_long=False):
        patience.ask("the identity", away_for_an_hour)
        assert len(seen) > 100
        assert set(map(len, seen)) == {0}
        assert beat.stuck([]) == {}
        clock.now += CALL_SECONDS_MAX - 1
        assert beat.stuck([]) == {}
        clock.now += 2
        assert set(beat.stuck([])) == {"transaction"}


def test_what_does_not_return_is_said_every_ten_seconds() -> None:
    """The probe only says no; whoever looks must find which call it was."""
    beat, clock, _ = _pulse()
    with beat.call("transaction", may_take_long=False), structlog.testing.capture_logs() as lines:
        for _ in range(60):
            clock.now += 1
            beat.remind([])
    assert [(line["call"], line["seconds"]) for line in lines] == [("transaction", 31 + 10 * n) for n in range(3)]


def test_a_polling_thread_that_waits_for_the_coordinator_is_not_stuck() -> None:
    """A rebalance waits inside poll until the round is over: that is the round's time, and is counted there."""
    member = Member(counting(), MemoryLog(TOPICS), SystemRuntime(), lambda _item: None)
    member._called_at = -1e9
    seen = [member.polling_since]
    rebalance = Rebalance(member, [], assigned=True)
    member._untaken.append(rebalance)
    seen.append(member.polling_since)
    assert seen == [-1e9, None]
    member.take(rebalance)
    assert (member.polling_since or 0) > 0, "its time counts from then on"


class GatedLog(FaultyLog):
    """A log of which one call waits for a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.held = threading.Event()

    def hold(self, *_arguments: object) -> None:
        if not self.gate.is_set():
            self.held.set()
            assert self.gate.wait(20)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tenths of seconds for minutes."""
    monkeypatch.setattr(pulse, "ROUND_SECONDS_MAX", 0.5)
    monkeypatch.setattr(pulse, "CALL_SECONDS_MAX", 1.5)


@pytest.mark.usefixtures("quick")
async def test_a_commit_that_never_returns_makes_a_worker_not_ready_and_then_not_live() -> None:
    """The loop turned all the while, so both probes stayed green for ever."""
    log = GatedLog()
    async with running(log, counting()) as worker:
        await until(log, lambda: worker.coordinator.ready, worker)
        log.hook = log.hold
        log.gate.clear()
        log.send([said("key", 1)])
        await until(log, log.held.is_set, worker)
        await until(log, lambda: not worker.coordinator.ready, worker)
        await until(log, lambda: worker.coordinator.is_stuck, worker)
        log.gate.set()
        await until(log, lambda: worker.coordinator.ready and not worker.coordinator.is_stuck, worker)


@pytest.mark.usefixtures("quick")
async def test_a_poll_that_never_returns_makes_a_worker_not_live(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds go on without it, and nobody reads its partitions."""
    log = GatedLog()
    async with running(log, counting()) as worker:
        await until(log, lambda: worker.coordinator.ready, worker)
        log.gate.clear()
        consumer = worker.coordinator._members[0].consumer._inner  # type: ignore[union-attr]  # the harness's wrapper
        metadata = consumer.metadata

        def held_metadata() -> object:
            log.hold()
            return metadata()

        monkeypatch.setattr(consumer, "metadata", held_metadata)
        await until(log, lambda: worker.coordinator.is_stuck, worker)
        log.gate.set()
        await until(log, lambda: not worker.coordinator.is_stuck, worker)


async def test_a_restore_shows_that_it_goes_on() -> None:
    """It waits for a dead worker's transaction for as long as that takes, and the worker stays live meanwhile."""
    log = FaultyLog()
    dead = log.producer("dead")
    dead.begin()
    dead.produce([OutgoingRecord("state.counting", b"Count/a", b"{}", (), 0)])
    async with running(log, counting()) as worker:
        signs: set[float] = set()

        def has_three() -> bool:
            signs.add(worker.coordinator._pulse._went_on_at)
            return len(signs) > 3

        await until(log, has_three, worker)
        assert not worker.coordinator.ready
        dead.abort()
        await until(log, lambda: worker.coordinator.ready, worker)


def test_a_worker_is_live_while_its_loop_turns_and_every_call_returns(tmp_path: Path) -> None:
    """What the liveness probe asks."""
    engine = make_worker(Settings(data_dir=str(tmp_path)), MemoryLog(topic_counts()), web_enabled=False).engine
    clock = Clock()
    engine.runtime = clock
    seen = [engine.live]  # it has not begun
    state = SimpleNamespace(turned_at=clock.now, is_stuck=False)
    engine.coordinator = cast(Coordinator, state)
    for seconds, is_stuck in ((LIVE_SECONDS_MAX - 1, False), (0, True), (0, False), (1, False)):
        clock.now += seconds
        state.is_stuck = is_stuck
        seen.append(engine.live)
    assert seen == [True, True, False, True, False]
