"""What a desk sees of what is open, in the order in which it should work."""

from __future__ import annotations

import json
import time
from decimal import Decimal

import pytest

from services.domain.code import ExceptionStatus
from services.domain.event import ExceptionEvent
from services.domain.exceptions import About, ValueAtRisk, exception_event
from services.domain.reason import Reason
from services.domain.record import replace
from services.engine.log import OutgoingRecord
from tests.unit.commands.support import MemoryCluster, run

HOUR_US = 3_600_000_000


def _event(reason: Reason, subject: str, *, hours: int, value: str | None = None, **changes: object) -> ExceptionEvent:
    """Raised by the service of the subject so many hours ago."""
    event = exception_event(
        service=str(changes.pop("service", "confirmation")),
        reason=reason,
        status=ExceptionStatus(str(changes.pop("status", "OPEN"))),
        about=About(subject, f"O-{subject}", None if value is None else ValueAtRisk(Decimal(value), "EUR")),
        message=f"said {hours} hours ago",
        details={"account": "FUND-A"},
        now_us=time.time_ns() // 1000 - hours * HOUR_US - 1_000_000,
    )
    return replace(event, **changes)


def _cluster(*events: ExceptionEvent) -> MemoryCluster:
    cluster = MemoryCluster()
    cluster.memory.send(
        [
            OutgoingRecord("exceptions", event.exception_id.encode(), cluster.codec.encode("exceptions", event))
            for event in events
        ]
    )
    return cluster


@pytest.fixture
def desk() -> MemoryCluster:
    """One of each severity, two about one allocation, one that was closed, one that was told anew."""
    return _cluster(
        _event(Reason.ACCRUED_INTEREST_DIFFERS, "TR1", hours=50, service="enrichment"),
        _event(Reason.UNCONFIRMED, "AL1", hours=3, value="100.50"),
        _event(Reason.AFFIRMATION_LATE, "AL1", hours=1, value="100.50"),
        _event(Reason.INSTRUMENT_MISSING, "TR2", hours=30, value="1000", service="enrichment"),
        _event(Reason.CONFIRMATION_MISMATCHED, "AL2", hours=9, value="7"),
        _event(Reason.CONFIRMATION_MISMATCHED, "AL2", hours=2, value="7"),
        _event(Reason.ACCOUNT_MISSING, "TR3", hours=8, value="5", service="enrichment"),
        _event(Reason.ACCOUNT_MISSING, "TR3", hours=6, status="CLOSED", service="enrichment"),
    )


def _rows(arguments: str, cluster: MemoryCluster) -> list[dict[str, object]]:
    result = run(f"exceptions --json {arguments}", cluster)
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def _reasons(arguments: str, cluster: MemoryCluster) -> list[str]:
    return [str(row["reason"]) for row in _rows(arguments, cluster)]


def test_worst_first_then_oldest(desk: MemoryCluster) -> None:
    """A desk works from the top; what is closed is not its work."""
    assert _reasons("", desk) == [
        "AFFIRMATION_LATE",
        "INSTRUMENT_MISSING",
        "CONFIRMATION_MISMATCHED",
        "UNCONFIRMED",
        "ACCRUED_INTEREST_DIFFERS",
    ]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--owner reference-data", ["INSTRUMENT_MISSING"]),
        ("--owner CONFIRMATIONS --severity high", ["CONFIRMATION_MISMATCHED"]),
        ("--severity CRITICAL", ["AFFIRMATION_LATE"]),
        ("--reason unconfirmed", ["UNCONFIRMED"]),
        ("--service enrichment", ["INSTRUMENT_MISSING", "ACCRUED_INTEREST_DIFFERS"]),
        ("--older-than 1d", ["INSTRUMENT_MISSING", "ACCRUED_INTEREST_DIFFERS"]),
        ("--older-than 4h --owner confirmations", ["CONFIRMATION_MISMATCHED"]),
        ("--owner settlements", []),
    ],
)
def test_each_desk_finds_its_own(desk: MemoryCluster, arguments: str, expected: list[str]) -> None:
    """Filters narrow together; what was told anew is as old as its first telling."""
    assert _reasons(arguments, desk) == expected


