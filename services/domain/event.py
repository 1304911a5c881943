"""Every event of the pipeline, in the order a trade meets them.

Field names, types and sentences here are the source of the Avro schemas (`make schemas` writes them, a test compares).
Events are flat and grow from step to step: what an earlier service decided is carried, never looked up again.
"""

from __future__ import annotations

from typing import Annotated

from services.domain.code import (
    AllocationTransactionType,
    ChargeType,
    CommissionType,
    ConfirmationStatus,
    ConfirmationTransactionType,
    ExceptionStatus,
    ExecutionType,
    Function,
    InstrumentType,
    MatchStatus,
    Movement,
    Payment,
    PriceType,
    SecurityIdSource,
    Side,
)
from services.domain.record import Amount, Price, Quantity, Record, TimestampUs, date, doc

# --- what the front office and the counterparties send ---------------------------------------------------------------


class Execution(Record, kw_only=True):
    """One fill, correction or cancellation reported by a trading system (FIX 4.4 ExecutionReport, 35=8)."""

    sender: Annotated[str, doc("System that reports the execution; FIX SenderCompID (49).")]
    execution_id: Annotated[str, doc("Identifier of this report, unique per sender and trade date; FIX ExecID (17).")]
    execution_type: Annotated[ExecutionType, doc("New fill, correction or cancellation; FIX ExecType (150) F, G, H.")]
    execution_reference_id: Annotated[
        str | None, doc("ExecID of the report that is corrected or cancelled; FIX ExecRefID (19).")
    ] = None
    order_id: Annotated[str, doc("Order the fill belongs to, and the key of the topic; FIX OrderID (37).")]
    account: Annotated[str, doc("Account the order was placed for; FIX Account (1).")]
    side: Annotated[Side, doc("Buy or sell, seen from the account; FIX Side (54).")]
    security_id: Annotated[str, doc("Identifier of the instrument; FIX SecurityID (48).")]
    security_id_source: Annotated[SecurityIdSource, doc("Scheme of security_id; FIX SecurityIDSource (22).")]
    quantity: Annotated[Quantity, doc("Units or face amount of this fill; FIX LastQty (32).")]
    price: Annotated[Price, doc("Price of this fill in the sense of price_type; FIX LastPx (31).")]
    price_type: Annotated[PriceType, doc("Per unit or percent of par; FIX PriceType (423).")] = PriceType.PER_UNIT
    currency: Annotated[str, doc("ISO 4217 code of the price and of settlement; FIX Currency (15).")]
    venue: Annotated[str, doc("ISO 10383 market identifier code of the venue; FIX LastMkt (30).")]
    trade_date: Annotated[date, doc("Trade date at the venue; FIX TradeDate (75).")]
    transaction_time_us: Annotated[TimestampUs, doc("Time of the execution, UTC; FIX TransactTime (60).")]
    settlement_type: Annotated[str | None, doc("FIX SettlType (63), when the trade asks for a special cycle.")] = None
    requested_settlement_date: Annotated[
        date | None,
        doc("Agreed settlement date; FIX SettlDate (64). Wins over settlement_type and the market's cycle."),
    ] = None
    counterparty: Annotated[str, doc("BIC of the counterparty; FIX Parties (453) with PartyRole (452) 17.")]
    cumulative_quantity: Annotated[Quantity, doc("Filled quantity of the order so far; FIX CumQty (14).")]
    leaves_quantity: Annotated[Quantity, doc("Quantity still open; 0 means the order is done; FIX LeavesQty (151).")]
    accrued_interest_amount: Annotated[
        Amount | None, doc("Accrued interest of this fill for bonds; FIX AccruedInterestAmt (159).")
    ] = None
    possible_duplicate: Annotated[bool, doc("Sender's hint that it may have sent this before; FIX 43 or 97 = Y.")] = (
        False
    )
    commission: Annotated[
        Price | None, doc("Commission of this fill in the sense of commission_type; FIX Commission (12).")
    ] = None
    commission_type: Annotated[CommissionType | None, doc("What commission is; FIX CommType (13).")] = None
    commission_currency: Annotated[
        str | None, doc("ISO 4217, when it is not the currency of the trade; FIX CommCurrency (479).")
    ] = None
    contract_multiplier: Annotated[
        Quantity | None, doc("Face amount of one bond for a commission per bond; FIX ContractMultiplier (231).")
    ] = None


