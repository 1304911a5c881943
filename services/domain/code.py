"""Closed sets of codes that several events share, each with the standard it comes from."""

from __future__ import annotations

from enum import StrEnum


class Side(StrEnum):
    """FIX 54, from the point of view of the account."""

    BUY = "BUY"
    SELL = "SELL"
    SELL_SHORT = "SELL_SHORT"

    @property
    def delivers(self) -> bool:
        """Whether the account delivers securities (and receives cash)."""
        return self is not Side.BUY

    @property
    def settles_as(self) -> Side:
        """BUY or SELL: a short sale settles like any sale. Use this wherever both sides must name the same thing."""
        return Side.SELL if self.delivers else Side.BUY

    @property
    def opposite(self) -> Side:
        """The side the counterparty sees; a short sale is a purchase to the other side."""
        return Side.BUY if self.delivers else Side.SELL


class ExecutionType(StrEnum):
    """FIX 150 = F, G, H; the FIX 4.2 pair 150=1/2 with 20=0, 2, 1 says the same."""

    TRADE = "TRADE"
    TRADE_CORRECT = "TRADE_CORRECT"
    TRADE_CANCEL = "TRADE_CANCEL"


class SecurityIdSource(StrEnum):
    """FIX 22: which scheme names the instrument."""

    ISIN = "ISIN"
    SEDOL = "SEDOL"
    CUSIP = "CUSIP"


class PriceType(StrEnum):
    """FIX 423: 1 percent of par, 2 per unit."""

    PER_UNIT = "PER_UNIT"
    PERCENT_OF_PAR = "PERCENT_OF_PAR"


class AllocationTransactionType(StrEnum):
    """FIX 71."""

    NEW = "NEW"
    REPLACE = "REPLACE"
    CANCEL = "CANCEL"


class Function(StrEnum):
    """What an event does to the one before it under the same id; SWIFT 23G NEWM and CANC."""

    NEW = "NEW"
    CANCEL = "CANCEL"
    """Takes back what was published under the id; everything else is as it was published."""


class InstrumentType(StrEnum):
    """What the settlement cycle and the charges are keyed by."""

    EQUITY = "EQUITY"
    ETF = "ETF"
    GOVERNMENT_BOND = "GOVERNMENT_BOND"
    CORPORATE_BOND = "CORPORATE_BOND"

    @property
    def is_debt(self) -> bool:
        """Debt is quoted in percent of par and settled as a face amount."""
        return self in (InstrumentType.GOVERNMENT_BOND, InstrumentType.CORPORATE_BOND)


class AllocationPolicy(StrEnum):
    """How a block of this account reaches the accounts that settle."""

    SINGLE = "SINGLE"
    """The account settles by itself."""
    TEMPLATE = "TEMPLATE"
    """By the account's standing allocation template as soon as the block is complete."""
    EXPLICIT = "EXPLICIT"
    """By allocation instructions (FIX J)."""


class ChargeType(StrEnum):
    """FIX 139 MiscFeeType, as far as charges are computed here."""

    REGULATORY = "REGULATORY"
    TAX = "TAX"
    LOCAL_COMMISSION = "LOCAL_COMMISSION"
    EXCHANGE = "EXCHANGE"
    STAMP = "STAMP"
    LEVY = "LEVY"


class Movement(StrEnum):
    """ISO 20022 SctiesMvmntTp: what the instructing side does with the securities."""

    DELIVER = "DELI"
    RECEIVE = "RECE"


class Payment(StrEnum):
    """ISO 20022 Pmt."""

    AGAINST_PAYMENT = "APMT"
    FREE = "FREE"


class ExceptionStatus(StrEnum):
    """An exception is open until what it names was repaired."""

    OPEN = "OPEN"
    CLOSED = "CLOSED"
