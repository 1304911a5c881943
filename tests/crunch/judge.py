"""What must hold of a crunch, asked of what was seen and of what lies on the topics afterwards."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

from services.adapters.topic_codec import FormatCodec
from services.domain.event import CapturedTrade, SettlementInstruction
from services.engine.lag import LAG_SECONDS
from services.engine.log import Log
from services.pipeline import DEAD_LETTERS, EXCEPTIONS
from tests.crunch import orders
from tests.crunch.observer import INPUTS, Input, Observation
from tests.crunch.play import Course
from tests.crunch.scene import Scene
from tests.support.app import read_topic

TOLD_LATE_SECONDS_MAX = LAG_SECONDS + 1.5
"""Age of what /metrics says: one period, and the time a measurement takes while the event loop has work to do."""
MARKERS_MAX = 4 * 8
"""Markers that may lie between the last record and the end of an input's four partitions."""

STATE_KIB_PER_ROW = 0.75
"""A remembered row in memory, as measured; rows are what a service must know, and grow with what was processed, not
with what waits."""
WORKING_MIB_MAX = 64.0
"""What a burst may take beyond that: two polled batches of each service, one of them decoded and with its outcomes, the
records of a transaction on their way, and what the allocator keeps. What the clients fetch ahead is far below their
limit here; tests/contract/test_fetch_queue.py looks at that."""


def check(scene: Scene, course: Course) -> None:
    """All promises. Raises AssertionError with the one that did not hold."""
    check_health(scene.observer.seen)
    check_lag(scene.observer.seen, max(course.peak_rate, course.catch_up_rate) * orders.FILLS)
    check_memory(course.before, course.burst)
    assert (sum(course.after.told.values()), course.after.lag_seconds) == (0, 0), "lag did not come to 0"
    check_outputs(scene.log, scene.codec, scene.sender.sent)


def lag_deviation(seen: Sequence[Observation], of: Input) -> int:
    """By how many records what was told lay outside of what was true while it was measured; the most in all looks."""
    worst = 0
    for number, look in enumerate(seen):
        since = look.began - TOLD_LATE_SECONDS_MAX
        first = max(0, next(n for n, earlier in enumerate(seen) if earlier.ended >= since) - 1)
        if number + 1 == len(seen) or seen[first].began > since:
            continue  # nothing was seen on one side of the time in question
        true = [other.truth[of] for other in seen[first : number + 2]]
        worst = max(worst, int(look.told[of]) - max(true), min(true) - int(look.told[of]))
    return worst


def check_lag(seen: Sequence[Observation], records_per_second: float) -> None:
    """What is told is true, but for what moves between two looks."""
    for of in INPUTS:
        between = max(later.began - earlier.began for earlier, later in pairwise(seen))
        allowed = MARKERS_MAX + between * records_per_second
        found = lag_deviation(seen, of)
        assert found <= allowed, f"lag of {of} was told wrong by {found} records, {allowed:.0f} are allowed"


def memory_mib(look: Observation) -> float:
    """Resident memory without the rows that a service must remember, MiB."""
    return look.resident_mib - look.state_rows * STATE_KIB_PER_ROW / 1024


def text(seen: Sequence[Observation], before: Observation) -> str:
    """What was found, in a sentence."""
    wrong = max(lag_deviation(seen, of) for of in INPUTS)
    return (
        f"lag was told wrong by {wrong:,} records at most; beside {seen[-1].state_rows:,} rows of state "
        f"the worker took {max(map(memory_mib, seen)):.0f} MiB, and {memory_mib(before):.0f} MiB before the burst"
    )


def check_memory(before: Observation, seen: Sequence[Observation]) -> None:
    """Memory does not follow the backlog."""
    allowed = memory_mib(before) + WORKING_MIB_MAX
    highest = max(seen, key=memory_mib)
    assert memory_mib(highest) <= allowed, f"{highest} needed more than {allowed:.0f} MiB beside its state"


def check_health(seen: Sequence[Observation]) -> None:
    """Behind is not ill: whoever restarts a worker that is behind makes it later still."""
    assert all(look.is_live for look in seen), "not live"
    assert all(look.is_ready for look in seen), "not ready"


def check_outputs(log: Log, codec: FormatCodec, sent: int) -> None:
    """Every order has exactly one instruction, and its fills came through in their order, each once."""
    assert read_topic(log, DEAD_LETTERS) == []
    assert read_topic(log, EXCEPTIONS) == []
    instructed: Counter[str] = Counter()
    for record in read_topic(log, "settlement.instructions"):
        event = codec.decode(record.topic, record.value)
        assert isinstance(event, SettlementInstruction)
        instructed[event.order_id] += 1
    assert instructed == {orders.order_id(number): 1 for number in range(sent)}
    assert len(read_topic(log, "settlement.messages")) == sent
    for topic in ("trades.captured", "trades.enriched"):
        fills = _fills(log, codec, topic)
        assert len(fills) == sent
        assert all(found == orders.fills_of(order) for order, found in fills.items()), f"{topic} is out of order"


def _fills(log: Log, codec: FormatCodec, topic: str) -> dict[str, list[str]]:
    """Execution ids by order, in the order of the log."""
    fills: defaultdict[str, list[str]] = defaultdict(list)
    for record in read_topic(log, topic):
        event = codec.decode(topic, record.value)
        assert isinstance(event, CapturedTrade)
        assert record.key == event.order_id.encode()
        fills[event.order_id].append(event.execution_id)
    return fills