class AccountAllocation(Record, kw_only=True):
    """One account's share in an allocation instruction (FIX NoAllocs group, 78)."""

    account: Annotated[str, doc("Account that settles the share; FIX AllocAccount (79).")]
    quantity: Annotated[Quantity, doc("Units or face amount for this account; FIX AllocQty (80).")]
    individual_allocation_id: Annotated[str | None, doc("Sender's id of the share; FIX IndividualAllocID (467).")] = (
        None
    )


class AllocatedExecution(Record, kw_only=True):
    """One fill that an allocation instruction says it divides (FIX NoExecs group, 124)."""

    execution_id: Annotated[str, doc("Report of the fill as it stands; FIX ExecID (17).")]
    quantity: Annotated[Quantity, doc("Quantity of the fill; FIX LastQty (32).")]
    price: Annotated[Price | None, doc("Price of the fill, when the sender gives it; FIX LastPx (31).")] = None


class AllocationInstruction(Record, kw_only=True):
    """How a block is divided among accounts (FIX 4.4 AllocationInstruction, 35=J)."""

    sender: Annotated[str, doc("System that sends the instruction; FIX SenderCompID (49).")]
    instruction_id: Annotated[str, doc("Sender's id of the instruction; FIX AllocID (70).")]
    transaction_type: Annotated[AllocationTransactionType, doc("New, replace or cancel; FIX AllocTransType (71).")]
    reference_id: Annotated[str | None, doc("AllocID that is replaced or cancelled; FIX RefAllocID (72).")] = None
    order_id: Annotated[str, doc("Order whose block is divided, and the key of the topic; FIX OrderID (37) in 73.")]
    side: Annotated[Side, doc("Side of the block; FIX Side (54).")]
    security_id: Annotated[str, doc("Instrument of the block; FIX SecurityID (48).")]
    security_id_source: Annotated[SecurityIdSource, doc("Scheme of security_id; FIX SecurityIDSource (22).")]
    quantity: Annotated[Quantity, doc("Total to divide; must be the sum of the accounts; FIX Quantity (53).")]
    average_price: Annotated[Price | None, doc("Sender's average price, for comparison; FIX AvgPx (6).")] = None
    trade_date: Annotated[date, doc("Trade date of the block; FIX TradeDate (75).")]
    allocations: Annotated[tuple[AccountAllocation, ...], doc("The accounts and their shares; FIX NoAllocs (78).")]
    total_allocations: Annotated[
        int | None, doc("Accounts of all fragments, when the instruction comes in several; FIX TotNoAllocs (892).")
    ] = None
    last_fragment: Annotated[
        bool | None, doc("False when more fragments of the instruction are to come; FIX LastFragment (893).")
    ] = None
    executions: Annotated[
        tuple[AllocatedExecution, ...], doc("The fills that are divided, when they are named; FIX NoExecs (124).")
    ] = ()


class CounterpartyConfirmation(Record, kw_only=True):
    """The counterparty's statement of one allocated trade (FIX 4.4 Confirmation, 35=AK), from its point of view."""

    sender: Annotated[str, doc("BIC of the counterparty that confirms.")]
    confirmation_id: Annotated[str, doc("Counterparty's id, unique per sender; FIX ConfirmID (664). Key of the topic.")]
    allocation_reference: Annotated[
        str | None, doc("Our allocation id or IndividualAllocID, when the counterparty quotes it; FIX 467.")
    ] = None
    account: Annotated[str, doc("Our account as the counterparty names it; FIX AllocAccount (79).")]
    side: Annotated[Side, doc("Side as the counterparty sees it: our purchase is its sale.")]
    isin: Annotated[str, doc("ISO 6166 identifier of the instrument.")]
    quantity: Annotated[Quantity, doc("Units or face amount; FIX AllocQty (80).")]
    price: Annotated[Price, doc("Average price; FIX AvgPx (6).")]
    currency: Annotated[str, doc("ISO 4217 settlement currency.")]
    net_amount: Annotated[Amount, doc("Cash to settle, charges included; FIX NetMoney (118).")]
    trade_date: Annotated[date, doc("Trade date; FIX TradeDate (75).")]
    settlement_date: Annotated[date, doc("Settlement date; FIX SettlDate (64).")]
    gross_amount: Annotated[Amount | None, doc("Quantity times price in cash; FIX GrossTradeAmt (381).")] = None
    commission: Annotated[
        Amount | None, doc("Commission in cash; FIX Commission (12) with CommType (13) 3, absolute.")
    ] = None
    charges: Annotated[
        Amount | None, doc("Sum of fees, taxes and levies without commission; FIX MiscFeeAmt (137) of all in 136.")
    ] = None
    accrued_interest: Annotated[Amount | None, doc("Accrued interest; FIX AccruedInterestAmt (159).")] = None
    transaction_type: Annotated[
        ConfirmationTransactionType | None, doc("New, replace or cancel; FIX ConfirmTransType (666). Empty: new.")
    ] = None
    reference_id: Annotated[
        str | None,
        doc("Which confirmation is replaced, cancelled or refused to be cancelled; FIX ConfirmRefID (772)."),
    ] = None
    confirmation_status: Annotated[
        ConfirmationStatus | None,
        doc("FIX ConfirmStatus (665). Request rejected: our cancel of what reference_id names is refused."),
    ] = None


