"""Valid records for tests, one function each; keyword arguments replace fields."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from services.domain import event as ev
from services.domain import identity
from services.domain.code import (
    AllocationTransactionType,
    ExecutionType,
    InstrumentType,
    PriceType,
    SecurityIdSource,
    Side,
)

COUNTERPARTY_BIC = "DEUTDEFFXXX"
ISIN = "DE0007164600"
TRADE_DATE = date(2026, 3, 2)
SETTLEMENT_DATE = date(2026, 3, 4)
RECEIVED_AT_US = 1_772_445_600_000_000  # 2026-03-02T10:00:00Z


def execution(**changes: Any) -> ev.Execution:
    """A single fill of 1,000 at 100.00 EUR that completes its order."""
    return ev.Execution(**(_execution_fields() | changes))


def _execution_fields() -> dict[str, Any]:
    return {
        "sender": "OMS1",
        "execution_id": "E1",
        "execution_type": ExecutionType.TRADE,
        "order_id": "O1",
        "account": "FUND-A",
        "side": Side.BUY,
        "security_id": ISIN,
        "security_id_source": SecurityIdSource.ISIN,
        "quantity": Decimal(1000),
        "price": Decimal("100.00"),
        "price_type": PriceType.PER_UNIT,
        "currency": "EUR",
        "venue": "XETR",
        "trade_date": TRADE_DATE,
        "transaction_time_us": RECEIVED_AT_US - 1_000_000,
        "counterparty": COUNTERPARTY_BIC,
        "cumulative_quantity": Decimal(1000),
        "leaves_quantity": Decimal(0),
    }


def captured_trade(**changes: Any) -> ev.CapturedTrade:
    """What capture makes of `execution()`."""
    fields = _execution_fields() | {"version": 1, "received_at_us": RECEIVED_AT_US} | changes
    if "trade_id" not in fields:
        fields["trade_id"] = identity.trade_id(
            sender=fields["sender"],
            trade_date=fields["trade_date"],
            execution_id=fields["execution_id"],
            side=fields["side"],
        )
    return ev.CapturedTrade(**fields)


def counterparty_chain(**changes: Any) -> ev.SettlementChain:
    """Where the counterparty settles: Clearstream Frankfurt."""
    fields: dict[str, Any] = {
        "depository_bic": "DAKVDEFFXXX",
        "participant_bic": COUNTERPARTY_BIC,
        "participant_account": "70010000",
        "safekeeping_account": "CP-SAFE-1",
    }
    return ev.SettlementChain(**(fields | changes))


def account_chain(**changes: Any) -> ev.SettlementChain:
    """Where our account settles: the same depository through a custodian."""
    fields: dict[str, Any] = {
        "depository_bic": "DAKVDEFFXXX",
        "participant_bic": "PARBDEFFXXX",
        "participant_account": "70020000",
        "safekeeping_account": "FUND-A-SAFE",
    }
    return ev.SettlementChain(**(fields | changes))


def enriched_trade(**changes: Any) -> ev.EnrichedTrade:
    """What enrichment makes of `captured_trade()`; cash follows quantity and price, no charges."""
    trade = captured_trade(
        **{name: value for name, value in changes.items() if name in ev.CapturedTrade.__struct_fields__}
    )
    gross = (trade.quantity * trade.price).quantize(Decimal("0.01"))
    fields: dict[str, Any] = {name: getattr(trade, name) for name in ev.CapturedTrade.__struct_fields__} | {
        "isin": trade.security_id,
        "instrument_type": InstrumentType.EQUITY,
        "settlement_market": "DE",
        "settlement_date": SETTLEMENT_DATE,
        "gross_amount": gross,
        "accrued_interest": Decimal(0),
        "charges": (),
        "net_amount": gross,
        "counterparty_lei": "7LTWFZYICNSX8D621K86",
        "counterparty_chain": counterparty_chain(),
    }
    return ev.EnrichedTrade(**(fields | changes))


def allocation_instruction(**changes: Any) -> ev.AllocationInstruction:
    """Divide the block of `execution()` among two accounts."""
    fields: dict[str, Any] = {
        "sender": "OMS1",
        "instruction_id": "J1",
        "transaction_type": AllocationTransactionType.NEW,
        "order_id": "O1",
        "side": Side.BUY,
        "security_id": ISIN,
        "security_id_source": SecurityIdSource.ISIN,
        "quantity": Decimal(1000),
        "trade_date": TRADE_DATE,
        "allocations": (
            ev.AccountAllocation(account="FUND-A", quantity=Decimal(600)),
            ev.AccountAllocation(account="FUND-B", quantity=Decimal(400)),
        ),
    }
    return ev.AllocationInstruction(**(fields | changes))


def _allocated_fields() -> dict[str, Any]:
    trade = captured_trade()
    block = identity.block_id(order_id="O1", trade_date=TRADE_DATE)
    return {
        "allocation_id": identity.allocation_id(block=block, instruction="J1", account="FUND-A", ordinal=0),
        "block_id": block,
        "order_id": "O1",
        "trade_ids": (trade.trade_id,),
        "block_account": "FUND-A",
        "account": "FUND-A",
        "side": Side.BUY,
        "isin": ISIN,
        "instrument_type": InstrumentType.EQUITY,
        "settlement_market": "DE",
        "venue": "XETR",
        "quantity": Decimal(1000),
        "average_price": Decimal("100.00"),
        "price_type": PriceType.PER_UNIT,
        "currency": "EUR",
        "gross_amount": Decimal("100000.00"),
        "accrued_interest": Decimal(0),
        "charges": (),
        "net_amount": Decimal("100000.00"),
        "trade_date": TRADE_DATE,
        "settlement_date": SETTLEMENT_DATE,
        "counterparty": COUNTERPARTY_BIC,
        "counterparty_lei": "7LTWFZYICNSX8D621K86",
        "counterparty_chain": counterparty_chain(),
        "account_chain": account_chain(),
        "received_at_us": RECEIVED_AT_US,
    }


def _with_match_key(fields: dict[str, Any]) -> dict[str, Any]:
    key = identity.match_key(
        counterparty=fields["counterparty"],
        account=fields["account"],
        isin=fields["isin"],
        side=fields["side"],
        trade_date=fields["trade_date"],
    )
    return {"match_key": key} | fields


def allocated_trade(**changes: Any) -> ev.AllocatedTrade:
    """The whole block of `execution()` for one account."""
    return ev.AllocatedTrade(**_with_match_key(_allocated_fields() | changes))


def confirmation(**changes: Any) -> ev.CounterpartyConfirmation:
    """The counterparty's view of `allocated_trade()`: same economics, opposite side."""
    return ev.CounterpartyConfirmation(**(_confirmation_fields() | changes))


