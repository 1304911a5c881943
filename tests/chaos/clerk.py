"""The process that repairs: `python -m tests.chaos.clerk DIRECTORY SEED`, until SIGTERM.

It reads the dead letters as they come and decides on some of them while workers and broker die: it discards what nobody
will ever be able to process and replays what only waited behind it. Often enough it does what a careless desk does: it
decides twice, in two ways, out of order, or on what has long been dealt with.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

from services.adapters.kafka_log import KafkaLog
from services.adapters.kafka_reader import to_record
from services.commands.letters import Case, collect
from services.engine.dead_letters import BUG, CRASH, DECODE, PARKED, TOPIC
from services.engine.log import LogError, LogRecord, OutgoingRecord
from services.engine.repair import RESOLVED_TOPIC, Action
from services.settings import load_settings
from services.topics import load_topics
from tests.support.desk import lines, repair

ROUND_SECONDS = 2.0
DECISIONS = 2
"""So many in a round: not more than new letters come, so that lines grow and something waits all the time."""
_REPLAYS = {PARKED: 0.9, BUG: 0.7, DECODE: 0.3}
"""Share of the letters of a class that are replayed; the others are discarded."""
_POLL_SECONDS = 0.5
_RECORDS_MAX = 500
_VALUE_BYTES_MAX = 100_000


class Clerk:
    """Decides; what it sends does not depend on when it is asked, only on what it is shown."""

    def __init__(self, seed: int) -> None:
        """Begin."""
        self._chance = random.Random(f"clerk {seed}")
        self._number = 0

    def round(self, cases: Sequence[Case]) -> list[OutgoingRecord]:
        """The repairs of one round."""
        return [record for _ in range(DECISIONS) for record in self._decide(cases)]

    def _decide(self, cases: Sequence[Case]) -> Iterator[OutgoingRecord]:
        case = self._choose(cases)
        if case is None:
            return
        first = self._repair(case, self._action(case))
        yield first
        if self._chance.random() < 0.15:
            yield first
        if self._chance.random() < 0.25:  # another person, who decides for himself
            yield self._repair(case, self._action(case))

    def _choose(self, cases: Sequence[Case]) -> Case | None:
        """Mostly the first of a line; else one behind it, or any, dealt with or not."""
        waiting = lines(cases)
        drawn = self._chance.random()
        if drawn < 0.75:
            choices = [line[0] for line in waiting]
        elif drawn < 0.85:
            choices = [case for line in waiting for case in line[1:]]
        else:
            choices = list(cases)
        return self._chance.choice(choices) if choices else None

    def _action(self, case: Case) -> Action:
        """A record that ends the process is never tried again: the harness itself decides when processes end."""
        if case.error_class == CRASH:
            return Action.DISCARD
        return Action.REPLAY if self._chance.random() < _REPLAYS[case.error_class] else Action.DISCARD

    def _repair(self, case: Case, action: Action) -> OutgoingRecord:
        self._number += 1
        by = f"clerk {self._number % 2}"
        return repair(case, action, repair_id=f"clerk-{self._number}", by=by, value=case.source.value)


def main(_directory: str, seed: str) -> int:
    """Repair until SIGTERM."""
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopping.append(number))
    servers = load_settings(os.environ).bootstrap_servers
    log, consumer, clerk = KafkaLog(servers, client_settings={"log_level": 0}), _consumer(servers), Clerk(int(seed))
    seen: list[LogRecord] = []
    due = time.monotonic() + ROUND_SECONDS
    while not stopping:
        seen += _read(consumer)
        if time.monotonic() > due:
            _send(log, clerk.round(collect(seen)))
            due = time.monotonic() + ROUND_SECONDS
    consumer.close()
    log.close()
    return 0


def _consumer(servers: str) -> Consumer:
    settings = {"group.id": "clerk", "enable.auto.commit": False, "isolation.level": "read_committed", "log_level": 0}
    consumer = Consumer({"bootstrap.servers": servers, **settings})
    declared = load_topics()
    places = [(topic, n) for topic in (TOPIC, RESOLVED_TOPIC) for n in range(declared[topic].config.partitions)]
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for topic, number in places])
    return consumer


def _read(consumer: Consumer) -> list[LogRecord]:
    try:
        messages = consumer.consume(_RECORDS_MAX, _POLL_SECONDS)
    except KafkaException:  # the broker is away: that is part of the run
        return []
    return [_light(to_record(message, 0)) for message in messages if message.error() is None]


def _light(record: LogRecord) -> LogRecord:
    """An hour of oversized letters is more than one wants to remember: a replay of one brings the wrong value."""
    if len(record.value or b"") <= _VALUE_BYTES_MAX:
        return record
    place = record.topic, record.partition, record.offset
    return LogRecord(*place, record.key, b"", record.timestamp_ms, record.headers)


def _send(log: KafkaLog, records: Sequence[OutgoingRecord]) -> None:
    try:
        log.send(records)
    except LogError as error:  # the broker is away; whether it was written shows, and a repair may come twice
        sys.stderr.write(f"{len(records)} repairs without an answer: {error}\n")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