def test_the_table_says_what_to_do_and_counts_money_once(desk: MemoryCluster) -> None:
    """Two exceptions about one allocation hold up its cash once."""
    lines = run("exceptions", desk).stdout.splitlines()
    assert lines[0].split("  ")[0] == "id"
    assert lines[1].endswith(Reason.AFFIRMATION_LATE.desk_action)
    assert "100.5 EUR" in lines[1]
    assert "1h 0m" in lines[1]
    assert lines[-1] == "5 exceptions: 1 CRITICAL, 2 HIGH, 1 MEDIUM, 1 LOW; at risk: 1,107.5 EUR"


def test_nothing_open_is_said() -> None:
    """An empty table looks like a fault."""
    assert run("exceptions", _cluster()).stdout == "nothing is open\n"
    assert run("exceptions --json", _cluster()).stdout == ""


def test_one_with_its_history(desk: MemoryCluster) -> None:
    """Who takes it over reads what was said, what it means and what will close it."""
    (row,) = _rows("--reason CONFIRMATION_MISMATCHED", desk)
    shown = run(f"exceptions show {row['id']}", desk).stdout
    reason = Reason.CONFIRMATION_MISMATCHED
    for sentence in (reason.meaning, reason.desk_action, reason.clears, reason.severity.meaning, "account FUND-A"):
        assert sentence in shown
    assert shown.index("said 9 hours ago") < shown.index("said 2 hours ago")
    told = json.loads(run(f"exceptions show {row['id']} --json", desk).stdout)
    assert [said["message"] for said in told["history"]] == ["said 9 hours ago", "said 2 hours ago"]


def test_one_that_is_closed_can_be_shown(desk: MemoryCluster) -> None:
    """It is evidence."""
    closed = _event(Reason.ACCOUNT_MISSING, "TR3", hours=0, service="enrichment").exception_id
    shown = run(f"exceptions show {closed}", desk).stdout
    assert "CLOSED, since" in shown
    assert "(6h 0m)" in shown


def test_what_opens_again_is_as_old_as_its_last_opening() -> None:
    """The time between was nobody's fault."""
    statuses = ((9, "OPEN"), (5, "CLOSED"), (2, "OPEN"))
    events = [_event(Reason.UNCONFIRMED, "AL1", hours=hours, status=status) for hours, status in statuses]
    assert _reasons("--older-than 3h", _cluster(*events)) == []
    assert _reasons("--older-than 1h", _cluster(*events)) == ["UNCONFIRMED"]


def test_exceptions_of_other_releases_are_shown() -> None:
    """An earlier release told neither severity nor owner; a later one may have reasons that are not known here."""
    older = _event(Reason.UNCONFIRMED, "AL1", hours=1, severity=None, owner_group=None)
    newer = _event(Reason.UNCONFIRMED, "AL2", hours=1, exception_id="EXNEW", severity="URGENT")
    newer = replace(newer, reason="SOMETHING_NEW")
    cluster = _cluster(older, newer)
    assert [(row["severity"], row["owner_group"]) for row in _rows("", cluster)] == [
        ("MEDIUM", "CONFIRMATIONS"),
        ("URGENT", "CONFIRMATIONS"),
    ]
    assert run("exceptions", cluster).stdout.endswith("2 exceptions: 1 MEDIUM, 1 URGENT; at risk: no known amount\n")
    assert "It is of a later release." in run("exceptions show EXNEW", cluster).stdout


@pytest.mark.parametrize(
    ("arguments", "says", "code"),
    [
        ("--owner traders", "Known are: TRADE_SUPPORT, ", 2),
        ("--severity hgh", "Did you mean HIGH?", 2),
        ("--reason UNCONFIRMD", "Did you mean UNCONFIRMED?", 2),
        ("--service captre", "service captre is unknown", 2),
        ("--older-than soon", "--older-than was 'soon'", 2),
        ("shw", "Did you mean show?", 2),
        ("show EXUNKNOWN", "no exception has the id EXUNKNOWN", 1),
    ],
)
def test_what_is_mistyped_gets_one_line(arguments: str, says: str, code: int) -> None:
    """An empty list would be believed."""
    result = run(f"exceptions {arguments}", _cluster())
    assert (result.exit_code, result.stdout) == (code, "")
    (line,) = result.stderr.splitlines()
    assert says in line


def test_the_day_shows_what_is_open(processed: MemoryCluster) -> None:
    """The services fill in what the command shows."""
    (row,) = _rows("", processed)
    assert (row["reason"], row["severity"], row["owner_group"]) == ("INSTRUMENT_MISSING", "HIGH", "REFERENCE_DATA")
    assert (row["value_at_risk"], row["value_currency"]) == ("100000", "EUR")
