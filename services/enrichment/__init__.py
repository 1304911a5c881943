"""Enrichment: reference data joins the trade.

Reads `trades.captured` (key: order_id) and all reference data.
Writes `trades.enriched` (key: order_id) and `exceptions` (key: exception_id).

Adds to a captured trade: the instrument's ISIN, type and market, the contractual settlement date, gross amount, accrued
interest, charges, commission and net amount, the counterparty's LEI and where the counterparty settles.

Remembers, per trade id: the trades that wait for reference data, each with the later versions queued behind it; the
refusals whose exception is open; and trades that went on with reported accrued interest that is doubted.

Guarantees:
- Every captured trade leaves exactly once as an enriched trade, or is refused by an exception, or waits under an open
  exception that names what is missing. A wait is never dropped.
- A waiting trade goes on by itself at the next `on_time` after the data arrived; after a restart it is tried anew.
- Versions of one trade leave in the order of arrival: a correction or cancellation never overtakes what it changes.
  Other trades of the same order are not held up.
- Each exception that is closed was opened, and each that is opened is closed before the next of that trade is opened.
- Amounts are exact up to one rounding each; net amount is the plain sum of the rounded pieces.

Waits: INSTRUMENT_MISSING, COUNTERPARTY_MISSING, ACCOUNT_MISSING, SETTLEMENT_CYCLE_MISSING, CALENDAR_MISSING,
ISSUE_DATE_MISSING, COUNTERPARTY_SSI_MISSING, ACCOUNT_SSI_MISSING (only for accounts that settle by themselves),
BOND_TERMS_MISSING.
Refusals: PRICE_TYPE_UNSUITABLE, SETTLEMENT_TYPE_UNSUITABLE, SETTLEMENT_DATE_NOT_BUSINESS_DAY,
SETTLEMENT_OUTSIDE_BOND_LIFE, COMMISSION_UNSUITABLE.
Told about a trade that goes on: ACCRUED_INTEREST_DIFFERS (docs/decisions/0020: what is reported is settled).

A cancellation takes the same way with the economics it carries; without cash it has no charges.
Charges are those of the single fill: a tax on the net purchase of a day, or a levy on a whole order, is approximated by
its fills (deploy/reference/README.md).
"""
