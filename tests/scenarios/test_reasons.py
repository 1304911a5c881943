"""Runs reasons.txt: each reason has exactly one smallest scenario, which opens it alone, through all stages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from services.adapters.topic_codec import FormatCodec
from services.domain import event as ev
from services.domain import reference as ref
from services.domain.code import AffirmationStep, AllocationPolicy, DayCount
from services.domain.reason import Reason
from services.domain.record import Record, replace
from services.pipeline import make_codec
from tests import samples
from tests.scenarios import scenario
from tests.support.app import reference_records
from tests.support.pipeline_in_memory import Pipeline

MINUTE_US = 60_000_000

SCENARIOS = scenario.read("reasons.txt")

WITHOUT_SCENARIO = frozenset(
    {
        Reason.AMENDED_AFTER_ALLOCATION,  # needs a block that an earlier release allocated
        Reason.FILL_AFTER_ALLOCATION,  # the same
        Reason.CONFIRMED_TRADE_CONFLICTS,  # confirmation never confirms an allocation twice
    }
)
"""Reasons whose smallest scenario is not written down yet; it can only get smaller."""


@pytest.fixture(scope="module")
def codec() -> FormatCodec:
    """One for all scenarios: reading the schemas takes a moment."""
    return make_codec()


def _rows() -> list[ref.ReferenceRecord]:
    """The shipped market data, an account that waits for its client, and one that divides by template."""
    template = ref.AllocationTemplate(
        account="HOUSE",
        shares=tuple(ref.TemplateShare(account=name, weight=Decimal(1)) for name in ("FUND-A", "FUND-B")),
    )
    return [
        *reference_records(),
        ref.Account(account="HOUSE", name="House", allocation_policy=AllocationPolicy.TEMPLATE),
        ref.Account(account="BLOCK", name="Block", allocation_policy=AllocationPolicy.EXPLICIT),
        template,
    ]


ROWS = _rows()
OPTIONAL: dict[str, ref.ReferenceRecord] = {
    "BondTerms": ref.BondTerms(
        isin=samples.ISIN,
        coupon_rate=Decimal("0.02"),
        coupons_a_year=1,
        day_count=DayCount.ACT_365_FIXED,
        accrual_start=date(2025, 3, 4),
        maturity_date=date(2030, 3, 4),
    ),
    "AffirmationDeadline": ref.AffirmationDeadline(
        settlement_market="DE",
        step=AffirmationStep.AFFIRM,
        local_time="11:00",
        time_zone="UTC",
        warning_minutes=50,
    ),
    "TimeZoneOffset": ref.TimeZoneOffset(time_zone="UTC", offset_minutes=0),
}
"""Rows that are there only when a scenario loads them."""


def _value(text: str) -> Any:
    """A value of the table: JSON where it is written as such, else plain text."""
    if text == "none":
        return None
    return msgspec.json.decode(text) if text[:1] in "[{" else text


def _changed(record: Record, words: Sequence[str]) -> Record:
    """The record with the fields of a line, each in its own type."""
    changes = {name: _value(text) for name, text in scenario.fields_of(list(words)).items()}
    plain = msgspec.to_builtins(record) | changes
    return msgspec.convert(plain, type(record), strict=False)


class Desk:
    """The pure stages, one after the other, on one partition, and the lines of one scenario."""

    def __init__(self, codec: FormatCodec) -> None:
        """Start with the reference data that all scenarios have; it enters before the first message."""
        self._codec = codec
        self._pipeline = Pipeline(now_us=samples.RECEIVED_AT_US, codec=codec)
        self._left_out: list[ref.ReferenceRecord] = []
        self._is_loaded = False
        self._told = 0
        self._second = 0

    def run(self, words: list[str]) -> list[str]:
        """Do one line; say which exceptions are opened and closed by it."""
        if words[0] == "without":
            self._left_out += self._chosen(words[1:])
            return []
        if not self._is_loaded:
            self._pipeline.load(row for row in ROWS if row not in self._left_out)
            self._is_loaded = True
        getattr(self, f"_{words[0]}")(words[1:])
        self._pipeline.run()
        events = self._pipeline.events("exceptions", ev.ExceptionEvent)
        new, self._told = events[self._told :], len(events)
        return [f"{event.status} {event.reason}" for event in new]

    @staticmethod
    def _chosen(words: list[str]) -> list[ref.ReferenceRecord]:
        """The rows of a type whose fields begin so."""
        wanted = scenario.fields_of(words)
        found = [
            row
            for row in ROWS
            if type(row).__name__ == words[0]
            and all(str(getattr(row, name)).startswith(text) for name, text in wanted.items())
        ]
        assert found, f"no row is {' '.join(words)}"
        return found

    def _load(self, words: list[str]) -> None:
        """What was left out, or an optional row; with other fields where the line says so."""
        left_out = [row for row in self._left_out if type(row).__name__ == words[0]]
        for row in left_out or [OPTIONAL.get(words[0]) or next(r for r in ROWS if type(r).__name__ == words[0])]:
            changed = _changed(row, words[1:])
            assert isinstance(changed, ref.ReferenceRecord)
            self._pipeline.load([changed])

    def _wait(self, words: list[str]) -> None:
        self._pipeline.now_us += int(words[0]) * MINUTE_US

    def _send(self, topic: str, key: str, record: Record) -> None:
        self._pipeline.send(topic, key, self._codec.encode(topic, record))

    def _execution(self, words: list[str]) -> None:
        self._second += 1
        time_us = samples.RECEIVED_AT_US + self._second * 1_000_000
        keyed = [word for word in words if word.startswith("key=")]
        fields = [word for word in words if word not in keyed]
        report = _changed(replace(samples.execution(), transaction_time_us=time_us), fields)
        assert isinstance(report, ev.Execution)
        self._send("front-office.executions", keyed[0].removeprefix("key=") if keyed else report.order_id, report)

    def _allocation(self, words: list[str]) -> None:
        instruction = _changed(samples.allocation_instruction(), words)
        assert isinstance(instruction, ev.AllocationInstruction)
        self._send("front-office.allocations", instruction.order_id, instruction)

    def _confirmation(self, words: list[str]) -> None:
        confirmation = _changed(samples.confirmation(), words)
        assert isinstance(confirmation, ev.CounterpartyConfirmation)
        self._send("counterparty.confirmations", confirmation.confirmation_id, confirmation)


def test_each_reason_has_one_scenario_or_is_named_as_missing() -> None:
    """A reason that nothing can produce is dead, and one with two scenarios is two reasons."""
    counts = Counter(told.title for told in SCENARIOS)
    assert {title: count for title, count in counts.items() if count != 1} == {}
    assert set(counts) | set(WITHOUT_SCENARIO) == set(Reason)
    assert set(counts) & set(WITHOUT_SCENARIO) == set(), "take those that have a scenario off the list"


@pytest.mark.parametrize("told", SCENARIOS, ids=lambda told: told.title)
def test_its_scenario_opens_that_reason_alone(told: scenario.Scenario, codec: FormatCodec) -> None:
    """Once, by the last line of what produces it; what closes it by itself follows, where anything does."""
    desk = Desk(codec)
    said = []
    for step in told.steps:
        outcomes = desk.run(step.words)
        assert outcomes == step.expected, f"reasons.txt:{step.line}: {' '.join(step.words)}"
        said += outcomes
    assert said.count(f"OPEN {told.title}") == 1
    assert {one.split()[1] for one in said} == {told.title}
    if Reason[told.title].clears.startswith("It closes"):
        assert said == [f"OPEN {told.title}", f"CLOSED {told.title}"]
    else:
        assert said == [f"OPEN {told.title}"]


@pytest.mark.parametrize("told", SCENARIOS, ids=lambda told: told.title)
def test_its_scenario_is_as_small_as_can_be(told: scenario.Scenario, codec: FormatCodec) -> None:
    """Without any one of the lines that lead to it, it is not opened."""
    needed = next(number for number, step in enumerate(told.steps) if step.expected) + 1
    for left_out in range(needed):
        desk = Desk(codec)
        steps = [step for number, step in enumerate(told.steps[:needed]) if number != left_out]
        said = [one for step in steps for one in desk.run(step.words)]
        assert said != [f"OPEN {told.title}"], f"reasons.txt:{told.steps[left_out].line} is not needed"
