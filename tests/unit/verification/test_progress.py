"""How far inputs were read: state and group agree at rest, the state may be ahead in motion, neither beyond the end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest

from services.verification import Decode, Entry, verify
from services.verification.names import INPUTS, group_of, state_of
from tests.support.snapshot_world import SnapshotWorld

PLACE = ("trades.captured", 0)
SERVICE = "enrichment"


def _with_rows(world: SnapshotWorld, table: str, offsets: Mapping[str, Mapping[tuple[str, int], int]]) -> SnapshotWorld:
    """The rows of this table as the only ones that tell how far the inputs were read."""
    for service in INPUTS:
        own = [
            entry
            for entry in world.records[state_of(service)]
            if not (entry.key or b"").startswith((b"Progress/", b"Started/"))
        ]
        world = world.with_topic(state_of(service), own)
        for partition in sorted({number for _, number in offsets[group_of(service)]}):
            row = {topic: at for (topic, number), at in offsets[group_of(service)].items() if number == partition}
            key, value = f"{table}/{partition}".encode(), json.dumps({"offsets": row}).encode()
            world = world.with_added(Entry(state_of(service), partition, 0, key, value, 0))
    return world


@pytest.fixture(scope="module")
def agreed(troubled: SnapshotWorld) -> SnapshotWorld:
    """State and group agree."""
    return _with_rows(troubled, "Progress", troubled.offsets)


def _state_at(world: SnapshotWorld, by: int) -> SnapshotWorld:
    """The state of one partition so many records ahead of its group."""
    group = group_of(SERVICE)
    moved = {**world.offsets[group], PLACE: world.offsets[group][PLACE] + by}
    return _with_rows(world, "Progress", {**world.offsets, group: moved})


def _group_at(world: SnapshotWorld, by: int) -> SnapshotWorld:
    """The group so many records behind, while work goes on."""
    group = group_of(SERVICE)
    moved = {**world.offsets[group], PLACE: world.offsets[group][PLACE] - by}
    return replace(world, settled=False, offsets={**world.offsets, group: moved})


def _told(world: SnapshotWorld, decode: Decode) -> list[str]:
    return [sentence for finding in verify(world, decode).findings for sentence in finding.breaks]


def test_state_and_group_that_agree_are_sound(agreed: SnapshotWorld, decode: Decode) -> None:
    """What the engine writes in each of its transactions is no break, in motion or at rest."""
    assert _told(agreed, decode) == []
    assert _told(replace(agreed, settled=False), decode) == []


def test_at_rest_the_state_is_where_its_group_is(agreed: SnapshotWorld, decode: Decode) -> None:
    """A transaction that moved only one of them is torn: the next start loses records or doubles them."""
    (told,) = _told(_state_at(agreed, -1), decode)
    assert told.startswith("state.enrichment[0] Progress has")
    assert told.endswith("as next offset of trades.captured")


def test_nobody_has_read_beyond_the_end(agreed: SnapshotWorld, decode: Decode) -> None:
    """An offset behind the end belongs to another topic of that name, or to nothing: what comes there is never read."""
    sentences = _told(_state_at(agreed, 1), decode)
    assert any("but there ends at" in sentence for sentence in sentences), sentences


def test_in_motion_the_state_may_be_ahead_and_never_behind(agreed: SnapshotWorld, decode: Decode) -> None:
    """The group is asked first, so the state has moved on since; behind its group it is older than what was done."""
    assert _told(_group_at(agreed, 1), decode) == []
    (told,) = _told(replace(_state_at(agreed, -1), settled=False), decode)
    assert told.startswith("state.enrichment[0] Progress has")


@pytest.mark.parametrize("table", ["Progress", "Started"])
@pytest.mark.parametrize("is_settled", [True, False])
def test_a_group_without_the_offsets_of_what_was_begun_is_told(
    table: str, is_settled: bool, troubled: SnapshotWorld, decode: Decode
) -> None:
    """A group that has forgotten everything makes all input look unread, and so nothing look lost."""
    world = _with_rows(troubled, table, troubled.offsets)
    forgotten = replace(world, settled=is_settled, offsets={**world.offsets, group_of(SERVICE): {}})
    sentences = _told(forgotten, decode)
    assert any("is remembered as begun, and its group has no offset of" in sentence for sentence in sentences)


def test_older_data_tells_only_where_it_was_begun(troubled: SnapshotWorld, decode: Decode) -> None:
    """Rows of an older version hold where reading began, which is not where it stands."""
    began = {group: dict.fromkeys(offsets, 0) for group, offsets in troubled.offsets.items()}
    assert _told(_with_rows(troubled, "Started", began), decode) == []
    del began[group_of(SERVICE)][PLACE]
    assert _told(_with_rows(troubled, "Started", began), decode) == [
        "state.enrichment[0] Progress does not tell of trades.captured"
    ]
