package posttrade.bench;

/** Why a trade cannot go on (services/domain/reason.py). */
enum Reason {
    INSTRUMENT_MISSING(true, "The instrument is not in reference data."),
    COUNTERPARTY_MISSING(true, "The counterparty is not in reference data."),
    ACCOUNT_MISSING(true, "The account is not in reference data."),
    SETTLEMENT_CYCLE_MISSING(true, "No settlement cycle for market, instrument type and trade date."),
    CALENDAR_MISSING(true, "No calendar for the market or the currency covers the dates."),
    ISSUE_DATE_MISSING(
            true, "The trade settles when issued (FIX 63 = 7), and the instrument has no issue date."),
    COUNTERPARTY_SSI_MISSING(
            true, "No standing settlement instruction of the counterparty for market, type and currency."),
    ACCOUNT_SSI_MISSING(true, "No standing settlement instruction of the account for market, type and currency."),
    BOND_TERMS_MISSING(
            true,
            "The report gives no accrued interest, and there are no usable terms of the bond on the settlement date."),
    COMMISSION_UNSUITABLE(
            false,
            "The commission cannot be part of the net money: it has no type, is negative, is in another currency than the"
                    + " trade, or is per bond and the instrument is none."),
    SETTLEMENT_DATE_NOT_BUSINESS_DAY(
            false, "The requested settlement date is no settlement day of market and currency."),
    PRICE_TYPE_UNSUITABLE(
            false, "The price type does not fit the instrument: debt is quoted in percent of par, all else per unit."),
    SETTLEMENT_TYPE_UNSUITABLE(
            false,
            "The settlement type (FIX 63) does not name a date by itself, and no settlement date (64) came with it.");

    /** Whether reference data can take it away; else it is final for that version of the trade. */
    final boolean waits;
    final String meaning;

    Reason(boolean waits, String meaning) {
        this.waits = waits;
        this.meaning = meaning;
    }

    String severity() {
        return waits ? "HIGH" : "MEDIUM";
    }

    /** The desk that acts. */
    String ownerGroup() {
        if (waits) {
            return "REFERENCE_DATA";
        }
        return this == COMMISSION_UNSUITABLE ? "TAX_AND_CHARGES" : "TRADE_SUPPORT";
    }
}
