"""From inputs to captured trades, allocation requests and received confirmations: each content once, or refused."""

from __future__ import annotations

from typing import NamedTuple

from services.domain import identity
from services.domain.code import Side
from services.verification.cases import Cases, open_reasons
from services.verification.fragments import is_fragment, whole_mark
from services.verification.inputs import Input
from services.verification.judge import V1, V2, V3, V6, V7, V10, Judge
from services.verification.letters import place
from services.verification.model import Entry
from services.verification.names import (
    ALLOCATIONS,
    CAPTURE,
    CONFIRMATION_FIELDS,
    COUNTERPARTIES,
    EXECUTION_FIELDS,
    PART_FIELDS,
    REQUEST_FIELDS,
)
from services.verification.plain import Plain, content_mark, named_subject
from services.verification.rows import Columns, Rows, column, mark

REFUSED_CONTENTS_MAX = 32
"""So many refused contents of one id are remembered; of more, one may be told again."""

ALLOCATION, IGNORED = "ALLOCATION", "IGNORED"
"""What a FIX message can be beside an execution."""

TABLES: dict[str, Columns] = {
    "SeenExecution": {
        "trade_id": column("trade_id"),
        "version": column("version"),
        "order_id": column("order_id"),
        "is_cancelled": column("is_cancelled"),
        "fingerprint": mark("fingerprint"),
    },
    "SeenMessage": {"fingerprint": mark("fingerprint")},
    "WaitingReport": {"fingerprint": mark("fingerprint")},
    "FragmentedInstruction": {
        "accounts": lambda row: len(row["allocations"]),
        "marks": lambda row: {bytes.fromhex(one) for one in row["fingerprints"]},
    },
    "AwaitedReport": {"by": lambda row: sorted(row["by"])},
    "RefusedMessage": {
        "contents": lambda row: len(row["fingerprints"]),
        "open_reasons": lambda row: sorted(row["open_reasons"]),
    },
}
"""What capture remembers."""

INCOMPLETE = "ALLOCATION_INCOMPLETE"
"""An allocation of which not all fragments came is shown as this."""
UNKNOWN = "EXECUTION_REFERENCE_UNKNOWN"
"""What waits for the report it names is shown as this."""


class Change(NamedTuple):
    """What an input says of itself that corrects or cancels a report."""

    names: str
    """Id of the report."""
    order_id: str
    is_cancel: bool
    time_us: int


class Offer(NamedTuple):
    """One input under an id."""

    mark: bytes
    topic: str
    partition: int
    offset: int
    is_new: bool
    is_in_flight: bool
    is_replayed: bool


class Subject:
    """Everything that came in under one sender's id."""

    __slots__ = ("accepted", "offers")

    def __init__(self) -> None:
        """Start with nothing."""
        self.offers: list[Offer] = []
        self.accepted: tuple[bytes, ...] = ()
        """Contents that came out."""

    @property
    def is_judged(self) -> bool:
        """Whether there is something to answer for, and nothing is still on its way."""
        return any(offer.is_new for offer in self.offers) and not self.is_in_flight

    @property
    def is_in_flight(self) -> bool:
        """Whether an input is still on its way."""
        return any(offer.is_in_flight for offer in self.offers)


class Report(NamedTuple):
    """A captured execution report."""

    trade_id: str
    version: int
    order_id: str
    is_cancel: bool


