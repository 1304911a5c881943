"""What a command works on: settings, topics, codec, and the cluster's log and administration.

A command gets it through its context. Tests put another one there, with the log in memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import structlog

from services.adapters.topic_admin import TopicAdmin
from services.adapters.topic_codec import FormatCodec
from services.commands.failure import BadRequest
from services.commands.text import nearest
from services.engine.log import Log
from services.pipeline import make_codec, make_log
from services.settings import Settings, load_settings
from services.topics import TopicSpecification, load_topics

log_event = structlog.get_logger("posttrade.kafka")


def client_settings(settings: Settings) -> dict[str, Any]:
    """What every client gets beyond the address: security, and silence.

    librdkafka would write lines of its own to standard error. What it can mend by itself goes to the debug log; what
    it cannot comes up as an error of the call that failed.
    """
    return {**settings.kafka_client(), "log_level": 0, "error_cb": _note_error}


def _note_error(error: Any) -> None:
    log_event.debug("client error", cause=str(error))


class Cluster:
    """The cluster that the environment names, opened when a command first needs it."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """Read nothing yet; `environment` is the process's own unless a test says otherwise."""
        self._environment = environment

    @cached_property
    def settings(self) -> Settings:
        """The settings. Raises SettingsError."""
        return load_settings(os.environ if self._environment is None else self._environment)

    @cached_property
    def topics(self) -> dict[str, TopicSpecification]:
        """Every declared topic, by name."""
        return load_topics()

    @cached_property
    def codec(self) -> FormatCodec:
        """The codec of all topics."""
        return make_codec()

    @property
    def is_named(self) -> bool:
        """Whether the settings name a cluster."""
        return bool(self.settings.bootstrap_servers)

    def topic(self, name: str) -> TopicSpecification:
        """The declared topic of that name. Raises BadRequest, with the nearest name, when there is none."""
        found = self.topics.get(name)
        if found is None:
            raise BadRequest(f"topic {name} is unknown.{nearest(name, self.topics)} See: posttrade topics list")
        return found

    @contextmanager
    def log(self) -> Iterator[Log]:
        """The log, for as long as the command needs it. Raises LogError within seconds when no cluster answers."""
        log = make_log(self.settings, client_settings=client_settings(self.settings))
        self.admin().reach()
        try:
            yield log
        finally:
            log.close()

    def admin(self) -> TopicAdmin:
        """The administration of the topics."""
        settings = self.settings
        return TopicAdmin(
            settings.bootstrap_servers,
            prefix=settings.topic_prefix,
            client_settings=client_settings(settings),
            replication_factor=settings.replication_factor,
        )
