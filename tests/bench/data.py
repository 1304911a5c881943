"""The trades of the bench: what enters, and the reference data for it, from a seed.

Same seed and count, same bytes; no two trades are alike. A trade is an order of one fill and the confirmation that its
counterparty sends: exactly one settlement instruction must come of it.

- 150 accounts trade 150 German shares with eight counterparties on both sides. An account trades a share at most once a
  day and side, so that trades of different terms never stand under one match key: what comes out does not depend on
  the order of arrival, and no exception is opened on the way. After 45,000 trades the next trading day begins.
- Quantities are lots of 100. The price of each share is a random walk of its own, in ticks of 0.01, 0.005, 0.001 or
  0.0005. Ids run on with the number of the trade.
- Germany raises no charge on shares, so that confirmations can be written without asking the rules that are measured.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import islice
from typing import NamedTuple

from stdnum import isin as isin_numbers
from stdnum.iso7064 import mod_97_10

from services.adapters.reference_files import load_directory, topic_of
from services.capture.process import TRADES_CAPTURED, CaptureStage
from services.domain import reference as ref
from services.domain.code import AllocationPolicy, ExecutionType, InstrumentType, PriceType, SecurityIdSource, Side
from services.domain.event import CounterpartyConfirmation, Execution
from services.domain.money import EXACT
from services.engine.codec import TopicCodec
from services.engine.log import OutgoingRecord
from services.stage import Publish, Received
from tests.memory_state import MemoryState
from tests.support.app import MARKET_DATA

EXECUTIONS, CONFIRMATIONS = "front-office.executions", "counterparty.confirmations"
CURRENCY, MARKET = "EUR", "DE"
LOT = 100
LOTS_MAX = 200

_ACCOUNTS = tuple(f"FUND-{number:03}" for number in range(150))
_ISINS = tuple(
    body + isin_numbers.calc_check_digit(body) for body in (f"{MARKET}{number:09}" for number in range(1, 151))
)
_COUNTERPARTIES = tuple(f"BNK{letter}DEFFXXX" for letter in "ABCDEFGH")
_SIDES = (Side.BUY, Side.SELL)
_COMBINATIONS = len(_ACCOUNTS) * len(_ISINS) * len(_SIDES)
"""Trades of one day."""
_STRIDE = 7_919
"""Prime to the number of combinations: going in steps of it meets each of them once, and neighbours are strangers."""
_TICKS = (Decimal("0.01"), Decimal("0.005"), Decimal("0.001"), Decimal("0.0005"))
_FIRST_DAY, _LAST_DAY = date(2026, 5, 4), date(2026, 12, 22)
"""Between them the German settlement calendar knows no holiday, up to the last settlement date: weekdays are enough."""
_SETTLEMENT_DAYS = 2  # Regulation (EU) 909/2014, article 5(2)
_LONGEST_STEP = 10
_TRADE_US = 500_000
"""Time between two executions of a day."""
_CAPTURED_AT_ONCE = 500


class Terms(NamedTuple):
    """What a trade is about, seen from our account."""

    number: int
    account: str
    isin: str
    side: Side
    quantity: Decimal
    price: Decimal
    counterparty: str
    trade_date: date
    settlement_date: date
    executed_at_us: int


def reference_rows() -> list[ref.ReferenceRecord]:
    """The shipped market data, and what the services must know of accounts, shares and counterparties."""
    rows: list[ref.ReferenceRecord] = list(load_directory(MARKET_DATA))
    for bic in _COUNTERPARTIES:
        body = f"5299{bic}000"
        rows.append(ref.Party(bic=bic, lei=body + mod_97_10.calc_check_digits(body), name=f"Bank {bic[3]}"))
    rows += [
        ref.Instrument(
            isin=isin, name=f"Share {isin}", instrument_type=InstrumentType.EQUITY, settlement_market=MARKET,
            currency=CURRENCY, issuer_country=MARKET, denomination=Decimal(1),
        )
        for isin in _ISINS
    ]  # fmt: skip
    rows += [ref.Account(account=name, name=name, allocation_policy=AllocationPolicy.SINGLE) for name in _ACCOUNTS]
    custodians = [(bic, bic) for bic in _COUNTERPARTIES] + [(name, "PARBDEFFXXX") for name in _ACCOUNTS]
    rows += [
        ref.StandingSettlementInstruction(
            owner=owner, settlement_market=MARKET, depository_bic="DAKVDEFFXXX", participant_bic=participant,
            safekeeping_account=f"{owner}-SAFE", valid_from=date(2020, 1, 1),
        )
        for owner, participant in custodians
    ]  # fmt: skip
    return rows


def reference_records(codec: TopicCodec) -> list[OutgoingRecord]:
    """The same as records of the topics `reference.*`."""
    return [
        OutgoingRecord(topic_of(type(row)), row.key.encode(), codec.encode(topic_of(type(row)), row))
        for row in reference_rows()
    ]


def trades(codec: TopicCodec, count: int, seed: int = 1, *, first: int = 0) -> Iterator[list[OutgoingRecord]]:
    """For each trade its execution and its confirmation.

    `first` is the number of the first trade: a run in parts gives the same as one run.
    """
    encode = codec.encode
    for terms in _terms(count, seed, first):
        order, confirmation = order_id(terms.number), _confirmation(terms)
        yield [
            OutgoingRecord(EXECUTIONS, order.encode(), encode(EXECUTIONS, _execution(terms))),
            OutgoingRecord(
                CONFIRMATIONS, confirmation.confirmation_id.encode(), encode(CONFIRMATIONS, confirmation)
            ),
        ]  # fmt: skip


def executions(codec: TopicCodec, count: int, seed: int = 1, *, first: int = 0) -> Iterator[OutgoingRecord]:
    """Of each trade the execution alone."""
    encode = codec.encode
    for terms in _terms(count, seed, first):
        yield OutgoingRecord(EXECUTIONS, order_id(terms.number).encode(), encode(EXECUTIONS, _execution(terms)))


def captured(codec: TopicCodec, count: int, seed: int = 1, *, first: int = 0) -> Iterator[OutgoingRecord]:
    """What capture makes of the executions: records of `trades.captured`."""
    waiting = _terms(count, seed, first)
    while some := list(islice(waiting, _CAPTURED_AT_ONCE)):
        batch = [
            Received(
                topic=EXECUTIONS,
                key=order_id(terms.number),
                event=_execution(terms),
                timestamp_us=terms.executed_at_us + 1_000,
            )
            for terms in some
        ]
        # Nothing comes twice, so what is remembered of earlier trades changes nothing and need not be kept.
        outcomes = CaptureStage().process(batch, MemoryState(), batch[-1].timestamp_us)
        for outcome in outcomes:
            assert isinstance(outcome, Publish), f"capture suppressed a trade of the bench: {outcome}"
            assert outcome.topic == TRADES_CAPTURED, f"capture refused a trade of the bench: {outcome}"
            yield OutgoingRecord(outcome.topic, outcome.key.encode(), codec.encode(outcome.topic, outcome.event))


def order_id(number: int) -> str:
    """The order of a trade, and the key of its execution."""
    return f"O{number:09}"


def _terms(count: int, seed: int, first: int) -> Iterator[Terms]:
    return islice(_walk(seed), first, first + count)


def _walk(seed: int) -> Iterator[Terms]:
    """All trades of a seed in their order. Raises ValueError after the last trading day, 7.5 million trades on."""
    draw = random.Random(seed)
    offset = draw.randrange(_COMBINATIONS)
    ticks = [draw.randint(8_000, 120_000) for _ in _ISINS]
    for day_number, (trade_date, settlement_date) in enumerate(_days()):
        opened_us = int(datetime.combine(trade_date, time(7), UTC).timestamp()) * 1_000_000
        for trade_of_day in range(_COMBINATIONS):
            index = (trade_of_day * _STRIDE + offset) % _COMBINATIONS
            share, index = index % len(_ISINS), index // len(_ISINS)
            # Never near zero: the walk is as long as there are trades of a share, in steps of up to ten ticks.
            ticks[share] = max(1_000, ticks[share] + int(draw.random() * (2 * _LONGEST_STEP + 1)) - _LONGEST_STEP)
            yield Terms(
                number=day_number * _COMBINATIONS + trade_of_day,
                account=_ACCOUNTS[index % len(_ACCOUNTS)],
                isin=_ISINS[share],
                side=_SIDES[index // len(_ACCOUNTS)],
                quantity=Decimal(LOT * (1 + int(draw.random() ** 3 * LOTS_MAX))),  # many small trades, few large ones
                price=ticks[share] * _TICKS[share % len(_TICKS)],
                counterparty=_COUNTERPARTIES[trade_of_day % len(_COUNTERPARTIES)],
                trade_date=trade_date,
                settlement_date=settlement_date,
                executed_at_us=opened_us + trade_of_day * _TRADE_US,
            )
    raise ValueError("the bench has no more trading days: ask for fewer trades")


def _days() -> Iterable[tuple[date, date]]:
    """Trading days with their settlement dates."""
    days = [_FIRST_DAY + timedelta(days=number) for number in range((_LAST_DAY - _FIRST_DAY).days + 1)]
    weekdays = [day for day in days if day.isoweekday() <= 5]
    return zip(weekdays, weekdays[_SETTLEMENT_DAYS:], strict=False)


def _execution(terms: Terms) -> Execution:
    return Execution(
        sender="OMS1",
        execution_id=f"E{terms.number:09}",
        execution_type=ExecutionType.TRADE,
        order_id=order_id(terms.number),
        account=terms.account,
        side=terms.side,
        security_id=terms.isin,
        security_id_source=SecurityIdSource.ISIN,
        quantity=terms.quantity,
        price=terms.price,
        price_type=PriceType.PER_UNIT,
        currency=CURRENCY,
        venue="XETR",
        trade_date=terms.trade_date,
        transaction_time_us=terms.executed_at_us,
        counterparty=terms.counterparty,
        cumulative_quantity=terms.quantity,
        leaves_quantity=Decimal(0),
    )


def _confirmation(terms: Terms) -> CounterpartyConfirmation:
    return CounterpartyConfirmation(
        sender=terms.counterparty,
        confirmation_id=f"C{terms.number:09}",
        account=terms.account,
        side=terms.side.opposite,
        isin=terms.isin,
        quantity=terms.quantity,
        price=terms.price,
        currency=CURRENCY,
        net_amount=EXACT.multiply(terms.quantity, terms.price),
        trade_date=terms.trade_date,
        settlement_date=terms.settlement_date,
    )
