"""`posttrade exceptions`: what is open, how bad it is, whose it is, and what to do about it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

import typer

from services.commands.age import age_ms, age_text
from services.commands.cluster import Cluster
from services.commands.describe import number
from services.commands.failure import BadRequest, CommandFailed
from services.commands.scan import read_all
from services.commands.shown import event_of, json_line, time_text
from services.commands.text import columns, nearest, plural
from services.domain import money
from services.domain.code import ExceptionStatus
from services.domain.event import ExceptionEvent
from services.domain.reason import OwnerGroup, Reason, Severity
from services.pipeline import SERVICE_NAMES

app = typer.Typer(help="Show what is open for the desks; one with its history.", invoke_without_command=True)

TOPIC = "exceptions"
_RANK = {severity.value: rank for rank, severity in enumerate(Severity)}
"""Worst first; what is of no known severity comes after all others."""

_LISTED_MAX = 10
"""A line cannot name all of a longer list."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]


@dataclass(frozen=True)
class Case:
    """One exception with everything that was said of it, in its order."""

    history: tuple[ExceptionEvent, ...]

    @property
    def last(self) -> ExceptionEvent:
        """What holds."""
        return self.history[-1]

    @property
    def is_open(self) -> bool:
        """Whether somebody has to act."""
        return self.last.status is ExceptionStatus.OPEN

    @property
    def first_raised_us(self) -> int:
        """Since when it is open without a break; of one that is closed, when it was closed."""
        raised = self.last.raised_at_us
        for event in reversed(self.history):
            if event.status is not self.last.status:
                break
            raised = event.raised_at_us
        return raised

    @property
    def reason(self) -> Reason | None:
        """Its reason; None for one of a later release."""
        return Reason.__members__.get(self.last.reason)

    @property
    def severity(self) -> str:
        """As it was raised; what an earlier release raised has that of its reason."""
        known = "" if self.reason is None else self.reason.severity.value
        return self.last.severity or known

    @property
    def owner_group(self) -> str:
        """As it was raised; what an earlier release raised has that of its reason."""
        known = "" if self.reason is None else self.reason.owner_group.value
        return self.last.owner_group or known

    @property
    def desk_action(self) -> str:
        """What the desk does next."""
        return "" if self.reason is None else self.reason.desk_action


@app.callback()
def list_open(
    context: typer.Context,
    *,
    owner: Annotated[
        str | None, typer.Option("--owner", metavar="GROUP", help="Of this desk.", show_default=False)
    ] = None,
    severity: Annotated[
        str | None, typer.Option("--severity", metavar="LEVEL", help="Of this severity.", show_default=False)
    ] = None,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="REASON", help="Of this reason.", show_default=False)
    ] = None,
    service: Annotated[
        str | None, typer.Option("--service", metavar="SERVICE", help="Raised by this service.", show_default=False)
    ] = None,
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="AGE", help="For example 30m, 8h, 7d.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List what is open, worst and oldest first, with the desk's next action. `show ID` tells all about one."""
    if context.invoked_subcommand is not None:
        return
    wanted = {
        "owner_group": _known(owner, [group.value for group in OwnerGroup], "--owner"),
        "severity": _known(severity, [level.value for level in Severity], "--severity"),
        "reason": _known(reason, [code.value for code in Reason], "--reason"),
        "service": None if service is None else _known_service(service),
    }
    age_min_ms = 0 if older_than is None else age_ms(older_than, option="--older-than")
    now_ms = time.time_ns() // 1_000_000
    shown = [
        case
        for case in open_cases(read_cases(context.obj))
        if all(value in (None, _fields(case)[name]) for name, value in wanted.items())
        and now_ms - case.first_raised_us // 1000 >= age_min_ms
    ]
    if as_json:
        for case in shown:
            print(json_line(_row_json(case, now_ms)))
    else:
        print(table(shown, now_ms))


@app.command("show", short_help="Show one: its history, what it means, what to do, what closes it.")
def show(
    context: typer.Context,
    identifier: Annotated[str, typer.Argument(metavar="ID", help="As the list shows it.", show_default=False)],
    *,
    as_json: JsonOption = False,
) -> None:
    """Show everything that was said of one exception, open or closed."""
    case = read_cases(context.obj).get(identifier)
    if case is None:
        raise CommandFailed(f"no exception has the id {identifier}")
    now_ms = time.time_ns() // 1_000_000
    if as_json:
        print(json_line(_row_json(case, now_ms) | {"history": [_said_json(event) for event in case.history]}))
    else:
        print(whole(case, now_ms))


def _known(given: str | None, known: Sequence[str], option: str) -> str | None:
    """A code as the record has it; people may write it small and with hyphens."""
    if given is None:
        return None
    code = given.upper().replace("-", "_")
    if code not in known:
        listed = "" if len(known) > _LISTED_MAX else f" Known are: {', '.join(known)}."
        raise BadRequest(f"{option} {given} is unknown.{nearest(code, known)}{listed}")
    return code


def _known_service(given: str) -> str:
    if given not in SERVICE_NAMES:
        raise BadRequest(f"service {given} is unknown; known are: {', '.join(SERVICE_NAMES)}")
    return given


