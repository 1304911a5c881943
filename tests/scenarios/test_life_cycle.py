"""Runs life-cycle.txt: through the pure stages chained together, and through the whole app on a log in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from services.adapters.memory_log import MemoryLog
from services.adapters.topic_codec import FormatCodec
from services.allocation.rules import text
from services.domain import event as ev
from services.domain import reference as ref
from services.domain.code import AllocationPolicy, AllocationTransactionType, ExecutionType, Function, Side
from services.domain.reason import Reason
from services.domain.record import Record, replace
from services.engine.log import OutgoingRecord
from services.pipeline import make_codec, topic_counts
from tests import samples
from tests.scenarios import scenario
from tests.support.app import read_events, reference_records, running_worker, send_reference, until
from tests.support.pipeline_in_memory import Pipeline

MINUTE_US = 60_000_000
EXECUTIONS, ALLOCATIONS = "front-office.executions", "front-office.allocations"
CONFIRMATIONS = "counterparty.confirmations"
SHOWN = ("trades.allocated", "trades.confirmed", "settlement.instructions", "exceptions")
"""Topics whose events are told, in this order."""

SCENARIOS = scenario.read("life-cycle.txt")
BY_THE_CLOCK = ("wait",)
"""Commands that a log in memory cannot follow: its clock is the machine's."""


def reference() -> list[ref.ReferenceRecord]:
    """Two accounts that settle, one that divides by template, one that waits for its client."""
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


class Sent(NamedTuple):
    """What a line sends."""

    topic: str
    key: str
    event: Record


class Writer:
    """Turns the lines of one scenario into messages."""

    def __init__(self, number: int = 0) -> None:
        """Start before the order; orders of other numbers share no id and no match key with it."""
        self._prefix = f"{number}-"
        self._order_id = f"{number}-O"
        self._trade_date = samples.TRADE_DATE + timedelta(weeks=number)
        self._settlement_date = self._trade_date + timedelta(days=2)
        self._account = ""
        self._second = 0
        self._reports: dict[str, ev.Execution] = {}

    def write(self, words: list[str]) -> Sent | None:
        """The message of a line; None when it sends nothing."""
        command: Callable[[list[str], dict[str, str]], Sent | None] = getattr(self, f"_{words[0]}")
        return command([word for word in words[1:] if "=" not in word], scenario.fields_of(words))

    def _order(self, words: list[str], _: dict[str, str]) -> None:
        self._account = words[0]

    def _wait(self, _: list[str], __: dict[str, str]) -> None:
        """Nothing is sent."""

    def _report(self, kind: ExecutionType, name: str, size: list[str], options: dict[str, str]) -> Sent:
        self._second = int(options.get("at", self._second + 1))
        quantity, price = size or ("0", "@0")
        report = samples.execution(
            order_id=self._order_id,
            trade_date=self._trade_date,
            execution_id=name,
            execution_type=kind,
            execution_reference_id=options.get("of"),
            account=self._account,
            quantity=Decimal(quantity),
            price=Decimal(price.removeprefix("@")),
            transaction_time_us=samples.RECEIVED_AT_US + self._second * 1_000_000,
            cumulative_quantity=Decimal(options["cum"]),
            leaves_quantity=Decimal(options["leaves"]),
        )
        self._reports[name] = report
        return Sent(EXECUTIONS, report.order_id, report)

    def _fill(self, words: list[str], options: dict[str, str]) -> Sent:
        return self._report(ExecutionType.TRADE, words[0], words[1:], options)

    def _correct(self, words: list[str], options: dict[str, str]) -> Sent:
        return self._report(ExecutionType.TRADE_CORRECT, words[0], words[1:], options)

    def _bust(self, words: list[str], options: dict[str, str]) -> Sent:
        return self._report(ExecutionType.TRADE_CANCEL, words[0], [], options)

    def _again(self, words: list[str], _: dict[str, str]) -> Sent:
        report = replace(self._reports[words[0]], possible_duplicate=True)
        return Sent(EXECUTIONS, report.order_id, report)

    def _instruct(self, kind: AllocationTransactionType, words: list[str], options: dict[str, str]) -> Sent:
        reference_id, total = options.pop("of", None), options.pop("total", None)
        reference_id = None if reference_id is None else self._prefix + reference_id
        accounts = options.pop("accounts", None)
        shares = tuple(ev.AccountAllocation(account=name, quantity=Decimal(part)) for name, part in options.items())
        instruction = samples.allocation_instruction(
            instruction_id=self._prefix + words[0],
            order_id=self._order_id,
            trade_date=self._trade_date,
            transaction_type=kind,
            reference_id=reference_id,
            quantity=Decimal(total) if total else sum((share.quantity for share in shares), Decimal(0)) or Decimal(1),
            allocations=shares,
            total_allocations=int(accounts) if accounts else None,
            executions=tuple(map(_named_fill, words[1:])),
        )
        return Sent(ALLOCATIONS, instruction.order_id, instruction)

    def _allocate(self, words: list[str], options: dict[str, str]) -> Sent:
        return self._instruct(AllocationTransactionType.NEW, words, options)

    def _replace(self, words: list[str], options: dict[str, str]) -> Sent:
        return self._instruct(AllocationTransactionType.REPLACE, words, options)

    def _cancel(self, words: list[str], options: dict[str, str]) -> Sent:
        return self._instruct(AllocationTransactionType.CANCEL, words, options)

    def _confirm(self, words: list[str], _: dict[str, str]) -> Sent:
        name, account, quantity, price, cash = words
        confirmation = samples.confirmation(
            confirmation_id=self._prefix + name,
            trade_date=self._trade_date,
            settlement_date=self._settlement_date,
            account=account,
            side=Side.SELL,
            quantity=Decimal(quantity),
            price=Decimal(price.removeprefix("@")),
            net_amount=Decimal(cash),
        )
        return Sent(CONFIRMATIONS, confirmation.confirmation_id, confirmation)


