package posttrade.bench;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.stream.Collectors;

/** Why a trade cannot go on, and what is missing or was found, by field name in a fixed order. */
record Problem(Reason reason, Map<String, String> details) {
    static Problem of(Reason reason, String... namesAndValues) {
        Map<String, String> details = new LinkedHashMap<>();
        for (int index = 0; index < namesAndValues.length; index += 2) {
            details.put(namesAndValues[index], namesAndValues[index + 1]);
        }
        return new Problem(reason, details);
    }

    String detailsText() {
        return details.entrySet().stream()
                .map(detail -> detail.getKey() + " " + detail.getValue())
                .collect(Collectors.joining(", "));
    }
}
