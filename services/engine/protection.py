"""What keeps a bad record, rule or release from doing more harm than its own.

Three guards, each in a module of its own or small enough to be here: crash marks (`services.engine.crash_marks`), the
limit on dead letters (`services.engine.share_limit`), and `on_time` that raises, which is said and asked again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from services.engine.crash_marks import CrashMarks
from services.engine.dead_letters import TOPIC, commonest
from services.engine.local_files import LocalFiles
from services.engine.log import TopicPartition
from services.engine.member import Member
from services.engine.metrics import Metrics
from services.engine.quarantine import Quarantine
from services.engine.runtime import Runtime
from services.engine.share_limit import REMIND_SECONDS, ShareLimits, Verdicts
from services.engine.work import Batch

log_event = structlog.get_logger("posttrade.engine")

DEAD_LETTER_SHARE_MAX = 0.2


class Protection:
    """The guards of one worker."""

    def __init__(
        self, files: LocalFiles, metrics: Metrics, runtime: Runtime, *, share_max: float = DEAD_LETTER_SHARE_MAX
    ) -> None:
        """Bind; `share_max` is the largest share of dead letters, from 0 to 1."""
        self._metrics = metrics
        self._runtime = runtime
        self._marks = CrashMarks(files, metrics.crash_protection.set)
        self._limits = ShareLimits(share_max)
        self._on_time_failing: dict[tuple[str, int], float] = {}
        """When each partition whose `on_time` fails is mentioned next."""

    @property
    def halted(self) -> list[str]:
        """Services that stopped in place, by name."""
        return sorted(self._limits.halted)

    def watch(self, service: str, batch: Batch, starts: Mapping[TopicPartition, int], ends: Mapping[str, int]) -> None:
        """Have a batch noted on disk while it is processed. `starts`: where every input goes on; `ends`: by topic."""
        mark = self._marks.of(service, batch.partition, starts)
        batch.watch(mark, {place.topic: start for place, start in starts.items() if place.topic in ends}, ends)

    def admit(self, batches: Sequence[tuple[str, Batch]]) -> set[str]:
        """Look at what a round came to, before it is committed; the services that may not go on because of it."""
        rounds: dict[str, list[Verdicts]] = {}
        for service, batch in batches:
            if batch.is_on_time_asked:
                self._watch_on_time(service, batch)
            if batch.verdicts.count:
                rounds.setdefault(service, []).append(batch.verdicts)
        halted = self._limits.judge(rounds)
        for service in halted:
            refused = [batch.result for name, batch in batches if name == service and batch.result is not None]
            cause = commonest(record for result in refused for record in result.records if record.topic == TOPIC)
            if cause is not None:
                self._limits.blame(service, cause)
            self._metrics.service_halted.labels(service).set(1)
        self._say(new=bool(halted))
        return set(halted)

    def _watch_on_time(self, service: str, batch: Batch) -> None:
        place = service, batch.partition
        if batch.on_time_failure is None:
            if self._on_time_failing.pop(place, None) is not None:
                log_event.info("time-driven work goes on", service=service, partition=batch.partition)
        else:
            self._metrics.on_time_failures.labels(service).inc()
            now = self._runtime.monotonic()
            if now >= self._on_time_failing.get(place, now):
                self._on_time_failing[place] = now + REMIND_SECONDS
                log_event.critical(
                    "time-driven work fails and is asked again every second; until it is mended, deadlines and "
                    "reference data that came late are not acted on",
                    service=service, partition=batch.partition, cause=batch.on_time_failure,
                )  # fmt: skip
        count = sum(name == service for name, _ in self._on_time_failing)
        self._metrics.on_time_failing.labels(service).set(count)

    def remind(self) -> None:
        """Say again what must not be forgotten; called at every tick."""
        self._say(new=False)

    def _say(self, *, new: bool) -> None:
        for sentence in self._limits.reminders(self._runtime.monotonic(), new=new):
            log_event.critical("service halted", cause=sentence)

    def committed(self, member: Member, batch: Batch) -> None:
        """The batch is durable, and its changes are in the tables."""
        self._limits.commit(member.stage.name, batch.verdicts)
        if batch.overlay.has_changed(Quarantine):
            self.count_waiting(member)

    def count_waiting(self, member: Member) -> None:
        """Show how many keys of a service wait here; after a commit and after every change of what is owned."""
        waiting = sum(len(tables.rows[Quarantine]) for tables in member.tables.values())
        self._metrics.quarantined_keys.labels(member.stage.name).set(waiting)
