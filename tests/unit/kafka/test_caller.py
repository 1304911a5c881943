"""Calls of the Kafka client that never return are given up."""

from __future__ import annotations

import threading

import pytest
from confluent_kafka import KafkaError, KafkaException

from services.adapters.kafka_producer import Caller, ConnectionWatch, native


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


def _blamed(cause: Exception) -> None:
    raise SystemError("the watch returned a result with an exception set") from cause


def test_a_fatal_error_is_heard_although_python_blames_what_ran_beside_it() -> None:
    """The client leaves it pending while it hands out its lines; a fenced worker must end as fenced, not as broken."""
    fenced = KafkaException(KafkaError(KafkaError._FENCED))
    caller = Caller()
    with pytest.raises(KafkaException) as raised:
        caller.call(_blamed, (fenced,), 5.0)
    caller.close()
    assert raised.value is fenced
    with pytest.raises(SystemError):
        native(_blamed, ValueError("something else is broken"))
