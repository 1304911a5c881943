"""Time and late reference data do nothing for a key that is held: they would overtake what waits for a repair."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.adapters.topic_codec import FormatCodec
from services.allocation import state as allocation_state
from services.allocation.process import UNALLOCATED_AFTER_US, AllocationStage
from services.allocation.state import WaitingBlock, WaitingShare
from services.confirmation import state as confirmation_state
from services.confirmation.process import UNCONFIRMED_AFTER_US, ConfirmationStage
from services.domain.code import AllocationPolicy, ExecutionType
from services.domain.event import ExceptionEvent, MatchStatusReport
from services.domain.record import Record
from services.domain.reference import Account, ReferenceData, StandingSettlementInstruction
from services.engine import quarantine
from services.engine.log import LogRecord
from services.engine.quarantine import Quarantine
from services.engine.repair import Action, repair_record
from services.engine.state import Overlay, Tables
from services.engine.work import Batch, Result
from services.enrichment.process import EnrichmentStage
from services.pipeline import make_codec
from services.stage import DueAt, Outcome, Received, Stage, State, due_by_scan
from tests import samples
from tests.unit.allocation import desk as allocation_desk
from tests.unit.enrichment import desk as enrichment_desk

T = TypeVar("T", bound=Record)


@functools.cache
def codec() -> FormatCodec:
    """That of all topics; made once."""
    return make_codec()


class Breaking:
    """A real stage with a bug in it: it raises at every event the test says, until it is mended."""

    def __init__(self, stage: Stage, breaks: Callable[[Any], bool]) -> None:
        self.name = stage.name
        self.state_types = stage.state_types
        self.suppress_causes = stage.suppress_causes
        self.is_mended = False
        self._stage = stage
        self._breaks = breaks

    def process(self, batch: Sequence[Received], state: State, now_us: int) -> list[Outcome]:
        """As the real one."""
        if not self.is_mended and any(self._breaks(received.event) for received in batch):
            raise ValueError("a bug")
        return self._stage.process(batch, state, now_us)

    def on_time(self, state: State, now_us: int) -> list[Outcome]:
        """As the real one."""
        return self._stage.on_time(state, now_us)


def is_cancel(event: Any) -> bool:
    """What the bug of most tests is about."""
    return getattr(event, "execution_type", None) is ExecutionType.TRADE_CANCEL


class Service:
    """One partition of a service without a log; what a batch comes to is committed at once."""

    def __init__(
        self, stage: Stage, reference: ReferenceData | None = None, breaks: Callable[[Any], bool] = is_cancel
    ) -> None:
        self.stage = Breaking(stage, breaks)
        self.reference = reference or ReferenceData()
        self.tables = Tables(stage.state_types)
        self.now_us = samples.RECEIVED_AT_US
        self.overlay: type[Overlay] = Overlay
        self.parked: list[LogRecord] = []
        """Records that wait for a repair, in their order."""
        self.written = 0
        """How many records the last call would have put into its transaction."""
        self._numbers = itertools.count()

    def take(self, topic: str, key: str, event: Record) -> list[str]:
        """One input record; what was published, in words."""
        value = codec().encode(topic, event)
        record = LogRecord(topic, 0, next(self._numbers), key.encode(), value, self.now_us // 1000, ())
        result = self._run([record])
        if any(letter.topic == "dead-letters" for letter in result.records):
            self.parked.append(record)
        return words(result)

    def tick(self, seconds: float = 1) -> list[str]:
        """Time passes; what was published, in words. Fails if anything of a held key is touched."""
        self.now_us += int(seconds * 1_000_000)
        before = {kind: dict(rows) for kind, rows in self.tables.rows.items()}
        held = {name for name in before[Quarantine] if name.startswith("key/")}
        result = self._run([])
        for record in result.records:
            if not record.topic.startswith("state."):
                assert quarantine.key_name(_owner(codec().decode(record.topic, record.value))) not in held, record
        return words(result)

    def repair(self, action: Action = Action.REPLAY) -> list[str]:
        """A repair of the first record that waits; what was published, in words."""
        source = self.parked.pop(0)
        repair = repair_record(
            service=self.stage.name, source=source, action=action, repair_id="r", by="ann", reason="mended",
            at="2026-03-02T12:00:00+00:00", changed=False,
        )  # fmt: skip
        return words(
            self._run([LogRecord(repair.topic, 0, next(self._numbers), repair.key, repair.value, 0, repair.headers)])
        )

    def rows(self, kind: type[Record]) -> int:
        """How many rows a table has."""
        return len(self.tables.rows[kind])

    def _run(self, records: Sequence[LogRecord]) -> Result:
        batch = Batch(
            stage=self.stage, partition=0, records=records, overlay=self.overlay(self.tables, self.reference),
            codec=codec(), now_us=self.now_us, due=not records, monotonic=lambda: 0.0,
        )  # fmt: skip
        batch.process()
        if batch.failure is not None:
            raise batch.failure
        assert batch.on_time_failure is None
        assert batch.result is not None
        self.tables.apply(batch.overlay.changes())
        self.written = len(batch.result.records)
        return batch.result


def _owner(event: Any) -> str:
    """The order an event is about, or the match key of a status; for a confirmation there is none."""
    order_id: str | None = event.match_key if isinstance(event, MatchStatusReport) else event.order_id
    return order_id or "-"


def words(result: Result) -> list[str]:
    """`trades.enriched O1 v2`, `OPEN REASON O1`; nothing about state, statuses and dead letters."""
    said = []
    for record in result.records:
        if record.topic.startswith(("state.", "dead-letters", "confirmations.status")):
            continue
        event: Any = codec().decode(record.topic, record.value)
        if isinstance(event, ExceptionEvent):
            said.append(f"{event.status} {event.reason} {_owner(event)}")
        else:
            end = " CANCEL" if getattr(event, "function", None) == "CANCEL" else ""
            said.append(f"{record.topic} {event.order_id} v{getattr(event, 'version', '-')}{end}")
    return said


def test_the_state_knows_at_once_whether_a_key_waits_and_no_other_does() -> None:
    """What the engine does before a stage is asked counts, committed or not; a record that waits alone holds no key."""
    tables = Tables([])
    overlay = Overlay(tables, ReferenceData())
    record = LogRecord("said", 0, 0, b"a", None, 0, ())
    quarantine.park(overlay, quarantine.key_name("a"), record, attempt=1)
    quarantine.park(overlay, quarantine.own_name("b", 1), record, attempt=1)
    assert [overlay.is_held(key) for key in ("a", "b", "b/1", "")] == [True, False, False, False]
    assert Overlay(tables, ReferenceData(), overlay).is_held("a"), "it is on its way"
    tables.apply(overlay.changes())
    later = Overlay(tables, ReferenceData())
    assert later.is_held("a")
    quarantine.release(later, quarantine.key_name("a"))
    assert not later.is_held("a")


# --- enrichment


def _captured(order: str, version: int = 1, **changes: Any) -> Record:
    return samples.captured_trade(order_id=order, execution_id=f"E-{order}", version=version, **changes)


def _cancelled(order: str) -> Record:
    return _captured(order, 2, execution_type=ExecutionType.TRADE_CANCEL)


CAPTURED, ENRICHED = "trades.captured", "trades.enriched"


def _enrichment() -> Service:
    """O1 and O2 wait for the counterparty's settlement instruction; O1 is held, for its cancel broke."""
    others = [record for record in enrichment_desk.COMPLETE if record is not enrichment_desk.COUNTERPARTY_SSI]
    service = Service(EnrichmentStage(), enrichment_desk.reference(others))
    for order in ("O1", "O2"):
        assert service.take(CAPTURED, order, _captured(order)) == [f"OPEN COUNTERPARTY_SSI_MISSING {order}"]
    assert service.take(CAPTURED, "O1", _cancelled("O1")) == []
    assert len(service.parked) == 1
    service.reference.put(enrichment_desk.COUNTERPARTY_SSI)
    return service


