"""Adding up what a day promises: the content of expected.json, and the tables of the README."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from deploy.sample_day.catalogue import TRADE_DATE
from deploy.sample_day.day import Day
from deploy.sample_day.flow import Flow, Message
from deploy.sample_day.troubles import TROUBLES

COUNTS = {
    "executions": "execution reports that can be read, repeated, changed and refused ones included",
    "allocations": "trades on `trades.allocated` that were not taken back",
    "confirmations": "trades on `trades.confirmed` that were not taken back",
    "instructions": "instructions on `settlement.instructions` that were not cancelled",
    "exceptions": "exceptions that are open",
    "dead_letters": "records on `dead-letters`",
}
"""What is counted, and how."""


def expected(day: Day, *, seed: int) -> dict[str, Any]:
    """Everything that expected.json says."""
    promises = [flow.promise for flow in day.flows]
    return final_counts(day) | {
        "details": {
            "seed": seed,
            "trade_date": TRADE_DATE.isoformat(),
            "before_late_files": counts_before_late(day),
            "exceptions_by_reason": _count(
                reason for promise in promises for reason in (*promise.open_reasons, *promise.opened_late)
            ),
            "exceptions_opened_by_late_files": _count(reason for promise in promises for reason in promise.opened_late),
            "exceptions_closed_by_late_files": _count(reason for promise in promises for reason in promise.closed_late),
            "exceptions_more_after_15_minutes": _count(reason for promise in promises for reason in promise.overdue),
            "duplicates_suppressed": sum(promise.duplicates for promise in promises),
            "messages": _by_topic(day.messages),
            "late_messages": _by_topic(day.late_messages),
            "troubles": [_trouble(trouble.name, day) for trouble in TROUBLES],
        }
    }


def final_counts(day: Day) -> dict[str, int]:
    """What is there when all is sent and nothing moves any more, within 15 minutes."""
    promises = [flow.promise for flow in day.flows]
    return {
        "executions": _executions(day.messages) + _executions(day.late_messages),
        "allocations": sum(promise.allocations for promise in promises),
        "confirmations": sum(promise.confirmations for promise in promises),
        "instructions": sum(promise.instructions for promise in promises),
        "exceptions": sum(len(promise.open_reasons) + len(promise.opened_late) for promise in promises),
        "dead_letters": sum(promise.dead_letters for promise in promises),
    }


def counts_before_late(day: Day) -> dict[str, int]:
    """What is there when the main phase is sent and nothing moves any more."""
    promises = [flow.promise for flow in day.flows]
    return final_counts(day) | {
        "executions": _executions(day.messages),
        "allocations": sum(promise.allocations - promise.late_allocations for promise in promises),
        "confirmations": sum(promise.confirmations - promise.late_confirmations for promise in promises),
        "instructions": sum(promise.instructions - promise.late_instructions for promise in promises),
        "exceptions": sum(len(promise.open_reasons) + len(promise.closed_late) for promise in promises),
    }


def tables(expected_day: dict[str, Any]) -> str:
    """The two tables of the README: counts, and troubles."""
    before = expected_day["details"]["before_late_files"]
    lines = ["| count | before the late files | in the end | what is counted |", "| --- | ---: | ---: | --- |"]
    lines += [f"| {name} | {before[name]} | {expected_day[name]} | {meaning} |" for name, meaning in COUNTS.items()]
    lines += [
        "",
        "| trouble | how many | follow | what it is | what should happen |",
        "| --- | ---: | --- | --- | --- |",
    ]
    lines += [
        f"| {row['name']} | {row['count']} | `{row['example']}` | {row['what']} | {row['then']} |"
        for row in expected_day["details"]["troubles"]
    ]
    return "\n".join(lines)


def _trouble(name: str, day: Day) -> dict[str, object]:
    found: list[Flow] = [flow for flow in day.flows if flow.trouble == name]
    trouble = next(trouble for trouble in TROUBLES if trouble.name == name)
    example = found[0].example if found else ""
    return {"name": name, "count": len(found), "example": example, "what": trouble.what, "then": trouble.then}


def _executions(messages: Iterable[Message]) -> int:
    return sum(message.is_execution for message in messages)


def _by_topic(messages: Iterable[Message]) -> dict[str, int]:
    return _count(message.topic for message in messages)


def _count(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(str(name) for name in names).items()))
