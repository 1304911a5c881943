"""The Faust transport: one Faust message is one record batch, one round of batches is one transaction.

Registered as `posttrade` under the `faust.transports` entry point. Faust keeps its app, agents, timers, worker and web
server; the log below is whatever `app.engine` was given, Kafka or memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from faust.transport import base
from mode import Service

from services.engine.faust_internals import DeliveringConsumer


class Consumer(DeliveringConsumer):
    """Faust's view of the coordinator."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Wait for the conductor's subscription before the coordinator runs."""
        super().__init__(*args, **kwargs)
        self._subscribed = asyncio.Event()
        self._coordinator: Any = None

    async def subscribe(self, topics: Iterable[str]) -> None:
        """From the conductor: every agent has started, so batches may come. A Faust topic is a service."""
        self._subscribed.set()

    @Service.task
    async def _run_coordinator(self) -> None:
        await self._subscribed.wait()
        app: Any = self.app  # the App of services.engine.app, which holds the engine
        coordinator = app.engine.start(self)
        try:
            await coordinator.run()
        except Exception as error:
            app.engine.failure = error
            raise


class Producer(base.Producer):
    """Faust sends nothing here: what a stage publishes goes through the engine's transaction."""

    async def send(self, *_arguments: Any, **_options: Any) -> Any:
        """Refuse: a send outside of the transaction would break exactly-once."""
        raise RuntimeError("outputs are published by stages, inside the transaction; app.send is not available")

    async def send_and_wait(self, *_arguments: Any, **_options: Any) -> Any:
        """Refuse: see `send`."""
        return await self.send()

    async def flush(self) -> None:
        """Nothing is buffered."""

    async def create_topic(self, *_arguments: Any, **_options: Any) -> None:
        """Topics are made by `posttrade topics apply`, never by a worker."""

    def key_partition(self, topic: str, key: bytes) -> Any:
        """Faust sends nothing."""
        raise RuntimeError("partitions are chosen by the log")


class Transport(base.Transport):
    """What the entry point names."""

    Consumer = Consumer
    Producer = Producer
    default_port = 9092
    driver_version = "posttrade"
