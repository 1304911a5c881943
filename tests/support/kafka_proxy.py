"""A TCP proxy between Kafka clients and one broker that reads the frames and can delay, lose, hold or repeat a request.

    with ProxiedKafka(tmp_path) as kafka:
        Producer({"bootstrap.servers": kafka.proxy.bootstrap_servers, …})     # every request goes through the proxy
        held = kafka.proxy.on(END_TXN, Fault.HOLD, client_id="naive")
        …
        held.await_arrival()
        held.release()

The broker advertises the proxy's port on a listener of its own, so nothing in a frame has to be rewritten. Who uses the
broker's plain listener (tools, oracles) is not disturbed.

A frame is a length (int32), then api key (int16), api version (int16), correlation id (int32), client id (int16 and
text): every request since Kafka 0.9 begins so. A response begins with its correlation id.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import struct
import threading
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import pytest

from deploy.local.data_directory import LOOPBACK, free_port
from deploy.local.kafka_broker import LocalKafka

T = TypeVar("T")

PRODUCE, FETCH, INIT_PRODUCER_ID, ADD_PARTITIONS_TO_TXN, ADD_OFFSETS_TO_TXN, END_TXN, TXN_OFFSET_COMMIT = (
    0, 1, 22, 24, 25, 26, 28
)  # fmt: skip
"""The api keys of Kafka's protocol that concern transactions."""

WAIT_SECONDS_MAX = 60.0
_HEADER = struct.Struct(">hhih")
_LENGTH = struct.Struct(">i")


class Fault(enum.Enum):
    """What happens to a request that a rule chose."""

    DELAY = "passed on after `seconds`; what the client sends behind it on the connection waits too"
    DROP = "never reaches the broker"
    HOLD = "kept until `Caught.release`, then sent on a connection of its own; what comes behind it passes"
    DUPLICATE = "reaches the broker twice; the client sees one answer"
    DROP_RESPONSE = "reaches the broker; the client sees no answer"


@dataclass(frozen=True)
class Request:
    """One request as it passed the proxy."""

    api_key: int
    api_version: int
    correlation_id: int
    client_id: str
    frame: bytes
    """All of it, without the length."""

    @classmethod
    def parse(cls, frame: bytes) -> Self:
        """Read the header of a request."""
        api_key, api_version, correlation_id, length = _HEADER.unpack_from(frame)
        client_id = frame[_HEADER.size : _HEADER.size + max(length, 0)].decode()
        return cls(api_key, api_version, correlation_id, client_id, frame)


class Caught:
    """A rule, and what became of the requests it chose. Its methods are for the test's thread."""

    def __init__(self, proxy: KafkaProxy, api_key: int, fault: Fault, client_id: str, count: int, seconds: float):
        self.fault = fault
        self.seconds = seconds
        self.requests: list[Request] = []
        self.response: bytes | None = None
        """Answer of the broker to the request that was held, from the correlation id on; set by `release`."""
        self._proxy = proxy
        self._api_key = api_key
        self._client_id = client_id
        self._left = count
        self._arrived = threading.Event()
        self._client: asyncio.StreamWriter | None = None

    def await_arrival(self, seconds_max: float = WAIT_SECONDS_MAX) -> Request:
        """Wait until a request was chosen; the first one."""
        assert self._arrived.wait(seconds_max), f"no request of api key {self._api_key} came in {seconds_max:.0f} s"
        return self.requests[0]

    def release(self) -> bytes:
        """Send the request that is held to the broker now, whatever became of its client; the broker's answer."""
        self.response = self._proxy.run(self._proxy.send_late(self.await_arrival(), self._client))
        return self.response

    def disconnect(self) -> None:
        """Break the connection on which the last chosen request came; the client's others stay."""
        client = self._client
        assert client is not None, "no request was chosen yet"
        self._proxy.abort([client])

    def takes(self, request: Request, client: asyncio.StreamWriter) -> bool:
        """Whether this rule chooses the request; on the proxy's thread."""
        if not self._left or request.api_key != self._api_key or request.client_id != self._client_id:
            return False
        self._left -= 1
        self.requests.append(request)
        self._client = client
        self._arrived.set()
        return True


