"""Every metric of a worker: name, unit, labels and what it tells. Counted only after the commit.

Names follow the Prometheus conventions: one prefix, base units, `_total` for counters. All label sets exist from the
start, so that "nothing happened" is 0 and not absent.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    disable_created_metrics,
    generate_latest,
)

from services.domain.reason import Reason
from services.engine.dead_letters import ERROR_CLASSES, TOPIC
from services.engine.histogram import BulkHistogram
from services.engine.repair import RESOLVED_TOPIC, RepairOutcome
from services.engine.transaction import RECREATION_REASONS
from services.engine.work import Tally

TRANSACTION_RESULTS = ("committed", "aborted", "in_doubt")
SNAPSHOT_RESULTS = ("written", "failed", "discarded")
RESTORE_SOURCES = ("snapshot", "changelog")
_PREFIX = "posttrade_"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LONG_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)


class Metrics:
    """The worker's metrics in a registry of their own."""

    def __init__(self, *, version: str) -> None:
        """Create every metric; services register their label sets with `register`."""
        disable_created_metrics()  # type: ignore[no-untyped-call]  # `_created` series double the page and tell nothing
        self.registry = CollectorRegistry()
        counter, gauge, histogram = self._counter, self._gauge, self._histogram
        self.consumed = counter("records_consumed", "Input records processed and committed.", "service")
        self.produced = counter("records_produced", "Records published and committed.", "service", "topic")
        self.suppressed = counter(
            "records_suppressed", "Input records that need no output, for example duplicates.", "service", "cause"
        )
        self.exceptions = counter("exceptions_opened", "Exceptions raised for the desk.", "service", "reason")
        self.dead_letters = counter("dead_letters", "Records sent to dead-letters.", "service", "error_class")
        self.batch_seconds = histogram(
            "batch_seconds", "Time to decode, decide and encode one batch.", _SECONDS, "service"
        )
        self.transaction_seconds = histogram(
            "transaction_seconds", "Time of one transaction, from begin to committed.", _SECONDS
        )
        self.transactions = counter("transactions", "Transactions by how they ended.", "result")
        self.producer_recreations = counter(
            "producer_recreations", "Transactional producers that were replaced because of a doubt.", "reason"
        )
        self.end_to_end_seconds = BulkHistogram(
            _PREFIX + "end_to_end_seconds",
            "From the moment the last input of a trade entered the log to the commit of this service's output.",
            "service",
            _LONG_SECONDS,
        )
        self.registry.register(self.end_to_end_seconds)
        self._add_lag()
        self.owned_partitions = gauge("owned_partitions", "Partitions this worker owns and has restored.", "service")
        self.rebalances = counter("rebalances", "Changes of partition ownership.", "service")
        self.state_rows = gauge("state_rows", "Rows a service remembers.", "service")
        self.reference_records = gauge("reference_records", "Reference data rows held.")
        self.last_commit = gauge("last_commit_timestamp_seconds", "When the last transaction was committed.")
        Info("posttrade_build", "Version of the service.", registry=self.registry).info({"version": version})
        self._add_recovery()
        self._add_protection()
        for result in TRANSACTION_RESULTS:
            self.transactions.labels(result)
        for reason in RECREATION_REASONS:
            self.producer_recreations.labels(reason)
        for result in SNAPSHOT_RESULTS:
            self.snapshots.labels(result)

    def _add_lag(self) -> None:
        """What tells how far a service is behind, and what keeps it."""
        gauge = self._gauge
        self.lag = gauge(
            "lag_records",
            "Records in the log whose processing is not committed: last stable offset minus committed offset, of the "
            "owned partitions. While posttrade_unassigned_seconds hangs, of all partitions, on each worker concerned.",
            "service",
            "topic",
        )
        self.lag_seconds = gauge(
            "lag_seconds",
            "Age of the oldest record whose processing is not committed; 0 when there is none. Of the same partitions.",
            "service",
            "topic",
        )
        self.lag_unstable = gauge(
            "lag_unstable_records",
            "Records behind an open transaction, which nobody can read yet: high watermark minus last stable offset. "
            "When it does not come back to 0 a transaction hangs and holds up all that follows: see "
            "kafka-transactions.sh find-hanging.",
            "service",
            "topic",
        )
        self.unassigned_seconds = gauge(
            "unassigned_seconds",
            "Time since the group took all partitions of this worker and assigned none, not even an empty set; 0 while "
            "there is an assignment. Beyond half a minute nothing is processed here: look at the group's coordinator.",
            "service",
        )

    def _add_recovery(self) -> None:
        """What tells how state is rebuilt and kept."""
        counter, gauge, histogram = self._counter, self._gauge, self._histogram
        self.restore_seconds = histogram(
            "restore_seconds", "Time to rebuild the state of newly assigned partitions.", _LONG_SECONDS, "service"
        )
        self.restore_rows = counter(
            "restore_rows", "Rows read to rebuild state, by where they came from.", "service", "source"
        )
        self.restore_remaining = gauge(
            "restore_remaining_records", "Changelog records that restores have still to read, at most.", "service"
        )
        self.snapshots = counter("snapshots", "Local snapshots of state, by what became of them.", "result")
        self.snapshot_age = gauge(
            "snapshot_age_seconds",
            "Age of the oldest snapshot of the owned partitions; of one without a snapshot, since it was restored.",
            "service",
        )

    def _add_protection(self) -> None:
        """What tells of records, rules and releases that fail."""
        counter, gauge = self._counter, self._gauge
        self.repairs = counter("repairs", "Repairs of dead letters by what became of them.", "service", "outcome")
        self.quarantined_keys = gauge(
            "quarantined_keys", "Keys, and records without one, of which a dead letter waits for a repair.", "service"
        )
        self.service_halted = gauge(
            "service_halted", "1 while a service stands still because too many of its records failed.", "service"
        )
        self.on_time_failing = gauge(
            "on_time_failing", "Partitions whose time-driven work fails: deadlines are not acted on.", "service"
        )
        self.on_time_failures = counter("on_time_failures", "Calls of time-driven work that raised.", "service")
        self.crash_protection = gauge(
            "crash_protection", "1 while the worker's disk takes the notes by which a record that kills is recognised."
        )

    def _counter(self, name: str, sentence: str, *labels: str) -> Counter:
        return Counter(_PREFIX + name, sentence, labels, registry=self.registry)

    def _gauge(self, name: str, sentence: str, *labels: str) -> Gauge:
        return Gauge(_PREFIX + name, sentence, labels, registry=self.registry)

    def _histogram(self, name: str, sentence: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(_PREFIX + name, sentence, labels, buckets=buckets, registry=self.registry)

    def register(self, service: str, *, inputs: Iterable[str], outputs: Iterable[str], causes: Iterable[str]) -> None:
        """Create the label sets of one hosted service."""
        self.consumed.labels(service)
        self.batch_seconds.labels(service)
        self.end_to_end_seconds.register(service)
        self.owned_partitions.labels(service)
        self.unassigned_seconds.labels(service)
        self.rebalances.labels(service)
        self.restore_seconds.labels(service)
        self.state_rows.labels(service)
        self.quarantined_keys.labels(service)
        self.service_halted.labels(service)
        self.on_time_failing.labels(service)
        self.on_time_failures.labels(service)
        for outcome in RepairOutcome:
            self.repairs.labels(service, outcome.value)
        self.snapshot_age.labels(service)
        self.restore_remaining.labels(service)
        for source in RESTORE_SOURCES:
            self.restore_rows.labels(service, source)
        for topic in outputs:
            if topic not in (TOPIC, RESOLVED_TOPIC):  # dead letters and repairs have counters of their own
                self.produced.labels(service, topic)
        for topic in inputs:
            self.lag.labels(service, topic)
            self.lag_seconds.labels(service, topic)
            self.lag_unstable.labels(service, topic)
        for cause in causes:
            self.suppressed.labels(service, cause)
        for reason in Reason:
            self.exceptions.labels(service, reason.value)
        for error_class in ERROR_CLASSES:
            self.dead_letters.labels(service, error_class)

    def drop_lag(self, service: str, inputs: Iterable[str]) -> None:
        """Tell no lag of a service, rather than an old one, until it is measured again."""
        for topic in inputs:
            for told in (self.lag, self.lag_seconds, self.lag_unstable):
                with contextlib.suppress(KeyError):  # not told anyway
                    told.remove(service, topic)

    def count(self, service: str, tally: Tally, *, now_us: int) -> None:
        """Count one committed batch."""
        if tally.consumed:
            self.consumed.labels(service).inc(tally.consumed)
        _add(self.produced, service, tally.produced)
        _add(self.suppressed, service, tally.suppressed)
        _add(self.exceptions, service, tally.exceptions)
        _add(self.dead_letters, service, tally.dead_letters)
        _add(self.repairs, service, tally.repairs)
        waited_us = [now_us - received_at_us for received_at_us in tally.received_at_us]
        self.end_to_end_seconds.observe_all(service, [us / 1e6 if us > 0 else 0.0 for us in waited_us])

    def exposition(self) -> bytes:
        """Everything in the Prometheus text format."""
        return generate_latest(self.registry)


def _add(counter: Counter, service: str, amounts: Mapping[str, int]) -> None:
    for label, amount in amounts.items():
        counter.labels(service, label).inc(amount)
