"""The judgement of a block: which fills are in it, whether it was divided when it had to be, and to the last unit."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import cached_property

from services.domain import identity, money
from services.verification import cash
from services.verification.allocated import Block, Fill, Request, Share, Waiting
from services.verification.cases import Case, Cases, open_reasons
from services.verification.judge import V1, V2, V4, V7, Judge, Moving
from services.verification.names import ALLOCATION

TEMPLATE_SHARES_MAX = 500
SINGLE, TEMPLATE = "SINGLE", "TEMPLATE"
CONTRADICTS, AMENDED, TOO_LATE = "FILL_CONTRADICTS_BLOCK", "AMENDED_AFTER_ALLOCATION", "FILL_AFTER_ALLOCATION"
CONFLICTS, UNSUPPORTED = "ALLOCATION_CONFLICTS", "ALLOCATION_CHANGE_UNSUPPORTED"
UNALLOCATED = "BLOCK_UNALLOCATED"
_ZERO = Decimal(0)


class BlockAudit:
    """One block with everything that was said about it."""

    def __init__(
        self, block_id: str, block: Block, waiting: list[Waiting], cases: Cases, policies: Mapping[str, set[str]] | None
    ) -> None:
        """Gather; `waiting` are the shares that wait, `policies` what reference data ever said of each account."""
        self.block_id = block_id
        self.block = block
        self.waiting = waiting
        self.name = f"block {block_id} of order {block.order_id}"
        self._policies = policies
        for fills in block.fills.values():
            fills.sort()
        self.fill_cases = {trade_id: cases.about(ALLOCATION, trade_id) for trade_id in block.fills}
        self.request_cases = {request.subject: cases.about(ALLOCATION, request.subject) for request in block.requests}
        self.cases = cases.about(ALLOCATION, block_id)
        self.share_cases = {share.allocation_id: cases.about(ALLOCATION, share.allocation_id) for share in self.shares}

    @property
    def shares(self) -> list[Share | Waiting]:
        """Everything that was given away, published or not."""
        return [*self.block.shares, *self.waiting]

    @property
    def waits_for_data(self) -> bool:
        """Whether the block shows that reference data is missing to divide it."""
        return any(case.is_open and case.waits for case in self.cases.values())

    # --- fills

    @cached_property
    def live(self) -> dict[str, Fill]:
        """The fills in the block: as it was divided, or as they are by now when it is not divided yet."""
        if self.block.shares:
            found = {}
            for trade_id in self.block.shares[0].trade_ids:
                fills = self.block.fills.get(trade_id, [])
                late = _opened(self.fill_cases.get(trade_id, {}), AMENDED)
                if late < len(fills):
                    found[trade_id] = fills[len(fills) - 1 - late]
            return found
        return {
            trade_id: fills[-1 - late]
            for trade_id, fills in self.block.fills.items()
            if (late := _opened(self.fill_cases[trade_id], AMENDED)) < len(fills)
            and not fills[-1 - late].is_cancel
            and not self._is_outside(trade_id)
        }

    def _is_outside(self, trade_id: str) -> bool:
        cases = self.fill_cases[trade_id]
        return any(reason in cases and cases[reason].is_open for reason in (CONTRADICTS, TOO_LATE))

    @cached_property
    def quantity(self) -> Decimal:
        """What the block has."""
        return money.add(*(fill.quantity for fill in self.live.values()))

    @cached_property
    def given(self) -> Decimal:
        """What was given away."""
        return money.add(*(share.quantity for share in self.shares))

    @cached_property
    def is_complete(self) -> bool:
        """Whether the order is done and all its fills are here."""
        if self.shares:
            return True
        counted = [fills[-1] for trade_id, fills in self.block.fills.items() if not self._is_outside(trade_id)]
        if not counted:
            return False
        latest = max(counted, key=lambda fill: fill.report)
        return latest.is_last and latest.cumulative == self.quantity

    def judge_fills(self, judge: Judge) -> None:
        """Every fill is in its block, or was taken back, or a person sees why not."""
        for trade_id, fills in self.block.fills.items():
            if trade_id in self.live or not self.shares:
                continue
            cases = self.fill_cases[trade_id]
            told = any(_opened(cases, reason) for reason in (CONTRADICTS, TOO_LATE))
            explained = told or any(fill.is_cancel for fill in fills)
            judge.check(V1, explained, "fill", trade_id, "is not among the shares of", self.name)

    # --- instructions

    def ids_of(self, request: Request) -> list[str]:
        """The allocation ids its shares must have."""
        return [
            identity.allocation_id(
                block=self.block_id, instruction=request.instruction_id, account=account, ordinal=ordinal
            )
            for ordinal, (account, _, _) in enumerate(request.shares)
        ]

    @cached_property
    def share_ids(self) -> set[str]:
        """Ids of all shares, published or not."""
        return {share.allocation_id for share in self.shares}

    def is_applied(self, request: Request) -> bool:
        """Whether any share was made of it."""
        return any(allocation_id in self.share_ids for allocation_id in self.ids_of(request))

    def is_ended(self, request: Request) -> bool:
        """Whether a later instruction replaced or cancelled it."""
        return any(
            change.reference_id == request.instruction_id
            and change.sender == request.sender
            and change.kind != "NEW"
            and not _opened(self.request_cases[change.subject], UNSUPPORTED)
            for change in self.block.requests
        )

    def is_pending(self, request: Request) -> bool:
        """Whether it still waits for its block."""
        return (
            request.kind != "CANCEL"
            and not self.is_applied(request)
            and not self.is_ended(request)
            and not any(case.opened for case in self.request_cases[request.subject].values())
        )

    @cached_property
    def pending(self) -> list[str]:
        """Ids of the instructions that wait for the block."""
        return [request.instruction_id for request in self.block.requests if self.is_pending(request)]

    def judge_requests(self, judge: Judge) -> None:
        """An instruction is applied as a whole, refused, ended by another, or its block is not complete yet."""
        for request in self.block.requests:
            said = (request.where, "instruction", request.subject, "for", self.name)
            ids = self.ids_of(request)
            missing = [name for name in ids if name not in self.share_ids]
            reasons = [
                reason
                for reason, case in self.request_cases[request.subject].items()
                if case.opened and reason != CONFLICTS
            ]
            if self.is_applied(request):
                judge.check(V1, not missing, *said, "was applied without the shares", Moving(", ".join(missing)))
                judge.check(V7, not reasons, *said, "was applied and refused:", Moving(", ".join(reasons)))
            elif self.is_pending(request):
                may_wait = not self.is_complete or self.waits_for_data
                judge.check(V1, may_wait, *said, "was neither applied nor refused although the block is complete")
            elif request.kind == "CANCEL" and not self.request_cases[request.subject]:
                known = any(one.instruction_id == request.reference_id for one in self.block.requests)
                judge.check(V1, known, *said, "cancels what is not there, and nobody was told")

    # --- shares

    def judge_shares(self, judge: Judge) -> None:
        """Whatever had to be given away was, once and to the last unit."""
        if not self.shares:
            self._judge_undivided(judge)
            return
        self._judge_sources(judge)
        if self.block.shares:
            self._judge_composition(judge)
        self._judge_cash(judge)

    def _judge_undivided(self, judge: Judge) -> None:
        if not self.is_complete or not self.quantity:
            judge.check(V1, not self.is_complete or not self.pending, self.name, "left instructions unanswered")
            return
        account = next(iter(self.live.values())).terms[0]
        policies = None if self._policies is None else self._policies.get(account, set())
        explicit = policies is None or "EXPLICIT" in policies
        sentence = (self.name, "is complete with", self.quantity, "and was not divided; nobody was told why")
        judge.check(V1, explicit or self.waits_for_data, *sentence)

    def _judge_sources(self, judge: Judge) -> None:
        """Each share follows from the account's policy or from an instruction, and a standing policy gives all away."""
        sources = {
            allocation_id: share
            for request in self.block.requests
            for allocation_id, share in zip(self.ids_of(request), request.shares, strict=True)
        }
        stands = False
        for share in self.shares:
            told = sources.get(share.allocation_id)
            if told is None:
                derived = self._is_standing(share)
                judge.check(V2, derived, "share", share.allocation_id, "of", self.name, "follows from no instruction")
                stands = stands or derived
            else:
                same = told == (share.account, share.quantity, share.reference)
                judge.check(V4, same, "share", share.allocation_id, "of", self.name, "is not as it was instructed")
        told_whole = (self.name, "has", self.quantity, "and was divided for", self.given)
        judge.check(V1, not stands or self.given == self.quantity, *told_whole)

    def _is_standing(self, share: Share | Waiting) -> bool:
        """Whether the id is that of the single account, or of some place in a template."""
        return any(
            share.allocation_id
            == identity.allocation_id(block=self.block_id, instruction=source, account=share.account, ordinal=ordinal)
            for source, count in ((SINGLE, 1), (TEMPLATE, TEMPLATE_SHARES_MAX))
            for ordinal in range(count)
        )

    def _judge_composition(self, judge: Judge) -> None:
        """Every share names the same fills, their average price, and terms that one of them has."""
        live = self.live
        first = min(live.items(), key=lambda item: (*item[1].report[:2], item[0]), default=None)
        for share in self.block.shares:
            said = (share.where, "share", share.allocation_id)
            whole = set(share.trade_ids) == set(live) and list(share.trade_ids) == sorted(share.trade_ids)
            if not judge.check(V4, whole and self.quantity > 0, *said, "names other fills than", self.name):
                continue
            assert first is not None
            price = cash.average_price((fill.quantity, fill.price) for fill in live.values())
            judge.check(V4, share.average_price == price, *said, "has a price that is not the fills' average")
            agrees = share.terms in {fill.terms for fill in live.values()}
            judge.check(V4, agrees, *said, "has other terms than its fills")
            seen = (share.venue, share.received_at_us)
            expected = (first[1].venue, max(fill.received_at_us for fill in live.values()))
            judge.check(V4, seen == expected, *said, "has another venue or time of receipt than its fills")

    def _judge_cash(self, judge: Judge) -> None:
        if not judge.check(
            V4, 0 < self.given <= self.quantity, self.name, "gave away", self.given, "of", self.quantity
        ):
            return
        fills, shares = list(self.live.values()), self.shares
        currency = fills[0].terms[3]
        for kind in ("gross", "accrued"):
            total = money.add(*(getattr(fill, kind) for fill in fills))
            parts = money.add(*(getattr(share, kind) for share in shares))
            expected = cash.due(total, self.given, self.quantity, currency)
            judge.check(V4, parts == expected, self.name, "gave", parts, "of", kind, "cash where", expected, "is due")
        parts_of = {(name, unit): amount for name, unit, amount in cash.sum_charges(one.charges for one in shares)}
        for name, unit, total in cash.sum_charges(fill.charges for fill in fills):
            part = parts_of.pop((name, unit), _ZERO)
            expected = cash.due(total, self.given, self.quantity, unit)
            judge.check(V4, part == expected, self.name, "gave", part, "of charge", name, "where", expected, "is due")
        judge.check(
            V4, not parts_of, self.name, "charges what no fill is charged:", *sorted(name for name, _ in parts_of)
        )

    # --- standing

    @property
    def is_open(self) -> bool:
        """Whether fills, instructions or judgements are still to come."""
        if self.pending:
            return True
        return bool(self.block.fills) and (not self.is_complete or self.given < self.quantity)

    def open_reason(self, trade_id: str) -> str | None:
        """The one exception that is open about a fill."""
        return next(iter(open_reasons(self.fill_cases[trade_id])), None)


def _opened(cases: dict[str, Case], reason: str) -> int:
    return cases[reason].opened if reason in cases else 0
