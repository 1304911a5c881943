"""Settlement: one instruction per confirmed allocation, never a second one, and its cancellation when it is taken back.

Reads       `trades.confirmed` (ConfirmedTrade, key allocation_id).
Writes      `settlement.instructions` (SettlementInstruction, key instruction_id), `settlement.messages`
            (SettlementMessage with the ISO 20022 text, same key), `exceptions` (ExceptionEvent, key exception_id).
Remembers   per allocation: `Instructed` (instruction id and fingerprint of the terms) once it was instructed; `Refused`
            (the whole confirmed trade with the reason) while it is not, so that a refused trade is never lost.

Guarantees
- The instruction id is derived from allocation, version, account and leg: a replay derives the same one.
- The same confirmed trade again is suppressed (`duplicate`). With other terms it is CONFIRMED_TRADE_CONFLICTS: the
  first instruction stands and nothing else is sent.
- Instruction and message are published together or not at all. The message is rendered and validated before either.
- A refused trade is not remembered as instructed: once it comes again repaired it is instructed, and its exception is
  closed. Sent again unrepaired, it is suppressed (`still_refused`): its exception is open already.

Taking back (docs/decisions/0026)
- A confirmed trade with function CANCEL cancels its instruction: a SettlementInstruction with function CANCEL and its
  sese.020, both under the id of what they cancel. A trade that was refused is forgotten, and its exception closed.
- On or after the settlement date this is shown as well (INSTRUCTION_CANCELLED_LATE): only a status, which is not read
  yet, tells whether it settled.

Payment
- Against payment (APMT) of the settlement amount: who delivers is credited, who receives is debited.
- Free of payment (FREE) when there is no cash at all: settlement amount and our own net amount are both zero. A zero
  amount is not an amount a depository can match and pay. A settlement amount of zero that our books do not agree with
  is refused: securities must not leave for nothing on the strength of a tolerance.

Refusals, in this order
- CONFIRMED_TRADE_CONFLICTS: identity.
- INSTRUCTION_INVALID: quantity, amounts, dates.
- PLACE_OF_SETTLEMENT_DIFFERS: different depositories; there is no data about links between depositories.
- INSTRUCTION_INVALID: what the message format says, naming the element.
"""

from services.settlement.process import SettlementStage
from services.settlement.state import Instructed, Refused

__all__ = ["Instructed", "Refused", "SettlementStage"]
