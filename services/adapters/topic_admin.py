"""Topics of a Kafka cluster: what is declared is created, what differs is altered or reported, nothing is removed.

A topic whose number of partitions differs is never changed: records of one key would lie in two partitions, and a join
or a duplicate check across them would miss. Settings that are not declared are the cluster's own business.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, NamedTuple

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource, ConfigSource
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewTopic

from services.adapters.kafka_errors import error_text
from services.engine.log import LogError, TopicPartition
from services.topics import TopicSpecification

REQUEST_SECONDS_MAX = 20.0
_LEADER_RETRY_SECONDS = 0.1
_LEADERS_ATTEMPT_SECONDS = 5.0
_LEADERS_SECONDS_MAX = 30.0  # a busy broker takes its time with a hundred new partitions
REACH_SECONDS_MAX = 8.0
"""How long a command looks for the cluster before it says that it is not there."""


class ExistingTopic(NamedTuple):
    """A topic as the cluster has it."""

    partitions: int
    config: Mapping[str, str]
    """Every setting in force, the cluster's defaults included."""


class Action(StrEnum):
    """What is to be done about a topic, or was."""

    NONE = "unchanged"
    CREATE = "created"
    ALTER = "altered"
    REFUSE = "refused"


class TopicChange(NamedTuple):
    """How a topic differs from what is declared."""

    name: str
    action: Action
    details: str
    """Settings as `name: found -> declared`, or why nothing was done."""


def compare(topic: TopicSpecification, existing: ExistingTopic | None) -> TopicChange:
    """What brings the topic to what is declared; where the number of partitions differs, nothing else is looked at."""
    if existing is None:
        return TopicChange(topic.name, Action.CREATE, f"{topic.config.partitions} partitions")
    if existing.partitions != topic.config.partitions:
        return TopicChange(
            topic.name,
            Action.REFUSE,
            f"has {existing.partitions} partitions, {topic.config.partitions} are declared: keys would move; "
            "set the declared number back, or stop all workers, empty and delete the topics that are joined with it "
            "and apply again",
        )
    differing = _differing(topic, existing)
    details = ", ".join(f"{name}: {existing.config.get(name, 'unset')} -> {value}" for name, value in differing.items())
    return TopicChange(topic.name, Action.ALTER if differing else Action.NONE, details)


def _differing(topic: TopicSpecification, existing: ExistingTopic) -> dict[str, str]:
    return {
        name: value for name, value in topic.config.to_kafka().items() if not _same(existing.config.get(name), value)
    }


def _same(found: str | None, declared: str) -> bool:
    if found is None:
        return False
    try:
        return Decimal(found) == Decimal(declared)  # 0.10 and 0.1 are one ratio
    except InvalidOperation:
        return found == declared


