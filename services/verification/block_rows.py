"""What allocation remembers, compared with the blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from services.verification.allocated import Allocated, Block, Request, Waiting, economics_of
from services.verification.blocks import CONFLICTS, UNALLOCATED, UNSUPPORTED, BlockAudit
from services.verification.cases import Cases, open_reasons
from services.verification.judge import V1, V6, Judge
from services.verification.names import ALLOCATION
from services.verification.plain import SEPARATOR
from services.verification.rows import Rows

ALLOCATE_BY = ("ALLOCATION_DUE", "ALLOCATION_LATE")


def settle_blocks(
    allocated: Allocated, cases: Cases, rows: Rows, judge: Judge, policies: Mapping[str, set[str]] | None
) -> None:
    """Judge every block, and what is remembered of it."""
    waiting: dict[str, list[Waiting]] = {}
    partitions: dict[str, int] = {}
    given = list(rows.of("GivenShare"))
    versions = {key: values[0] for key, _, values in given}
    changed = {values[4] for _, _, values in given if values[0] > 1}
    for _, partition, (_, found) in rows.of("WaitingShare"):
        share = found._replace(version=versions.get(found.allocation_id, 1))
        waiting.setdefault(share.block_id, []).append(share)
        partitions[share.allocation_id] = partition
    open_partitions: set[int] = set()
    for block_id, block in allocated.blocks.items():
        audit = BlockAudit(block_id, block, waiting.get(block_id, []), cases, policies)
        if block.is_in_flight:
            _forget(rows, audit)
            _forget_given(rows, given, block_id)
            changed.add(block_id)
            open_partitions.add(-1)
            continue
        judge.is_quiet = not block.is_judged
        audit.judge_fills(judge)
        audit.judge_requests(judge)
        audit.judge_shares(judge)
        if _compare(rows, audit, judge) > 1:
            changed.add(block_id)
        if block.is_judged and audit.is_open and not _is_open(audit, UNALLOCATED):
            open_partitions.add(block.partition)
    judge.is_quiet = False
    cases.claim_ended_waits(ALLOCATION, {allocated.blocks[name].order_id for name in changed & allocated.blocks.keys()})
    _compare_deadlines(rows, open_partitions)


def _compare(rows: Rows, audit: BlockAudit, judge: Judge) -> int:
    """Give the version that the block is remembered to have."""
    remembered = 1
    block, block_id, partition = audit.block, audit.block_id, audit.block.partition
    found = rows.take("Block", block_id, partition)
    name = f"state.allocation[{partition}] Block/{block_id}"
    if judge.check(V6, found is not None, name, "is not remembered") and found is not None:
        latest_us = max(one.timestamp_ms for one in block.given) * 1000
        expected = (audit.given, audit.quantity, sorted(audit.pending), latest_us, _judged(audit))
        told = ("where", *expected, "follows (given, whole, pending, last event, judged)")
        judge.check(V6, found[:5] == expected, name, "has", *found[:5], *told)
        version, newest_share = found[5:]
        remembered = version
        known = block.versions <= version <= len(block.given) + block.taken_back
        judge.check(V6, known, name, "has version", version, "after", block.taken_back, "shares were taken back")
        _compare_given(rows, audit, judge, newest_share)
    for reason, case in audit.cases.items():
        if case.is_open and case.waits:
            rows.expect("WaitingBlock", block_id, partition, reason)
    if audit.is_open:
        rows.expect("OpenBlock", block_id, partition, _is_open(audit, UNALLOCATED))
        _compare_allocate_by(rows, audit, judge)
    _compare_fills(rows, audit, judge)
    for request in block.requests:
        _compare_request(rows, audit, request)
    _compare_awaited(rows, audit)
    _compare_waiting(rows, audit, judge)
    return remembered


def _judged(audit: BlockAudit) -> list[str]:
    """Ids of the instructions that were applied or refused, and stand."""
    requests = audit.block.requests
    return sorted(one.instruction_id for one in requests if audit.is_standing(one) and not audit.is_pending(one))


def _compare_given(rows: Rows, audit: BlockAudit, judge: Judge, newest_share: str | None) -> None:
    """From the newest share on, each names the one before it: exactly those that stand."""
    published = {share.allocation_id for share in audit.block.shares}
    left = {share.allocation_id: share for share in audit.shares}
    while newest_share is not None:
        found = rows.take("GivenShare", newest_share, audit.block.partition)
        share = left.pop(newest_share, None)
        name = f"state.allocation[{audit.block.partition}] GivenShare/{newest_share}"
        if not judge.check(V6, found is not None and share is not None, name, "is no share that stands"):
            break
        assert found is not None
        assert share is not None
        expected = (share.version, newest_share in published, share.quantity)
        judge.check_row(name, found[:3], expected)
        newest_share = found[3]
    for allocation_id in left:
        judge.check(V6, False, "share", allocation_id, "of", audit.name, "is not remembered as given")  # noqa: FBT003


def _compare_allocate_by(rows: Rows, audit: BlockAudit, judge: Judge) -> None:
    """Where a deadline is near or past and the block is open, that is remembered; a deadline may lie ahead unseen."""
    shown = next((reason for reason in ALLOCATE_BY if _is_open(audit, reason)), None)
    if shown is None:
        found = rows.take("AllocateBy", audit.block_id, audit.block.partition)
        if found is not None and found[0] is not None:
            told = f"state.allocation[{audit.block.partition}] AllocateBy/{audit.block_id}"
            judge.check(V6, False, told, "says that", found[0], "is shown, and it is not open")  # noqa: FBT003
        return
    rows.expect("AllocateBy", audit.block_id, audit.block.partition, shown)


def _compare_fills(rows: Rows, audit: BlockAudit, judge: Judge) -> None:
    partition = audit.block.partition
    for trade_id, fills in audit.block.fills.items():
        found = rows.take("Fill", trade_id, partition)
        name = f"state.allocation[{partition}] Fill/{trade_id}"
        if not judge.check(V6, found is not None, name, "is not remembered") or found is None:
            continue
        expected = (audit.block_id, fills[-1].version, audit.open_reason(trade_id))
        judge.check_row(name, found[:3], expected)
        live = audit.live.get(trade_id)
        if live is None:
            judge.check(V6, found[3] != "LIVE", name, "is remembered as part of its block, and is not")
            continue
        economics = economics_of(live.quantity, live.price, live.gross, live.accrued)
        judge.check(V6, found[3:] == ("LIVE", economics), name, "is not remembered as part of its block, as it is")


def _compare_request(rows: Rows, audit: BlockAudit, request: Request) -> None:
    key = f"{audit.block.order_id}{SEPARATOR}{request.instruction_id}"
    reasons = open_reasons(audit.request_cases[request.subject])
    if CONFLICTS in reasons:
        rows.take("KeptInstruction", key, audit.block.partition)
        return
    refused = [reason for reason in reasons if reason != UNSUPPORTED]
    if audit.is_applied(request):
        standing: tuple[str, str | None] = ("APPLIED", None)
    elif audit.is_pending(request) and refused:
        standing = ("PENDING", refused[0])
    elif refused:
        standing = ("REFUSED", refused[0])
    else:
        standing = ("PENDING", None) if audit.is_pending(request) else ("ENDED", None)
    rows.expect("KeptInstruction", key, audit.block.partition, *standing)


def _compare_awaited(rows: Rows, audit: BlockAudit) -> None:
    """An instruction that was named before it came is awaited by the first that named it."""
    known = {request.instruction_id for request in audit.block.requests}
    awaited: dict[str, str] = {}
    for request in audit.block.requests:
        shown = UNSUPPORTED in open_reasons(audit.request_cases[request.subject])
        if request.kind != "NEW" and shown and request.reference_id and request.reference_id not in known:
            awaited.setdefault(request.reference_id, request.instruction_id)
    for instruction_id, change_id in awaited.items():
        key = f"{audit.block.order_id}{SEPARATOR}{instruction_id}"
        rows.expect("AwaitedInstruction", key, audit.block.partition, change_id)


def _compare_waiting(rows: Rows, audit: BlockAudit, judge: Judge) -> None:
    """A share waits exactly while its exception is open, and is not published meanwhile."""
    published = {share.allocation_id for share in audit.block.shares}
    for share in audit.waiting:
        name = f"share {share.allocation_id} of {audit.name}"
        found = rows.take("WaitingShare", share.allocation_id, audit.block.partition)
        reasons = open_reasons(audit.share_cases[share.allocation_id])
        shown = found is not None and reasons == [found[0]]
        judge.check(V1, shown, name, "waits, and no exception says so")
        judge.check(V6, share.allocation_id not in published, name, "is remembered as waiting and was published")
    for allocation_id in published:
        reasons = open_reasons(audit.share_cases[allocation_id])
        judge.check(V1, not reasons, "share", allocation_id, "was published and is still shown as", *reasons)


def _compare_deadlines(rows: Rows, open_partitions: set[int]) -> None:
    """Where a block may become overdue, there is a deadline; a deadline without such a block does no harm."""
    for partition in [partition for _, partition, _ in rows.of("NextAllocateBy")]:
        rows.take("NextAllocateBy", "-", partition)  # its time lies ahead of what anybody can see yet
    found = [partition for _, partition, _ in rows.of("NextDeadline")]
    for partition in found:
        value = rows.take("NextDeadline", "-", partition)
        if value is not None and partition in open_partitions:
            open_partitions.discard(partition)
    for partition in sorted(open_partitions - {-1}):
        rows.expect("NextDeadline", "-", partition, None)


def _is_open(audit: BlockAudit, reason: str) -> bool:
    case = audit.cases.get(reason)
    return case is not None and case.is_open


def _forget(rows: Rows, audit: BlockAudit) -> None:
    """Something is on its way to the block: its rows may be ahead of what can be seen, or behind."""
    block: Block = audit.block
    partition = block.partition
    for table in ("Block", "WaitingBlock", "OpenBlock", "AllocateBy"):
        rows.take(table, audit.block_id, partition)
    for trade_id in block.fills:
        rows.take("Fill", trade_id, partition)
    for request in block.requests:
        rows.take("KeptInstruction", f"{block.order_id}{SEPARATOR}{request.instruction_id}", partition)
        for name in (request.instruction_id, request.reference_id):
            rows.take("AwaitedInstruction", f"{block.order_id}{SEPARATOR}{name}", partition)
    for share in audit.shares:
        rows.take("WaitingShare", share.allocation_id, partition)


def _forget_given(rows: Rows, given: Iterable[tuple[str, int, tuple[Any, ...]]], block_id: str) -> None:
    for allocation_id, partition, values in given:
        if values[4] == block_id:
            rows.take("GivenShare", allocation_id, partition)
