"""Confirmed trades and settlement instructions: one instruction and one message each, or an exception, never two."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

from services.domain import identity, money
from services.verification.cases import Cases
from services.verification.cash import is_exact
from services.verification.inputs import Input
from services.verification.judge import V1, V2, V3, V4, V7, Judge
from services.verification.letters import place
from services.verification.message import CANCELLATION, cancellation_of, elements_of, marks
from services.verification.model import Entry
from services.verification.names import CANCEL, INSTRUCTED_AS, SETTLEMENT
from services.verification.plain import SEPARATOR, Plain, digest, text
from services.verification.rows import Columns, Rows, column, mark

TABLES: dict[str, Columns] = {
    "Instructed": {
        "instruction_id": column("instruction_id"),
        "fingerprint": mark("fingerprint"),
        "is_cancelled": column("is_cancelled"),
    },
    "Refused": {"reason": column("reason"), "message": column("message"), "trade": lambda row: _mark(row["trade"])},
}
"""What settlement remembers."""

LEG = "DVP"
CANCELLED_LATE = "INSTRUCTION_CANCELLED_LATE"
ECONOMICS = ("quantity", "amount", "currency", "accrued_interest", "deal_price")

Holding = tuple[str, str, str, str, bool]
"""Account, ISIN, settlement date, currency, and whether it is delivered."""


class Trade(NamedTuple):
    """A confirmed trade."""

    economics: bytes
    rest: bytes
    fingerprint: bytes
    instruction_id: str
    delivers: bool
    holding: Holding
    quantity: Decimal
    amount: Decimal
    partition: int
    is_new: bool
    is_in_flight: bool
    where: str


class Instruction(NamedTuple):
    """What the message of an instruction must say."""

    economics: bytes
    rest: bytes
    content: bytes
    cancellation: tuple[bytes, bytes]
    where: str


class Instructed:
    """What settlement was given and what it made of it."""

    def __init__(self, judge: Judge, cases: Cases) -> None:
        """Start before the first trade."""
        self._judge = judge
        self._cases = cases
        self._trades: dict[str, Trade] = {}
        self._instructed: dict[str, str] = {}
        """Instruction id by allocation id."""
        self._instructions: dict[str, Instruction] = {}
        self._sent: set[str] = set()
        self._taken: dict[str, tuple[bool, bool, bool | None]] = {}
        """Trades that were taken back, each with whether that is new, on its way, and came on the settlement date."""
        self._cancelled: set[str] = set()
        """Instructions that were cancelled."""
        self._cancel_sent: set[str] = set()
        self._sums: defaultdict[Holding, list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 4)
        self.duplicates = 0
        """Confirmed trades that came again."""

    def take_trade(self, given: Input) -> None:
        """Enter a record of trades.confirmed."""
        record = given.record
        allocation_id = record["allocation_id"]
        if record["function"] == CANCEL:
            self.duplicates += allocation_id in self._taken and not given.is_in_flight
            day = datetime.fromtimestamp(given.entry.timestamp_ms / 1000, tz=UTC).date()
            is_late = None if given.is_replayed else day >= record["settlement_date"]
            self._taken.setdefault(allocation_id, (given.is_new, given.is_in_flight, is_late))
            if allocation_id in self._trades:
                return  # else what it takes back was put aside, and is remembered as taken back all the same
        elif allocation_id in self._trades:
            self.duplicates += not given.is_in_flight
            return
        delivers = record["side"] != "BUY"
        self._trades[allocation_id] = Trade(
            economics=_digest_as(record, INSTRUCTED_AS, economics=True),
            rest=_digest_as(record, INSTRUCTED_AS, economics=False),
            fingerprint=_mark(record),
            instruction_id=identity.instruction_id(
                allocation=allocation_id, version=record["version"], account=record["account"], leg=LEG
            ),
            delivers=delivers,
            holding=_holding(record, delivers=delivers),
            quantity=record["quantity"],
            amount=record["settlement_amount"],
            partition=given.entry.partition,
            is_new=given.is_new,
            is_in_flight=given.is_in_flight,
            where=place(given.entry),
        )

    def take_instruction(self, entry: Entry, record: Plain) -> None:
        """Enter a record of settlement.instructions."""
        check, where = self._judge.check, place(entry)
        allocation_id, instruction_id = record["allocation_id"], record["instruction_id"]
        if record["function"] == CANCEL:
            self._take_cancellation(entry, record)
            return
        once = check(V2, instruction_id not in self._instructions, where, instruction_id, "is instructed a second time")
        if once:
            self._instructions[instruction_id] = Instruction(
                *marks(elements_of(record)), _content(record), marks(cancellation_of(record)), where
            )
        trade = self._trades.get(allocation_id)
        if not check(V2, trade is not None, where, instruction_id, "instructs what was not confirmed:", allocation_id):
            return
        assert trade is not None
        derived = instruction_id == trade.instruction_id
        keyed = entry.key == instruction_id.encode()
        check(V2, derived and keyed, where, instruction_id, "has an id or key that does not follow")
        if once:
            check(V2, allocation_id not in self._instructed, where, allocation_id, "is instructed a second time")
        self._instructed[allocation_id] = instruction_id
        names = {name: name for name in INSTRUCTED_AS}
        exact = is_exact(record, ("quantity", "amount", "accrued_interest", "deal_price"))
        same = exact and _digest_as(record, names, economics=True) == trade.economics
        check(V4, same, where, instruction_id, "has another quantity, price or cash than was confirmed")
        rest = _digest_as(record, names, economics=False) == trade.rest
        directed = record["movement"] == ("DELI" if trade.delivers else "RECE")
        paid = record["payment"] == ("APMT" if trade.amount else "FREE")
        named = record["common_reference"] is None  # confirmations carry none on which both sides could have agreed
        check(V2, rest and directed and paid and named, where, instruction_id, "has other terms than were confirmed")
        sums = self._sums[_holding(record, delivers=record["movement"] == "DELI")]
        sums[2], sums[3] = money.add(sums[2], record["quantity"]), money.add(sums[3], record["amount"])

    def _take_cancellation(self, entry: Entry, record: Plain) -> None:
        """It ends an instruction that stands, says all that that one said, and lowers what is to be settled."""
        check, where, instruction_id = self._judge.check, place(entry), record["instruction_id"]
        instruction = self._instructions.get(instruction_id)
        check(V2, entry.key == instruction_id.encode(), where, instruction_id, "has a key that does not follow")
        check(V2, instruction_id not in self._cancelled, where, instruction_id, "is cancelled a second time")
        self._cancelled.add(instruction_id)
        if not check(V2, instruction is not None, where, instruction_id, "is cancelled and was never instructed"):
            return
        assert instruction is not None
        same = instruction.content == _content(record)
        check(V4, same, where, instruction_id, "is cancelled with other terms than it was instructed with")
        taken = record["allocation_id"] in self._taken
        check(V2, taken, where, instruction_id, "is cancelled although its trade stands")
        sums = self._sums[_holding(record, delivers=record["movement"] == "DELI")]
        sums[2], sums[3] = money.add(sums[2], -record["quantity"]), money.add(sums[3], -record["amount"])

    def take_message(self, entry: Entry, record: Plain) -> None:
        """Enter a record of settlement.messages."""
        check, where = self._judge.check, place(entry)
        instruction_id = (entry.key or b"").decode(errors="replace")
        instruction = self._instructions.get(instruction_id)
        is_cancellation = record["elements"].get("") == CANCELLATION
        sent = self._cancel_sent if is_cancellation else self._sent
        check(V2, instruction_id not in sent, where, instruction_id, "is sent a second time")
        check(
            V3, not is_cancellation or instruction_id in self._sent, where, instruction_id, "is cancelled before it is"
        )
        sent.add(instruction_id)
        if not check(V2, instruction is not None, where, instruction_id, "is a message without an instruction"):
            return
        assert instruction is not None
        economics, rest = marks(record["elements"])
        if is_cancellation:
            same = (economics, rest) == instruction.cancellation and instruction_id in self._cancelled
            check(V2, same, where, instruction_id, "is a cancellation that nobody asked for")
            return
        same = economics == instruction.economics
        check(V4, same, where, instruction_id, "says another quantity, price or cash than its instruction")
        check(V2, rest == instruction.rest, where, instruction_id, "says other terms than its instruction")

    def settle(self, rows: Rows) -> None:
        """Every confirmed trade was instructed or refused, and that is what is remembered."""
        for allocation_id, trade in self._trades.items():
            cases = self._cases.about(SETTLEMENT, allocation_id)
            shown = [case for case in cases.values() if case.is_open and case.reason != CANCELLED_LATE]
            taken_is_new, taken_is_in_flight, is_late = self._taken.get(allocation_id, (False, False, None))
            if trade.is_in_flight or taken_is_in_flight:
                rows.take("Instructed", allocation_id, trade.partition)
                rows.take("Refused", allocation_id, trade.partition)
                self._leave_out(allocation_id, trade)
                continue
            instruction_id = self._instructed.get(allocation_id)
            self._judge.is_quiet = not (trade.is_new or taken_is_new)
            if allocation_id in self._taken:
                self._judge_taken(rows, allocation_id, trade, instruction_id, still_shown=bool(shown))
                told = CANCELLED_LATE in cases
                due = instruction_id is not None and is_late
                agrees = is_late is None or told == due
                self._judge.check(V1, agrees, trade.where, allocation_id, "was cancelled late and not shown, or shown")
                continue
            self._judge_trade(allocation_id, trade, instruction_id, refused=bool(shown))
            if instruction_id is not None:
                rows.expect("Instructed", allocation_id, trade.partition, instruction_id, trade.fingerprint, False)  # noqa: FBT003
                self._add(trade)
            for case in shown:
                rows.expect("Refused", allocation_id, trade.partition, case.reason, case.message, trade.fingerprint)
        self._judge.is_quiet = False
        self._judge_sums()
        for instruction_id, instruction in self._instructions.items():
            sent = instruction_id in self._sent
            self._judge.check(V1, sent, instruction.where, instruction_id, "was instructed without a message")
            told = (instruction_id in self._cancelled) == (instruction_id in self._cancel_sent)
            self._judge.check(V1, told, instruction.where, instruction_id, "was cancelled without a message")

    def _judge_trade(self, allocation_id: str, trade: Trade, instruction_id: str | None, *, refused: bool) -> None:
        check = self._judge.check
        settled = instruction_id is not None or refused
        check(V1, settled, trade.where, allocation_id, "was neither instructed nor refused")
        check(
            V7, not (instruction_id is not None and refused), trade.where, allocation_id, "was instructed and refused"
        )

    def _judge_taken(
        self, rows: Rows, allocation_id: str, trade: Trade, instruction_id: str | None, *, still_shown: bool
    ) -> None:
        """What was taken back is not instructed any more, and remembered, so that it is not instructed again."""
        cancelled = instruction_id is None or instruction_id in self._cancelled
        self._judge.check(V1, cancelled, trade.where, allocation_id, "was taken back and is still instructed")
        self._judge.check(V1, not still_shown, trade.where, allocation_id, "was taken back and is still shown")
        values = (instruction_id or "", trade.fingerprint, True)
        rows.expect("Instructed", allocation_id, trade.partition, *values)

    def _add(self, trade: Trade) -> None:
        sums = self._sums[trade.holding]
        sums[0], sums[1] = money.add(sums[0], trade.quantity), money.add(sums[1], trade.amount)

    def _leave_out(self, allocation_id: str, trade: Trade) -> None:
        """On both sides of the sums, what is in flight and came out already."""
        if allocation_id in self._instructed and self._instructed[allocation_id] not in self._cancelled:
            self._add(trade)

    def _judge_sums(self) -> None:
        for (account, isin, day, currency, delivers), sums in self._sums.items():
            told = (account, isin, day, "delivers" if delivers else "receives", sums[2], "for", sums[3], currency)
            self._judge.check(V4, sums[:2] == sums[2:], *told, "by instruction, confirmed are", sums[0], "for", sums[1])


def _digest_as(record: Plain, names: Mapping[str, str], *, economics: bool) -> bytes:
    """Digest of what an instruction says; `names` maps its fields to the record's own."""
    own = [mine for name, mine in names.items() if (name in ECONOMICS) is economics]
    return digest(record, own)


