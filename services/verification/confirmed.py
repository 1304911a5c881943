"""Allocated trades and confirmations: each pair once, and nothing waits for what lies beside it."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import NamedTuple

from services.verification.cases import Case, Cases, open_reasons
from services.verification.inputs import Input
from services.verification.judge import V1, V2, V4, V6, Judge
from services.verification.letters import place
from services.verification.model import Entry
from services.verification.names import ALLOCATED, ALLOCATED_FIELDS, CANCEL, CONFIRMATION, CONFIRMATION_FIELDS, RECEIVED
from services.verification.plain import SEPARATOR, Plain, digest
from services.verification.rows import Columns, Rows, column

RECEIVED_FIELDS = (*CONFIRMATION_FIELDS, "match_key")
MISMATCHED, UNCONFIRMED, UNMATCHED = "CONFIRMATION_MISMATCHED", "UNCONFIRMED", "UNMATCHED_CONFIRMATION"

TABLES: dict[str, Columns] = {
    "OpenAllocation": {"content": lambda row: digest(row["trade"], ALLOCATED_FIELDS)},
    "OpenConfirmation": {"content": lambda row: digest(row["confirmation"], RECEIVED_FIELDS)},
    "MatchedAllocation": {"confirmation_key": column("confirmation_key")},
    "MatchedConfirmation": {
        "allocation_id": column("allocation_id"),
        "content": lambda row: digest(row["confirmation"], RECEIVED_FIELDS),
    },
    "Mismatch": {"confirmation_key": column("confirmation_key")},
    "Deadline": {"reason": column("reason"), "overdue": column("overdue"), "due_at_us": column("due_at_us")},
    "NextDeadline": {"due_at_us": column("due_at_us")},
    "MatchGroup": {
        "allocations": lambda row: sorted(row["allocations"]),
        "confirmations": lambda row: sorted(row["confirmations"]),
    },
}
"""What confirmation remembers."""


class Side(NamedTuple):
    """One side of a trade: our allocated trade, or the counterparty's confirmation of it."""

    key: str
    match_key: str
    content: bytes
    is_ours: bool
    """Whether it is an allocated trade."""
    hard: bytes
    """What has to agree without any tolerance."""
    equal: bytes
    """All that is compared."""
    quantity: Decimal
    net_amount: Decimal
    delivers: bool
    references: tuple[str, ...]
    """Of an allocated trade what may be quoted, of a confirmation what is quoted."""
    partition: int
    is_new: bool
    is_in_flight: bool
    offset: int

    @property
    def subject(self) -> str:
        """What exceptions about it are about."""
        return self.key.replace(SEPARATOR, "/")

    @property
    def where(self) -> str:
        """The record."""
        return f"{ALLOCATED if self.is_ours else RECEIVED}[{self.partition}]@{self.offset}"


class Group:
    """What has one match key."""

    __slots__ = ("match_key", "ours", "taken", "theirs")

    def __init__(self) -> None:
        """Start with nothing."""
        self.match_key = ""
        """Kept once for all sides."""
        self.ours: list[Side] = []
        self.theirs: list[Side] = []
        self.taken: list[Side] = []
        """Allocated trades that were taken back."""

    @property
    def sides(self) -> list[Side]:
        """All of them."""
        return self.ours + self.theirs + self.taken