class IgnoredMessage(Record, kw_only=True):
    """A well-formed message that reports nothing to book: an order status, an acknowledgement, another message type.

    It is never on the wire; an adapter makes it so that capture can count what was left out, and why.
    """

    cause: Annotated[str, doc("Why there is nothing to book, in a few words and without any content of the message.")]


# --- what the services say -------------------------------------------------------------------------------------------


class CapturedTrade(Execution, kw_only=True):
    """An execution that was read, recognised as new and found plausible; a correction is its trade's next version."""

    trade_id: Annotated[str, doc("Derived from sender, trade date, ExecID and side of the first report.")]
    version: Annotated[int, doc("1 for the first report, one more for each correction or cancellation.")]
    received_at_us: Annotated[TimestampUs, doc("When the report entered the log: timestamp of the input record.")]


class Charge(Record, kw_only=True):
    """One fee, tax or levy on a trade, or its commission."""

    charge_id: Annotated[
        str, doc("Which charge of the reference data this is, for example US_SEC_SECTION_31; or COMMISSION.")
    ]
    charge_type: Annotated[ChargeType, doc("FIX MiscFeeType (139), or COMMISSION.")]
    amount: Annotated[Amount, doc("Cash, never negative; the buyer pays it on top, the seller receives less.")]
    currency: Annotated[str, doc("ISO 4217.")]


class SettlementChain(Record, kw_only=True):
    """Where one side settles: its depository, its participant there, and who stands behind the participant."""

    depository_bic: Annotated[str, doc("Place of settlement (PSET): BIC of the central securities depository.")]
    participant_bic: Annotated[str, doc("Pty1: BIC of the depository's participant, usually the custodian.")]
    participant_account: Annotated[str | None, doc("Participant's securities account at the depository.")] = None
    client_bic: Annotated[str | None, doc("Pty2: BIC of the participant's client, when there is one.")] = None
    safekeeping_account: Annotated[str, doc("Securities account at the participant that delivers or receives.")]


class EnrichedTrade(CapturedTrade, kw_only=True):
    """A captured trade with everything that reference data adds to it."""

    isin: Annotated[str, doc("ISO 6166 identifier, resolved from security_id.")]
    instrument_type: Annotated[InstrumentType, doc("What settlement cycle and charges depend on.")]
    settlement_market: Annotated[str, doc("Market whose cycle, calendar and SSIs apply, for example US, GB, DE.")]
    settlement_date: Annotated[date, doc("Contractual settlement date.")]
    gross_amount: Annotated[Amount, doc("Quantity times price, rounded once to the minor unit of currency.")]
    accrued_interest: Annotated[
        Amount,
        doc("Accrued interest of the fill, as given or computed; negative without the next coupon, 0 for equities."),
    ]
    charges: Annotated[
        tuple[Charge, ...], doc("Fees, taxes, levies and commission of the fill, in the order of charge_id.")
    ]
    net_amount: Annotated[
        Amount,
        doc("Cash of the fill: gross and accrued interest, plus charges for a buyer, minus charges for a seller."),
    ]
    counterparty_lei: Annotated[str, doc("ISO 17442 identifier of the counterparty.")]
    counterparty_chain: Annotated[SettlementChain, doc("Where the counterparty settles this kind of trade.")]


