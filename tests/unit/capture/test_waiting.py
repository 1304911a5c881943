"""Changes that come before what they change: they wait, and in the end stands what would have stood in order."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.capture.state import AwaitedReport, RefusedMessage, WaitingReport
from services.domain.code import ExceptionStatus, ExecutionType
from services.domain.event import CapturedTrade, Execution
from services.domain.reason import Reason
from services.stage import Publish, Suppress
from tests import samples
from tests.unit.capture.desk import Desk, causes, exceptions, trades

CORRECT = ExecutionType.TRADE_CORRECT
CANCEL = ExecutionType.TRADE_CANCEL
START_US = samples.execution().transaction_time_us


def _change(number: int, names: int, kind: ExecutionType = CORRECT, **fields: Any) -> Execution:
    """Report E<number>, sent so many seconds after E1, that changes E<names>."""
    return samples.execution(
        execution_id=f"E{number}",
        execution_type=kind,
        execution_reference_id=f"E{names}",
        transaction_time_us=fields.pop("at_us", START_US + number * 1_000_000),
        price=Decimal(100 + number),
        **fields,
    )


@pytest.mark.parametrize("kind", [CORRECT, CANCEL])
def test_a_change_waits_for_its_original_and_is_applied_by_itself(kind: ExecutionType) -> None:
    """A bust that stays refused would settle a trade that is none."""
    desk = Desk()
    change = _change(2, 1, kind)
    (opened,) = exceptions(desk.take(change))
    assert opened.reason == Reason.EXECUTION_REFERENCE_UNKNOWN
    assert causes(desk.take(change)) == ["duplicate"]

    outcomes = desk.take(samples.execution())

    assert [(trade.execution_id, trade.version) for trade in trades(outcomes)] == [("E1", 1), ("E2", 2)]
    (closed,) = exceptions(outcomes, ExceptionStatus.CLOSED)
    assert closed.exception_id == opened.exception_id
    assert desk.take(change, samples.execution()) == [Suppress(cause="duplicate")] * 2
    assert not desk.state.tables[WaitingReport]
    assert not desk.state.tables[AwaitedReport]


def test_a_chain_in_reverse_is_applied_link_by_link() -> None:
    """Each link waits for the next, and the first report releases all of them."""
    desk = Desk()
    chain = [_change(number, number - 1) for number in range(2, 2_000)]  # deeper than Python would call itself
    assert trades(desk.take(*reversed(chain))) == []

    captured = trades(desk.take(samples.execution()))

    assert [trade.version for trade in captured] == list(range(1, 2_000))
    assert [trade.execution_id for trade in captured] == [f"E{number}" for number in range(1, 2_000)]


def test_a_late_correction_does_not_take_the_place_of_a_later_one() -> None:
    """Both name the first report; the sender's clock says which of them it said last."""
    desk = Desk()
    outcomes = desk.take(samples.execution(), _change(3, 1), _change(2, 1), _change(4, 2))

    assert [trade.execution_id for trade in trades(outcomes)] == ["E1", "E3", "E4"]
    assert causes(outcomes) == ["superseded"]
    assert desk.take(_change(2, 1)) == [Suppress(cause="duplicate")]


def test_a_correction_older_than_the_bust_is_superseded_and_a_younger_one_is_refused() -> None:
    """What was said before the bust is history; what is said after it contradicts it."""
    desk = Desk()
    outcomes = desk.take(samples.execution(), _change(3, 1, CANCEL), _change(2, 1), _change(4, 1))

    assert [trade.execution_id for trade in trades(outcomes)] == ["E1", "E3"]
    assert causes(outcomes) == ["superseded"]
    assert [event.reason for event in exceptions(outcomes)] == [Reason.EXECUTION_ALREADY_CANCELLED]