class TopicAdmin:
    """The administration of one installation's topics and groups; `prefix` as in `KafkaLog`."""

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        prefix: str = "",
        client_settings: Mapping[str, Any] | None = None,
        replication_factor: int = -1,
    ) -> None:
        """Remember where the cluster is; nothing connects yet."""
        self._servers = bootstrap_servers
        self._prefix = prefix
        self._replication_factor = replication_factor
        self._client = AdminClient({"bootstrap.servers": bootstrap_servers, **(client_settings or {})})

    def reach(self, seconds_max: float = REACH_SECONDS_MAX) -> None:
        """Return when the cluster answers. Raises LogError with one sentence when it does not in time."""
        try:
            self._client.list_topics(timeout=seconds_max)
        except KafkaException as error:
            raise LogError(f"no Kafka cluster answered at {self._servers} within {seconds_max:g} s") from error

    def existing(self, names: Iterable[str]) -> dict[str, ExistingTopic]:
        """Those of the topics that exist, with their settings."""
        wanted = set(names)
        try:
            metadata = self._client.list_topics(timeout=REQUEST_SECONDS_MAX)
        except KafkaException as error:
            raise LogError(f"the topics could not be listed: {error_text(error)}") from error
        counts = {
            name: len(metadata.topics[self._prefix + name].partitions)
            for name in wanted
            if self._prefix + name in metadata.topics
        }
        resources = [ConfigResource(ResourceType.TOPIC, self._prefix + name) for name in counts]
        if not resources:
            return {}
        answers = self._client.describe_configs(resources, request_timeout=REQUEST_SECONDS_MAX)
        configs = {resource.name: _result(answer, "read") for resource, answer in answers.items()}
        return {
            name: ExistingTopic(count, {key: entry.value for key, entry in configs[self._prefix + name].items()})
            for name, count in counts.items()
        }

    def apply(self, topics: Mapping[str, TopicSpecification]) -> list[TopicChange]:
        """Create what is missing, alter what differs, and say what was done to each topic.

        When a topic is refused, nothing at all is done and only the refused ones are answered. Raises LogError when the
        cluster says no.
        """
        existing = self.existing(topics)
        changes = [compare(topic, existing.get(name)) for name, topic in topics.items()]
        refused = [change for change in changes if change.action is Action.REFUSE]
        if refused:
            return refused
        self._create([topics[change.name] for change in changes if change.action is Action.CREATE])
        for change in changes:
            if change.action is Action.ALTER:
                topic = topics[change.name]
                self._alter(topic, _differing(topic, existing[change.name]))
        return changes

    def _create(self, topics: list[TopicSpecification]) -> None:
        if not topics:
            return
        new = [
            NewTopic(
                self._prefix + topic.name,
                num_partitions=topic.config.partitions,
                replication_factor=self._replication_factor,
                config=topic.config.to_kafka(),
            )
            for topic in topics
        ]
        answers = self._client.create_topics(new, operation_timeout=REQUEST_SECONDS_MAX)
        for answer in answers.values():
            _result(answer, "created", accept=KafkaError.TOPIC_ALREADY_EXISTS)  # somebody else applies the same files
        self._await_leaders(topics)

    def _await_leaders(self, topics: list[TopicSpecification]) -> None:
        """Return when every partition of new topics can be read: for a moment after creation no leader answers.

        A client that has asked in that moment may believe for ever that there are none, and answers so without asking
        the cluster again; reading the metadata of all topics corrects it.
        """
        deadline = time.monotonic() + _LEADERS_SECONDS_MAX
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        partitions = {
            KafkaTopicPartition(self._prefix + topic.name, number): latest
            for topic in topics
            for number in range(topic.config.partitions)
        }
        while True:
            answers = self._client.list_offsets(partitions, request_timeout=_LEADERS_ATTEMPT_SECONDS)
            try:
                for answer in answers.values():
                    _result(answer, "read after its creation")
            except LogError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_LEADER_RETRY_SECONDS)
                with contextlib.suppress(LogError):  # whether the cluster is there is seen by the next attempt
                    self.reach(_LEADERS_ATTEMPT_SECONDS)
            else:
                return

    def _alter(self, topic: TopicSpecification, settings: Mapping[str, str]) -> None:
        entries = [
            ConfigEntry(
                name, value, source=ConfigSource.DYNAMIC_TOPIC_CONFIG, incremental_operation=AlterConfigOpType.SET
            )
            for name, value in settings.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, self._prefix + topic.name, incremental_configs=entries)
        for answer in self._client.incremental_alter_configs([resource]).values():
            _result(answer, "altered")

    def committed(self, group: str) -> dict[TopicPartition, int]:
        """Offsets the group has committed, without joining it; waits until no open transaction holds one of them."""
        asked = [ConsumerGroupTopicPartitions(self._prefix + group)]
        answers = self._client.list_consumer_group_offsets(
            asked, require_stable=True, request_timeout=REQUEST_SECONDS_MAX
        )
        found = next(iter(answers.values()))
        rows = _result(found, "read").topic_partitions
        return {
            TopicPartition(row.topic.removeprefix(self._prefix), row.partition): row.offset
            for row in rows
            if row.error is None and row.offset >= 0
        }


def _result(answer: Future[Any], verb: str, *, accept: int | None = None) -> Any:
    try:
        return answer.result(REQUEST_SECONDS_MAX)
    except KafkaException as error:
        if accept is not None and error.args[0].code() == accept:
            return None
        raise LogError(f"a topic or group could not be {verb}: {error_text(error)}") from error
    except TimeoutError:
        raise LogError(
            f"a topic or group could not be {verb}: no answer within {REQUEST_SECONDS_MAX:g} s; is the cluster well?"
        ) from None
