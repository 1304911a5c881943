"""The engine's own waits, shortened: nothing here depends on their length."""

from __future__ import annotations

import pytest

from services.engine import coordinator, in_flight, lag, outage, proving, reference


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Poll, tick, measure and retry often."""
    monkeypatch.setattr(coordinator, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(coordinator, "TICK_SECONDS", 0.02)
    monkeypatch.setattr(lag, "LAG_SECONDS", 0.02)
    monkeypatch.setattr(reference, "FOLLOW_SECONDS", 0.02)
    monkeypatch.setattr(in_flight, "RETRY_SECONDS", 0.002)
    monkeypatch.setattr(proving, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(outage, "PAUSE_SECONDS_MIN", 0.005)
    monkeypatch.setattr(outage, "PAUSE_SECONDS_MAX", 0.02)
