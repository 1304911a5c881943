"""One test for each assumption of services/engine/faust_internals.py; its failure names what an upgrade has broken.

The app is the real one, on a memory log. Only `Batch.process` is replaced where a test must look between two steps.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import faust
import pytest
from faust import transport
from faust.transport.consumer import Consumer as FaustConsumer
from faust.transport.consumer import Fetcher
from faust.types import TP

from services.adapters.disk_files import DiskFiles
from services.adapters.memory_log import MemoryLog
from services.engine import coordinator
from services.engine.app import App, Engine, make_app
from services.engine.faust_internals import PINNED_VERSION, BatchSchema, DeliveringConsumer, batch_message
from services.engine.metrics import Metrics
from services.engine.transport import Transport
from tests.engine.harness import check_counting, check_joining, count, until
from tests.support.engine_stages import TOPICS, JsonCodec, counting, half, joining, said

WAIT_SECONDS_MAX = 10.0


def _app(tmp_path: Path, log: MemoryLog, slot: int = 0) -> App:
    engine = Engine(
        log=log,
        codec=JsonCodec(),
        services=[counting(), joining()],
        reference_topics={},
        metrics=Metrics(version="test"),
        transactional_id=f"worker.{slot}",
        files=DiskFiles(tmp_path / f"slot-{slot}"),
    )
    return make_app(engine, app_id="test", web_host="127.0.0.1", web_port=1, data_dir=str(tmp_path), web_enabled=False)


@contextlib.asynccontextmanager
async def _started(app: App) -> AsyncIterator[App]:
    task = asyncio.create_task(app.start())
    try:
        yield app
    finally:
        await asyncio.wait_for(app.stop(), WAIT_SECONDS_MAX)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _until(condition: Callable[[], object], what: str) -> None:
    try:
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while not condition():  # Faust has no event for it
                await asyncio.sleep(0.005)
    except TimeoutError:
        pytest.fail(what)


class Marker:
    """Stands for a batch in the agent's queue."""

    def __init__(self) -> None:
        self.processed = asyncio.Event()

    def process(self) -> None:
        self.processed.set()


async def _is_processed(marker: Marker, what: str) -> None:
    try:
        await asyncio.wait_for(marker.processed.wait(), WAIT_SECONDS_MAX)
    except TimeoutError:
        pytest.fail(what)


async def _ready(app: App) -> DeliveringConsumer:
    await _until(lambda: app.engine.ready, "the app did not become ready: A2, A3 or A6 no longer holds")
    consumer = app.consumer
    await _until(lambda: len(consumer.assignment()) == 8, "A2: the assignment was not announced")
    assert isinstance(consumer, DeliveringConsumer)
    # Only now has the conductor its callbacks for what was announced: `deliver` waits for the same.
    await _until(consumer.can_resume_flow.is_set, "A6: can_resume_flow is not set after an assignment")
    return consumer


def test_the_version_is_the_one_these_assumptions_were_read_from() -> None:
    """Everything below was read from this release; a newer one must be read again."""
    assert version("faust-streaming") == PINNED_VERSION


def test_a1_transports_are_found_by_the_scheme_of_the_url() -> None:
    """A1: or the app would not start at all."""
    assert transport.by_url("posttrade://log") is Transport, "A1: entry point faust.transports is no longer asked"


async def test_a2_the_app_makes_our_consumer_with_the_conductors_callback(tmp_path: Path) -> None:
    """A2: deliveries go into the callback given to the constructor, and reach every channel of the topic."""
    parameters = list(inspect.signature(FaustConsumer.__init__).parameters)
    expected = ["self", "transport", "callback", "on_partitions_revoked", "on_partitions_assigned"]
    assert parameters[:5] == expected, "A2: the consumer is made with other arguments"
    app = _app(tmp_path, MemoryLog(TOPICS))
    consumer = app.consumer
    assert isinstance(consumer, DeliveringConsumer), "A2: the app makes its consumer elsewhere"
    assert consumer.callback == app.topics.on_message, "A2: the callback is not the conductor's on_message"
    async with _started(app):
        await _ready(app)
        marker = Marker()
        await consumer.deliver("counting", 2, marker)
        await _is_processed(marker, "A2: what is put into the callback does not reach the agent")


async def test_a3_the_conductor_subscribes_once_all_agents_have_started(tmp_path: Path) -> None:
    """A3: the coordinator starts with it; a batch before an agent is there would be lost."""
    app = _app(tmp_path, MemoryLog(TOPICS))
    started: list[tuple[set[str], list[bool]]] = []
    original = app.consumer.subscribe

    async def subscribe(topics: Any) -> None:
        started.append((set(topics), [agent.started for agent in app.agents.values()]))
        await original(topics)

    app.consumer.subscribe = subscribe  # type: ignore[method-assign]  # looks on
    async with _started(app):
        await _until(lambda: started, "A3: the conductor does not subscribe")
    assert started == [({"counting", "joining"}, [True, True])], "A3: subscribed to other topics, or before the agents"


async def test_a4_the_fetcher_only_drains(tmp_path: Path) -> None:
    """A4: any other way of fetching would ask our consumer for messages it does not have."""
    source = inspect.getsource(Fetcher)
    assert "consumer._drain_messages(self)" in source, "A4: the fetcher no longer runs consumer._drain_messages"
    app = _app(tmp_path, MemoryLog(TOPICS))
    entered: list[Any] = []
    consumer: Any = app.consumer
    original = consumer._drain_messages

    async def drain(fetcher: Any) -> None:
        entered.append(fetcher)
        await original(fetcher)

    consumer._drain_messages = drain
    async with _started(app):
        await _until(lambda: entered, "A4: the fetcher was not started after the assignment")


