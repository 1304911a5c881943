package posttrade.bench;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** What the command line asks for. */
record Options(int threads, Map<String, String> settings, String measure, String servers, String prefix) {
    private static final String USAGE =
            "usage: Main [--threads N] [--setting NAME=VALUE]... pass-through|avro|enrichment SERVERS PREFIX";

    static Options parse(String[] arguments) {
        Deque<String> left = new ArrayDeque<>(List.of(arguments));
        int threads = 1;
        Map<String, String> settings = new HashMap<>();
        while (!left.isEmpty() && left.peek().startsWith("--")) {
            String option = left.pop();
            String value = next(left);
            switch (option) {
                case "--threads" -> threads = Integer.parseInt(value);
                case "--setting" -> {
                    String[] pair = value.split("=", 2);
                    if (pair.length != 2) {
                        throw new IllegalArgumentException(USAGE);
                    }
                    settings.put(pair[0], pair[1]);
                }
                default -> throw new IllegalArgumentException(USAGE);
            }
        }
        String measure = next(left);
        String servers = next(left);
        String prefix = next(left);
        if (!left.isEmpty() || threads < 1) {
            throw new IllegalArgumentException(USAGE);
        }
        return new Options(threads, settings, measure, servers, prefix);
    }

    private static String next(Deque<String> left) {
        if (left.isEmpty()) {
            throw new IllegalArgumentException(USAGE);
        }
        return left.pop();
    }
}