class KafkaProxy:
    """Listens on a loopback port from `start` on; connections wait for `connect_to`, which names the broker's port."""

    def __init__(self) -> None:
        self.seen: list[Request] = []
        """Every request in the order of arrival, but for fetches, which are too many."""
        self.port = 0
        self._upstream_port = 0
        self._rules: list[Caught] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="kafka-proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._clients: dict[asyncio.StreamWriter, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def bootstrap_servers(self) -> str:
        """The address for clients that are to go through the proxy."""
        return f"{LOOPBACK}:{self.port}"

    def start(self) -> Self:
        """Listen on a free port."""
        self._thread.start()
        self._server = self.run(asyncio.start_server(self._accept, LOOPBACK, 0))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def connect_to(self, port: int) -> None:
        """Name the broker's port."""
        self._upstream_port = port

    def on(self, api_key: int, fault: Fault, *, client_id: str, count: int = 1, seconds: float = 0.0) -> Caught:
        """Do this to the next `count` requests of this kind from this client."""
        rule = Caught(self, api_key, fault, client_id, count, seconds)
        self._rules.append(rule)
        return rule

    def disconnect(self, client_id: str) -> None:
        """Break every connection of a client; what it has sent and the proxy holds is not lost by it."""
        self.abort([writer for writer, owner in list(self._clients.items()) if owner == client_id])

    def abort(self, clients: Sequence[asyncio.StreamWriter]) -> None:
        """Break these connections."""

        async def abort() -> None:
            for client in clients:
                client.transport.abort()

        self.run(abort())

    def versions(self, api_key: int) -> set[int]:
        """The versions in which a request was seen."""
        return {request.api_version for request in self.seen if request.api_key == api_key}

    def stop(self) -> None:
        """Close everything."""

        async def close() -> None:
            if self._server is not None:
                self._server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        self.run(close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # --- on the proxy's thread, but for `run`

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Let the proxy's thread do something, and wait for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(WAIT_SECONDS_MAX)

    async def send_late(self, request: Request, reply_to: asyncio.StreamWriter | None) -> bytes:
        """Send a held request by a way of its own, as a slow network path would; the client may be gone."""
        reader, writer = await asyncio.open_connection(LOOPBACK, self._upstream_port)
        writer.write(_LENGTH.pack(len(request.frame)) + request.frame)
        response = await _frame(reader)
        writer.close()
        if reply_to is not None and not reply_to.is_closing():
            reply_to.write(_LENGTH.pack(len(response)) + response)
        return response

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        """One connection, until either side ends it: a broker that is away looks away to the client."""
        try:
            answers, broker = await asyncio.open_connection(LOOPBACK, self._upstream_port)
        except OSError:
            client.transport.abort()
            return
        silenced: list[int] = []
        ways = [
            asyncio.create_task(self._requests(reader, client, broker, silenced)),
            asyncio.create_task(_responses(answers, client, silenced)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._clients.pop(client, None)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            client.transport.abort()
            broker.transport.abort()

    async def _requests(
        self,
        reader: asyncio.StreamReader,
        client: asyncio.StreamWriter,
        broker: asyncio.StreamWriter,
        silenced: list[int],
    ) -> None:
        while True:
            request = Request.parse(await _frame(reader))
            self._clients[client] = request.client_id
            if request.api_key != FETCH:
                self.seen.append(request)
            rule = next((rule for rule in self._rules if rule.takes(request, client)), None)
            fault = None if rule is None else rule.fault
            if rule is not None and fault is Fault.DELAY:
                await asyncio.sleep(rule.seconds)
            if fault in (Fault.DROP, Fault.HOLD):
                continue
            if fault in (Fault.DROP_RESPONSE, Fault.DUPLICATE):
                silenced.append(request.correlation_id)
            for _ in range(2 if fault is Fault.DUPLICATE else 1):
                broker.write(_LENGTH.pack(len(request.frame)) + request.frame)
            await broker.drain()


async def _responses(reader: asyncio.StreamReader, client: asyncio.StreamWriter, silenced: list[int]) -> None:
    while True:
        frame = await _frame(reader)
        (correlation_id,) = _LENGTH.unpack_from(frame)
        if correlation_id in silenced:
            silenced.remove(correlation_id)
            continue
        client.write(_LENGTH.pack(len(frame)) + frame)
        await client.drain()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    """One frame without its length. Raises IncompleteReadError at the end of the connection."""
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    return await reader.readexactly(length)


class ProxiedKafka:
    """A broker of our own with a proxy before it."""

    def __init__(self, data_dir: Path | None = None, *, quick: bool = True) -> None:
        self.proxy = KafkaProxy()
        self._inner_port = free_port()
        self._data_dir = data_dir
        self._quick = quick
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Start both."""
        self._stack.callback(self.proxy.stop)
        self.proxy.start()
        self.proxy.connect_to(self._inner_port)
        inner, outer = f"PROXIED://{LOOPBACK}:{self._inner_port}", f"PROXIED://{LOOPBACK}:{self.proxy.port}"
        plain, controller = f"PLAINTEXT://{LOOPBACK}:${{port}}", f"CONTROLLER://{LOOPBACK}:${{controller_port}}"
        settings = {
            "listeners": f"{plain},{inner},{controller}",
            "advertised.listeners": f"{plain},{outer}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT",
        }
        self.broker = self._stack.enter_context(LocalKafka(self._data_dir, quick=self._quick, settings=settings))
        return self

    @property
    def bootstrap_servers(self) -> str:
        """The broker's own address, past the proxy."""
        return self.broker.bootstrap_servers

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop both."""
        self._stack.close()


@pytest.fixture(scope="session")
def proxied_kafka() -> Iterator[ProxiedKafka]:
    """One for all tests; each names its clients, topics and transactional ids by `prefix`, and faults by client."""
    with ProxiedKafka() as kafka:
        yield kafka
