"""Confirmation: an allocated trade and the counterparty's confirmation of it meet, and are compared.

Reads       `trades.allocated` (AllocatedTrade) and `confirmations.received` (ReceivedConfirmation), both keyed by
            match_key and equally partitioned, so that the two sides of a trade meet on one worker.
Writes      `trades.confirmed` (ConfirmedTrade, key allocation_id) and `exceptions` (ExceptionEvent, key exception_id).
Remembers   per match_key the ids of what is open (MatchGroup); each open side in full (OpenAllocation,
            OpenConfirmation); of what was matched the ids, to know a repetition, and the confirmation, which may be
            free again (MatchedAllocation, MatchedConfirmation); which pairs differ (Mismatch); when each open side is
            due (Deadline, NextDeadline).

Rules, in this order, for all that is open under one match_key
1. A confirmation that quotes an allocation id or reference is compared with that allocation alone; it waits for it, and
   is never matched with another.
2. Equal in all fields.
3. Within the tolerances of the counterparty's matching profile, smallest difference of cash first, then of price, then
   by ids. Quantity, currency, sides, identifiers and dates have no tolerance.
4. Of what is left, a confirmation and an allocation of equal quantity, or the last two, are one trade that the sides
   see differently: an open exception names each field. It closes when the allocation is matched or paired with none.
Everything else waits; what waits too long is shown (UNCONFIRMED, UNMATCHED_CONFIRMATION) until it is matched.

Taking back (docs/decisions/0026). An allocation that is taken back leaves its group, and what was open about it closes.
If it was matched, a ConfirmedTrade with function CANCEL takes back what was confirmed, and the confirmation is open
again.

Guarantees
- An allocation is confirmed at most once, and by one confirmation; repeated events are recognised.
- Cash that differs within tolerance settles at the seller's amount, which is what the depository would do.
- Where the fields say without doubt which two belong together, the order of arrival does not change what is matched and
  which exceptions are open in the end.

Refuses     CONFIRMATION_CONFLICTS.
Waits       CONFIRMATION_MISMATCHED, UNCONFIRMED, UNMATCHED_CONFIRMATION.
"""
