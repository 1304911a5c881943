"""Workers that die, freeze or meet their own successor, and a broker that is away: real processes on a real Kafka."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from deploy.local.kafka_broker import LocalKafka
from services.adapters.kafka_log import KafkaLog
from services.commands.failure import EXIT_FENCED
from services.engine.log import LogReader, TopicPartition
from tests.support.broker import create_topics
from tests.support.engine_oracles import check_counting, read_to_end
from tests.support.engine_processes import Workers
from tests.support.engine_stages import PARTITIONS, TOPICS, Counted, said
from tests.support.engine_worker import SHORT_TIMEOUTS

pytestmark = pytest.mark.server

WAIT_SECONDS_MAX = 90.0
TAKEOVER_SECONDS_MAX = SHORT_TIMEOUTS.session_ms / 1000 + 10
SEND_SECONDS = 0.1
OUTAGE_SECONDS = 14.0
"""Longer than the session, the transaction and a whole answer may take."""


class Load:
    """A record for each partition, again and again, and the time at which the answer to each was first seen."""

    def __init__(self, log: KafkaLog) -> None:
        """Nothing is sent yet."""
        self._log = log
        self._numbers = itertools.count()
        self.sent_at: list[float] = []
        self.seen: dict[int, dict[int, float]] = {number: {} for number in range(PARTITIONS)}
        """By partition: the numbers that were answered, each with when."""
        self._reader: LogReader = log.reader({TopicPartition("counted", number): 0 for number in range(PARTITIONS)})

    def turn(self, *, send: bool = True) -> None:
        """Send to every partition, and read what has become visible."""
        if send:
            number = next(self._numbers)
            records = [said(f"key-{partition}", number) for partition in range(PARTITIONS)]
            self._log.send(
                msgspec.structs.replace(record, partition=partition) for partition, record in enumerate(records)
            )
            self.sent_at.append(time.monotonic())
        for record in self._reader.poll(10_000, SEND_SECONDS):
            event = msgspec.json.decode(record.value or b"", type=Counted)
            partition = int((record.key or b"").rpartition(b"-")[2])
            self.seen[partition].setdefault(event.number, time.monotonic())

    def until(self, condition: Callable[[], bool], workers: Workers | None, *, send: bool = True) -> None:
        """Go on until something holds; `workers`, if given, must stay alive."""
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while not condition():
            assert time.monotonic() < deadline, "the awaited condition did not come about"
            if workers is not None:
                workers.check_running()
            self.turn(send=send)

    def first_after(self, moment: float) -> list[float]:
        """For each partition that has answered something sent after a moment: when it first did."""
        first = next((number for number, at in enumerate(self.sent_at) if at > moment), len(self.sent_at))
        answers = [[at for number, at in seen.items() if number >= first] for seen in self.seen.values()]
        return [min(times) for times in answers if times]

    def everything_came(self) -> bool:
        """Whether all that was sent was answered."""
        return all(len(seen) == len(self.sent_at) for seen in self.seen.values())

    def close(self) -> None:
        """Close the reader."""
        self._reader.close()


def _make_topics(bootstrap_servers: str, prefix: str) -> None:
    for name, partitions in TOPICS.items():
        config = {"cleanup_policy": "compact"} if name.startswith("state.") else {}
        create_topics(bootstrap_servers, f"{prefix}.{name}", partitions=partitions, **config)


class Scene:
    """Topics, workers and load of one test."""

    def __init__(self, broker: str, prefix: str, directory: Path) -> None:
        """Nothing runs yet."""
        _make_topics(broker, prefix)
        self.log = KafkaLog(broker, prefix=f"{prefix}.", client_settings={"log_level": 0})
        self.workers = Workers(broker, f"{prefix}.", directory)
        self.load = Load(self.log)

    def check(self) -> None:
        """Exactly once, in order, nothing put aside."""
        self.load.until(self.load.everything_came, None, send=False)
        check_counting(lambda topic: read_to_end(self.log, topic))
        assert read_to_end(self.log, "dead-letters") == []

    def close(self) -> None:
        """End everything."""
        self.load.close()
        self.workers.stop()
        self.log.close()


@pytest.fixture
def scene(kafka: str, prefix: str, tmp_path: Path) -> Iterator[Scene]:
    """On the session's broker."""
    made = Scene(kafka, prefix, tmp_path)
    yield made
    made.close()


@pytest.fixture
def broker() -> Iterator[LocalKafka]:
    """A broker that is killed and frozen, so nobody else's."""
    with LocalKafka(quick=True) as started:
        yield started


def _settled(load: Load, workers: Workers, seconds: float = 3.0) -> None:
    """Every partition answers, and has done so for a while: the last worker to join has its share."""
    began = time.monotonic()
    load.until(lambda: len(load.first_after(began)) == PARTITIONS, workers)
    began = time.monotonic()
    load.until(lambda: time.monotonic() - began > seconds and len(load.first_after(began)) == PARTITIONS, workers)


