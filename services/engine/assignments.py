"""Which services have no assignment on this worker: taken from it, or never given, and none given since.

A group can stay so for minutes, while its coordinator waits for members that are gone. Nothing fails then, and nothing
is processed. An empty assignment is one: there are more workers than partitions.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from services.engine.member import consumer_group
from services.engine.metrics import Metrics
from services.engine.runtime import Runtime

log_event = structlog.get_logger("posttrade.engine")

ASSIGNMENT_SECONDS_MAX = 22.0
"""The session of a member that is gone, 12 s, and 10 s: a rebalance that takes longer hangs."""
SAY_SECONDS = 10.0


class Assignments:
    """Keeps the time since each service was left without an assignment. Lives on the event loop."""

    def __init__(self, metrics: Metrics, runtime: Runtime, *, prefix: str) -> None:
        """No service yet. `prefix` is that of the log: what is said names groups as they are called on the wire."""
        self._prefix = prefix
        self._metrics = metrics
        self._runtime = runtime
        self._inputs: dict[str, tuple[str, ...]] = {}
        self._since: dict[str, float] = {}
        self._say_at: dict[str, float] = {}
        """By service that hangs: when the next line is due."""

    def expect(self, service: str, inputs: Sequence[str]) -> None:
        """The service joins its group from now on."""
        self._inputs[service] = tuple(inputs)
        self._since[service] = self._runtime.monotonic()

    def changed(self, service: str, *, is_assigned: bool) -> None:
        """The group has given the service an assignment, an empty one too, or has taken all of it."""
        if is_assigned:
            self._since.pop(service, None)
            self._metrics.unassigned_seconds.labels(service).set(0)
            if self._say_at.pop(service, None) is not None:
                log_event.info("the group has given an assignment again", service=service)
        else:
            self._since.setdefault(service, self._runtime.monotonic())

    def seconds_without(self, service: str) -> float:
        """Time without an assignment; 0 while there is one."""
        since = self._since.get(service)
        return 0.0 if since is None else self._runtime.monotonic() - since

    def lacks(self, service: str) -> bool:
        """Whether the service has no assignment, if only for the moment of a rebalance."""
        return service in self._since

    def hangs(self, service: str) -> bool:
        """Whether it has been without one for longer than any rebalance takes that goes well."""
        return self.seconds_without(service) >= ASSIGNMENT_SECONDS_MAX

    def remind(self) -> None:
        """Bring the metrics up to date, and say every SAY_SECONDS which services hang. To be called every second."""
        now = self._runtime.monotonic()
        for service in self._since:
            seconds = self.seconds_without(service)
            self._metrics.unassigned_seconds.labels(service).set(seconds)
            if seconds < ASSIGNMENT_SECONDS_MAX:
                continue
            if service not in self._say_at:
                # What was measured last was measured before. Lag measures anew, if it can; until then nothing is told.
                self._metrics.drop_lag(service, self._inputs[service])
            if now >= self._say_at.get(service, now):
                self._say_at[service] = now + SAY_SECONDS
                log_event.warning(
                    "the group gives this worker no assignment; look at the broker that coordinates the group, and at "
                    "the group's members with kafka-consumer-groups --describe --state --members",
                    service=service, group=self._prefix + consumer_group(service), seconds=round(seconds, 1),
                )  # fmt: skip
