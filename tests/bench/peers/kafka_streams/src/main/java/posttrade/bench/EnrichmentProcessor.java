package posttrade.bench;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import org.apache.avro.specific.SpecificRecord;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.processor.Cancellable;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;
import posttrade.CapturedTrade;
import posttrade.ExceptionEvent;

/** The enrichment stage (services/enrichment/process.py): what goes on, what waits, and in which order. */
final class EnrichmentProcessor implements Processor<byte[], CapturedTrade, byte[], SpecificRecord> {
    static final String WAITING = "waiting-trades";
    static final String REFUSED = "refused-trades";
    static final String ENRICHED_SINK = "enriched";
    static final String EXCEPTIONS_SINK = "exceptions";
    private static final Duration FIRST_TRY_AFTER = Duration.ofMillis(1);

    private final Enrichment enrichment;
    private ProcessorContext<byte[], SpecificRecord> context;
    private KeyValueStore<String, WaitingTrade> waiting;
    private KeyValueStore<String, WaitingTrade> refused;
    private Cancellable firstTry;

    EnrichmentProcessor(Enrichment enrichment) {
        this.enrichment = enrichment;
    }

    @Override
    public void init(ProcessorContext<byte[], SpecificRecord> context) {
        this.context = context;
        waiting = context.getStateStore(WAITING);
        refused = context.getStateStore(REFUSED);
        // Reference data is read when the program starts, so that is when a trade that waits is tried again.
        firstTry = context.schedule(FIRST_TRY_AFTER, PunctuationType.WALL_CLOCK_TIME, this::tryAgain);
    }

    @Override
    public void process(Record<byte[], CapturedTrade> record) {
        CapturedTrade trade = record.value();
        WaitingTrade queue = waiting.get(trade.getTradeId());
        if (queue == null) {
            advance(trade, record.key(), record.timestamp(), record.headers());
        } else {
            waiting.put(trade.getTradeId(), queue.and(trade));
        }
    }

    /** Whether later versions of the trade may follow: not while this one waits. */
    private boolean advance(CapturedTrade trade, byte[] key, long timestamp, Headers headers) {
        String tradeId = trade.getTradeId();
        WaitingTrade earlier = refused.get(tradeId);
        if (earlier != null) {
            tell(ExceptionEvents.closing(trade, earlier.problem(), "was replaced by a later version", now()), timestamp);
            refused.delete(tradeId);
        }
        Enrichment.Result result = enrichment.enrich(trade);
        if (result.problem() == null) {
            context.forward(new Record<>(key, result.trade(), timestamp, headers), ENRICHED_SINK);
            return true;
        }
        Problem problem = result.problem();
        tell(ExceptionEvents.opening(trade, problem, now()), timestamp);
        if (problem.reason().waits) {
            waiting.put(tradeId, new WaitingTrade(List.of(trade), problem));
            return false;
        }
        refused.put(tradeId, new WaitingTrade(List.of(), problem));
        return true;
    }

    private void tryAgain(long nowMs) {
        firstTry.cancel();
        List<KeyValue<String, WaitingTrade>> rows = new ArrayList<>();
        try (KeyValueIterator<String, WaitingTrade> all = waiting.all()) {
            all.forEachRemaining(rows::add);
        }
        for (KeyValue<String, WaitingTrade> row : rows) {
            CapturedTrade first = row.value.trades().get(0);
            Problem before = row.value.problem();
            if (before.equals(enrichment.enrich(first).problem())) {
                continue;
            }
            tell(ExceptionEvents.closing(first, before, "has arrived", now()), nowMs);
            waiting.delete(row.key);
            advanceAll(row.value.trades(), nowMs);
        }
    }

    /** In order, up to and including the first that has to wait; the others queue behind it. */
    private void advanceAll(List<CapturedTrade> trades, long nowMs) {
        for (int index = 0; index < trades.size(); index++) {
            CapturedTrade trade = trades.get(index);
            byte[] key = trade.getOrderId().getBytes(StandardCharsets.UTF_8);
            if (!advance(trade, key, nowMs, new RecordHeaders())) {
                WaitingTrade queue = waiting.get(trade.getTradeId());
                List<CapturedTrade> left = List.copyOf(trades.subList(index, trades.size()));
                waiting.put(trade.getTradeId(), new WaitingTrade(left, queue.problem()));
                return;
            }
        }
    }

    private void tell(ExceptionEvent event, long timestamp) {
        byte[] key = event.getExceptionId().getBytes(StandardCharsets.UTF_8);
        context.forward(new Record<>(key, event, timestamp), EXCEPTIONS_SINK);
    }

    private Instant now() {
        return Instant.ofEpochMilli(context.currentSystemTimeMs());
    }
}
