"""What the driver sends: invented trading days without end, as outside systems send them, from one seed.

Ids are unique over the whole run, amounts are right to the cent, all reference data is there: whatever of it is
accepted has to come out as an instruction or stand among the exceptions. Then the outside world's habits are added:
reports come twice, change places, come again much later, and some are poison.
"""

from __future__ import annotations

import copy
import io
import random
from collections import Counter, deque
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import fastavro

from deploy.sample_day.backoffice import key_of
from deploy.sample_day.catalogue import TRADE_DATE
from deploy.sample_day.dealer import FIX_42, ROADS, SINGLE_FILL, Dealer, Order, Report, Wish
from deploy.sample_day.flow import EXECUTIONS, FIX, Event, Message
from services.adapters import fix
from services.adapters.avro_careful import MARKER
from services.adapters.avro_codec import AvroCodec
from services.adapters.avro_schema import fingerprint, read_versions
from services.domain.event import AllocationInstruction, CounterpartyConfirmation, Execution
from services.domain.money import add
from services.domain.record import replace
from tests.chaos import poison

OPEN_ORDERS = 120
"""Orders under way at a time: so far do the messages of one order lie apart."""
ORDERS_A_DAY = 1_500
REMEMBERED = 3_000
"""Records that may be sent again."""
DAY_US = 86_400_000_000

RESENT = 0.02
SWAPPED = 0.02
REPLAYED = 0.003
POISONED = 0.005
POISON_ON_LIVE_KEY = 0.2
AMENDED_BEFORE_NEW = 0.1
SCHEMA_EVERY = 600
"""Executions after which the sender goes over to another version of its schema."""


class Sent(NamedTuple):
    """One record to be sent; `kind` is what the driver counts it under."""

    topic: str
    key: bytes | None
    value: bytes | None
    kind: str


class Trading:
    """Orders day after day, each with what is reported, divided and confirmed about it."""

    def __init__(self, seed: int) -> None:
        """Begin on the sample day's date."""
        self._chance = random.Random(f"trading {seed}")
        self._dealer = Dealer(seed)
        self._days = 0
        self._orders = 0
        self._date = TRADE_DATE

    def order(self) -> list[Message]:
        """All messages of the next order, in the order in which they are sent."""
        self._orders += 1
        if self._orders > ORDERS_A_DAY:
            self._next_day()
        order = self._dealer.order(Wish())
        executions = self._dealer.executions(order, self._reports(order))
        front_office = [self._on_day(message) for message in self._dealer.front_office(order, executions)]
        at_once, _ = self._dealer.allocated(front_office)
        after_us = max(message.at_us for message in front_office)
        confirmations = [
            self._dealer.confirming(self._dealer.confirmation(trade, quotes=order.quotes), after_us=after_us)
            for trade in at_once
        ]
        front_office.sort(key=lambda message: message.at_us)
        return [*front_office, *confirmations]

    def single(self, order_id: str) -> Execution:
        """A report of one fill under this order id, about which nothing else is ever said."""
        order = replace(self._dealer.order(SINGLE_FILL), order_id=order_id)
        return replace(self._dealer.executions(order)[0], trade_date=self._date)

    def _next_day(self) -> None:
        self._orders = 1
        self._days += 1
        self._date += timedelta(days=1)
        while self._date.weekday() >= 5:
            self._date += timedelta(days=1)

    def _reports(self, order: Order) -> list[Report] | None:
        """Most orders are filled and that is that; in some a fill is corrected, or cancelled and done anew."""
        if len(order.quantities) < 3 or self._chance.random() > 0.3:  # with two, all is allocated before the change
            return None
        first, second, *rest = self._dealer.fills(order)
        if self._chance.random() < 0.5:
            price = add(first.price, order.security.tick)
            return [first, second, replace(first, price=price, changes=0), *rest]
        anew = Report(quantity=first.quantity, price=self._dealer.price(order))
        return [first, second, replace(first, changes=0, is_cancel=True), anew, *rest]

    def _on_day(self, message: Message) -> Message:
        event = message.event
        at_us = message.at_us + (self._date - TRADE_DATE).days * DAY_US
        if isinstance(event, Execution):
            moved: Event = replace(event, trade_date=self._date, transaction_time_us=at_us)
        elif isinstance(event, AllocationInstruction):
            moved = replace(event, trade_date=self._date)
        else:
            raise TypeError("the front office sends executions and allocation instructions")
        return replace(message, at_us=at_us, event=moved)