def _content(record: Plain) -> bytes:
    """Recognise everything an instruction says but whether it is one or its cancellation."""
    return digest(record, ("instruction_id", "movement", "payment", "common_reference", *INSTRUCTED_AS))


def _holding(record: Plain, *, delivers: bool) -> Holding:
    return record["account"], record["isin"], text(record["settlement_date"]), record["currency"], delivers


def _mark(record: Plain) -> bytes:
    """How settlement recognises the terms it instructed."""
    terms = [
        str(record["side"] != "BUY"), *(record[name] for name in ("account", "isin", "instrument_type")),
        *(_plain(record[name]) for name in ("quantity", "settlement_amount")), record["currency"],
        *(_plain(record[name]) for name in ("accrued_interest", "average_price")),
        *(record[name] for name in ("price_type", "venue")),
        *(text(record[name]) for name in ("trade_date", "settlement_date")),
    ]  # fmt: skip
    for chain in (record["account_chain"], record["counterparty_chain"]):
        terms += [chain["depository_bic"], chain["participant_bic"], chain["safekeeping_account"]]
        terms += ["-" if chain[name] is None else f"={chain[name]}" for name in ("participant_account", "client_bic")]
    return hashlib.sha256(SEPARATOR.join(terms).encode()).digest()


def _plain(value: object) -> str:
    return text(Decimal(str(value)))
