"""Names, units and label sets of the worker's metrics, and what is counted."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.domain.reason import Reason
from services.engine.metrics import TRANSACTION_RESULTS, Metrics
from services.engine.work import Tally

UNITS = ("_seconds", "_records", "_rows", "_partitions", "_bytes", "_info", "_keys")
STATES = ("posttrade_service_halted", "posttrade_on_time_failing", "posttrade_crash_protection")
"""Say that something is so, or of how many; they have no unit."""


@pytest.fixture
def metrics() -> Metrics:
    """Two services registered, nothing counted."""
    metrics = Metrics(version="1.2.3")
    metrics.register("capture", inputs=["in-1", "in-2"], outputs=["out"], causes=["repeated"])
    metrics.register("settlement", inputs=["out"], outputs=["end"], causes=[])
    return metrics


def _families(metrics: Metrics):  # type: ignore[no-untyped-def]
    return list(text_string_to_metric_families(metrics.exposition().decode()))


def test_names_follow_the_conventions(metrics: Metrics) -> None:
    """One prefix, counters end in _total, every other name in its base unit, help for people."""
    families = [family for family in _families(metrics) if not family.name.endswith("_created")]  # the client's own
    for family in families:
        assert re.fullmatch(r"posttrade_[a-z_]+", family.name), family.name
        assert family.documentation.endswith("."), f"{family.name} has no sentence"
        if family.type == "counter":
            assert all(sample.name.endswith(("_total", "_created")) for sample in family.samples)
        else:
            assert family.name.endswith(UNITS) or family.name in STATES, f"{family.name} does not end in a base unit"
        assert "milli" not in family.name


def test_every_label_set_is_there_from_the_start(metrics: Metrics) -> None:
    """Nothing happened must read 0: an alert on a rate cannot see a counter that does not exist yet."""
    value = metrics.registry.get_sample_value
    zero = [
        *[("posttrade_records_consumed_total", {"service": name}) for name in ("capture", "settlement")],
        ("posttrade_records_produced_total", {"service": "capture", "topic": "out"}),
        ("posttrade_records_suppressed_total", {"service": "capture", "cause": "repeated"}),
        *[("posttrade_dead_letters_total", {"service": "capture", "error_class": name}) for name in ("DECODE", "BUG")],
        *[("posttrade_exceptions_opened_total", {"service": "capture", "reason": reason.value}) for reason in Reason],
        *[("posttrade_transactions_total", {"result": result}) for result in TRANSACTION_RESULTS],
        *[("posttrade_lag_records", {"service": "capture", "topic": topic}) for topic in ("in-1", "in-2")],
        *[("posttrade_lag_unstable_records", {"service": "capture", "topic": topic}) for topic in ("in-1", "in-2")],
        ("posttrade_unassigned_seconds", {"service": "capture"}),
        ("posttrade_owned_partitions", {"service": "capture"}),
        ("posttrade_rebalances_total", {"service": "capture"}),
        ("posttrade_state_rows", {"service": "capture"}),
        ("posttrade_batch_seconds_count", {"service": "capture"}),
        ("posttrade_end_to_end_seconds_count", {"service": "capture"}),
        ("posttrade_restore_seconds_count", {"service": "capture"}),
        ("posttrade_transaction_seconds_count", {}),
        ("posttrade_last_commit_timestamp_seconds", {}),
        ("posttrade_reference_records", {}),
    ]
    assert {(name, str(labels)): value(name, labels) for name, labels in zero} == {
        (name, str(labels)): 0.0 for name, labels in zero
    }
    assert value("posttrade_build_info", {"version": "1.2.3"}) == 1.0


def test_a_tally_is_counted_completely(metrics: Metrics) -> None:
    """What a batch did is what the dashboards say."""
    tally = Tally(
        consumed=7,
        produced=Counter({"out": 3}),
        suppressed=Counter({"repeated": 2}),
        exceptions=Counter({next(iter(Reason)).value: 1}),
        dead_letters=Counter({"BUG": 1}),
        received_at_us=[1_000_000, 2_500_000],
    )
    metrics.count("capture", tally, now_us=3_000_000)
    value = metrics.registry.get_sample_value
    assert value("posttrade_records_consumed_total", {"service": "capture"}) == 7
    assert value("posttrade_records_produced_total", {"service": "capture", "topic": "out"}) == 3
    assert value("posttrade_records_suppressed_total", {"service": "capture", "cause": "repeated"}) == 2
    assert value("posttrade_exceptions_opened_total", {"service": "capture", "reason": next(iter(Reason)).value}) == 1
    assert value("posttrade_dead_letters_total", {"service": "capture", "error_class": "BUG"}) == 1
    assert value("posttrade_end_to_end_seconds_count", {"service": "capture"}) == 2
    assert value("posttrade_end_to_end_seconds_sum", {"service": "capture"}) == pytest.approx(2.5)


def test_a_clock_ahead_of_ours_does_not_make_time_negative(metrics: Metrics) -> None:
    """The broker's clock stamped the input."""
    metrics.count("capture", Tally(received_at_us=[9_000_000]), now_us=1_000_000)
    assert metrics.registry.get_sample_value("posttrade_end_to_end_seconds_sum", {"service": "capture"}) == 0
