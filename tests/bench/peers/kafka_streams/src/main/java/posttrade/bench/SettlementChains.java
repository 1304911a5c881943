package posttrade.bench;

import java.time.LocalDate;
import java.util.Optional;
import posttrade.InstrumentType;
import posttrade.SettlementChain;
import posttrade.StandingSettlementInstruction;

/** Where an owner settles (services/domain/standing_instruction.py). */
final class SettlementChains {
    private final ReferenceData reference;
    private final Answers<Question, Optional<SettlementChain>> answers = new Answers<>(this::find);

    SettlementChains(ReferenceData reference) {
        this.reference = reference;
    }

    record Question(String owner, String market, InstrumentType instrumentType, String currency, LocalDate on) {}

    Optional<SettlementChain> chain(Question question) {
        return answers.to(question);
    }

    /** The most specific row wins: type and currency, then type, then currency, then neither; then the latest. */
    private Optional<SettlementChain> find(Question asked) {
        StandingSettlementInstruction best = null;
        int bestRank = -1;
        for (StandingSettlementInstruction row : reference.settlementInstructions.findAll(asked.owner, asked.on)) {
            InstrumentType type = row.getInstrumentType();
            String currency = row.getCurrency();
            if (!row.getSettlementMarket().equals(asked.market)
                    || (type != null && type != asked.instrumentType)
                    || (currency != null && !currency.equals(asked.currency))) {
                continue;
            }
            int rank = (type != null ? 2 : 0) + (currency != null ? 1 : 0);
            if (rank > bestRank) {
                best = row;
                bestRank = rank;
            }
        }
        return Optional.ofNullable(best).map(SettlementChains::chain);
    }

    private static SettlementChain chain(StandingSettlementInstruction row) {
        return new SettlementChain(
                row.getDepositoryBic(),
                row.getParticipantBic(),
                row.getParticipantAccount(),
                row.getClientBic(),
                row.getSafekeepingAccount());
    }
}
