"""What the trials share: raw clients with the service's settings, and a way to say what an error carries."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable, Sequence

from confluent_kafka import Consumer, KafkaException, Producer

SECONDS_MAX = 30.0


class Silence:
    """A logger for clients whose connections are broken on purpose."""

    def log(self, _level: int, _format: str, *_arguments: object) -> None:
        """Nobody needs to read it."""


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def new_name(prefix: str) -> str:
    """A name that nothing else on the broker has."""
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def transactional_producer(bootstrap_servers: str, transactional_id: str, **settings: str | float) -> Producer:
    """A producer with the service's timeouts, initialised. Keys of `settings` have `_` for `.`."""
    given = {key.replace("_", "."): value for key, value in settings.items()}
    producer = Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "client.id": transactional_id,
            "transactional.id": transactional_id,
            "transaction.timeout.ms": 10_000,
            "message.timeout.ms": 9_000,
            "linger.ms": 5,
            "compression.type": "lz4",
        }
        | given,
        logger=Silence(),
    )
    producer.init_transactions(SECONDS_MAX)
    return producer


def group_consumer(bootstrap_servers: str, group: str, **settings: str | float) -> Consumer:
    """A consumer as the service makes it, but for `settings`; keys have `_` for `.`."""
    given = {key.replace("_", "."): value for key, value in settings.items()}
    return Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "partition.assignment.strategy": "range",
            "session.timeout.ms": 12_000,
        }
        | given,
        logger=Silence(),
    )


def await_assignment(consumer: Consumer) -> None:
    """Poll until the group gave the consumer something; records that come meanwhile are dropped."""
    deadline = time.monotonic() + SECONDS_MAX
    while not consumer.assignment():
        assert time.monotonic() < deadline, "nothing was assigned"
        consumer.poll(0.1)


def outcome(call: Callable[[], object]) -> str:
    """Run a call; how it ended, how long it took, and for an error every flag the client gives."""
    started = time.monotonic()
    try:
        call()
        text = "OK"
    except KafkaException as failure:
        error = failure.args[0]
        flags = [
            name
            for name, is_set in (
                ("fatal", error.fatal()),
                ("retriable", error.retriable()),
                ("abort required", error.txn_requires_abort()),
            )
            if is_set
        ]
        text = f"{error.code()} {error.name()} ({', '.join(flags) or 'no flag'}): {error.str()}"
    return f"{text} after {time.monotonic() - started:.1f} s"


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which this share of the values lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table as the decision records have it."""
    for row in (header, ["---"] * len(header), *rows):
        say("| " + " | ".join(str(cell) for cell in row) + " |")
