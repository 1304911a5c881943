package posttrade.bench;

import java.math.BigDecimal;
import java.math.RoundingMode;
import java.util.HashMap;
import java.util.Map;
import posttrade.Rounding;

/** Exact arithmetic for cash; the only place where an amount is rounded (services/domain/money.py). */
final class Money {
    private static final int DIGITS = 2;
    // ISO 4217, the currencies whose minor unit is not two decimals.
    private static final Map<String, Integer> MINOR_UNIT_DIGITS = new HashMap<>();

    static {
        for (String currency : "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(" ")) {
            MINOR_UNIT_DIGITS.put(currency, 0);
        }
        for (String currency : "BHD IQD JOD KWD LYD OMR TND".split(" ")) {
            MINOR_UNIT_DIGITS.put(currency, 3);
        }
        MINOR_UNIT_DIGITS.put("CLF", 4);
    }

    private Money() {}

    static int minorUnitDigits(String currency) {
        return MINOR_UNIT_DIGITS.getOrDefault(currency, DIGITS);
    }

    static BigDecimal roundAmount(BigDecimal amount, String currency) {
        return roundAmount(amount, currency, RoundingMode.HALF_UP);
    }

    static BigDecimal roundAmount(BigDecimal amount, String currency, RoundingMode mode) {
        return amount.setScale(minorUnitDigits(currency), mode);
    }

    static RoundingMode mode(Rounding rounding) {
        return switch (rounding) {
            case HALF_UP -> RoundingMode.HALF_UP;
            case HALF_EVEN -> RoundingMode.HALF_EVEN;
            case UP -> RoundingMode.UP;
            case DOWN -> RoundingMode.DOWN;
            default -> throw new IllegalArgumentException("rounding was " + rounding);
        };
    }
}
