"""Allocation instructions in fragments (FIX 892 TotNoAllocs, 893 LastFragment): held until all accounts are there.

The fragments of one instruction say the same but for their accounts. They may come in any order and again; the count,
not the last flag, says when all are there. The whole has its accounts in the order of their names, so that its content
does not depend on which fragment came first.
"""

from __future__ import annotations

from services.capture.rules import Refusal, shown
from services.capture.state import FragmentedInstruction
from services.domain.event import AccountAllocation, AllocationInstruction
from services.domain.reason import Reason
from services.domain.record import replace


def is_fragment(instruction: AllocationInstruction) -> bool:
    """Whether more accounts belong to the instruction than it lists."""
    total = instruction.total_allocations
    return instruction.last_fragment is False or (total is not None and total != len(instruction.allocations))


def joined(instruction: AllocationInstruction, held: tuple[AccountAllocation, ...]) -> AllocationInstruction:
    """The whole instruction, of which this is one fragment."""
    accounts = tuple(sorted((*held, *instruction.allocations), key=lambda share: (share.account, share.quantity)))
    return replace(instruction, allocations=accounts, last_fragment=None)


def common_content(instruction: AllocationInstruction) -> AllocationInstruction:
    """What all fragments of an instruction say."""
    return replace(instruction, allocations=(), last_fragment=None)


def refusal_of_fragment(instruction: AllocationInstruction, held: FragmentedInstruction | None) -> Refusal | None:
    """Check a fragment against those before it."""
    total = instruction.total_allocations
    if total is None or not instruction.allocations:
        return Refusal(
            reason=Reason.QUANTITIES_DISAGREE,
            finding=f"total_allocations was {shown(total)} in a fragment of {len(instruction.allocations)} accounts, "
            "expected how many accounts all fragments have, and at least one of them",
            details={"total_allocations": shown(total), "accounts": str(len(instruction.allocations))},
        )
    count = len(instruction.allocations) + (0 if held is None else len(held.allocations))
    if count > total:
        return Refusal(
            reason=Reason.QUANTITIES_DISAGREE,
            finding=f"the fragments had {count} accounts, expected {total} as total_allocations says",
            details={"total_allocations": str(total), "accounts": str(count)},
        )
    return None


def incomplete(instruction: AllocationInstruction, count: int) -> Refusal:
    """Say that more fragments are to come."""
    total = shown(instruction.total_allocations)
    return Refusal(
        reason=Reason.ALLOCATION_INCOMPLETE,
        finding=f"{count} of {total} accounts came, expected the other fragments",
        details={"total_allocations": total, "accounts": str(count)},
    )
