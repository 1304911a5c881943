"""Cancels of either side: the same in any order in which they may come, however often, and nothing is left behind."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.confirmation import taking_back
from services.confirmation.desk import Desk
from services.confirmation.process import UNCONFIRMED_AFTER_US, ConfirmationStage
from services.confirmation.state import (
    CancelRequest,
    Deadline,
    MatchedAllocation,
    MatchedConfirmation,
    MatchGroup,
    Mismatch,
    OpenAllocation,
    OpenConfirmation,
    ShownStatus,
    Withdrawn,
)
from services.domain.code import ConfirmationStatus, ConfirmationTransactionType, Function
from services.domain.event import AllocatedTrade, MatchStatusReport, ReceivedConfirmation
from services.domain.reason import Reason
from services.domain.record import Record, replace
from services.stage import Outcome, Publish, Suppress
from services.verification.standing import FOLLOWS
from tests import samples
from tests.memory_state import MemoryState
from tests.unit.confirmation import desk

CANCEL, REPLACE = ConfirmationTransactionType.CANCEL, ConfirmationTransactionType.REPLACE
OURS = samples.allocated_trade(allocation_id="A1")
TAKEN_BACK = replace(OURS, function=Function.CANCEL)
THEIRS = samples.received_confirmation(confirmation_id="C1")
WRONG = replace(THEIRS, net_amount=Decimal(1))


def _naming(name: str, named: str, kind: ConfirmationTransactionType, says: ReceivedConfirmation) -> Record:
    return replace(says, confirmation_id=name, reference_id=named, transaction_type=kind)


def _statuses(outcomes: list[Outcome]) -> dict[str, str]:
    """The latest of each side."""
    reports = [one.event for one in outcomes if isinstance(one, Publish) and isinstance(one.event, MatchStatusReport)]
    return {report.subject_id: report.status.value for report in reports}


def _refused(state: MemoryState, now_us: int) -> list[Outcome]:
    """Our side refuses what the counterparty asks."""
    one = Desk(state, now_us=now_us, unconfirmed_after_us=0)
    taking_back.refuse(one, "A1")
    return one.outcomes


def _left(state: MemoryState) -> dict[str, list[str]]:
    kinds = (MatchGroup, OpenAllocation, OpenConfirmation, MatchedAllocation, MatchedConfirmation, Mismatch, Withdrawn,
             CancelRequest, Deadline)  # fmt: skip
    return {kind.__name__: sorted(state.tables.get(kind, {})) for kind in kinds}


STORIES: dict[str, tuple[Record, ...]] = {
    "cancelled": (OURS, WRONG, _naming("K1", "C1", CANCEL, WRONG), replace(THEIRS, confirmation_id="C2")),
    "replaced": (OURS, WRONG, _naming("C2", "C1", REPLACE, THEIRS)),
    "replaced twice": (OURS, WRONG, _naming("C2", "C1", REPLACE, WRONG), _naming("C3", "C2", REPLACE, THEIRS)),
    "replaced and cancelled": (OURS, WRONG, _naming("C2", "C1", REPLACE, WRONG), _naming("K1", "C2", CANCEL, WRONG)),
    "cancelled twice": (OURS, WRONG, _naming("K1", "C1", CANCEL, WRONG), _naming("K2", "C1", CANCEL, WRONG)),
}


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_every_order_of_a_story_comes_to_the_same(story: tuple[Record, ...]) -> None:
    """Confirmations and what takes them back are keyed by their own ids, so that any may overtake any."""
    seen = set()
    for events in permutations(story):
        state = MemoryState()
        outcomes = desk.run(state, *events)
        trades = sorted(map(repr, desk.confirmed(outcomes)))
        by = {key: row.by for key, row in state.tables[Withdrawn].items()} if len(story) < 4 else {}  # type: ignore[attr-defined]
        seen.add(repr((trades, sorted(desk.open_at_the_end(outcomes).items()), _left(state), by)))
        assert all(isinstance(row, ShownStatus) for row in state.tables.get(ShownStatus, {}).values())
    assert len(seen) == 1


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_each_message_once_more_is_a_duplicate(story: tuple[Record, ...]) -> None:
    """The whole story again: nothing is said."""
    state = MemoryState()
    desk.run(state, *story)
    again = desk.run(state, *story)
    assert again == [Suppress(cause="duplicate")] * len(story)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_after_the_match_both_cancels_end_it_in_any_order_and_number(data: st.DataObject) -> None:
    """Ours and theirs, repeated and reordered: CANA, nothing open, and no illegal step on the way."""
    state = MemoryState()
    told = desk.run(state, OURS, THEIRS)
    theirs = [_naming(f"K{number}", "C1", CANCEL, THEIRS) for number in range(data.draw(st.integers(1, 3)))]
    acts: list[Record | None] = [*theirs, None, *data.draw(st.lists(st.sampled_from([*theirs, None]), max_size=3))]
    for act in data.draw(st.permutations(acts)):
        told += desk.run(state, TAKEN_BACK if act is None else act)
    assert _statuses(told) == {"A1": "CANA", f"{samples.COUNTERPARTY_BIC}/C1": "CAND"}
    assert desk.open_at_the_end(told) == {}
    left = _left(state)
    assert left.pop("Withdrawn") == sorted(["A1", f"{samples.COUNTERPARTY_BIC}\x1fC1"])
    assert not any(left.values())


ACTS = ("allocate", "confirm", "wrong", "cancel", "cancel wrong", "replace", "reject", "take back", "refuse", "wait")


@settings(max_examples=400, deadline=None)
@given(acts=st.lists(st.sampled_from(ACTS), max_size=14))
def test_whatever_comes_no_status_steps_where_it_may_not(acts: list[str]) -> None:
    """Each report continues the one before by steps of the table; exceptions close only if open; rows agree."""
    state, told, now_us = MemoryState(), list[Outcome](), desk.NOW_US
    messages: dict[str, Record] = {
        "allocate": OURS,
        "confirm": THEIRS,
        "wrong": replace(WRONG, confirmation_id="W1"),
        "cancel": _naming("K1", "C1", CANCEL, THEIRS),
        "cancel wrong": _naming("K2", "W1", CANCEL, WRONG),
        "replace": _naming("C2", "C1", REPLACE, THEIRS),
        "reject": replace(
            THEIRS, confirmation_id="K3", reference_id="C1", confirmation_status=ConfirmationStatus.REQUEST_REJECTED
        ),
    }
    for act in acts:
        if act == "take back":
            told += desk.run(state, TAKEN_BACK)
        elif act == "refuse":
            told += _refused(state, now_us)
        elif act == "wait":
            now_us += UNCONFIRMED_AFTER_US
            told += ConfirmationStage().on_time(state, now_us)
        else:
            told += desk.run(state, messages[act])
    desk.open_at_the_end(told)
    _check_histories(told)
    groups = [row for row in state.tables.get(MatchGroup, {}).values() if isinstance(row, MatchGroup)]
    for group in groups:
        assert {*group.allocations} <= {*state.tables.get(OpenAllocation, {})}
        assert {*group.confirmations} <= {*state.tables.get(OpenConfirmation, {})}
    both = {*state.tables.get(Withdrawn, {})} & {
        *state.tables.get(OpenConfirmation, {}), *state.tables.get(MatchedConfirmation, {}),
        *state.tables.get(OpenAllocation, {}), *state.tables.get(MatchedAllocation, {}),
    }  # fmt: skip
    assert not both


def _check_histories(told: list[Outcome]) -> None:
    histories: dict[str, list[str]] = {}
    for outcome in told:
        if isinstance(outcome, Publish) and isinstance(outcome.event, MatchStatusReport):
            report = outcome.event
            steps = [step.status.value for step in report.history]
            before = histories.get(report.subject_id, [])
            assert steps[: len(before)] == before
            assert steps[-1] == report.status.value
            assert all(following in FOLLOWS[one] for one, following in pairwise(steps))
            histories[report.subject_id] = steps


def test_settlement_hears_at_once_and_the_counterparty_agrees_later() -> None:
    """What was instructed must not settle: it cannot wait for an answer, which only the status tells."""
    state = MemoryState()
    desk.run(state, OURS, THEIRS)

    taken = desk.run(state, TAKEN_BACK)

    assert [trade.function for trade in desk.confirmed(taken)] == [Function.CANCEL]
    assert _statuses(taken) == {"A1": "CREQ"}
    assert _refused(state, 1) == [Suppress(cause="already_cancelled")]
    agreed = desk.run(state, _naming("K1", "C1", CANCEL, THEIRS))
    assert (desk.confirmed(agreed), _statuses(agreed)["A1"]) == ([], "CANA")


def test_the_match_of_the_next_version_is_an_answer() -> None:
    """The counterparty's confirmation is of the next version then: nothing about the first is left to agree on."""
    state = MemoryState()
    second = replace(OURS, allocation_id="A2", original_allocation_id="A1", version=2)
    told = desk.run(state, OURS, THEIRS, TAKEN_BACK, second)
    assert _statuses(told) == {"A1": "CANA"}
    told += desk.run(state, _naming("K1", "C1", CANCEL, THEIRS))
    assert _statuses(told) == {"A1": "CANA", "A2": "CREQ"}


