package posttrade.bench;

import java.time.DayOfWeek;
import java.time.LocalDate;
import java.util.List;
import java.util.Map;
import posttrade.CalendarCoverage;
import posttrade.InstrumentType;
import posttrade.SettlementCycle;

/** When a trade settles (services/domain/calendar.py). */
final class SettlementCalendar {
    // FIX 63 SettlType, the values that are a number of settlement days by themselves. 0 is the market's own cycle.
    private static final Map<String, Integer> DAYS_BY_SETTLEMENT_TYPE =
            Map.of("1", 0, "2", 1, "3", 2, "4", 3, "5", 4, "9", 5);
    private static final String REGULAR = "0";
    static final String WHEN_ISSUED = "7";
    private static final LocalDate LAST_DAY = LocalDate.of(9999, 12, 31);

    private final ReferenceData reference;
    private final Answers<Question, Answer> answers = new Answers<>(this::find);

    SettlementCalendar(ReferenceData reference) {
        this.reference = reference;
    }

    record Question(
            String market,
            InstrumentType instrumentType,
            String currency,
            LocalDate tradeDate,
            String settlementType,
            LocalDate requestedSettlementDate,
            LocalDate issueDate) {}

    /** A date, or why there is none. */
    record Answer(LocalDate date, Problem problem) {}

    private static final class CalendarMissing extends Exception {
        private static final long serialVersionUID = 1L;
        private final String calendar;
        private final LocalDate day;

        private CalendarMissing(String calendar, LocalDate day) {
            super(null, null, false, false); // it is an answer, not an accident: no stack trace
            this.calendar = calendar;
            this.day = day;
        }
    }

    Answer settlementDate(Question question) {
        return answers.to(question);
    }

    private Answer find(Question asked) {
        try {
            if (asked.requestedSettlementDate != null) {
                return requested(asked);
            }
            int days;
            String type = asked.settlementType;
            if (WHEN_ISSUED.equals(type)) {
                return whenIssued(asked);
            }
            if (type != null && !type.equals(REGULAR)) {
                Integer special = DAYS_BY_SETTLEMENT_TYPE.get(type);
                if (special == null) {
                    return refused(Reason.SETTLEMENT_TYPE_UNSUITABLE, "settlement_type", type);
                }
                days = special;
            } else {
                SettlementCycle cycle = cycle(asked);
                if (cycle == null) {
                    return refused(
                            Reason.SETTLEMENT_CYCLE_MISSING,
                            "settlement_market",
                            asked.market,
                            "instrument_type",
                            asked.instrumentType.name(),
                            "trade_date",
                            asked.tradeDate.toString());
                }
                days = Math.toIntExact(cycle.getDays());
            }
            return new Answer(addSettlementDays(asked, days), null);
        } catch (CalendarMissing missing) {
            return refused(
                    Reason.CALENDAR_MISSING, "calendar", missing.calendar, "day", missing.day.toString());
        }
    }

    private Answer requested(Question asked) throws CalendarMissing {
        LocalDate day = asked.requestedSettlementDate;
        if (isSettlementDay(asked, day)) {
            return new Answer(day, null);
        }
        return refused(
                Reason.SETTLEMENT_DATE_NOT_BUSINESS_DAY,
                "requested_settlement_date",
                day.toString(),
                "settlement_market",
                asked.market,
                "currency",
                asked.currency);
    }

    /** The first settlement day from the day of issue on. What is issued already trades regular way. */
    private Answer whenIssued(Question asked) throws CalendarMissing {
        if (asked.issueDate == null) {
            return refused(Reason.ISSUE_DATE_MISSING, "settlement_type", WHEN_ISSUED);
        }
        if (!asked.issueDate.isAfter(asked.tradeDate)) {
            return refused(
                    Reason.SETTLEMENT_TYPE_UNSUITABLE,
                    "settlement_type",
                    WHEN_ISSUED,
                    "issue_date",
                    asked.issueDate.toString(),
                    "trade_date",
                    asked.tradeDate.toString());
        }
        return new Answer(firstSettlementDay(asked, asked.issueDate), null);
    }

    /** A row for the instrument type wins over the row for all. */
    private SettlementCycle cycle(Question asked) {
        List<SettlementCycle> rows = reference.settlementCycles.findAll(asked.market, asked.tradeDate);
        SettlementCycle forAll = null;
        for (SettlementCycle row : rows) {
            if (row.getInstrumentType() == asked.instrumentType) {
                return row;
            }
            if (row.getInstrumentType() == null && forAll == null) {
                forAll = row;
            }
        }
        return forAll;
    }

    private LocalDate addSettlementDays(Question asked, int days) throws CalendarMissing {
        LocalDate day = days > 0 ? asked.tradeDate : firstSettlementDay(asked, asked.tradeDate);
        for (int passed = 0; passed < days; passed++) {
            day = firstSettlementDay(asked, dayAfter(asked, day));
        }
        return day;
    }

    private LocalDate firstSettlementDay(Question asked, LocalDate from) throws CalendarMissing {
        LocalDate day = from;
        while (!isSettlementDay(asked, day)) {
            day = dayAfter(asked, day);
        }
        return day;
    }

    private LocalDate dayAfter(Question asked, LocalDate day) throws CalendarMissing {
        if (day.equals(LAST_DAY)) {
            throw new CalendarMissing("SETTLEMENT:" + asked.market, day);
        }
        return day.plusDays(1);
    }

    private boolean isSettlementDay(Question asked, LocalDate day) throws CalendarMissing {
        DayOfWeek weekday = day.getDayOfWeek();
        if (weekday == DayOfWeek.SATURDAY || weekday == DayOfWeek.SUNDAY) {
            return false;
        }
        return isOpen("SETTLEMENT:" + asked.market, day) && isOpen("CURRENCY:" + asked.currency, day);
    }

    private boolean isOpen(String calendar, LocalDate day) throws CalendarMissing {
        for (CalendarCoverage coverage : reference.coverages.findAll(calendar, day)) {
            if (!coverage.getFirstDay().isAfter(day) && !day.isAfter(coverage.getLastDay())) {
                return !reference.closedDays(calendar).contains(day);
            }
        }
        throw new CalendarMissing(calendar, day);
    }

    private static Answer refused(Reason reason, String... details) {
        return new Answer(null, Problem.of(reason, details));
    }
}
