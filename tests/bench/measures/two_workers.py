"""(i) Two workers against one: what a trade costs, and how many come through, when the partitions are shared."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from tests.bench.finding import Context, Finding
from tests.bench.measures.stand import Burst, standing

TRADES = 10_000
WARM_UP_TRADES = 3_000
BURSTS = 3


def measure(context: Context) -> Finding:
    """The same bursts through one worker and through two, each of which holds half of the partitions."""
    found = {count: _bursts(context, count) for count in (1, 2)}
    rates = {count: median(burst.trades_per_second for burst in bursts) for count, bursts in found.items()}
    worker = {count: median(_cpu(burst.workers.process, burst) for burst in bursts) for count, bursts in found.items()}
    broker = {count: median(_cpu(burst.broker.process, burst) for burst in bursts) for count, bursts in found.items()}
    rows = [
        [f"{count} worker{'s'[: count - 1]}", f"{rates[count]:,.0f}", f"{worker[count]:.3f}", f"{broker[count]:.3f}"]
        for count in found
    ]
    rows.append(
        [
            "two against one",
            f"{rates[2] / rates[1]:.2f}",
            f"{worker[2] / worker[1]:.2f}",
            f"{broker[2] / broker[1]:.2f}",
        ]
    )
    return Finding(
        measure="i",
        title=f"Two workers against one, {BURSTS} bursts of {found[1][0].trades:,} trades, medians",
        columns=["workers", "trades/s", "CPU s per 1,000 trades, workers", "CPU s per 1,000 trades, broker"],
        rows=rows,
        figures={
            "trades": found[1][0].trades,
            "trades_per_second": by_text(rates),
            "worker_cpu_seconds_per_1000_trades": by_text(worker),
            "broker_cpu_seconds_per_1000_trades": by_text(broker),
            "rate_ratio": rates[2] / rates[1],
            "cpu_ratio": worker[2] / worker[1],
        },
        notes=["Workers, broker and sender share the cores of this machine: two workers get no more of them than one."],
    )


def by_text(values: Mapping[int, float]) -> dict[str, float]:
    """JSON has no numbers as keys."""
    return {str(count): value for count, value in values.items()}


def _cpu(seconds: float, burst: Burst) -> float:
    return seconds / burst.trades * 1000


def _bursts(context: Context, worker_count: int) -> list[Burst]:
    context.say(f"{worker_count} of 2 workers, about half a minute")
    with standing(context, f"i{worker_count}") as stand:
        for slot in range(worker_count):
            stand.start_worker(slot)
        stand.await_shares()
        stand.burst(context.scaled(WARM_UP_TRADES, at_least=20))
        bursts = [stand.burst(context.scaled(TRADES, at_least=40)) for _ in range(BURSTS)]
        stand.check()
    return bursts
