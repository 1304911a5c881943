"""Where an owner settles: the lookup of standing settlement instructions (SSI)."""

from __future__ import annotations

from datetime import date

from services.domain.code import InstrumentType
from services.domain.event import SettlementChain
from services.domain.reference import ReferenceData, StandingSettlementInstruction


def find_chain(
    reference: ReferenceData,
    *,
    owner: str,
    settlement_market: str,
    instrument_type: InstrumentType,
    currency: str,
    on: date,
) -> SettlementChain | None:
    """The settlement chain of a counterparty (by BIC) or an account (by id), or None when no row fits.

    Of the rows that hold on the day, the most specific wins: instrument type and currency, then instrument type, then
    currency, then neither; among equals the latest valid_from. `on` is the settlement date: an SSI says where
    securities go on the day they move, so a custodian's change applies to trades that are already done.
    """
    return reference.derived(_find_chain, owner, settlement_market, instrument_type, currency, on)


def _find_chain(
    reference: ReferenceData,
    owner: str,
    settlement_market: str,
    instrument_type: InstrumentType,
    currency: str,
    on: date,
) -> SettlementChain | None:
    best: StandingSettlementInstruction | None = None
    best_rank = -1
    for row in reference.find_all(StandingSettlementInstruction, owner, on=on):
        if row.settlement_market != settlement_market:
            continue
        if row.instrument_type not in (None, instrument_type) or row.currency not in (None, currency):
            continue
        rank = 2 * (row.instrument_type is not None) + (row.currency is not None)
        if rank > best_rank:  # find_all gives the latest valid_from first, so an equal rank does not replace it
            best, best_rank = row, rank
    return None if best is None else _chain(best)


def _chain(row: StandingSettlementInstruction) -> SettlementChain:
    return SettlementChain(
        depository_bic=row.depository_bic,
        participant_bic=row.participant_bic,
        participant_account=row.participant_account,
        client_bic=row.client_bic,
        safekeeping_account=row.safekeeping_account,
    )
