"""Allocated trades and confirmations: each pair once, nothing cancelled, and nothing that waits for its neighbour."""

from __future__ import annotations

from collections import defaultdict

from services.verification.cases import Case, Cases, open_reasons
from services.verification.inputs import Input
from services.verification.judge import V1, V2, V4, V6, Judge
from services.verification.letters import place
from services.verification.model import Entry
from services.verification.names import ALLOCATED_FIELDS, CONFIRMATION
from services.verification.names import CANCEL as TAKEN_BACK
from services.verification.plain import SEPARATOR, Plain, digest
from services.verification.rows import Columns, Rows, column, mark
from services.verification.sides import (
    CANCEL,
    KEPT_FIELDS,
    RECEIVED_FIELDS,
    REFUSAL,
    REPLACE,
    STATED,
    Group,
    Side,
    is_equal,
    our_terms,
    side_of,
)
from services.verification.standing import Standings
from services.verification.tolerance import NET_AMOUNT, PRICE, SETTLEMENT_DATE, Profiles

MISMATCHED, UNCONFIRMED, UNMATCHED = "CONFIRMATION_MISMATCHED", "UNCONFIRMED", "UNMATCHED_CONFIRMATION"
UNKNOWN, REQUESTED = "CONFIRMATION_REFERENCE_UNKNOWN", "CONFIRMATION_CANCEL_REQUESTED"
REFUSED = "CONFIRMATION_CANCEL_REFUSED"
AFFIRMATION = ("AFFIRMATION_DUE", "AFFIRMATION_LATE")
WAITS = (MISMATCHED, UNCONFIRMED, UNMATCHED, UNKNOWN, *AFFIRMATION)
"""Reasons that are shown of a side that waits, and of no other."""

TABLES: dict[str, Columns] = {
    "OpenAllocation": {"content": lambda row: digest(row["trade"], ALLOCATED_FIELDS)},
    "OpenConfirmation": {
        "content": lambda row: digest(row["confirmation"], RECEIVED_FIELDS),
        "freed_by": lambda row: row.get("freed_by"),
    },
    "MatchedAllocation": {"confirmation_key": column("confirmation_key")},
    "MatchedConfirmation": {
        "allocation_id": column("allocation_id"),
        "content": lambda row: digest(row["confirmation"], RECEIVED_FIELDS),
    },
    "Mismatch": {"confirmation_key": column("confirmation_key")},
    "Deadline": {
        "reason": column("reason"),
        "overdue": column("overdue"),
        "affirmation_shown": lambda row: row.get("affirmation_shown"),
        "due_at_us": lambda row: _next_due(row),  # noqa: PLW0108  # defined below
    },
    "Withdrawn": {
        "fingerprint": lambda row: row["fingerprint"] and bytes.fromhex(row["fingerprint"]),
        "by": column("by"),
    },
    "ConfirmationChange": {"fingerprint": mark("fingerprint"), "reference": column("reference")},
    "CancelRequest": {"asked_by": column("asked_by"), "refused": column("refused"), "by": column("by")},
    "ShownStatus": {
        "status": column("status"),
        "confirmation_id": lambda row: row.get("confirmation_id"),
        "steps": lambda row: len(row["history"]),
    },
    "NextDeadline": {"due_at_us": column("due_at_us")},
    "MatchGroup": {
        "allocations": lambda row: sorted(row["allocations"]),
        "confirmations": lambda row: sorted(row["confirmations"]),
    },
}
"""What confirmation remembers."""


