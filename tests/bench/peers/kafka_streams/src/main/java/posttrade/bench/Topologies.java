package posttrade.bench;

import java.util.Properties;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import posttrade.Execution;

/** What is built for each measure. Keys stay bytes: nothing reads them. */
final class Topologies {
    private Topologies() {}

    static Topology of(Options options, Properties settings) {
        String prefix = options.prefix();
        return switch (options.measure()) {
            case "pass-through" -> copy(prefix + "in", prefix + "out", Serdes.ByteArray());
            case "avro" -> copy(prefix + "front-office.executions", prefix + "out", new AvroFormat<>(Execution.class));
            default -> throw new IllegalArgumentException(
                    "measure was " + options.measure() + ", expected pass-through, avro or enrichment");
        };
    }

    private static <V> Topology copy(String from, String to, Serde<V> format) {
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(from, Consumed.with(Serdes.ByteArray(), format)).to(to, Produced.with(Serdes.ByteArray(), format));
        return builder.build();
    }
}