def read_cases(cluster: Cluster) -> dict[str, Case]:
    """Every exception there ever was, by its id. Reads the topic from its beginning."""
    said: dict[str, list[ExceptionEvent]] = {}
    with cluster.log() as log:
        for record in read_all(log, [TOPIC]):
            event = event_of(record, cluster.topics[TOPIC], cluster.codec)
            if isinstance(event, ExceptionEvent):
                said.setdefault(event.exception_id, []).append(event)
    return {name: Case(tuple(events)) for name, events in said.items()}


def _rank(severity: str) -> tuple[int, str]:
    return _RANK.get(severity, len(_RANK)), severity


def open_cases(cases: Mapping[str, Case]) -> list[Case]:
    """What is open: worst first, then oldest first."""
    still = [case for case in cases.values() if case.is_open]
    return sorted(still, key=lambda case: (_rank(case.severity), case.first_raised_us, case.last.exception_id))


# --- shown ------------------------------------------------------------------------------------------------------------


def _fields(case: Case) -> dict[str, Any]:
    last = case.last
    return {
        "id": last.exception_id,
        "status": last.status.value,
        "severity": case.severity,
        "owner_group": case.owner_group,
        "reason": last.reason,
        "service": last.service,
        "subject_id": last.subject_id,
        "order_id": last.order_id,
        "value_at_risk": None if last.value_at_risk is None else f"{last.value_at_risk:f}",
        "value_currency": last.value_currency,
        "message": last.message,
        "desk_action": case.desk_action,
        "clears": "" if case.reason is None else case.reason.clears,
    }


def _row_json(case: Case, now_ms: int) -> dict[str, Any]:
    raised_ms = case.first_raised_us // 1000
    return _fields(case) | {"since": time_text(raised_ms), "age_seconds": max(0, now_ms - raised_ms) // 1000}


def _said_json(event: ExceptionEvent) -> dict[str, Any]:
    return {
        "at": time_text(event.raised_at_us // 1000),
        "status": event.status.value,
        "message": event.message,
        "details": event.details,
    }


def _value(event: ExceptionEvent) -> str:
    return "" if event.value_at_risk is None else f"{number(event.value_at_risk)} {event.value_currency}"


def table(cases: Sequence[Case], now_ms: int) -> str:
    """The cases as a table for people, and a line of totals."""
    if not cases:
        return "nothing is open"
    header = ("id", "severity", "owner group", "reason", "subject", "age", "value at risk", "what to do")
    rows = [
        (
            case.last.exception_id,
            case.severity,
            case.owner_group,
            case.last.reason,
            case.last.subject_id,
            age_text(now_ms - case.first_raised_us // 1000),
            _value(case.last),
            case.desk_action,
        )
        for case in cases
    ]
    return "\n".join([columns(header, rows, right=[5, 6]), totals(cases)])


def totals(cases: Sequence[Case]) -> str:
    """How many of each severity, and the money at risk: what several are about is counted once, at its largest."""
    counts = Counter(case.severity for case in cases)
    parts = [f"{counts[name]:,} {name}" for name in sorted(counts, key=_rank)]
    at_risk = ", ".join(f"{number(amount)} {currency}" for currency, amount in sorted(_at_risk(cases).items()))
    return f"{plural(len(cases), 'exception')}: {', '.join(parts)}; at risk: {at_risk or 'no known amount'}"


def _at_risk(cases: Iterable[Case]) -> dict[str, Decimal]:
    largest: dict[tuple[str, str], Decimal] = {}
    for case in cases:
        amount, currency = case.last.value_at_risk, case.last.value_currency
        if amount is not None and currency is not None:
            about = case.last.subject_id, currency
            largest[about] = max(amount, largest.get(about, amount))
    found: dict[str, Decimal] = {}
    for (_, currency), amount in largest.items():
        found[currency] = money.add(found.get(currency, Decimal(0)), amount)
    return found


def whole(case: Case, now_ms: int) -> str:
    """Everything about one case for a person."""
    last, reason = case.last, case.reason
    age = age_text(now_ms - case.first_raised_us // 1000)
    facts = [
        ("id", last.exception_id),
        ("status", f"{last.status.value}, since {time_text(case.first_raised_us // 1000)} ({age})"),
        ("severity", case.severity + _meaning(case.severity)),
        ("owner group", case.owner_group),
        ("raised by", last.service),
        ("subject", last.subject_id),
        ("order", last.order_id or ""),
        ("value at risk", _value(last)),
        ("reason", last.reason),
        ("what it means", "It is of a later release." if reason is None else reason.meaning),
        ("what to do", case.desk_action),
        ("what closes it", "" if reason is None else reason.clears),
    ]
    width = max(len(name) for name, _ in facts)
    lines = [f"{name:<{width}}  {text}" for name, text in facts if text]
    history = [
        (time_text(event.raised_at_us // 1000), event.status.value, event.message, _details(event.details))
        for event in case.history
    ]
    return "\n".join([*lines, "", columns(("time", "status", "what was said", "details"), history)])


def _meaning(severity: str) -> str:
    known = Severity.__members__.get(severity)
    return "" if known is None else f": {known.meaning}"


def _details(details: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {text}" for name, text in details.items())
