"""Everything we touch of Faust that is not its documented surface, in one place.

Faust is pinned exactly. tests/contract/test_faust_internals.py has one test for each assumption below, so that an
upgrade that breaks one says which.

A1  Transports are found by the scheme of the broker URL under the `faust.transports` entry point.
A2  `transport.Consumer(transport, callback=…, on_partitions_revoked=…, on_partitions_assigned=…)` is how the app makes
its
    consumer; `callback` is the conductor's `on_message`, which puts a message into the queue of every channel of its
    topic.
A3  The conductor calls `consumer.subscribe(topics)` once all agents have started.
A4  The fetcher service runs `consumer._drain_messages(fetcher)`; ours just waits there, deliveries come from elsewhere.
A5  A message is dropped silently unless its `generation_id` equals `app.consumer_generation_id`.
A6  After an assignment the tables service resumes the flow: `consumer.can_resume_flow` is set.
A7  A topic made with `acks=False` leaves no unacknowledged messages behind, in the compiled and in the pure iterator.
A8  A schema's `loads_key` and `loads_value` are what stands between the message and the agent's argument.
"""

from __future__ import annotations

from typing import Any

import faust
from faust.transport.consumer import Consumer as FaustConsumer
from faust.types import TP, ConsumerMessage

PINNED_VERSION = "0.15.3"


class BatchSchema(faust.Schema[Any, Any]):
    """Hands the batch through as it is (A8)."""

    def loads_key(self, app: Any, message: Any, **_options: Any) -> None:
        """A batch has no key."""
        return

    def loads_value(self, app: Any, message: Any, **_options: Any) -> Any:
        """The batch itself."""
        return message.value


def batch_message(app: Any, service: str, partition: int, batch: Any, offset: int) -> ConsumerMessage:
    """One Faust message that carries a whole batch (A5)."""
    return ConsumerMessage(
        service, partition, offset, 0.0, 0, [], None, batch, None, 0, 0, TP(service, partition),
        generation_id=app.consumer_generation_id,
    )  # fmt: skip


class DeliveringConsumer(FaustConsumer):
    """A Faust consumer whose messages are delivered by somebody else.

    Faust's own fetching, seeking, acknowledging and committing have no part in it: the engine's transaction does all
    that.
    """

    consumer_stopped_errors = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Start with nothing assigned."""
        super().__init__(*args, **kwargs)
        self._assigned: set[TP] = set()
        self._delivered = 0

    async def announce(self, partitions: set[tuple[str, int]]) -> None:
        """Tell Faust which (service, partition) pairs are ours now (A2, A5, A6)."""
        assigned = {TP(service, partition) for service, partition in partitions}
        if assigned == self._assigned or self.app.should_stop:  # a stopping app takes nothing over and resumes nothing
            return
        revoked = self._assigned - assigned
        self.app.on_rebalance_start()
        self.stop_flow()  # Faust does so at a revocation only; its resumption empties the agents' queues (A6)
        if revoked:
            await self.on_partitions_revoked(revoked)
        self._assigned = assigned
        self.app.consumer_generation_id += 1
        await self.on_partitions_assigned(assigned, self.app.consumer_generation_id)
        # The next change must not overtake the resumption of this one, which Faust does in a task of its own (A6).
        await self._resumed(self.app)

    async def deliver(self, service: str, partition: int, batch: object) -> None:
        """Put one batch before the service's agent (A2, A6)."""
        await self._resumed(self)
        self._delivered += 1
        await self.callback(batch_message(self.app, service, partition, batch, self._delivered))

    async def _resumed(self, service: Any) -> None:
        """Wait for Faust's resumption (A6), or until the given service, the app or this consumer, stops."""
        await service.wait(self.can_resume_flow)

    def assignment(self) -> set[TP]:
        """What was announced last."""
        return set(self._assigned)

    async def _drain_messages(self, fetcher: Any) -> None:
        await fetcher.wait_until_stopped()  # A4

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)

    async def wait_empty(self) -> None:
        """Nothing is ever unacknowledged here (A7)."""

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Offsets are committed by the engine's transaction."""
        return False

    async def _commit(self, offsets: Any) -> bool:
        return False

    async def seek_to_committed(self) -> dict[TP, int]:
        """Positions are the engine's business."""
        return {}

    async def _seek(self, partition: TP, offset: int) -> None:
        return

    async def seek_wait(self, partitions: Any) -> None:
        """Positions are the engine's business."""

    async def position(self, tp: TP) -> int | None:
        """Unknown to Faust."""
        return None

    def highwater(self, tp: TP) -> int:
        """Unknown to Faust."""
        return 0

    async def highwaters(self, *partitions: TP) -> dict[TP, int]:
        """Unknown to Faust."""
        return dict.fromkeys(partitions, 0)

    async def earliest_offsets(self, *partitions: TP) -> dict[TP, int]:
        """Unknown to Faust."""
        return dict.fromkeys(partitions, 0)

    def topic_partitions(self, topic: str) -> int | None:
        """Unknown to Faust."""
        return None

    def key_partition(self, topic: str, key: bytes | None, partition: int | None = None) -> int | None:
        """Faust sends nothing."""
        return partition

    def verify_event_path(self, now: float, tp: TP) -> None:
        """The engine watches its own progress."""

    def verify_recovery_event_path(self, now: float, tp: TP) -> None:
        """The engine watches its own progress."""

    async def create_topic(self, topic: str, partitions: int, replication: int, **_options: Any) -> None:
        """Topics are made by `posttrade topics apply`, never by a worker."""

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:
        raise AssertionError("the fetcher waits in _drain_messages and never asks for messages")

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        raise AssertionError("messages are made by batch_message")

    def close(self) -> None:
        """Closed by the engine."""
