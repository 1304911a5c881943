"""What a desk reads of a reason is whole: a table of exceptions has no empty cell, and no half sentence."""

from __future__ import annotations

import pytest

from services.domain.reason import OwnerGroup, Reason, Severity


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_says_what_a_desk_asks(reason: Reason) -> None:
    """A new reason without one of them would be found out by the desk, on the day it is raised."""
    assert reason.value == reason.name
    assert reason.severity in Severity
    assert reason.owner_group in OwnerGroup
    for sentence in (reason.meaning, reason.desk_action, reason.clears):
        assert sentence[0].isupper(), sentence
        assert sentence.endswith("."), sentence
        assert " " in sentence
        assert sentence == " ".join(sentence.split()), sentence


@pytest.mark.parametrize("reason", Reason)
def test_what_clears_it_is_one_sentence_of_one_form(reason: Reason) -> None:
    """Who looks for what stays for ever looks for one word."""
    assert reason.clears.startswith(("It closes when ", "It stays, for "))
    assert ". " not in reason.clears


def test_every_level_and_every_desk_is_used_and_told() -> None:
    """A level or desk that no reason has is a filter that never finds anything."""
    assert {reason.severity for reason in Reason} == set(Severity)
    assert {reason.owner_group for reason in Reason} == set(OwnerGroup)
    assert all(level.meaning.endswith(".") for level in Severity)


def test_what_waits_for_reference_data_is_for_the_desk_that_keeps_it() -> None:
    """Nobody else can load what is missing."""
    waits = [reason for reason in Reason if reason.value.endswith("_MISSING")]
    assert waits
    assert {reason.owner_group for reason in waits} == {OwnerGroup.REFERENCE_DATA}
