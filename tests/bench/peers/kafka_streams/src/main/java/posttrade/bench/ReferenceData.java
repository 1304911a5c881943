package posttrade.bench;

import java.time.LocalDate;
import java.util.EnumMap;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import posttrade.Account;
import posttrade.CalendarCoverage;
import posttrade.ChargeRule;
import posttrade.Holiday;
import posttrade.Instrument;
import posttrade.Party;
import posttrade.SecurityIdSource;
import posttrade.SettlementCycle;
import posttrade.StandingSettlementInstruction;

/** What enrichment looks up, in memory (services/domain/reference.py). Constant once it is complete. */
final class ReferenceData {
    final Map<SecurityIdSource, ReferenceTable<Instrument>> instruments = new EnumMap<>(SecurityIdSource.class);
    final ReferenceTable<Party> parties = new ReferenceTable<>();
    final ReferenceTable<Account> accounts = new ReferenceTable<>();
    final ReferenceTable<StandingSettlementInstruction> settlementInstructions = new ReferenceTable<>();
    final ReferenceTable<SettlementCycle> settlementCycles = new ReferenceTable<>();
    final ReferenceTable<CalendarCoverage> coverages = new ReferenceTable<>();
    final ReferenceTable<ChargeRule> chargeRules = new ReferenceTable<>();
    private final Map<String, Set<LocalDate>> closedDays = new HashMap<>();

    ReferenceData() {
        for (SecurityIdSource source : SecurityIdSource.values()) {
            instruments.put(source, new ReferenceTable<>());
        }
    }

    void addInstrument(String key, Instrument row) {
        addInstrument(SecurityIdSource.ISIN, row.getIsin(), key, row);
        addInstrument(SecurityIdSource.SEDOL, row.getSedol(), key, row);
        addInstrument(SecurityIdSource.CUSIP, row.getCusip(), key, row);
    }

    private void addInstrument(SecurityIdSource source, String name, String key, Instrument row) {
        if (name != null && !name.isEmpty()) {
            instruments.get(source).add(name, new ReferenceTable.Row<>(key, row.getValidFrom(), row.getValidTo(), row));
        }
    }

    void addHoliday(Holiday row) {
        closedDays.computeIfAbsent(row.getCalendar(), absent -> new HashSet<>()).add(row.getDay());
    }

    /** To be called once, when all rows are there. */
    void complete() {
        instruments.values().forEach(ReferenceTable::sort);
        parties.sort();
        accounts.sort();
        settlementInstructions.sort();
        settlementCycles.sort();
        coverages.sort();
        chargeRules.sort();
    }

    /** The holidays of a calendar, without weekends. */
    Set<LocalDate> closedDays(String calendar) {
        return closedDays.getOrDefault(calendar, Set.of());
    }
}