def _confirmation_fields() -> dict[str, Any]:
    return {
        "sender": COUNTERPARTY_BIC,
        "confirmation_id": "C1",
        "account": "FUND-A",
        "side": Side.SELL,
        "isin": ISIN,
        "quantity": Decimal(1000),
        "price": Decimal("100.00"),
        "currency": "EUR",
        "net_amount": Decimal("100000.00"),
        "trade_date": TRADE_DATE,
        "settlement_date": SETTLEMENT_DATE,
    }


def received_confirmation(**changes: Any) -> ev.ReceivedConfirmation:
    """What capture makes of `confirmation()`."""
    fields = _confirmation_fields() | {"received_at_us": RECEIVED_AT_US} | changes
    key = identity.match_key(
        counterparty=fields["sender"],
        account=fields["account"],
        isin=fields["isin"],
        side=Side(fields["side"]).opposite,
        trade_date=fields["trade_date"],
    )
    return ev.ReceivedConfirmation(**({"match_key": key} | fields))


def confirmed_trade(**changes: Any) -> ev.ConfirmedTrade:
    """What confirmation makes of `allocated_trade()` and `received_confirmation()`."""
    fields = _allocated_fields() | {
        "confirmation_id": "C1",
        "matching_profile": "DEFAULT",
        "settlement_amount": Decimal("100000.00"),
    }
    return ev.ConfirmedTrade(**_with_match_key(fields | changes))
