"""(e) Latency: from the execution to the message for the depository, at a quarter, half and four fifths of capacity.

It ends when the committed record of settlement.messages is in the hands of a consumer. It begins when the schedule of
an open loop asks for the trade, so that a time in which the system stands still is counted for every trade that should
have come in it; beside it stands the latency from the broker's acknowledgement of the execution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.engine.tuning import tune_garbage_collector
from tests.bench.finding import Context, Finding
from tests.bench.measures.capacity import capacity
from tests.bench.measures.open_loop import Course, OpenLoop, orders_by_instruction
from tests.bench.measures.schedule import percentile
from tests.bench.measures.stand import Stand, standing
from tests.bench.targets import P99_MS, judge

SHARES = (0.25, 0.5, 0.8)
JUDGED_SHARE = 0.5
PERCENTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
TRADES = 20_000
"""Twenty lie beyond p99.9."""
SECONDS_MIN, SECONDS_MAX = 30.0, 70.0
WARM_UP_TRADES = 5_000
SETTLE_SHARE = 0.1
"""Of each level's trades the first are sent and not counted: the rate has just begun."""


@dataclass(frozen=True)
class Level:
    """Latencies at one rate, milliseconds, in ascending order."""

    share: float
    rate: float
    scheduled: list[float]
    acknowledged: list[float]
    late_ms: float
    """How far the sender was behind its schedule at worst."""


def measure(context: Context) -> Finding:
    """One worker, the three levels one after the other."""
    whole = capacity(context)
    with standing(context, "e") as stand:
        stand.start_worker()
        stand.burst(context.scaled(WARM_UP_TRADES, at_least=20))
        loops = [(share, share * whole, _play(stand, share, share * whole)) for share in SHARES]
        stand.check()
        orders = orders_by_instruction(stand)
    levels = [level_of(share, rate, course, orders) for share, rate, course in loops]
    return _finding(levels, whole)


def trades_of(context: Context, rate: float) -> int:
    """How many trades a level takes: 20,000, unless that takes less than half a minute or more than 70 seconds."""
    seconds = min(SECONDS_MAX, max(SECONDS_MIN, TRADES / rate))
    return context.scaled(round(rate * seconds), at_least=50)


def _play(stand: Stand, share: float, rate: float) -> Course:
    count = trades_of(stand.context, rate)
    stand.context.say(f"{share:.0%} of capacity: {count:,} trades at {rate:,.0f}/s, {count / rate:.0f} s")
    trades = stand.take(count)
    tune_garbage_collector()  # a look at all these trades would hold up sender and reader, and count as latency
    loop = OpenLoop(stand, notes_times=True)
    loop.run(trades, rate, lambda: False)
    loop.drain()
    return loop.course


def level_of(share: float, rate: float, course: Course, orders: dict[bytes, bytes]) -> Level:
    """What a course amounts to. Raises KeyError when a message belongs to none of its trades."""
    seen_at = {orders[instruction]: time for instruction, time in course.seen_at.items()}
    assert seen_at.keys() == course.due_at.keys(), "what came out is not what was sent"
    counted = list(course.due_at)[int(len(course.due_at) * SETTLE_SHARE) :]
    return Level(
        share=share,
        rate=rate,
        scheduled=sorted((seen_at[order] - course.due_at[order]) * 1000 for order in counted),
        # The acknowledgement is told between two rounds of the loop, and a message may be read in the same round.
        acknowledged=sorted(max(0.0, seen_at[order] - course.acknowledged_at[order]) * 1000 for order in counted),
        late_ms=course.late_seconds_max * 1000,
    )


def _finding(levels: Sequence[Level], whole: float) -> Finding:
    rows, figures = [], []
    for level in levels:
        scheduled = {name: percentile(level.scheduled, share) for name, share in PERCENTILES.items()}
        acknowledged = {name: percentile(level.acknowledged, share) for name, share in PERCENTILES.items()}
        rows.append(
            [
                f"{level.share:.0%}",
                f"{level.rate:,.0f}",
                f"{len(level.scheduled):,}",
                *(f"{value:,.0f}" for value in (*scheduled.values(), *acknowledged.values())),
                f"{level.late_ms:,.0f}",
            ]
        )
        figures.append(
            {
                "share": level.share,
                "trades_per_second": level.rate,
                "trades": len(level.scheduled),
                "from_schedule_ms": scheduled,
                "from_acknowledgement_ms": acknowledged,
                "sender_late_ms_max": level.late_ms,
            }
        )
    judged = next(level for level in levels if level.share == JUDGED_SHARE)
    return Finding(
        measure="e",
        title=f"Latency, ms, open loop, one worker of {whole:,.0f} trades/s",
        columns=[
            "of capacity",
            "trades/s",
            "trades",
            *(f"{name} from schedule" for name in PERCENTILES),
            *(f"{name} from acknowledged" for name in PERCENTILES),
            "sender late by",
        ],
        rows=rows,
        figures={"capacity_trades_per_second": whole, "levels": figures},
        verdicts=judge("e", {P99_MS: percentile(judged.scheduled, PERCENTILES["p99"])}),
        notes=[
            "Counted from the time at which the schedule asks for a trade; that is what is judged.",
            "Sender and reader are one loop of this process; they share the machine's cores with worker and broker. "
            "Capacity was measured without a sender.",
        ],
    )
