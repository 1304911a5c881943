"""The code that FIX has for a refused allocation: AllocRejCode (88) of an AllocationInstructionAck."""

from __future__ import annotations

from collections.abc import Mapping

from services.domain.reason import Reason

OTHER = 7
"""AllocRejCode for what FIX has no code of its own for; the sentence says what it is."""

_CODES: Mapping[Reason, int] = {
    Reason.ACCOUNT_MISSING: 0,  # unknown account
    Reason.OVER_ALLOCATION: 1,  # incorrect quantity
    Reason.ALLOCATION_DISQUALIFIED: 1,
    Reason.QUANTITY_NOT_POSITIVE: 8,  # incorrect allocated quantity
    Reason.QUANTITIES_DISAGREE: 8,
    Reason.ALLOCATION_EXECUTION_UNKNOWN: 10,  # unknown or stale ExecID
    Reason.ALLOCATION_EXECUTION_DIFFERS: 11,  # mismatched data
    Reason.ALLOCATION_CONTRADICTS_BLOCK: 11,
}


def allocation_reject_code(reason: Reason) -> int:
    """AllocRejCode (88) for a reason."""
    return _CODES.get(reason, OTHER)
