"""What this service has to reach, measure by measure, as data."""

from __future__ import annotations

from collections.abc import Mapping

from tests.bench.finding import Target, Verdict

FAUST, QUIX, KAFKA_STREAMS, BARE = (
    "times stock Faust",
    "times Quix Streams",
    "times Kafka Streams",
    "share of bare loop",
)
TRADES_PER_SECOND = "trades/s"
P99_MS = "p99 at half of capacity, ms"
ROWS_PER_SECOND = "rows/s"
OPEN_ITEMS_RATIO = "10^6 against 10^4 open items"

TARGETS: tuple[Target, ...] = (
    Target("a", FAUST, least=40),
    Target("a", KAFKA_STREAMS, least=1.2),
    Target("a", BARE, aim=0.8),
    Target("b", QUIX, least=2),
    Target("b", KAFKA_STREAMS, least=0.7, aim=1.2),
    Target("c", QUIX, least=3),
    Target("c", KAFKA_STREAMS, aim=1),
    Target("d", FAUST, least=15),
    Target("d", QUIX, least=3),
    Target("d", TRADES_PER_SECOND, least=2_000, aim=10_000),
    Target("e", P99_MS, least=500, aim=100, lower_is_better=True),
    Target("h", ROWS_PER_SECOND, least=100_000, aim=300_000),
    Target("j", OPEN_ITEMS_RATIO, least=0.85, aim=0.95),
)
"""Against Kafka Streams the better of one and two threads counts; against stock Faust the faster of its guarantees."""


def judge(measure: str, values: Mapping[str, float]) -> tuple[Verdict, ...]:
    """Hold the values of a measure against its targets. A target without a value is not judged.

    Raises ValueError for a value that no target names: a slip of the pen would leave a target unjudged.
    """
    targets = {target.what: target for target in TARGETS if target.measure == measure}
    unknown = sorted(values.keys() - targets.keys())
    if unknown:
        raise ValueError(f"measure {measure} has no target for {', '.join(unknown)}; known are: {', '.join(targets)}")
    return tuple(Verdict(targets[what], value) for what, value in values.items())
