"""Proves that what a worker holds is its own: a transaction of offsets only, which the log refuses to anybody else.

After each restore, before the first record: a worker whose slot was taken over, or whose generation is over, learns it
then and not at its first trade, and state and group agree on the offsets (`services.engine.starting`). Afterwards
whenever a partition has been idle for PROVE_SECONDS, so that readiness is no memory; that also commits how far an idle
partition was read behind markers of transactions, before retention deletes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from services.engine.log import GroupMetadata, OutgoingRecord, TopicPartition
from services.engine.member import Member
from services.engine.restoring import Restored
from services.engine.runtime import Runtime
from services.engine.starting import apply_progress, progress_changes, progress_records
from services.engine.state import Progress
from services.engine.transaction import GroupOffsets

PROVE_SECONDS = 30.0
RETRY_SECONDS = 1.0
_WAIT_SECONDS = 0.05


@dataclass(frozen=True)
class Claim:
    """What one transaction is to prove, of one member."""

    member: Member
    numbers: tuple[int, ...]
    offsets: Mapping[TopicPartition, int]
    metadata: GroupMetadata
    restored: Restored | None
    progress: Mapping[int, Progress]

    @property
    def records(self) -> list[OutgoingRecord]:
        """The offsets for the changelog, where they move."""
        return progress_records(self.member.stage.name, self.progress)

    @property
    def groups(self) -> list[GroupOffsets]:
        """The offsets by which the generation is checked."""
        return [GroupOffsets(self.offsets, self.metadata)]


class Prover:
    """Knows what is to be proved, and when. Belongs to the coordinator, on the event loop."""

    def __init__(self, runtime: Runtime) -> None:
        """Nothing is to be proved yet."""
        self._runtime = runtime
        self._restored: list[Restored] = []
        self._next_at = 0.0
        self._failing: set[str] = set()
        """Services of which the last proof failed."""

    @property
    def is_failing(self) -> bool:
        """Whether the last proof of any service failed."""
        return bool(self._failing)

    def add(self, restored: Restored) -> None:
        """To be proved, then installed."""
        self._restored.append(restored)

    def wait_seconds(self, tick_seconds: float) -> float:
        """How long the coordinator may sleep: a restored partition waits for the poll after its assignment."""
        if not self._restored:
            return tick_seconds
        return min(tick_seconds, max(_WAIT_SECONDS, self._next_at - self._runtime.monotonic()))

    def claims(self, members: Sequence[Member]) -> list[Claim]:
        """What can be proved now; each claim in a transaction of its own, so that one refused stops no other."""
        self._restored = [restored for restored in self._restored if restored.is_current]
        now = self._runtime.monotonic()
        if now < self._next_at:
            return []
        idle = {member.stage.name: self._idle(member, now) for member in members}
        restored_of = {restored.member.stage.name for restored in self._restored}
        self._failing &= restored_of | {name for name, numbers in idle.items() if numbers}  # else it was taken from us
        fresh = [self._fresh(restored) for restored in self._restored]
        claims = [*fresh, *(self._claim(member, idle[member.stage.name]) for member in members)]
        return [claim for claim in claims if claim is not None]

    def _fresh(self, restored: Restored) -> Claim | None:
        member, metadata = restored.member, restored.member.metadata  # once: a rebalance may come at any moment
        if metadata is None:  # no poll was finished since the assignment
            return None
        progress = progress_changes(restored.tables, restored.offsets)
        return Claim(member, tuple(restored.tables), restored.offsets, metadata, restored, progress)

    def _idle(self, member: Member, now: float) -> tuple[int, ...]:
        """What has not been in a committed transaction for long."""
        return tuple(n for n in sorted(member.tables) if now - member.proved_at.get(n, now) >= PROVE_SECONDS)

    def _claim(self, member: Member, numbers: tuple[int, ...]) -> Claim | None:
        metadata = member.metadata
        if not numbers or metadata is None:
            return None
        offsets = {p: offset for number in numbers for p, offset in member.read_offsets_of(number).items()}
        progress = progress_changes({number: member.tables[number] for number in numbers}, offsets)
        return Claim(member, numbers, offsets, metadata, None, progress)

    def succeeded(self, claim: Claim) -> None:
        """It was committed: enter what it wrote."""
        self._failing.discard(claim.member.stage.name)
        self.note(claim.member, claim.numbers)
        if claim.restored is not None:
            self._restored.remove(claim.restored)
            apply_progress(claim.restored.tables, claim.progress)
        else:
            claim.member.next_offsets.update(claim.offsets)
            apply_progress(claim.member.tables, claim.progress)

    def failed(self, claim: Claim) -> None:
        """It was not, or nobody knows: it is tried again."""
        self._failing.add(claim.member.stage.name)
        self._next_at = self._runtime.monotonic() + RETRY_SECONDS

    def note(self, member: Member, numbers: Iterable[int]) -> None:
        """These were in a committed transaction, and are proved by it."""
        now = self._runtime.monotonic()
        member.proved_at.update(dict.fromkeys(numbers, now))
