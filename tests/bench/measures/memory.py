"""(g) Memory of a worker process: at rest, under load, and what a million open items add.

Open items are put into the changelog before a worker starts, in two numbers; the difference of what two workers hold at
rest, by the difference of the numbers, is what an item takes. All that a worker holds anyway falls out of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.adapters.topic_codec import FormatCodec
from tests.bench.finding import Context, Finding
from tests.bench.measures import filling
from tests.bench.measures.process import Memory, memory
from tests.bench.measures.stand import standing

LOAD_TRADES = 30_000
FEW, MANY = 20_000, 220_000
PATTERNS: Sequence[Callable[[FormatCodec], filling.Pattern]] = (
    filling.open_blocks, filling.unconfirmed_allocations, filling.seen_executions,
)  # fmt: skip


@dataclass(frozen=True)
class Items:
    """Memory of two workers at rest, by how many items of one kind they hold."""

    what: str
    rows_of_one: int
    few: int
    few_mib: float
    many: int
    many_mib: float

    @property
    def mib_per_million(self) -> float:
        """What a million of them add."""
        return (self.many_mib - self.few_mib) / (self.many - self.few) * 1e6


@dataclass(frozen=True)
class Load:
    """A worker that has nothing to remember, then brings trades through."""

    rest: Memory
    trades: int
    after: Memory
    rows_after: int


def measure(context: Context) -> Finding:
    """One worker under load, then two for each kind of item."""
    context.say("memory at rest and under load, half a minute")
    load = _load(context)
    items = []
    for number, make in enumerate(PATTERNS):
        found = []
        for is_many, whole in enumerate((FEW, MANY)):
            count = context.scaled(whole, at_least=200 * (1 + is_many))
            found.append((count, *_at_rest(context, f"g{number}{is_many}", make, count)))
        (few, few_mib, pattern), (many, many_mib, _) = found
        items.append(Items(pattern.what, len(pattern.rows), few, few_mib, many, many_mib))
        context.say(f"a million {items[-1].what} add {items[-1].mib_per_million:,.0f} MiB")
    return finding_of(load, items)


def _load(context: Context) -> Load:
    with standing(context, "g") as stand:
        worker = stand.start_worker()
        stand.await_shares()
        rest = memory(worker.id)
        count = context.scaled(LOAD_TRADES, at_least=100)
        stand.burst(count)
        after = memory(worker.id)
        rows = stand.settled_rows()
        stand.check()
    return Load(rest, count, after, rows)


def _at_rest(
    context: Context, name: str, make: Callable[[FormatCodec], filling.Pattern], count: int
) -> tuple[float, filling.Pattern]:
    """MiB of a worker that holds so many items and has nothing to do."""
    with standing(context, name) as stand:
        pattern = make(stand.codec)
        written = filling.fill(stand, pattern, count)
        worker = stand.start_worker()
        stand.await_shares()
        if stand.restored() != written:
            raise RuntimeError(f"the worker restored {stand.restored()} rows of {written}; see {worker.log_file}")
        return memory(worker.id).now, pattern


def finding_of(load: Load, items: Sequence[Items]) -> Finding:
    """MiB throughout."""
    rows = [
        ["at rest, no state", f"{load.rest.now:,.0f}", ""],
        [f"under load, highest, {load.trades:,} trades", f"{load.after.highest:,.0f}", ""],
        [f"after it, {load.rows_after:,} rows of state", f"{load.after.now:,.0f}", ""],
    ]
    for one in items:
        rows += [
            [f"at rest, {one.few:,} {one.what}", f"{one.few_mib:,.0f}", ""],
            [f"at rest, {one.many:,} {one.what}", f"{one.many_mib:,.0f}", f"{one.mib_per_million:,.0f}"],
        ]
    return Finding(
        measure="g",
        title="Resident memory of one worker, five services, MiB",
        columns=["worker", "MiB", "MiB per million"],
        rows=rows,
        figures={
            "at_rest_mib": load.rest.now,
            "under_load_highest_mib": load.after.highest,
            "after_load_mib": load.after.now,
            "state_rows_after_load": load.rows_after,
            "mib_per_million": {one.what: one.mib_per_million for one in items},
            "rows_per_item": {one.what: one.rows_of_one for one in items},
            "at_rest_mib_by_items": {
                one.what: {str(one.few): one.few_mib, str(one.many): one.many_mib} for one in items
            },
        },
        notes=[
            "An open block is three rows of allocation, an unconfirmed allocation three of confirmation, a seen "
            "execution one of capture; a trade on its way leaves rows in several services.",
            "Memory after restoring holds what the allocator keeps of what the client had fetched.",
        ],
    )
