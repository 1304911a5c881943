"""Orders without end, each of two fills and one confirmation, of which exactly one instruction must come.

The terms of an order follow from its number; orders of one account and instrument have the same terms, so that it does
not matter which of their confirmations comes first.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from datetime import date
from decimal import Decimal

from stdnum import isin as isin_numbers

from services.adapters.reference_files import load_directory, topic_of
from services.adapters.topic_codec import FormatCodec
from services.domain import reference as ref
from services.domain.code import AllocationPolicy, InstrumentType, Side
from services.engine.log import Log, OutgoingRecord
from tests import samples
from tests.support.app import MARKET_DATA

EXECUTIONS, CONFIRMATIONS = "front-office.executions", "counterparty.confirmations"
FILLS = 2
RECORDS = FILLS + 1
"""What enters for one order."""
_ACCOUNTS = [f"FUND-{number:03}" for number in range(150)]
_BODIES = [f"DE{number:09}" for number in range(150)]
_ISINS = [body + isin_numbers.calc_check_digit(body) for body in _BODIES]
_FILL_QUANTITY = Decimal(500)
_PRICE = Decimal("100.00")
_STAND_IN = 987_654_321
"""A number that occurs nowhere else in what is sent: an order's own takes its place in the bytes."""


def order_id(number: int) -> str:
    """The order's id."""
    return f"O{number:09}"


def fills_of(order: str) -> list[str]:
    """The execution ids of an order, in the order in which they are sent."""
    return [f"E{order.removeprefix('O')}-{fill}" for fill in range(1, FILLS + 1)]


def send_reference(log: Log, codec: FormatCodec) -> None:
    """Write what the services must know of accounts, instruments and the counterparty."""
    rows: list[ref.ReferenceRecord] = [
        *load_directory(MARKET_DATA),
        ref.Party(bic=samples.COUNTERPARTY_BIC, lei="7LTWFZYICNSX8D621K86", name="Deutsche Bank AG"),
    ]
    rows += [
        ref.Instrument(
            isin=isin, name=f"Share {isin}", instrument_type=InstrumentType.EQUITY, settlement_market="DE",
            currency="EUR", issuer_country="DE", denomination=Decimal(1),
        )
        for isin in _ISINS
    ]  # fmt: skip
    rows += [ref.Account(account=name, name=name, allocation_policy=AllocationPolicy.SINGLE) for name in _ACCOUNTS]
    rows += [
        ref.StandingSettlementInstruction(
            owner=owner, settlement_market="DE", depository_bic="DAKVDEFFXXX", participant_bic=participant,
            safekeeping_account=f"{owner}-SAFE", valid_from=date(2020, 1, 1),
        )
        for owner, participant in [
            (samples.COUNTERPARTY_BIC, samples.COUNTERPARTY_BIC), *((name, "PARBDEFFXXX") for name in _ACCOUNTS)
        ]
    ]  # fmt: skip
    log.send(
        OutgoingRecord(topic_of(type(row)), row.key.encode(), codec.encode(topic_of(type(row)), row)) for row in rows
    )


def records(codec: FormatCodec, number: int) -> Iterator[OutgoingRecord]:
    """What enters for one order, in the order in which it enters.

    Encoded once for an account and instrument: whoever sends must be much faster than whoever processes.
    """
    account, isin = _ACCOUNTS[number % len(_ACCOUNTS)], _ISINS[number // len(_ACCOUNTS) % len(_ISINS)]
    old, new = b"%09d" % _STAND_IN, b"%09d" % number
    for topic, key, value in _pattern(codec, account, isin):
        yield OutgoingRecord(topic, key.replace(old, new), value.replace(old, new))


@functools.cache
def _pattern(codec: FormatCodec, account: str, isin: str) -> list[tuple[str, bytes, bytes]]:
    """Topic, key and value of each record of the order `_STAND_IN`."""
    order = order_id(_STAND_IN)
    total = _FILL_QUANTITY * FILLS
    pattern: list[tuple[str, bytes, bytes]] = []
    for fill, execution_id in enumerate(fills_of(order), start=1):
        execution = samples.execution(
            execution_id=execution_id, order_id=order, account=account, security_id=isin,
            quantity=_FILL_QUANTITY, price=_PRICE, cumulative_quantity=_FILL_QUANTITY * fill,
            leaves_quantity=total - _FILL_QUANTITY * fill,
        )  # fmt: skip
        pattern.append((EXECUTIONS, order.encode(), codec.encode(EXECUTIONS, execution)))
    confirmation = samples.confirmation(
        confirmation_id=f"C{_STAND_IN:09}", account=account, side=Side.SELL, isin=isin, quantity=total, price=_PRICE,
        net_amount=(total * _PRICE).quantize(Decimal("0.01")),
    )  # fmt: skip
    key = confirmation.confirmation_id.encode()
    pattern.append((CONFIRMATIONS, key, codec.encode(CONFIRMATIONS, confirmation)))
    return pattern
