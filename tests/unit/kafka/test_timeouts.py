"""One wait must be shorter than another, whatever values somebody sets."""

from __future__ import annotations

from typing import Any

import pytest

from services.adapters.kafka_timeouts import DEFAULT_TIMEOUTS, Timeouts


def test_the_defaults_fit() -> None:
    """What production runs with, and what reliability rests on: the transaction dies before its partitions move."""
    assert DEFAULT_TIMEOUTS.transaction_ms < DEFAULT_TIMEOUTS.session_ms
    assert 3 * DEFAULT_TIMEOUTS.heartbeat_ms <= DEFAULT_TIMEOUTS.session_ms


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"transaction_ms": 12_000}, r"transaction timeout \(12000 ms\) must be below the session timeout"),
        ({"session_ms": 10_000}, "transaction timeout .* must be below the session timeout"),
        ({"message_ms": 10_000}, "message timeout .* must be below the transaction timeout"),
        ({"request_ms": 10_001}, "request timeout .* must be below the transaction timeout"),
        ({"max_poll_interval_ms": 12_000}, "session timeout .* must be below the max poll interval"),
        ({"message_ms": 0}, "at least 1000 ms"),
        ({"request_ms": -1}, "at least 1000 ms"),
    ],
)
def test_values_that_contradict_each_other_are_refused(values: dict[str, Any], sentence: str) -> None:
    """At the start, in a sentence; not as a doubled record in the first outage."""
    with pytest.raises(ValueError, match=sentence):
        Timeouts(**values)


def test_a_short_session_has_its_heartbeats() -> None:
    """Tests kill often and shorten it."""
    assert Timeouts(session_ms=6_000, transaction_ms=5_000, message_ms=4_000, request_ms=4_000).heartbeat_ms == 2_000
