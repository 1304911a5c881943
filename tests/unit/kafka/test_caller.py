"""Calls of the Kafka client that never return are given up."""

from __future__ import annotations

import threading

import pytest

from services.adapters.kafka_producer import Caller, ConnectionWatch


def test_a_call_is_made_in_order_and_raises_what_it_raises() -> None:
    """The thread between must not be noticed."""
    caller = Caller()
    seen: list[object] = []
    caller.call(seen.append, (1,), 5)
    with pytest.raises(ZeroDivisionError):
        caller.call(lambda: 1 / 0, (), 5)
    caller.call(seen.append, (2,), 5)
    assert seen == [1, 2]
    caller.close()


def test_a_call_that_does_not_return_is_given_up_and_holds_nothing_up() -> None:
    """The commit thread, and the end of the process, would wait for it for ever."""
    caller = Caller()
    release = threading.Event()
    with pytest.raises(TimeoutError):
        caller.call(release.wait, (), 0.05)
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "kafka-call" and thread.is_alive()]
    assert thread.daemon
    caller.close()
    release.set()
    thread.join(5)
    assert not thread.is_alive()


@pytest.mark.parametrize(("facility", "has_lost"), [("FAIL", True), ("REQTMOUT", True), ("GETPID", False)])
def test_lost_connections_are_heard_for_good(facility: str, has_lost: bool) -> None:
    """The client keeps repetitions back: what was forgotten would not be said again."""
    watch = ConnectionWatch()
    watch.log(20, "%s [%s] %s", facility, "client", "a sentence with 100 %")
    watch.log(20, "%s [%s] %s", "GETPID", "client", "harmless")
    assert watch.has_lost is has_lost
