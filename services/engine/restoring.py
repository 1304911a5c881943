"""Rebuilds what was assigned, beside the rounds: offsets first, then the state that belongs to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from services.engine.log import Log, TopicPartition, Unavailable
from services.engine.member import Member
from services.engine.outage import NotAwaited, Patience
from services.engine.recovery import Recovery, RestoreCancelled
from services.engine.runtime import Runtime
from services.engine.starting import start_offsets
from services.engine.state import Tables

log_event = structlog.get_logger("posttrade.engine")


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
    """Runs on a thread of the engine; everything it needs is read from the log, or from a snapshot of it."""

    def __init__(
        self, log: Log, recovery: Recovery, runtime: Runtime, patience: Patience, stopping: Callable[[], bool]
    ) -> None:
        """Bind; `stopping` ends a restore nobody waits for any more."""
        self._log = log
        self._patience = patience
        self._recovery = recovery
        self._runtime = runtime
        self._stopping = stopping

    def restore(self, member: Member, numbers: Sequence[int], epoch: int) -> Restored:
        """Block until offsets and state are read.

        Waits while the log is away. Raises RestoreCancelled once the epoch is over, a number is taken from us, or all
        stops; OffsetsLost or StateLost when the group cannot go on where it was.
        """
        started = self._runtime.monotonic()

        def is_over() -> bool:
            return member.epoch != epoch or self._stopping() or any(member.is_given_away(n) for n in numbers)

        try:
            offsets, tables = self._patience.ask(
                f"offsets and state of {member.stage.name}",
                lambda: self._read(member, numbers, is_over),
                is_over=is_over,
            )
        except NotAwaited:
            raise RestoreCancelled from None
        return Restored(member, epoch, tables, offsets, self._runtime.monotonic() - started)

    def _read(
        self, member: Member, numbers: Iterable[int], cancelled: Callable[[], bool]
    ) -> tuple[dict[TopicPartition, int], dict[int, Tables]]:
        # First of all: what a predecessor still commits is then part of the offsets and of the changelog.
        partitions = member.partitions_of(numbers)
        committed = self._committed(member, partitions)
        tables = self._recovery.restore(
            service=member.stage.name,
            kinds=member.stage.state_types,
            partitions=numbers,
            cancelled=cancelled,
        )
        return start_offsets(self._log, member.group, partitions, committed, tables), dict(tables)

    def _committed(
        self, member: Member, partitions: Sequence[TopicPartition]
    ) -> Mapping[TopicPartition, int | None] | None:
        """What the group has committed; None when it does not say, for which nobody has to wait who has state.

        A predecessor's pending transaction is waited for in the changelog as well, of which it is a part.
        """
        assert member.consumer is not None
        try:
            return member.consumer.committed(partitions)
        except Unavailable as error:
            log_event.warning("the group does not tell its offsets", group=member.group, cause=str(error))
            return None
