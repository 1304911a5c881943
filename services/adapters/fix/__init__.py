"""FIX messages in and out: ExecutionReport (35=8) and AllocationInstruction (35=J) of FIX 4.2 to 4.4 and FIXT.1.1.

Reads   the bytes of one message, separated by SOH (0x01) as on a session; `split_messages` cuts a file into them.
Answers `Execution`, `AllocationInstruction`, or `IgnoredMessage` for what reports nothing to book.
Refuses with `FixError` what cannot be read for certain: framing, missing or contradicting fields, numbers, codes.
        Its sentence names the tag and never quotes the message, so that it can be logged; the bytes go to dead letters.
Leaves  judgement to capture: a negative quantity or an unknown market is decoded as it stands.

What decides between booking and ignoring
- FIX 4.3 and later: ExecType (150) F trade, G correction, H cancellation.
- FIX 4.2: ExecTransType (20). 1 is a cancellation and 2 a correction whatever ExecType says, because a bust carries the
  order's status there (150=0 when the only fill is busted); 0 is a fill when ExecType is 1 or 2.
- A code that its version does not define is an error, never ignored: an overlooked fill would be a trade that is lost.

The trade date is TradeDate (75) alone; SendingTime (52) and TransactTime (60) are UTC, so their date may be another.
"""

from services.adapters.fix.decode import decode
from services.adapters.fix.encode import encode_allocation_instruction, encode_execution
from services.adapters.fix.framing import FixError, order_id, split_messages

__all__ = [
    "FixError",
    "decode",
    "encode_allocation_instruction",
    "encode_execution",
    "order_id",
    "split_messages",
]