class Stream:
    """The records in the order of sending."""

    def __init__(self, seed: int, schemas: Path) -> None:
        """Prepare."""
        self._chance = random.Random(f"stream {seed}")
        self._trading = Trading(seed)
        self._writer = Writer(schemas)
        self._open: list[deque[Message]] = []
        self._past: deque[Sent] = deque(maxlen=REMEMBERED)
        self._poisons = 0
        self._crashes = 0
        self._held: Sent | None = None
        """Sent after the next one."""

    def __iter__(self) -> Iterator[Sent]:
        """Records without end."""
        while True:
            while len(self._open) < OPEN_ORDERS:
                self._open.append(deque(self._disordered(self._trading.order())))
            sent = self._next()
            yield from self._unruly()
            if self._held is not None:
                before, self._held = self._held, None
                yield from (sent, before) if before.key != sent.key else (before, sent)
            elif self._chance.random() < SWAPPED:
                self._held = sent
            else:
                yield sent
            self._past.append(sent)

    def crash(self) -> Sent:
        """A record that ends the process of whoever handles it."""
        self._crashes += 1
        return self._marked(f"{poison.EXIT}capture-{self._crashes}", poison.ENDS_PROCESS)

    def rest(self) -> Iterator[Sent]:
        """What is still to be said of the orders under way, so that every one of them can be settled."""
        if self._held is not None:
            yield self._held
            self._held = None
        while self._open:
            yield self._next()

    def _next(self) -> Sent:
        position = self._chance.randrange(len(self._open))
        message = self._open[position].popleft()
        if not self._open[position]:
            self._open[position] = self._open[-1]
            self._open.pop()
        return self._writer.record(message)

    def _disordered(self, messages: list[Message]) -> list[Message]:
        """Now and then a correction overtakes the report that it corrects."""
        for position, message in enumerate(messages):
            event = message.event
            if isinstance(event, Execution) and event.execution_reference_id is not None:
                if position >= 2 and self._chance.random() < AMENDED_BEFORE_NEW:
                    messages.insert(0, messages.pop(position))
                break
        return messages

    def _unruly(self) -> Iterator[Sent]:
        drawn = self._chance.random()
        if self._past and drawn < RESENT:
            yield self._past[-min(len(self._past), self._chance.randint(1, 20))]._replace(kind="resent")
        elif self._past and drawn < RESENT + REPLAYED:
            yield self._chance.choice(self._past)._replace(kind="replayed")
        if self._chance.random() < POISONED:
            yield self._poison()

    def _poison(self) -> Sent:
        """The kinds in turn, so that a short run has all of them."""
        kind = poison.KINDS[self._poisons % len(poison.KINDS)]
        self._poisons += 1
        name = f"poison {kind}"
        if kind == poison.STAGE_RAISES:
            service = poison.RAISING_SERVICES[self._poisons // len(poison.KINDS) % len(poison.RAISING_SERVICES)]
            return self._marked(f"{poison.RAISE}{service}-{self._poisons}", kind)
        key = f"POISON-{self._poisons}"
        execution = self._trading.single(key)
        if kind == poison.WRONG_CHECKSUM:
            _, version = ROADS[FIX_42]
            message = Message(topic=FIX, at_us=execution.transaction_time_us, event=execution, begin_string=version)
            good = self._writer.record(message)
            assert good.value is not None, "a FIX message has bytes"
            return good._replace(value=poison.wrong_checksum(good.value), kind=name)
        raw = poison.AVRO_SPOILS[kind](self._chance, self._victim(key), self._writer.execution(execution))
        return Sent(EXECUTIONS, raw.key, raw.value, name)

    def _victim(self, key: str) -> bytes:
        """Mostly a key of its own; now and then that of an order, whose later reports then have to wait behind it."""
        if self._past and self._chance.random() < POISON_ON_LIVE_KEY:
            return self._past[-1].key or key.encode()
        return key.encode()

    def _marked(self, key: str, kind: str) -> Sent:
        value = self._writer.execution(self._trading.single(key))
        return Sent(EXECUTIONS, key.encode(), value, f"poison {kind}")


class Writer:
    """Messages to records. The version of the execution's schema changes in mid-stream."""

    def __init__(self, schemas: Path) -> None:
        """Read the schemas of the run."""
        self._codec = AvroCodec(schemas)
        self._versions = [version.schema for version in read_versions(schemas)["execution"]]
        self._parsed = [fastavro.parse_schema(copy.deepcopy(schema)) for schema in self._versions]
        self._headers = [MARKER + fingerprint(schema) for schema in self._versions]
        self._sequence: Counter[str] = Counter()
        self._written = 0

    def record(self, message: Message) -> Sent:
        """The message as a sender would write it."""
        event = message.event
        assert event is not None, "a message of a trading day has an event"
        key = key_of(event).encode()
        if message.topic == FIX:
            return Sent(FIX, key, self._fix(message), "FIX message")
        if isinstance(event, Execution):
            return Sent(message.topic, key, self.execution(event), "execution")
        kind = "confirmation" if isinstance(event, CounterpartyConfirmation) else "allocation"
        return Sent(message.topic, key, self._codec.encode(event), kind)

    def execution(self, event: Execution) -> bytes:
        """An execution in the version that its sender has now."""
        version = self._written // SCHEMA_EVERY % len(self._versions)
        self._written += 1
        row: dict[str, Any] = {name: getattr(event, name) for name in event.__struct_fields__}
        row["desk"] = None if self._written % 2 else "EQUITIES"
        output = io.BytesIO()
        names = {field["name"] for field in self._versions[version]["fields"]}
        fastavro.schemaless_writer(
            output, self._parsed[version], {name: value for name, value in row.items() if name in names}
        )
        return self._headers[version] + output.getvalue()

    def _fix(self, message: Message) -> bytes:
        event = message.event
        assert isinstance(event, Execution | AllocationInstruction), "only these are sent by FIX"
        self._sequence[event.sender] += 1
        number, at_us = self._sequence[event.sender], message.at_us
        if isinstance(event, Execution):
            return fix.encode_execution(
                event, begin_string=message.begin_string, sequence_number=number, sending_time_us=at_us
            )
        return fix.encode_allocation_instruction(
            event, begin_string=message.begin_string, sequence_number=number, sending_time_us=at_us
        )
