package posttrade.bench;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Instant;
import java.util.TreeMap;
import posttrade.CapturedTrade;
import posttrade.ExceptionEvent;
import posttrade.ExceptionStatus;

/** What the desk is told of a trade that cannot go on (services/enrichment/process.py). */
final class ExceptionEvents {
    private static final String SERVICE = "enrichment";
    private static final String SEPARATOR = "\u001f";
    private static final String BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"; // RFC 4648
    private static final int ID_CHARACTERS = 14;
    private static final int CHARACTER_BITS = 5;
    private static final BigDecimal AMOUNT_MAX = BigDecimal.TEN.pow(18);

    private ExceptionEvents() {}

    static ExceptionEvent opening(CapturedTrade trade, Problem problem, Instant now) {
        String message = problem.reason().meaning + " Found: " + problem.detailsText() + ".";
        return event(trade, problem, ExceptionStatus.OPEN, message, now);
    }

    static ExceptionEvent closing(CapturedTrade trade, Problem problem, String why, Instant now) {
        String message = "Closed, because what it names " + why + ": " + problem.detailsText() + ".";
        return event(trade, problem, ExceptionStatus.CLOSED, message, now);
    }

    private static ExceptionEvent event(
            CapturedTrade trade, Problem problem, ExceptionStatus status, String message, Instant now) {
        String reason = problem.reason().name();
        BigDecimal atRisk = status == ExceptionStatus.OPEN ? value(trade) : null;
        return new ExceptionEvent(
                identity(trade.getTradeId(), reason),
                status,
                SERVICE,
                reason,
                trade.getTradeId(),
                trade.getOrderId(),
                message,
                new TreeMap<>(problem.details()), // schemas/README.md: keys of a map are written in order
                now,
                problem.reason().severity(),
                problem.reason().ownerGroup(),
                atRisk,
                atRisk == null ? null : trade.getCurrency());
    }

    /** What the trade is worth; null where that is nothing, or no amount (services/domain/exceptions.py). */
    private static BigDecimal value(CapturedTrade trade) {
        if (trade.getQuantity().signum() <= 0 || trade.getPrice().signum() <= 0) {
            return null;
        }
        BigDecimal gross = Enrichment.grossAmount(trade);
        return gross.signum() > 0 && gross.compareTo(AMOUNT_MAX) < 0 ? gross : null;
    }

    /** Derived, never drawn (services/domain/identity.py). */
    private static String identity(String subject, String reason) {
        byte[] digest;
        try {
            digest = MessageDigest.getInstance("SHA-256")
                    .digest(String.join(SEPARATOR, SERVICE, subject, reason).getBytes(StandardCharsets.UTF_8));
        } catch (NoSuchAlgorithmException error) {
            throw new IllegalStateException(error); // every Java has it
        }
        BigInteger number = new BigInteger(1, digest);
        StringBuilder identity = new StringBuilder("EX");
        for (int index = 1; index <= ID_CHARACTERS; index++) {
            int shift = digest.length * Byte.SIZE - index * CHARACTER_BITS;
            identity.append(BASE32.charAt(number.shiftRight(shift).intValue() & (BASE32.length() - 1)));
        }
        return identity.toString();
    }
}
