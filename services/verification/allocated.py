"""What allocation was given, block by block, and the shares it made; the judgement of a block is in `blocks`."""

from __future__ import annotations

import sys
from collections import defaultdict
from decimal import Decimal
from typing import NamedTuple

from services.domain import identity
from services.domain.code import Side
from services.verification.cash import Charges, charges_of, is_exact, net_follows
from services.verification.chains import Chains
from services.verification.inputs import Input
from services.verification.judge import V2, V4, Judge
from services.verification.letters import place
from services.verification.model import Entry
from services.verification.names import ALLOCATED_FIELDS, BINDING_FIELDS, CANCEL
from services.verification.plain import Plain, bytes_digest, decimal_of, digest, text
from services.verification.rows import Columns, column

ECONOMICS = ("quantity", "price", "gross_amount", "accrued_interest")
_ZERO = Decimal(0)
CASH_FIELDS = ("gross_amount", "accrued_interest", "net_amount", "quantity", "average_price")


class Fill(NamedTuple):
    """One version of an enriched trade, as far as its block is concerned."""

    version: int
    is_cancel: bool
    report: tuple[int, str, int]
    """Time of the execution, ExecID, version: the greatest says how far the order is."""
    quantity: Decimal
    price: Decimal
    gross: Decimal
    accrued: Decimal
    charges: Charges
    cumulative: Decimal
    is_last: bool
    """The order leaves nothing open."""
    terms: tuple[str, ...]
    venue: str
    received_at_us: int
    partition: int
    timestamp_ms: int
    is_new: bool
    is_in_flight: bool


class Share(NamedTuple):
    """One allocated trade."""

    allocation_id: str
    version: int
    original_id: str | None
    content: bytes
    account: str
    reference: str | None
    quantity: Decimal
    gross: Decimal
    accrued: Decimal
    charges: Charges
    trade_ids: tuple[str, ...]
    average_price: Decimal
    terms: tuple[str, ...]
    venue: str
    received_at_us: int
    where: str


class Request(NamedTuple):
    """One allocation instruction."""

    sender: str
    instruction_id: str
    kind: str
    reference_id: str | None
    shares: tuple[tuple[str, Decimal, str], ...]
    """Of each share the account, the quantity, and the reference the share must carry."""
    partition: int
    timestamp_ms: int
    is_new: bool
    is_in_flight: bool
    where: str

    @property
    def subject(self) -> str:
        """What exceptions about it are about."""
        return f"{self.sender}/{self.instruction_id}"


class Block:
    """All fills of one order on one trade date, its instructions, and what was given away."""

    __slots__ = ("fills", "order_id", "requests", "shares", "taken_back", "versions")

    def __init__(self, order_id: str) -> None:
        """Start with nothing."""
        self.order_id = order_id
        self.fills: defaultdict[str, list[Fill]] = defaultdict(list)
        self.requests: list[Request] = []
        self.shares: list[Share] = []
        """Those that stand."""
        self.taken_back = 0
        """How many were taken back."""
        self.versions = 1
        """The block has had at least so many versions."""

    @property
    def given(self) -> list[Fill | Request]:
        """Everything that came in."""
        return [*self.requests, *(fill for fills in self.fills.values() for fill in fills)]

    @property
    def is_in_flight(self) -> bool:
        """Whether something is still on its way to the block."""
        return any(one.is_in_flight for one in self.given)

    @property
    def is_judged(self) -> bool:
        """Whether something came in that is not older than what is judged."""
        return any(one.is_new for one in self.given)

    @property
    def partition(self) -> int:
        """Where its inputs lie."""
        return next((one.partition for one in self.given), 0)


class Waiting(NamedTuple):
    """A share that waits for reference data, as the state has it: its cash lies nowhere else."""

    allocation_id: str
    block_id: str
    account: str
    reference: str | None
    quantity: Decimal
    gross: Decimal
    accrued: Decimal
    charges: Charges
    version: int = 1