def _named_fill(word: str) -> ev.AllocatedExecution:
    name, _, terms = word.partition(":")
    quantity, price = terms.split("@")
    return ev.AllocatedExecution(execution_id=name, quantity=Decimal(quantity), price=Decimal(price))


def tell(events: Mapping[str, list[Record]]) -> list[str]:
    """New events in the words of the table: topic by topic, versions in their order, what ends before what begins."""
    told: list[tuple[int, int, int, str]] = []
    for rank, topic in enumerate(SHOWN):
        for event in events[topic]:
            version, is_new, sentence = _sentence(event)
            told.append((rank, version, is_new, sentence))
    return [sentence for *_, sentence in sorted(told)]


def _sentence(event: Record) -> tuple[int, int, str]:
    if isinstance(event, ev.ExceptionEvent):
        return 0, 0, f"{event.status} {event.reason}"
    assert isinstance(event, ev.AllocatedTrade | ev.SettlementInstruction)
    is_new = event.function is Function.NEW
    version = "" if event.version == 1 else f" v{event.version}"
    if isinstance(event, ev.SettlementInstruction):
        done = f"{'instructed' if is_new else 'cancelled'} {event.movement}"
        cash = event.amount
    elif isinstance(event, ev.ConfirmedTrade):
        done, cash = "confirmed" if is_new else "not confirmed", event.settlement_amount
    else:
        done, cash = "allocated" if is_new else "taken back", event.net_amount
    rank = 2 * event.version + (not is_new)  # a version ends after it began, and before the next begins
    return rank, is_new, f"{done} {event.account} {text(event.quantity)} for {text(cash)}{version}"


@pytest.fixture(scope="module")
def codec() -> FormatCodec:
    """One for all scenarios: reading the schemas takes a moment."""
    return make_codec()


class Chain:
    """The pure stages, one after the other, on one partition."""

    def __init__(self, codec: FormatCodec) -> None:
        """Start with reference data only."""
        self._codec = codec
        self.pipeline = Pipeline(now_us=samples.RECEIVED_AT_US, codec=codec)
        self.pipeline.load(reference())
        self._told = dict.fromkeys(SHOWN, 0)

    def send(self, sent: Sent | None) -> None:
        """Give a message to its topic, and run until nothing moves."""
        if sent is not None:
            self.pipeline.send(sent.topic, sent.key, self._codec.encode(sent.topic, sent.event))
        self.pipeline.run()

    def new_events(self) -> dict[str, list[Record]]:
        """What came since the last time."""
        found = {topic: self.pipeline.events(topic, Record)[count:] for topic, count in self._told.items()}
        self._told = {topic: count + len(found[topic]) for topic, count in self._told.items()}
        return found

    @property
    def counts(self) -> dict[str, int]:
        """How many events there are on each topic that is told."""
        return dict(self._told)


@pytest.mark.parametrize("told", SCENARIOS, ids=lambda told: told.title)
def test_the_pure_stages(told: scenario.Scenario, codec: FormatCodec) -> None:
    """After every line exactly the listed outcomes come."""
    chain, writer = Chain(codec), Writer()
    for step in told.steps:
        if step.words[0] == "wait":
            chain.pipeline.now_us += int(step.words[1]) * MINUTE_US
        chain.send(writer.write(step.words))
        assert tell(chain.new_events()) == step.expected, f"life-cycle.txt:{step.line}: {' '.join(step.words)}"


IN_MEMORY = [told for told in SCENARIOS if not any(step.words[0] in BY_THE_CLOCK for step in told.steps)]


async def test_the_whole_app(codec: FormatCodec, tmp_path: Path) -> None:
    """All of them side by side through one worker: Avro, transactions, agents, four partitions.

    Each is an order of its own on a day of its own. After every line the app has published as much as the pure stages.
    """
    log = MemoryLog(topic_counts())
    send_reference(log, codec, reference())
    orders = [(told, Chain(codec), Writer(number)) for number, told in enumerate(IN_MEMORY)]
    async with running_worker(log, tmp_path):
        for number in range(max(len(told.steps) for told in IN_MEMORY)):
            for told, chain, writer in orders:
                sent = writer.write(told.steps[number].words) if number < len(told.steps) else None
                if sent is not None:
                    chain.send(sent)
                    chain.new_events()
                    value = codec.encode(sent.topic, sent.event)
                    log.send([OutgoingRecord(sent.topic, sent.key.encode(), value)])
            expected = {topic: sum(chain.counts[topic] for _, chain, _ in orders) for topic in SHOWN}
            await until(partial(_has_come, log, codec, expected), f"what comes of line {number}")
    assert sorted(tell(_found(log, codec))) == sorted(
        line for told in IN_MEMORY for step in told.steps for line in step.expected
    )


def _found(log: MemoryLog, codec: FormatCodec) -> dict[str, list[Record]]:
    """What is told, but for what the machine's clock adds: the settlement dates of the table are long past."""
    found = {topic: read_events(log, codec, topic) for topic in SHOWN}
    late = Reason.INSTRUCTION_CANCELLED_LATE
    found["exceptions"] = [one for one in found["exceptions"] if getattr(one, "reason", None) != late]
    return found


def _has_come(log: MemoryLog, codec: FormatCodec, expected: dict[str, int]) -> bool:
    return _counts(_found(log, codec)) == expected


def _counts(found: Mapping[str, list[Record]]) -> dict[str, int]:
    return {topic: len(events) for topic, events in found.items()}
