"""One line of figures for every few seconds of a crunch."""

from __future__ import annotations

import time

from deploy.local.screen import say
from tests.crunch import orders
from tests.crunch.observer import Observation
from tests.crunch.sender import Sender

_HEADER = (
    f"{'phase':<10}{'s':>6}{'orders/s in':>13}{'records/s in':>14}{'instructed/s':>14}"
    f"{'lag':>9}{'lag s':>7}{'RSS MiB':>9}"
)


class Report:
    """Prints a line when the last one is old enough."""

    def __init__(self, sender: Sender, line_seconds: float) -> None:
        """Print the header."""
        self._sender = sender
        self._line_seconds = line_seconds
        self._began = self._printed = time.monotonic()
        self._sent = sender.sent
        self._instructed: int | None = None
        say("\n" + _HEADER)

    def show(self, phase: str, look: Observation) -> None:
        """Print a line, if it is time."""
        if self._instructed is None:
            self._instructed = look.instructed
        passed = look.ended - self._printed
        if passed < self._line_seconds:
            return
        sent, self._sent = self._sender.sent - self._sent, self._sender.sent
        done, self._instructed = look.instructed - self._instructed, look.instructed
        self._printed = look.ended
        rate = sent / passed
        say(
            f"{phase:<10}{look.ended - self._began:>6.0f}{rate:>13,.0f}{rate * orders.RECORDS:>14,.0f}"
            f"{done / passed:>14,.0f}{look.lag:>9,}{look.lag_seconds:>7.1f}{look.resident_mib:>9.0f}"
        )