TABLES: dict[str, Columns] = {
    "Block": {
        "allocated_quantity": lambda row: decimal_of(row["allocated_quantity"]),
        "quantity": lambda row: decimal_of(row["totals"]["quantity"]),
        "pending": lambda row: sorted(row["pending"]),
        "last_event_us": column("last_event_us"),
        "judged": lambda row: sorted(row["judged"]),
        "version": column("version"),
        "newest_share": column("newest_share"),
    },
    "Fill": {
        "block_id": column("block_id"),
        "version": column("version"),
        "open_reason": column("open_reason"),
        "status": column("status"),
        "economics": lambda row: economics_of(*(decimal_of(row[name]) for name in ECONOMICS)),
    },
    "GivenShare": {
        "version": column("version"),
        "is_published": lambda row: row["chain"] is not None,
        "quantity": lambda row: decimal_of(row["share"]["quantity"]),
        "previous": column("previous"),
        "block_id": lambda row: row["share"]["block_id"],
    },
    "KeptInstruction": {"status": column("status"), "reason": column("reason")},
    "AwaitedInstruction": {"change_id": column("change_id")},
    "WaitingBlock": {"reason": column("reason")},
    "WaitingShare": {"reason": column("reason"), "share": lambda row: _waiting(row["share"])},
    "OpenBlock": {"overdue": column("overdue")},
    "AllocateBy": {"shown": column("shown")},
    "NextAllocateBy": {"due_at_us": column("due_at_us")},
    "NextDeadline": {"due_at_us": column("due_at_us")},
}
"""What allocation remembers."""


def _waiting(row: Plain) -> Waiting:
    charges = tuple(
        sorted((charge["charge_id"], charge["currency"], decimal_of(charge["amount"])) for charge in row["charges"])
    )
    return Waiting(
        allocation_id=row["allocation_id"],
        block_id=row["block_id"],
        account=row["account"],
        reference=row["reference"],
        quantity=decimal_of(row["quantity"]),
        gross=decimal_of(row["gross_amount"]),
        accrued=decimal_of(row["accrued_interest"]),
        charges=charges,
    )


