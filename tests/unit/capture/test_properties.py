"""Whatever order and however often reports come: each once, and a replay adds nothing."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from services.adapters import fix
from services.domain.code import ExceptionStatus, ExecutionType, Side
from services.domain.event import Execution
from services.domain.record import Record
from services.stage import Publish, Received, Suppress
from tests import samples
from tests.memory_state import MemoryState
from tests.unit.capture.desk import Desk, causes, exceptions, received, trades

IDENTITIES = st.tuples(
    st.sampled_from(["OMS1", "OMS2"]),
    st.sampled_from(["O1", "O2", "O3"]),
    st.integers(1, 6),
    st.sampled_from([Side.BUY, Side.SELL]),
    st.integers(1, 10_000),
)


def _fill(sender: str, order_id: str, number: int, side: Side, quantity: int) -> Execution:
    # An ExecID belongs to one order, as FIX has it.
    return samples.execution(
        sender=sender, order_id=order_id, execution_id=f"{order_id}-{number}", side=side, quantity=Decimal(quantity)
    )


FILLS = st.lists(
    st.builds(lambda fields: _fill(*fields), IDENTITIES),
    min_size=1,
    max_size=12,
    unique_by=lambda fill: (fill.sender, fill.execution_id, fill.side),
)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_shuffle_with_duplicates_gives_each_execution_once(data: st.DataObject) -> None:
    """Retries and replays of senders mix and repeat; each fill is one trade, the rest is counted."""
    fills = data.draw(FILLS)
    repeats = data.draw(st.lists(st.sampled_from(fills), max_size=20))
    stream = data.draw(st.permutations([*fills, *repeats]))
    by_fix = data.draw(st.lists(st.booleans(), min_size=len(stream), max_size=len(stream)))
    desk = Desk()

    outcomes = desk.take(
        *[fix.decode(fix.encode_execution(fill)) if over else fill for fill, over in zip(stream, by_fix, strict=True)]
    )

    captured = trades(outcomes)
    assert len(outcomes) == len(stream)
    assert sorted(trade.trade_id for trade in captured) == sorted({trade.trade_id for trade in captured})
    assert sum(trade.quantity for trade in captured) == sum(fill.quantity for fill in fills)
    assert causes(outcomes) == ["duplicate"] * len(repeats)


SUPERSEDED = Suppress(cause="superseded")

MESSAGES = st.one_of(
    st.builds(lambda fields: _fill(*fields), IDENTITIES),
    st.builds(
        lambda number, reference, kind: samples.execution(
            execution_id=f"O1-{number}",
            execution_type=kind,
            execution_reference_id=f"O1-{reference}",
            price=Decimal(number),
        ),
        st.integers(7, 12),
        st.integers(1, 12),
        st.sampled_from([ExecutionType.TRADE_CORRECT, ExecutionType.TRADE_CANCEL]),
    ),
    st.builds(
        lambda number, quantity: samples.allocation_instruction(
            instruction_id=f"J{number}", quantity=Decimal(quantity)
        ),
        st.integers(1, 3),
        st.sampled_from([999, 1000]),
    ),
    st.builds(
        lambda number, amount: samples.confirmation(confirmation_id=f"C{number}", net_amount=Decimal(amount)),
        st.integers(1, 3),
        st.sampled_from([-1, 1, 2]),
    ),
    st.sampled_from([samples.execution(quantity=Decimal(0)), samples.execution(currency="euro")]),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(MESSAGES, max_size=25))
def test_every_message_ends_as_exactly_one_thing(messages: list[Record]) -> None:
    """One trade, request or confirmation, one open exception, or one suppression; what it releases follows."""
    opened = closed = released = 0
    desk = Desk()
    for message in messages:
        first, *more = desk.take(message)
        opened += len(exceptions([first]))
        released += sum(outcome == SUPERSEDED for outcome in more) + len(trades(more)) + len(exceptions(more))
        assert all(
            outcome == SUPERSEDED
            or (isinstance(outcome, Publish) and outcome.topic in ("exceptions", "trades.captured"))
            for outcome in more
        )
        closed += len(exceptions(more, ExceptionStatus.CLOSED))
    assert closed <= opened + released
    assert released <= opened


@settings(max_examples=60, deadline=None)
@given(st.lists(MESSAGES, max_size=25))
def test_a_replay_of_the_whole_input_only_suppresses(messages: list[Record]) -> None:
    """Refused messages too, and those that waited or still wait."""
    desk = Desk()
    desk.take(*messages)

    replayed = desk.take(*messages)

    assert replayed == [Suppress(cause="duplicate")] * len(messages)


@settings(max_examples=40, deadline=None)
@given(st.lists(MESSAGES, max_size=20), st.integers(0, 20))
def test_how_the_input_is_cut_into_batches_does_not_matter(messages: list[Record], cut: int) -> None:
    """The engine cuts by time and size; the outcomes and the memory must not know."""
    batch: list[Received] = [received(message) for message in messages]
    whole, parts = Desk(), Desk()

    at_once = whole.take_as(batch)
    in_parts = [*parts.take_as(batch[:cut]), *parts.take_as(batch[cut:])]

    assert at_once == in_parts
    assert whole.state.tables == parts.state.tables


def test_the_same_state_gives_the_same_outcomes() -> None:
    """After a crash the batch is processed again on the state before it."""
    messages = [samples.execution(), samples.execution(quantity=Decimal(1)), samples.confirmation()]
    outcomes = []
    for _ in range(2):
        desk = Desk()
        desk.state = MemoryState()
        outcomes.append(desk.take(*messages))

    assert outcomes[0] == outcomes[1]
