package posttrade.bench;

import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;

/** One measured program: runs a topology until it is ended, and ends with 1 when a record cannot be processed. */
public final class Main {
    private static final Duration CLOSING_TIME_MAX = Duration.ofSeconds(10);
    private static final int FAILED = 1;
    private static final int MISUSED = 2;

    private Main() {}

    public static void main(String[] arguments) throws InterruptedException {
        try {
            run(Options.parse(arguments));
        } catch (IllegalArgumentException | IllegalStateException error) {
            System.err.println(error.getMessage());
            System.exit(MISUSED);
        }
        System.exit(FAILED); // it runs until it is ended from outside
    }

    private static void run(Options options) throws InterruptedException {
        Properties settings = Settings.of(options);
        KafkaStreams streams = new KafkaStreams(Topologies.of(options), settings);
        CountDownLatch ended = new CountDownLatch(1);
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        streams.setStateListener((now, before) -> {
            if (now == KafkaStreams.State.RUNNING) {
                System.out.println("running " + options.measure() + " with " + options.threads() + " thread(s)");
            } else if (now == KafkaStreams.State.ERROR || now == KafkaStreams.State.NOT_RUNNING) {
                ended.countDown();
            }
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(CLOSING_TIME_MAX)));
        streams.start();
        ended.await();
    }
}
