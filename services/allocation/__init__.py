"""Allocation: the fills of one order on one trade date become a block, and the block is divided among accounts.

Reads       `trades.enriched` (EnrichedTrade) and `trades.allocation-requests` (AllocationInstruction), both keyed by
            order_id and equally partitioned, so that a block and its instructions meet on one worker.
Writes      `trades.allocated` (AllocatedTrade, key match_key) and `exceptions` (ExceptionEvent, key exception_id).
Remembers   per block: its terms, its exact totals, how much is given away and what is pending (Block); per fill what
            was reported last (Fill); per instruction its content and its fate (KeptInstruction); per share that stands
            its cash and where it settles (GivenShare); what waits for reference data (WaitingBlock, WaitingShare);
            which blocks are not finished (OpenBlock, NextDeadline); the market's deadline for their allocation
            (AllocateBy, NextAllocateBy).

Rules
- A block is complete when the latest report of its fills, by transaction time, leaves nothing open and its cumulative
  quantity is the sum of the live fills. Nothing is judged or divided before that, so prices and cash depend neither on
  which of the two topics is ahead nor on when a fill arrives.
- The policy of the block account (reference Account, on the trade date) decides: SINGLE gives the whole block to the
  account, TEMPLATE divides it by the standing template in units of the denomination, EXPLICIT waits for instructions,
  which are applied in the order of their topic and may each take a part.
- Cash (gross, accrued interest, every charge) is divided by quantity. An instruction gets the rounded cumulative amount
  up to it, less the rounded cumulative amount before it; within it the largest remainder decides (money.apportion). So
  parts are never negative, and once the block is fully allocated they add up to it to the last unit, whether it was
  divided by one instruction or by many.
- A share whose account or settlement instruction is unknown keeps its cash, waits under an open exception, and is
  published as soon as reference data has it.

Changes (docs/decisions/0026)
- A fill that is corrected, cancelled or comes late, and an instruction that is replaced or cancelled, reopen a block
  that was divided: all its instructions are judged again, in the order of their topic, by the rules above.
- A share that comes out as it was stays. Any other is taken back by an event of its own (function CANCEL), and what
  takes its place has the block's next version. A block that is not complete any more has nothing allocated.
- An instruction that was applied and asks for more than there is now is ALLOCATION_DISQUALIFIED until it is replaced,
  or fits again.

Guarantees
- What is allocated in the end and which exceptions are open depends on the fills and instructions, not on how the two
  topics interleave or in what order the fills arrive. Nothing that was published is ever edited.
- Every allocation id is published once, and taken back at most once.
- One fill version counts once and one instruction id is applied once, however often they arrive.

Refuses     FILL_CONTRADICTS_BLOCK, ALLOCATION_CONFLICTS, ALLOCATION_CHANGE_UNSUPPORTED, ALLOCATION_CONTRADICTS_BLOCK,
            QUANTITIES_DISAGREE, QUANTITY_NOT_POSITIVE, OVER_ALLOCATION, ALLOCATION_DISQUALIFIED.
Waits       ACCOUNT_MISSING, ALLOCATION_TEMPLATE_MISSING, INSTRUMENT_MISSING (blocks), ACCOUNT_MISSING,
            ACCOUNT_SSI_MISSING (shares), BLOCK_UNALLOCATED (time is up), ALLOCATION_DUE, ALLOCATION_LATE
            (the market's deadline).
"""
