"""(j) Trades a second beside ten thousand and beside a million open items in the state of a worker.

Half of the items are blocks of which fills are still to come, half are allocations without their confirmation. They are
in the changelog when the worker starts, none of them is overdue, and none shares a match key with the trades that are
measured: these are the same in both runs.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from tests.bench.finding import Context, Finding
from tests.bench.measures import filling
from tests.bench.measures.process import memory
from tests.bench.measures.stand import Burst, standing
from tests.bench.targets import OPEN_ITEMS_RATIO, judge

FEW, MANY = 10_000, 1_000_000
WARM_UP_TRADES = 3_000
TRADES = 8_000
BURSTS = 5
"""The first run beside the snapshots that a worker writes after such a start; the median leaves them out."""


@dataclass(frozen=True)
class Course:
    """One worker."""

    items: int
    rows: int
    ready_seconds: float
    resident_mib: float
    bursts: Sequence[Burst]

    @property
    def trades_per_second(self) -> float:
        """Median of the bursts."""
        return median(burst.trades_per_second for burst in self.bursts)

    @property
    def cpu_seconds(self) -> float:
        """Of the worker for 1,000 trades; median of the bursts."""
        return median(burst.workers.process / burst.trades * 1000 for burst in self.bursts)


def measure(context: Context) -> Finding:
    """Few, then many."""
    few, many = (_course(context, f"j{number}", count) for number, count in enumerate((FEW, MANY)))
    ratio = many.trades_per_second / few.trades_per_second
    rows = [
        [
            f"{course.items:,}",
            f"{course.rows:,}",
            f"{course.ready_seconds:.1f}",
            f"{course.resident_mib:,.0f}",
            f"{course.trades_per_second:,.0f}",
            f"{course.cpu_seconds:.3f}",
        ]
        for course in (few, many)
    ]
    rows.append(["many against few", "", "", "", f"{ratio:.2f}", f"{many.cpu_seconds / few.cpu_seconds:.2f}"])
    return Finding(
        measure="j",
        title=f"Open items beside the same {BURSTS} bursts of {few.bursts[0].trades:,} trades, medians",
        columns=["open items", "rows", "s to ready", "MiB", "trades/s", "CPU s per 1,000 trades, worker"],
        rows=rows,
        figures={
            "ratio": ratio,
            "runs": [
                {
                    "open_items": course.items,
                    "rows": course.rows,
                    "ready_seconds": course.ready_seconds,
                    "resident_mib": course.resident_mib,
                    "trades_per_second": course.trades_per_second,
                    "worker_cpu_seconds_per_1000_trades": course.cpu_seconds,
                    "bursts": [burst.trades_per_second for burst in course.bursts],
                }
                for course in (few, many)
            ],
        },
        verdicts=judge("j", {OPEN_ITEMS_RATIO: ratio}),
        notes=[
            "Half of the items are open blocks, half unconfirmed allocations; each is three rows.",
            "Snapshots, which a worker writes after such a start, fall into the first bursts; medians leave them out.",
            "Seconds to ready are from the start of the process until all state is restored from the changelog.",
        ],
    )


def _course(context: Context, name: str, whole: int) -> Course:
    half = context.scaled(whole // 2, at_least=50)
    with standing(context, name) as stand:
        patterns = [filling.open_blocks(stand.codec), filling.unconfirmed_allocations(stand.codec)]
        rows = sum(filling.fill(stand, pattern, half) for pattern in patterns)
        began = time.monotonic()
        worker = stand.start_worker()
        stand.await_shares()
        ready_seconds = time.monotonic() - began
        if stand.restored() != rows:
            raise RuntimeError(f"the worker restored {stand.restored()} rows of {rows}; see {worker.log_file}")
        context.say(f"{2 * half:,} open items: ready after {ready_seconds:.0f} s; now {BURSTS} bursts, under a minute")
        stand.burst(context.scaled(WARM_UP_TRADES, at_least=20))
        bursts = [stand.burst(context.scaled(TRADES, at_least=100)) for _ in range(BURSTS)]
        stand.check()
        return Course(2 * half, rows, ready_seconds, memory(worker.id).now, bursts)
