"""Rebuilds what was assigned, beside the rounds: offsets first, then the state that belongs to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from services.engine.log import Log, TopicPartition
from services.engine.member import Member
from services.engine.recovery import restore_tables, start_offsets
from services.engine.runtime import Runtime
from services.engine.state import Tables


@dataclass(frozen=True)
class Restored:
    """The outcome of a restore, valid as long as the member's epoch is the one it was asked in."""

    member: Member
    epoch: int
    tables: dict[int, Tables]
    offsets: dict[TopicPartition, int]
    seconds: float

    @property
    def is_current(self) -> bool:
        """Whether no rebalance came meanwhile; one that did has started a restore of its own."""
        return self.epoch == self.member.epoch


class Restorer:
    """Runs on a thread of the engine; everything it needs is read from the log."""

    def __init__(self, log: Log, runtime: Runtime, stopping: Callable[[], bool]) -> None:
        """Bind; `stopping` ends a restore nobody waits for any more."""
        self._log = log
        self._runtime = runtime
        self._stopping = stopping

    def restore(self, member: Member, numbers: Sequence[int], epoch: int) -> Restored:
        """Block until offsets and state are read. Raises RestoreCancelled once the epoch is over or all stops."""
        started = self._runtime.monotonic()
        offsets, tables = self._read(member, numbers, epoch)
        return Restored(member, epoch, tables, offsets, self._runtime.monotonic() - started)

    def _read(
        self, member: Member, numbers: Iterable[int], epoch: int
    ) -> tuple[dict[TopicPartition, int], dict[int, Tables]]:
        assert member.consumer is not None
        offsets = start_offsets(member.consumer, member.partitions_of(numbers))
        tables = restore_tables(
            self._log,
            service=member.stage.name,
            kinds=member.stage.state_types,
            partitions=numbers,
            cancelled=lambda: member.epoch != epoch or self._stopping(),
        )
        return offsets, dict(tables)
