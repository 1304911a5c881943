"""Which topic it is that has a name now."""

from __future__ import annotations

import time

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from services.adapters.kafka_errors import unanswered
from services.engine.log import LogError, Unavailable

_RETRY_SECONDS = 0.2
_UNKNOWN_SECONDS_MAX = 2.0


def topic_id(admin: AdminClient, topic: str, timeout_seconds: float) -> str:
    """Id of the cluster and of the topic, by its name on the wire.

    Asks again until the time is over, for a moment also after "unknown topic": a broker may not know yet what another
    has just created. Raises Unavailable; LogError when there is no such topic or the cluster is too old to give ids.
    """
    began = time.monotonic()
    while True:
        try:
            return _ask(admin, topic, timeout_seconds)
        except KafkaException as error:
            is_unknown = error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART
            if time.monotonic() - began > (_UNKNOWN_SECONDS_MAX if is_unknown else timeout_seconds):
                raise unanswered(error, f"the id of topic {topic} could not be read") from error
            time.sleep(_RETRY_SECONDS)
        except TimeoutError:
            raise Unavailable(f"the id of topic {topic} could not be read within {timeout_seconds:.0f} s") from None


def _ask(admin: AdminClient, topic: str, timeout_seconds: float) -> str:
    cluster = admin.cluster_id(timeout=timeout_seconds)
    answers = admin.describe_topics(TopicCollection([topic]), request_timeout=timeout_seconds)
    found = answers[topic].result(timeout_seconds).topic_id
    high, low = found.get_most_significant_bits(), found.get_least_significant_bits()
    if not (high or low) or not cluster:
        raise LogError(f"the cluster gives topic {topic} no id; run Kafka 2.8 or newer")
    return f"{cluster}/{high & _WORD:016x}{low & _WORD:016x}"


_WORD = (1 << 64) - 1  # the client gives each half as a signed number
