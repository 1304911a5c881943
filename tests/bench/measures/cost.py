"""(f) What a trade costs in processor time: of the worker by kind of thread, by service and by what, and of the broker.

A worker process brings a burst of trades through, and the kernel tells what it and the broker have used. What of it is
codec, rules, rendering, state and engine comes from `tests.bench.profile`, which plays the same trades through the
batches of all five services in this process, records handed over in memory as in a worker. The rest of the worker is
the Kafka client: its own threads, and the Python threads that call it.
"""

from __future__ import annotations

from collections.abc import Mapping

from services.pipeline import SERVICE_NAMES, handed_over, make_codec
from tests.bench import data, profile
from tests.bench.finding import Context, Finding
from tests.bench.measures.stand import Burst, standing

TRADES = 30_000
WARM_UP_TRADES = 5_000
PROFILED_TRADES = 2_000

Parts = Mapping[str, Mapping[str, float]]
"""CPU seconds per 1,000 trades, by service and by what."""


def measure(context: Context) -> Finding:
    """The process first, then its parts."""
    context.say("a worker under load, half a minute")
    with standing(context, "f") as stand:
        stand.start_worker()
        stand.burst(context.scaled(WARM_UP_TRADES, at_least=20))
        burst = stand.burst(context.scaled(TRADES, at_least=100))
        stand.check()
    context.say("its parts in this process, 20 s")
    return finding_of(burst, _parts(context))


def _parts(context: Context) -> Parts:
    codec = make_codec()
    topics = handed_over(SERVICE_NAMES)
    given = list(data.trades(codec, context.scaled(PROFILED_TRADES, at_least=100)))
    reference = profile.reference_of(codec, data.reference_records(codec))
    found, _ = profile.profiled(lambda: codec.handing_over(topics), reference, given)
    # µs of one trade are ms of a thousand.
    return {service: {what: us / 1000 for what, us in parts.items()} for service, parts in found.items()}


def finding_of(burst: Burst, parts: Parts) -> Finding:
    """One table of all: a row for each service, then for the worker's threads, the worker and the broker."""
    per_1000 = 1000 / burst.trades
    worker, broker = burst.workers, burst.broker.process * per_1000
    services = sum(sum(spent.values()) for spent in parts.values())
    sums = {what: sum(spent[what] for spent in parts.values()) for what in profile.WHATS}
    wholes = {
        "worker: Python main thread": worker.main_thread * per_1000,
        "worker: other Python threads": worker.other_threads * per_1000,
        "worker: threads of the client": worker.client_threads * per_1000,
        "worker process": worker.process * per_1000,
        "of it client, the rest": worker.process * per_1000 - services,
        "broker": broker,
    }
    blanks = [""] * len(profile.WHATS)
    return Finding(
        measure="f",
        title=f"CPU seconds per 1,000 trades ({burst.trades:,} trades at {burst.trades_per_second:,.0f}/s)",
        columns=["of", *profile.WHATS, "all"],
        rows=[
            *(_row(service, [*spent.values(), sum(spent.values())]) for service, spent in parts.items()),
            _row("all services", [*sums.values(), services]),
            *([name, *blanks, f"{value:.3f}"] for name, value in wholes.items()),
        ],
        figures={
            "trades": burst.trades,
            "trades_per_second": burst.trades_per_second,
            "cpu_seconds_per_1000_trades": {"services": parts, "all services": services, **wholes},
        },
        notes=[
            "Services are measured in this process, the fastest of several repetitions; the worker under load, where "
            "caches are colder: the difference counts as the client's.",
            "The timer, metrics and probes of the worker are part of the rest.",
        ],
    )


def _row(name: str, values: list[float]) -> list[str]:
    return [name, *(f"{value:.3f}" for value in values)]
