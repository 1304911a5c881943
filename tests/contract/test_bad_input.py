"""Bad input of each kind: where it ends, that nothing of it is lost, and that its neighbours go through.

Each case puts one bad record between two good executions of the same order's partition and runs the whole pipeline.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from services.adapters import fix
from services.adapters.memory_log import MemoryLog
from services.adapters.murmur2 import partition_of
from services.adapters.topic_codec import FormatCodec
from services.domain.event import AllocatedTrade, ExceptionEvent
from services.domain.record import Decimal
from services.engine.log import Log, LogRecord, OutgoingRecord
from services.pipeline import make_codec, topic_counts
from tests import samples
from tests.support.app import (
    header,
    kafka_log,
    read_events,
    read_topic,
    reference_records,
    running_worker,
    send_reference,
    until,
)

__all__ = ["kafka_log"]

EXECUTIONS, FIX = "front-office.executions", "front-office.fix"


def _orders(count: int) -> list[str]:
    """Order ids whose records all lie in one partition."""
    names = (f"ORDER-{number}" for number in itertools.count())
    return list(itertools.islice((name for name in names if partition_of(name.encode(), 4) == 0), count))


BEFORE, ORDER, AFTER = _orders(3)


def good(order: str, **changes: Any) -> bytes:
    """An execution as Avro that completes its order."""
    return make_codec().encode(EXECUTIONS, samples.execution(order_id=order, execution_id=f"EXEC-{order}", **changes))


def fix_message(**changes: Any) -> bytes:
    """The bad execution as a FIX message."""
    execution = samples.execution(order_id=ORDER, **changes)
    return fix.encode_execution(execution)


@dataclass(frozen=True)
class Case:
    """One kind of bad input: what is sent where, and the place and reason it must end with."""

    name: str
    value: Callable[[], bytes | None]
    dead: str | None = None
    """Part of the dead letter's sentence."""
    refused: str | None = None
    """Reason of the exception."""
    topic: str = EXECUTIONS


CASES = (
    Case("random bytes", lambda: os.urandom(200), dead="did not begin with the Avro marker"),
    Case("truncated Avro", lambda: good(ORDER)[:-7], dead="body ended too early"),
    Case("unknown schema", lambda: b"\xc3\x01" + b"\x07" * 8 + b"body", dead="schema fingerprint was"),
    Case("1 MB message", lambda: b"\xc3\x01" + b"x" * 1_000_000, dead="schema fingerprint was"),
    Case("null value", lambda: None, dead="value was empty"),
    Case("FIX wrong checksum", lambda: _wrong_checksum(fix_message()), dead="CheckSum", topic=FIX),
    Case("negative quantity", lambda: good(ORDER, quantity=Decimal(-5)), refused="QUANTITY_NOT_POSITIVE"),
    Case("price of zero", lambda: good(ORDER, price=Decimal(0)), refused="PRICE_NOT_POSITIVE"),
    Case("unknown account", lambda: good(ORDER, account="NOBODY"), refused="ACCOUNT_MISSING"),
    Case(
        "settlement date in the past",
        lambda: good(ORDER, requested_settlement_date=date(2026, 2, 27)),
        refused="SETTLEMENT_DATE_BEFORE_TRADE_DATE",
    ),
)


def _wrong_checksum(message: bytes) -> bytes:
    head, _, tail = message.rpartition(b"10=")
    return head + b"10=" + (b"001" if tail[:3] != b"001" else b"002") + tail[3:]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_bad_input_ends_in_its_named_place_and_its_neighbours_go_through(case: Case, tmp_path: Path) -> None:
    """Each kind alone, so that a failure says which."""
    log, codec, bad = MemoryLog(topic_counts()), make_codec(), case.value()
    send_reference(log, codec, reference_records())
    for topic, order, value in (
        (EXECUTIONS, BEFORE, good(BEFORE)),
        (case.topic, ORDER, bad),
        (EXECUTIONS, AFTER, good(AFTER)),
    ):
        log.send([OutgoingRecord(topic, order.encode(), value)])

    async with running_worker(log, tmp_path):
        await until(lambda: _allocated(log, codec) >= {BEFORE, AFTER}, "both neighbours being allocated")
        if case.dead is not None:
            (letter,) = await until(lambda: read_topic(log, "dead-letters"), "the dead letter")
            _check_letter(case, letter, bad)
            assert read_events(log, codec, "exceptions") == []
        else:
            (raised,) = await until(lambda: read_events(log, codec, "exceptions"), "the exception")
            assert isinstance(raised, ExceptionEvent)
            assert (raised.reason, raised.status, raised.order_id) == (case.refused, "OPEN", ORDER)
            assert read_topic(log, "dead-letters") == []


async def test_all_kinds_of_bad_input_at_once_on_a_real_kafka(kafka_log: Log, tmp_path: Path) -> None:
    """The same on the real broker: 1 MB and null values are as much about Kafka's limits as about ours."""
    log, codec = kafka_log, make_codec()
    values = {case.name: case.value() for case in CASES}
    orders = _orders(len(CASES) + 2)
    bad = zip(CASES, orders[1:-1], strict=True)
    log.send([OutgoingRecord(EXECUTIONS, orders[0].encode(), good(orders[0]))])
    log.send([OutgoingRecord(case.topic, order.encode(), values[case.name]) for case, order in bad])
    log.send([OutgoingRecord(EXECUTIONS, orders[-1].encode(), good(orders[-1]))])
    dead = {values[case.name] for case in CASES if case.dead is not None}

    async with running_worker(log, tmp_path):
        await until(lambda: _allocated(log, codec) >= {orders[0], orders[-1]}, "both neighbours being allocated")
        await until(lambda: len(read_topic(log, "dead-letters")) >= len(dead), "every dead letter")

        assert {letter.value for letter in read_topic(log, "dead-letters")} == dead
        assert len(read_topic(log, "dead-letters")) == len(dead), "each exactly once"


def _allocated(log: Log, codec: FormatCodec) -> set[str]:
    trades = read_events(log, codec, "trades.allocated")
    return {trade.order_id for trade in trades if isinstance(trade, AllocatedTrade)}


def _check_letter(case: Case, letter: LogRecord, bad: bytes | None) -> None:
    assert case.dead is not None
    assert (letter.key, letter.value) == (ORDER.encode(), bad), "the bytes lie there as they came"
    assert header(letter, "err.class") == "DECODE"
    assert header(letter, "src.topic") == case.topic
    assert case.dead in header(letter, "err.message")
    assert len(header(letter, "err.message")) <= 500
