"""The steps of one transaction, and what each error of the producer makes of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from services.engine.log import (
    AbortRequired,
    CommitUnknown,
    Fenced,
    GroupMetadata,
    LogError,
    OutgoingRecord,
    TopicPartition,
)
from services.engine.transaction import GroupOffsets, InDoubt, NotCommitted, Transactions

RECORDS = [OutgoingRecord("out", b"k", b"v")]
STEPS = ["begin", "produce", "send_offsets", "commit"]


class ScriptedLog:
    """Gives producers that note each call, and raise what the script says for a step, once."""

    def __init__(self, **script: LogError) -> None:
        self.script = script
        self.calls: list[str] = []
        self.producers = 0

    def producer(self, transactional_id: str) -> ScriptedProducer:
        self.producers += 1
        self.calls.append(f"producer {transactional_id}")
        error = self.script.pop("producer", None) if self.producers > 1 else None
        if error is not None:
            raise error
        return ScriptedProducer(self)


class ScriptedProducer:
    def __init__(self, log: ScriptedLog) -> None:
        self._log = log

    def __getattr__(self, step: str) -> Callable[..., None]:
        def call(*arguments: object) -> None:
            self._log.calls.append(step)
            error = self._log.script.pop(step, None)
            if error is not None:
                raise error

        return call


def _commit(log: ScriptedLog, groups: int = 1) -> None:
    transactions = Transactions(log, "slot")  # type: ignore[arg-type]  # scripted
    log.calls.clear()
    metadata: GroupMetadata = object()  # opaque
    transactions.commit(RECORDS, [GroupOffsets({TopicPartition("in", n): n}, metadata) for n in range(groups)])


def test_the_steps_come_in_order_and_offsets_of_every_group_are_sent() -> None:
    """Outputs before offsets before the commit; one transaction for all groups."""
    log = ScriptedLog()
    _commit(log, groups=3)
    assert log.calls == ["begin", "produce", "send_offsets", "send_offsets", "send_offsets", "commit"]


@pytest.mark.parametrize("step", STEPS)
def test_a_refused_step_aborts_with_the_same_producer(step: str) -> None:
    """Certainly not committed: forget, rewind, go on."""
    log = ScriptedLog(**{step: AbortRequired("refused")})
    with pytest.raises(NotCommitted, match="refused"):
        _commit(log)
    assert log.calls == [*STEPS[: STEPS.index(step) + 1], "abort"]
    assert log.producers == 1


@pytest.mark.parametrize("step", STEPS)
def test_doubt_replaces_the_producer_before_anybody_asks_the_log(step: str) -> None:
    """The new one fences whatever of the old is still on its way; only then is an answer final."""
    log = ScriptedLog(**{step: CommitUnknown("timed out")})
    with pytest.raises(InDoubt, match="timed out"):
        _commit(log)
    assert log.calls == [*STEPS[: STEPS.index(step) + 1], "close", "producer slot"]


@pytest.mark.parametrize("error", [AbortRequired("again"), CommitUnknown("abort lost")])
def test_an_abort_that_fails_is_doubt(error: LogError) -> None:
    """It is not known whether anything of the transaction is still there."""
    log = ScriptedLog(commit=AbortRequired("refused"), abort=error)
    with pytest.raises(InDoubt):
        _commit(log)
    assert log.calls[-3:] == ["abort", "close", "producer slot"]


@pytest.mark.parametrize("step", [*STEPS, "abort"])
def test_being_fenced_is_never_turned_into_a_retry(step: str) -> None:
    """A newer worker has the slot; this one must end."""
    script: dict[str, LogError] = {step: Fenced("newer")}
    if step == "abort":
        script["commit"] = AbortRequired("refused")
    log = ScriptedLog(**script)
    with pytest.raises(Fenced):
        _commit(log)
    assert log.producers == 1


@pytest.mark.parametrize("error", [AbortRequired("x"), CommitUnknown("x")])
def test_a_producer_in_doubt_may_refuse_to_close(error: LogError) -> None:
    """It is thrown away in any case."""
    log = ScriptedLog(commit=CommitUnknown("timed out"), close=error)
    with pytest.raises(InDoubt):
        _commit(log)
    assert log.producers == 2


def test_no_new_producer_is_trouble_that_ends_the_worker() -> None:
    """Without an identity nothing can be said about the transaction: not NotCommitted, not InDoubt."""
    log = ScriptedLog(commit=CommitUnknown("timed out"), producer=CommitUnknown("no coordinator"))
    with pytest.raises(CommitUnknown, match="no coordinator"):
        _commit(log)


def test_a_transaction_after_doubt_uses_the_new_producer() -> None:
    """The old one must never begin again."""
    log = ScriptedLog(commit=CommitUnknown("timed out"))
    transactions = Transactions(log, "slot")  # type: ignore[arg-type]  # scripted
    first = transactions._producer
    with pytest.raises(InDoubt):
        transactions.commit(RECORDS, [])
    assert transactions._producer is not first
    transactions.commit(RECORDS, [])
    transactions.close()
    assert log.calls[-4:] == ["begin", "produce", "commit", "close"]