class Confirmed:
    """What confirmation was given and what it made of it."""

    def __init__(self, judge: Judge, cases: Cases) -> None:
        """Start before the first side."""
        self._judge = judge
        self._cases = cases
        self._ours: dict[str, Side] = {}
        self._theirs: dict[str, Side] = {}
        self._groups: defaultdict[str, Group] = defaultdict(Group)
        self._matched: dict[str, str] = {}
        """Confirmation key by allocation id, of those that stand."""
        self._claims: defaultdict[str, set[str]] = defaultdict(set)
        """Allocation ids by the confirmation that confirms them: in the end no more than one."""
        self._confirmed: dict[str, bytes] = {}
        """What was said of every allocation that ever was confirmed."""
        self._taken: set[str] = set()
        """Allocation ids that were taken back."""
        self.duplicates = 0
        """Sides that came again."""
        self.waiting = 0
        """Sides that wait for the other."""

    # --- inputs

    def take_allocation(self, given: Input) -> None:
        """Enter a record of trades.allocated."""
        record = given.record
        key = record["allocation_id"]
        if record["function"] == CANCEL:
            self._take_back(given, key)
        else:
            self._enter(self._ours, given, key, _our_terms(record))

    def _take_back(self, given: Input, key: str) -> None:
        """It leaves its group, and whatever is remembered of it now is that it has."""
        if key in self._taken:
            self.duplicates += not given.is_in_flight
            return
        if key not in self._ours:  # what it takes back was put aside: that it is taken back is remembered all the same
            self._enter(self._ours, given, key, _our_terms(given.record))
        side = self._ours[key]
        group = self._groups[side.match_key]
        group.ours.remove(side)
        is_in_flight, is_new = given.is_in_flight or side.is_in_flight, given.is_new or side.is_new
        self._ours[key] = side = side._replace(is_in_flight=is_in_flight, is_new=is_new)
        group.taken.append(side)
        self._taken.add(key)

    def take_confirmation(self, given: Input) -> None:
        """Enter a record of confirmations.received."""
        record = given.record
        key = f"{record['sender']}{SEPARATOR}{record['confirmation_id']}"
        self._enter(self._theirs, given, key, record)

    def _enter(self, sides: dict[str, Side], given: Input, key: str, terms: Plain) -> None:
        if key in sides:
            self.duplicates += not given.is_in_flight
            return
        is_ours, record = sides is self._ours, given.record
        reference = record["allocation_reference"]
        quoted = (key, reference, record["original_allocation_id"]) if is_ours else (reference,)
        side = sides[key] = Side(
            key=key,
            match_key=self._groups[record["match_key"]].match_key or record["match_key"],
            content=digest(record, ALLOCATED_FIELDS if is_ours else RECEIVED_FIELDS),
            is_ours=is_ours,
            hard=digest(terms, ("account", "isin", "currency", "quantity", "trade_date", "settlement_date")),
            equal=digest(terms, ("quantity", "price", "net_amount", "settlement_date", "currency")),
            quantity=record["quantity"],
            net_amount=record["net_amount"],
            delivers=record["side"] != "BUY",
            references=tuple(name for name in quoted if name is not None),
            partition=given.entry.partition,
            is_new=given.is_new,
            is_in_flight=given.is_in_flight,
            offset=given.entry.offset,
        )
        group = self._groups[side.match_key]
        group.match_key = side.match_key
        (group.ours if is_ours else group.theirs).append(side)

    # --- outputs

    def take_output(self, entry: Entry, record: Plain) -> None:
        """Enter a record of trades.confirmed."""
        check, where, allocation_id = self._judge.check, place(entry), record["allocation_id"]
        ours = self._ours.get(allocation_id)
        known = ours is not None and ours.content == digest(record, ALLOCATED_FIELDS)
        check(V2, entry.key == allocation_id.encode(), where, "is not keyed by its allocation")
        key = f"{record['counterparty']}{SEPARATOR}{record['confirmation_id']}"
        theirs = self._theirs.get(key)
        named = theirs is not None and theirs.match_key == record["match_key"]
        if not check(V2, known, where, allocation_id, "is not what was allocated"):
            return
        if not check(V2, named, where, allocation_id, "is confirmed by what was not received"):
            return
        said = digest(record, (*ALLOCATED_FIELDS, "confirmation_id", "matching_profile", "settlement_amount"))
        if record["function"] == CANCEL:
            stands = self._matched.pop(allocation_id, None) == key
            check(V2, stands, where, allocation_id, "is taken back by a confirmation that does not confirm it")
            same = self._confirmed.get(allocation_id) == said
            check(V4, same, where, allocation_id, "is taken back with other terms than it was confirmed with")
            self._claims[key].discard(allocation_id)
            return
        check(V2, allocation_id not in self._confirmed, where, allocation_id, "is confirmed a second time")
        self._confirmed[allocation_id] = said
        assert ours is not None
        assert theirs is not None
        self._matched[allocation_id] = key
        self._claims[key].add(allocation_id)
        opposed = ours.delivers != theirs.delivers and ours.hard == theirs.hard
        check(V4, opposed, where, allocation_id, "is confirmed with other terms")
        amount = ours.net_amount if ours.delivers else theirs.net_amount
        settles = record["settlement_amount"] == amount
        check(V4, settles, where, allocation_id, "settles at another amount than the seller's")

    # --- the reckoning

    def settle(self, rows: Rows) -> None:
        """What could be matched is, each side left over waits, and that is what is remembered."""
        deadlines: dict[int, int] = {}
        for match_key, group in self._groups.items():
            if any(side.is_in_flight for side in group.sides):
                self._forget(rows, match_key, group)
                continue
            self._judge.is_quiet = not any(side.is_new for side in group.sides)
            ours = [side for side in group.ours if side.key not in self._matched]
            theirs = [side for side in group.theirs if not self._claims.get(side.key)]
            self._judge_left(ours, theirs)
            self.waiting += len(ours) + len(theirs)
            if ours or theirs:
                ids = (sorted(side.key for side in ours), sorted(side.key for side in theirs))
                rows.expect("MatchGroup", match_key, (ours + theirs)[0].partition, *ids)
            for side in group.sides:
                self._compare(rows, side, deadlines)
        self._judge.is_quiet = False
        self._compare_deadlines(rows, deadlines)

    def _judge_left(self, ours: list[Side], theirs: list[Side]) -> None:
        """No two that are left agree, and where two are one trade seen differently, a person sees it."""
        related = []
        for our in ours:
            for their in theirs:
                quoted = any(reference in our.references for reference in their.references)
                if their.references and not quoted:
                    continue
                agrees = our.hard == their.hard and our.equal == their.equal and our.delivers != their.delivers
                self._judge.check(
                    V1, not agrees, our.where, our.key, "agrees with", their.where, "and is not confirmed"
                )
                if quoted or our.quantity == their.quantity or len(ours) == len(theirs) == 1:
                    related.append(our)
        if related:
            told = any(self._is_open(our, MISMATCHED) for our in ours)
            self._judge.check(
                V1, told, related[0].where, related[0].key, "differs from its confirmation; nobody was told"
            )

    def _compare(self, rows: Rows, side: Side, deadlines: dict[int, int]) -> None:
        cases = self._cases.about(CONFIRMATION, side.subject)
        partition, other = side.partition, self._matched.get(side.key)
        if not side.is_ours:
            claims = sorted(self._claims.get(side.key, ()))
            self._judge.check(V2, len(claims) <= 1, side.where, side.subject, "confirms", ", ".join(claims))
            other = claims[0] if claims else None
        if side.key in self._taken:
            self._judge.check(V1, other is None, side.where, side.key, "is taken back and still confirmed")
            self._judge.check(V1, not open_reasons(cases), side.where, side.key, "is taken back and still shown")
            rows.expect("MatchedAllocation", side.key, partition, "")
            return
        if other is not None:
            shown = [reason for reason in open_reasons(cases) if reason in (MISMATCHED, UNCONFIRMED, UNMATCHED)]
            self._judge.check(V1, not shown, side.where, side.subject, "is matched and still shown as", *shown)
            if not side.is_ours:
                rows.expect("MatchedConfirmation", side.key, partition, other, side.content)
            else:
                rows.expect("MatchedAllocation", side.key, partition, other)
            return
        rows.expect("OpenAllocation" if side.is_ours else "OpenConfirmation", side.key, partition, side.content)
        self._compare_deadline(rows, side, deadlines)
        if MISMATCHED in cases and cases[MISMATCHED].is_open:
            self._compare_mismatch(rows, side, cases[MISMATCHED])

    def _compare_deadline(self, rows: Rows, side: Side, deadlines: dict[int, int]) -> None:
        """Each side that waits has a deadline; `deadlines` collects the first of each partition."""
        reason = UNCONFIRMED if side.is_ours else UNMATCHED
        expected = (reason, self._is_open(side, reason))
        found = rows.take("Deadline", side.key, side.partition)
        name = f"state.confirmation[{side.partition}] Deadline/{side.key}"
        if not self._judge.check(V6, found is not None, name, "is not remembered") or found is None:
            return
        self._judge.check_row(name, found[:2], expected)
        if not found[1] and not self._judge.is_quiet:
            deadlines[side.partition] = min(found[2], deadlines.get(side.partition, found[2]))

    def _compare_deadlines(self, rows: Rows, deadlines: dict[int, int]) -> None:
        """The first deadline of a partition must not be later than any; one that is due for nothing does no harm."""
        found = {partition: values[0] for _, partition, values in rows.of("NextDeadline")}
        for partition in found:
            rows.take("NextDeadline", "-", partition)
        for partition, due_at_us in sorted(deadlines.items()):
            early = partition in found and found[partition] <= due_at_us
            self._judge.check(V6, early, f"state.confirmation[{partition}] NextDeadline/- is missing or too late")

    def _compare_mismatch(self, rows: Rows, side: Side, case: Case) -> None:
        found = rows.take("Mismatch", side.key, side.partition)
        name = f"state.confirmation[{side.partition}] Mismatch/{side.key}"
        named = found is not None and _name_in(found[0]) in case.message
        self._judge.check(V6, named, name, "does not say which confirmation differs, as its exception does")

    def _is_open(self, side: Side, reason: str) -> bool:
        case = self._cases.about(CONFIRMATION, side.subject).get(reason)
        return case is not None and case.is_open

    def _forget(self, rows: Rows, match_key: str, group: Group) -> None:
        """Something is on its way: rows of the group may be ahead of what can be seen, or behind."""
        for side in group.sides:
            self._cases.about(CONFIRMATION, side.subject)
            rows.take("MatchGroup", match_key, side.partition)
            for table in TABLES:
                rows.take(table, side.key, side.partition)


def _our_terms(record: Plain) -> Plain:
    return {**record, "price": record["average_price"]}


def _name_in(confirmation_key: str) -> str:
    """How a sentence names a confirmation."""
    sender, _, confirmation_id = confirmation_key.partition(SEPARATOR)
    return f"Confirmation {confirmation_id} of {sender} "
