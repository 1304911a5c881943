"""What one worker brings through when there is always more to do: the rate that the other loads are shares of."""

from __future__ import annotations

from services.engine.log import TopicPartition
from tests.bench.finding import Context
from tests.bench.measures.stand import Stand, standing

TRADES = 25_000
WARM_UP_TRADES = 5_000
"""Before, through another worker: until then the broker compiles what matters."""
_FIRST_OUTPUT = "trades.captured"

_known: dict[float, float] = {}
"""By scale. Every measure has a broker of its own, all of them alike."""


def capacity(context: Context) -> float:
    """Trades a second of one worker, five services, on a backlog that is there when it starts.

    From the first record that any service writes until the last message is in the log. Measured once in a run; asked
    again, it answers the same.
    """
    if context.scale not in _known:
        context.say("capacity: one worker on a backlog, about half a minute")
        with standing(context, "capacity") as stand:
            _known[context.scale] = _measure(stand, context)
        context.say(f"capacity: {_known[context.scale]:,.0f} trades/s")
    return _known[context.scale]


def _measure(stand: Stand, context: Context) -> float:
    stand.start_worker()
    stand.burst(context.scaled(WARM_UP_TRADES, at_least=20))
    stand.stop_workers()
    count = context.scaled(TRADES, at_least=100)
    places = [TopicPartition(_FIRST_OUTPUT, number) for number in range(stand.log.partitions(_FIRST_OUTPUT))]
    ends = stand.log.end_offsets(places, committed_only=True)
    stand.send(stand.take(count))
    stand.start_worker()
    stand.await_instructed()
    stand.check()
    began_ms = _first_ms(stand, ends)
    return count / max((stand.tail.last_ms - began_ms) / 1000, 1e-3)


def _first_ms(stand: Stand, offsets: dict[TopicPartition, int]) -> int:
    """When the first record behind these offsets entered the log."""
    reader = stand.log.reader(offsets)
    first: dict[int, int] = {}
    try:
        while not reader.at_end():
            for record in reader.poll(10_000, 0.2):
                first.setdefault(record.partition, record.timestamp_ms)
    finally:
        reader.close()
    return min(first.values())
