"""The sender of an allocation understands FIX's codes, and only these."""

from __future__ import annotations

from decimal import Decimal

import pytest

from services.domain.allocation_reject import OTHER, allocation_reject_code
from services.domain.code import AllocationPolicy
from services.domain.event import AllocatedExecution
from services.domain.reason import Reason
from tests import samples
from tests.memory_state import MemoryState
from tests.unit.allocation import desk as allocation
from tests.unit.capture import desk as capture

CODES = [
    # reason, AllocRejCode (88) as FIX 5.0 SP2 has it
    (Reason.ALLOCATION_EXECUTION_UNKNOWN, 10),  # unknown or stale ExecID
    (Reason.OVER_ALLOCATION, 1),  # incorrect quantity
    (Reason.ALLOCATION_DISQUALIFIED, 1),
    (Reason.QUANTITIES_DISAGREE, 8),  # incorrect allocated quantity
    (Reason.ALLOCATION_CONTRADICTS_BLOCK, 11),  # mismatched data
    (Reason.ALLOCATION_EXECUTION_DIFFERS, 11),
    (Reason.ACCOUNT_MISSING, 0),  # unknown account
    (Reason.ALLOCATION_CONFLICTS, OTHER),
]


@pytest.mark.parametrize(("reason", "code"), CODES)
def test_the_code_of_a_reason(reason: Reason, code: int) -> None:
    """What FIX has a code for is not called other."""
    assert allocation_reject_code(reason) == code


def test_a_refusal_carries_its_code_from_either_service() -> None:
    """By itself wrong is found at capture, wrong against its block by allocation."""
    (wrong,) = capture.exceptions(capture.Desk().take(samples.allocation_instruction(quantity=Decimal(999))))
    stale = samples.allocation_instruction(executions=(AllocatedExecution(execution_id="E9", quantity=Decimal(1000)),))
    state = MemoryState(allocation.reference_data(AllocationPolicy.EXPLICIT))
    (unknown,) = allocation.exceptions(allocation.run(state, samples.enriched_trade(), stale))

    assert (wrong.reason, wrong.details["allocation_reject_code"]) == (Reason.QUANTITIES_DISAGREE, "8")
    assert (unknown.reason, unknown.details["allocation_reject_code"]) == (Reason.ALLOCATION_EXECUTION_UNKNOWN, "10")
