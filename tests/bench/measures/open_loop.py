"""Trades that come at a rate of their own, and their messages as they come out: one loop for both, so that it is cheap.

The loop must take little of the cores that it shares with worker and broker. The records are made beforehand, the Kafka
client writes and fetches on threads of its own, and a round of the loop takes up all that is there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from services.adapters.kafka_producer import PRODUCER_SETTINGS
from services.domain.event import SettlementInstruction
from services.engine.log import OutgoingRecord, TopicPartition
from tests.bench.measures.schedule import Schedule
from tests.bench.measures.stand import STILL_SECONDS_MAX, Stand, Trade

_ROUND_SECONDS_MAX = 0.005
_LEAD_SECONDS = 0.05
_FLUSH_SECONDS_MAX = 30.0
_INSTRUCTIONS = "settlement.instructions"


@dataclass
class Course:
    """What happened, on the monotonic clock in seconds."""

    due_at: dict[bytes, float] = field(default_factory=dict)
    """Of each trade, by order id: when its schedule asked for it."""
    acknowledged_at: dict[bytes, float] = field(default_factory=dict)
    """By order id: when the broker had told us that it holds the execution."""
    seen_at: dict[bytes, float] = field(default_factory=dict)
    """By instruction id: when the committed message was in our hands."""
    late_seconds_max: float = 0.0
    """How far behind its schedule the sender was at worst; it counts as latency."""


class OpenLoop:
    """Sends at a rate to the installation of a stand, and reads what comes out of it."""

    def __init__(self, stand: Stand, *, notes_times: bool) -> None:
        """`notes_times`: whether to remember when each trade was due, acknowledged and seen."""
        self.course = Course()
        self._stand = stand
        self._notes_times = notes_times
        self._errors: list[KafkaError] = []
        settings: dict[str, Any] = {"bootstrap.servers": stand.context.servers, "log_level": 0, **PRODUCER_SETTINGS}
        self._producer = Producer(settings | {"enable.idempotence": True})

    def run(self, trades: Iterable[Trade], rate: float, is_over: Callable[[], bool]) -> None:
        """Send the trades, each when it is due, until there are no more or it is over.

        A trade's confirmation goes just before its execution. Raises RuntimeError when a record is refused, and
        TimeoutError when nothing is instructed any more although something waits.
        """
        schedule = Schedule(time.monotonic() + _LEAD_SECONDS, rate)
        waiting = iter(trades)
        number, is_empty, moved_at = 0, False, schedule.began
        while not is_over() and not is_empty:
            now = time.monotonic()
            for _ in range(schedule.due(now) - number):
                is_empty = not self._send_next(waiting, schedule.due_at(number), now)
                if is_empty:
                    break
                number += 1
            self._producer.poll(0)
            rest = schedule.due_at(number) - time.monotonic()
            if self._read(min(_ROUND_SECONDS_MAX, max(0.0, rest))):
                moved_at = now
            self._check(now - moved_at)
        if self._producer.flush(_FLUSH_SECONDS_MAX):
            raise TimeoutError("the broker did not acknowledge all records in time")

    def drain(self) -> None:
        """Read on until every trade that was sent has its message."""
        moved_at = time.monotonic()
        while self._stand.tail.distinct < self._stand.sent:
            if self._read(_ROUND_SECONDS_MAX):
                moved_at = time.monotonic()
            self._check(time.monotonic() - moved_at)

    def _send_next(self, waiting: Iterator[Trade], due_at: float, now: float) -> bool:
        trade = next(waiting, None)
        if trade is None:
            return False
        execution, confirmation = trade
        self._produce(confirmation, self._note_error)
        if self._notes_times:
            assert execution.key is not None, "an execution has its order id as key"
            self.course.due_at[execution.key] = due_at
            self.course.late_seconds_max = max(self.course.late_seconds_max, now - due_at)
        self._produce(execution, self._note_acknowledged if self._notes_times else self._note_error)
        self._stand.sent += 1
        return True

    def _produce(
        self, record: OutgoingRecord, delivered: Callable[[KafkaError | None, Message[Any, Any]], None]
    ) -> None:
        self._producer.produce(self._stand.prefix + record.topic, record.value, record.key, on_delivery=delivered)

    def _note_error(self, error: KafkaError | None, _message: Message[Any, Any]) -> None:
        if error is not None:
            self._errors.append(error)

    def _note_acknowledged(self, error: KafkaError | None, message: Message[Any, Any]) -> None:
        self._note_error(error, message)
        key = message.key()
        assert isinstance(key, bytes), "an execution has its order id as key"
        self.course.acknowledged_at[key] = time.monotonic()

    def _read(self, timeout_seconds: float) -> int:
        if not self._notes_times:
            return self._stand.tail.poll(timeout_seconds)
        found: list[bytes] = []
        count = self._stand.tail.poll(timeout_seconds, found.append)
        now = time.monotonic()
        for key in found:
            self.course.seen_at.setdefault(key, now)
        return count

    def _check(self, still_seconds: float) -> None:
        if self._errors:
            raise RuntimeError(f"{len(self._errors)} records were refused: {self._errors[0].str()}")
        if still_seconds > STILL_SECONDS_MAX and self._stand.tail.distinct < self._stand.sent:
            raise TimeoutError(f"nothing was instructed for {still_seconds:.0f} s although trades wait")
        self._stand.check_running()


def orders_by_instruction(stand: Stand) -> dict[bytes, bytes]:
    """Which order each instruction is of, read from the instructions after the run."""
    places = [TopicPartition(_INSTRUCTIONS, number) for number in range(stand.log.partitions(_INSTRUCTIONS))]
    reader = stand.log.reader(dict.fromkeys(places, 0))
    found: dict[bytes, bytes] = {}
    try:
        while not reader.at_end():
            for record in reader.poll(10_000, 0.2):
                event = stand.codec.decode(_INSTRUCTIONS, record.value)
                assert isinstance(event, SettlementInstruction)
                found[event.instruction_id.encode()] = event.order_id.encode()
    finally:
        reader.close()
    return found
