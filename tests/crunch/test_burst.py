"""A minute of twenty times the usual rate: memory stays, lag tells the truth, order holds, and all is caught up."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local.screen import say
from tests.crunch import judge
from tests.crunch.play import TIMES, play, sustainable_rate
from tests.crunch.scene import playing

STEADY_SECONDS = 5.0
BURST_SECONDS = 60.0
CATCH_UP_SECONDS_MAX = 180.0
"""Twice to thrice what it takes on two cores with nothing else under way."""


@pytest.mark.alone
def test_a_burst_of_twenty_times_the_steady_rate_is_survived_and_caught_up(tmp_path: Path) -> None:
    """The open of a market after bad news: whoever falls over then falls over when it costs most."""
    with playing(tmp_path) as scene:
        steady = sustainable_rate(scene)
        course = play(
            scene, steady=steady, steady_seconds=STEADY_SECONDS, burst_seconds=BURST_SECONDS, line_seconds=5.0,
            seconds_max=CATCH_UP_SECONDS_MAX,
        )  # fmt: skip
        say(course.text())
        say(judge.text(scene.observer.seen, course.before))

        seconds_of_burst = course.orders_in_burst / (TIMES * steady)
        assert seconds_of_burst > 0.9 * BURST_SECONDS, "the burst was not sent at its rate"
        assert course.backlog > 5 * steady * TIMES, "the burst was no crunch: everything was processed as it came"
        assert max(look.lag_seconds for look in course.burst) > 5.0, "seconds of lag hid the backlog"
        judge.check(scene, course)
