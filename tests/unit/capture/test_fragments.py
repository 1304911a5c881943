"""Allocation instructions that come in fragments: held until complete, in any order, and each once."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.domain.code import ExceptionStatus
from services.domain.event import AccountAllocation, AllocatedExecution, AllocationInstruction
from services.domain.reason import Reason
from services.stage import Outcome, Publish, Suppress
from tests import samples
from tests.unit.capture.desk import Desk, causes, exceptions


def _fragment(*accounts: int, total: int | None = 5, **changes: Any) -> AllocationInstruction:
    """Some of five accounts, of which each gets a hundred times its number; together 1,500."""
    shares = tuple(AccountAllocation(account=f"A{one}", quantity=Decimal(100 * one)) for one in accounts)
    fields: dict[str, Any] = {"quantity": Decimal(1500), "total_allocations": total, "last_fragment": 5 in accounts}
    return samples.allocation_instruction(allocations=shares, **(fields | changes))


def _accepted(outcomes: list[Outcome]) -> list[AllocationInstruction]:
    events = [outcome.event for outcome in outcomes if isinstance(outcome, Publish)]
    return [event for event in events if isinstance(event, AllocationInstruction)]


FRAGMENTS = (_fragment(1, 2), _fragment(3), _fragment(4, 5))


@settings(max_examples=100, deadline=None)
@given(st.permutations([*FRAGMENTS, *FRAGMENTS[:2]]))
def test_the_whole_is_the_same_in_any_order_and_comes_once(stream: list[AllocationInstruction]) -> None:
    """The accounts by name, whichever fragment was first; repeated fragments are duplicates, before and after."""
    desk = Desk()
    outcomes = desk.take(*stream)

    (whole,) = _accepted(outcomes)
    assert [share.account for share in whole.allocations] == ["A1", "A2", "A3", "A4", "A5"]
    assert (whole.total_allocations, whole.last_fragment) == (5, None)
    assert causes(outcomes).count("duplicate") == 2
    assert [one.reason for one in exceptions(outcomes)] == [Reason.ALLOCATION_INCOMPLETE]
    assert len(exceptions(outcomes, ExceptionStatus.CLOSED)) == 1
    assert desk.take(*FRAGMENTS) == [Suppress(cause="duplicate")] * 3


def test_what_is_incomplete_stays_visible() -> None:
    """Nothing is allocated of it, and the desk sees that something is missing."""
    outcomes = Desk().take(*FRAGMENTS[:2])

    assert _accepted(outcomes) == []
    (opened,) = exceptions(outcomes)
    assert opened.message == "Allocation J1 of OMS1: 2 of 5 accounts came, expected the other fragments."


WRONG = [
    # the fragment that comes after the first, or instead of it; the reason
    ((_fragment(1, 2), _fragment(3, side="SELL")), Reason.ALLOCATION_CONFLICTS),
    ((_fragment(1, 2), _fragment(3, 4, 5, 6, total=5)), Reason.QUANTITIES_DISAGREE),
    ((_fragment(1, 2, total=None, last_fragment=False),), Reason.QUANTITIES_DISAGREE),
    ((_fragment(1, 2, 3, total=4), _fragment(3, total=4)), Reason.QUANTITIES_DISAGREE),  # an account twice
    ((_fragment(1, 2, total=3), _fragment(3, total=3)), Reason.QUANTITIES_DISAGREE),  # 600 is not 1,500
]


@pytest.mark.parametrize(("stream", "reason"), WRONG)
def test_fragments_that_contradict_each_other(stream: tuple[AllocationInstruction, ...], reason: Reason) -> None:
    """Nothing of an instruction is allocated that nobody understands."""
    outcomes = Desk().take(*stream)

    assert _accepted(outcomes) == []
    assert exceptions(outcomes)[-1].reason == reason


def test_a_whole_that_states_its_count_is_no_fragment() -> None:
    """892 equal to 78: all of it is here."""
    (whole,) = _accepted(Desk().take(_fragment(1, 2, 3, 4, 5)))

    assert len(whole.allocations) == 5


def test_the_fills_that_are_named_have_the_quantity() -> None:
    """FIX asks for sum(32 of 124) = 53."""
    executions = (AllocatedExecution(execution_id="E1", quantity=Decimal(999)),)
    (refused,) = exceptions(Desk().take(samples.allocation_instruction(executions=executions)))

    assert (refused.reason, refused.details["executions_sum"]) == (Reason.QUANTITIES_DISAGREE, "999")
