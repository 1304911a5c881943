"""What an error of the Kafka client means for the one who asked. Translated here and nowhere else."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException

from services.engine.log import AbortRequired, CommitUnknown, Fenced, LogError, Unavailable

# confluent-kafka's public names of errors that arise in the client itself begin with an underscore: hence SLF001.

FENCED_CODES = frozenset(
    {
        KafkaError._FENCED,  # noqa: SLF001
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.PRODUCER_FENCED,
    }
)
"""A newer producer exists, or the cluster has aborted the transaction because it was open for too long."""

PASSING_CODES = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._MAX_POLL_EXCEEDED,  # noqa: SLF001  # the client joins again by itself
        KafkaError._RESOLVE,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._TIMED_OUT_QUEUE,  # noqa: SLF001
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._WAIT_COORD,  # noqa: SLF001
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.CONCURRENT_TRANSACTIONS,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.KAFKA_STORAGE_ERROR,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.NOT_COORDINATOR,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
    }
)
"""What passes by itself once the cluster is there again."""

REFUSED_CODES = frozenset(
    {
        KafkaError._AUTHENTICATION,  # noqa: SLF001
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.INVALID_TRANSACTION_TIMEOUT,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)
"""What no repetition mends."""

OFFSET_LOST_CODES = frozenset(
    {
        KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001
        KafkaError._LOG_TRUNCATION,  # noqa: SLF001
        KafkaError.OFFSET_OUT_OF_RANGE,
    }
)
"""The next record of a partition is not in the log."""


UNREADABLE_CODES = frozenset({KafkaError._BAD_COMPRESSION, KafkaError._BAD_MSG})  # noqa: SLF001
"""The client cannot unpack what lies there, however often it is asked: above all what unpacks to more than 100 MB."""


def error_text(error: KafkaException) -> str:
    """What went wrong, without librdkafka's codes."""
    detail = error.args[0]
    return detail.str() if isinstance(detail, KafkaError) else str(detail)


def unanswered(error: KafkaException, sentence: str) -> LogError:
    """A question that was not answered: Unavailable when it may be asked again, LogError when that is of no use."""
    detail = error.args[0]
    passes = isinstance(detail, KafkaError) and (detail.code() in PASSING_CODES or detail.retriable())
    return (Unavailable if passes else LogError)(f"{sentence}: {error_text(error)}")


def remedy(detail: KafkaError) -> LogError:
    """The remedy for an error in a transaction.

    What is not clearly fenced, refused or abortable is doubt: fatal does not mean "not committed".
    """
    if detail.code() in FENCED_CODES:
        return Fenced(f"another worker has taken over this slot: {detail.str()}")
    if detail.code() in REFUSED_CODES:
        return LogError(f"Kafka refuses the transaction: {detail.str()}; see the rights and topics of this worker")
    if detail.txn_requires_abort():
        return AbortRequired(detail.str())
    return CommitUnknown(detail.str())
