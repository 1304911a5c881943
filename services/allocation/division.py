"""Dividing a block: quantities by template, cash by quantity, and the allocated trade that comes of it.

Cash is conserved to the last unit. With Q the block's quantity and R(x) rounding half up to the minor unit, the shares
from cumulative quantity a to b together get R(total * b / Q) - R(total * a / Q). These telescope: whatever the number
of instructions, at b = Q the sum is the total, exactly, and what was given so far follows from the quantity alone.
Among the accounts of one instruction the amount is divided by largest remainder (money.apportion).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from services.allocation.rules import Refusal
from services.allocation.state import Block, Fill, GivenShare, Share, Terms
from services.domain import identity
from services.domain.code import Side
from services.domain.event import AllocatedTrade, Charge, SettlementChain
from services.domain.money import (
    Apportionment,
    add,
    apportion,
    apportionment,
    in_units,
    is_in_units,
    minor_unit_digits,
    multiply,
    round_quotient,
)
from services.domain.reason import Reason
from services.domain.record import Record, date, replace
from services.domain.reference import Account, AllocationTemplate, Instrument, ReferenceData
from services.domain.standing_instruction import find_chain

AVERAGE_PRICE_DIGITS = 10


class Portion(Record, kw_only=True):
    """Who gets how much, before cash is divided."""

    account: str
    quantity: Decimal
    ordinal: int
    """Place in the instruction or template; part of the allocation's id."""
    reference: str | None = None


# --- quantities ------------------------------------------------------------------------------------------------------


def by_template(block: Block, terms: Terms, reference: ReferenceData) -> tuple[Portion, ...] | Refusal:
    """Divide the whole block by the standing template of its account, in whole denominations."""
    template = reference.find(AllocationTemplate, terms.account, on=block.trade_date)
    if template is None or not _is_usable(template):
        return _missing(Reason.ALLOCATION_TEMPLATE_MISSING, account=terms.account, on=block.trade_date)
    instrument = reference.find(Instrument, f"ISIN:{terms.isin}", on=block.trade_date)
    if instrument is None or instrument.denomination <= 0:
        return _missing(Reason.INSTRUMENT_MISSING, isin=terms.isin, on=block.trade_date)
    quantities = divide_quantity(
        block.totals.quantity, [share.weight for share in template.shares], denomination=instrument.denomination
    )
    return tuple(
        Portion(account=share.account, quantity=quantity, ordinal=ordinal)
        for ordinal, (share, quantity) in enumerate(zip(template.shares, quantities, strict=True))
        if quantity > 0
    )


def _is_usable(template: AllocationTemplate) -> bool:
    weights = [share.weight for share in template.shares]
    return any(weight > 0 for weight in weights) and all(weight >= 0 for weight in weights)


class QuantityDivision(NamedTuple):
    """How a quantity was split into whole denominations."""

    quantities: tuple[Decimal, ...]
    lots: Apportionment
    """The whole denominations among the weights, by largest remainder."""
    residue: Decimal
    """What the quantity exceeds whole denominations by."""
    residue_to: int
    """Which share has the residue."""


def divide_quantity(quantity: Decimal, weights: Sequence[Decimal], *, denomination: Decimal) -> tuple[Decimal, ...]:
    """Split a quantity by weights into multiples of the denomination.

    Largest remainder, ties to the earlier weight. What the quantity exceeds whole denominations by goes to the largest
    share, or to the largest weight where shares are equal: no division makes it deliverable, so it stays in one place.
    """
    return quantity_division(quantity, weights, denomination=denomination).quantities


