"""The lookup of standing settlement instructions: what is specific wins, then what is recent."""

from __future__ import annotations

from datetime import date
from itertools import permutations

import pytest

from services.domain.code import InstrumentType
from services.domain.event import SettlementChain
from services.domain.reference import ReferenceData, StandingSettlementInstruction
from services.domain.standing_instruction import find_chain

ON = date(2026, 3, 4)
OWNER = "DEUTDEFFXXX"


def row(
    account: str,
    instrument_type: InstrumentType | None = None,
    currency: str | None = None,
    valid_from: date = date(2020, 1, 1),
    valid_to: date | None = None,
    market: str = "DE",
) -> StandingSettlementInstruction:
    return StandingSettlementInstruction(
        owner=OWNER,
        settlement_market=market,
        instrument_type=instrument_type,
        currency=currency,
        depository_bic="DAKVDEFFXXX",
        participant_bic=OWNER,
        safekeeping_account=account,
        valid_from=valid_from,
        valid_to=valid_to,
    )


def found(*rows: StandingSettlementInstruction, on: date = ON) -> str | None:
    """Safekeeping account of the row that wins, for an equity in euro."""
    reference = ReferenceData()
    for each in rows:
        reference.put(each)
    chain = find_chain(
        reference,
        owner=OWNER,
        settlement_market="DE",
        instrument_type=InstrumentType.EQUITY,
        currency="EUR",
        on=on,
    )
    return chain.safekeeping_account if chain else None


BY_PRECEDENCE = (
    row("TYPE-AND-CURRENCY", InstrumentType.EQUITY, "EUR"),
    row("TYPE", InstrumentType.EQUITY, None, valid_from=date(2021, 1, 1)),
    row("CURRENCY", None, "EUR", valid_from=date(2022, 1, 1)),
    row("NEITHER", valid_from=date(2023, 1, 1)),
)


@pytest.mark.parametrize("first", range(4))
def test_most_specific_row_wins_whatever_is_newer_or_loaded_first(first: int) -> None:
    """The less specific rows are newer on purpose."""
    rows = BY_PRECEDENCE[first:]
    for order in permutations(rows):
        assert found(*order) == rows[0].safekeeping_account


def test_latest_valid_from_breaks_ties() -> None:
    rows = (row("OLD"), row("NEW", valid_from=date(2026, 3, 4)), row("FUTURE", valid_from=date(2026, 3, 5)))
    for order in permutations(rows):
        assert found(*order) == "NEW"


@pytest.mark.parametrize(
    "unfit",
    [
        row("X", market="FR"),
        row("X", InstrumentType.ETF),
        row("X", None, "USD"),
        row("X", InstrumentType.EQUITY, "USD"),
        row("X", InstrumentType.ETF, "EUR"),
        row("X", valid_to=date(2026, 3, 3)),
        row("X", valid_from=date(2026, 3, 5)),
    ],
)
def test_row_for_something_else_is_never_taken(unfit: StandingSettlementInstruction) -> None:
    """Delivering to the wrong account is worse than waiting."""
    assert found(unfit) is None
    assert found(unfit, row("FITS")) == "FITS"


def test_row_holds_on_its_last_day() -> None:
    assert found(row("LAST", valid_to=ON)) == "LAST"


def test_chain_carries_every_field_of_the_row() -> None:
    reference = ReferenceData()
    reference.put(
        StandingSettlementInstruction(
            owner="FUND-A",
            settlement_market="DE",
            depository_bic="DAKVDEFFXXX",
            participant_bic="PARBDEFFXXX",
            participant_account="70020000",
            client_bic="SOGEDEFFXXX",
            safekeeping_account="SAFE-1",
        )
    )
    chain = find_chain(
        reference,
        owner="FUND-A",
        settlement_market="DE",
        instrument_type=InstrumentType.EQUITY,
        currency="EUR",
        on=ON,
    )
    assert chain == SettlementChain(
        depository_bic="DAKVDEFFXXX",
        participant_bic="PARBDEFFXXX",
        participant_account="70020000",
        client_bic="SOGEDEFFXXX",
        safekeeping_account="SAFE-1",
    )
