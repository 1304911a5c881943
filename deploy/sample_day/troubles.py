"""The troubles of the day: name, how often it is in the sample, what it is, what becomes of it, and how it is made."""

from __future__ import annotations

from collections.abc import Callable

from deploy.sample_day import troubled_confirmations as confirmations
from deploy.sample_day import troubled_data as data
from deploy.sample_day import troubled_reports as reports
from deploy.sample_day.dealer import Dealer
from deploy.sample_day.flow import Flow
from services.domain.record import Record


class Trouble(Record, kw_only=True):
    """One kind of trouble."""

    name: str
    count: int
    what: str
    then: str
    build: Callable[[Dealer, int], Flow]
    """Makes the flow; the number says which of its kind it is, from 0."""


def _trouble(name: str, count: int, build: Callable[[Dealer, int], Flow], what: str, then: str) -> Trouble:
    return Trouble(name=name, count=count, what=what, then=then, build=build)


TROUBLES: tuple[Trouble, ...] = (
    _trouble("duplicate", 4, reports.duplicate,
             "The same execution a second time on the same road.",
             "Suppressed; the trade settles once."),
    _trouble("duplicate-other-road", 3, reports.duplicate_on_other_road,
             "An execution that came by FIX comes again as Avro.",
             "Suppressed; the trade settles once."),
    _trouble("duplicate-flagged", 3, reports.duplicate_flagged,
             "A FIX execution again, with PossResend (97) = Y.",
             "Suppressed, by its content; the flag decides nothing."),
    _trouble("execution-conflict", 2, reports.conflict,
             "The same ExecID again with another price.",
             "EXECUTION_CONFLICTS stays open; the first report settles."),
    _trouble("corrected", 4, reports.corrected,
             "A fill is corrected, price or quantity, before its block is complete.",
             "Settles with what the correction says."),
    _trouble("cancelled-fill", 2, reports.cancelled,
             "A fill is cancelled and done anew before its block is complete.",
             "Settles without the cancelled fill."),
    _trouble("busted-order", 1, reports.busted,
             "The only fill is cancelled, and the order ends with nothing done.",
             "Nothing is allocated, and nothing is open."),
    _trouble("correction-before-original", 3, reports.change_before_original,
             "A fill and its two corrections arrive backwards.",
             "Each waits as EXECUTION_REFERENCE_UNKNOWN, which closes; settles with what the last one says."),
    _trouble("correction-unknown", 2, reports.correction_of_unknown,
             "A correction names an execution that was never reported.",
             "It waits: EXECUTION_REFERENCE_UNKNOWN stays open."),
    _trouble("quantity-negative", 2, reports.negative_quantity,
             "The quantity of a fill is negative.",
             "QUANTITY_NOT_POSITIVE stays open."),
    _trouble("price-zero", 2, reports.zero_price,
             "The price of a fill is zero.",
             "PRICE_NOT_POSITIVE stays open."),
    _trouble("check-digit", 1, reports.check_digit,
             "The ISIN's check digit is wrong.",
             "IDENTIFIER_INVALID stays open."),
    _trouble("settlement-date-past", 2, reports.past_settlement_date,
             "The requested settlement date lies before the trade date.",
             "SETTLEMENT_DATE_BEFORE_TRADE_DATE stays open."),
    _trouble("settlement-date-closed", 1, reports.closed_settlement_date,
             "The requested settlement date is a Saturday.",
             "SETTLEMENT_DATE_NOT_BUSINESS_DAY stays open."),
    _trouble("price-type", 1, reports.price_type,
             "A bond is reported with a price per unit.",
             "PRICE_TYPE_UNSUITABLE stays open."),
    _trouble("unknown-account", 2, data.unknown_account,
             "The account is in no reference data.",
             "ACCOUNT_MISSING stays open."),
    _trouble("unknown-instrument", 1, data.unknown_instrument,
             "The instrument is in no reference data.",
             "INSTRUMENT_MISSING stays open."),
    _trouble("late-instrument", 2, data.late_instrument,
             "The instrument is only in the late reference data.",
             "INSTRUMENT_MISSING closes when it comes; the trade settles."),
    _trouble("late-counterparty-ssi", 4, data.late_counterparty_chain,
             "The counterparty's SSI is only in the late reference data.",
             "COUNTERPARTY_SSI_MISSING closes when it comes; the trades settle."),
    _trouble("missing-counterparty-ssi", 2, data.missing_counterparty_chain,
             "The counterparty's SSI never comes.",
             "COUNTERPARTY_SSI_MISSING stays open."),
    _trouble("missing-account-ssi", 1, data.missing_account_chain,
             "The account's SSI never comes.",
             "ACCOUNT_SSI_MISSING stays open."),
    _trouble("missing-share-ssi", 2, data.missing_share_chain,
             "One account of an allocation has no SSI, and it never comes.",
             "ACCOUNT_SSI_MISSING stays open for its share; the other shares settle."),
    _trouble("late-share-ssi", 2, data.late_share_chain,
             "The SSI of one account of an allocation is only in the late reference data.",
             "ACCOUNT_SSI_MISSING closes when it comes; all shares settle."),
    _trouble("place-of-settlement", 2, data.elsewhere,
             "The counterparty settles at another depository than the account.",
             "Confirmed; PLACE_OF_SETTLEMENT_DIFFERS stays open and nothing is instructed."),
    _trouble("over-allocation", 2, reports.over_allocated,
             "The client allocates more than was done, then rightly under a new id.",
             "OVER_ALLOCATION stays open for the first; the second settles."),
    _trouble("over-allocation-replaced", 1, reports.over_allocation_replaced,
             "The client allocates more than was done, and replaces that by the right allocation.",
             "Settles; nothing is open."),
    _trouble("allocation-wrong-sum", 1, reports.wrong_sum,
             "The accounts of an allocation do not add up to the quantity it states.",
             "QUANTITIES_DISAGREE stays open; the block waits for a right allocation."),
    _trouble("unfinished-block", 2, reports.unfinished,
             "The last fill of an order never comes.",
             "The block waits."),
    _trouble("late-confirmation", 6, confirmations.late,
             "The confirmation comes in the late phase.",
             "Settles when it comes."),
    _trouble("no-confirmation", 5, confirmations.never,
             "The confirmation never comes.",
             "The allocated trade waits."),
    _trouble("within-tolerance", 6, confirmations.within_tolerance,
             "Cash or price differ by no more than the tolerance.",
             "Settles, at the seller's amount."),
    _trouble("mismatch-price", 2, confirmations.mismatched_price,
             "The confirmed price is half a percent off.",
             "CONFIRMATION_MISMATCHED stays open."),
    _trouble("mismatch-quantity", 2, confirmations.mismatched_quantity,
             "The confirmed quantity is another.",
             "CONFIRMATION_MISMATCHED stays open."),
    _trouble("mismatch-settlement-date", 2, confirmations.mismatched_date,
             "The confirmed settlement date is a day later.",
             "CONFIRMATION_MISMATCHED stays open."),
    _trouble("mismatch-corrected", 2, confirmations.corrected_late,
             "The confirmed price is wrong; the right confirmation comes in the late phase.",
             "CONFIRMATION_MISMATCHED closes when it comes; the trade settles."),
    _trouble("confirmation-unknown", 2, confirmations.unknown,
             "The counterparty confirms a trade that nobody here knows.",
             "The confirmation waits."),
    _trouble("confirmation-duplicate", 2, confirmations.duplicate,
             "The same confirmation a second time.",
             "Suppressed."),
    _trouble("confirmation-conflict", 1, confirmations.conflict,
             "The same ConfirmID again with another amount.",
             "CONFIRMATION_CONFLICTS stays open; the first one settles."),
    _trouble("random-bytes", 2, reports.random_bytes,
             "Bytes that are no Avro record.",
             "Dead letter."),
    _trouble("truncated-execution", 1, reports.truncated,
             "An Avro execution that is cut off.",
             "Dead letter."),
    _trouble("truncated-confirmation", 1, confirmations.truncated,
             "An Avro confirmation that is cut off; sent whole in the late phase.",
             "Dead letter; the trade settles when it comes whole."),
    _trouble("unknown-schema", 1, reports.unknown_schema,
             "An Avro execution of a schema that is not known here.",
             "Dead letter."),
    _trouble("null-value", 1, reports.null_value,
             "A record without a value.",
             "Dead letter."),
    _trouble("wrong-checksum", 2, reports.wrong_checksum,
             "A FIX execution whose CheckSum (10) is wrong; the sender sends it again, right.",
             "Dead letter; the second settles."),
)  # fmt: skip
"""Every trouble, in the order of the README."""
