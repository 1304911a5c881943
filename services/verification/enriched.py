"""From captured to enriched trades: each version goes on once, is refused, or waits in line."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from services.verification.cases import Case, Cases
from services.verification.cash import commission_follows, fill_follows, is_exact, net_follows
from services.verification.chains import Chains
from services.verification.inputs import Input
from services.verification.interest import Interest
from services.verification.judge import V1, V2, V3, V4, V7, Judge, Moving
from services.verification.letters import place
from services.verification.model import Entry
from services.verification.names import CAPTURED, CAPTURED_FIELDS, ENRICHMENT
from services.verification.plain import Plain, decimal_of, digest
from services.verification.rows import Columns, Rows, column

TABLES: dict[str, Columns] = {
    "WaitingTrade": {
        "versions": lambda row: tuple(trade["version"] for trade in row["trades"]),
        "reason": column("reason"),
        "content": lambda row: tuple(digest(trade, CAPTURED_FIELDS) for trade in row["trades"]),
    },
    "RefusedTrade": {"reason": column("reason")},
    "DoubtedTrade": {"reason": column("reason"), "accrued_interest": lambda row: decimal_of(row["accrued_interest"])},
}
"""What enrichment remembers."""


class Version(NamedTuple):
    """One captured version of a trade."""

    number: int
    content: bytes
    partition: int
    offset: int
    is_new: bool
    is_in_flight: bool
    is_replayed: bool


class Trade:
    """All versions of a trade, and which of them went on."""

    __slots__ = ("accrued_interest", "enriched", "order_id", "versions")

    def __init__(self, order_id: str) -> None:
        """Start without versions."""
        self.order_id = order_id
        self.versions: list[Version] = []
        self.enriched: tuple[int, ...] = ()
        self.accrued_interest = Decimal(0)
        """Of the latest version that went on."""


class Enriched:
    """What enrichment was given and what it made of it."""

    def __init__(self, judge: Judge, cases: Cases, chains: Chains, interest: Interest) -> None:
        """Start before the first trade."""
        self._judge = judge
        self._cases = cases
        self._chains = chains
        self._interest = interest
        self._trades: dict[str, Trade] = {}
        self._last: dict[str, int] = {}
        """By order: offset of the captured trade behind the latest enriched one."""
        self.waiting = 0
        """Versions that wait for reference data."""

    def take_trade(self, given: Input) -> None:
        """Enter a record of trades.captured."""
        entry, record = given.entry, given.record
        trade = self._trades.setdefault(record["trade_id"], Trade(record["order_id"]))
        content = digest(record, CAPTURED_FIELDS)
        flags = (given.is_new, given.is_in_flight, given.is_replayed)
        trade.versions.append(Version(record["version"], content, entry.partition, entry.offset, *flags))

    def take_output(self, entry: Entry, record: Plain) -> None:
        """Enter a record of trades.enriched."""
        check, where, trade_id = self._judge.check, place(entry), record["trade_id"]
        number, content = record["version"], digest(record, CAPTURED_FIELDS)
        trade = self._trades.get(trade_id)
        version = next((one for one in trade.versions if one.number == number), None) if trade else None
        check(V2, entry.key == record["order_id"].encode(), where, "is not keyed by its order")
        money = ("gross_amount", "accrued_interest", "net_amount", "quantity", "price")
        exact = check(V4, is_exact(record, money), where, "has an amount that is not exact")
        check(V4, exact and fill_follows(record), where, trade_id, "has cash that does not follow from its fill")
        check(V4, exact and net_follows(record), where, trade_id, "has a net amount that is not the sum of its parts")
        check(V4, exact and commission_follows(record), where, trade_id, "has a commission that was not reported")
        if exact:
            self._interest.check(where, record)
        self._chains.check(where, record["counterparty"], record, "counterparty_chain")
        known = version is not None and version.content == content
        if not check(V2, known, where, trade_id, "version", number, "is not what was captured"):
            return
        assert trade is not None
        assert version is not None
        check(V2, number not in trade.enriched, where, trade_id, "version", number, "is there a second time")
        rises = not trade.enriched or trade.enriched[-1] < number
        check(V3, rises, where, trade_id, "version", number, "comes after version", *trade.enriched[-1:])
        trade.enriched += (number,)
        trade.accrued_interest = record["accrued_interest"]
        self._check_order(trade_id, trade, version, where)

    def _check_order(self, trade_id: str, trade: Trade, version: Version, where: str) -> None:
        """Trades of an order go on in the order of their capture, but for those that waited or failed at first."""
        waited = any(case.waits for case in self._cases.about(ENRICHMENT, trade_id).values())
        if waited or version.is_replayed:
            return
        holds = version.offset > self._last.get(trade.order_id, -1)
        self._judge.check(V3, holds, where, trade_id, "overtook another trade of order", trade.order_id)
        self._last[trade.order_id] = max(version.offset, self._last.get(trade.order_id, -1))

    def settle(self, rows: Rows) -> None:
        """Every version went on, was refused, or waits; and that is what is remembered."""
        for trade_id, trade in self._trades.items():
            cases = self._cases.about(ENRICHMENT, trade_id)
            trade.versions.sort()  # those that failed at first were entered last
            partition = trade.versions[0].partition
            self._judge.is_quiet = not any(version.is_new for version in trade.versions)
            if any(version.is_in_flight for version in trade.versions):
                rows.take("WaitingTrade", trade_id, partition)
                rows.take("RefusedTrade", trade_id, partition)
                rows.take("DoubtedTrade", trade_id, partition)
                continue
            waiting = self._settle_trade(trade_id, trade, cases)
            self._compare(rows, trade_id, waiting, cases, trade)
        self._judge.is_quiet = False

    def _settle_trade(self, trade_id: str, trade: Trade, cases: dict[str, Case]) -> list[Version]:
        """The versions that wait."""
        left = [one for one in trade.versions if one.number not in trade.enriched]
        refused = sum(case.opened for case in cases.values() if not (case.waits or case.lets_go_on))
        waits = any(case.is_open and case.waits for case in cases.values())
        waiting = left[refused:] if waits else []
        self.waiting += len(waiting)
        check, where = self._judge.check, f"{CAPTURED}[{trade.versions[0].partition}]@{trade.versions[0].offset}"
        told = (
            len(left),
            "versions did not go on,",
            refused,
            "were refused, and it",
            Moving("waits" if waits else "does not wait"),
        )
        check(V1, len(left) <= refused + len(waiting) and bool(waiting) == waits, where, trade_id, *told)
        check(V7, refused <= len(left), where, trade_id, *told)
        in_line = not waiting or trade.versions[-len(waiting) :] == waiting
        check(V3, in_line, where, trade_id, "went on although an earlier version of it waits")
        return waiting

    def _compare(self, rows: Rows, trade_id: str, waiting: list[Version], cases: dict[str, Case], trade: Trade) -> None:
        partition = trade.versions[0].partition
        for reason, case in cases.items():
            if case.is_open and case.waits:
                numbers = tuple(version.number for version in waiting)
                contents = tuple(version.content for version in waiting)
                rows.expect("WaitingTrade", trade_id, partition, numbers, reason, contents)
            elif case.is_open and case.lets_go_on:
                rows.expect("DoubtedTrade", trade_id, partition, reason, trade.accrued_interest)
            elif case.is_open:
                rows.expect("RefusedTrade", trade_id, partition, reason)
