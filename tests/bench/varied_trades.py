"""Trades in every form the rules know, drawn from a seed: what a second implementation of them has to get right.

Not for measuring: here every other trade takes a rare way, in the market hardly any does.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from services.adapters.reference_files import load_directory
from services.domain import reference as ref
from services.domain.code import (
    ChargeType,
    CommissionType,
    ExecutionType,
    InstrumentType,
    PriceType,
    SecurityIdSource,
    Side,
    VenueKind,
)
from services.domain.event import CapturedTrade, Execution
from services.domain.money import Rounding
from services.domain.record import replace
from services.domain.reference import Account, BondTerms, Instrument, Party
from tests import samples
from tests.support.app import MARKET_DATA

SAMPLE_DATA = MARKET_DATA.parent / "sample_day" / "data" / "reference"
_SETTLEMENT_TYPES = (None, None, None, None, None, "0", "1", "2", "3", "9", "6", "7", "B")
_TRADE_DATES = [date(2023, 12, 20) + timedelta(days=number) for number in range(1_100)]


def executions(count: int, seed: int = 1) -> Iterator[Execution]:
    """Executions with every field at small and at large values; what they say need not make sense."""
    chance = random.Random(seed)
    for number in range(count):
        yield Execution(
            sender=chance.choice(("OMS1", "Ümläut-市場", "X")),
            execution_id=f"E{number}",
            execution_type=chance.choice([*ExecutionType]),
            execution_reference_id=chance.choice((None, f"E{number - 1}")),
            order_id=f"O{number // 3}",
            account=f"FUND-{chance.randrange(150)}",
            side=chance.choice([*Side]),
            security_id=chance.choice((samples.ISIN, "0878742")),
            security_id_source=chance.choice([*SecurityIdSource]),
            quantity=_decimal(chance, 28, 8),
            price=_decimal(chance, 28, 10),
            price_type=chance.choice([*PriceType]),
            currency=chance.choice(("EUR", "JPY")),
            venue="XETR",
            trade_date=chance.choice((*_TRADE_DATES, date(1, 1, 1), date(9999, 12, 31), date(1969, 12, 31))),
            transaction_time_us=chance.choice((0, -1, chance.randrange(4 * 10**15))),
            settlement_type=chance.choice(_SETTLEMENT_TYPES),
            requested_settlement_date=chance.choice((None, *_TRADE_DATES[:3])),
            counterparty=samples.COUNTERPARTY_BIC,
            cumulative_quantity=_decimal(chance, 28, 8),
            leaves_quantity=_decimal(chance, 28, 8),
            accrued_interest_amount=chance.choice((None, _decimal(chance, 23, 5))),
            possible_duplicate=chance.choice((False, True)),
            commission=chance.choice((None, _decimal(chance, 28, 10))),
            commission_type=chance.choice((None, *CommissionType)),
            commission_currency=chance.choice((None, "EUR")),
            contract_multiplier=chance.choice((None, _decimal(chance, 28, 8))),
        )


def reference_rows() -> list[ref.ReferenceRecord]:
    """The shipped market data, the sample day's names, and charges with every way of rounding."""
    charges = [
        _charge("GB", "GBP", "A_CAPPED", rate_of_gross=Decimal("0.0001"), cap_amount=Decimal("7.77")),
        _charge("US", "USD", "B_BY_UNIT", rate_per_unit=Decimal("0.000195"), rounding=Rounding.HALF_EVEN),
        _charge("DE", "EUR", "C_UP", rate_of_gross=Decimal("0.00012345"), rounding=Rounding.UP),
        _charge("DE", "EUR", "D_DOWN", rate_of_gross=Decimal("0.00012345"), rounding=Rounding.DOWN),
        _charge("FR", "EUR", "E_UNITS", rate_of_gross=Decimal("0.0002"), rounding_unit=Decimal("0.25")),
        _charge("DE", "EUR", "F_UNIT_UP", fixed_amount=Decimal("1.01"), rounding=Rounding.UP, rounding_unit=Decimal(2)),
        _charge("DE", "EUR", "G_ABOVE", fixed_amount=Decimal(3), threshold_amount=Decimal(50_000), side=Side.SELL),
        _charge("DE", "EUR", "H_EVEN_UNITS", rate_of_gross=Decimal("0.001"), rounding=Rounding.HALF_EVEN,
                rounding_unit=Decimal("0.10"), effective_by="SETTLEMENT_DATE"),
        _charge("DE", "EUR", "C_UP", rate_of_gross=Decimal("0.001"), valid_from=date(2025, 1, 1)),
        _charge("DE", "EUR", "I_OFF_VENUE", fixed_amount=Decimal(4), venue_kind=VenueKind.OFF_VENUE),
        _charge("DE", "EUR", "J_ON_VENUE", fixed_amount=Decimal(5), venue_kind=VenueKind.ON_VENUE),
    ]  # fmt: skip
    without_cycle = Instrument(
        isin="BRPETRACNOR9", name="Petrobras", instrument_type=InstrumentType.EQUITY, settlement_market="BR",
        currency="EUR", issuer_country="BR", denomination=Decimal(1),
    )  # fmt: skip
    sample = [
        row for row in load_directory(SAMPLE_DATA) if not isinstance(row, BondTerms)
    ]  # no peer has the day counts
    return [*load_directory(MARKET_DATA), *sample, without_cycle, *charges]