class Confirmed:
    """What confirmation was given and what it made of it."""

    def __init__(self, judge: Judge, cases: Cases, profiles: Profiles | None) -> None:
        """Start before the first side; `profiles` is None where no reference data is known."""
        self._judge = judge
        self._profiles = profiles
        self._standings = Standings(judge)
        self._withdrawing: defaultdict[tuple[str, int], list[Side]] = defaultdict(list)
        """By key and partition of a confirmation what takes it back."""
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
        self._undone: dict[str, str] = {}
        """Confirmation key by allocation id, of those that were confirmed and are taken back."""
        self._freed: defaultdict[str, list[str]] = defaultdict(list)
        """Allocation ids by the confirmation whose match our side took back."""
        self._taken: set[str] = set()
        """Allocation ids that were taken back."""
        self._refused: set[str] = set()
        """Keys of confirmations that their sender refuses to cancel."""
        self.duplicates = 0
        """Sides that came again."""
        self.waiting = 0
        """Sides that wait for the other."""

    # --- inputs

    def take_allocation(self, given: Input) -> None:
        """Enter a record of trades.allocated."""
        record = given.record
        key = record["allocation_id"]
        if record["function"] == TAKEN_BACK:
            self._take_back(given, key)
        else:
            self._enter(self._ours, given, key, our_terms(record))

    def _take_back(self, given: Input, key: str) -> None:
        """It leaves its group, and whatever is remembered of it now is that it has."""
        if key in self._taken:
            self.duplicates += not given.is_in_flight
            return
        if key not in self._ours:  # what it takes back was put aside: that it is taken back is remembered all the same
            self._enter(self._ours, given, key, our_terms(given.record))
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
        is_ours, match_key = sides is self._ours, given.record["match_key"]
        kept = self._groups[match_key].match_key or match_key
        side = sides[key] = side_of(given, key, terms, match_key=kept, is_ours=is_ours)
        group = self._groups[side.match_key]
        group.match_key = side.match_key
        if side.changes in (REPLACE, CANCEL):
            self._withdrawing[side.named, side.partition].append(side)
        elif side.changes == REFUSAL:
            self._refused.add(side.named)
        (group.ours if is_ours else group.theirs).append(side)

    # --- outputs

    def take_output(self, entry: Entry, record: Plain) -> None:
        """Enter a record of trades.confirmed."""
        check, where, allocation_id = self._judge.check, place(entry), record["allocation_id"]
        ours = self._ours.get(allocation_id)
        known = ours is not None and ours.kept == digest(record, KEPT_FIELDS)
        check(V2, entry.key == allocation_id.encode(), where, "is not keyed by its allocation")
        key = f"{record['counterparty']}{SEPARATOR}{record['confirmation_id']}"
        theirs = self._theirs.get(key)
        named = theirs is not None and theirs.match_key == record["match_key"]
        if not check(V2, known, where, allocation_id, "is not what was allocated"):
            return
        if not check(V2, named, where, allocation_id, "is confirmed by what was not received"):
            return
        assert ours is not None
        assert theirs is not None
        said = digest(record, (*ALLOCATED_FIELDS, "confirmation_id", "matching_profile", "settlement_amount"))
        if record["function"] == TAKEN_BACK:
            self._take_end(where, allocation_id, key, said)
            return
        check(V2, allocation_id not in self._confirmed, where, allocation_id, "is confirmed a second time")
        self._confirmed[allocation_id] = said
        self._matched[allocation_id] = key
        self._claims[key].add(allocation_id)
        opposed = ours.delivers != theirs.delivers and ours.hard == theirs.hard and theirs.confirms
        check(V4, opposed, where, allocation_id, "is confirmed with other terms")
        self._check_terms(where, record, ours, theirs)

    def _take_end(self, where: str, allocation_id: str, key: str, said: bytes) -> None:
        """What was confirmed is taken back, in the same words."""
        stands = self._matched.pop(allocation_id, None) == key
        self._judge.check(V2, stands, where, allocation_id, "is taken back by a confirmation that does not confirm it")
        same = self._confirmed.get(allocation_id) == said
        self._judge.check(V4, same, where, allocation_id, "is taken back with other terms than it was confirmed with")
        self._claims[key].discard(allocation_id)
        self._undone[allocation_id] = key
        self._freed[key].append(allocation_id)

    def _check_terms(self, where: str, record: Plain, ours: Side, theirs: Side) -> None:
        """Each field is within what the profile ever allowed, and where it is theirs, it may be."""
        check, profiles = self._judge.check, self._profiles
        profile, name = record["matching_profile"], record["allocation_id"]
        taken = ((PRICE, "average_price", "price"), (SETTLEMENT_DATE, "settlement_date", "settlement_date"))
        for field, own, side_name in taken:
            ours_is, theirs_is = getattr(ours, side_name), getattr(theirs, side_name)
            taken_over = profiles is None or profiles.takes_theirs(profile, field)
            right = record[own] == ours_is or (record[own] == theirs_is and taken_over)
            check(V2, right, where, name, "has another", own, "than was allocated")
        amount = ours.net_amount if ours.delivers else theirs.net_amount
        takes_theirs = profiles is not None and profiles.takes_theirs(profile, NET_AMOUNT)
        settles = record["settlement_amount"] in ((amount, theirs.net_amount) if takes_theirs else (amount,))
        check(V4, settles, where, name, "settles at another amount than the seller's")
        if profiles is None:
            return
        compared: tuple[tuple[str, object, object], ...] = (
            (PRICE, ours.price, theirs.price),
            (SETTLEMENT_DATE, ours.settlement_date, theirs.settlement_date),
            (NET_AMOUNT, ours.net_amount, theirs.net_amount),
            *((part.upper(), own, their) for part, own, their in zip(STATED, ours.stated, theirs.stated, strict=True)),
        )
        for compared_field, own_is, their_is in compared:
            within = profiles.permits(profile, compared_field, own_is, their_is)
            check(V4, within, where, name, "is confirmed beyond every tolerance of", profile, "in", compared_field)

    def take_status(self, entry: Entry, record: Plain) -> None:
        """Enter a record of confirmations.status."""
        self._standings.take(entry, record, known=lambda key: key in self._ours or key in self._theirs)

    # --- the reckoning

    def settle(self, rows: Rows) -> None:
        """What could be matched is, each side left over waits, and that is what is remembered."""
        deadlines: dict[int, int] = {}
        moving = self._moving_groups()
        for match_key, group in self._groups.items():
            if match_key in moving:
                self._forget(rows, match_key, group)
                continue
            self._judge.is_quiet = not any(side.is_new for side in group.sides)
            ours = [side for side in group.ours if side.key not in self._matched]
            waiting = [side for side in group.theirs if self._waits(side)]
            theirs = [side for side in waiting if not self._is_kept_out(side)]
            self._judge_left(ours, theirs)
            self.waiting += len(ours) + len(waiting)
            if ours or theirs:
                ids = (sorted(side.key for side in ours), sorted(side.key for side in theirs))
                rows.expect("MatchGroup", match_key, (ours + theirs)[0].partition, *ids)
            for side in group.sides:
                self._compare(rows, side, deadlines)
            for side in group.theirs:
                if side.changes in (REPLACE, CANCEL) and side.named not in self._theirs:
                    self._compare_named(rows, side, deadlines)
        self._judge.is_quiet = False
        self._compare_deadlines(rows, deadlines)

    def _moving_groups(self) -> set[str]:
        """Groups of which something is on its way; those between which something is named move together."""
        moving = {key for key, group in self._groups.items() if any(side.is_in_flight for side in group.sides)}
        pairs = [
            (side.match_key, self._theirs[key].match_key)
            for (key, _), sides in self._withdrawing.items()
            if key in self._theirs
            for side in sides
        ]
        for one, other in pairs:
            if one in moving or other in moving:
                moving |= {one, other}
        return moving

    def _waits(self, side: Side) -> bool:
        """Whether a confirmation is still open."""
        return side.confirms and not self._claims.get(side.key) and not self._withdrawn_by(side)

    def _withdrawn_by(self, side: Side) -> list[Side]:
        return self._withdrawing.get((side.key, side.partition), [])

    def _is_kept_out(self, side: Side) -> bool:
        """Whether it replaces what is matched: then it waits outside of its group."""
        return side.changes == REPLACE and bool(self._claims.get(side.named)) and self._same_partition(side)

    def _same_partition(self, side: Side) -> bool:
        named = self._theirs.get(side.named)
        return named is not None and named.partition == side.partition

    def _judge_left(self, ours: list[Side], theirs: list[Side]) -> None:
        """No two that are left agree, and where two are one trade seen differently, a person sees it."""
        related = []
        for our in ours:
            for their in theirs:
                quoted = any(reference in our.references for reference in their.references)
                if their.references and not quoted:
                    continue
                agrees = our.hard == their.hard and our.delivers != their.delivers and is_equal(our, their)
                self._judge.check(
                    V1, not agrees, our.where, our.key, "agrees with", their.where, "and is not confirmed"
                )
                if quoted or our.quantity == their.quantity or len(ours) == len(theirs) == 1:
                    related.append(our)
        if related:
            told = any(self._is_open(our.subject, MISMATCHED) for our in ours)
            self._judge.check(
                V1, told, related[0].where, related[0].key, "differs from its confirmation; nobody was told"
            )

    def _compare(self, rows: Rows, side: Side, deadlines: dict[int, int]) -> None:
        cases = self._cases.about(CONFIRMATION, side.subject)
        partition, other = side.partition, self._matched.get(side.key)
        if not side.confirms:
            rows.expect("ConfirmationChange", side.key, partition, side.fingerprint, side.named)
            return
        if side.fingerprint:
            claims = sorted(self._claims.get(side.key, ()))
            self._judge.check(V2, len(claims) <= 1, side.where, side.subject, "confirms", ", ".join(claims))
            other = claims[0] if claims else None
        elif side.key in self._taken:
            self._judge.check(V1, other is None, side.where, side.key, "is taken back and still confirmed")
            self._compare_taken(rows, side, open_reasons(cases))
            return
        withdrawn = self._withdrawn_by(side) if side.fingerprint else []
        shown = [reason for reason in open_reasons(cases) if reason in WAITS]
        if other is not None:
            self._judge.check(V1, not shown, side.where, side.subject, "is matched and still shown as", *shown)
            if side.fingerprint:
                rows.expect("MatchedConfirmation", side.key, partition, other, side.content)
                self._standings.expect(rows, side.key, partition, ("MAGR",), must=False)
            else:
                rows.expect("MatchedAllocation", side.key, partition, other)
                self._compare_request(rows, side, self._theirs[other])
        elif withdrawn:
            self._judge.check(V1, not shown, side.where, side.subject, "is cancelled and still shown as", *shown)
            self._compare_withdrawn(rows, side.key, partition, withdrawn, side.fingerprint)
            self._standings.expect(rows, side.key, partition, ("CAND",), must=True)
        else:
            self._compare_open(rows, side, deadlines)

    def _compare_open(self, rows: Rows, side: Side, deadlines: dict[int, int]) -> None:
        partition = side.partition
        if side.fingerprint:
            rows.expect("OpenConfirmation", side.key, partition, side.content, self._freed_by(side))
        else:
            rows.expect("OpenAllocation", side.key, partition, side.content)
        reason = UNMATCHED if side.fingerprint else UNCONFIRMED
        self._compare_deadline(rows, side, side.key, reason, deadlines)
        cases = self._cases.about(CONFIRMATION, side.subject)
        differs = MISMATCHED in cases and cases[MISMATCHED].is_open
        if differs:
            self._compare_mismatch(rows, side, cases[MISMATCHED])
        if side.fingerprint:
            kept_out = self._is_kept_out(side)
            possible = ("PEND",) if kept_out else ("NMAT", "PEND", "DISQ")
            must = kept_out or self._is_open(side.subject, UNMATCHED)
        else:
            possible = ("MISM",) if differs else ("NMAT",)
            must = differs or self._is_open(side.subject, UNCONFIRMED)
        self._standings.expect(rows, side.key, partition, possible, must=must)

    def _freed_by(self, side: Side) -> str | None:
        """Of the allocations it confirmed before, the last has not been answered yet."""
        freed = self._freed.get(side.key, [])
        asked = [name for name in freed if self._standings.status_of(name) != "CANA"]
        one = len(asked) == (1 if freed else 0)
        self._judge.check(V1, one, side.where, side.subject, "was freed by", ", ".join(freed), "one is to be answered")
        return asked[0] if asked else None

    def _compare_taken(self, rows: Rows, side: Side, shown: list[str]) -> None:
        """What is taken back is told as such: alone, or with the counterparty, whose confirmation is compared again."""
        rows.expect("Withdrawn", side.key, side.partition, None, None)
        key = self._undone.get(side.key)
        if key is None:
            self._judge.check(V1, not shown, side.where, side.key, "is taken back and still shown as", *shown)
            self._standings.expect(rows, side.key, side.partition, ("CAND",), must=True)
            return
        is_answered = bool(self._claims.get(key) or self._withdrawn_by(self._theirs[key]))
        asked = ("CREQ", "CREJ") if key in self._refused else ("CREQ",)
        possible = ("CANA",) if is_answered else ("CANA", *asked)
        self._standings.expect(rows, side.key, side.partition, possible, must=True)
        status = self._standings.status_of(side.key)
        expected = [REFUSED] if status == "CREJ" else []
        self._judge.check(V1, shown == expected, side.where, side.key, "is taken back and shown as", *shown)
        if status in asked:
            rows.expect("CancelRequest", side.key, side.partition, "OURS", status == "CREJ", None)

    def _compare_request(self, rows: Rows, ours: Side, theirs: Side) -> None:
        """A match that its counterparty takes back stands, and our side is asked."""
        asking = self._withdrawn_by(theirs)
        is_asked = self._is_open(ours.subject, REQUESTED)
        told = "was asked about and nobody was told" if asking else "is shown as asked about and was not"
        self._judge.check(V1, is_asked == bool(asking), ours.where, ours.subject, told)
        self._standings.expect(rows, ours.key, ours.partition, ("CREQ",) if asking else ("MAGR",), must=bool(asking))
        if not asking:
            return
        found = rows.take("CancelRequest", ours.key, ours.partition)
        name = f"state.confirmation[{ours.partition}] CancelRequest/{ours.key}"
        if self._judge.check(V6, found is not None, name, "is not remembered") and found is not None:
            self._judge.check_row(name, found[:2], ("THEIRS", False))
            known = found[2] in {side.key for side in asking}
            self._judge.check(V6, known, name, "is asked by what does not name the match")

    def _compare_withdrawn(
        self, rows: Rows, key: str, partition: int, by: list[Side], fingerprint: bytes | None
    ) -> None:
        found = rows.take("Withdrawn", key, partition)
        name = f"state.confirmation[{partition}] Withdrawn/{key}"
        if self._judge.check(V6, found is not None, name, "is not remembered") and found is not None:
            self._judge.check_row(name, found[:1], (fingerprint,))
            known = found[1] in {side.key for side in by}
            self._judge.check(V6, known, name, "is withdrawn by what does not name it")

    def _compare_named(self, rows: Rows, side: Side, deadlines: dict[int, int]) -> None:
        """What is named and has not come is remembered as cancelled, and shown when its time is up; once for all."""
        by = self._withdrawing[side.named, side.partition]
        if by[0] is not side:
            return
        subject = side.named.replace(SEPARATOR, "/")
        self._cases.about(CONFIRMATION, subject)
        self._compare_withdrawn(rows, side.named, side.partition, by, None)
        self._compare_deadline(rows, side, side.named, UNKNOWN, deadlines)

    def _compare_deadline(self, rows: Rows, side: Side, key: str, reason: str, deadlines: dict[int, int]) -> None:
        """What waits has a deadline; `deadlines` collects the first of each partition."""
        subject = key.replace(SEPARATOR, "/")
        affirmation = next((name for name in AFFIRMATION if self._is_open(subject, name)), None)
        expected = (reason, self._is_open(subject, reason), affirmation)
        found = rows.take("Deadline", key, side.partition)
        name = f"state.confirmation[{side.partition}] Deadline/{key}"
        if not self._judge.check(V6, found is not None, name, "is not remembered") or found is None:
            return
        self._judge.check_row(name, found[:3], expected)
        if found[3] is not None and not self._judge.is_quiet:
            deadlines[side.partition] = min(found[3], deadlines.get(side.partition, found[3]))

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

    def _is_open(self, subject: str, reason: str) -> bool:
        case = self._cases.about(CONFIRMATION, subject).get(reason)
        return case is not None and case.is_open

    def _forget(self, rows: Rows, match_key: str, group: Group) -> None:
        """Something is on its way: rows of the group may be ahead of what can be seen, or behind."""
        for side in group.sides:
            rows.take("MatchGroup", match_key, side.partition)
            for key in (side.key, side.named):
                self._cases.about(CONFIRMATION, key.replace(SEPARATOR, "/"))
                if key == side.key or key not in self._theirs:
                    for table in TABLES:
                        rows.take(table, key, side.partition)


def _next_due(row: Plain) -> int | None:
    """The first moment at which something of a deadline is still to be shown."""
    times = [] if row["overdue"] else [row["due_at_us"]]
    shown = row.get("affirmation_shown")
    if shown is None:
        times.append(row.get("affirm_warning_at_us"))
    elif shown == AFFIRMATION[0]:
        times.append(row.get("affirm_by_us"))
    return min((time for time in times if time is not None), default=None)


def _name_in(confirmation_key: str) -> str:
    """How a sentence names a confirmation."""
    sender, _, confirmation_id = confirmation_key.partition(SEPARATOR)
    return f"Confirmation {confirmation_id} of {sender} "
