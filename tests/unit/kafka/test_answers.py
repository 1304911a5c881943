"""Answers of the Kafka client that never come, and clients that cannot be made: nothing is waited for or left over."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import Producer

from deploy.local.data_directory import free_port
from services.adapters import kafka_log, kafka_producer, topic_admin
from services.adapters.kafka_log import KafkaLog
from services.adapters.topic_admin import TopicAdmin
from services.engine.log import LogError, TopicPartition, Unavailable

PLACE = TopicPartition("in", 0)


class Silent:
    """An administration client whose futures nobody ever fills."""

    def __init__(self) -> None:
        self.asked = 0

    def list_offsets(self, wanted: dict[Any, Any], **_settings: object) -> dict[Any, Future[Any]]:
        self.asked += 1
        return {place: Future() for place in wanted}

    def list_topics(self, *_arguments: object, **_settings: object) -> None:
        """Answered, as if the connection were well."""

    def list_consumer_group_offsets(self, asked: list[Any], **_settings: object) -> dict[Any, Future[Any]]:
        return {group: Future() for group in asked}


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Silent:
    """The client, and a short time for an answer."""
    monkeypatch.setattr(kafka_log, "_ATTEMPT_SECONDS", 0.05)
    monkeypatch.setattr(kafka_log, "_GRACE_SECONDS", 0.05)
    monkeypatch.setattr(kafka_log, "ANSWER_SECONDS_MAX", 0.2)
    monkeypatch.setattr(kafka_log, "_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(topic_admin, "REQUEST_SECONDS_MAX", 0.1)
    return Silent()


def _within_seconds(function: Any, *arguments: Any, **options: Any) -> Any:
    """The result, or what was raised; fails when it does not come."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(function(*arguments, **options))
        except BaseException as error:  # noqa: BLE001  # raised again below
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future.result(20)


@pytest.mark.parametrize("committed_only", [False, True])
def test_offsets_that_are_never_told_are_unavailable(silent: Silent, committed_only: bool) -> None:
    """Lag and every restore ask for them: one lost answer would hold a partition up for ever."""
    log = KafkaLog("127.0.0.1:1")
    log._admin_client = silent  # type: ignore[assignment]
    with pytest.raises(Unavailable, match="offsets of a partition could not be read"):
        _within_seconds(log.end_offsets, [PLACE], committed_only=committed_only)
    assert silent.asked >= 2, "it is asked again as long as there is time"


def test_an_administration_that_is_never_answered_ends_in_one_sentence(silent: Silent) -> None:
    """Whoever waits at a prompt is told; a traceback says nothing of the cluster."""
    admin = TopicAdmin("127.0.0.1:1")
    admin._client = silent  # type: ignore[assignment]
    with pytest.raises(LogError, match=r"could not be read: no answer within 0\.1 s"):
        _within_seconds(admin.committed, "posttrade.capture")


def _call_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "kafka-call"}


def test_a_take_over_that_fails_leaves_no_thread_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker tries again and again in an outage: a thread for each attempt, with its client, would exhaust it."""
    monkeypatch.setattr(kafka_producer, "ANSWER_SECONDS_MAX", 0.2)
    log = KafkaLog(f"127.0.0.1:{free_port()}")
    before = _call_threads()
    for _ in range(3):
        with pytest.raises(Unavailable, match=r"identity worker\.0 could not be taken over"):
            log.producer("worker.0")
    for thread in _call_threads() - before:
        thread.join(10)
    assert _call_threads() <= before


def test_a_client_that_cannot_be_made_leaves_no_thread_behind() -> None:
    """Settings that the client refuses end the worker, which must be able to end."""
    log = KafkaLog("127.0.0.1:1", client_settings={"no.such.setting": "1"})
    before = _call_threads()
    with pytest.raises(LogError, match=r"no\.such\.setting|could not be"):
        log.producer("worker.0")
    for thread in _call_threads() - before:
        thread.join(10)
    assert _call_threads() <= before


def test_a_take_over_that_never_returns_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that commits would wait in it for ever, although the log is there again."""
    monkeypatch.setattr(kafka_producer, "ANSWER_SECONDS_MAX", 0.05)
    monkeypatch.setattr(kafka_producer, "_GRACE_SECONDS", 0.05)
    release = threading.Event()

    class Hanging(Producer):
        def init_transactions(self, *_arguments: Any) -> None:
            release.wait(20)

    monkeypatch.setattr(kafka_producer, "Producer", Hanging)
    try:
        with pytest.raises(Unavailable, match=r"did not take the identity worker\.0 over"):
            KafkaLog(f"127.0.0.1:{free_port()}").producer("worker.0")
    finally:
        release.set()