def test_a_fill_does_not_go_on_while_its_cancel_waits_for_a_repair() -> None:
    """It would be settled although it was taken back."""
    service = _enrichment()
    assert service.tick() == ["CLOSED COUNTERPARTY_SSI_MISSING O2", f"{ENRICHED} O2 v1"]
    assert service.tick() == []
    service.stage.is_mended = True
    assert service.repair() == [], "the cancel joins the queue of its fill"
    assert service.tick() == ["CLOSED COUNTERPARTY_SSI_MISSING O1", f"{ENRICHED} O1 v1", f"{ENRICHED} O1 v2"]
    assert service.tick() == []


def test_a_fill_goes_on_once_its_cancel_is_given_up() -> None:
    """What was left out is not forgotten: no reference data come a second time."""
    service = _enrichment()
    service.tick()
    assert service.repair(Action.DISCARD) == []
    assert service.tick() == ["CLOSED COUNTERPARTY_SSI_MISSING O1", f"{ENRICHED} O1 v1"]


# --- allocation


def _fill(order: str, **changes: Any) -> Record:
    return samples.enriched_trade(order_id=order, execution_id=f"E-{order}", **changes)


def _fill_cancelled(order: str) -> Record:
    return _fill(order, version=2, execution_type=ExecutionType.TRADE_CANCEL)


