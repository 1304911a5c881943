"""A world that is wrong in one place is not sound, and the finding says in which way it is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from services.adapters.topic_codec import FormatCodec
from services.domain.code import Function, MatchStatus, Movement
from services.domain.event import AllocatedTrade, EnrichedTrade, MatchStatusChange
from services.domain.record import replace as replace_fields
from services.verification import Decode, Entry, verify
from tests.support.snapshot_world import SnapshotWorld
from tests.unit.verification.tampering import Tampering

CENT = Decimal("0.01")
Mutation = Callable[[Tampering], SnapshotWorld]


def _cent_more(tampering: Tampering, topic: str, field: str, *fields_too: str) -> SnapshotWorld:
    entry = tampering.find(topic, lambda record: record["side"] == "BUY" if "side" in record else True)
    record = tampering.record(entry)
    return tampering.change(entry, **{name: record[name] + CENT for name in (field, *fields_too)})


def _share_of_two(tampering: Tampering) -> SnapshotWorld:
    """One of several shares of a block, with everything that came of it."""
    blocks = [tampering.record(entry)["block_id"] for entry in tampering.world.records["trades.allocated"]]
    shared = next(block for block in blocks if blocks.count(block) > 1)
    return tampering.drop(tampering.find("trades.allocated", lambda record: record["block_id"] == shared))


def _waiting_share_for_nothing(tampering: Tampering) -> SnapshotWorld:
    closed = tampering.find(
        "exceptions", lambda record: record["service"] == "allocation" and record["status"] == "CLOSED"
    )
    return tampering.drop(closed)


def _charge(tampering: Tampering) -> SnapshotWorld:
    """A share whose charge and net amount agree with each other, and not with its block."""
    entry = tampering.find("trades.allocated", lambda record: record["charges"] and record["side"] == "BUY")
    event = tampering.codec.decode(entry.topic, entry.value)
    assert isinstance(event, AllocatedTrade)
    first, *others = event.charges
    charges = (replace_fields(first, amount=first.amount + CENT), *others)
    return tampering.change(entry, charges=charges, net_amount=event.net_amount + CENT)


def _more_interest(tampering: Tampering, which: Callable[[Any], bool]) -> SnapshotWorld:
    """A fill whose interest and net amount agree with each other."""
    entry = tampering.find("trades.enriched", lambda record: record["accrued_interest"] > 0 and which(record))
    record = tampering.record(entry)
    more = {name: record[name] + CENT for name in ("accrued_interest", "net_amount")}
    return tampering.change(entry, **more)


def _commission(tampering: Tampering) -> SnapshotWorld:
    """A purchase whose commission and net amount agree with each other, and not with its report."""
    entry = tampering.find("trades.enriched", lambda record: record["commission"] and record["side"] == "BUY")
    event = tampering.codec.decode(entry.topic, entry.value)
    assert isinstance(event, EnrichedTrade)
    charges = tuple(
        replace_fields(charge, amount=charge.amount + CENT) if charge.charge_id == "COMMISSION" else charge
        for charge in event.charges
    )
    return tampering.change(entry, charges=charges, net_amount=event.net_amount + CENT)


def _exchange(tampering: Tampering, topic: str, same: str) -> SnapshotWorld:
    return tampering.world.with_exchanged(*tampering.neighbours(topic, same))


def _open_transaction(tampering: Tampering) -> SnapshotWorld:
    world = tampering.world
    ends = {**world.ends, "trades.enriched": {**world.ends["trades.enriched"], 0: 10_000}}
    return replace(world, ends=ends)


def _letter(tampering: Tampering, **changes: object) -> SnapshotWorld:
    return tampering.world.with_changed(tampering.world.records["dead-letters"][0], **changes)


def _letter_of_nothing(tampering: Tampering) -> SnapshotWorld:
    letter = tampering.world.records["dead-letters"][0]
    headers = tuple((name, b"99999" if name == "src.offset" else value) for name, value in letter.headers)
    return tampering.world.with_added(letter._replace(headers=headers))


def _opened(tampering: Tampering, service: str, reason: str | None = None) -> SnapshotWorld:
    """An exception that stays open to the end."""
    closed = {
        tampering.record(entry)["exception_id"]
        for entry in tampering.world.records["exceptions"]
        if tampering.record(entry)["status"] == "CLOSED"
    }

    def wanted(record: Any) -> bool:
        return (
            record["service"] == service and reason in (None, record["reason"]) and record["exception_id"] not in closed
        )

    return tampering.drop(tampering.find("exceptions", wanted))


def _at_risk(tampering: Tampering, **changes: object) -> SnapshotWorld:
    """An exception whose money is told otherwise."""
    entry = tampering.find("exceptions", lambda record: record["value_at_risk"] is not None)
    return tampering.change(entry, **changes)


def _unread(tampering: Tampering) -> SnapshotWorld:
    group = tampering.world.offsets["posttrade.settlement"]
    behind = {place: max(0, offset - 1) for place, offset in group.items()}
    return replace(tampering.world, offsets={**tampering.world.offsets, "posttrade.settlement": behind})


def _counted(tampering: Tampering) -> SnapshotWorld:
    series = 'posttrade_records_produced_total{service="settlement",topic="settlement.messages"}'
    return replace(tampering.world, counters={series: len(tampering.world.records["settlement.messages"]) + 1.0})


def _lost_input(tampering: Tampering) -> SnapshotWorld:
    """An input in the log that nothing was made of: a report like another, with an id of its own."""
    entry = tampering.find("front-office.executions", lambda record: record["execution_type"] == "TRADE")
    return tampering.add_changed(entry, execution_id="NEVER-SEEN-1")


def _lost_confirmation(tampering: Tampering) -> SnapshotWorld:
    """A confirmation that was sent once and taken, and is not in the log any more."""
    topic = "counterparty.confirmations"
    sent = [record for entry in tampering.world.records[topic] if (record := tampering.decode(topic, entry.value))]
    ids = [record["confirmation_id"] for record in sent]
    taken = tampering.record(
        tampering.find("confirmations.received", lambda record: ids.count(record["confirmation_id"]) == 1)
    )
    return tampering.drop(tampering.find(topic, lambda record: record["confirmation_id"] == taken["confirmation_id"]))


def _other_message(tampering: Tampering) -> SnapshotWorld:
    message = tampering.world.records["settlement.messages"][0]
    text = (message.value or b"").replace(b"<Unit>", b"<Unit>1").replace(b"<FaceAmt>", b"<FaceAmt>1")
    return tampering.world.with_changed(message, value=text)


def _late_deadline(tampering: Tampering) -> SnapshotWorld:
    waiting = tampering.row("confirmation", "Deadline")
    first = next(
        entry
        for entry in reversed(tampering.world.records["state.confirmation"])
        if entry.key == b"NextDeadline/-" and entry.partition == waiting.partition and entry.value
    )
    return tampering.change_row(first, due_at_us=2**52)


def _status(tampering: Tampering, status: str) -> Entry:
    """What is told last of a match, where it is this; what was told before it breaks otherwise."""
    last = {entry.key: entry for entry in tampering.world.records["confirmations.status"]}
    return next(entry for entry in last.values() if tampering.record(entry)["status"] == status)


def _steps(*statuses: MatchStatus) -> tuple[MatchStatusChange, ...]:
    return tuple(MatchStatusChange(status=status, changed_at_us=1) for status in statuses)


def _asked_by_us(tampering: Tampering) -> Entry:
    """The report of a match that our side took back, and that the counterparty has not agreed to."""
    taken = {
        tampering.record(entry)["allocation_id"]
        for entry in tampering.world.records["trades.confirmed"]
        if tampering.record(entry)["function"] == "CANCEL"
    }
    asked = {
        tampering.record(entry)["subject_id"]
        for entry in tampering.world.records["confirmations.status"]
        if tampering.record(entry)["status"] == "CREQ"
    }
    agreed = {
        tampering.record(entry)["subject_id"]
        for entry in tampering.world.records["confirmations.status"]
        if tampering.record(entry)["status"] == "CANA"
    }
    return tampering.find("confirmations.status", lambda record: record["subject_id"] in taken & asked - agreed)


_AGREED_AFTERWARDS = _steps(MatchStatus.CREQ, MatchStatus.CANA)
_CANCELLED_AT_ONCE = _steps(MatchStatus.MISM, MatchStatus.CREQ)
_REFUSED_AFTERWARDS = _steps(MatchStatus.CREQ, MatchStatus.CREJ)


def _end(tampering: Tampering, topic: str) -> Entry:
    """An event that takes back what was published under its id."""
    return tampering.find(topic, lambda record: record["function"] == "CANCEL")


def _cancellation(tampering: Tampering) -> Entry:
    return next(
        one for one in tampering.world.records["settlement.messages"] if b"SctiesTxCxlReq" in (one.value or b"")
    )


MUTATIONS: dict[str, tuple[str, Mutation]] = {
    # what must be there once
    "an instruction is missing": ("V1", lambda t: t.drop(t.find("settlement.instructions"))),
    "an instruction is there twice": ("V2", lambda t: t.double(t.find("settlement.instructions"))),
    "a message is missing": ("V1", lambda t: t.drop(t.world.records["settlement.messages"][3])),
    "a message is there twice": ("V2", lambda t: t.double(t.world.records["settlement.messages"][3])),
    "a captured trade is missing": ("V1", lambda t: t.drop(t.find("trades.captured"))),
    "a captured trade is there twice": ("V2", lambda t: t.double(t.find("trades.captured"))),
    "an enriched trade is missing": ("V1", lambda t: t.drop(t.find("trades.enriched"))),
    "a share is missing": ("V1", _share_of_two),
    "a share is there twice": ("V2", lambda t: t.double(t.find("trades.allocated"))),
    "a confirmed trade is missing": ("V2", lambda t: t.drop(t.find("trades.confirmed"))),
    "a confirmed trade is there twice": ("V2", lambda t: t.double(t.find("trades.confirmed"))),
    "an allocation request is missing": ("V1", lambda t: t.drop(t.find("trades.allocation-requests"))),
    "a received confirmation is missing": ("V1", lambda t: t.drop(t.find("confirmations.received"))),
    "an input had no effect": ("V1", _lost_input),
    "an effect has no input": ("V2", _lost_confirmation),
    # what it must say
    "an instruction pays a cent more": ("V4", lambda t: _cent_more(t, "settlement.instructions", "amount")),
    "a message says another quantity": ("V4", _other_message),
    "a confirmed trade settles a cent more": ("V4", lambda t: _cent_more(t, "trades.confirmed", "settlement_amount")),
    "a share has a cent more": ("V4", lambda t: _cent_more(t, "trades.allocated", "gross_amount", "net_amount")),
    "a share is charged a cent more": ("V4", _charge),
    "a fill costs a cent more": ("V4", lambda t: _cent_more(t, "trades.enriched", "gross_amount", "net_amount")),
    "a fill has a cent more interest than its bond's terms give": (
        "V4",
        lambda t: _more_interest(t, lambda record: record["accrued_interest_amount"] is None),
    ),
    "a fill has a cent more interest than was reported": (
        "V4",
        lambda t: _more_interest(t, lambda record: record["accrued_interest_amount"] is not None),
    ),
    "a fill has a cent more commission": ("V4", _commission),
    "a share has a unit more": ("V4", lambda t: _cent_more(t, "trades.allocated", "quantity")),
    "an instruction names another account": (
        "V2", lambda t: t.change(t.find("settlement.instructions"), account="ELSEWHERE"),
    ),
    "an instruction goes the other way": (
        "V2",
        lambda t: t.change(
            t.find("settlement.instructions", lambda r: r["movement"] == "DELI"), movement=Movement.RECEIVE
        ),
    ),
    "a captured trade has another price": ("V2", lambda t: _cent_more(t, "trades.captured", "price")),
    "a captured trade has an id that does not follow": (
        "V2", lambda t: t.change(t.find("trades.captured"), trade_id="TRAAAAAAAAAAAAAA"),
    ),
    "a match key does not follow": ("V2", lambda t: t.change(t.find("confirmations.received"), match_key="a|b|c|d|e")),
    # what takes back what was said
    "a share that was taken back stands": ("V6", lambda t: t.drop(_end(t, "trades.allocated"))),
    "a share is taken back twice": ("V2", lambda t: t.double(_end(t, "trades.allocated"))),
    "a share is taken back with a unit more": ("V4", lambda t: t.change(_end(t, "trades.allocated"), quantity=CENT)),
    "a share that stands is taken back": (
        "V1", lambda t: t.add_changed(t.find("trades.allocated"), function=Function.CANCEL),
    ),
    "a version names another first one": (
        "V2",
        lambda t: t.change(
            t.find("trades.allocated", lambda r: r["version"] > 1), original_allocation_id="ALAAAAAAAAAAAAAA"
        ),
    ),
    "a confirmed trade that was taken back stands": ("V1", lambda t: t.drop(_end(t, "trades.confirmed"))),
    "a confirmed trade is taken back with a cent more": (
        "V4", lambda t: t.change(_end(t, "trades.confirmed"), settlement_amount=CENT),
    ),
    "an instruction that was taken back stands": ("V1", lambda t: t.drop(_end(t, "settlement.instructions"))),
    "an instruction is cancelled twice": ("V2", lambda t: t.double(_end(t, "settlement.instructions"))),
    "an instruction that stands is cancelled": (
        "V2", lambda t: t.add_changed(t.find("settlement.instructions"), function=Function.CANCEL),
    ),
    "a cancellation is not sent": ("V1", lambda t: t.drop(_cancellation(t))),
    "a cancellation names another payment": (
        "V2",
        lambda t: t.world.with_changed(
            _cancellation(t),
            value=(_cancellation(t).value or b"").replace(b"<Pmt>APMT", b"<Pmt>FREE"),
        ),
    ),
    "a late cancellation is not shown": ("V1", lambda t: _opened(t, "settlement", "INSTRUCTION_CANCELLED_LATE")),
    "a change that waits is forgotten": ("V6", lambda t: t.drop(t.row("capture", "WaitingReport"))),
    "a share is forgotten": ("V6", lambda t: t.drop(t.row("allocation", "GivenShare"))),
    "a disqualified allocation is lost": ("V1", lambda t: _opened(t, "allocation", "ALLOCATION_DISQUALIFIED")),
    # in which order
    "two trades of an order are exchanged": ("V3", lambda t: _exchange(t, "trades.captured", "order_id")),
    "two versions of a trade are exchanged": ("V3", lambda t: _exchange(t, "trades.captured", "trade_id")),
    "two enriched trades of an order are exchanged": ("V3", lambda t: _exchange(t, "trades.enriched", "order_id")),
    "a version rises by two": (
        "V3", lambda t: t.change(t.find("trades.captured", lambda r: r["version"] == 2), version=3),
    ),
    "an exception closes before it opens": ("V3", lambda t: _exchange(t, "exceptions", "exception_id")),
    # transactions
    "a transaction is open": ("V5", _open_transaction),
    # state
    "a report is forgotten": ("V6", lambda t: t.drop(t.row("capture", "SeenExecution"))),
    "a report is remembered with other content": (
        "V6", lambda t: t.change_row(t.row("capture", "SeenExecution"), fingerprint="00" * 16),
    ),
    "an allocation is remembered as instructed otherwise": (
        "V6", lambda t: t.change_row(t.row("settlement", "Instructed"), instruction_id="SIAAAAAAAAAAAAAA"),
    ),
    "an allocation is forgotten to be instructed": ("V6", lambda t: t.drop(t.row("settlement", "Instructed"))),
    "a block is remembered as given away": (
        "V6", lambda t: t.change_row(t.row("allocation", "Block", lambda r: r["allocated_quantity"] == "0"),
                                     allocated_quantity="1"),
    ),
    "a share that waits has other cash": (
        "V4",
        lambda t: t.change_row(
            t.row("allocation", "WaitingShare"),
            share={**_share(t), "gross_amount": str(Decimal(_share(t)["gross_amount"]) + CENT)},
        ),
    ),
    "a side is not remembered as open": ("V6", lambda t: t.drop(t.row("confirmation", "OpenAllocation"))),
    "a trade that waits is forgotten": ("V6", lambda t: t.drop(t.row("enrichment", "WaitingTrade"))),
    "a doubt is forgotten": ("V6", lambda t: t.drop(t.row("enrichment", "DoubtedTrade"))),
    "a doubt is about another amount": (
        "V6", lambda t: t.change_row(t.row("enrichment", "DoubtedTrade"), accrued_interest="0.01"),
    ),
    "a deadline would be missed": ("V6", _late_deadline),
    "a row belongs to no table": (
        "V6", lambda t: t.world.with_added(t.row("capture", "SeenExecution")._replace(key=b"Unknown/x")),
    ),
    "what waits for a repair is forgotten": ("V6", lambda t: t.drop(t.row("capture", "Parked"))),
    # exceptions and dead letters
    "a refusal is lost": ("V1", lambda t: _opened(t, "capture")),
    "a wait is lost": ("V1", lambda t: _opened(t, "enrichment", "INSTRUMENT_MISSING")),
    "a refused settlement is lost": ("V1", lambda t: _opened(t, "settlement")),
    "a cancelled confirmation is not remembered": ("V6", lambda t: t.drop(t.row("confirmation", "Withdrawn"))),
    "a request to cancel is not remembered": ("V6", lambda t: t.drop(t.row("confirmation", "CancelRequest"))),
    "a request to cancel is remembered as refused": (
        "V6",
        lambda t: t.change_row(t.row("confirmation", "CancelRequest"), refused=True),
    ),
    "a request to cancel is shown to nobody": (
        "V1",
        lambda t: _opened(t, "confirmation", "CONFIRMATION_CANCEL_REQUESTED"),
    ),
    "a status is missing": ("V1", lambda t: t.drop(_status(t, "CAND"))),
    "a status is there twice": ("V2", lambda t: t.double(_status(t, "CREQ"))),
    "a status does not follow": ("V3", lambda t: t.change(_status(t, "CREQ"), history=_CANCELLED_AT_ONCE)),
    "a status is of nobody": ("V2", lambda t: t.change(_status(t, "CAND"), subject_id="NOBODY/1")),
    "a status is wrong": (
        "V1",
        lambda t: t.change(_status(t, "CREQ"), status=MatchStatus.CREJ, history=_REFUSED_AFTERWARDS),
    ),
    "a match that our side took back is told to nobody": ("V1", lambda t: t.drop(_asked_by_us(t))),
    "a match that our side took back is told as agreed": (
        "V1",
        lambda t: t.change(_asked_by_us(t), status=MatchStatus.CANA, history=_AGREED_AFTERWARDS),
    ),
    "our side's request to cancel is not remembered": (
        "V6",
        lambda t: t.drop(t.row("confirmation", "CancelRequest", lambda row: row["asked_by"] == "OURS")),
    ),
    "a confirmation forgets whose match was taken back": (
        "V6",
        lambda t: t.change_row(t.row("confirmation", "OpenConfirmation", lambda row: row["freed_by"]), freed_by=None),
    ),
    "a confirmation is free although its match stands": (
        "V6",
        lambda t: t.change_row(t.row("confirmation", "OpenConfirmation"), freed_by="ANOTHER"),
    ),
    "an allocation that was taken back is not remembered": (
        "V6",
        lambda t: t.drop(t.row("confirmation", "Withdrawn", lambda row: row["by"] is None)),
    ),
    "cash is matched beyond tolerance": (
        "V4",
        lambda t: t.change(
            t.find("trades.confirmed", lambda record: record["settlement_amount"] != record["net_amount"]),
            matching_profile="EXACT",
        ),
    ),
    "a price is taken from the counterparty without leave": (
        "V2",
        lambda t: t.change(t.find("trades.confirmed"), average_price=Decimal("0.01")),
    ),
    "a doubt is lost": ("V6", lambda t: _opened(t, "enrichment", "ACCRUED_INTEREST_DIFFERS")),
    "a mismatch is lost": ("V1", lambda t: _opened(t, "confirmation", "CONFIRMATION_MISMATCHED")),
    "a refused allocation is lost": ("V1", lambda t: _opened(t, "allocation", "OVER_ALLOCATION")),
    "a share that waits is lost": ("V1", lambda t: _opened(t, "allocation", "ACCOUNT_SSI_MISSING")),
    "an exception is not closed": ("V1", _waiting_share_for_nothing),
    "an exception is about nothing": (
        "V2", lambda t: t.add_changed(t.find("exceptions"), subject_id="TRNOTHINGNOTHING"),
    ),
    "an exception has money without a currency": ("V2", lambda t: _at_risk(t, value_currency=None)),
    "an exception has less than nothing at risk": ("V2", lambda t: _at_risk(t, value_at_risk=-CENT)),
    "what is closed has money at risk": (
        "V2", lambda t: t.change(
            t.find("exceptions", lambda r: r["status"] == "CLOSED"), value_at_risk=CENT, value_currency="EUR"
        ),
    ),
    "a dead letter is missing": ("V1", lambda t: t.drop(t.world.records["dead-letters"][0])),
    "a dead letter is there twice": ("V7", lambda t: t.double(t.world.records["dead-letters"][0])),
    "a dead letter has other bytes": ("V7", lambda t: _letter(t, value=b"other")),
    "a dead letter has another key": ("V7", lambda t: _letter(t, key=b"other")),
    "a dead letter stands for nothing": ("V2", _letter_of_nothing),
    # counters and lag
    "a counter is wrong": ("V9", _counted),
    "something was not read": ("V10", _unread),
}  # fmt: skip


def _share(tampering: Tampering) -> dict[str, str]:
    share: dict[str, str] = json.loads(tampering.row("allocation", "WaitingShare").value or b"")["share"]
    return share


@pytest.mark.parametrize("name", MUTATIONS)
def test_each_wrong_is_found(name: str, troubled: SnapshotWorld, decode: Decode, codec: FormatCodec) -> None:
    """An auditor that has never found anything proves nothing: each kind of wrong breaks the invariant it should."""
    invariant, mutate = MUTATIONS[name]
    report = verify(mutate(Tampering(troubled, decode, codec)), decode)
    broken = {finding.invariant: finding.breaks for finding in report.findings if finding.break_count}
    assert invariant in broken, f"found were {broken}"
    assert report.verdict.startswith("NOT ACCOUNTED FOR: ")
