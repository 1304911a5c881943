"""Rules of the life cycle, broken one at a time: the auditor must notice each, or a run that passes proves nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from services.allocation.giving import GivingDesk
from services.allocation.process import _Desk
from services.capture import waiting
from services.confirmation import taking_back
from services.confirmation.desk import DUPLICATE, Desk
from services.domain.record import Decimal, replace
from services.settlement.process import SettlementStage
from services.stage import Suppress
from tests.sim.options import Options
from tests.sim.run import Pipeline, simulate, surroundings
from tests.sim.workload import bank

SEEDS_MAX = 25
OPTIONS: dict[str, Any] = {"workers": 1, "flows": 24, "partitions": 2, "work_seconds": 2.0, "yield_rate": 0.0}
"""Without any fault, so that nothing but the rule can be noticed; enough flows for one that is changed late."""


def _never_waited_for(*_: object) -> list[Any]:
    return []


def _still_given(self: GivingDesk, *_: object) -> None:
    """The share stays published."""


def _forgets_instructions(_: _Desk, block: Any) -> Any:
    return replace(block, allocated_quantity=Decimal(0), policy=None, judged=())


def _still_matched(desk: Desk, *_: object) -> None:
    desk.outcomes.append(DUPLICATE)


def _never_answered(*_: object, told: str) -> None:
    """That the counterparty agrees is told to nobody."""


def _still_instructed(self: SettlementStage, *_: object) -> list[Any]:
    return [Suppress(cause="duplicate")]


RULES: dict[str, tuple[Any, str, Callable[..., Any]]] = {
    "what waits for a report is released when it comes": (waiting, "released", _never_waited_for),
    "a share that no longer holds is taken back": (GivingDesk, "_take_back", _still_given),
    "a block that is changed is judged by all its instructions": (_Desk, "_reopened", _forgets_instructions),
    "a match that is taken back ends what was confirmed": (taking_back, "take_back", _still_matched),
    "a match that is taken back is cancelled once the counterparty agrees": (Desk, "answer", _never_answered),
    "a trade that is taken back is not instructed any more": (SettlementStage, "_take_back", _still_instructed),
}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_that_is_broken_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a few seeds the run is refused, and the same seed passes with the rule in force."""
    owner, rule, instead = RULES[name]
    world = Pipeline()
    bank()  # the day is made by the stages, too: with the rule in force
    with surroundings():
        for seed in range(SEEDS_MAX):
            options = Options(seed=seed, **OPTIONS)
            with monkeypatch.context() as broken:
                broken.setattr(owner, rule, instead)
                is_refused = simulate(options, world).was_refused
            if is_refused:
                assert not simulate(options, world).breaks, "the seed fails with the rule in force as well"
                return
    pytest.fail(f"nobody noticed in {SEEDS_MAX} seeds: {name}")
