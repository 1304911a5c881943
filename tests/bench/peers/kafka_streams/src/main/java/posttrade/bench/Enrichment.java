package posttrade.bench;

import java.math.BigDecimal;
import java.time.LocalDate;
import java.util.List;
import java.util.Optional;
import posttrade.Account;
import posttrade.AllocationPolicy;
import posttrade.CapturedTrade;
import posttrade.Charge;
import posttrade.CommissionType;
import posttrade.EnrichedTrade;
import posttrade.ExecutionType;
import posttrade.Instrument;
import posttrade.InstrumentType;
import posttrade.Party;
import posttrade.PriceType;
import posttrade.SettlementChain;
import posttrade.Side;

/** What a captured trade becomes, or why it cannot go on (services/enrichment/rules.py). Used by all threads. */
final class Enrichment {
    private static final int PERCENT_DIGITS = 2;

    private final ReferenceData reference;
    private final SettlementCalendar calendar;
    private final SettlementChains chains;
    private final Charges charges;

    Enrichment(ReferenceData reference) {
        this.reference = reference;
        calendar = new SettlementCalendar(reference);
        chains = new SettlementChains(reference);
        charges = new Charges(reference);
    }

    /** Exactly one of the two is there. */
    record Result(EnrichedTrade trade, Problem problem) {
        static Result refused(Reason reason, String... details) {
            return new Result(null, Problem.of(reason, details));
        }
    }

    /** The first check that fails is reported; their order is part of the contract. */
    Result enrich(CapturedTrade trade) {
        LocalDate on = trade.getTradeDate();
        Instrument instrument = reference.instruments.get(trade.getSecurityIdSource()).find(trade.getSecurityId(), on);
        if (instrument == null) {
            String security = trade.getSecurityIdSource() + ":" + trade.getSecurityId();
            return Result.refused(Reason.INSTRUMENT_MISSING, "instrument", security, "on", on.toString());
        }
        InstrumentType type = instrument.getInstrumentType();
        if (isDebt(type) != (trade.getPriceType() == PriceType.PERCENT_OF_PAR)) {
            return unsuitablePrice(trade, instrument);
        }
        Party party = reference.parties.find(trade.getCounterparty(), on);
        if (party == null) {
            return Result.refused(
                    Reason.COUNTERPARTY_MISSING, "counterparty", trade.getCounterparty(), "on", on.toString());
        }
        Account account = reference.accounts.find(trade.getAccount(), on);
        if (account == null) {
            return Result.refused(Reason.ACCOUNT_MISSING, "account", trade.getAccount(), "on", on.toString());
        }
        String market = instrument.getSettlementMarket();
        String currency = trade.getCurrency();
        boolean isWhenIssued = SettlementCalendar.WHEN_ISSUED.equals(trade.getSettlementType());
        SettlementCalendar.Answer settles = calendar.settlementDate(new SettlementCalendar.Question(
                market,
                type,
                currency,
                on,
                trade.getSettlementType(),
                trade.getRequestedSettlementDate(),
                isWhenIssued ? instrument.getIssueDate() : null));
        if (settles.problem() != null) {
            return new Result(null, undated(settles.problem(), instrument));
        }
        SettlementChains.Question theirs =
                new SettlementChains.Question(trade.getCounterparty(), market, type, currency, settles.date());
        Optional<SettlementChain> chain = chains.chain(theirs);
        if (chain.isEmpty()) {
            return missingChain(Reason.COUNTERPARTY_SSI_MISSING, theirs);
        }
        if (account.getAllocationPolicy() == AllocationPolicy.SINGLE) {
            SettlementChains.Question ours =
                    new SettlementChains.Question(account.getAccount(), market, type, currency, settles.date());
            if (chains.chain(ours).isEmpty()) {
                return missingChain(Reason.ACCOUNT_SSI_MISSING, ours);
            }
        }
        BigDecimal given = trade.getAccruedInterestAmount();
        if (given == null && isDebt(type) && trade.getExecutionType() != ExecutionType.TRADE_CANCEL) {
            String settlesOn = settles.date().toString();
            return Result.refused(Reason.BOND_TERMS_MISSING, "isin", instrument.getIsin(), "on", settlesOn);
        }
        if (trade.getCommissionType() == CommissionType.PER_BOND && !isDebt(type)) {
            return Result.refused(
                    Reason.COMMISSION_UNSUITABLE,
                    "commission_type",
                    trade.getCommissionType().name(),
                    "isin",
                    instrument.getIsin());
        }
        return new Result(enriched(trade, instrument, party, settles.date(), chain.get()), null);
    }

