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


class CommissionType(StrEnum):
    """FIX 13 CommType: what the Commission (12) of an execution is multiplied with."""

    PER_UNIT = "PER_UNIT"
    """1: cash for each unit of quantity; for debt for each unit of face amount."""
    PERCENT = "PERCENT"
    """2: a share of the gross amount, accrued interest left out. FIX writes 5 percent as 0.05."""
    ABSOLUTE = "ABSOLUTE"
    """3: cash for this fill as a whole."""
    PER_BOND = "PER_BOND"
    """6: cash for each bond, of 1,000 face amount unless ContractMultiplier (231) says otherwise."""


class DayCount(StrEnum):
    """How much of a year lies between two days, for interest."""

    ACT_ACT_ICMA = "ACT_ACT_ICMA"
    """ICMA rule 251: days over days in the coupon period, quasi periods where a coupon is short or long."""
    THIRTY_360_US = "THIRTY_360_US"
    """Months of 30 days (SIA, MSRB G-33); the end of February counts as a 30th for bonds that pay at month end."""
    THIRTY_E_360 = "THIRTY_E_360"
    """Eurobond basis (ISDA 2006 4.16(g)): months of 30 days, every 31st counts as a 30th."""
    ACT_360 = "ACT_360"
    """Days over 360: money market."""
    ACT_365_FIXED = "ACT_365_FIXED"
    """Days over 365, in leap years too."""


OFF_VENUE_MICS = frozenset({"XOFF", "XXXX", "SINT"})
"""Market identifier codes that stand for no market: off-exchange, no market, systematic internaliser (ISO 10383)."""


class VenueKind(StrEnum):
    """Whether an execution was done on a trading venue; some taxes depend on it."""

    ON_VENUE = "ON_VENUE"
    """A regulated market or a multilateral trading facility."""
    OFF_VENUE = "OFF_VENUE"
    """Over the counter."""

    @classmethod
    def of(cls, venue: str) -> VenueKind:
        """What a market identifier code says."""
        return cls.OFF_VENUE if venue in OFF_VENUE_MICS else cls.ON_VENUE


class ChargeType(StrEnum):
    """FIX 139 MiscFeeType, as far as charges are computed here; COMMISSION is FIX 12, which has no fee type."""

    REGULATORY = "REGULATORY"
    TAX = "TAX"
    LOCAL_COMMISSION = "LOCAL_COMMISSION"
    EXCHANGE = "EXCHANGE"
    STAMP = "STAMP"
    LEVY = "LEVY"
    COMMISSION = "COMMISSION"


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


class ConfirmationTransactionType(StrEnum):
    """FIX 666 ConfirmTransType: 0 new, 1 replace, 2 cancel."""

    NEW = "NEW"
    REPLACE = "REPLACE"
    CANCEL = "CANCEL"


class ConfirmationStatus(StrEnum):
    """FIX 665 ConfirmStatus, as far as something follows from it: 4 confirmed, 5 request rejected."""

    CONFIRMED = "CONFIRMED"
    REQUEST_REJECTED = "REQUEST_REJECTED"


class AffirmationStep(StrEnum):
    """What has to be done until a deadline on trade date."""

    ALLOCATE = "ALLOCATE"
    """The block is divided among accounts."""
    AFFIRM = "AFFIRM"
    """Both sides agree on the allocated trade."""


class MatchingField(StrEnum):
    """What the two sides of a trade are compared by once they are paired."""

    QUANTITY = "QUANTITY"
    PRICE = "PRICE"
    CURRENCY = "CURRENCY"
    SETTLEMENT_DATE = "SETTLEMENT_DATE"
    GROSS_AMOUNT = "GROSS_AMOUNT"
    ACCRUED_INTEREST = "ACCRUED_INTEREST"
    COMMISSION = "COMMISSION"
    CHARGES = "CHARGES"
    NET_AMOUNT = "NET_AMOUNT"


class ToleranceCode(StrEnum):
    """How far the two values of a field may be apart; the codes of the matching utilities (CTM)."""

    EXCT = "EXCT"
    """Equal."""
    PTOL = "PTOL"
    """Up to so many percent of our value below or above it."""
    PTMX = "PTMX"
    """As PTOL, but never more than a maximum amount."""
    MNMX = "MNMX"
    """Up to so much below our value, and up to so much above it."""
    CPOP = "CPOP"
    """The counterparty populates the field: our side takes its value."""
    NUFM = "NUFM"
    """Not used for matching."""


class MatchStatus(StrEnum):
    """Where the two sides of a trade stand; the codes of the matching utilities (CTM)."""

    NMAT = "NMAT"
    """Unmatched: nothing of the other side belongs to it."""
    PEND = "PEND"
    """A confirmation waits: for the allocation it quotes, or for the answer whether what it replaces is cancelled."""
    MISM = "MISM"
    """Paired, and a field differs beyond tolerance."""
    DISQ = "DISQ"
    """A confirmation that contradicts what is agreed: the allocation it quotes or replaces is matched with another."""
    MACH = "MACH"
    """Matched: paired, and every field agrees within tolerance."""
    MAGR = "MAGR"
    """Match agreed: all parts of it are matched and complete, and it goes to settlement."""
    CAND = "CAND"
    """Cancelled before the match was agreed, by its own side alone."""
    CREQ = "CREQ"
    """One side asks to cancel an agreed match; it holds until the other side answers."""
    CANA = "CANA"
    """Cancelled by both sides after the match was agreed."""
    CREJ = "CREJ"
    """The other side refused to cancel: the match holds."""
