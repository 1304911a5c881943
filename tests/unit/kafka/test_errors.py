"""What each kind of error of the Kafka client is made of: wait, abort, ask, stop."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException

from services.adapters.kafka_errors import OFFSET_LOST_CODES, PASSING_CODES, REFUSED_CODES, remedy, unanswered
from services.engine.log import AbortRequired, CommitUnknown, Fenced, LogError, Unavailable


def _error(code: int, *, fatal: bool = False, retriable: bool = False, abort: bool = False) -> KafkaError:
    return KafkaError(code, "as the client says it", fatal, retriable, abort)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (_error(KafkaError._FENCED, fatal=True), Fenced),
        (_error(KafkaError.INVALID_PRODUCER_EPOCH, fatal=True), Fenced),
        (_error(KafkaError.PRODUCER_FENCED, abort=True), Fenced),
        (_error(KafkaError._INCONSISTENT, abort=True), AbortRequired),
        (_error(KafkaError.ILLEGAL_GENERATION, abort=True), AbortRequired),
        (_error(KafkaError._TIMED_OUT, retriable=True), CommitUnknown),
        (_error(KafkaError._CONFLICT, retriable=True), CommitUnknown),
        (_error(KafkaError._STATE), CommitUnknown),
        (_error(KafkaError._FATAL), CommitUnknown),
        (_error(KafkaError.INVALID_TXN_STATE, fatal=True), CommitUnknown),
        (_error(KafkaError._TRANSPORT), CommitUnknown),
        (_error(KafkaError.TOPIC_AUTHORIZATION_FAILED, abort=True), LogError),
        (_error(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, fatal=True), LogError),
        (_error(KafkaError._UNKNOWN_TOPIC), LogError),
    ],
    ids=str,
)
def test_the_remedy_in_a_transaction(error: KafkaError, kind: type[LogError]) -> None:
    """A wrong line here loses or doubles an instruction, or hides a missing right behind retries."""
    assert type(remedy(error)) is kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (_error(KafkaError._TIMED_OUT), Unavailable),
        (_error(KafkaError._TRANSPORT), Unavailable),
        (_error(KafkaError.COORDINATOR_NOT_AVAILABLE), Unavailable),
        (_error(KafkaError.LEADER_NOT_AVAILABLE), Unavailable),
        (_error(KafkaError._CONFLICT, retriable=True), Unavailable),
        (_error(KafkaError.GROUP_AUTHORIZATION_FAILED), LogError),
        (_error(KafkaError._AUTHENTICATION), LogError),
        (_error(KafkaError.UNKNOWN_TOPIC_OR_PART), LogError),
    ],
    ids=str,
)
def test_a_question_may_be_asked_again_or_not(error: KafkaError, kind: type[LogError]) -> None:
    """An outage is waited for; what waiting does not mend is said at once."""
    answer = unanswered(KafkaException(error), "offsets could not be read")
    assert type(answer) is kind
    assert str(answer).startswith("offsets could not be read: ")


def test_no_code_is_of_two_kinds() -> None:
    """Which of two sets is asked first must not decide."""
    sets = [PASSING_CODES, REFUSED_CODES, OFFSET_LOST_CODES]
    assert sum(map(len, sets)) == len(frozenset().union(*sets))
