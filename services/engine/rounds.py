"""What a round is made of: the work on each partition, and what all of it comes to in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.engine.log import GroupMetadata, LogRecord, TopicPartition
from services.engine.member import Member
from services.engine.starting import progress_changes
from services.engine.state import Progress
from services.engine.transaction import GroupOffsets
from services.engine.work import Batch


@dataclass(frozen=True)
class Work:
    """One batch of a round, with what is needed to make it durable."""

    member: Member
    batch: Batch
    offsets: dict[TopicPartition, int]
    metadata: GroupMetadata

    @property
    def progress(self) -> Mapping[int, Progress]:
        """How far the partition will be done, for its changelog; empty when nothing moves.

        To be asked between two transactions: it is what differs from the tables.
        """
        number = self.batch.partition
        return progress_changes({number: self.member.tables[number]}, self.offsets)


def by_number(records: Sequence[LogRecord]) -> dict[int, list[LogRecord]]:
    """Records by the number of their partition, in their order."""
    numbers: dict[int, list[LogRecord]] = {}
    for record in records:
        numbers.setdefault(record.partition, []).append(record)
    return numbers


def group_offsets(works: Sequence[Work]) -> list[GroupOffsets]:
    """The offsets of each group, once per membership snapshot."""
    merged: dict[tuple[str, int], GroupOffsets] = {}
    for work in works:
        key = (work.member.group, id(work.metadata))
        earlier = merged.get(key)
        offsets = {**(earlier.offsets if earlier else {}), **work.offsets}
        merged[key] = GroupOffsets(offsets, work.metadata)
    return list(merged.values())
