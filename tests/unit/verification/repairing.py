"""Repairs of the dead letters of a day."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from services.engine.log import LogRecord, OutgoingRecord
from services.engine.repair import Action, repair_record
from tests.support.snapshot_world import SnapshotWorld


def repairs(world: SnapshotWorld, mended: Mapping[str, bytes]) -> Iterator[OutgoingRecord]:
    """For each dead letter of capture a repair: a replay with the bytes given for its topic, otherwise a discard."""
    for number, letter in enumerate(world.records["dead-letters"]):
        headers = {name: (value or b"").decode() for name, value in letter.headers}
        topic, partition, offset = headers["src.topic"], int(headers["src.partition"]), int(headers["src.offset"])
        value = mended.get(topic)
        content = letter.value if value is None else value
        yield repair_record(
            service=headers["err.stage"],
            source=LogRecord(topic, partition, offset, letter.key, content, 0),
            action=Action.DISCARD if value is None else Action.REPLAY,
            repair_id=f"repair-{number}",
            by="tester",
            reason="to see what becomes of it",
            at="2026-03-02T18:00:00Z",
            changed=value is not None,
        )
