"""The engine stays as far ahead as it was when that was recorded; `tests.bench.ratio` says how that is measured."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from deploy.local.kafka_broker import LocalKafka
from services.stage import Outcome, Received, State
from tests.bench import ratio
from tests.bench.peers import engine
from tests.memory_state import MemoryState


@pytest.mark.alone
def test_the_engine_is_as_far_ahead_as_it_was() -> None:
    """A loss of a quarter is found by the change that makes it, not by a bench months later."""
    recorded = ratio.recorded_ratios()
    with LocalKafka() as broker:
        found = ratio.measured(broker.bootstrap_servers, recorded, print)
    assert ratio.too_low(found, recorded) == [], "measure again: python -m tests.bench.ratio"


@pytest.mark.bench
def test_an_engine_that_loses_two_fifths_is_found() -> None:
    """The negative control: the same check on an engine that is slowed on purpose."""
    recorded = ratio.recorded_ratios()
    with LocalKafka() as broker:
        found = ratio.measured(broker.bootstrap_servers, recorded, print, loss=0.4)
    assert ratio.too_low(found, recorded) != []


def test_the_loss_on_purpose_is_the_share_of_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A control that took less than it says would let the check look sharper than it is."""
    clock: Any = SimpleNamespace(now=100.0)

    def monotonic() -> float:
        clock.now += 0.001  # so that a loop that waits comes to its end
        return float(clock.now)

    class Work(engine.PassThrough):
        def process(self, batch: Sequence[Received], state: State, now_us: int) -> list[Outcome]:
            clock.now += 0.1
            return []

    monkeypatch.setattr(engine, "time", SimpleNamespace(monotonic=monotonic))
    monkeypatch.setattr(engine.Slower, "_ended_at", 100.0)
    slower = engine.Slower(Work(), 0.4)
    for _ in range(20):
        slower.process([], MemoryState(), 0)
    assert 20 * 0.1 / (clock.now - 100.0) == pytest.approx(0.6, abs=0.02)


def test_a_quarter_is_the_limit() -> None:
    """Each ratio is judged by itself: a gain in one makes up for no loss in another."""
    recorded = dict.fromkeys(ratio.RATIOS, 40.0)
    assert ratio.too_low(recorded, recorded) == []
    assert ratio.too_low(dict.fromkeys(ratio.RATIOS, 30.1), recorded) == []
    for name in ratio.RATIOS:
        found = dict.fromkeys(ratio.RATIOS, 80.0) | {name: 29.9}
        assert ratio.too_low(found, recorded) == [f"{name}: 29.90, recorded 40.00, at least 30.00 was due"]


def test_what_is_recorded_fits_the_check() -> None:
    """A ratio that nobody recorded would be judged against nothing."""
    assert all(value > 0 for value in ratio.recorded_ratios().values())


def test_ratios_come_from_the_best_rounds() -> None:
    """What is compared is the engine with each peer in the same measure."""
    best: ratio.Best = {
        ("pass-through", "engine"): 90.0,
        ("pass-through", "bare"): 100.0,
        ("pipeline", "engine"): 30.0,
        ("pipeline", "faust"): 1.5,
    }
    assert ratio.ratios(best) == {
        "pass-through, share of the bare loop": 0.9,
        "pipeline, times stock Faust": 20.0,
    }