class Allocated:
    """Gathers blocks."""

    def __init__(self, judge: Judge, chains: Chains) -> None:
        """Start before the first fill."""
        self._judge = judge
        self._chains = chains
        self.blocks: dict[str, Block] = {}
        self._terms: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._allocation_ids: set[str] = set()
        self.duplicates = 0
        """Versions of fills that came again."""

    def take_fill(self, given: Input) -> None:
        """Enter a record of trades.enriched."""
        record = given.record
        block_id = identity.block_id(order_id=record["order_id"], trade_date=record["trade_date"])
        fills = self._block(block_id, record).fills[record["trade_id"]]
        if any(fill.version == record["version"] for fill in fills):
            self.duplicates += not given.is_in_flight
            return
        fills.append(
            Fill(
                version=record["version"],
                is_cancel=record["execution_type"] == "TRADE_CANCEL",
                report=(record["transaction_time_us"], record["execution_id"], record["version"]),
                quantity=record["quantity"],
                price=record["price"],
                gross=record["gross_amount"],
                accrued=record["accrued_interest"] or _ZERO,
                charges=charges_of(record),
                cumulative=_same(record["quantity"], record["cumulative_quantity"]),
                is_last=record["leaves_quantity"] == 0,
                terms=self._terms_of(record, "account"),
                venue=sys.intern(record["venue"]),
                received_at_us=record["received_at_us"],
                partition=given.entry.partition,
                timestamp_ms=given.entry.timestamp_ms,
                is_new=given.is_new,
                is_in_flight=given.is_in_flight,
            )
        )

    def take_request(self, given: Input) -> None:
        """Enter a record of trades.allocation-requests."""
        record = given.record
        block_id = identity.block_id(order_id=record["order_id"], trade_date=record["trade_date"])
        shares = tuple(
            (share["account"], share["quantity"], share["individual_allocation_id"] or record["instruction_id"])
            for share in record["allocations"]
        )
        self._block(block_id, record).requests.append(
            Request(
                sender=record["sender"],
                instruction_id=record["instruction_id"],
                kind=record["transaction_type"],
                reference_id=record["reference_id"],
                shares=shares,
                partition=given.entry.partition,
                timestamp_ms=given.entry.timestamp_ms,
                is_new=given.is_new,
                is_in_flight=given.is_in_flight,
                where=place(given.entry),
            )
        )

    def take_share(self, entry: Entry, record: Plain) -> None:
        """Enter a record of trades.allocated."""
        check, where, allocation_id = self._judge.check, place(entry), record["allocation_id"]
        block = self.blocks.get(record["block_id"])
        if not check(V2, block is not None and bool(block.fills), where, allocation_id, "is a share of no known block"):
            return
        assert block is not None
        content = digest(record, ALLOCATED_FIELDS)
        if record["function"] == CANCEL:
            self._take_back(block, allocation_id, content, where)
            return
        check(V2, allocation_id not in self._allocation_ids, where, allocation_id, "is there a second time")
        self._allocation_ids.add(allocation_id)
        block.versions = max(block.versions, record["version"])
        check(V2, _match_key_follows(entry, record), where, allocation_id, "has a match key that does not follow")
        exact = check(V4, is_exact(record, CASH_FIELDS), where, allocation_id, "has an amount that is not exact")
        check(V4, exact and net_follows(record), where, allocation_id, "has a net amount that is not its parts' sum")
        self._chains.check(where, record["account"], record, "account_chain")
        block.shares.append(
            Share(
                allocation_id=allocation_id,
                version=record["version"],
                original_id=record["original_allocation_id"],
                content=content,
                account=record["account"],
                reference=record["allocation_reference"],
                quantity=record["quantity"],
                gross=record["gross_amount"],
                accrued=record["accrued_interest"],
                charges=charges_of(record),
                trade_ids=tuple(record["trade_ids"]),
                average_price=record["average_price"],
                terms=self._terms_of(record, "block_account"),
                venue=record["venue"],
                received_at_us=record["received_at_us"],
                where=where,
            )
        )

    def _take_back(self, block: Block, allocation_id: str, content: bytes, where: str) -> None:
        """A share ends once, under its own id, and says all that it said when it was published."""
        share = next((one for one in block.shares if one.allocation_id == allocation_id), None)
        if not self._judge.check(V2, share is not None, where, allocation_id, "is taken back and does not stand"):
            return
        assert share is not None
        same = share.content == content
        self._judge.check(V4, same, where, allocation_id, "is taken back with other terms than it was published with")
        block.shares.remove(share)
        block.taken_back += 1
        block.versions = max(block.versions, share.version + 1)

    def _block(self, block_id: str, record: Plain) -> Block:
        block = self.blocks.get(block_id)
        if block is None:
            block = self.blocks[block_id] = Block(record["order_id"])
        return block

    def _terms_of(self, record: Plain, account: str) -> tuple[str, ...]:
        """Terms that fills and shares have in common; equal ones are kept once."""
        names = (account, *BINDING_FIELDS[1:], "instrument_type", "settlement_market", "counterparty_lei")
        terms = (*(text(record[name]) for name in names), text(record["counterparty_chain"]))
        return self._terms.setdefault(terms, terms)


def economics_of(*values: Decimal) -> bytes:
    """Digest of quantity, price, gross amount and accrued interest."""
    return bytes_digest(*(text(value).encode() for value in values))


def _same(kept: Decimal, other: Decimal) -> Decimal:
    """The one that is kept anyway, where both are equal: most orders are done in one fill."""
    return kept if kept == other else other


def _match_key_follows(entry: Entry, record: Plain) -> bool:
    key = identity.match_key(
        counterparty=record["counterparty"],
        account=record["account"],
        isin=record["isin"],
        side=Side(record["side"]).settles_as,
        trade_date=record["trade_date"],
    )
    return bool(record["match_key"] == key) and entry.key == key.encode()
