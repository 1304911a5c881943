"""Our histogram beside the client's own: dashboards must not see which of the two was asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, disable_created_metrics, generate_latest

from services.engine.histogram import BulkHistogram

BOUNDS = (0.0078125, 0.25, 1.0, 5.0)
SERVICES = ("capture", "settlement")
_AMOUNTS = st.lists(
    st.one_of(st.sampled_from([0.0, *BOUNDS, 6.0]), st.integers(0, 8_000).map(lambda part: part / 1024))
)
"""All of them sums of powers of two, so that their sum is exact in whatever order they are added."""


def _page(registry: CollectorRegistry) -> str:
    return generate_latest(registry).decode()


@given(st.lists(st.tuples(st.sampled_from(SERVICES), _AMOUNTS), max_size=6))
def test_the_page_is_the_one_of_the_client(batches: list[tuple[str, list[float]]]) -> None:
    """Bounds that are met exactly, times beyond all bounds, and a service that saw nothing yet."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    bulk = BulkHistogram("waited_seconds", "How long.", "service", BOUNDS)
    ours.register(bulk)
    single = Histogram("waited_seconds", "How long.", ["service"], buckets=BOUNDS, registry=theirs)
    for service in SERVICES:
        bulk.register(service)
        single.labels(service)
    for service, amounts in batches:
        bulk.observe_all(service, amounts)
        for amount in amounts:
            single.labels(service).observe(amount)
        assert _page(ours) == _page(theirs)


def test_a_service_that_was_not_registered_is_counted_all_the_same() -> None:
    """A label that is new must not lose what was observed."""
    registry = CollectorRegistry()
    bulk = BulkHistogram("waited_seconds", "How long.", "service", BOUNDS)
    registry.register(bulk)
    bulk.observe_all("capture", [0.1, 0.2, 100.0])
    assert registry.get_sample_value("waited_seconds_count", {"service": "capture"}) == 3
    assert registry.get_sample_value("waited_seconds_sum", {"service": "capture"}) == pytest.approx(100.3)