def test_what_waited_and_cannot_be_applied_says_so() -> None:
    """The wait is over, but the trade is cancelled: one exception takes the place of the other."""
    desk = Desk()
    desk.take(_change(3, 1), _change(2, 1, CANCEL))

    outcomes = desk.take(samples.execution())

    assert [trade.execution_id for trade in trades(outcomes)] == ["E1", "E2"]
    assert [event.reason for event in exceptions(outcomes)] == [Reason.EXECUTION_ALREADY_CANCELLED]
    assert {event.reason for event in exceptions(outcomes, ExceptionStatus.CLOSED)} == {
        Reason.EXECUTION_REFERENCE_UNKNOWN
    }


def test_other_content_under_a_waiting_id_is_a_conflict() -> None:
    """The first one waits; nobody knows which is right."""
    desk = Desk()
    outcomes = desk.take(_change(2, 1), _change(2, 1, quantity=Decimal(5)))
    assert [event.reason for event in exceptions(outcomes)] == [
        Reason.EXECUTION_REFERENCE_UNKNOWN,
        Reason.EXECUTION_CONFLICTS,
    ]

    assert [trade.quantity for trade in trades(desk.take(samples.execution()))] == [Decimal(1000), Decimal(1000)]


def test_an_id_that_a_first_report_took_meanwhile_is_a_conflict() -> None:
    """E2 waits as a correction, and then comes as a fill of its own."""
    desk = Desk()
    desk.take(_change(2, 1), samples.execution(execution_id="E2"))

    outcomes = desk.take(samples.execution())

    assert [trade.execution_id for trade in trades(outcomes)] == ["E1"]
    assert [event.reason for event in exceptions(outcomes)] == [Reason.EXECUTION_CONFLICTS]


def test_a_report_that_names_itself_waits_for_nothing() -> None:
    """It would wait for ever, and release itself."""
    desk = Desk()
    (opened,) = exceptions(desk.take(_change(2, 2)))

    assert opened.reason == Reason.EXECUTION_REFERENCE_UNKNOWN
    assert WaitingReport not in desk.state.tables


def _history(choices: list[tuple[int, bool]], *, is_busted: bool) -> list[Execution]:
    """What a consistent sender says of one trade: each change later than all before, naming any of them."""
    reports = [samples.execution()]
    for choice, names_first in choices:
        names = 1 if names_first else 1 + choice % len(reports)
        reports.append(_change(len(reports) + 1, names))
    if is_busted:
        reports.append(_change(len(reports) + 1, len(reports), CANCEL))
    return reports


@settings(max_examples=1_200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=6),
    st.booleans(),
    st.lists(st.integers(0, 9), max_size=6),
    st.randoms(use_true_random=False),
)
def test_the_end_depends_on_what_was_said_and_not_on_when_it_came(
    choices: list[tuple[int, bool]], is_busted: bool, repeats: list[int], shuffle: Any
) -> None:
    """Any order, any repetition, PossDup or not: the same report stands, once, and nothing is open."""
    reports = _history(choices, is_busted=is_busted)
    stream = [*reports, *(reports[number % len(reports)] for number in repeats)]
    shuffle.shuffle(stream)
    desk = Desk()

    outcomes = [outcome for report in stream for outcome in desk.take(report)]

    captured = trades(outcomes)
    assert _essence(captured[-1]) == _essence(trades(Desk().take(*reports))[-1])
    assert [trade.version for trade in captured] == list(range(1, len(captured) + 1))
    assert len({trade.execution_id for trade in captured}) == len(captured)
    opened, closed = exceptions(outcomes), exceptions(outcomes, ExceptionStatus.CLOSED)
    assert sorted(one.exception_id for one in opened) == sorted(one.exception_id for one in closed)
    assert all(not row.open_reasons for row in desk.state.tables.get(RefusedMessage, {}).values())  # type: ignore[attr-defined]
    suppressed = [outcome for outcome in outcomes if not isinstance(outcome, Publish)]
    superseded = suppressed.count(Suppress(cause="superseded"))
    assert len(captured) + superseded == len(reports)


def _essence(trade: CapturedTrade) -> tuple[object, ...]:
    """What stands of a trade: how many versions it took depends on the order."""
    return trade.trade_id, trade.execution_id, trade.execution_type, trade.quantity, trade.price
