"""One trade's life, found by any of its ids."""

from __future__ import annotations

import json

import pytest

from services.commands.describe import describe
from services.commands.scan import read_all
from services.commands.shown import event_of
from services.commands.trade_history import TOPICS, History, Seen, history
from services.domain import event as ev
from services.domain.code import MatchStatus
from services.domain.record import Record, replace
from tests.unit.commands.support import MemoryCluster, run


def _seen(cluster: MemoryCluster) -> list[Seen]:
    found = []
    for record in read_all(cluster.memory, TOPICS):
        event = event_of(record, cluster.topics[record.topic], cluster.codec)
        found.append(Seen(record, event if isinstance(event, Record) else None))
    return found


def _history(cluster: MemoryCluster, wanted: str) -> History:
    found = history(_seen(cluster), wanted)
    assert found is not None, wanted
    return found


def _topics(found: History) -> list[str]:
    return sorted(entry.record.topic for entry in found.entries)


def _one(cluster: MemoryCluster, kind: type[Record], **fields: str) -> Record:
    """The one event of a type with these fields."""
    (found,) = {
        seen.event
        for seen in _seen(cluster)
        if type(seen.event) is kind and all(getattr(seen.event, name) == value for name, value in fields.items())
    }
    assert isinstance(found, Record)
    return found


WHOLE_WAY = [
    "confirmations.received",
    "counterparty.confirmations",
    "front-office.fix",
    "settlement.instructions",
    "settlement.messages",
    "trades.allocated",
    "trades.captured",
    "trades.confirmed",
    "trades.enriched",
]


def test_every_id_of_a_trade_leads_to_the_same_history(processed: MemoryCluster) -> None:
    """Whoever calls has one id, and never the one that was asked for."""
    instruction = _one(processed, ev.SettlementInstruction, order_id="O3")
    assert isinstance(instruction, ev.SettlementInstruction)
    allocated = _one(processed, ev.AllocatedTrade, order_id="O3")
    assert isinstance(allocated, ev.AllocatedTrade)
    by_order = _history(processed, "O3")
    assert _topics(by_order) == WHOLE_WAY
    ids = (*instruction.trade_ids, "E3", "C3", allocated.block_id, allocated.allocation_id, instruction.instruction_id)
    for wanted in ids:
        assert _history(processed, wanted) == by_order, wanted


def test_the_history_ends_in_the_instruction_and_its_message(processed: MemoryCluster) -> None:
    """It reads from the report to the depository."""
    order = [entry.record.topic for entry in _history(processed, "O3").entries]
    assert order[0] == "front-office.fix"
    assert order[-2:] == ["settlement.instructions", "settlement.messages"]


def test_a_repeated_report_is_part_of_the_history(processed: MemoryCluster) -> None:
    """That it came twice and was booked once is what the caller wants to see."""
    topics = _topics(_history(processed, "O1"))
    assert topics.count("front-office.executions") == 2
    assert topics.count("trades.captured") == 1
    assert topics.count("settlement.instructions") == 1


def test_an_order_shows_all_its_shares_and_an_allocation_only_its_own(processed: MemoryCluster) -> None:
    """The sibling's cash is not this account's business."""
    assert len(_history(processed, "O4").instructions) == 2
    share = _one(processed, ev.AllocatedTrade, order_id="O4", account="FUND-B")
    assert isinstance(share, ev.AllocatedTrade)
    own = _history(processed, share.allocation_id)
    assert [instruction.account for instruction in own.instructions] == ["FUND-B"]
    assert _topics(own).count("counterparty.confirmations") == 1
    assert _topics(own).count("trades.allocated") == 1
    assert _topics(own).count("front-office.allocations") == 1


def test_confirmations_of_other_trades_with_the_same_match_key_stay_out(processed: MemoryCluster) -> None:
    """O1, O2 and O3 are alike in all that a match key holds."""
    names = {
        entry.event.confirmation_id
        for entry in _history(processed, "O2").entries
        if isinstance(entry.event, ev.CounterpartyConfirmation)
    }
    assert names == {"C2"}


def test_an_exception_that_is_open_ends_the_history(processed: MemoryCluster) -> None:
    """No instruction, but a sentence that says what is missing; the exception's own id leads there too."""
    found = _history(processed, "O9")
    assert found.instructions == ()
    (event,) = found.open_exceptions
    assert event.reason == "INSTRUMENT_MISSING"
    assert _history(processed, event.exception_id) == found


def test_a_closed_exception_is_told_but_not_open(processed: MemoryCluster) -> None:
    """It waited for its instrument and went on."""
    found = _history(processed, "O5")
    assert _topics(found).count("exceptions") == 2
    assert found.open_exceptions == ()
    assert len(found.instructions) == 1


def test_what_a_person_reads(processed: MemoryCluster) -> None:
    """A timeline with the FIX message, the XML and the instruction at the end."""
    result = run("trade O3", processed)
    assert result.exit_code == 0, result.stderr
    assert "8=FIX.4.4|9=" in result.stdout
    assert "SctiesSttlmTxInstr" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("instructed: SI")
    assert "open: OPEN INSTRUMENT_MISSING" in run("trade O9", processed).stdout


def test_json_gives_the_same_records(processed: MemoryCluster) -> None:
    """For scripts: the form of `tail --json`."""
    rows = [json.loads(line) for line in run("trade O3 --json", processed).stdout.splitlines()]
    assert sorted(row["topic"] for row in rows) == WHOLE_WAY


@pytest.mark.parametrize("wanted", ["TRUNKNOWN", "o3", "DE0007164600"])
def test_an_unknown_id_is_exit_code_1(processed: MemoryCluster, wanted: str) -> None:
    """Not found is an answer, and one a script can tell from an empty history."""
    result = run(f"trade {wanted}", processed)
    assert result.exit_code == 1
    assert result.stderr == f"error: nothing is known under the id {wanted}\n"


def test_where_a_match_stands_is_part_of_the_history(processed: MemoryCluster) -> None:
    """The desk asks what became of a match that somebody cancels."""
    seen = _seen(processed)
    confirmed = next(one for one in seen if isinstance(one.event, ev.ConfirmedTrade))
    assert isinstance(confirmed.event, ev.ConfirmedTrade)
    trade = confirmed.event
    report = ev.MatchStatusReport(
        subject_id=trade.allocation_id,
        status=MatchStatus.CREQ,
        allocation_id=trade.allocation_id,
        counterparty=trade.counterparty,
        confirmation_id=trade.confirmation_id,
        match_key=trade.match_key,
        message="The counterparty asks.",
        history=(ev.MatchStatusChange(status=MatchStatus.CREQ, changed_at_us=1),),
    )
    told = Seen(replace(confirmed.record, topic="confirmations.status"), report)
    for wanted in (trade.allocation_id, trade.order_id, trade.confirmation_id):
        found = history([*seen, told], wanted)
        assert found is not None
        assert report in [entry.event for entry in found.entries], wanted
    assert describe(report) == f"{trade.allocation_id} stands at CREQ (CREQ): The counterparty asks."
