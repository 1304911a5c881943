"""What the sample day is made of: messages, the flow of messages about one order, and what is promised of it."""

from __future__ import annotations

from services.domain.event import AllocationInstruction, CounterpartyConfirmation, Execution
from services.domain.reason import Reason
from services.domain.record import Record

EXECUTIONS = "front-office.executions"
FIX = "front-office.fix"
ALLOCATIONS = "front-office.allocations"
CONFIRMATIONS = "counterparty.confirmations"

Event = Execution | AllocationInstruction | CounterpartyConfirmation


class Message(Record, kw_only=True):
    """One record to be sent: an event, or bytes as they are."""

    topic: str
    at_us: int
    """When it is sent; the order of the files, microseconds since the epoch."""
    event: Event | None = None
    begin_string: str = "FIX.4.4"
    """Version of FIX, for messages on the FIX topic."""
    is_broken: bool = False
    """A FIX message whose checksum is wrong."""
    key: str | None = None
    """Key of bytes that are sent as they are; an event has the key of its topic."""
    value: bytes | None = None
    """Bytes that are sent as they are; None, without an event, is a record without a value."""

    @property
    def is_execution(self) -> bool:
        """Whether it is an execution report that can be read."""
        return isinstance(self.event, Execution) and not self.is_broken


class Promise(Record, kw_only=True):
    """What must stand once all is sent and nothing moves any more; `late_` is what the late files bring of it.

    What they bring is below 0 where they take more back than they make anew.
    """

    allocations: int = 0
    confirmations: int = 0
    instructions: int = 0
    late_allocations: int = 0
    late_confirmations: int = 0
    late_instructions: int = 0
    open_reasons: tuple[Reason, ...] = ()
    """One for each exception that stays open."""
    closed_late: tuple[Reason, ...] = ()
    """One for each exception that is open until the late files are there."""
    opened_late: tuple[Reason, ...] = ()
    """One for each exception that the late files open, and that stays open."""
    late_comes_last: bool = False
    """Whether its late messages mean something else when they overtake the main phase."""
    overdue: tuple[Reason, ...] = ()
    """One for each exception that is opened when the time allowed, 15 minutes, is up."""
    duplicates: int = 0
    """Messages that capture suppresses as duplicates."""
    dead_letters: int = 0


class Flow(Record, kw_only=True):
    """All messages about one order, or about one thing that is no order."""

    example: str
    """Id to follow it by: the order id, or the confirmation id where there is no order."""
    messages: tuple[Message, ...]
    promise: Promise
    late: tuple[Message, ...] = ()
    trouble: str | None = None
    """Name of the trouble in it; None if there is none."""
