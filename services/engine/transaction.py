"""Makes the work of one round durable: outputs, state changes, dead letters and offsets together, or nothing.

The steps, in this order, all on one worker thread:

1. begin
2. produce every record of every batch
3. send the offsets of every group that took part, with the membership snapshotted when its batch was polled
4. commit

No poll happens in between, so a rebalance can never cut a transaction in two. After any doubt the producer is thrown
away and a new one initialised under the same transactional id, which fences everything of the old one that may still be
on its way; only then is the log asked what was committed, and nothing is ever begun before. Doubt is: a begin, an
offset, a commit or an abort that raised, whatever it raised; what the producer itself reports as `doubt`; and that it
was idle for so long that it may not have heard of a connection that was closed.

"Fenced" has two meanings that the log cannot tell apart: a newer worker has this slot, or we stood still for so long
that the log aborted our transaction. The time since `begin` can: before the transaction timeout the log aborts nothing,
so then, unless the producer has a doubt, there is a newer worker and this one ends. Afterwards it takes its identity
back and asks the log. If there was a newer worker after all it is fenced in its turn, early, and ends; of two workers
of one slot one goes on. The same is done once within ECHO_SECONDS_MAX after an identity that was asked for more than
once, as after an outage: a request of an earlier try, which a busy log takes up last, fences the producer of ours that
got the answer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from services.engine.log import (
    DISCONNECTED,
    SLOW,
    AbortRequired,
    CommitUnknown,
    Fenced,
    GroupMetadata,
    Log,
    LogError,
    OutgoingRecord,
    TopicPartition,
    TransactionalProducer,
    Unavailable,
)
from services.engine.outage import NotAwaited, Patience
from services.engine.runtime import SYSTEM, Runtime

REFUSED, UNKNOWN, EXPIRED, IDLE = "refused", "unknown", "expired", "idle"
RECREATION_REASONS = (REFUSED, UNKNOWN, EXPIRED, SLOW, DISCONNECTED, IDLE)
"""Why a producer is replaced: its transaction was refused, its outcome is unknown, it was open for too long, its commit
was slow, it lost a connection, or it was idle for IDLE_SECONDS_MAX."""
ECHO_SECONDS_MAX = 60.0
IDLE_SECONDS_MAX = 60.0  # from then on the client is silent about a connection that is closed


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

    def __init__(
        self,
        log: Log,
        transactional_id: str,
        *,
        runtime: Runtime = SYSTEM,
        patience: Patience | None = None,
        note_recreation: Callable[[str], None] = lambda _reason: None,
    ) -> None:
        """Take the identity over; whatever an earlier holder left open is aborted now.

        Waits while the log is away, as `patience` does; `note_recreation` is told why a producer is replaced.
        """
        self._log = log
        self._id = transactional_id
        self._runtime = runtime
        self._patience = patience or Patience(runtime, lambda: False)
        self._note_recreation = note_recreation
        self._doubt: str | None = None
        self._used_at = runtime.monotonic()
        self._echo_until = self._used_at
        """Until then a request of our own may fence us."""
        self._producer: TransactionalProducer = self._take_over()

    def commit(self, records: Sequence[OutgoingRecord], groups: Iterable[GroupOffsets]) -> None:
        """Make everything durable at once.

        Raises NotCommitted; InDoubt; log.Fenced, which means: stop; outage.NotAwaited, when the worker stops while the
        log is away; a plain LogError for what no repetition mends.
        """
        doubt = self._doubt or self._producer.doubt or self._idleness()
        if doubt is not None:
            self._replace(doubt)
        began = self._runtime.monotonic()
        try:
            self._run(records, groups)
            self._used_at = self._runtime.monotonic()
        except AbortRequired as error:
            self._doubt = REFUSED
            self._leave_it_to_the_log(began)
            self._abort(error, began)
            raise NotCommitted(str(error)) from error
        except LogError as error:
            self._doubt = self._reason_of(error, began)
            self._leave_it_to_the_log(began)
            self._replace(self._doubt)
            raise InDoubt(str(error)) from error

    def _run(self, records: Sequence[OutgoingRecord], groups: Iterable[GroupOffsets]) -> None:
        producer = self._producer
        producer.begin()
        producer.produce(records)
        for group in groups:
            producer.send_offsets(group.offsets, group.metadata)
        producer.commit()

    def _idleness(self) -> str | None:
        return IDLE if self._runtime.monotonic() - self._used_at >= IDLE_SECONDS_MAX else None

    def _leave_it_to_the_log(self, began: float) -> None:
        """Raise NotAwaited when the worker stops and the transaction is so old that the log soon ends it by itself.

        A stop has few seconds, and the calls that would end it wait as long as those before them have waited.
        """
        age_seconds = self._runtime.monotonic() - began
        if self._patience.is_stopping and age_seconds >= self._producer.transaction_timeout_seconds / 2:
            raise NotAwaited("the end of a transaction")

    def _abort(self, cause: Exception, began: float) -> None:
        try:
            self._producer.abort()
        except LogError as error:
            # An abort that fails leaves the same doubt as a commit that fails; a new producer settles both.
            reason = UNKNOWN if isinstance(error, AbortRequired) else self._reason_of(error, began)
            self._leave_it_to_the_log(began)
            self._replace(reason)
            raise InDoubt(str(cause)) from cause

    def _reason_of(self, error: LogError, began: float) -> str:
        """Why the producer is to be replaced. Raises the error again when that would be wrong."""
        if isinstance(error, Fenced):
            # A request of an earlier transaction that came late can have opened one that then expired: see `doubt`.
            now = self._runtime.monotonic()
            early = now - began < self._producer.transaction_timeout_seconds
            if early and self._producer.doubt is None and now >= self._echo_until:
                raise error
            return EXPIRED
        if isinstance(error, CommitUnknown | Unavailable):
            return UNKNOWN
        raise error

    def _replace(self, reason: str) -> None:
        self._doubt = reason  # stays, should the worker be stopped before there is a new producer
        self._note_recreation(reason)
        with contextlib.suppress(LogError):
            self._producer.close()
        self._producer = self._take_over()
        self._doubt = None
        self._used_at = self._runtime.monotonic()

    def _take_over(self) -> TransactionalProducer:
        tries = 0

        def ask() -> TransactionalProducer:
            nonlocal tries
            tries += 1
            return self._log.producer(self._id)

        producer = self._patience.ask(f"the identity {self._id}", ask)
        now = self._runtime.monotonic()
        self._echo_until = now + ECHO_SECONDS_MAX if tries > 1 else now
        return producer

    def close(self) -> None:
        """Let the producer go; nothing is open between rounds."""
        self._producer.close()
