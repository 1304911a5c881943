"""Every metric of a worker: name, unit, labels and what it tells. Counted only after the commit.

Names follow the Prometheus conventions: one prefix, base units, `_total` for counters. All label sets exist from the
start, so that "nothing happened" is 0 and not absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from services.domain.reason import Reason
from services.engine.dead_letters import ERROR_CLASSES
from services.engine.work import Tally

TRANSACTION_RESULTS = ("committed", "aborted", "in_doubt")
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LONG_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)


class Metrics:
    """The worker's metrics in a registry of their own."""

    def __init__(self, *, version: str) -> None:
        """Create every metric; services register their label sets with `register`."""
        registry = self.registry = CollectorRegistry()
        self.consumed = Counter(
            "posttrade_records_consumed", "Input records processed and committed.", ["service"], registry=registry
        )
        self.produced = Counter(
            "posttrade_records_produced", "Records published and committed.", ["service", "topic"], registry=registry
        )
        self.suppressed = Counter(
            "posttrade_records_suppressed",
            "Input records recognised as needing no output, for example duplicates.",
            ["service", "cause"],
            registry=registry,
        )
        self.exceptions = Counter(
            "posttrade_exceptions_opened", "Exceptions raised for the desk.", ["service", "reason"], registry=registry
        )
        self.dead_letters = Counter(
            "posttrade_dead_letters", "Records sent to dead-letters.", ["service", "error_class"], registry=registry
        )
        self.batch_seconds = Histogram(
            "posttrade_batch_seconds",
            "Time to decode, decide and encode one batch.",
            ["service"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.transaction_seconds = Histogram(
            "posttrade_transaction_seconds",
            "Time from begin to committed, of one transaction.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.transactions = Counter(
            "posttrade_transactions", "Transactions by how they ended.", ["result"], registry=registry
        )
        self.end_to_end_seconds = Histogram(
            "posttrade_end_to_end_seconds",
            "From the moment the last input of a trade entered the log to the commit of this service's output.",
            ["service"],
            buckets=_LONG_SECONDS,
            registry=registry,
        )
        self.lag = Gauge(
            "posttrade_lag_records",
            "Committed records not yet processed: last stable offset minus own position.",
            ["service", "topic"],
            registry=registry,
        )
        self.owned_partitions = Gauge(
            "posttrade_owned_partitions",
            "Partitions this worker owns and has restored.",
            ["service"],
            registry=registry,
        )
        self.rebalances = Counter(
            "posttrade_rebalances", "Changes of partition ownership.", ["service"], registry=registry
        )
        self.restore_seconds = Histogram(
            "posttrade_restore_seconds",
            "Time to rebuild the state of newly assigned partitions.",
            ["service"],
            buckets=_LONG_SECONDS,
            registry=registry,
        )
        self.state_rows = Gauge("posttrade_state_rows", "Rows a service remembers.", ["service"], registry=registry)
        self.reference_records = Gauge("posttrade_reference_records", "Reference data rows held.", registry=registry)
        self.last_commit = Gauge(
            "posttrade_last_commit_timestamp_seconds", "When the last transaction was committed.", registry=registry
        )
        Info("posttrade_build", "Version of the service.", registry=registry).info({"version": version})
        for result in TRANSACTION_RESULTS:
            self.transactions.labels(result)

    def register(self, service: str, *, inputs: Iterable[str], outputs: Iterable[str], causes: Iterable[str]) -> None:
        """Create the label sets of one hosted service."""
        self.consumed.labels(service)
        self.batch_seconds.labels(service)
        self.end_to_end_seconds.labels(service)
        self.owned_partitions.labels(service)
        self.rebalances.labels(service)
        self.restore_seconds.labels(service)
        self.state_rows.labels(service)
        for topic in outputs:
            self.produced.labels(service, topic)
        for topic in inputs:
            self.lag.labels(service, topic)
        for cause in causes:
            self.suppressed.labels(service, cause)
        for reason in Reason:
            self.exceptions.labels(service, reason.value)
        for error_class in ERROR_CLASSES:
            self.dead_letters.labels(service, error_class)

    def count(self, service: str, tally: Tally, *, now_us: int) -> None:
        """Count one committed batch."""
        if tally.consumed:
            self.consumed.labels(service).inc(tally.consumed)
        _add(self.produced, service, tally.produced)
        _add(self.suppressed, service, tally.suppressed)
        _add(self.exceptions, service, tally.exceptions)
        _add(self.dead_letters, service, tally.dead_letters)
        observe = self.end_to_end_seconds.labels(service).observe
        for received_at_us in tally.received_at_us:
            observe(max(0, now_us - received_at_us) / 1e6)

    def exposition(self) -> bytes:
        """Everything in the Prometheus text format."""
        return generate_latest(self.registry)


def _add(counter: Counter, service: str, amounts: Mapping[str, int]) -> None:
    for label, amount in amounts.items():
        counter.labels(service, label).inc(amount)
