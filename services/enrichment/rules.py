"""What a captured trade becomes, or why it cannot go on: one ordered column of checks.

The order is part of the contract: instrument, price type, counterparty, account, settlement date (cycle, calendars,
agreed date), counterparty's settlement instruction, account's settlement instruction, accrued interest, commission. The
first that fails is reported.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import final

from services.domain import money
from services.domain.accrued_interest import AccrualProblem
from services.domain.calendar import DateProblem, settlement_date
from services.domain.code import AllocationPolicy, CommissionType, PriceType
from services.domain.event import CapturedTrade, EnrichedTrade, SettlementChain
from services.domain.reason import Reason
from services.domain.record import Record, asdict
from services.domain.reference import Account, Instrument, Party, ReferenceData
from services.domain.standing_instruction import find_chain
from services.enrichment.accrued import accrued_of
from services.enrichment.charges import charges_of
from services.enrichment.commission import with_commission

_ONE_PERCENT = Decimal("0.01")
_NOTHING = Decimal(0)

WAIT_REASONS = frozenset(
    {
        Reason.INSTRUMENT_MISSING,
        Reason.COUNTERPARTY_MISSING,
        Reason.ACCOUNT_MISSING,
        Reason.SETTLEMENT_CYCLE_MISSING,
        Reason.CALENDAR_MISSING,
        Reason.ISSUE_DATE_MISSING,
        Reason.COUNTERPARTY_SSI_MISSING,
        Reason.ACCOUNT_SSI_MISSING,
        Reason.BOND_TERMS_MISSING,
    }
)
"""Reasons that reference data can take away; every other reason is a refusal, final for that version of the trade."""


@final
class Problem(Record, kw_only=True):
    """Why a trade cannot go on."""

    reason: Reason
    details: dict[str, str]
    """What is missing or was found, by field name."""

    @property
    def waits(self) -> bool:
        """Whether the trade goes on by itself once data arrives."""
        return self.reason in WAIT_REASONS


def enrich(trade: CapturedTrade, reference: ReferenceData) -> EnrichedTrade | Problem:
    """Add what reference data knows on the trade date (settlement chains: on the settlement date), and the cash."""
    on = trade.trade_date
    security = f"{trade.security_id_source}:{trade.security_id}"
    instrument = reference.find(Instrument, security, on=on)
    if instrument is None:
        return _missing(Reason.INSTRUMENT_MISSING, instrument=security, on=on.isoformat())
    if instrument.instrument_type.is_debt != (trade.price_type is PriceType.PERCENT_OF_PAR):
        return _unsuitable_price(trade, instrument)
    party = reference.find(Party, trade.counterparty, on=on)
    if party is None:
        return _missing(Reason.COUNTERPARTY_MISSING, counterparty=trade.counterparty, on=on.isoformat())
    account = reference.find(Account, trade.account, on=on)
    if account is None:
        return _missing(Reason.ACCOUNT_MISSING, account=trade.account, on=on.isoformat())
    settles_on = _settlement_date(trade, instrument, reference)
    if not isinstance(settles_on, date):
        return _undated(settles_on, instrument)
    chain = _chain(reference, trade.counterparty, trade, instrument, settles_on)
    if chain is None:
        return _missing_chain(Reason.COUNTERPARTY_SSI_MISSING, trade.counterparty, trade, instrument, settles_on)
    # Accounts that are allocated further settle under other names; theirs are looked up when the block is divided.
    settles_itself = account.allocation_policy is AllocationPolicy.SINGLE
    if settles_itself and _chain(reference, account.account, trade, instrument, settles_on) is None:
        return _missing_chain(Reason.ACCOUNT_SSI_MISSING, account.account, trade, instrument, settles_on)
    accrued = _accrued_interest(trade, instrument, settles_on, reference)
    if type(accrued) is Problem:
        return accrued
    if trade.commission_type is CommissionType.PER_BOND and not instrument.instrument_type.is_debt:
        return _missing(Reason.COMMISSION_UNSUITABLE, commission_type=CommissionType.PER_BOND, isin=instrument.isin)
    return _enriched(trade, reference, instrument, party, settles_on, chain, accrued)


def _settlement_date(trade: CapturedTrade, instrument: Instrument, reference: ReferenceData) -> date | DateProblem:
    return settlement_date(
        reference,
        market=instrument.settlement_market,
        instrument_type=instrument.instrument_type,
        currency=trade.currency,
        trade_date=trade.trade_date,
        settlement_type=trade.settlement_type,
        requested_settlement_date=trade.requested_settlement_date,
        issue_date=instrument.issue_date,
    )


def _undated(problem: DateProblem, instrument: Instrument) -> Problem:
    """The calendar's rules know markets and no instruments: where one is at fault it is named here."""
    if problem.reason is Reason.ISSUE_DATE_MISSING:
        return _missing(problem.reason, **problem.details, isin=instrument.isin)
    return Problem(reason=problem.reason, details=problem.details)


