package posttrade.bench;

import java.time.LocalDate;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** All rows of one kind of reference data by the name they are found by. Filled once, then only read. */
final class ReferenceTable<T> {
    private final Map<String, List<Row<T>>> rows = new HashMap<>();

    record Row<T>(String key, LocalDate validFrom, LocalDate validTo, T value) {
        boolean holds(LocalDate on) {
            return !validFrom.isAfter(on) && (validTo == null || !on.isAfter(validTo));
        }
    }

    void add(String name, Row<T> row) {
        rows.computeIfAbsent(name, absent -> new ArrayList<>(1)).add(row);
    }

    /** Latest valid_from first, then by key: the order in which rows win. */
    void sort() {
        Comparator<Row<T>> order = Comparator.comparing(Row::validFrom, Comparator.reverseOrder());
        rows.values().forEach(found -> found.sort(order.thenComparing(Row::key)));
    }

    /** The row that holds on the day; the latest valid_from wins; null when there is none. */
    T find(String name, LocalDate on) {
        List<Row<T>> found = rows.get(name);
        if (found != null) {
            for (int index = 0; index < found.size(); index++) {
                Row<T> row = found.get(index);
                if (row.holds(on)) {
                    return row.value;
                }
            }
        }
        return null;
    }

    /** All rows that hold on the day, in the order in which they win. */
    List<T> findAll(String name, LocalDate on) {
        List<T> found = new ArrayList<>();
        for (Row<T> row : rows.getOrDefault(name, List.of())) {
            if (row.holds(on)) {
                found.add(row.value);
            }
        }
        return found;
    }

    /** All rows of the name, whenever they hold. */
    List<Row<T>> all(String name) {
        return rows.getOrDefault(name, List.of());
    }
}
