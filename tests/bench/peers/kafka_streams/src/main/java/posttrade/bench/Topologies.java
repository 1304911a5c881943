package posttrade.bench;

import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;
import posttrade.CapturedTrade;
import posttrade.EnrichedTrade;
import posttrade.ExceptionEvent;
import posttrade.Execution;

/** What is built for each measure. Keys stay bytes: nothing reads them. */
final class Topologies {
    private Topologies() {}

    static Topology of(Options options) {
        String prefix = options.prefix();
        return switch (options.measure()) {
            case "pass-through" -> copy(prefix + "in", prefix + "out", Serdes.ByteArray());
            case "avro" -> copy(prefix + "front-office.executions", prefix + "out", new AvroFormat<>(Execution.class));
            case "enrichment" -> enrichment(prefix, ReferenceLoader.load(options.servers(), prefix));
            default -> throw new IllegalArgumentException(
                    "measure was " + options.measure() + ", expected pass-through, avro or enrichment");
        };
    }

    private static Topology enrichment(String prefix, ReferenceData reference) {
        Enrichment enrichment = new Enrichment(reference);
        ByteArraySerializer bytes = new ByteArraySerializer();
        return new Topology()
                .addSource(
                        "captured",
                        new ByteArrayDeserializer(),
                        new AvroFormat<>(CapturedTrade.class),
                        prefix + "trades.captured")
                .addProcessor("enrichment", () -> new EnrichmentProcessor(enrichment), "captured")
                .addStateStore(store(EnrichmentProcessor.WAITING), "enrichment")
                .addStateStore(store(EnrichmentProcessor.REFUSED), "enrichment")
                .addSink(
                        EnrichmentProcessor.ENRICHED_SINK,
                        prefix + "trades.enriched",
                        bytes,
                        new AvroFormat<>(EnrichedTrade.class),
                        "enrichment")
                .addSink(
                        EnrichmentProcessor.EXCEPTIONS_SINK,
                        prefix + "exceptions",
                        bytes,
                        new AvroFormat<>(ExceptionEvent.class),
                        "enrichment");
    }

    /** In memory, with a changelog: quicker to ask than RocksDB, and this service's own state is in memory, too. */
    private static StoreBuilder<KeyValueStore<String, WaitingTrade>> store(String name) {
        return Stores.keyValueStoreBuilder(
                Stores.inMemoryKeyValueStore(name), Serdes.String(), new WaitingTradeFormat());
    }

    private static <V> Topology copy(String from, String to, Serde<V> format) {
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(from, Consumed.with(Serdes.ByteArray(), format)).to(to, Produced.with(Serdes.ByteArray(), format));
        return builder.build();
    }
}