def captured_trades(count: int, seed: int = 1) -> Iterator[CapturedTrade]:
    """Trades of the sample day's names, about half of which go through; a fifth are later versions of earlier ones."""
    chance = random.Random(seed)
    rows = reference_rows()
    instruments = [row for row in rows if isinstance(row, Instrument)]
    accounts = [row.account for row in rows if isinstance(row, Account)]
    parties = [row.bic for row in rows if isinstance(row, Party)]
    sent: list[CapturedTrade] = []
    for number in range(count):
        if sent and chance.random() < 0.2:
            place = chance.randrange(len(sent))
            sent[place] = _later_version(chance, sent[place])
            yield sent[place]
            continue
        trade = _trade(chance, number, chance.choice(instruments), accounts, parties)
        sent.append(trade)
        yield trade


def _trade(
    chance: random.Random, number: int, instrument: Instrument, accounts: list[str], parties: list[str]
) -> CapturedTrade:
    names = [(SecurityIdSource.ISIN, instrument.isin), (SecurityIdSource.SEDOL, instrument.sedol)]
    names.append((SecurityIdSource.CUSIP, instrument.cusip))
    scheme, name = chance.choice([(scheme, name) for scheme, name in names if name])
    is_debt = instrument.instrument_type.is_debt is not (chance.random() < 0.02)
    return samples.captured_trade(
        execution_id=f"E{number}",
        order_id=f"O{number // 2}",
        account=_one_of(chance, accounts, "NOBODY"),
        side=chance.choice([*Side]),
        security_id=_one_of(chance, [name], "UNKNOWN"),
        security_id_source=scheme,
        quantity=Decimal(chance.randrange(1, 2_000_000)).scaleb(-chance.choice((0, 0, 0, 3, 8))),
        price=Decimal(chance.randrange(1, 50_000_000)).scaleb(-chance.choice((2, 4, 10))),
        price_type=PriceType.PERCENT_OF_PAR if is_debt else PriceType.PER_UNIT,
        currency=_one_of(chance, [instrument.currency], chance.choice(("JPY", "KWD", "EUR"))),
        trade_date=chance.choice(_TRADE_DATES),
        settlement_type=chance.choice(_SETTLEMENT_TYPES),
        requested_settlement_date=chance.choice((None, None, None, chance.choice(_TRADE_DATES))),
        counterparty=_one_of(chance, parties, "NOBODYXXXXX"),
        accrued_interest_amount=_accrued(chance) if is_debt else None,
        venue=chance.choice(("XETR", "XOFF")),
        **_commission(chance),
    )


def _commission(chance: random.Random) -> dict[str, Any]:
    """None for half of the trades; else one of each type, with its multiplier where it may have one."""
    kind = chance.choice((*[None] * len(CommissionType), *CommissionType))
    if kind is None:
        return {}
    multiplier = chance.choice((None, Decimal(100), Decimal(7))) if kind is CommissionType.PER_BOND else None
    value = Decimal(chance.randrange(10**6)).scaleb(-chance.choice((2, 4, 10)))
    return {"commission": value, "commission_type": kind, "contract_multiplier": multiplier}


def _later_version(chance: random.Random, trade: CapturedTrade) -> CapturedTrade:
    """A correction of price and settlement, or a cancellation, sometimes without economics."""
    version = trade.version + 1
    report = {"version": version, "execution_id": f"{trade.execution_id}-{version}"}
    if chance.random() < 0.3:
        cash = {} if chance.random() < 0.5 else {"quantity": Decimal(0), "price": Decimal(0)}
        return replace(trade, execution_type=ExecutionType.TRADE_CANCEL, **report, **cash)
    return replace(
        trade,
        execution_type=ExecutionType.TRADE_CORRECT,
        price=Decimal(chance.randrange(1, 50_000_000)).scaleb(-4),
        settlement_type=None,
        requested_settlement_date=None,
        **report,
    )


def _charge(market: str, currency: str, name: str, **terms: object) -> ref.ChargeRule:
    fields = {"charge_type": ChargeType.LEVY, "instrument_types": tuple(InstrumentType), "currency": currency} | terms
    return ref.ChargeRule(settlement_market=market, charge_id=name, **fields)  # type: ignore[arg-type]  # a table


def _one_of(chance: random.Random, names: list[str], other: str) -> str:
    return other if chance.random() < 0.02 else chance.choice(names)


def _accrued(chance: random.Random) -> Decimal | None:
    return chance.choice((None, Decimal(chance.randrange(10**9)).scaleb(-5)))


def _decimal(chance: random.Random, precision: int, scale: int) -> Decimal:
    """Any length from one digit to all that the schema has, either sign."""
    digits = chance.randrange(10 ** chance.randrange(1, precision + 1))
    return Decimal(chance.choice((digits, -digits))).scaleb(-scale)
