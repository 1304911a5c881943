"""Exceptions as cases: each id is opened, perhaps told again, and closed; what is about nothing has no cause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from services.domain import identity
from services.verification.judge import V2, V3, Judge, Moving
from services.verification.letters import place
from services.verification.model import Decode, Entry
from services.verification.names import CAPTURE, INPUTS
from services.verification.plain import Plain, digest

OPEN, CLOSED = "OPEN", "CLOSED"
WAITS_FOR_DATA = "_MISSING"
"""How reasons end that reference data can take away; every other reason is for people."""

GOES_ON = frozenset({"ACCRUED_INTEREST_DIFFERS"})
"""Reasons that are told about a trade which goes on all the same."""

_SAID = ("message", "details", "order_id")

_TOLD_BESIDE = ("severity", "owner_group")
"""Advice for people that follows from the reason alone and changes nothing that is processed: not judged."""

_WORDS = ("exception_id", "status", "service", "reason", "subject_id", "raised_at_us", *_SAID)
_AT_RISK = ("value_at_risk", "value_currency")
KNOWN = frozenset((*_WORDS, *_AT_RISK, *_TOLD_BESIDE))
"""Every field of an exception that is judged here or left out on purpose."""


class Case:
    """One exception id."""

    __slots__ = ("claimed", "is_open", "message", "opened", "order_id", "reason", "said", "where")

    def __init__(self, reason: str) -> None:
        """Start before it was ever opened."""
        self.reason = reason
        self.opened = 0
        """How often OPEN was said."""
        self.is_open = False
        self.message = ""
        """Its latest sentence."""
        self.order_id: str | None = None
        self.said = b""
        self.where = ""
        self.claimed = False
        """Whether what it is about was found."""

    @property
    def waits(self) -> bool:
        """Whether it closes by itself once reference data arrives."""
        return self.reason.endswith(WAITS_FOR_DATA)

    @property
    def lets_go_on(self) -> bool:
        """Whether what it is about went on."""
        return self.reason in GOES_ON


class Cases:
    """All exceptions, by service and by what they are about."""

    def __init__(self, judge: Judge) -> None:
        """Start without any."""
        self._judge = judge
        self._by_subject: dict[tuple[str, str], dict[str, Case]] = {}
        self.opened: Counter[tuple[str, str]] = Counter()
        """OPEN records by service and reason."""
        self.written: Counter[str] = Counter()
        """All records by service."""

    def read(self, entries: Iterable[Entry], decode: Decode) -> None:
        """Take all exceptions in, in the order of their topic."""
        for entry in entries:
            event = decode(entry.topic, entry.value)
            readable = event is not None and event["service"] in INPUTS
            if self._judge.check(V2, readable, "exception at", place(entry), "is of no known service or form"):
                assert event is not None
                self._take(entry, event)

    def _take(self, entry: Entry, event: Plain) -> None:
        service, subject, reason = event["service"], event["subject_id"], event["reason"]
        where, check = place(entry), self._judge.check
        expected = identity.exception_id(service=service, subject=subject, reason=reason)
        derived = event["exception_id"] == expected and entry.key == expected.encode()
        check(V2, derived, "exception at", where, "has an id or key that does not follow from what it is about")
        self._judge_value(event, expected, where)
        case = self._by_subject.setdefault((service, subject), {}).setdefault(reason, Case(reason))
        self.written[service] += 1
        if event["status"] == CLOSED:
            check(V3, case.is_open, "exception", expected, "is closed at", where, "without being open")
            case.is_open = False
            return
        said = digest(event, _SAID)
        # Capture may say the same of two contents; they are counted against its inputs.
        again = case.is_open and case.said == said and service != CAPTURE
        check(V2, not again, "exception", expected, "is opened a second time at", where, "and says the same")
        case.opened += 1
        case.is_open, case.said, case.where, case.message = True, said, where, event["message"]
        case.order_id = event["order_id"]
        self.opened[service, reason] += 1

    def _judge_value(self, event: Plain, name: str, where: str) -> None:
        """Money is told with its currency, is more than nothing, and is at risk only while the exception is open."""
        amount, currency = event.get("value_at_risk"), event.get("value_currency")
        if amount is None and currency is None:  # so are all exceptions of earlier releases
            return
        sound = amount is not None and currency is not None and amount > 0 and event["status"] == OPEN
        self._judge.check(V2, sound, "exception", name, "at", where, "has no sound value at risk")

    def about(self, service: str, subject: str) -> dict[str, Case]:
        """The cases about something that exists, by reason."""
        found = self._by_subject.get((service, subject))
        if found is None:
            return {}
        for case in found.values():
            case.claimed = True
        return found

    def claim_ended_waits(self, service: str, orders: Collection[str]) -> None:
        """Cases about what waited for data and was taken back before it was published: nothing else tells of it."""
        for (name, _), by_reason in self._by_subject.items():
            for case in by_reason.values() if name == service else ():
                case.claimed |= case.waits and not case.is_open and case.order_id in orders

    def open_of(self, service: str) -> Iterable[tuple[str, Case]]:
        """Open cases of a service, each with what it is about."""
        return (
            (subject, case)
            for (name, subject), by_reason in self._by_subject.items()
            if name == service
            for case in by_reason.values()
            if case.is_open
        )

    def left_over(self) -> None:
        """After every subject was asked for: what remains is about nothing."""
        for (service, subject), by_reason in self._by_subject.items():
            for case in by_reason.values():
                sentence = ("exception", case.reason, "of", service, "at", Moving(case.where), "is about", subject)
                self._judge.check(V2, case.claimed, *sentence, "which is not there")


def open_reasons(cases: dict[str, Case]) -> list[str]:
    """Reasons of the open ones among them, sorted."""
    return sorted(reason for reason, case in cases.items() if case.is_open)
