"""Sends one record with a header whose name is no UTF-8, as clients in other languages can.

python -m tests.support.odd_header_sender BOOTSTRAP_SERVERS TOPIC PARTITION VALUE

Neither of the Python clients sends such a name; this bends the pure Python half of one of them, which a process of its
own has to choose before it is imported.
"""

from __future__ import annotations

import asyncio
import os
import sys

os.environ["AIOKAFKA_NO_EXTENSIONS"] = "1"

from aiokafka import AIOKafkaProducer  # type: ignore[import-untyped]

NAME = b"\xff\xfename"


class _Name(str):
    """A text that is encoded as NAME."""

    __slots__ = ()

    def encode(self, _encoding: str = "", _errors: str = "") -> bytes:
        """Those bytes."""
        return NAME


async def _send(servers: str, topic: str, partition: int, value: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=servers)
    await producer.start()
    try:
        await producer.send_and_wait(topic, value, b"odd", partition, headers=[("good", b"1"), (_Name("odd"), b"2")])
    finally:
        await producer.stop()


if __name__ == "__main__":
    asyncio.run(_send(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4].encode()))
