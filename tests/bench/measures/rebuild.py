"""(h) Rebuild of state, rows a second: from the changelog, and from a snapshot and what was written after it.

`tests.bench.restore` restores one partition of each service that keeps rows of many trades, on the path that a worker
takes at its start: read, decoded and put into the tables by one thread. Beside rows that were written once, as after
compaction, stand rows that were written three times, as before it.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path

from services.engine.tuning import tune_garbage_collector
from services.pipeline import make_codec
from tests.bench import restore
from tests.bench.finding import Context, Finding
from tests.bench.measures import filling
from tests.bench.targets import ROWS_PER_SECOND, judge

EXECUTIONS = 1_000_000
ITEMS = 100_000
"""Of the kinds that are three rows each."""
REWRITTEN = 300_000


def measure(context: Context) -> Finding:
    """Each service, rows written once; then capture's written three times."""
    tune_garbage_collector()
    codec = make_codec()
    executions = filling.seen_executions(codec)
    wanted = [
        (executions, EXECUTIONS, 1),
        (filling.open_blocks(codec), ITEMS, 1),
        (filling.unconfirmed_allocations(codec), ITEMS, 1),
        (executions, REWRITTEN, 3),
    ]
    found = []
    for pattern, whole, times_written in wanted:
        count = context.scaled(whole, at_least=100)
        context.say(f"{count:,} {pattern.what}, written {times_written} times, half a minute")
        prefix = f"bench-h-{uuid.uuid4().hex[:6]}-"
        with tempfile.TemporaryDirectory(prefix="posttrade-bench-") as folder:
            found.append(
                restore.measure(context.servers, prefix, pattern, count, times_written, Path(folder) / "snapshots")
            )
    return finding_of(found)


def rows_per_second(found: Sequence[restore.Times]) -> float:
    """From the changelog, all rows that were written once: what a worker without snapshots rebuilds."""
    once = [one for one in found if one.times_written == 1]
    return sum(one.rows for one in once) / sum(one.cold for one in once)


def finding_of(found: Sequence[restore.Times]) -> Finding:
    """A row for each service, and the rate over all of them."""
    judged = rows_per_second(found)
    snapshot = sum(one.rows for one in found) / sum(one.with_snapshot for one in found)
    return Finding(
        measure="h",
        title=f"Rebuild of state: {judged:,.0f} rows/s from the changelog, {snapshot:,.0f} from snapshots",
        columns=restore.COLUMNS,
        rows=[restore.row_of(one) for one in found],
        figures={
            "rows_per_second": judged,
            "rows_per_second_with_snapshot": snapshot,
            "partitions": [vars(one) for one in found],
        },
        verdicts=judge("h", {ROWS_PER_SECOND: judged}),
        notes=[
            "Judged is the changelog, rows written once: all rows of the three services by all seconds.",
            "Rows are rows of state: of those written three times the changelog has three times as many to read.",
            f"With a snapshot the last {restore.TAIL:,} records come from the changelog.",
        ],
    )
