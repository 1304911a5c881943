"""Reads what settlement sends to the depository, as a gateway would: committed records only, as they come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, Message, TopicPartition

TOPIC = "settlement.messages"
_AT_ONCE_MAX = 10_000


class Tail:
    """Counts the messages of one installation from the beginning. Belongs to one thread."""

    def __init__(self, servers: str, prefix: str, partitions: int) -> None:
        """Nothing is fetched before the first poll."""
        self.total = 0
        """Messages read."""
        self.last_ms = 0
        """When the newest entered the log, by the broker's clock (milliseconds since the epoch)."""
        self._keys: set[bytes] = set()
        self._consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": prefix + "gateway",  # asked for by the client; nothing is committed
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "log_level": 0,
            }
        )
        self._consumer.assign([TopicPartition(prefix + TOPIC, number, 0) for number in range(partitions)])

    @property
    def distinct(self) -> int:
        """Instructions among what was read; less than `total` when one came twice."""
        return len(self._keys)

    def poll(self, timeout_seconds: float, note: Callable[[bytes], None] | None = None) -> int:
        """Read what is there, at most waiting so long for a first one; how many. `note` is given each key."""
        first = self._consumer.poll(timeout_seconds)
        if first is None:
            return 0
        messages: list[Message[Any, Any]] = [first, *self._consumer.consume(_AT_ONCE_MAX, 0)]
        for message in messages:
            error, key = message.error(), message.key()
            if error is not None:
                raise RuntimeError(f"{TOPIC} could not be read: {error.str()}")
            assert isinstance(key, bytes), "a message has its instruction id as key"
            self._keys.add(key)
            if note is not None:
                note(key)
            self.last_ms = max(self.last_ms, message.timestamp()[1])
        self.total += len(messages)
        return len(messages)

    def close(self) -> None:
        """Give the connections back."""
        self._consumer.close()
