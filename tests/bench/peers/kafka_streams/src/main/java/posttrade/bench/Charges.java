package posttrade.bench;

import java.math.BigDecimal;
import java.math.RoundingMode;
import java.time.LocalDate;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import posttrade.CapturedTrade;
import posttrade.Charge;
import posttrade.ChargeRule;
import posttrade.Instrument;
import posttrade.Side;
import posttrade.VenueKind;

/** Fees, taxes and levies of one fill (services/enrichment/charges.py). */
final class Charges {
    private static final String TRADE_DATE = "TRADE_DATE";
    private static final String SETTLEMENT_DATE = "SETTLEMENT_DATE";

    private static final Set<String> OFF_VENUE = Set.of("XOFF", "XXXX", "SINT");

    private final ReferenceData reference;
    private final Answers<Question, List<ChargeRule>> answers = new Answers<>(this::effectiveRules);

    Charges(ReferenceData reference) {
        this.reference = reference;
    }

    private record Question(String market, LocalDate tradeDate, LocalDate settlementDate) {}

    List<Charge> of(CapturedTrade trade, Instrument instrument, BigDecimal grossAmount, LocalDate settlementDate) {
        if (grossAmount.signum() == 0) {
            return List.of(); // a cancellation that carries no economics has none, not even fixed ones
        }
        List<ChargeRule> rules = answers.to(
                new Question(instrument.getSettlementMarket(), trade.getTradeDate(), settlementDate));
        if (rules.isEmpty()) {
            return List.of();
        }
        List<Charge> charges = new ArrayList<>(rules.size());
        for (ChargeRule rule : rules) {
            if (!applies(rule, trade, instrument, grossAmount)) {
                continue;
            }
            BigDecimal amount = amount(rule, trade.getQuantity(), grossAmount);
            if (amount.signum() != 0) {
                charges.add(new Charge(rule.getChargeId(), rule.getChargeType(), amount, rule.getCurrency()));
            }
        }
        return charges;
    }

    private List<ChargeRule> effectiveRules(Question asked) {
        Map<String, ChargeRule> latest = new TreeMap<>();
        take(latest, asked.market, asked.tradeDate, TRADE_DATE);
        take(latest, asked.market, asked.settlementDate, SETTLEMENT_DATE);
        return List.copyOf(latest.values());
    }

    private void take(Map<String, ChargeRule> latest, String market, LocalDate on, String effectiveBy) {
        for (ChargeRule row : reference.chargeRules.findAll(market, on)) {
            if (row.getEffectiveBy().equals(effectiveBy)) {
                latest.merge(
                        row.getChargeId(),
                        row,
                        (known, other) -> other.getValidFrom().isAfter(known.getValidFrom()) ? other : known);
            }
        }
    }

    private static boolean applies(ChargeRule rule, CapturedTrade trade, Instrument instrument, BigDecimal grossAmount) {
        Side settlesAs = trade.getSide() == Side.BUY ? Side.BUY : Side.SELL;
        return rule.getInstrumentTypes().contains(instrument.getInstrumentType())
                && (rule.getSide() == null || rule.getSide() == settlesAs)
                && (rule.getIssuerCountry() == null || rule.getIssuerCountry().equals(instrument.getIssuerCountry()))
                && rule.getCurrency().equals(trade.getCurrency())
                && (rule.getVenueKind() == null || rule.getVenueKind() == venueKind(trade.getVenue()))
                && (rule.getThresholdAmount() == null || grossAmount.compareTo(rule.getThresholdAmount()) > 0);
    }

    private static VenueKind venueKind(String venue) {
        return OFF_VENUE.contains(venue) ? VenueKind.OFF_VENUE : VenueKind.ON_VENUE;
    }

    /** Exact before rounding; the cap is applied to it, then it is rounded once. */
    private static BigDecimal amount(ChargeRule rule, BigDecimal quantity, BigDecimal grossAmount) {
        BigDecimal amount = grossAmount
                .multiply(rule.getRateOfGross())
                .add(quantity.multiply(rule.getRatePerUnit()))
                .add(rule.getFixedAmount());
        if (rule.getCapAmount() != null) {
            amount = amount.min(rule.getCapAmount());
        }
        RoundingMode mode = Money.mode(rule.getRounding());
        if (rule.getRoundingUnit() == null) {
            return Money.roundAmount(amount, rule.getCurrency(), mode);
        }
        BigDecimal units = amount.divide(rule.getRoundingUnit(), 0, mode);
        return Money.roundAmount(units.multiply(rule.getRoundingUnit()), rule.getCurrency());
    }
}
