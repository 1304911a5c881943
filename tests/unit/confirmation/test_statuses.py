"""The table of statuses: no order of happenings leads where it may not, and what both sides want comes of any order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from services.confirmation.statuses import TRANSITIONS, Asking, Happening, Standing, after, path
from services.domain.code import MatchStatus
from services.verification.standing import FOLLOWS

AGREED = Standing(MatchStatus.MAGR)
ENDS = {MatchStatus.CAND, MatchStatus.CANA}
CANCELS = (Happening.CANCELLED_BY_US, Happening.CANCELLED_BY_THEM)
OF_A_MATCH = [what for what in Happening if what is not Happening.FREED]
HAPPENINGS = st.lists(st.sampled_from(OF_A_MATCH), max_size=25)
"""Only a confirmation is freed."""


def test_the_auditor_has_the_same_steps() -> None:
    """Written twice: each step of the table is one that the auditor knows, and the other way round."""
    steps = {(one.status, then.status) for (one, _), then in TRANSITIONS.items() if one.status is not then.status}
    known = {(MatchStatus(one), MatchStatus(then)) for one, following in FOLLOWS.items() for then in following}
    assert steps == {(one, then) for one, then in known if one is not then}
    assert {status for step in steps for status in step} == set(MatchStatus)


@settings(max_examples=1_000, deadline=None)
@given(happenings=HAPPENINGS)
def test_no_order_of_happenings_takes_an_illegal_step(happenings: list[Happening]) -> None:
    """Whatever comes: cancelled stays cancelled, and an agreed match ends by both sides or not at all."""
    standing, been = Standing(MatchStatus.NMAT), {MatchStatus.NMAT}
    for what in happenings:
        following = after(standing, what)
        assert following == standing or following.status.value in FOLLOWS[standing.status.value]
        assert (following.asked_by is not None) == (following.status is MatchStatus.CREQ)
        if standing.status in ENDS:
            assert following == standing
        standing = following
        been.add(standing.status)
    if MatchStatus.CAND in been:
        assert MatchStatus.MAGR not in been
    if MatchStatus.CANA in been:
        assert {MatchStatus.MACH, MatchStatus.MAGR, MatchStatus.CREQ} <= been
        assert {*CANCELS} <= {*happenings}


@settings(max_examples=500, deadline=None)
@given(data=st.data())
def test_both_cancels_in_any_order_and_number_end_the_match(data: st.DataObject) -> None:
    """Who asks first decides who is asked, and nothing else."""
    again = data.draw(st.lists(st.sampled_from(CANCELS), max_size=6))
    happenings = data.draw(st.permutations([*CANCELS, *again]))
    assert path(AGREED, happenings) == [MatchStatus.CREQ, MatchStatus.CANA]


@settings(max_examples=500, deadline=None)
@given(repetitions=st.lists(st.integers(1, 3), min_size=4, max_size=4))
def test_repetitions_change_nothing(repetitions: list[int]) -> None:
    """The same again and again in the same order comes to the same."""
    story = (Happening.DIFFERED, Happening.MATCHED, Happening.COMPLETED, Happening.CANCELLED_BY_THEM)
    repeated = [what for what, times in zip(story, repetitions, strict=True) for _ in range(times)]
    start = Standing(MatchStatus.NMAT)
    assert path(start, repeated) == path(start, story) == list(map(MatchStatus, ("MISM", "MACH", "MAGR", "CREQ")))


def test_a_confirmation_that_is_freed_may_be_matched_or_cancelled_as_before() -> None:
    """Nothing of the match that it had is left on it."""
    freed = after(AGREED, Happening.FREED)
    assert freed == Standing(MatchStatus.NMAT)
    assert path(freed, (Happening.MATCHED, Happening.COMPLETED)) == [MatchStatus.MACH, MatchStatus.MAGR]
    assert path(freed, (Happening.CANCELLED_BY_THEM,)) == [MatchStatus.CAND]


def test_one_side_alone_cannot_end_or_refuse_what_it_asks() -> None:
    """A request is answered by the other side."""
    asked = Standing(MatchStatus.CREQ, Asking.OURS)
    assert after(asked, Happening.CANCELLED_BY_US) == after(asked, Happening.REFUSED_BY_US) == asked
    refused = after(asked, Happening.REFUSED_BY_THEM)
    assert refused == Standing(MatchStatus.CREJ)
    assert after(refused, Happening.CANCELLED_BY_THEM) == Standing(MatchStatus.CREQ, Asking.THEIRS)
