package posttrade.bench;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.LocalDate;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.function.Function;
import org.apache.avro.specific.SpecificRecord;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import posttrade.Account;
import posttrade.CalendarCoverage;
import posttrade.ChargeRule;
import posttrade.Holiday;
import posttrade.Instrument;
import posttrade.Party;
import posttrade.SettlementCycle;
import posttrade.StandingSettlementInstruction;

/** Reads the compacted reference.* topics from beginning to end, before the first trade is read. */
final class ReferenceLoader {
    private static final Duration POLL_TIME_MAX = Duration.ofMillis(200);

    private final Consumer<byte[], byte[]> consumer;
    private final String prefix;

    private ReferenceLoader(Consumer<byte[], byte[]> consumer, String prefix) {
        this.consumer = consumer;
        this.prefix = prefix + "reference.";
    }

    static ReferenceData load(String servers, String prefix) {
        Properties settings = new Properties();
        settings.put(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, servers);
        settings.put(ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed");
        settings.put(ConsumerConfig.ENABLE_METRICS_PUSH_CONFIG, false);
        ByteArrayDeserializer bytes = new ByteArrayDeserializer();
        try (Consumer<byte[], byte[]> consumer = new KafkaConsumer<>(settings, bytes, bytes)) {
            return new ReferenceLoader(consumer, prefix).read();
        }
    }

    private ReferenceData read() {
        ReferenceData data = new ReferenceData();
        rows("instruments", Instrument.class).forEach(data::addInstrument);
        fill(data.parties, "parties", Party.class, Party::getBic, Party::getValidFrom, Party::getValidTo);
        fill(data.accounts, "accounts", Account.class, Account::getAccount, Account::getValidFrom, Account::getValidTo);
        fill(
                data.settlementInstructions,
                "standing-settlement-instructions",
                StandingSettlementInstruction.class,
                StandingSettlementInstruction::getOwner,
                StandingSettlementInstruction::getValidFrom,
                StandingSettlementInstruction::getValidTo);
        fill(
                data.settlementCycles,
                "settlement-cycles",
                SettlementCycle.class,
                SettlementCycle::getSettlementMarket,
                SettlementCycle::getValidFrom,
                SettlementCycle::getValidTo);
        fill(
                data.coverages,
                "calendar-coverages",
                CalendarCoverage.class,
                CalendarCoverage::getCalendar,
                CalendarCoverage::getValidFrom,
                CalendarCoverage::getValidTo);
        fill(
                data.chargeRules,
                "charge-rules",
                ChargeRule.class,
                ChargeRule::getSettlementMarket,
                ChargeRule::getValidFrom,
                ChargeRule::getValidTo);
        rows("holidays", Holiday.class).values().forEach(data::addHoliday);
        data.complete();
        return data;
    }

    private <T extends SpecificRecord> void fill(
            ReferenceTable<T> table,
            String topic,
            Class<T> type,
            Function<T, String> name,
            Function<T, LocalDate> validFrom,
            Function<T, LocalDate> validTo) {
        rows(topic, type).forEach((key, row) -> table.add(
                name.apply(row), new ReferenceTable.Row<>(key, validFrom.apply(row), validTo.apply(row), row)));
    }

    /** The newest row under each key. */
    private <T extends SpecificRecord> Map<String, T> rows(String name, Class<T> type) {
        String topic = prefix + name;
        AvroFormat<T> format = new AvroFormat<>(type);
        List<PartitionInfo> found = consumer.partitionsFor(topic);
        if (found == null || found.isEmpty()) {
            throw new IllegalStateException("topic " + topic + " does not exist; create it and fill it first");
        }
        List<TopicPartition> partitions =
                found.stream().map(info -> new TopicPartition(topic, info.partition())).toList();
        consumer.assign(partitions);
        consumer.seekToBeginning(partitions);
        Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
        Map<String, T> rows = new HashMap<>();
        while (partitions.stream().anyMatch(partition -> consumer.position(partition) < ends.get(partition))) {
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(POLL_TIME_MAX)) {
                String key = new String(record.key(), StandardCharsets.UTF_8);
                if (record.value() == null) {
                    rows.remove(key);
                } else {
                    rows.put(key, format.deserialize(topic, record.value()));
                }
            }
        }
        return rows;
    }
}
