"""No record of the pipeline can be missing or be there twice without being noticed."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.verification import Decode, Entry, verify
from tests.support.snapshot_world import SnapshotWorld

_INPUTS = ("front-office.", "counterparty.", "reference.")


def _outputs(world: SnapshotWorld) -> list[Entry]:
    return [
        entry
        for topic, entries in world.records.items()
        if not topic.startswith((*_INPUTS, "state.", "repairs."))
        for entry in entries
    ]


def _rows_in_force(world: SnapshotWorld) -> list[Entry]:
    latest = {
        (topic, entry.partition, entry.key): entry
        for topic, entries in world.records.items()
        if topic.startswith("state.")
        for entry in entries
    }
    return [entry for entry in latest.values() if entry.value is not None and not _is_idle(world, entry)]


def _is_idle(world: SnapshotWorld, row: Entry) -> bool:
    """Rows that nothing depends on: the first deadline where none is left, the beginning where nothing was read."""
    offsets = world.offsets[f"posttrade.{row.topic.removeprefix('state.')}"]
    read = any(partition == row.partition for _, partition in offsets)
    return row.key == b"NextDeadline/-" or ((row.key or b"").startswith(b"Progress/") and not read)


@pytest.mark.parametrize("day", ["mini", "repaired"])
def test_every_record_of_a_small_day_is_needed_once(day: str, request: pytest.FixtureRequest, decode: Decode) -> None:
    """Nothing the services wrote can be taken away, or be there twice."""
    world: SnapshotWorld = request.getfixturevalue(day)
    outputs = _outputs(world)
    missed = [f"without {entry}" for entry in outputs if verify(world.without(entry), decode).is_sound]
    missed += [f"twice {entry}" for entry in outputs if verify(world.with_added(entry), decode).is_sound]
    assert missed == []


@pytest.mark.parametrize("day", ["mini", "repaired"])
def test_every_row_of_a_small_day_is_needed(day: str, request: pytest.FixtureRequest, decode: Decode) -> None:
    """A row that is lost, or an older one that comes back, is another memory than the inputs give."""
    world: SnapshotWorld = request.getfixturevalue(day)
    rows = _rows_in_force(world)
    assert [entry for entry in rows if verify(world.without(entry), decode).is_sound] == []
    latest = {(entry.topic, entry.partition, entry.key): entry.value for entry in rows}
    stale = [
        entry
        for topic, entries in world.records.items()
        if topic.startswith("state.")
        for entry in entries
        if entry.value is not None
        and not _is_idle(world, entry)
        and latest.get((topic, entry.partition, entry.key)) != entry.value
    ]
    assert [entry for entry in stale if verify(world.with_added(entry), decode).is_sound] == []


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_record_of_a_day_of_troubles_is_needed_once(
    data: st.DataObject, troubled: SnapshotWorld, decode: Decode
) -> None:
    """The same where every trouble happens: refusals, waits, corrections, partial allocations."""
    entry = data.draw(st.sampled_from(_outputs(troubled)))
    changed = data.draw(st.sampled_from((troubled.without, troubled.with_added)))(entry)
    assert not verify(changed, decode).is_sound


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_row_of_a_day_of_troubles_is_needed(data: st.DataObject, troubled: SnapshotWorld, decode: Decode) -> None:
    """The same for what the services remember."""
    entry = data.draw(st.sampled_from(_rows_in_force(troubled)))
    assert not verify(troubled.without(entry), decode).is_sound
