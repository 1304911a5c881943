"""What the harness makes of what the workers tell: for how long nobody held a partition of a group."""

from __future__ import annotations

from typing import Any

from tests.chaos.events import Watched, enter, unassigned_seconds


def watched(*events: tuple[float, str, int, int, dict[str, Any]]) -> Watched:
    """The state after events: when, what, slot, process, details."""
    state = Watched()
    for at, kind, slot, process_id, details in events:
        enter(state, {"at": at, "kind": kind, "slot": slot, "pid": process_id, "service": "capture", **details})
    return state


def assigned(at: float, slot: int, process_id: int, *partitions: int) -> tuple[float, str, int, int, dict[str, Any]]:
    """A worker was given these."""
    return at, "assigned", slot, process_id, {"generation": int(at), "partitions": list(partitions)}


def revoked(at: float, slot: int, process_id: int) -> tuple[float, str, int, int, dict[str, Any]]:
    """All was taken from a worker."""
    return at, "revoked", slot, process_id, {}


def test_a_group_is_without_assignment_from_the_last_revocation_to_the_first_assignment() -> None:
    """One worker that holds something is enough; one that is given nothing is not."""
    state = watched(
        assigned(1, 0, 10, 0),
        assigned(1, 1, 11, 1),
        revoked(5, 0, 10),
        revoked(8, 1, 11),
        assigned(9, 0, 10),
        assigned(20, 1, 11, 0, 1),
    )

    assert unassigned_seconds(state, 0.0, 30.0) == {"capture": 12.0}


def test_only_the_time_after_the_broker_is_back_counts_and_also_what_still_lasts() -> None:
    """While the broker is away nobody can be given anything; and a group that never comes back is the worst of all."""
    over = watched(assigned(1, 0, 10, 0), revoked(5, 0, 10), assigned(20, 0, 10, 0))
    lasting = watched(assigned(1, 0, 10, 0), revoked(5, 0, 10))

    assert unassigned_seconds(over, 15.0, 30.0) == {"capture": 5.0}
    assert unassigned_seconds(over, 20.0, 30.0) == {}
    assert unassigned_seconds(lasting, 15.0, 30.0) == {"capture": 15.0}


def test_a_worker_that_died_holds_nothing_once_its_slot_has_another() -> None:
    """A process that is killed tells nothing, so that its group would seem to be held for ever."""
    state = watched(assigned(1, 0, 10, 0), (6, "started", 0, 12, {}), assigned(20, 0, 12, 0))

    assert unassigned_seconds(state, 0.0, 30.0) == {"capture": 14.0}


def test_a_worker_that_starts_beside_others_takes_nothing_from_them() -> None:
    """Else every restart would look like a group that stands still."""
    state = watched(assigned(1, 0, 10, 0), assigned(1, 1, 11, 1), (6, "started", 0, 12, {}))

    assert unassigned_seconds(state, 0.0, 30.0) == {}
