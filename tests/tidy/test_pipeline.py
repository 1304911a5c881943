"""The map of the pipeline, the topics and the prose say the same."""

from __future__ import annotations

import importlib
from typing import Any

import services
from services.topics import load_topics
from tests.tidy import source

TOPICS = load_topics()


def pipeline() -> tuple[Any, ...]:
    """The services as services.pipeline lists them. Imported here, so that other tests of structure run without it."""
    listed: tuple[Any, ...] = importlib.import_module("services.pipeline").SERVICES
    assert listed, "services.pipeline.SERVICES was empty"
    return listed


def test_every_topic_of_the_pipeline_is_declared() -> None:
    """A topic without a file is created by nobody and watched by nobody."""
    named = {topic for service in pipeline() for topic in (*service.inputs, *service.outputs)}
    assert sorted(named - TOPICS.keys()) == []


def test_topics_name_the_services_that_read_and_write_them() -> None:
    """Whoever changes a topic asks those it names; one that is left out is broken by surprise."""
    for service in pipeline():
        reads = {name for name, topic in TOPICS.items() if service.name in topic.consumers}
        writes = {name for name, topic in TOPICS.items() if service.name in topic.producers}
        assert (service.name, reads, writes) == (service.name, set(service.inputs), set(service.outputs))


def test_every_reader_and_writer_exists() -> None:
    """A name that is no service is a slip of the pen."""
    known = {service.name for service in pipeline()} | {"engine"}
    for topic in TOPICS.values():
        assert topic.producers, topic.name
        assert topic.consumers, topic.name
        for name in (*topic.producers, *topic.consumers):
            assert name in known or name.startswith("external: "), f"{topic.name} names {name}"


def test_what_a_service_writes_somebody_reads() -> None:
    """A topic that nobody reads is where trades would end without a trace."""
    for service in pipeline():
        for name in service.outputs:
            readers = [reader for reader in TOPICS[name].consumers if reader != service.name]
            assert readers, f"{name} has no reader"


def test_the_order_of_the_services_is_told_once() -> None:
    """Pipeline, package docstring and the tests of structure name the same services in the same order."""
    names = tuple(service.name for service in pipeline())
    assert names == source.SERVICES
    assert " → ".join(names) in (services.__doc__ or "")


def test_every_service_has_its_state_topic() -> None:
    """State without a changelog is lost with its worker."""
    assert {f"state.{service.name}" for service in pipeline()} <= TOPICS.keys()
