"""The judgement of a block: which fills are in it, whether it was divided when it had to be, and to the last unit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
CONTRADICTS = "FILL_CONTRADICTS_BLOCK"
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
        """The fills in the block, as they are by now."""
        return {
            trade_id: fills[-1]
            for trade_id, fills in self.block.fills.items()
            if not fills[-1].is_cancel and not self._is_outside(trade_id)
        }

    def _is_outside(self, trade_id: str) -> bool:
        cases = self.fill_cases[trade_id]
        return CONTRADICTS in cases and cases[CONTRADICTS].is_open

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
            explained = bool(_opened(cases, CONTRADICTS)) or any(fill.is_cancel for fill in fills)
            judge.check(V1, explained, "fill", trade_id, "is not among the shares of", self.name)

    # --- instructions

    def sources_of(self, request: Request) -> Iterator[tuple[int, int, str]]:
        """Of each share that could come of it: its place, version and allocation id."""
        for ordinal, (account, _, _) in enumerate(request.shares):
            for version in self.versions:
                yield ordinal, version, self._share_id(request.instruction_id, account, ordinal, version)

    def _share_id(self, source: str, account: str, ordinal: int, version: int) -> str:
        return identity.allocation_id(
            block=self.block_id, instruction=source, account=account, ordinal=ordinal, version=version
        )

    @cached_property
    def versions(self) -> list[int]:
        """Versions that shares of the block have."""
        return sorted({share.version for share in self.shares})

    @cached_property
    def share_ids(self) -> set[str]:
        """Ids of all shares, published or not."""
        return {share.allocation_id for share in self.shares}

    def is_applied(self, request: Request) -> bool:
        """Whether any share that stands was made of it."""
        return any(allocation_id in self.share_ids for _, _, allocation_id in self.sources_of(request))

    def is_ended(self, request: Request) -> bool:
        """Whether a later instruction replaced or cancelled it."""
        return any(
            change.reference_id == request.instruction_id
            and change.sender == request.sender
            and change.kind != "NEW"
            and UNSUPPORTED not in open_reasons(self.request_cases[change.subject])
            for change in self.block.requests
        )

    def named_by(self, change: Request) -> bool:
        """Whether what it changes is here, and nothing else has changed that."""
        return any(
            one.instruction_id == change.reference_id and one.sender == change.sender and self.is_standing(one)
            for one in self.block.requests
        )

    def is_standing(self, request: Request) -> bool:
        """Whether it is an instruction that the block has to answer."""
        cases = self.request_cases[request.subject]
        refused = _opened(cases, CONFLICTS) or UNSUPPORTED in open_reasons(cases)
        return request.kind != "CANCEL" and not refused and not self.is_ended(request)

    def is_pending(self, request: Request) -> bool:
        """Whether it still waits for its block; what was refused is judged again when its block was changed."""
        if not self.is_standing(request) or self.is_applied(request):
            return False
        judged = self.is_complete and not self.waits_for_data
        return not (judged and open_reasons(self.request_cases[request.subject]))

    @cached_property
    def pending(self) -> list[str]:
        """Ids of the instructions that wait for the block."""
        return [request.instruction_id for request in self.block.requests if self.is_pending(request)]

    def judge_requests(self, judge: Judge) -> None:
        """An instruction is applied as a whole, refused, ended by another, or its block is not complete yet."""
        for request in self.block.requests:
            said = (request.where, "instruction", request.subject, "for", self.name)
            there = {ordinal for ordinal, _, name in self.sources_of(request) if name in self.share_ids}
            missing = [account for place, (account, _, _) in enumerate(request.shares) if place not in there]
            reasons = [name for name in open_reasons(self.request_cases[request.subject]) if name != CONFLICTS]
            awaits = UNSUPPORTED in reasons and self.named_by(request)
            judge.check(V1, not awaits, *said, "waits for an instruction that has come")
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
        judge.check(V1, self.is_complete, self.name, "is not complete, and something of it is allocated")
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
            allocation_id: (request, ordinal)
            for request in self.block.requests
            for ordinal, _, allocation_id in self.sources_of(request)
        }
        stands = False
        for share in self.shares:
            told = sources.get(share.allocation_id)
            if told is None:
                derived = self._is_standing(judge, share)
                judge.check(V2, derived, "share", share.allocation_id, "of", self.name, "follows from no instruction")
                stands = stands or derived
            else:
                request, ordinal = told
                same = request.shares[ordinal] == (share.account, share.quantity, share.reference)
                judge.check(V4, same, "share", share.allocation_id, "of", self.name, "is not as it was instructed")
                stands_for = self.is_standing(request)
                judge.check(V1, stands_for, "share", share.allocation_id, "of", self.name, "outlived its instruction")
                self._judge_version(judge, share, request.instruction_id, ordinal)
        told_whole = (self.name, "has", self.quantity, "and was divided for", self.given)
        judge.check(V1, not stands or self.given == self.quantity, *told_whole)

    def _is_standing(self, judge: Judge, share: Share | Waiting) -> bool:
        """Whether the id is that of the single account, or of some place in a template."""
        for source, count in ((SINGLE, 1), (TEMPLATE, TEMPLATE_SHARES_MAX)):
            for ordinal in range(count):
                if share.allocation_id == self._share_id(source, share.account, ordinal, share.version):
                    self._judge_version(judge, share, source, ordinal)
                    return True
        return False

    def _judge_version(self, judge: Judge, share: Share | Waiting, source: str, ordinal: int) -> None:
        """A later version names the first one, and was made because something was taken back."""
        if isinstance(share, Waiting):
            return
        first = None if share.version == 1 else self._share_id(source, share.account, ordinal, 1)
        judge.check(V2, share.original_id == first, "share", share.allocation_id, "names another first version")
        caused = share.version <= 1 + self.block.taken_back + len(self.block.given)
        judge.check(V2, caused, "share", share.allocation_id, "has version", share.version, "without a cause")

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