def _chain(
    reference: ReferenceData, owner: str, trade: CapturedTrade, instrument: Instrument, settles_on: date
) -> SettlementChain | None:
    return find_chain(
        reference,
        owner=owner,
        settlement_market=instrument.settlement_market,
        instrument_type=instrument.instrument_type,
        currency=trade.currency,
        on=settles_on,
    )


def _missing(reason: Reason, **details: str) -> Problem:
    return Problem(reason=reason, details=details)


def _missing_chain(
    reason: Reason, owner: str, trade: CapturedTrade, instrument: Instrument, settles_on: date
) -> Problem:
    return _missing(
        reason,
        owner=owner,
        settlement_market=instrument.settlement_market,
        instrument_type=str(instrument.instrument_type),
        currency=trade.currency,
        on=settles_on.isoformat(),
    )


def _unsuitable_price(trade: CapturedTrade, instrument: Instrument) -> Problem:
    return Problem(
        reason=Reason.PRICE_TYPE_UNSUITABLE,
        details={
            "price_type": str(trade.price_type),
            "instrument_type": str(instrument.instrument_type),
            "isin": instrument.isin,
        },
    )


def _accrued_interest(
    trade: CapturedTrade, instrument: Instrument, settles_on: date, reference: ReferenceData
) -> Decimal | Problem:
    if trade.price_type is PriceType.PER_UNIT:  # no debt, or the price type would not suit
        given = trade.accrued_interest_amount
        return _NOTHING if given is None else money.round_amount(given, currency=trade.currency)
    found = accrued_of(reference, trade, instrument.isin, settles_on)
    if isinstance(found, AccrualProblem):
        return Problem(reason=found.reason, details=found.details)
    return found


def _enriched(
    trade: CapturedTrade,
    reference: ReferenceData,
    instrument: Instrument,
    party: Party,
    settles_on: date,
    chain: SettlementChain,
    accrued: Decimal,
) -> EnrichedTrade:
    gross = gross_amount(trade)
    charges = charges_of(reference, trade, instrument, gross_amount=gross, settlement_date=settles_on)
    if trade.commission is not None:
        charges = with_commission(charges, trade, gross_amount=gross)
    total = money.add(*[charge.amount for charge in charges])
    return EnrichedTrade(
        **asdict(trade),
        isin=instrument.isin,
        instrument_type=instrument.instrument_type,
        settlement_market=instrument.settlement_market,
        settlement_date=settles_on,
        gross_amount=gross,
        accrued_interest=accrued,
        charges=charges,
        # Rounded pieces are summed and never rounded again, so that they always add up for whoever checks.
        net_amount=money.add(gross, accrued, -total if trade.side.delivers else total),
        counterparty_lei=party.lei,
        counterparty_chain=chain,
    )


def gross_amount(trade: CapturedTrade) -> Decimal:
    """Quantity times price, for debt as percent of par; exact, then rounded once, half up, to the minor unit."""
    cash = money.multiply(trade.quantity, trade.price)
    if trade.price_type is PriceType.PERCENT_OF_PAR:
        cash = money.multiply(cash, _ONE_PERCENT)
    return money.round_amount(cash, currency=trade.currency)
