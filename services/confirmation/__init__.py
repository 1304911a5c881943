"""Confirmation: an allocated trade and the counterparty's confirmation of it meet, are compared, and may be cancelled.

Reads       `trades.allocated` (AllocatedTrade) and `confirmations.received` (ReceivedConfirmation), both keyed by
            match_key and equally partitioned, so that the two sides of a trade meet on one worker.
Writes      `trades.confirmed` (ConfirmedTrade, key allocation_id), `confirmations.status` (MatchStatusReport, key
            subject_id) and `exceptions` (ExceptionEvent, key exception_id).
Remembers   per match_key the ids of what is open (MatchGroup); each open side in full (OpenAllocation,
            OpenConfirmation); of what was matched the ids and what was taken from the counterparty, to know a
            repetition, and the confirmation, which may be free again (MatchedAllocation, MatchedConfirmation); which
            pairs differ (Mismatch); what was cancelled, by whom, also before it came (Withdrawn, ConfirmationChange);
            who asks to cancel a match (CancelRequest); what was told of a side (ShownStatus); when each open side is
            due (Deadline, NextDeadline).

Pairing (L1): the match key, which is counterparty, account, instrument, side and trade date; then, in this order,
1. A confirmation that quotes an allocation id or reference is compared with that allocation alone; it waits for it, and
   is never matched with another.
2. Within the tolerances of the counterparty's matching profile, the nearest first: by net amount, price, gross amount,
   accrued interest, commission, charges, date, then by ids. Equal is nearest.
3. Of what is left, a confirmation and an allocation of equal quantity, or the last two, are one trade that the sides
   see differently: an open exception names each field. It closes when the allocation is matched or paired with none.
Everything else waits; what waits too long is shown (UNCONFIRMED, UNMATCHED_CONFIRMATION) until it is matched. Where the
market has a deadline for the affirmation, the desk is told before it and at it (AFFIRMATION_DUE, AFFIRMATION_LATE).

Comparison (L2): each field under its code, EXCT, PTOL, PTMX, MNMX, CPOP or NUFM (tolerances.py). What the counterparty
does not state is not compared. Status and cancels: statuses.py, cancelling.py, docs/decisions/0024.

Taking back (taking_back.py, docs/decisions/0026). An allocation that is taken back leaves its group, and what was open
about it closes. If it was matched, a ConfirmedTrade with function CANCEL takes back what was confirmed, and the
confirmation is open again, unless its sender had asked for that.

Guarantees
- An allocation is confirmed at most once, and by one confirmation; repeated events are recognised.
- Cash that differs within tolerance settles at the seller's amount, which is what the depository would do; where the
  counterparty populates a field (CPOP), at its value.
- Where the fields say without doubt which two belong together, the order of arrival does not change what is matched and
  which exceptions are open in the end. The same holds for cancels among themselves, before and after the match.
- What our side takes back settles no more, whatever the counterparty says; what the counterparty alone takes back
  settles.

Refuses     CONFIRMATION_CONFLICTS, CONFIRMATION_CANCEL_REFUSED.
Waits       CONFIRMATION_MISMATCHED, UNCONFIRMED, UNMATCHED_CONFIRMATION, CONFIRMATION_REFERENCE_UNKNOWN,
            CONFIRMATION_CANCEL_REQUESTED, AFFIRMATION_DUE, AFFIRMATION_LATE.
"""