def _allocation(missing: type[Account | StandingSettlementInstruction], waits: type[Record]) -> Service:
    """O1 and O2 wait for a row of reference data; O1 is held, for its cancel broke."""
    reference = allocation_desk.reference_data(AllocationPolicy.SINGLE)
    late = next(row for row in reference.all(missing) if row.key.startswith("FUND-A"))
    reference.remove(missing, late.key)
    service = Service(AllocationStage(), reference)
    for order in ("O1", "O2"):
        assert len(service.take(ENRICHED, order, _fill(order))) == 1
    assert service.rows(waits) == 2
    service.take(ENRICHED, "O1", _fill_cancelled("O1"))
    assert len(service.parked) == 1
    reference.put(late)
    return service


@pytest.mark.parametrize(
    ("missing", "waits", "reason"),
    [
        (Account, WaitingBlock, "ACCOUNT_MISSING"),
        (StandingSettlementInstruction, WaitingShare, "ACCOUNT_SSI_MISSING"),
    ],
    ids=["block", "share"],
)
@pytest.mark.parametrize("action", Action)
def test_a_block_of_a_held_order_is_neither_divided_nor_released(
    missing: Any, waits: type[Record], reason: str, action: Action
) -> None:
    """A cancel that waits for a repair may take the whole block back; once it is done, what is left to do is done."""
    service = _allocation(missing, waits)
    assert sorted(service.tick()) == [f"CLOSED {reason} O2", "trades.allocated O2 v1"]
    assert service.tick() == []
    assert service.rows(waits) == 1
    service.stage.is_mended = True
    repaired = service.repair(action)
    if action is Action.REPLAY:
        assert repaired == [f"CLOSED {reason} O1"], "nothing is left to divide"
        assert service.tick() == []
    else:
        assert repaired == []
        assert sorted(service.tick()) == [f"CLOSED {reason} O1", "trades.allocated O1 v1"]
    assert service.rows(waits) == 0


def _overdue_blocks(reference: ReferenceData | None = None) -> Service:
    """O1 and O2 are unfinished and overdue, as the desk knows of O2; O1 is held, for its cancel broke."""
    service = Service(AllocationStage(), reference or allocation_desk.reference_data())
    for order in ("O1", "O2"):
        service.take(ENRICHED, order, _fill(order))
    service.take(ENRICHED, "O1", _fill_cancelled("O1"))
    assert service.tick(UNALLOCATED_AFTER_US / 1e6) == ["OPEN BLOCK_UNALLOCATED O2"]
    return service


def _no_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on a walk over a table is a failure."""

    def walk(_: Overlay, kind: type[Record]) -> NoReturn:
        raise AssertionError(f"a walk over {kind.__name__}")

    monkeypatch.setattr(Overlay, "scan", walk)


def test_a_held_order_is_not_called_overdue_and_the_next_call_after_its_release_does() -> None:
    """What makes it complete may be what waits. That another deadline passes meanwhile changes nothing."""
    service = _overdue_blocks()
    service.take(ENRICHED, "O3", _fill("O3"))
    assert service.tick() == []
    assert service.tick(UNALLOCATED_AFTER_US / 1e6) == ["OPEN BLOCK_UNALLOCATED O3"]
    assert service.tick() == []
    service.repair(Action.DISCARD)
    assert service.tick() == ["OPEN BLOCK_UNALLOCATED O1"]
    assert service.tick() == []


def test_what_is_held_and_overdue_costs_neither_a_walk_nor_a_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for every second: a walk over all open blocks, or a record of it, would burden all others."""
    service = _overdue_blocks()
    _no_walk(monkeypatch)
    for _ in range(3):
        assert service.tick() == []
        assert service.written == 0


