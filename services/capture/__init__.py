"""Capture: each report that comes in becomes a trade, a recognised duplicate, or an exception; none is lost or doubled.

Reads      front-office.executions (Execution), front-office.fix (Execution, AllocationInstruction, IgnoredMessage),
           front-office.allocations (AllocationInstruction): keyed by order id;
           counterparty.confirmations (CounterpartyConfirmation): keyed by confirmation id.
Writes     trades.captured (CapturedTrade) and trades.allocation-requests (AllocationInstruction): keyed by order id;
           confirmations.received (ReceivedConfirmation): keyed by what both sides of a trade know (match key);
           exceptions (ExceptionEvent): keyed by exception id.
Remembers  per execution (sender, trade date, ExecID, side) and per allocation and confirmation (sender, id) the
           fingerprint of its content; per trade its latest version and whether it is cancelled; per refused message
           which contents were refused and which of its exceptions are open; the reports that wait for another.

Guarantees
- A report that comes again, by the same or by another road (FIX, Avro), is suppressed as `duplicate`. PossDupFlag and
  PossResend are hints that decide nothing.
- The same id with other content is never booked over the first: EXECUTION_CONFLICTS, ALLOCATION_CONFLICTS,
  CONFIRMATION_CONFLICTS.
- A correction or cancellation is the next version of its trade, also when it names an earlier correction. One that
  comes before the report it names waits for it, shown as EXECUTION_REFERENCE_UNKNOWN, and is applied by itself. Of the
  changes of a trade the latest by TransactTime stands in the end, whatever order they came in; one that comes after a
  later one is `superseded`, and a cancellation is final (docs/decisions/0026).
- A refused message comes up once. When a later message under its id is accepted, or a correction names it, its
  exceptions are closed.

Refuses, in this order: routing key, identifiers and check digits, quantities and prices, dates (all from the message
alone), then conflict with an earlier report, then what a correction refers to.

Limits. What meets must share a partition: an ExecID that a sender uses twice for two orders is seen only when both
orders are in one partition. Nothing remembered is ever dropped.
"""

from services.capture.process import CaptureStage

__all__ = ["CaptureStage"]