async def test_a5_a_message_of_another_generation_is_dropped_silently(tmp_path: Path) -> None:
    """A5: why every message carries the current generation, and why announcements come between rounds only."""
    app = _app(tmp_path, MemoryLog(TOPICS))
    async with _started(app):
        consumer = await _ready(app)
        stale, fresh = Marker(), Marker()
        message = batch_message(app, "counting", 0, stale, 1_000)
        assert message.generation_id == app.consumer_generation_id, "A5: messages have no generation_id any more"
        message.generation_id -= 1
        await consumer.callback(message)
        await consumer.deliver("counting", 0, fresh)
        await _is_processed(fresh, "A5: a message of the current generation is dropped")
        assert not stale.processed.is_set(), "A5: a message of an older generation is no longer dropped"


async def test_a6_the_flow_is_resumed_after_each_assignment_and_that_empties_the_queues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A6: a batch delivered before the resumption would vanish, and its round would wait for ever."""
    monkeypatch.setattr(coordinator, "TICK_SECONDS", 1_000.0)  # the coordinator has no business here
    app = _app(tmp_path, MemoryLog(TOPICS))
    async with _started(app):
        consumer = await _ready(app)
        everything = {(tp.topic, tp.partition) for tp in consumer.assignment()}
        for number in range(20):  # additions and removals, each followed at once by deliveries to every partition
            assignment = everything if number % 2 else {pair for pair in everything if pair[1] != number % 4}
            await asyncio.wait_for(consumer.announce(assignment), WAIT_SECONDS_MAX)
            markers = [(pair, Marker()) for pair in sorted(assignment)]
            await asyncio.gather(*(consumer.deliver(*pair, marker) for pair, marker in markers))
            for pair, marker in markers:
                await _is_processed(marker, f"A6: the batch of {pair} vanished after announcement {number}")


async def test_a7_nothing_stays_unacknowledged(tmp_path: Path) -> None:
    """A7: with an agent's topic that does not acknowledge, Faust would otherwise wait for it at each rebalance."""
    app = _app(tmp_path, MemoryLog(TOPICS))
    async with _started(app):
        consumer = await _ready(app)
        for number in range(50):
            marker = Marker()
            await consumer.deliver("counting", number % 4, marker)
            await _is_processed(marker, "A2: what is put into the callback does not reach the agent")
        await asyncio.sleep(0)
        assert not consumer._unacked_messages, "A7: messages are tracked although acks=False"
        assert not app.topics.acking_topics, "A7: acks=False no longer keeps a topic out of acking_topics"
        assert not any(consumer._acked.values()), "A7: acknowledged offsets pile up"


async def test_a8_the_schema_is_all_that_touches_the_value(tmp_path: Path) -> None:
    """A8: the batch reaches the agent as the very object that was delivered."""
    app = _app(tmp_path, MemoryLog(TOPICS))
    received: list[Any] = []
    topic = app.topic("probe", schema=BatchSchema(value_type=bytes, key_type=bytes), acks=False)
    message = batch_message(app, "probe", 0, batch := object(), 1)
    event = await topic.decode(message, propagate=True)
    received.append(event.value)
    assert received == [batch], "A8: something else than the schema stands between the message and the agent"
    assert event.value is batch, "A8: the value was copied"
    assert event.key is None, "A8: the key is no longer what loads_key answers"


async def test_an_app_that_stops_takes_nothing_over(tmp_path: Path) -> None:
    """A rebalance and a stop at the same time must not wait for a resumption that never comes."""
    app = _app(tmp_path, MemoryLog(TOPICS))
    async with _started(app):
        consumer = await _ready(app)
        app._stopped.set()
        try:
            await asyncio.wait_for(consumer.announce({("counting", 0)}), 2)
        except TimeoutError:
            pytest.fail("A6: an announcement waits although the app stops")
        finally:
            app._stopped.clear()


async def test_real_apps_that_join_and_leave_process_everything_exactly_once(tmp_path: Path) -> None:
    """All assumptions together: the rebalance storm of tests/engine through Faust itself, two services per app."""
    log = MemoryLog(TOPICS)
    stack: list[tuple[App, asyncio.Task[None]]] = []
    for number in range(8):
        log.send(said(f"key-{n % 9}", number * 60 + n) for n in range(60))
        log.send(half(side, f"pair-{number}-{n}") for side in ("left", "right") for n in range(10))
        app = _app(tmp_path, log, slot=number)
        stack.append((app, asyncio.create_task(app.start())))
        if len(stack) > 2:
            old, task = stack.pop(0)
            await asyncio.wait_for(old.stop(), WAIT_SECONDS_MAX)
            task.cancel()
        await until(log, lambda number=number: count(log, "counted") >= number * 60)  # type: ignore[misc]
    await until(log, lambda: count(log, "counted") >= 480 and count(log, "joined") >= 80)
    for app, task in stack:
        await asyncio.wait_for(app.stop(), WAIT_SECONDS_MAX)
        task.cancel()
    check_counting(log)
    check_joining(log)


def test_assignments_are_faust_topic_partitions() -> None:
    """A2: Faust compares them with its own."""
    assert TP("counting", 1) == ("counting", 1), "A2: TP is no longer a plain pair"
    assert faust.__version__ == PINNED_VERSION
