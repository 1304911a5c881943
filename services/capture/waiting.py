"""Corrections and cancellations that came before the report they name, and the order in which they are applied.

A trade's reports form a tree by ExecRefID (19). Whatever order they arrive in, the same report stands in the end: the
latest by TransactTime (60), where a report counts as no earlier than the one it names. A cancellation is final.
"""

from __future__ import annotations

from collections.abc import Iterator

from services.capture.state import AwaitedReport, SeenExecution, WaitingReport, execution_subject
from services.domain.code import ExecutionType
from services.domain.event import Execution
from services.stage import State


def named_subject(execution: Execution) -> str:
    """Key of the report that a correction or cancellation names."""
    return execution_subject(execution, execution_id=execution.execution_reference_id)


def effective_time_us(execution: Execution, named: SeenExecution, *, is_first: bool) -> int:
    """When a change counts: at its own time, and not before the change it names; `is_first`: it names none."""
    return execution.transaction_time_us if is_first else max(execution.transaction_time_us, named.effective_time_us)


def is_superseded(execution: Execution, trade: SeenExecution, effective_us: int) -> bool:
    """Whether a later change of the trade stands already. A cancellation is never late."""
    return execution.execution_type is ExecutionType.TRADE_CORRECT and effective_us < trade.effective_time_us


def wait(waiting: WaitingReport, subject_id: str, state: State) -> None:
    """Keep a change until the report it names comes."""
    named = named_subject(waiting.execution)
    awaited = state.get(AwaitedReport, named)
    before = () if awaited is None else awaited.by
    state.put(named, AwaitedReport(by=(*before, subject_id)))
    state.put(subject_id, waiting)


def released(subject_id: str, state: State) -> Iterator[tuple[str, WaitingReport]]:
    """The changes that waited for a report which is here now, by their time; they wait no longer."""
    awaited = state.get(AwaitedReport, subject_id)
    if awaited is None:
        return
    state.delete(AwaitedReport, subject_id)
    found = []
    for waiting_id in awaited.by:
        waiting = state.get(WaitingReport, waiting_id)
        assert waiting is not None, f"report {waiting_id} is awaited but not remembered"
        state.delete(WaitingReport, waiting_id)
        found.append((waiting_id, waiting))
    yield from sorted(found, key=lambda one: one[1].execution.transaction_time_us)  # ties stay in order of arrival
