package posttrade.bench;

import java.math.BigDecimal;
import java.math.RoundingMode;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import posttrade.CapturedTrade;
import posttrade.Charge;
import posttrade.ChargeType;

/** The commission of one fill (services/enrichment/commission.py). */
final class Commissions {
    private static final String COMMISSION = "COMMISSION";
    private static final BigDecimal FACE_OF_A_BOND = BigDecimal.valueOf(1_000);

    private Commissions() {}

    /** The charges with the commission among them, by charge id; one that comes to nothing is left out. */
    static List<Charge> among(List<Charge> charges, CapturedTrade trade, BigDecimal grossAmount) {
        if (trade.getCommission() == null || grossAmount.signum() == 0) {
            return charges;
        }
        BigDecimal amount = amount(trade, grossAmount);
        if (amount.signum() == 0) {
            return charges;
        }
        List<Charge> all = new ArrayList<>(charges);
        all.add(new Charge(COMMISSION, ChargeType.COMMISSION, amount, trade.getCurrency()));
        all.sort(Comparator.comparing(Charge::getChargeId));
        return all;
    }

    private static BigDecimal amount(CapturedTrade trade, BigDecimal grossAmount) {
        BigDecimal commission = trade.getCommission();
        String currency = trade.getCurrency();
        return switch (trade.getCommissionType()) {
            case PER_UNIT -> Money.roundAmount(trade.getQuantity().multiply(commission), currency);
            case PERCENT -> Money.roundAmount(grossAmount.multiply(commission), currency);
            case ABSOLUTE -> Money.roundAmount(commission, currency);
            case PER_BOND -> {
                BigDecimal face = trade.getContractMultiplier() == null
                        ? FACE_OF_A_BOND
                        : trade.getContractMultiplier();
                int digits = Money.minorUnitDigits(currency);
                yield trade.getQuantity().multiply(commission).divide(face, digits, RoundingMode.HALF_UP);
            }
            default -> throw new IllegalArgumentException("commission type was " + trade.getCommissionType());
        };
    }
}