    private static boolean isDebt(InstrumentType type) {
        return type == InstrumentType.GOVERNMENT_BOND || type == InstrumentType.CORPORATE_BOND;
    }

    /** The calendar knows markets and no instruments: where one is at fault it is named here. */
    private static Problem undated(Problem problem, Instrument instrument) {
        return problem.reason() == Reason.ISSUE_DATE_MISSING
                ? Problem.of(
                        problem.reason(),
                        "settlement_type",
                        SettlementCalendar.WHEN_ISSUED,
                        "isin",
                        instrument.getIsin())
                : problem;
    }

    private static Result unsuitablePrice(CapturedTrade trade, Instrument instrument) {
        return Result.refused(
                Reason.PRICE_TYPE_UNSUITABLE,
                "price_type",
                trade.getPriceType().name(),
                "instrument_type",
                instrument.getInstrumentType().name(),
                "isin",
                instrument.getIsin());
    }

    private static Result missingChain(Reason reason, SettlementChains.Question asked) {
        return Result.refused(
                reason,
                "owner",
                asked.owner(),
                "settlement_market",
                asked.market(),
                "instrument_type",
                asked.instrumentType().name(),
                "currency",
                asked.currency(),
                "on",
                asked.on().toString());
    }

    private EnrichedTrade enriched(
            CapturedTrade trade, Instrument instrument, Party party, LocalDate settlesOn, SettlementChain chain) {
        String currency = trade.getCurrency();
        BigDecimal gross = grossAmount(trade);
        BigDecimal given = trade.getAccruedInterestAmount();
        BigDecimal accrued = Money.roundAmount(given == null ? BigDecimal.ZERO : given, currency);
        List<Charge> charged = Commissions.among(charges.of(trade, instrument, gross, settlesOn), trade, gross);
        BigDecimal net = gross.add(accrued);
        for (Charge charge : charged) {
            net = trade.getSide() == Side.BUY ? net.add(charge.getAmount()) : net.subtract(charge.getAmount());
        }
        return new EnrichedTrade(
                trade.getSender(),
                trade.getExecutionId(),
                trade.getExecutionType(),
                trade.getExecutionReferenceId(),
                trade.getOrderId(),
                trade.getAccount(),
                trade.getSide(),
                trade.getSecurityId(),
                trade.getSecurityIdSource(),
                trade.getQuantity(),
                trade.getPrice(),
                trade.getPriceType(),
                currency,
                trade.getVenue(),
                trade.getTradeDate(),
                trade.getTransactionTimeUs(),
                trade.getSettlementType(),
                trade.getRequestedSettlementDate(),
                trade.getCounterparty(),
                trade.getCumulativeQuantity(),
                trade.getLeavesQuantity(),
                given,
                trade.getPossibleDuplicate(),
                trade.getCommission(),
                trade.getCommissionType(),
                trade.getCommissionCurrency(),
                trade.getContractMultiplier(),
                trade.getTradeId(),
                trade.getVersion(),
                trade.getReceivedAtUs(),
                instrument.getIsin(),
                instrument.getInstrumentType(),
                instrument.getSettlementMarket(),
                settlesOn,
                gross,
                accrued,
                charged,
                net,
                party.getLei(),
                chain);
    }

    /** Quantity times price, for debt as percent of par; exact, then rounded once. */
    static BigDecimal grossAmount(CapturedTrade trade) {
        BigDecimal product = trade.getQuantity().multiply(trade.getPrice());
        if (trade.getPriceType() == PriceType.PERCENT_OF_PAR) {
            product = product.movePointLeft(PERCENT_DIGITS);
        }
        return Money.roundAmount(product, trade.getCurrency());
    }
}
