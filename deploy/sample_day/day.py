"""The day as a whole: flows from a seed, put in the order in which their messages are sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deploy.sample_day import catalogue
from deploy.sample_day.dealer import Dealer
from deploy.sample_day.flow import Flow, Message
from deploy.sample_day.plain import plain
from deploy.sample_day.troubles import TROUBLES
from services.domain.record import Record, replace
from services.domain.reference import ReferenceRecord

SEED = 20260302
TRADES = 320
"""Fills of the sample in which nothing goes wrong."""


class Day(Record, kw_only=True):
    """Everything that is sent on a trading day, in two phases, and what is promised of it."""

    reference: tuple[ReferenceRecord, ...]
    """Loaded first, together with the market data of deploy/reference."""
    messages: tuple[Message, ...]
    """Main phase, in the order of sending."""
    late_reference: tuple[ReferenceRecord, ...]
    """What was missing; loaded when the main phase is done."""
    late_messages: tuple[Message, ...]
    """Late phase, in the order of sending."""
    flows: tuple[Flow, ...]
    """The same messages by order, with their promises."""


def generate(seed: int, trades: int, *, troubles: int = 1) -> Day:
    """A day of at least `trades` fills without trouble, and each trouble as often as in the sample times `troubles`.

    The same arguments give the same day. Raises ValueError for more troubles than the catalogue has match keys for
    (thirty times those of the sample still fit); the number of trades has no limit.
    """
    made = tuple(flows(seed, trades, troubles=troubles))
    return Day(
        reference=catalogue.reference(),
        messages=_in_order(message for flow in made for message in flow.messages),
        late_reference=catalogue.late_reference(),
        late_messages=_in_order(message for flow in made for message in flow.late),
        flows=made,
    )


def flows(seed: int, trades: int, *, troubles: int = 1) -> Iterator[Flow]:
    """The same day order by order, for load tests that do not want to hold all of it; not in the order of sending.

    Flows know nothing of each other, and messages within one flow may be sent in the order of their `at_us`.
    """
    dealer = Dealer(seed)
    # Troubles first: they need match keys that no other trade has.
    for trouble in TROUBLES:
        for number in range(trouble.count * troubles):
            yield replace(trouble.build(dealer, number), trouble=trouble.name)
    fills = 0
    while fills < trades:
        flow = plain(dealer)
        fills += sum(message.is_execution for message in flow.messages)
        yield flow


def _in_order(messages: Iterator[Message]) -> tuple[Message, ...]:
    """By time; what is sent at the same time keeps the order of the flows."""
    found: Sequence[Message] = sorted(messages, key=lambda message: message.at_us)
    return tuple(found)