def test_the_partitions_of_a_killed_worker_move_again_soon(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    """The promise to the desk: kill -9 of one of two workers stops nothing for longer than session timeout + 10 s."""
    scene.workers.start(0)
    scene.workers.start(1)
    _settled(scene.load, scene.workers, seconds=8.0)
    assert all(line in scene.workers.output(slot) for slot in (0, 1) for line in ("state restored",))
    killed_at = time.monotonic()
    scene.workers.kill(0)
    scene.load.until(lambda: len(scene.load.first_after(killed_at)) == PARTITIONS, None)
    seconds = [at - killed_at for at in scene.load.first_after(killed_at)]
    with capsys.disabled():
        print(f"\ntakeover after kill -9: {min(seconds):.1f} to {max(seconds):.1f} s by partition", end=" ")  # noqa: T201
    assert max(seconds) > 1.0, "the killed worker had no partition of this service"
    assert max(seconds) < TAKEOVER_SECONDS_MAX
    scene.check()


def test_a_worker_that_stood_still_for_long_goes_on(scene: Scene) -> None:
    """Past session and transaction timeout, in the middle of its work: its answer looks like "fenced" and is not."""
    process = scene.workers.start(0)
    scene.workers.start(1)
    _settled(scene.load, scene.workers)
    os.kill(process.pid, signal.SIGSTOP)
    stopped_at = time.monotonic()
    # The other one takes over and processes what comes meanwhile.
    scene.load.until(lambda: len(scene.load.first_after(stopped_at)) == PARTITIONS, scene.workers)
    os.kill(process.pid, signal.SIGCONT)
    _settled(scene.load, scene.workers)
    assert scene.workers.stop() == [0, 0]
    scene.workers.start(1)
    scene.check()


def test_of_two_workers_of_one_slot_one_stays_and_the_other_ends_with_3(scene: Scene) -> None:
    """A supervisor that gives a frozen worker's slot to a new process must not end up with none, or with two."""
    frozen = scene.workers.start(0)
    _settled(scene.load, scene.workers)
    os.kill(frozen.pid, signal.SIGSTOP)
    successor = scene.workers.start(0)
    _settled(scene.load, scene.workers)
    os.kill(frozen.pid, signal.SIGCONT)
    both = [frozen, successor]
    scene.load.until(lambda: any(process.poll() is not None for process in both), None)
    (ended,) = [process for process in both if process.poll() is not None]
    (staying,) = [process for process in both if process is not ended]
    assert ended.returncode == EXIT_FENCED, scene.workers.output(0)
    moment = time.monotonic()
    scene.load.until(lambda: len(scene.load.first_after(moment)) == PARTITIONS, None)
    assert staying.poll() is None
    scene.check()
    staying.terminate()
    assert staying.wait(20) == 0


def test_a_broker_that_is_away_for_long_ends_no_worker(broker: LocalKafka, prefix: str, tmp_path: Path) -> None:
    """Killed under an idle worker for longer than every timeout there is, then back: all once, and few words.

    Idle, because then nothing tells the client of the outage, and a call that waits for a broker it has forgotten would
    never return.
    """
    scene = Scene(broker.bootstrap_servers, prefix, tmp_path)
    try:
        process = scene.workers.start(0)
        _settled(scene.load, scene.workers)
        scene.load.until(scene.load.everything_came, scene.workers, send=False)
        broker.kill()
        _lives_for(process, OUTAGE_SECONDS)
        broker.restart()
        _settled(scene.load, scene.workers)
        said_waiting = re.findall(r"waiting for the log.*", scene.workers.output(0))
        assert 1 <= len(said_waiting) <= 20, "one line every ten seconds for each thing that waits"
        scene.check()
    finally:
        scene.close()


def test_a_worker_that_is_told_to_stop_while_the_broker_is_away_stops_in_order(
    broker: LocalKafka, prefix: str, tmp_path: Path
) -> None:
    """Exit code 0 and not the hard end: whoever drains a site during an outage must not read of a crash."""
    scene = Scene(broker.bootstrap_servers, prefix, tmp_path)
    try:
        process = scene.workers.start(0)
        _settled(scene.load, scene.workers)
        broker.kill()
        _lives_for(process, 5.0)
        began = time.monotonic()
        process.terminate()
        assert process.wait(30) == 0, scene.workers.output(0)
        assert time.monotonic() - began < 24, scene.workers.output(0)
        broker.restart()
        scene.workers.start(0)
        scene.check()
    finally:
        scene.close()


def _lives_for(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait for the end of the process that must not come, meanwhile."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        pytest.fail(f"the worker ended with {process.wait(seconds)}")
