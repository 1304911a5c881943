"""Makes the work of one round durable: outputs, state changes, dead letters and offsets together, or nothing.

The steps, in this order, all on one worker thread:

1. begin
2. produce every record of every batch
3. send the offsets of every group that took part, with the membership snapshotted when its batch was polled
4. commit

No poll happens in between, so a rebalance can never cut a transaction in two. After any doubt about the outcome the
producer is thrown away and a new one initialised under the same transactional id, which fences everything of the old
one that may still be on its way; only then is the log asked what was committed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from services.engine.log import (
    AbortRequired,
    CommitUnknown,
    GroupMetadata,
    Log,
    OutgoingRecord,
    TopicPartition,
    TransactionalProducer,
)


class NotCommitted(Exception):
    """The transaction was certainly aborted: forget the overlays, rewind, go on."""


class InDoubt(Exception):
    """The transaction may or may not have been committed: ask the log, rebuild state from it, go on from there."""


@dataclass(frozen=True)
class GroupOffsets:
    """How far one group has come in this transaction."""

    offsets: Mapping[TopicPartition, int]
    metadata: GroupMetadata


class Transactions:
    """The one transactional producer of a worker slot."""

    def __init__(self, log: Log, transactional_id: str) -> None:
        """Take the identity over; whatever an earlier holder left open is aborted now."""
        self._log = log
        self._id = transactional_id
        self._producer: TransactionalProducer = log.producer(transactional_id)

    def commit(self, records: Sequence[OutgoingRecord], groups: Iterable[GroupOffsets]) -> None:
        """Make everything durable at once. Raises NotCommitted, InDoubt, or log.Fenced, which means: stop."""
        producer = self._producer
        try:
            producer.begin()
            producer.produce(records)
            for group in groups:
                producer.send_offsets(group.offsets, group.metadata)
            producer.commit()
        except AbortRequired as error:
            self._abort(error)
            raise NotCommitted(str(error)) from error
        except CommitUnknown as error:
            self._replace()
            raise InDoubt(str(error)) from error

    def _abort(self, cause: Exception) -> None:
        try:
            self._producer.abort()
        except (AbortRequired, CommitUnknown):
            # An abort that fails leaves the same doubt as a commit that fails; a new producer settles both.
            self._replace()
            raise InDoubt(str(cause)) from cause

    def _replace(self) -> None:
        with contextlib.suppress(AbortRequired, CommitUnknown):
            self._producer.close()
        self._producer = self._log.producer(self._id)

    def close(self) -> None:
        """Let the producer go; nothing is open between rounds."""
        self._producer.close()
