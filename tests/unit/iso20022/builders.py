"""Instructions for the tests of the ISO 20022 adapter, and a look into a message that knows nothing of the adapter."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, cast

from lxml import etree

from services.domain.code import InstrumentType, Movement, Payment, PriceType
from services.domain.event import SettlementInstruction
from tests import samples

NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:sese.023.001.11"


def instruction(**changes: Any) -> SettlementInstruction:
    """Receive 1,000 shares against 100,000.00 EUR."""
    fields: dict[str, Any] = {
        "instruction_id": "SI23456789ABCDEF",
        "allocation_id": "AL23456789ABCDEF",
        "order_id": "O1",
        "trade_ids": ("TR1",),
        "version": 1,
        "movement": Movement.RECEIVE,
        "payment": Payment.AGAINST_PAYMENT,
        "isin": samples.ISIN,
        "instrument_type": InstrumentType.EQUITY,
        "quantity": Decimal("1000.00000000"),
        "account": "FUND-A",
        "own_chain": samples.account_chain(),
        "counterparty_chain": samples.counterparty_chain(),
        "counterparty": samples.COUNTERPARTY_BIC,
        "amount": Decimal("100000.00"),
        "currency": "EUR",
        "accrued_interest": Decimal(0),
        "deal_price": Decimal("100.0000000000"),
        "price_type": PriceType.PER_UNIT,
        "venue": "XETR",
        "trade_date": samples.TRADE_DATE,
        "settlement_date": samples.SETTLEMENT_DATE,
        "received_at_us": samples.RECEIVED_AT_US,
    }
    return SettlementInstruction(**(fields | changes))


def bond(**changes: Any) -> SettlementInstruction:
    """Deliver 50,000 nominal at 99.5 percent against 49,750.00 and 312.50 accrued interest."""
    fields: dict[str, Any] = {
        "movement": Movement.DELIVER,
        "instrument_type": InstrumentType.GOVERNMENT_BOND,
        "price_type": PriceType.PERCENT_OF_PAR,
        "quantity": Decimal(50000),
        "deal_price": Decimal("99.5"),
        "amount": Decimal("50062.50"),
        "accrued_interest": Decimal("312.50"),
    }
    return instruction(**(fields | changes))


def tree(text: str) -> etree._Element:
    """Parse a message."""
    return etree.fromstring(text.encode())


def texts(root: etree._Element, path: str) -> list[str]:
    """Every text at a path below the message element, such as `SttlmAmt/Amt` or `SttlmAmt/Amt/@Ccy`."""
    steps = [step if step.startswith("@") else f"m:{step}" for step in path.split("/")]
    last = "" if steps[-1].startswith("@") else "/text()"
    found = root.xpath(f"/m:Document/m:SctiesSttlmTxInstr/{'/'.join(steps)}{last}", namespaces={"m": NAMESPACE})
    return [str(text) for text in cast("list[object]", found)]
