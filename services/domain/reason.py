"""Every refusal, break and wait: a code, what it means, how bad it is, which desk does what, and what closes it.

Codes are on the wire: never rename or reuse one, add at the end of its section.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Severity(StrEnum):
    """How bad it is when nobody does anything; worst first."""

    meaning: str

    def __new__(cls, code: str, meaning: str) -> Self:
        """Make a member whose value is the code alone."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    CRITICAL = ("CRITICAL", "A deadline has passed, or the wrong thing or nothing would settle: act now.")
    HIGH = ("HIGH", "Something stands still that cannot go on before a person acts: today.")
    MEDIUM = ("MEDIUM", "One message was refused or is waited for, and its sender has time to mend it.")
    LOW = ("LOW", "It goes on all the same, and is worth a look.")


class OwnerGroup(StrEnum):
    """The desk that acts."""

    TRADE_SUPPORT = "TRADE_SUPPORT"
    REFERENCE_DATA = "REFERENCE_DATA"
    ALLOCATIONS = "ALLOCATIONS"
    CONFIRMATIONS = "CONFIRMATIONS"
    SETTLEMENTS = "SETTLEMENTS"
    TAX_AND_CHARGES = "TAX_AND_CHARGES"


class Reason(StrEnum):
    """Why something is an exception. The value is the code on the wire; all else is for people."""

    meaning: str
    desk_action: str
    severity: Severity
    owner_group: OwnerGroup
    clears: str
    """What closes it by itself."""

    def __new__(cls, code: str, meaning: str, desk_action: str, desk: tuple[Severity, OwnerGroup], clears: str) -> Self:
        """Make a member whose value is the code alone."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        member.desk_action = desk_action
        member.severity, member.owner_group = desk
        member.clears = clears
        return member

    # capture: the message can be read, but not booked
    EXECUTION_CONFLICTS = (
        "EXECUTION_CONFLICTS",
        "The same execution id came again with other content.",
        "Ask the sender which report is right; it must send a correction, not the same id again.",
        (Severity.HIGH, OwnerGroup.TRADE_SUPPORT),
        "It closes when a correction or cancellation that names the execution is applied.",
    )
    EXECUTION_REFERENCE_UNKNOWN = (
        "EXECUTION_REFERENCE_UNKNOWN",
        "A correction or cancellation names an execution that has not been reported; it waits for that report.",
        "Ask the sender for the original report; when it comes, the change is applied and this closes by itself.",
        (Severity.HIGH, OwnerGroup.TRADE_SUPPORT),
        "It closes when the report that it names comes.",
    )
    EXECUTION_ALREADY_CANCELLED = (
        "EXECUTION_ALREADY_CANCELLED",
        "A correction or cancellation names an execution that is cancelled.",
        "Ask the sender; a cancelled trade can only be reported anew.",
        (Severity.MEDIUM, OwnerGroup.TRADE_SUPPORT),
        "It closes when a later report under the same id can be applied.",
    )
    ROUTING_KEY_DIFFERS = (
        "ROUTING_KEY_DIFFERS",
        "The record's key is not the order id, so its duplicates might not be seen.",
        "The sender must key its records by OrderID; replay after it is mended.",
        (Severity.HIGH, OwnerGroup.TRADE_SUPPORT),
        "It closes when the same message comes with the right key.",
    )
    QUANTITY_NOT_POSITIVE = (
        "QUANTITY_NOT_POSITIVE",
        "The quantity is zero or negative.",
        "Ask the sender for a correct report.",
        (Severity.MEDIUM, OwnerGroup.TRADE_SUPPORT),
        "It closes when a later message under the same id is accepted.",
    )
    PRICE_NOT_POSITIVE = (
        "PRICE_NOT_POSITIVE",
        "The price is zero or negative.",
        "Ask the sender for a correct report.",
        (Severity.MEDIUM, OwnerGroup.TRADE_SUPPORT),
        "It closes when a later message under the same id is accepted.",
    )
    IDENTIFIER_INVALID = (
        "IDENTIFIER_INVALID",
        "An identifier is empty, too long, holds control characters or fails its check digit.",
        "Ask the sender for a correct report.",
        (Severity.MEDIUM, OwnerGroup.TRADE_SUPPORT),
        "It closes when a later message under the same id is accepted; where the id itself is wrong, it stays.",
    )
    SETTLEMENT_DATE_BEFORE_TRADE_DATE = (
        "SETTLEMENT_DATE_BEFORE_TRADE_DATE",
        "The requested settlement date lies before the trade date.",
        "Ask the sender for a correct report.",
        (Severity.MEDIUM, OwnerGroup.TRADE_SUPPORT),
        "It closes when a later message under the same id is accepted.",
    )
    QUANTITIES_DISAGREE = (
        "QUANTITIES_DISAGREE",
        "Quantities in one message contradict each other, for example accounts that do not add up to the block.",
        "Ask the sender for a correct message.",
        (Severity.MEDIUM, OwnerGroup.TRADE_SUPPORT),
        "It closes when a later message under the same id is accepted, or the allocation is replaced.",
    )
    AMOUNT_NEGATIVE = (
        "AMOUNT_NEGATIVE",
        "The cash amount is negative; direction follows from the side, never from a sign.",
        "Ask the counterparty for a correct confirmation.",
        (Severity.MEDIUM, OwnerGroup.CONFIRMATIONS),
        "It closes when a later confirmation under the same id is accepted.",
    )
    COMMISSION_UNSUITABLE = (
        "COMMISSION_UNSUITABLE",
        "The commission cannot be part of the net money: it has no type, is negative, is in another currency than the "
        "trade, or is per bond and the instrument is none.",
        "Ask the sender for a correct report.",
        (Severity.MEDIUM, OwnerGroup.TAX_AND_CHARGES),
        "It closes when a later report under the same id is accepted, or the trade is corrected.",
    )
    # enrichment: waits go on by themselves once the data arrives
    INSTRUMENT_MISSING = (
        "INSTRUMENT_MISSING",
        "The instrument is not in reference data.",
        "Add the instrument.",
        (Severity.HIGH, OwnerGroup.REFERENCE_DATA),
        "It closes when the instrument is loaded.",
    )
    COUNTERPARTY_MISSING = (
        "COUNTERPARTY_MISSING",
        "The counterparty is not in reference data.",
        "Add the party.",
        (Severity.HIGH, OwnerGroup.REFERENCE_DATA),
        "It closes when the party is loaded.",
    )
    ACCOUNT_MISSING = (
        "ACCOUNT_MISSING",
        "The account is not in reference data.",
        "Add the account.",
        (Severity.HIGH, OwnerGroup.REFERENCE_DATA),
        "It closes when the account is loaded.",
    )
    SETTLEMENT_CYCLE_MISSING = (
        "SETTLEMENT_CYCLE_MISSING",
        "No settlement cycle for market, instrument type and trade date.",
        "Add the settlement cycle.",
        (Severity.HIGH, OwnerGroup.REFERENCE_DATA),
        "It closes when the settlement cycle is loaded.",
    )
    CALENDAR_MISSING = (
        "CALENDAR_MISSING",
        "No calendar for the market or the currency covers the dates.",
        "Add the calendar.",
        (Severity.HIGH, OwnerGroup.REFERENCE_DATA),
        "It closes when the calendar is loaded and covers the dates.",
    )
    COUNTERPARTY_SSI_MISSING = (
        "COUNTERPARTY_SSI_MISSING",
        "No standing settlement instruction of the counterparty for market, type and currency.",
        "Ask the counterparty for its SSI and add it.",
        (Severity.HIGH, OwnerGroup.REFERENCE_DATA),
        "It closes when the counterparty's standing settlement instruction is loaded.",
    )
    ACCOUNT_SSI_MISSING = (
        "ACCOUNT_SSI_MISSING",
        "No standing settlement instruction of the account for market, type and currency.",
        "Ask the client or its custodian for the SSI and add it.",
        (Severity.HIGH, OwnerGroup.REFERENCE_DATA),
        "It closes when the account's standing settlement instruction is loaded.",
    )
    SETTLEMENT_DATE_NOT_BUSINESS_DAY = (
        "SETTLEMENT_DATE_NOT_BUSINESS_DAY",
        "The requested settlement date is no settlement day of market and currency.",
        "Agree another date with the counterparty.",
        (Severity.MEDIUM, OwnerGroup.TRADE_SUPPORT),
        "It closes when the trade is corrected or cancelled.",
    )
    PRICE_TYPE_UNSUITABLE = (
        "PRICE_TYPE_UNSUITABLE",
        "The price type does not fit the instrument: debt is quoted in percent of par, all else per unit.",
        "Ask the sender for a correct report.",
        (Severity.MEDIUM, OwnerGroup.TRADE_SUPPORT),
        "It closes when the trade is corrected or cancelled.",
    )
    SETTLEMENT_TYPE_UNSUITABLE = (
        "SETTLEMENT_TYPE_UNSUITABLE",
        "The settlement type (FIX 63) does not name a date by itself, and no settlement date (64) came with it.",
        "Ask the sender for a report with the agreed settlement date.",
        (Severity.MEDIUM, OwnerGroup.TRADE_SUPPORT),
        "It closes when the trade is corrected or cancelled.",
    )
    ISSUE_DATE_MISSING = (
        "ISSUE_DATE_MISSING",
        "The trade settles when issued (FIX 63 = 7), and the instrument has no issue date.",
        "Add the instrument's issue date, or ask the sender for a report with the agreed settlement date.",
        (Severity.HIGH, OwnerGroup.REFERENCE_DATA),
        "It closes when the instrument is loaded with its issue date.",
    )
    BOND_TERMS_MISSING = (
        "BOND_TERMS_MISSING",
        "The report gives no accrued interest, and there are no usable terms of the bond on the settlement date.",
        "Add the bond's terms; those of a bond without interest have coupon rate 0.",
        (Severity.HIGH, OwnerGroup.REFERENCE_DATA),
        "It closes when the bond's terms on the settlement date are loaded.",
    )
    SETTLEMENT_OUTSIDE_BOND_LIFE = (
        "SETTLEMENT_OUTSIDE_BOND_LIFE",
        "The trade settles before the bond begins to bear interest, or at its maturity or later.",
        "Ask the sender for a report with the right date; if the terms are wrong, mend them and ask for a new report.",
        (Severity.MEDIUM, OwnerGroup.TRADE_SUPPORT),
        "It closes when the trade is corrected or cancelled.",
    )
    ACCRUED_INTEREST_DIFFERS = (
        "ACCRUED_INTEREST_DIFFERS",
        "The accrued interest of the report differs from that of the bond's terms beyond tolerance; the trade goes on "
        "with the reported amount.",
        "Compare with the counterparty; the sender corrects its report, or the bond's terms are mended.",
        (Severity.LOW, OwnerGroup.TAX_AND_CHARGES),
        "It closes when the trade is corrected, or when other bond terms or tolerances agree with the report.",
    )
    # allocation
    FILL_CONTRADICTS_BLOCK = (
        "FILL_CONTRADICTS_BLOCK",
        "A fill differs from its block in instrument, side, currency, counterparty, account or settlement date.",
        "Ask the sender; a fill of other terms belongs to another order.",
        (Severity.HIGH, OwnerGroup.ALLOCATIONS),
        "It closes when the fill is corrected to the block's terms, or cancelled.",
    )
    OVER_ALLOCATION = (
        "OVER_ALLOCATION",
        "The instruction would allocate more than the block has left.",
        "Ask the client for a correct allocation.",
        (Severity.HIGH, OwnerGroup.ALLOCATIONS),
        "It closes when the allocation is replaced or cancelled, or when other changes make room for it.",
    )
    ALLOCATION_CONTRADICTS_BLOCK = (
        "ALLOCATION_CONTRADICTS_BLOCK",
        "The instruction differs from its block in instrument or side.",
        "Ask the client for a correct allocation.",
        (Severity.HIGH, OwnerGroup.ALLOCATIONS),
        "It closes when the allocation is replaced or cancelled.",
    )
    ALLOCATION_CONFLICTS = (
        "ALLOCATION_CONFLICTS",
        "The same allocation id came again with other content.",
        "Ask the client which one is right.",
        (Severity.HIGH, OwnerGroup.ALLOCATIONS),
        "It stays, for the first content stands and the second must be seen.",
    )
    ALLOCATION_CHANGE_UNSUPPORTED = (
        "ALLOCATION_CHANGE_UNSUPPORTED",
        "A replacement or cancellation names an allocation that is replaced or cancelled already, or is not known.",
        "Ask the client which allocation stands; it must name that one. One that comes late is changed by itself.",
        (Severity.MEDIUM, OwnerGroup.ALLOCATIONS),
        "It closes when the allocation that it names comes and can be changed.",
    )
    AMENDED_AFTER_ALLOCATION = (
        "AMENDED_AFTER_ALLOCATION",
        "A fill was changed after an earlier release allocated its block, whose shares are not remembered.",
        "Reverse the allocation with client and counterparty; nothing was changed automatically.",
        (Severity.CRITICAL, OwnerGroup.ALLOCATIONS),
        "It stays, for only a person can reverse what was allocated.",
    )
    FILL_AFTER_ALLOCATION = (
        "FILL_AFTER_ALLOCATION",
        "A fill arrived for a block that an earlier release allocated, whose shares are not remembered.",
        "Ask the sender; book the fill under an order of its own.",
        (Severity.CRITICAL, OwnerGroup.ALLOCATIONS),
        "It closes when the fill is cancelled.",
    )
    ALLOCATION_TEMPLATE_MISSING = (
        "ALLOCATION_TEMPLATE_MISSING",
        "The account is allocated by template, and there is none for the trade date.",
        "Add the allocation template.",
        (Severity.HIGH, OwnerGroup.REFERENCE_DATA),
        "It closes when the allocation template is loaded.",
    )
    ALLOCATION_INCOMPLETE = (
        "ALLOCATION_INCOMPLETE",
        "An allocation comes in fragments, and not all of them have come.",
        "Ask the sender for the missing fragments; when they come, this closes by itself.",
        (Severity.MEDIUM, OwnerGroup.ALLOCATIONS),
        "It closes when the last fragment comes.",
    )
    ALLOCATION_EXECUTION_UNKNOWN = (
        "ALLOCATION_EXECUTION_UNKNOWN",
        "An allocation names an execution that its block does not have, or that was cancelled or corrected.",
        "Ask the client to allocate the executions that stand.",
        (Severity.MEDIUM, OwnerGroup.ALLOCATIONS),
        "It closes when the allocation is replaced or cancelled, or when the fills change so that it fits.",
    )
    ALLOCATION_EXECUTION_DIFFERS = (
        "ALLOCATION_EXECUTION_DIFFERS",
        "An allocation names an execution with another quantity or price than it has.",
        "Compare the named fields with the client; the wrong side corrects.",
        (Severity.MEDIUM, OwnerGroup.ALLOCATIONS),
        "It closes when the allocation is replaced or cancelled, or when the fills change so that it fits.",
    )
    ALLOCATION_DISQUALIFIED = (
        "ALLOCATION_DISQUALIFIED",
        "An allocation that was applied no longer fits its block, whose fills were changed; it was taken back (DISQ).",
        "Ask the client to replace its allocation; the replacement closes this.",
        (Severity.HIGH, OwnerGroup.ALLOCATIONS),
        "It closes when the allocation is replaced or cancelled, or when the fills change so that it fits.",
    )
    BLOCK_UNALLOCATED = (
        "BLOCK_UNALLOCATED",
        "The block is unfinished or not fully allocated although its time is up.",
        "Ask the sender for missing fills, or the client for its allocation.",
        (Severity.MEDIUM, OwnerGroup.ALLOCATIONS),
        "It closes when the block is fully allocated, or all its fills are cancelled.",
    )
    ALLOCATION_DUE = (
        "ALLOCATION_DUE",
        "The block is not fully allocated, and the deadline for its allocation is near.",
        "Ask the client for its allocation at once.",
        (Severity.HIGH, OwnerGroup.ALLOCATIONS),
        "It closes when the block is fully allocated, or gives way to ALLOCATION_LATE at the deadline.",
    )
    ALLOCATION_LATE = (
        "ALLOCATION_LATE",
        "The block was not fully allocated when the deadline for its allocation passed.",
        "Ask the client for its allocation, and tell the counterparty that it will come late.",
        (Severity.CRITICAL, OwnerGroup.ALLOCATIONS),
        "It closes when the block is fully allocated, or all its fills are cancelled.",
    )
    # confirmation
    CONFIRMATION_MISMATCHED = (
        "CONFIRMATION_MISMATCHED",
        "The counterparty's confirmation differs from the allocated trade beyond tolerance.",
        "Compare the named fields with the counterparty; the wrong side sends a correction.",
        (Severity.HIGH, OwnerGroup.CONFIRMATIONS),
        "It closes when the allocation is matched, or when either side is cancelled.",
    )
    CONFIRMATION_CONFLICTS = (
        "CONFIRMATION_CONFLICTS",
        "The same confirmation id came again with other content.",
        "Ask the counterparty which one is right.",
        (Severity.HIGH, OwnerGroup.CONFIRMATIONS),
        "It stays, for the first content stands and the second must be seen.",
    )
    UNCONFIRMED = (
        "UNCONFIRMED",
        "No confirmation came from the counterparty although its time is up.",
        "Chase the counterparty.",
        (Severity.MEDIUM, OwnerGroup.CONFIRMATIONS),
        "It closes when the allocation is matched or taken back.",
    )
    UNMATCHED_CONFIRMATION = (
        "UNMATCHED_CONFIRMATION",
        "The counterparty confirms a trade that is not known here.",
        "Check for a missing trade; otherwise tell the counterparty that it is not known.",
        (Severity.MEDIUM, OwnerGroup.CONFIRMATIONS),
        "It closes when the confirmation is matched, cancelled or replaced.",
    )
    CONFIRMATION_REFERENCE_UNKNOWN = (
        "CONFIRMATION_REFERENCE_UNKNOWN",
        "A replacement, a cancellation or a refusal names a confirmation that is not known with these terms.",
        "Ask the counterparty which one it means; account, side, instrument and trade date must be those of that one.",
        (Severity.MEDIUM, OwnerGroup.CONFIRMATIONS),
        "It closes when the confirmation that is named comes; one that refuses a cancellation nobody asked for stays.",
    )
    CONFIRMATION_CANCEL_REQUESTED = (
        "CONFIRMATION_CANCEL_REQUESTED",
        "The counterparty asks to cancel a match that is agreed; the match holds until our side answers.",
        "Take the allocation back to agree, or refuse.",
        (Severity.HIGH, OwnerGroup.CONFIRMATIONS),
        "It closes when our side answers.",
    )
    CONFIRMATION_CANCEL_REFUSED = (
        "CONFIRMATION_CANCEL_REFUSED",
        "The counterparty does not agree that our side took a match back, whose instruction is cancelled on our side.",
        "Agree with the counterparty: it cancels its confirmation, or confirms what stands now; this closes then.",
        (Severity.CRITICAL, OwnerGroup.CONFIRMATIONS),
        "It closes when the counterparty cancels its confirmation, or confirms another allocation with it.",
    )
    AFFIRMATION_DUE = (
        "AFFIRMATION_DUE",
        "The allocated trade is not matched, and the deadline for its affirmation is near.",
        "Chase the counterparty at once.",
        (Severity.HIGH, OwnerGroup.CONFIRMATIONS),
        "It closes when the allocation is matched or taken back, or gives way to AFFIRMATION_LATE at the deadline.",
    )
    AFFIRMATION_LATE = (
        "AFFIRMATION_LATE",
        "The allocated trade was not matched when the deadline for its affirmation passed.",
        "Chase the counterparty and tell the custodian that the instruction will come late.",
        (Severity.CRITICAL, OwnerGroup.CONFIRMATIONS),
        "It closes when the allocation is matched or taken back.",
    )
    # settlement
    INSTRUCTION_INVALID = (
        "INSTRUCTION_INVALID",
        "The settlement message would not be valid, so it was not sent.",
        "Repair the named field in reference data.",
        (Severity.CRITICAL, OwnerGroup.SETTLEMENTS),
        "It closes when the trade comes again and can be instructed, or is taken back.",
    )
    PLACE_OF_SETTLEMENT_DIFFERS = (
        "PLACE_OF_SETTLEMENT_DIFFERS",
        "The two sides settle at different depositories without a link.",
        "Agree the place of settlement with the counterparty.",
        (Severity.CRITICAL, OwnerGroup.SETTLEMENTS),
        "It closes when the trade comes again and can be instructed, or is taken back.",
    )
    CONFIRMED_TRADE_CONFLICTS = (
        "CONFIRMED_TRADE_CONFLICTS",
        "An allocation that is already instructed was confirmed again with other terms.",
        "Nothing was instructed a second time; agree with the counterparty which terms hold, then repair by hand.",
        (Severity.CRITICAL, OwnerGroup.SETTLEMENTS),
        "It closes when the trade is taken back, and its instruction is cancelled.",
    )
    INSTRUCTION_CANCELLED_LATE = (
        "INSTRUCTION_CANCELLED_LATE",
        "An instruction was cancelled on or after its settlement date, when it may have settled already.",
        "Ask the depository what became of it; if it settled, agree and book the reversing trade.",
        (Severity.CRITICAL, OwnerGroup.SETTLEMENTS),
        "It stays, for only the depository can tell whether it settled.",
    )
