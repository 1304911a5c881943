package posttrade.bench;

import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.streams.StreamsConfig;

/** The settings of the run; README.md says which were tried. */
final class Settings {
    private static final int RECORDS_PER_POLL_MAX = 5_000;

    private Settings() {}

    static Properties of(Options options) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, options.prefix() + "kafka-streams-" + options.measure());
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, options.servers());
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, options.threads());
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100); // the default of exactly_once_v2, said aloud
        settings.put(StreamsConfig.ENABLE_METRICS_PUSH_CONFIG, false); // nobody takes them
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 5);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 256 * 1024);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), RECORDS_PER_POLL_MAX);
        settings.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, RECORDS_PER_POLL_MAX);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        for (Map.Entry<String, String> setting : options.settings().entrySet()) {
            settings.put(setting.getKey(), setting.getValue());
        }
        return settings;
    }
}
