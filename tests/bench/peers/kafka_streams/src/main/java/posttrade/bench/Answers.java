package posttrade.bench;

import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import java.util.function.Function;

/**
 * Answers of reference data, found once for each question: trades of one day ask the same few. When there are too many,
 * all are forgotten and found again as they are asked.
 */
final class Answers<Q, A> {
    private static final int COUNT_MAX = 65_536;

    private final ConcurrentMap<Q, A> known = new ConcurrentHashMap<>();
    private final Function<Q, A> find;

    /** The function must be pure and its answer immutable and never null. */
    Answers(Function<Q, A> find) {
        this.find = find;
    }

    A to(Q question) {
        A answer = known.get(question);
        if (answer == null) {
            if (known.size() >= COUNT_MAX) {
                known.clear();
            }
            answer = find.apply(question);
            known.put(question, answer);
        }
        return answer;
    }
}