def test_an_allocation_that_is_taken_back_frees_what_was_shown_with_it() -> None:
    """The confirmation that differed from it may belong to the next."""
    state = MemoryState()
    told = desk.run(state, OURS, replace(THEIRS, net_amount=Decimal(99_000)))
    told += ConfirmationStage().on_time(state, samples.RECEIVED_AT_US + UNCONFIRMED_AFTER_US)
    told += desk.run(state, TAKEN_BACK)
    assert list(desk.open_at_the_end(told)) == [f"{Reason.UNMATCHED_CONFIRMATION} {samples.COUNTERPARTY_BIC}/C1"]
    told += desk.run(state, replace(OURS, allocation_id="A2", net_amount=Decimal(99_000)))
    assert desk.open_at_the_end(told) == {}
    assert [trade.allocation_id for trade in desk.confirmed(told)] == ["A2"]


def test_a_request_names_the_order() -> None:
    """The desk looks for the order, not for the allocation."""
    state = MemoryState()
    desk.run(state, OURS, THEIRS)
    (raised,) = desk.exceptions(desk.run(state, _naming("K1", "C1", CANCEL, THEIRS)))
    assert (raised.reason, raised.order_id) == (Reason.CONFIRMATION_CANCEL_REQUESTED, OURS.order_id)


def test_a_row_that_was_matched_by_an_older_version_can_still_be_cancelled() -> None:
    """It knows no order; that is all that is missing."""
    state = MemoryState()
    desk.run(state, OURS, THEIRS)
    row = state.tables[MatchedAllocation]["A1"]
    assert isinstance(row, MatchedAllocation)
    state.put("A1", replace(row, order_id=None))
    (raised,) = desk.exceptions(desk.run(state, _naming("K1", "C1", CANCEL, THEIRS)))
    assert raised.order_id is None


def test_one_cancel_leaves_the_neighbours_alone() -> None:
    """Two trades of one group: only the confirmation that is named goes."""
    state = MemoryState()
    second = replace(OURS, allocation_id="A2", quantity=Decimal(5))
    told = desk.run(
        state, OURS, second, replace(THEIRS, confirmation_id="C2", quantity=Decimal(5)), WRONG,
        _naming("K1", "C1", CANCEL, WRONG),
    )  # fmt: skip
    assert [trade.allocation_id for trade in desk.confirmed(told)] == ["A2"]
    assert isinstance(state.tables[OpenAllocation]["A1"], OpenAllocation)
    assert isinstance(OURS, AllocatedTrade)