def quantity_division(quantity: Decimal, weights: Sequence[Decimal], *, denomination: Decimal) -> QuantityDivision:
    """The quantities of `divide_quantity`, with what decided them."""
    units = Fraction(quantity) / Fraction(denomination)
    lots = Decimal(units.numerator // units.denominator)
    divided = apportionment(lots, weights, digits=0)
    quantities = [multiply(part, denomination) for part in divided.parts]
    residue = add(quantity, -multiply(lots, denomination))
    largest = max(range(len(quantities)), key=lambda index: (divided.parts[index], weights[index], -index))
    quantities[largest] = add(quantities[largest], residue)
    return QuantityDivision(quantities=tuple(quantities), lots=divided, residue=residue, residue_to=largest)


# --- cash ------------------------------------------------------------------------------------------------------------


def shares_of(
    block: Block, terms: Terms, *, block_id: str, source: str, portions: Sequence[Portion]
) -> tuple[Share, ...]:
    """Give each portion its cash, final however late it is published. `source` is the AllocID, TEMPLATE or SINGLE.

    Their ids are those of the block's version.
    """
    totals = block.totals
    quantities = [portion.quantity for portion in portions]
    gross = _divide_amount(totals.gross_amount, block, quantities, currency=terms.currency)
    accrued = _divide_amount(totals.accrued_interest, block, quantities, currency=terms.currency)
    charges = [_divide_charge(charge, block, quantities) for charge in totals.charges]
    shares = [
        _share(
            portion,
            allocation_id=identity.allocation_id(
                block=block_id,
                instruction=source,
                account=portion.account,
                ordinal=portion.ordinal,
                version=block.version,
            ),
            block_id=block_id,
            side=terms.side,
            gross_amount=gross[index],
            accrued_interest=accrued[index],
            charges=tuple([parts[index] for parts in charges]),
        )
        for index, portion in enumerate(portions)
    ]
    return tuple(shares)


def _divide_charge(charge: Charge, block: Block, quantities: Sequence[Decimal]) -> list[Charge]:
    amounts = _divide_amount(charge.amount, block, quantities, currency=charge.currency)
    return [replace(charge, amount=amount) for amount in amounts]


def _divide_amount(
    total: Decimal, block: Block, quantities: Sequence[Decimal], *, currency: str
) -> tuple[Decimal, ...]:
    return divide_amount(
        total,
        quantities,
        given_quantity=block.allocated_quantity,
        whole_quantity=block.totals.quantity,
        digits=minor_unit_digits(currency),
    )


def divide_amount(
    total: Decimal, quantities: Sequence[Decimal], *, given_quantity: Decimal, whole_quantity: Decimal, digits: int
) -> tuple[Decimal, ...]:
    """Parts of `total` for the next quantities, after `given_quantity` of `whole_quantity` had theirs.

    Every part has the sign of the total or is 0. Raises ValueError when the total is finer than `digits`: it would not
    be conserved.
    """
    if not given_quantity and len(quantities) == 1 and quantities[0] == whole_quantity > 0:
        return (in_units(total, digits=digits),)  # most blocks: one account takes all, and nothing is divided
    through = add(given_quantity, *quantities)
    if not given_quantity and through == whole_quantity:  # nothing to telescope, half of the division
        return apportion(total, quantities, digits=digits)
    if not is_in_units(total, digits=digits):
        raise ValueError(f"total was {total}, finer than {digits} decimals")

    def due(quantity: Decimal) -> Decimal:
        return round_quotient(multiply(total, quantity), whole_quantity, digits=digits)

    amount = add(due(through), -due(given_quantity))
    return apportion(amount, quantities, digits=digits)


def _share(
    portion: Portion,
    *,
    allocation_id: str,
    block_id: str,
    side: Side,
    gross_amount: Decimal,
    accrued_interest: Decimal,
    charges: tuple[Charge, ...],
) -> Share:
    charged = add(*[charge.amount for charge in charges])
    return Share(
        allocation_id=allocation_id,
        block_id=block_id,
        account=portion.account,
        reference=portion.reference,
        quantity=portion.quantity,
        gross_amount=gross_amount,
        accrued_interest=accrued_interest,
        charges=charges,
        net_amount=add(gross_amount, accrued_interest, -charged if side.delivers else charged),
    )


# --- the allocated trade ---------------------------------------------------------------------------------------------


class Composition(Record, kw_only=True):
    """What an allocated trade says about the fills of its block."""

    trade_ids: tuple[str, ...]
    venue: str
    average_price: Decimal
    received_at_us: int


def composition_of(block: Block, live_fills: Sequence[tuple[str, Fill]]) -> Composition:
    """Sum the live fills up. The venue is that of the first execution by time."""
    _, _, _, venue = min(
        [(fill.transaction_time_us, fill.execution_id, trade_id, fill.venue) for trade_id, fill in live_fills]
    )
    return Composition(
        trade_ids=tuple(sorted([trade_id for trade_id, _ in live_fills])),
        venue=venue,
        average_price=round_quotient(block.totals.value, block.totals.quantity, digits=AVERAGE_PRICE_DIGITS),
        received_at_us=max([fill.received_at_us for _, fill in live_fills]),
    )


def find_account_chain(
    share: Share, *, block: Block, terms: Terms, reference: ReferenceData
) -> SettlementChain | Refusal:
    """Where the share's account settles, or what is missing.

    The account must be there on the trade date. The chain is the one of the settlement date, as the counterparty's is:
    both sides of one movement have to be read as of the same day.
    """
    if reference.find(Account, share.account, on=block.trade_date) is None:
        return _missing(Reason.ACCOUNT_MISSING, account=share.account, on=block.trade_date)
    chain = find_chain(
        reference,
        owner=share.account,
        settlement_market=terms.settlement_market,
        instrument_type=terms.instrument_type,
        currency=terms.currency,
        on=terms.settlement_date,
    )
    if chain is not None:
        return chain
    return _missing(
        Reason.ACCOUNT_SSI_MISSING,
        account=share.account,
        settlement_market=terms.settlement_market,
        instrument_type=terms.instrument_type,
        currency=terms.currency,
        on=terms.settlement_date,
    )


def missing_block_account(block: Block, terms: Terms) -> Refusal:
    """The block account has no row on the trade date, so its policy is unknown."""
    return _missing(Reason.ACCOUNT_MISSING, account=terms.account, on=block.trade_date)


def _missing(reason: Reason, *, on: date, **names: str) -> Refusal:
    details = {name: str(value) for name, value in names.items()} | {"on": on.isoformat()}
    found = ", ".join(f"{name} {value}" for name, value in details.items())
    return Refusal(reason=reason, message=f"{reason.meaning} Looked for: {found}.", details=details)


def allocated_trade(
    given: GivenShare, *, block: Block, terms: Terms, composition: Composition, chain: SettlementChain
) -> AllocatedTrade:
    """Write the share as an event."""
    share = given.share
    key = identity.match_key(
        counterparty=terms.counterparty,
        account=share.account,
        isin=terms.isin,
        side=terms.side.settles_as,
        trade_date=block.trade_date,
    )
    return AllocatedTrade(
        allocation_id=share.allocation_id,
        block_id=share.block_id,
        order_id=block.order_id,
        trade_ids=composition.trade_ids,
        allocation_reference=share.reference,
        block_account=terms.account,
        account=share.account,
        side=terms.side,
        isin=terms.isin,
        instrument_type=terms.instrument_type,
        settlement_market=terms.settlement_market,
        venue=composition.venue,
        quantity=share.quantity,
        average_price=composition.average_price,
        price_type=terms.price_type,
        currency=terms.currency,
        gross_amount=share.gross_amount,
        accrued_interest=share.accrued_interest,
        charges=share.charges,
        net_amount=share.net_amount,
        trade_date=block.trade_date,
        settlement_date=terms.settlement_date,
        counterparty=terms.counterparty,
        counterparty_lei=terms.counterparty_lei,
        counterparty_chain=terms.counterparty_chain,
        account_chain=chain,
        match_key=key,
        received_at_us=composition.received_at_us,
        version=given.version,
        original_allocation_id=None if given.version == 1 else _first_id(given),
    )


def _first_id(given: GivenShare) -> str:
    share = given.share
    return identity.allocation_id(
        block=share.block_id, instruction=given.source, account=share.account, ordinal=given.ordinal
    )
