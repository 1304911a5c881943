"""Draws orders, and writes down what trading systems, clients and counterparties say about them.

Everything comes from one seeded `random.Random`; prices and quantities are drawn as whole ticks and lots.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

from deploy.sample_day import catalogue
from deploy.sample_day.backoffice import Backoffice
from deploy.sample_day.catalogue import TRADE_DATE, Security
from deploy.sample_day.counterparties import PARTY_BICS
from deploy.sample_day.flow import ALLOCATIONS, CONFIRMATIONS, EXECUTIONS, FIX, Message
from services.domain import identity
from services.domain.code import (
    AllocationPolicy,
    AllocationTransactionType,
    ExecutionType,
    InstrumentType,
    PriceType,
    SecurityIdSource,
    Side,
)
from services.domain.event import (
    AccountAllocation,
    AllocatedTrade,
    AllocationInstruction,
    CounterpartyConfirmation,
    Execution,
)
from services.domain.money import add, multiply, round_fraction
from services.domain.record import Record, replace

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
_MIDNIGHT_US = 1_772_409_600 * SECOND_US  # 2026-03-02T00:00:00Z

# Minutes after midnight UTC between which orders begin.
_HOURS = {"US": (875, 1230), "GB": (485, 960), "DE": (485, 1000), "FR": (485, 1000), "JP": (5, 350)}
_LATE_US = _MIDNIGHT_US + 22 * 60 * MINUTE_US

ROADS = {"OMS-LDN": (EXECUTIONS, "FIX.4.4"), "EMS-FRA": (FIX, "FIX.4.4"), "EMS-NYC": (FIX, "FIX.4.2")}
"""Reporting systems: the topic each reports on, and its version of FIX."""
AVRO, FIX_44, FIX_42 = ROADS

_DRAWS_MAX = 2_000
_UNQUOTED_MAX = 150
"""Good trades whose confirmation quotes no reference. Such a trade has its match key to itself, and keys are finite."""

_NOTIONALS = {"JPY": (3_000, 400_000)}
_NOTIONAL_OTHERS = (20, 3_000)
_LOTS_MIN = 30
"""Enough for every account of a template and every fill to get something."""

_PRICE_DIGITS = 6


class Wish(Record, kw_only=True):
    """What an order has to be; what is left open is drawn."""

    policies: tuple[AllocationPolicy, ...] = tuple(AllocationPolicy)
    markets: tuple[str, ...] = catalogue.MARKETS
    roads: tuple[str, ...] = tuple(ROADS)
    account: str | None = None
    counterparty: str | None = None
    security: Security | None = None
    instrument_types: tuple[InstrumentType, ...] = tuple(InstrumentType)
    side: Side | None = None
    also: str | None = None
    """An account that gets a share of an explicit allocation."""
    fills: tuple[int, int] = (1, 5)
    gap: bool = False
    """Whether the order may need what the catalogue leaves out."""
    alone: bool = False
    """Whether no other trade may have its match keys."""


SINGLE_FILL = Wish(policies=(AllocationPolicy.SINGLE,), fills=(1, 1))
"""The plainest order: one fill, one account."""


class Order(Record, kw_only=True):
    """One order and everything about it that was drawn."""

    order_id: str
    sender: str
    account: str
    policy: AllocationPolicy
    security: Security
    side: Side
    counterparty: str
    quantity: Decimal
    quantities: tuple[Decimal, ...]
    """The fills."""
    starts_us: int
    shares: tuple[tuple[str, Decimal], ...]
    """Accounts and quantities of an explicit allocation; else the accounts that settle, with 0."""
    quotes: bool = True
    """Whether confirmations quote a reference."""

    @property
    def accounts(self) -> tuple[str, ...]:
        """The accounts that settle."""
        return tuple(account for account, _ in self.shares)


class Report(Record, kw_only=True):
    """One step in the life of an order: a fill, or a change to the execution at `changes`."""

    quantity: Decimal
    price: Decimal
    changes: int | None = None
    is_cancel: bool = False


class Dealer:
    """Draws orders and gives out ids; one for a whole day."""

    def __init__(self, seed: int) -> None:
        """Start the day."""
        self.random = random.Random(seed)  # noqa: S311  # a repeatable day, no secret
        self._backoffice = Backoffice()
        self._numbers: dict[str, int] = {}
        self._alone: set[str] = set()
        self._shared: set[str] = set()
        self._unquoted = 0

    def number(self, kind: str, digits: int = 6) -> str:
        """The next number of a kind of id."""
        value = self._numbers.get(kind, 0) + 1
        self._numbers[kind] = value
        return f"{value:0{digits}d}"

    # --- orders ------------------------------------------------------------------------------------------------------

    def order(self, wish: Wish) -> Order:
        """Draw an order. Raises ValueError when no match key is left that it could have to itself."""
        for _ in range(_DRAWS_MAX):
            order = self._draw(wish)
            keys = set(_match_keys(order))
            if (not wish.gap and _needs_gap(order)) or keys & self._alone or (wish.alone and keys & self._shared):
                continue
            quotes = not (wish.alone or (not keys & self._shared and self._leaves_out_reference()))
            (self._shared if quotes else self._alone).update(keys)
            return replace(order, order_id=f"ORD-260302-{self.number('order')}", quotes=quotes)
        raise ValueError("no match key was left; ask for fewer troubles")

    def _leaves_out_reference(self) -> bool:
        if self._unquoted >= _UNQUOTED_MAX or self.random.randrange(3):
            return False
        self._unquoted += 1
        return True

    def _draw(self, wish: Wish) -> Order:
        pick = self.random
        policy = pick.choice(wish.policies)
        account = wish.account or pick.choice(catalogue.BLOCK_ACCOUNTS[policy])
        security = wish.security or self._security(wish)
        sender = self._sender(wish, security)
        lots = self._lots(security)
        fills = min(pick.randint(*wish.fills), pick.randint(*wish.fills))  # small numbers are likelier
        quantities = self._split(lots, fills, security.lot)
        is_equity = not security.instrument.instrument_type.is_debt
        first, last = _HOURS[security.instrument.settlement_market]
        return Order(
            order_id="",
            sender=sender,
            account=account,
            policy=policy,
            security=security,
            side=wish.side or pick.choices((Side.BUY, Side.SELL, Side.SELL_SHORT), (50, 44, 6 if is_equity else 0))[0],
            counterparty=wish.counterparty or pick.choice(PARTY_BICS),
            quantity=add(*quantities),
            quantities=quantities,
            starts_us=_MIDNIGHT_US + pick.randint(first, last) * MINUTE_US + pick.randint(0, 59_999) * 1_000,
            shares=self._shares(wish, policy, account, lots, security.lot),
        )

    def _security(self, wish: Wish) -> Security:
        market, kinds = self.random.choice(wish.markets), wish.instrument_types
        fitting = [
            security
            for security in catalogue.SECURITIES
            if security.instrument.settlement_market == market and security.instrument.instrument_type in kinds
        ]
        return self.random.choice(fitting)

    def _sender(self, wish: Wish, security: Security) -> str:
        """The trading system; New York's old FIX session trades American shares only."""
        instrument = security.instrument
        is_american = instrument.settlement_market == "US" and not instrument.instrument_type.is_debt
        return self.random.choice([sender for sender in wish.roads if sender != FIX_42 or is_american])

    def _lots(self, security: Security) -> int:
        thousands = self.random.randint(*_NOTIONALS.get(security.instrument.currency, _NOTIONAL_OTHERS))
        price = Fraction(security.tick) * security.level / (100 if security.instrument.instrument_type.is_debt else 1)
        return max(int(thousands * 1_000 / price / Fraction(security.lot)), _LOTS_MIN)

    def _split(self, lots: int, parts: int, lot: Decimal) -> tuple[Decimal, ...]:
        """Cut a number of lots into parts, none of them empty."""
        cuts = [0, *sorted(self.random.sample(range(1, lots), parts - 1)), lots]
        return tuple(multiply(Decimal(end - begin), lot) for begin, end in pairwise(cuts))

    def _shares(
        self, wish: Wish, policy: AllocationPolicy, account: str, lots: int, lot: Decimal
    ) -> tuple[tuple[str, Decimal], ...]:
        if policy is AllocationPolicy.SINGLE:
            return ((account, Decimal(0)),)
        if policy is AllocationPolicy.TEMPLATE:
            return tuple((settling, Decimal(0)) for settling, _ in catalogue.TEMPLATES[account])
        accounts = self.random.sample(catalogue.EXPLICIT_SHARES, self.random.randint(2, 4))
        if wish.also is not None:
            accounts = [wish.also, *(settling for settling in accounts if settling != wish.also)]
        return tuple(zip(accounts, self._split(lots, len(accounts), lot), strict=True))

    # --- what the front office reports -------------------------------------------------------------------------------

    def price(self, order: Order, *, ticks_off: int = 0) -> Decimal:
        """A price of the day, or `ticks_off` the level."""
        level = order.security.level
        spread = max(level // 200, 1)
        return multiply(order.security.tick, Decimal(level + (ticks_off or self.random.randint(-spread, spread))))

    def fills(self, order: Order) -> list[Report]:
        """The order's fills as drawn."""
        return [Report(quantity=quantity, price=self.price(order)) for quantity in order.quantities]

    def executions(self, order: Order, reports: Sequence[Report] | None = None) -> list[Execution]:
        """The order's fills, or the given reports, with running quantities."""
        steps = self.fills(order) if reports is None else reports
        live: dict[int, Decimal] = {}
        roots: list[int] = []  # of each step the fill it is about
        executions: list[Execution] = []
        at_us = order.starts_us
        for position, step in enumerate(steps):
            changed = position if step.changes is None else roots[step.changes]
            roots.append(changed)
            live[changed] = Decimal(0) if step.is_cancel else step.quantity
            filled = add(*live.values())
            executions.append(
                self._execution(
                    order,
                    step,
                    at_us=at_us,
                    filled=filled,
                    leaves=add(order.quantity, -filled),
                    reference=None if step.changes is None else executions[step.changes].execution_id,
                )
            )
            at_us += self.random.randint(400, 240_000) * 1_000
        return executions

    def _execution(
        self, order: Order, step: Report, *, at_us: int, filled: Decimal, leaves: Decimal, reference: str | None
    ) -> Execution:
        instrument, coupon = order.security.instrument, order.security.coupon
        names = [(SecurityIdSource.ISIN, instrument.isin), (SecurityIdSource.SEDOL, instrument.sedol)]
        names.append((SecurityIdSource.CUSIP, instrument.cusip))
        # A sender names the instrument in one way, and New York does so by CUSIP.
        source, security_id = next(
            (source, name) for source, name in (names if order.sender != FIX_42 else names[::-1]) if name
        )
        if order.sender == FIX_44 and instrument.sedol:
            source, security_id = SecurityIdSource.SEDOL, instrument.sedol
        changes = ExecutionType.TRADE_CANCEL if step.is_cancel else ExecutionType.TRADE_CORRECT
        return Execution(
            sender=order.sender,
            execution_id=f"{order.sender[-3:]}{self.number('execution', 7)}",
            execution_type=ExecutionType.TRADE if reference is None else changes,
            execution_reference_id=reference,
            order_id=order.order_id,
            account=order.account,
            side=order.side,
            security_id=security_id,
            security_id_source=source,
            quantity=step.quantity,
            price=step.price,
            price_type=PriceType.PERCENT_OF_PAR if instrument.instrument_type.is_debt else PriceType.PER_UNIT,
            currency=instrument.currency,
            venue=order.security.venue,
            trade_date=TRADE_DATE,
            transaction_time_us=at_us,
            counterparty=order.counterparty,
            cumulative_quantity=filled,
            leaves_quantity=leaves,
            accrued_interest_amount=coupon.accrued(step.quantity) if coupon else None,
        )

    def instruction(
        self,
        order: Order,
        shares: Sequence[tuple[str, Decimal]],
        *,
        quantity: Decimal | None = None,
        replaces: AllocationInstruction | None = None,
    ) -> AllocationInstruction:
        """The client's division of the block or of a part; `quantity` is the total it states, if not the sum."""
        instruction_id = f"ALC-{self.number('instruction')}"
        instrument = order.security.instrument
        kind = AllocationTransactionType.NEW if replaces is None else AllocationTransactionType.REPLACE
        names_shares = self.random.randrange(10) < 7  # most clients give each share an id of its own
        return AllocationInstruction(
            sender=order.sender,
            instruction_id=instruction_id,
            transaction_type=kind,
            reference_id=None if replaces is None else replaces.instruction_id,
            order_id=order.order_id,
            side=order.side,
            security_id=instrument.isin,
            security_id_source=SecurityIdSource.ISIN,
            quantity=add(*(share for _, share in shares)) if quantity is None else quantity,
            trade_date=TRADE_DATE,
            allocations=tuple(
                AccountAllocation(
                    account=account,
                    quantity=share,
                    individual_allocation_id=f"{instruction_id}-{ordinal}" if names_shares else None,
                )
                for ordinal, (account, share) in enumerate(shares, start=1)
            ),
        )

    # --- messages ----------------------------------------------------------------------------------------------------

    def reported(self, executions: Sequence[Execution]) -> list[Message]:
        """Executions on the road of their sender."""
        return [_report(execution) for execution in executions]

    def allocating(
        self, order: Order, instructions: Sequence[AllocationInstruction], *, after_us: int
    ) -> list[Message]:
        """Allocation instructions, all on one road: their order counts."""
        topic = FIX if order.sender == FIX_44 and self.random.randrange(10) < 7 else ALLOCATIONS
        messages = []
        for instruction in instructions:
            after_us += self.random.randint(5_000, 300_000) * 1_000
            messages.append(Message(topic=topic, at_us=after_us, event=instruction))
        return messages

    def in_late_phase(self, messages: Sequence[Message]) -> list[Message]:
        """The same messages in the evening, in their order."""
        return [replace(message, at_us=_LATE_US + number * SECOND_US) for number, message in enumerate(messages)]

    def front_office(self, order: Order, executions: Sequence[Execution]) -> list[Message]:
        """The reports of an order, and what its client says about it."""
        messages = self.reported(executions)
        if order.policy is not AllocationPolicy.EXPLICIT:
            return messages
        # Some clients divide before the order is done, some in two parts; both must come to the same.
        early = self.random.randrange(5) == 0
        return messages + self.dividing(order, after_us=order.starts_us if early else messages[-1].at_us)

    def dividing(self, order: Order, *, after_us: int) -> list[Message]:
        """What the client says about the division of the whole block, in one part or two."""
        cut = 1 if self.random.randrange(4) == 0 else len(order.shares)
        parts = [part for part in (order.shares[:cut], order.shares[cut:]) if part]
        instructions = [self.instruction(order, part) for part in parts]
        return self.allocating(order, instructions, after_us=after_us)

    # --- confirmations -----------------------------------------------------------------------------------------------

    def allocated(self, messages: Sequence[Message]) -> tuple[list[AllocatedTrade], list[AllocatedTrade]]:
        """What our services will allocate at once, and when the late files are there."""
        in_order = sorted(messages, key=lambda message: message.at_us)
        return self._backoffice.allocate(in_order)

    def confirmation(self, trade: AllocatedTrade, *, quotes: bool) -> CounterpartyConfirmation:
        """The counterparty's view when it agrees; prices are confirmed with six decimals."""
        reference = trade.allocation_reference or trade.allocation_id
        return CounterpartyConfirmation(
            sender=trade.counterparty,
            confirmation_id=self.confirmation_id(trade.counterparty),
            allocation_reference=reference if quotes else None,
            account=trade.account,
            side=trade.side.opposite,
            isin=trade.isin,
            quantity=trade.quantity,
            price=round_fraction(Fraction(trade.average_price), digits=_PRICE_DIGITS),
            currency=trade.currency,
            net_amount=trade.net_amount,
            trade_date=trade.trade_date,
            settlement_date=trade.settlement_date,
        )

    def confirmation_id(self, counterparty: str) -> str:
        """The next id of a counterparty's confirmation."""
        return f"{counterparty[:4]}-{self.number('confirmation')}"

    def confirming(self, confirmation: CounterpartyConfirmation, *, after_us: int) -> Message:
        """A confirmation some minutes after."""
        at_us = after_us + self.random.randint(30_000, 1_200_000) * 1_000
        return Message(topic=CONFIRMATIONS, at_us=at_us, event=confirmation)

    def late(self, confirmation: CounterpartyConfirmation) -> Message:
        """A confirmation of the late phase, in the evening."""
        return self.confirming(confirmation, after_us=_LATE_US)


def _report(execution: Execution) -> Message:
    topic, begin_string = ROADS[execution.sender]
    return Message(topic=topic, at_us=execution.transaction_time_us, event=execution, begin_string=begin_string)


def _needs_gap(order: Order) -> bool:
    market = order.security.instrument.settlement_market
    return any((owner, market) in catalogue.GAPS for owner in (order.counterparty, *order.accounts))


def _match_keys(order: Order) -> Iterator[str]:
    for account in order.accounts:
        yield identity.match_key(
            counterparty=order.counterparty,
            account=account,
            isin=order.security.instrument.isin,
            side=order.side.settles_as,
            trade_date=TRADE_DATE,
        )
