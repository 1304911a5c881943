package posttrade.bench;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Comparator;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.stream.Stream;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;

/** One measured program: runs a topology until it is ended, and ends with 1 when a record cannot be processed. */
public final class Main {
    private static final Duration CLOSING_TIME_MAX = Duration.ofSeconds(10);

    private Main() {}

    public static void main(String[] arguments) throws Exception {
        Options options;
        try {
            options = Options.parse(arguments);
        } catch (IllegalArgumentException error) {
            System.err.println(error.getMessage());
            System.exit(2);
            return;
        }
        Path state = options.stateDirectory() == null
                ? Files.createTempDirectory("kafka-streams-")
                : Path.of(options.stateDirectory());
        run(options, state);
        System.exit(1); // it runs until it is ended from outside, so this is a failure
    }

    private static void run(Options options, Path state) throws InterruptedException {
        Properties settings = Settings.of(options, state);
        KafkaStreams streams = new KafkaStreams(Topologies.of(options, settings), settings);
        CountDownLatch ended = new CountDownLatch(1);
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        streams.setStateListener((now, before) -> {
            if (now == KafkaStreams.State.RUNNING && before == KafkaStreams.State.REBALANCING) {
                System.out.println("running " + options.measure() + " with " + options.threads() + " thread(s)");
            } else if (now == KafkaStreams.State.ERROR || now == KafkaStreams.State.NOT_RUNNING) {
                ended.countDown();
            }
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            streams.close(CLOSING_TIME_MAX);
            if (options.stateDirectory() == null) {
                delete(state);
            }
        }));
        streams.start();
        ended.await();
    }

    private static void delete(Path directory) {
        try (Stream<Path> paths = Files.walk(directory)) {
            paths.sorted(Comparator.reverseOrder()).forEach(path -> path.toFile().delete());
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