class AllocatedTrade(Record, kw_only=True):
    """One account's share of a block, with its own cash and its own settlement chain; the unit that is settled."""

    allocation_id: Annotated[str, doc("Derived from block, instruction, account and version.")]
    block_id: Annotated[str, doc("The block this is a share of: one order on one trade date.")]
    order_id: Annotated[str, doc("Order of the block.")]
    trade_ids: Annotated[tuple[str, ...], doc("The fills in the block, in the order of their ids.")]
    allocation_reference: Annotated[str | None, doc("Sender's IndividualAllocID or AllocID, when it gave one.")] = None
    block_account: Annotated[str, doc("Account the order was placed for.")]
    account: Annotated[str, doc("Account that settles.")]
    side: Annotated[Side, doc("Side seen from the account.")]
    isin: Annotated[str, doc("ISO 6166.")]
    instrument_type: Annotated[InstrumentType, doc("Type of the instrument.")]
    settlement_market: Annotated[str, doc("Market whose cycle, calendar and SSIs apply.")]
    venue: Annotated[str, doc("ISO 10383 code of the venue of the first fill.")]
    quantity: Annotated[Quantity, doc("Units or face amount for this account.")]
    average_price: Annotated[
        Price, doc("Volume-weighted over all fills, rounded half up to ten decimals; for display only.")
    ]
    price_type: Annotated[PriceType, doc("Per unit or percent of par.")]
    currency: Annotated[str, doc("ISO 4217.")]
    gross_amount: Annotated[Amount, doc("This account's part of the block's gross amount.")]
    accrued_interest: Annotated[Amount, doc("This account's part of the block's accrued interest.")]
    charges: Annotated[tuple[Charge, ...], doc("This account's part of each of the block's charges.")]
    net_amount: Annotated[Amount, doc("Cash to settle for this account.")]
    trade_date: Annotated[date, doc("Trade date.")]
    settlement_date: Annotated[date, doc("Contractual settlement date.")]
    counterparty: Annotated[str, doc("BIC of the counterparty.")]
    counterparty_lei: Annotated[str, doc("LEI of the counterparty.")]
    counterparty_chain: Annotated[SettlementChain, doc("Where the counterparty settles.")]
    account_chain: Annotated[SettlementChain, doc("Where the account settles.")]
    match_key: Annotated[str, doc("What both sides know before details are compared; key of the topic.")]
    received_at_us: Annotated[TimestampUs, doc("When the last fill of the block entered the log.")]
    version: Annotated[
        int, doc("1 for the first division of the block; a later one takes the place of one taken back.")
    ] = 1
    function: Annotated[
        Function, doc("CANCEL takes the allocation back: it does not settle, and nothing else about it has changed.")
    ] = Function.NEW
    original_allocation_id: Annotated[
        str | None, doc("Id of the first version, which counterparties may quote; empty for the first.")
    ] = None


class ReceivedConfirmation(CounterpartyConfirmation, kw_only=True):
    """A counterparty's confirmation that was read and found plausible, keyed so that it meets its allocation."""

    match_key: Annotated[str, doc("Same derivation as AllocatedTrade.match_key; key of the topic.")]
    received_at_us: Annotated[TimestampUs, doc("When the confirmation entered the log.")]


class ConfirmedTrade(AllocatedTrade, kw_only=True):
    """An allocated trade whose details the counterparty confirmed within the tolerances of the matching profile.

    With function CANCEL it takes back what was confirmed: the allocated trade was taken back.
    """

    confirmation_id: Annotated[str, doc("Counterparty's ConfirmID.")]
    matching_profile: Annotated[str, doc("Profile whose tolerances were applied.")]
    settlement_amount: Annotated[
        Amount, doc("Cash both sides instruct; the seller's amount where they differ in tolerance.")
    ]


class MatchStatusChange(Record, kw_only=True):
    """One step in the history of a match."""

    status: Annotated[MatchStatus, doc("Where it stood from then on.")]
    changed_at_us: Annotated[TimestampUs, doc("Processing time of the batch that changed it.")]


class MatchStatusReport(Record, kw_only=True):
    """Where one side of a trade stands in matching, and how it came there; the latest row under its key holds.

    An allocation without a row is unmatched while it is on trades.allocated alone, and agreed (MAGR) once it is on
    trades.confirmed: only what went another way is told here.
    """

    subject_id: Annotated[
        str, doc("Our allocation id; or sender/confirmation id of a confirmation that has no allocation. Key.")
    ]
    status: Annotated[MatchStatus, doc("Where it stands now.")]
    allocation_id: Annotated[str | None, doc("Our allocation, when there is one.")] = None
    counterparty: Annotated[str, doc("BIC of the counterparty.")]
    confirmation_id: Annotated[str | None, doc("The confirmation it is paired or matched with, when there is one.")] = (
        None
    )
    match_key: Annotated[str, doc("What both sides know.")]
    message: Annotated[str, doc("One sentence: what brought it there.")]
    history: Annotated[tuple[MatchStatusChange, ...], doc("All steps that are known, the latest at the end.")]


