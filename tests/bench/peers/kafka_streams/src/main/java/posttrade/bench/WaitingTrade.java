package posttrade.bench;

import java.util.ArrayList;
import java.util.List;
import posttrade.CapturedTrade;

/**
 * A trade that waits for reference data, and its later versions, which must not overtake it; or, without trades, a
 * version that was refused and whose exception is open.
 */
record WaitingTrade(List<CapturedTrade> trades, Problem problem) {
    WaitingTrade and(CapturedTrade later) {
        List<CapturedTrade> longer = new ArrayList<>(trades);
        longer.add(later);
        return new WaitingTrade(longer, problem);
    }
}