class Captured:
    """What capture was given and what it made of it."""

    def __init__(self, judge: Judge, cases: Cases) -> None:
        """Start before the first input."""
        self._judge = judge
        self._cases = cases
        self._subjects: dict[str, Subject] = {}
        self._reports: dict[str, Report] = {}
        """By the id of the report."""
        self._trades: dict[str, Report] = {}
        """Latest version by trade id."""
        self._last: dict[tuple[str, str, int], int] = {}
        """By order, input topic and partition: offset behind the latest trade."""
        self._changes: dict[str, Change] = {}
        """By the id of the report that changes another; of several contents the one that came out, or the first."""
        self._fragments: dict[str, dict[bytes, Plain]] = {}
        """By allocation instruction its fragments, each content once."""
        self._standing: dict[str, str] = {}
        """By trade id: the report that stands."""
        self._awaited: dict[tuple[str, int], list[str]] = {}
        """By report and partition: what waits for it."""
        self._changing: set[str] = set()
        """Reports that an input in flight would change."""
        self.ignored = 0
        """Messages that report nothing to book."""
        self.duplicates = 0
        """Inputs that repeat what was said."""

    # --- inputs

    def take_input(self, given: Input) -> None:
        """Enter a record of one of capture's topics."""
        topic, record = given.entry.topic, given.record
        message = record.get("message")
        if message == IGNORED:
            self.ignored += not given.is_in_flight
        elif message == ALLOCATION or topic == ALLOCATIONS:
            content = content_mark(record, REQUEST_FIELDS, PART_FIELDS)
            self._offer(_request_id(record), content, given)
            if is_fragment(record):
                self._fragments.setdefault(_request_id(record), {})[content] = record
        elif topic == COUNTERPARTIES:
            self._offer(_confirmation_id(record), content_mark(record, CONFIRMATION_FIELDS), given)
        else:
            self._offer(_report_id(record), content_mark(record, EXECUTION_FIELDS), given)
            if record["execution_type"] != "TRADE" and record["execution_reference_id"] is not None:
                self._changes.setdefault(_report_id(record), _change(record))
                if given.is_in_flight:
                    self._changing.add(_report_id(record, record["execution_reference_id"]))

    def _offer(self, subject_id: str, mark: bytes, given: Input) -> None:
        entry = given.entry
        flags = (given.is_new, given.is_in_flight, given.is_replayed)
        offer = Offer(mark, entry.topic, entry.partition, entry.offset, *flags)
        self._subjects.setdefault(subject_id, Subject()).offers.append(offer)

    # --- outputs

    def take_trade(self, entry: Entry, record: Plain) -> None:
        """Enter a record of trades.captured."""
        report_id, order_id = _report_id(record), record["order_id"]
        mark = content_mark(record, EXECUTION_FIELDS)
        offers = self._accept(report_id, mark, entry, key=order_id)
        report = Report(record["trade_id"], record["version"], order_id, record["execution_type"] == "TRADE_CANCEL")
        self._check_version(report_id, report, entry, record)
        self._reports[report_id] = self._trades[report.trade_id] = report
        self._standing[report.trade_id] = report_id
        if report_id in self._changes:
            self._changes[report_id] = _change(record)
        if UNKNOWN not in self._cases.about(CAPTURE, report_id):  # it may have waited for others to pass
            self._check_order(order_id, offers, entry)

    def take_request(self, entry: Entry, record: Plain) -> None:
        """Enter a record of trades.allocation-requests."""
        mark = content_mark(record, REQUEST_FIELDS, PART_FIELDS)
        offers = self._accept(_request_id(record), mark, entry, key=record["order_id"])
        self._check_order(f"{record['order_id']}/allocations", offers, entry)

    def take_confirmation(self, entry: Entry, record: Plain) -> None:
        """Enter a record of confirmations.received."""
        key = identity.match_key(
            counterparty=record["sender"],
            account=record["account"],
            isin=record["isin"],
            side=Side(record["side"]).opposite,
            trade_date=record["trade_date"],
        )
        self._accept(_confirmation_id(record), content_mark(record, CONFIRMATION_FIELDS), entry, key=key)
        self._judge.check(V2, record["match_key"] == key, "match key at", place(entry), "does not follow from the rest")

    def _accept(self, subject_id: str, mark: bytes, entry: Entry, *, key: str) -> list[Offer]:
        """Find the inputs an output may come from; each id comes out once."""
        check, where = self._judge.check, place(entry)
        check(V2, entry.key == key.encode(), where, "is keyed by something else than it says itself")
        subject = self._subjects.get(subject_id)
        offers = [offer for offer in subject.offers if offer.mark == mark] if subject else []
        fragments = self._fragments.get(subject_id, {})
        if subject is not None and not offers and mark == whole_mark(fragments):
            offers = [offer for offer in subject.offers if offer.mark in fragments]
        if not check(V2, bool(offers), where, "has no input of its id and content; id", subject_id):
            return []
        assert subject is not None
        check(V2, not subject.accepted, where, "is there a second time; id", subject_id)
        subject.accepted += (*(one for one in fragments if one != mark), mark) if fragments else (mark,)
        return offers

    def _check_version(self, report_id: str, report: Report, entry: Entry, record: Plain) -> None:
        check, where, trade_id = self._judge.check, place(entry), report.trade_id
        before = self._trades.get(trade_id)
        expected = 1 if before is None else before.version + 1
        check(V3, report.version == expected, where, trade_id, "has version", report.version, "after", expected - 1)
        if record["execution_type"] == "TRADE":
            check(V2, trade_id == report_id, where, trade_id, "does not follow from sender, date, ExecID and side")
            return
        change = _change(record)
        follows = self._trade_of(change.names) == trade_id and change.order_id == self._order_of(trade_id)
        check(V2, follows, where, trade_id, "is not the trade of the report that it changes")
        standing = self._standing.get(trade_id)
        newest = standing is None or change.is_cancel or self._counts_from(change) >= self._time_of(standing)
        check(V3, newest, where, trade_id, "is changed by a report older than the one that stands")
        check(V2, before is None or not before.is_cancel, where, trade_id, "is changed after it was cancelled")

    def _check_order(self, order_key: str, offers: list[Offer], entry: Entry) -> None:
        """Of each input partition the outputs of an order follow the inputs; what came twice may be either."""
        by_source: dict[tuple[str, int], list[int]] = {}
        if any(offer.is_replayed for offer in offers):
            return  # it failed at first, and came again when others may have passed
        for offer in offers:
            by_source.setdefault((offer.topic, offer.partition), []).append(offer.offset)
        feasible = {
            source: [offset for offset in offsets if offset >= self._last.get((order_key, *source), 0)]
            for source, offsets in by_source.items()
        }
        holds = not offers or any(feasible.values())
        self._judge.check(V3, holds, place(entry), "overtook another input of order", order_key)
        if len(feasible) == 1:
            for source, offsets in feasible.items():
                self._last[order_key, *source] = min(offsets, default=0) + 1

    # --- what stands

    def _trade_of(self, report_id: str) -> str | None:
        """The trade that a report is about, also one that never came out because a later one stood."""
        for _ in range(len(self._changes) + 1):  # ends also where reports name each other
            if report_id in self._reports:
                return self._reports[report_id].trade_id
            if report_id not in self._changes:
                return None
            report_id = self._changes[report_id].names
        return None

    def _order_of(self, trade_id: str) -> str | None:
        first = self._trades.get(trade_id)
        return None if first is None else first.order_id

    def _time_of(self, report_id: str) -> int:
        """When a report counts: the latest time on its way back to the first report, which has none of its own."""
        time_us = 0
        for _ in range(len(self._changes) + 1):
            change = self._changes.get(report_id)
            if change is None:
                return time_us
            time_us, report_id = max(time_us, change.time_us), change.names
        return time_us

    def _counts_from(self, change: Change) -> int:
        return max(change.time_us, self._time_of(change.names))

    def _is_superseded(self, report_id: str, subject: Subject) -> bool:
        """Whether it rightly never came out: it corrects a trade of which a later report stands."""
        change = self._changes.get(report_id)
        if change is None or change.is_cancel or subject.accepted:
            return False
        trade_id = self._trade_of(change.names)
        if trade_id is None or self._order_of(trade_id) != change.order_id or not self._is_here(change.names, subject):
            return False
        return self._counts_from(change) < self._time_of(self._standing[trade_id])

    def _is_here(self, report_id: str, subject: Subject) -> bool:
        """Whether the report came in where the subject did: what lies in other partitions is not known there."""
        other = self._subjects.get(report_id)
        return other is not None and {offer.partition for offer in other.offers} == {
            offer.partition for offer in subject.offers
        }

    def _is_waiting(self, report_id: str, subject: Subject) -> bool:
        """Whether it waits for the report it names."""
        change = self._changes.get(report_id)
        if change is None or subject.accepted or UNKNOWN not in open_reasons(self._cases.about(CAPTURE, report_id)):
            return False
        known = self._trade_of(change.names) is not None and self._is_here(change.names, subject)
        return change.names != report_id and not known

    # --- the reckoning

    def settle(self) -> None:
        """Every content came out once or was refused once; all else repeats what was said."""
        for subject_id, subject in self._subjects.items():
            cases = self._cases.about(CAPTURE, subject_id)
            if not subject.is_judged:
                continue
            opened = sum(case.opened for case in cases.values())
            # What meets in no partition is not known to be the same: it is refused in each.
            distinct = {(offer.partition, offer.mark) for offer in subject.offers}
            refused_min = sum(mark not in subject.accepted for _, mark in distinct)
            if self._is_superseded(subject_id, subject):
                refused_min -= 1
            if INCOMPLETE in open_reasons(cases):  # all that came of it is shown once
                refused_min -= len(self._fragments.get(subject_id, ())) - 1
            self._check_missing(subject_id, subject, opened, refused_min)
            contents = [offer.mark for offer in subject.offers]
            repeated = any(contents.count(mark) > 1 for mark in subject.accepted)
            refused_max = refused_min + repeated
            for reason in (UNKNOWN, INCOMPLETE):  # it may have waited first, and been refused or accepted then
                refused_max += cases[reason].opened if reason in cases else 0
            self._judge_wait(subject_id, subject)
            bounded = opened <= refused_max or len(distinct) > REFUSED_CONTENTS_MAX
            told = (opened, "times, for at most", refused_max, "contents that were not accepted")
            self._judge.check(V7, bounded, _first(subject), subject_id, "was refused", *told)
            self.duplicates += max(0, len(contents) - len(subject.accepted) - opened)

    def _judge_wait(self, report_id: str, subject: Subject) -> None:
        """A change of a trade that is here, of the same order, does not wait."""
        change = self._changes.get(report_id)
        if change is None or UNKNOWN not in open_reasons(self._cases.about(CAPTURE, report_id)):
            return
        trade_id = self._trade_of(change.names) if self._is_here(change.names, subject) else None
        idle = trade_id is None or self._order_of(trade_id) != change.order_id or change.names in self._changing
        self._judge.check(V10, idle, _first(subject), report_id, "waits although the report that it names has come")

    def _check_missing(self, subject_id: str, subject: Subject, opened: int, refused_min: int) -> None:
        where = _first(subject)
        if not opened and not subject.accepted:
            self._judge.check(V1, refused_min <= 0, where, subject_id, "has neither an output nor an exception")
            return
        told = (refused_min, "contents, of which", opened, "were refused")
        self._judge.check(V1, opened >= refused_min, where, subject_id, "was not accepted with", *told)

    # --- state

    def compare(self, rows: Rows) -> None:
        """What was accepted and what was refused, and nothing else, is remembered."""
        changing = {report.trade_id for name in self._changing if (report := self._reports.get(name))}
        for subject_id, subject in self._subjects.items():
            partitions = {offer.partition for offer in subject.offers}
            self._judge.is_quiet = not any(offer.is_new for offer in subject.offers)
            if len(partitions) > 1 or self._is_unsettled(subject_id, subject):
                for partition in partitions:
                    self._leave_out(rows, subject_id, partition)
                continue
            (partition,) = partitions
            if subject_id in changing:
                rows.take("SeenExecution", subject_id, partition)
            elif subject.accepted:
                self._expect_accepted(rows, subject_id, partition, subject.accepted[-1])
            elif self._is_superseded(subject_id, subject):
                self._expect_superseded(rows, subject_id, partition, subject)
            elif self._is_waiting(subject_id, subject):
                self._expect_waiting(rows, subject_id, partition, subject)
            if subject_id in self._fragments:
                self._compare_fragments(rows, subject_id, partition, is_whole=bool(subject.accepted))
            self._compare_refused(rows, subject_id, partition, is_changing=subject_id in changing)
        self._judge.is_quiet = False
        for (named, partition), waiting in self._awaited.items():
            if named in self._changing:
                rows.take("AwaitedReport", named, partition)
            else:
                rows.expect("AwaitedReport", named, partition, sorted(waiting))

    def _compare_fragments(self, rows: Rows, subject_id: str, partition: int, *, is_whole: bool) -> None:
        found = rows.take("FragmentedInstruction", subject_id, partition)
        if found is None and INCOMPLETE not in self._cases.about(CAPTURE, subject_id):
            return  # none of them was held
        came = self._fragments[subject_id]
        held = sum(len(came[one]["allocations"]) for one in found[1] if one in came) if found else 0
        agrees = found is not None and found[1] <= came.keys() and found[0] in ((0,) if is_whole else (held, 0))
        name = f"state.capture[{partition}] FragmentedInstruction/{subject_id}"
        self._judge.check(V6, agrees, name, "is not remembered as its fragments say")

    def _is_unsettled(self, report_id: str, subject: Subject) -> bool:
        """Whether it is on its way, or a report is by which it could be released."""
        for _ in range(len(self._changes) + 1):
            if subject.is_in_flight or report_id not in self._changes:
                return subject.is_in_flight
            report_id = self._changes[report_id].names
            subject = self._subjects.get(report_id, subject)
        return False

    def _leave_out(self, rows: Rows, subject_id: str, partition: int) -> None:
        _forget(rows, subject_id, partition)
        if subject_id in self._changes:
            named = self._changes[subject_id].names
            self._changing.add(named)
            self._awaited.setdefault((named, partition), [])

    def _compare_refused(self, rows: Rows, subject_id: str, partition: int, *, is_changing: bool) -> None:
        cases = self._cases.about(CAPTURE, subject_id)
        opened = min(sum(case.opened for case in cases.values()), REFUSED_CONTENTS_MAX)
        if not opened:
            return
        if is_changing:
            rows.take("RefusedMessage", subject_id, partition)
            return
        if UNKNOWN in cases or INCOMPLETE in cases:  # what waited and was refused then is one content of two exceptions
            found = rows.take("RefusedMessage", subject_id, partition)
            name = f"state.capture[{partition}] RefusedMessage/{subject_id}"
            agrees = found is not None and 0 < found[0] <= opened and found[1] == open_reasons(cases)
            self._judge.check(V6, agrees, name, "is not remembered as its exceptions say")
            return
        rows.expect("RefusedMessage", subject_id, partition, opened, open_reasons(cases))

    def _expect_superseded(self, rows: Rows, subject_id: str, partition: int, subject: Subject) -> None:
        change = self._changes[subject_id]
        found = rows.take("SeenExecution", subject_id, partition)
        expected = (self._trade_of(change.names), 0, change.order_id, False)
        agrees = found is not None and found[:4] == expected and found[4] in {offer.mark for offer in subject.offers}
        name = f"state.capture[{partition}] SeenExecution/{subject_id}"
        self._judge.check(V6, agrees, name, "is not remembered as superseded")

    def _expect_waiting(self, rows: Rows, subject_id: str, partition: int, subject: Subject) -> None:
        found = rows.take("WaitingReport", subject_id, partition)
        agrees = found is not None and found[0] in {offer.mark for offer in subject.offers}
        name = f"state.capture[{partition}] WaitingReport/{subject_id}"
        self._judge.check(V6, agrees, name, "is not remembered as waiting")
        self._awaited.setdefault((self._changes[subject_id].names, partition), []).append(subject_id)

    def _expect_accepted(self, rows: Rows, subject_id: str, partition: int, content: bytes) -> None:
        report = self._reports.get(subject_id)
        if report is None:
            rows.expect("SeenMessage", subject_id, partition, content)
            return
        shown = self._trades[report.trade_id] if subject_id == report.trade_id else report
        values = (report.trade_id, shown.version, report.order_id, shown.is_cancel, content)
        rows.expect("SeenExecution", subject_id, partition, *values)


def _forget(rows: Rows, subject_id: str, partition: int) -> None:
    for table in TABLES:
        rows.take(table, subject_id, partition)


def _report_id(record: Plain, execution_id: str | None = None) -> str:
    return identity.trade_id(
        sender=record["sender"],
        trade_date=record["trade_date"],
        execution_id=record["execution_id"] if execution_id is None else execution_id,
        side=record["side"],
    )


def _change(record: Plain) -> Change:
    return Change(
        names=_report_id(record, record["execution_reference_id"]),
        order_id=record["order_id"],
        is_cancel=record["execution_type"] == "TRADE_CANCEL",
        time_us=record["transaction_time_us"],
    )


def _request_id(record: Plain) -> str:
    return named_subject("AI", record["sender"], record["instruction_id"])


def _confirmation_id(record: Plain) -> str:
    return named_subject("CF", record["sender"], record["confirmation_id"])


def _first(subject: Subject) -> str:
    offer = subject.offers[0]
    return f"{offer.topic}[{offer.partition}]@{offer.offset}"
