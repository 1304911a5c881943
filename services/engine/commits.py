"""The worker's transactions as the event loop sees them: on a thread of their own, with an outcome and its metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from typing import Any, Protocol

import structlog

from services.engine.log import Log, OutgoingRecord
from services.engine.metrics import Metrics
from services.engine.outage import Patience
from services.engine.runtime import Runtime
from services.engine.transaction import GroupOffsets, InDoubt, NotCommitted, Transactions

log_event = structlog.get_logger("posttrade.engine")

COMMITTED, ABORTED, IN_DOUBT = "committed", "aborted", "in_doubt"


class Awaited(Protocol):
    """Runs a call that blocks on some thread."""

    def __call__(self, threads: Executor, function: Callable[..., Any], *arguments: Any) -> Awaitable[Any]:
        """Await its result."""
        ...


class Commits:
    """Owns the transactional producer and the one thread that uses it."""

    def __init__(
        self,
        log: Log,
        transactional_id: str,
        *,
        runtime: Runtime,
        patience: Patience,
        metrics: Metrics,
        awaited: Awaited,
    ) -> None:
        """Bind; `open` takes the identity over."""
        self._log = log
        self._id = transactional_id
        self._runtime = runtime
        self._patience = patience
        self._metrics = metrics
        self._awaited = awaited
        self._thread = runtime.executor(1, "commit")  # of its own: no commit waits behind a restore
        self._transactions: Transactions | None = None

    async def open(self) -> None:
        """Take the identity over, and wait while the log is away."""
        self._transactions = await self._awaited(self._thread, self._take_over)

    def _take_over(self) -> Transactions:
        return Transactions(
            self._log,
            self._id,
            runtime=self._runtime,
            patience=self._patience,
            note_recreation=self._note_recreation,
        )

    def _note_recreation(self, reason: str) -> None:
        """From the commit thread."""
        self._metrics.producer_recreations.labels(reason).inc()
        log_event.warning("the transactional producer is replaced", reason=reason)

    async def commit(self, records: Sequence[OutgoingRecord], groups: Sequence[GroupOffsets]) -> str:
        """COMMITTED, ABORTED or IN_DOUBT. Raises what ends the worker, and NotAwaited when it stops meanwhile."""
        assert self._transactions is not None, "opened before the first round"
        began = self._runtime.monotonic()
        try:
            await self._awaited(self._thread, self._transactions.commit, records, groups)
        except NotCommitted as error:
            log_event.warning("transaction aborted, its input will be processed again", cause=str(error))
            outcome = ABORTED
        except InDoubt as error:
            log_event.warning("outcome of a transaction unknown, asking the log", cause=str(error))
            outcome = IN_DOUBT
        else:
            outcome = COMMITTED
            self._metrics.transaction_seconds.observe(self._runtime.monotonic() - began)
            self._metrics.last_commit.set(self._runtime.now_us() / 1e6)
        self._metrics.transactions.labels(outcome).inc()
        return outcome

    async def close(self) -> None:
        """Let the producer go, after the last round."""
        if self._transactions is not None:
            await self._awaited(self._thread, self._transactions.close)
        self._thread.shutdown(wait=False)