def test_reference_data_that_come_every_second_do_not_bring_the_walk_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other blocks are tried and written in the same call, before deadlines: the agenda knows committed rows only."""
    reference = allocation_desk.reference_data(AllocationPolicy.EXPLICIT)
    service = _overdue_blocks(reference)
    late = next(row for row in reference.all(Account) if row.key.startswith("FUND-A"))
    reference.remove(Account, late.key)
    assert service.take(ENRICHED, "O3", _fill("O3")) == ["OPEN ACCOUNT_MISSING O3"]
    _no_walk(monkeypatch)
    for key in ("other", "another"):
        reference.put(msgspec.structs.replace(late, account=key))
        assert service.tick() == []
        assert service.written > 0, "the waiting block was tried"


@pytest.mark.parametrize("rows", [allocation_state, confirmation_state], ids=["allocation", "confirmation"])
def test_a_deadline_that_an_older_version_put_off_is_read(rows: Any) -> None:
    """It noted beside the first deadline when to look again; a partition with such a row must be taken up."""
    tables = Tables([rows.NextDeadline])
    tables.restore(b"NextDeadline/-", b'{"again_at_us":20,"due_at_us":10}')
    assert tables.rows[rows.NextDeadline] == {"-": rows.NextDeadline(due_at_us=10)}


# --- confirmation


@pytest.mark.parametrize("action", Action)
def test_a_side_is_not_called_unconfirmed_while_the_other_waits_for_a_repair(
    action: Action, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The desk would chase a counterparty that has confirmed. The key is the match key here, not the order."""
    service = Service(ConfirmationStage(), breaks=lambda event: hasattr(event, "confirmation_id"))
    trades = [samples.allocated_trade(order_id="O1"), samples.allocated_trade(order_id="O2", account="FUND-B")]
    trades[1] = msgspec.structs.replace(trades[1], allocation_id="A2")
    for trade in trades:
        service.take("trades.allocated", trade.match_key, trade)
    confirmation = samples.received_confirmation()
    assert confirmation.match_key == trades[0].match_key
    service.take("confirmations.received", confirmation.match_key, confirmation)
    assert service.tick(UNCONFIRMED_AFTER_US / 1e6) == ["OPEN UNCONFIRMED O2"]
    _no_walk(monkeypatch)
    for _ in range(3):
        assert service.tick() == []
        assert service.written == 0, "nothing is noted every second"
    service.stage.is_mended = True
    is_replay = action is Action.REPLAY
    assert service.repair(action) == (["trades.confirmed O1 v1"] if is_replay else [])
    assert service.tick() == ([] if is_replay else ["OPEN UNCONFIRMED O1"])
    assert service.tick() == []


# --- whatever comes when


STEPS = st.lists(
    st.sampled_from(
        [
            ("fill", "O2"), ("cancel", "O1"), ("cancel", "O2"),
            ("arrive", ""), ("tick", ""), ("tick", ""), ("replay", ""), ("discard", ""),
        ]
    ),
    min_size=3,
    max_size=14,
)  # fmt: skip


@pytest.mark.parametrize("name", ["enrichment", "allocation"])
@settings(deadline=None, max_examples=60)
@given(steps=STEPS)
def test_nothing_of_a_held_key_leaves_and_everything_leaves_in_the_end(name: str, steps: list[tuple[str, str]]) -> None:
    """Whenever fills, broken cancels, reference data, repairs and ticks come: `tick` fails if a held key is touched."""
    is_enrichment = name == "enrichment"
    late: Any = enrichment_desk.COUNTERPARTY_SSI if is_enrichment else allocation_desk.settlement_instruction("FUND-A")
    if is_enrichment:
        data = enrichment_desk.reference(row for row in enrichment_desk.COMPLETE if row is not late)
    else:
        data = allocation_desk.reference_data(AllocationPolicy.SINGLE)
        data.remove(StandingSettlementInstruction, late.key)
    service = Service(EnrichmentStage() if is_enrichment else AllocationStage(), data)
    topic = CAPTURED if is_enrichment else ENRICHED
    filled: set[str] = set()
    found: list[str] = []
    for step, order in [("fill", "O1"), *steps, ("arrive", ""), ("end", ""), ("tick", "")]:
        if step == "fill" and order not in filled:
            filled.add(order)
            found += service.take(topic, order, _captured(order) if is_enrichment else _fill(order))
        elif step == "cancel" and order in filled:
            found += service.take(topic, order, _cancelled(order) if is_enrichment else _fill_cancelled(order))
        elif step == "arrive":
            service.reference.put(late)
        elif step in ("replay", "discard") and service.parked:
            service.stage.is_mended = step == "replay"
            found += service.repair(Action[step.upper()])
            service.stage.is_mended = False
        elif step == "end":
            while service.parked:
                found += service.repair(Action.DISCARD)
        elif step == "tick":
            found += service.tick()
    went_on = ENRICHED if is_enrichment else "trades.allocated"
    for order in filled:
        # Of an order that was cancelled while its share waited nothing went out, else it went out and was taken back.
        went_out, taken_back = (found.count(f"{went_on} {order} v1{end}") for end in ("", " CANCEL"))
        is_cancelled = not is_enrichment and f"CLOSED ACCOUNT_SSI_MISSING {order}" in found and not went_out
        assert went_out == 1 or is_cancelled
        assert taken_back <= went_out


