"""The limit on the share of dead letters: beyond it the fault is ours, and the service stops in place.

A poisoned record is the exception. When every fifth record fails, a release, a schema or reference data is wrong, and
to go on would turn a day's trades into dead letters. So the round that would exceed the limit is not committed, the
service's partitions are paused on this worker, and the process lives on, so that no supervisor starts it again into the
same wall. Only a restart goes on. Other services of the worker do not notice. The dead letters of that round exist
nowhere, so the sentence about the halt names what most of them failed with, and one of their sources.

Judged is the share within the last `WINDOW_RECORDS` records of a service on this worker, once there were
`JUDGED_FROM_RECORDS`, after every single record, also within one batch. Records that only follow a failed one (PARKED)
and repairs are not counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

WINDOW_RECORDS = 1_000
JUDGED_FROM_RECORDS = 100
REMIND_SECONDS = 60.0


@dataclass
class Verdicts:
    """What became of the records of a batch, in their order: how many there were, and which of them failed."""

    count: int = 0
    failed: list[int] = field(default_factory=list)
    """Numbers of the failed ones, from 0."""

    def add(self, *, failed: bool) -> None:
        """One more record."""
        if failed:
            self.failed.append(self.count)
        self.count += 1


class ShareWindow:
    """The last records of one service."""

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self._count = 0
        self._failed: deque[int] = deque()

    def add(self, verdicts: Verdicts) -> float:
        """Take records in; the highest share of failed ones that was there after any of them, 0 before it is judged.

        Costs nothing for records that did not fail.
        """
        start, highest = self._count, 0.0
        self._count += verdicts.count
        if start < JUDGED_FROM_RECORDS <= self._count:
            early = sum(start + number < JUDGED_FROM_RECORDS for number in verdicts.failed)
            highest = (len(self._failed) + early) / JUDGED_FROM_RECORDS
        for number in verdicts.failed:
            seen = start + number + 1
            self._failed.append(seen)
            while self._failed[0] <= seen - WINDOW_RECORDS:
                self._failed.popleft()
            if seen >= JUDGED_FROM_RECORDS:
                highest = max(highest, len(self._failed) / min(seen, WINDOW_RECORDS))
        return highest

    def copy(self) -> ShareWindow:
        """The same, to try something on."""
        other = ShareWindow()
        other._count, other._failed = self._count, self._failed.copy()
        return other


class ShareLimits:
    """The windows of all services of a worker, and which of them were halted."""

    def __init__(self, share_max: float) -> None:
        """Every service starts with an empty window: a restart is the operator's word that it may go on."""
        self.share_max = share_max
        self.halted: dict[str, float] = {}
        """Share of each halted service."""
        self._causes: dict[str, str] = {}
        """What most of the refused round of each failed with."""
        self._windows: dict[str, ShareWindow] = {}
        self._remind_at = 0.0

    def judge(self, rounds: Mapping[str, Iterable[Verdicts]]) -> list[str]:
        """The services that a round, if committed, would take beyond the limit; they are halted from now on."""
        found = []
        for service, parts in rounds.items():
            window = self._windows.get(service, ShareWindow()).copy()
            highest = max((window.add(verdicts) for verdicts in parts), default=0.0)
            if highest > self.share_max:
                self.halted[service] = highest
                found.append(service)
        return found

    def blame(self, service: str, cause: str) -> None:
        """Say what the refused round failed with: it is written nowhere, for the round was not committed."""
        self._causes[service] = cause

    def commit(self, service: str, verdicts: Verdicts) -> None:
        """The round was committed: its records belong to the past."""
        self._windows.setdefault(service, ShareWindow()).add(verdicts)

    def reminders(self, now_seconds: float, *, new: bool) -> list[str]:
        """The sentences that are due in the log: at once for a new halt, then every `REMIND_SECONDS`."""
        if not self.halted or not (new or now_seconds >= self._remind_at):
            return []
        self._remind_at = now_seconds + REMIND_SECONDS
        return [self._sentence(service, share) for service, share in sorted(self.halted.items())]

    def _sentence(self, service: str, share: float) -> str:
        cause = self._causes.get(service)
        failed = "" if cause is None else f"; what was refused, and is in no list, failed {cause}"
        return (
            f"{service} is halted: {share:.1%} of its last records would be dead letters, above the limit of "
            f"{self.share_max:.1%}{failed}; mend the cause (earlier ones: posttrade deadletters list --service "
            f"{service}), or raise POSTTRADE_DEAD_LETTER_SHARE_MAX, and restart this worker"
        )
