"""Decisions of settlement: what may be instructed, and how."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

from services.domain import identity
from services.domain.code import Movement, Payment
from services.domain.digest import sha256
from services.domain.errors import MessageInvalid
from services.domain.event import ConfirmedTrade, SettlementChain, SettlementInstruction
from services.domain.money import EXACT
from services.domain.reason import Reason
from services.domain.record import Decimal, Record, doc
from services.settlement.state import Instructed

_LEG = "DVP"  # the one leg of a bilateral trade, whether or not cash moves: the id must not depend on the amount

_BIC_WITHOUT_BRANCH = 8
_CACHED_CHAINS_MAX = 4096  # accounts and counterparties settle where they settled before
_normalize = EXACT.normalize
_SEPARATOR = "\x1f"  # cannot occur in an identifier that capture or reference data lets through


class Refusal(Record, frozen=True, kw_only=True):
    """Why a confirmed trade is not instructed."""

    reason: Annotated[Reason, doc("What kind of trouble.")]
    message: Annotated[str, doc("One sentence: what was found, and what was expected.")]
    details: Annotated[dict[str, str], doc("Fields in trouble, each with what was found.")]


def fingerprint(trade: ConfirmedTrade) -> str:
    """Digest the terms that reach the depository; 100.0 and 100.00 are the same term."""
    terms = (
        str(trade.side.delivers),
        trade.account,
        trade.isin,
        trade.instrument_type,
        _canonical(trade.quantity),
        _canonical(trade.settlement_amount),
        trade.currency,
        _canonical(trade.accrued_interest),
        _canonical(trade.average_price),
        trade.price_type,
        trade.venue,
        trade.trade_date.isoformat(),
        trade.settlement_date.isoformat(),
        _chain_terms(trade.account_chain),
        _chain_terms(trade.counterparty_chain),
    )
    return sha256(_SEPARATOR.join(terms).encode()).hex()


@lru_cache(maxsize=_CACHED_CHAINS_MAX)
def _chain_terms(chain: SettlementChain) -> str:
    optional = (chain.participant_account, chain.client_bic)
    # Absent and empty are different terms: an empty one is refused, an absent one is left out of the message.
    terms = (
        chain.depository_bic,
        chain.participant_bic,
        chain.safekeeping_account,
        *("-" if value is None else f"={value}" for value in optional),
    )
    return _SEPARATOR.join(terms)


def _canonical(number: Decimal) -> str:
    return f"{_normalize(number):f}"


def conflict(trade: ConfirmedTrade, instructed: Instructed) -> Refusal | None:
    """Compare with what was instructed for the allocation; None means the trade is the same again."""
    if instructed.fingerprint == fingerprint(trade) or not instructed.instruction_id:
        return None
    return Refusal(
        reason=Reason.CONFIRMED_TRADE_CONFLICTS,
        message=(
            f"Allocation {trade.allocation_id} was instructed as {instructed.instruction_id}, then confirmed again "
            f"with other terms by {trade.confirmation_id}: {trade.quantity:f} {trade.isin} for "
            f"{trade.settlement_amount:f} {trade.currency} on {trade.settlement_date.isoformat()}; "
            "expected the terms that were instructed."
        ),
        details={"instruction_id": instructed.instruction_id, "confirmation_id": trade.confirmation_id},
    )


def refusal(trade: ConfirmedTrade) -> Refusal | None:
    """Say why the trade cannot be instructed at all: economics, dates, place. None if nothing stands against it."""
    if trade.quantity <= 0:
        return _invalid("quantity", f"{trade.quantity:f}", "a positive quantity")
    if trade.settlement_amount < 0:
        return _invalid("settlement_amount", f"{trade.settlement_amount:f}", "an amount that is not negative")
    if trade.settlement_amount == 0 and trade.net_amount != 0:
        return _invalid("settlement_amount", "0", f"our net amount, {trade.net_amount:f} {trade.currency}")
    if trade.settlement_date < trade.trade_date:
        expected = f"a day not before trade date {trade.trade_date.isoformat()}"
        return _invalid("settlement_date", trade.settlement_date.isoformat(), expected)
    return _place_differs(trade)


def _place_differs(trade: ConfirmedTrade) -> Refusal | None:
    ours, theirs = trade.account_chain.depository_bic, trade.counterparty_chain.depository_bic
    if _with_branch(ours) == _with_branch(theirs):
        return None
    return Refusal(
        reason=Reason.PLACE_OF_SETTLEMENT_DIFFERS,
        message=f"Account {trade.account} settles at {ours}, {trade.counterparty} at {theirs}; expected one place.",
        details={"account_chain.depository_bic": ours, "counterparty_chain.depository_bic": theirs},
    )


def _with_branch(bic: str) -> str:
    """Give a BIC its branch: eight characters mean the primary office, XXX (ISO 9362)."""
    return bic + "XXX" if len(bic) == _BIC_WITHOUT_BRANCH else bic


def _invalid(field: str, found: str, expected: str) -> Refusal:
    return Refusal(
        reason=Reason.INSTRUCTION_INVALID,
        message=f"No instruction can be made: {field} was {found}; expected {expected}.",
        details={field: found},
    )


def message_refusal(error: MessageInvalid) -> Refusal:
    """Turn the renderer's complaint into a refusal for the desk."""
    return Refusal(
        reason=Reason.INSTRUCTION_INVALID,
        message=f"The settlement message would not be valid: {error}",
        details={error.element: error.found},
    )


def instruction_for(trade: ConfirmedTrade) -> SettlementInstruction:
    """Make the instruction of a trade that `refusal` has nothing against."""
    return SettlementInstruction(
        instruction_id=identity.instruction_id(
            allocation=trade.allocation_id, version=trade.version, account=trade.account, leg=_LEG
        ),
        allocation_id=trade.allocation_id,
        order_id=trade.order_id,
        trade_ids=trade.trade_ids,
        version=trade.version,
        movement=Movement.DELIVER if trade.side.delivers else Movement.RECEIVE,
        payment=Payment.AGAINST_PAYMENT if trade.settlement_amount else Payment.FREE,
        common_reference=None,  # the two sides agree on none: confirmations carry no reference that both would quote
        isin=trade.isin,
        instrument_type=trade.instrument_type,
        quantity=trade.quantity,
        account=trade.account,
        own_chain=trade.account_chain,
        counterparty_chain=trade.counterparty_chain,
        counterparty=trade.counterparty,
        amount=trade.settlement_amount,
        currency=trade.currency,
        accrued_interest=trade.accrued_interest,
        deal_price=trade.average_price,
        price_type=trade.price_type,
        venue=trade.venue,
        trade_date=trade.trade_date,
        settlement_date=trade.settlement_date,
        received_at_us=trade.received_at_us,
    )