class Walking(Overlay):
    """State that finds what is due by looking at every row at every call."""

    def due(self, kind: type[T], due_at: DueAt[T], until: int) -> tuple[list[tuple[str, T]], int | None]:
        """By the walk."""
        return due_by_scan(self, kind, due_at, until)


ACCOUNTS = ("FUND-A", "FUND-B", "FUND-C")
PLAYS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["good", "good", "bad"]), st.integers(0, 2)),
        st.tuples(st.sampled_from(["arrive", "tick", "tick", "later", "replay", "discard"]), st.just(0)),
    ),
    max_size=25,
)


def _stage_of(name: str) -> tuple[Service, Record, Callable[[str, int], tuple[str, str, Record]]]:
    """A service, the reference data that come late, and its records: good ones, and bad ones that break."""
    if name == "confirmation":
        service = Service(ConfirmationStage(), breaks=lambda event: hasattr(event, "confirmation_id"))

        def side(step: str, number: int) -> tuple[str, str, Record]:
            changes = {"account": ACCOUNTS[number]}
            if step == "bad":
                confirmation = samples.received_confirmation(confirmation_id=f"C{number}", **changes)
                return "confirmations.received", confirmation.match_key, confirmation
            trade = samples.allocated_trade(order_id=f"O{number}", allocation_id=f"A{number}", **changes)
            return "trades.allocated", trade.match_key, trade

        return service, allocation_desk.settlement_instruction("FUND-A"), side
    is_enrichment = name == "enrichment"
    late: Any = enrichment_desk.COUNTERPARTY_SSI
    if is_enrichment:
        data = enrichment_desk.reference(row for row in enrichment_desk.COMPLETE if row is not late)
    else:
        data = allocation_desk.reference_data(AllocationPolicy.EXPLICIT)
        late = next(row for row in data.all(Account) if row.key.startswith("FUND-A"))
        data.remove(Account, late.key)

    def report(step: str, number: int) -> tuple[str, str, Record]:
        order = f"O{number}"
        if step == "bad":
            return (CAPTURED, order, _cancelled(order)) if is_enrichment else (ENRICHED, order, _fill_cancelled(order))
        return (CAPTURED, order, _captured(order)) if is_enrichment else (ENRICHED, order, _fill(order))

    return Service(EnrichmentStage() if is_enrichment else AllocationStage(), data), late, report


@pytest.mark.parametrize("name", ["enrichment", "allocation", "confirmation"])
@settings(deadline=None, max_examples=150)
@given(steps=PLAYS)
def test_with_an_agenda_as_with_a_walk(name: str, steps: list[tuple[str, int]]) -> None:
    """What is held must not be forgotten, shown early or noted otherwise because nobody walks over the table."""
    pair = [_stage_of(name), _stage_of(name)]
    pair[1][0].overlay = Walking
    for step, number in [*steps, ("later", 0), *[("discard", 0), ("tick", 0)] * 25]:
        said = []
        for service, late, make in pair:
            if step in ("good", "bad"):
                said.append(service.take(*make(step, number)))
            elif step == "arrive":
                service.reference.put(late)  # type: ignore[arg-type]  # a row of reference data
            elif step in ("replay", "discard") and service.parked:
                service.stage.is_mended = step == "replay"
                said.append(service.repair(Action[step.upper()]))
                service.stage.is_mended = False
            elif step in ("tick", "later"):
                said.append(service.tick(1 if step == "tick" else 24 * 3600))
        assert said[:1] == said[1:]
        assert pair[0][0].tables.rows == pair[1][0].tables.rows
