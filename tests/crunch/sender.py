"""Sends orders at a given rate, on a thread of its own, and knows how many it has sent."""

from __future__ import annotations

import threading
import time

from services.adapters.topic_codec import FormatCodec
from services.engine.log import Log
from tests.crunch import orders

_STEP_SECONDS = 0.1
_ORDERS_MAX = 5_000
"""At once, when the machine does not keep up with the rate."""


class Sender:
    """Orders from number 0 on. The rate may be changed at any time; 0 stops the sending."""

    def __init__(self, log: Log, codec: FormatCodec) -> None:
        """Nothing is sent before `start`."""
        self.rate = 0.0
        """Orders a second."""
        self.sent = 0
        """Orders whose records the broker has acknowledged."""
        self._log = log
        self._codec = codec
        self._stopping = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def send(self, count: int) -> None:
        """Send so many at once, before `start`."""
        numbers = range(self.sent, self.sent + count)
        self._log.send(record for number in numbers for record in orders.records(self._codec, number))
        self.sent += count

    def check(self) -> None:
        """Raises what ended the sending."""
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            self._pace()
        except Exception as error:  # noqa: BLE001  # raised again by `check`
            self._failure = error

    def _pace(self) -> None:
        owed, looked_at = 0.0, time.monotonic()
        while not self._stopping.wait(_STEP_SECONDS):
            now = time.monotonic()
            owed += (now - looked_at) * self.rate
            looked_at = now
            due = min(int(owed), _ORDERS_MAX)
            owed -= due
            if due:
                self.send(due)
