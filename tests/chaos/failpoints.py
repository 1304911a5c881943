"""Named places around a worker's log at which the harness can end, stop or disturb it.

A failpoint is armed by writing `<name> <action>` into the slot's file; the worker that reaches it takes the file away
and acts, once. Actions: `kill` (SIGKILL), `stop` (SIGSTOP, until somebody sends SIGCONT), `abort` (the transaction is
refused as the broker would refuse it). Nothing of this is in the services.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from services.adapters import kafka_producer
from services.engine.log import (
    AbortRequired,
    GroupConsumer,
    GroupMetadata,
    Log,
    LogReader,
    LogRecord,
    RebalanceListener,
    TopicPartition,
    TransactionalProducer,
)
from services.pipeline import SERVICES
from tests.chaos.events import Teller
from tests.chaos.plan import Failpoint

COMMIT_KILL_SECONDS_MAX = 0.005
_STATE_TOPIC = "state."
_SERVICE_OF = {topic: service.name for service in SERVICES for topic in service.inputs}


class Failpoints:
    """The worker's side of arming."""

    def __init__(self, arm_file: Path, teller: Teller) -> None:
        """Look for orders in this file."""
        self._file = arm_file
        self._teller = teller
        self._chance = random.Random(os.getpid())

    def reach(self, name: Failpoint) -> None:
        """Act if this failpoint is armed. Raises AbortRequired for the action `abort`."""
        action = self._take(name)
        if action is not None:
            self._act(action)

    def enter_commit(self) -> None:
        """The commit is about to be asked for: an end that is armed comes a moment later, from another thread."""
        action = self._take(Failpoint.INSIDE_COMMIT)
        if action is not None:
            delay_seconds = self._chance.uniform(0, COMMIT_KILL_SECONDS_MAX)
            threading.Timer(delay_seconds, self._act, (action,)).start()

    def _take(self, name: Failpoint) -> str | None:
        try:
            wanted, action = self._file.read_text().split()
        except (FileNotFoundError, ValueError):  # not armed, or half written
            return None
        if wanted != name:
            return None
        self._file.unlink()
        self._teller.tell("failpoint", name=name, action=action)
        return action

    def _act(self, action: str) -> None:
        match action:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(60)  # the signal is on its way: nothing more may happen on this thread
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "abort":
                raise AbortRequired("the harness asked for an abort")


def watched(log: Log, failpoints: Failpoints, teller: Teller) -> Log:
    """The same log with failpoints, telling of rebalances and commits."""
    return cast(Log, _WatchedLog(log, failpoints, teller))


class _WatchedLog:
    def __init__(self, log: Log, failpoints: Failpoints, teller: Teller) -> None:
        self._log = log
        self._failpoints = failpoints
        self._teller = teller

    def consumer(self, group: str, topics: Sequence[str], listener: RebalanceListener) -> GroupConsumer:
        """Join a group."""
        own = _Listener(listener, group, self._teller)
        return cast(GroupConsumer, _Consumer(self._log.consumer(group, topics, own), own, self._teller))

    def producer(self, transactional_id: str) -> TransactionalProducer:
        """Take over an identity."""
        producer = _Producer(self._log.producer(transactional_id), self._failpoints, self._teller)
        return cast(TransactionalProducer, producer)

    def reader(self, offsets: Mapping[TopicPartition, int]) -> LogReader:
        """Read outside of any group."""
        reader = self._log.reader(offsets)
        if any(partition.topic.startswith(_STATE_TOPIC) for partition in offsets):
            return cast(LogReader, _RestoringReader(reader, self._failpoints))
        return reader

    def __getattr__(self, name: str) -> Any:
        """Everything else is the log's own."""
        return getattr(self._log, name)


def _service_of(group: str) -> str:
    return group.rpartition(".")[2]


class _Listener:
    """Passes on, tells that partitions were taken, and remembers that some were given."""

    def __init__(self, listener: RebalanceListener, group: str, teller: Teller) -> None:
        self._listener = listener
        self._service = _service_of(group)
        self._teller = teller
        self.assigned: list[TopicPartition] | None = None

    def on_assigned(self, partitions: Sequence[TopicPartition]) -> None:
        self.assigned = list(partitions)
        self._listener.on_assigned(partitions)

    def on_revoked(self, partitions: Sequence[TopicPartition]) -> None:
        self._teller.tell("revoked", service=self._service)
        self._listener.on_revoked(partitions)


class _Consumer:
    """A group consumer that tells of each assignment."""

    def __init__(self, consumer: GroupConsumer, listener: _Listener, teller: Teller) -> None:
        self.group = consumer.group
        self._consumer = consumer
        self._listener = listener
        self._teller = teller

    def poll(self, records_max: int, timeout_seconds: float) -> list[LogRecord]:
        records = self._consumer.poll(records_max, timeout_seconds)
        assigned, self._listener.assigned = self._listener.assigned, None
        if assigned is not None:
            self._teller.tell(
                "assigned",
                service=_service_of(self.group),
                generation=kafka_producer._generation(self._consumer.metadata()),
                partitions=sorted({partition.partition for partition in assigned}),
            )
        return records

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)


class _Producer:
    """A transactional producer with a failpoint at each of its steps."""

    def __init__(self, producer: TransactionalProducer, failpoints: Failpoints, teller: Teller) -> None:
        self._producer = producer
        self._failpoints = failpoints
        self._teller = teller
        self._places: set[tuple[str, int]] = set()

    def begin(self) -> None:
        self._failpoints.reach(Failpoint.AFTER_APPLY)
        self._places = set()
        self._producer.begin()

    def send_offsets(self, offsets: Mapping[TopicPartition, int], metadata: GroupMetadata) -> None:
        self._failpoints.reach(Failpoint.BEFORE_OFFSETS)
        self._producer.send_offsets(offsets, metadata)
        self._places |= {(_SERVICE_OF[partition.topic], partition.partition) for partition in offsets}
        self._failpoints.reach(Failpoint.AFTER_OFFSETS)

    def commit(self) -> None:
        self._failpoints.enter_commit()
        self._producer.commit()
        self._teller.tell("commit", places=sorted(self._places))
        self._failpoints.reach(Failpoint.AFTER_COMMIT)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)


class _RestoringReader:
    """A reader of a changelog that can end in the middle."""

    def __init__(self, reader: LogReader, failpoints: Failpoints) -> None:
        self._reader = reader
        self._failpoints = failpoints

    def poll(self, records_max: int, timeout_seconds: float) -> list[LogRecord]:
        records = self._reader.poll(records_max, timeout_seconds)
        if records:
            self._failpoints.reach(Failpoint.IN_RESTORE)
        return records

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)