class SettlementInstruction(Record, kw_only=True):
    """One delivery or receipt of securities against payment, as sent to the depository (ISO 20022 sese.023.001.11).

    With function CANCEL it asks the depository to cancel the instruction of that id (sese.020.001.07).
    """

    instruction_id: Annotated[str, doc("TxId: derived from allocation, version, account and leg; key of the topic.")]
    allocation_id: Annotated[str, doc("The allocated trade that is settled.")]
    order_id: Annotated[str, doc("Order of the block, for tracing.")]
    trade_ids: Annotated[tuple[str, ...], doc("Fills in the block, for tracing.")]
    version: Annotated[int, doc("Version of the allocated trade; each has an instruction of its own.")]
    movement: Annotated[Movement, doc("SctiesMvmntTp: DELI or RECE.")]
    payment: Annotated[Payment, doc("Pmt: APMT or FREE.")]
    common_reference: Annotated[str | None, doc("CmonId: reference both sides quote, when they agreed on one.")] = None
    isin: Annotated[str, doc("ISO 6166.")]
    instrument_type: Annotated[InstrumentType, doc("Decides between units and face amount.")]
    quantity: Annotated[Quantity, doc("SttlmQty: units, or face amount for debt.")]
    account: Annotated[str, doc("Account that settles.")]
    own_chain: Annotated[SettlementChain, doc("Our side: where the account settles.")]
    counterparty_chain: Annotated[SettlementChain, doc("The other side: DlvrgSttlmPties or RcvgSttlmPties.")]
    counterparty: Annotated[str, doc("BIC of the counterparty.")]
    amount: Annotated[Amount, doc("SttlmAmt: cash, never negative.")]
    currency: Annotated[str, doc("ISO 4217.")]
    accrued_interest: Annotated[Amount, doc("Part of amount that is accrued interest; 0 for equities.")]
    deal_price: Annotated[Price, doc("DealPric: average price of the block.")]
    price_type: Annotated[PriceType, doc("Per unit or percent of par.")]
    venue: Annotated[str, doc("PlcOfTrad: ISO 10383 code.")]
    trade_date: Annotated[date, doc("TradDt.")]
    settlement_date: Annotated[date, doc("SttlmDt: intended settlement date.")]
    received_at_us: Annotated[TimestampUs, doc("When the last fill of the block entered the log.")]
    function: Annotated[Function, doc("NEW instructs; CANCEL asks to cancel what was instructed under the id.")] = (
        Function.NEW
    )


class SettlementMessage(Record, kw_only=True):
    """The text of one ISO 20022 message and the identifier it is keyed by; its topic holds the bare XML."""

    instruction_id: Annotated[str, doc("Instruction the message carries.")]
    text: Annotated[str, doc("The XML document.")]


class ExceptionEvent(Record, kw_only=True):
    """A business refusal, a break or a wait that a person can see and repair; its closing when that happened."""

    exception_id: Annotated[str, doc("Derived from service, subject and reason; key of the topic.")]
    status: Annotated[ExceptionStatus, doc("Open, or closed because the cause is gone.")]
    service: Annotated[str, doc("Service that raised it.")]
    reason: Annotated[str, doc("Code of services.domain.reason.Reason.")]
    subject_id: Annotated[str, doc("What it is about: trade, block, allocation, confirmation or sender's id.")]
    order_id: Annotated[str | None, doc("Order concerned, when known.")] = None
    message: Annotated[str, doc("One sentence for the desk: what was found, and what was expected.")]
    details: Annotated[dict[str, str], doc("Fields that differ or are missing, each with what was found.")]
    raised_at_us: Annotated[TimestampUs, doc("Processing time of the batch that raised or closed it.")]
    severity: Annotated[str | None, doc("Code of services.domain.reason.Severity.")] = None
    owner_group: Annotated[str | None, doc("Desk that acts: code of services.domain.reason.OwnerGroup.")] = None
    value_at_risk: Annotated[
        Amount | None,
        doc("Cash that is held up or in doubt; empty when unknown, and when closed."),
    ] = None
    value_currency: Annotated[str | None, doc("ISO 4217 code of value_at_risk.")] = None
