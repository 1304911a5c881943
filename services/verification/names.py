"""Topics, services and fields by name, as the schemas have them: the auditor's own list, so that it can disagree."""

from __future__ import annotations

from collections.abc import Mapping

CAPTURE, ENRICHMENT, ALLOCATION, CONFIRMATION, SETTLEMENT = (
    "capture", "enrichment", "allocation", "confirmation", "settlement",
)  # fmt: skip

EXECUTIONS, FIX = "front-office.executions", "front-office.fix"
ALLOCATIONS, COUNTERPARTIES = "front-office.allocations", "counterparty.confirmations"
CAPTURED, REQUESTS, RECEIVED = "trades.captured", "trades.allocation-requests", "confirmations.received"
ENRICHED, ALLOCATED, CONFIRMED = "trades.enriched", "trades.allocated", "trades.confirmed"
STATUS = "confirmations.status"
INSTRUCTIONS, MESSAGES = "settlement.instructions", "settlement.messages"
EXCEPTIONS, DEAD_LETTERS = "exceptions", "dead-letters"
ACCOUNTS = "reference.accounts"
STANDING_INSTRUCTIONS = "reference.standing-settlement-instructions"
PROFILES = "reference.matching-profiles"
BOND_TERMS, HOLIDAYS = "reference.bond-terms", "reference.holidays"

INPUTS: Mapping[str, tuple[str, ...]] = {
    CAPTURE: (EXECUTIONS, FIX, ALLOCATIONS, COUNTERPARTIES),
    ENRICHMENT: (CAPTURED,),
    ALLOCATION: (ENRICHED, REQUESTS),
    CONFIRMATION: (ALLOCATED, RECEIVED),
    SETTLEMENT: (CONFIRMED,),
}
"""What each service reads, in pipeline order."""

WRITERS: Mapping[str, str] = {
    CAPTURED: CAPTURE, REQUESTS: CAPTURE, RECEIVED: CAPTURE, ENRICHED: ENRICHMENT, ALLOCATED: ALLOCATION,
    CONFIRMED: CONFIRMATION, STATUS: CONFIRMATION, INSTRUCTIONS: SETTLEMENT, MESSAGES: SETTLEMENT,
}  # fmt: skip
"""Which service writes each topic that only one writes."""


CAUSES_FIRST = (
    ACCOUNTS,
    STANDING_INSTRUCTIONS,
    PROFILES,
    BOND_TERMS,
    HOLIDAYS,
    *INPUTS[CAPTURE],
    *(f"repairs.{service}" for service in INPUTS),
    *WRITERS,
    DEAD_LETTERS,
    "dead-letters.resolved",
    EXCEPTIONS,
    *(f"state.{service}" for service in INPUTS),
)
"""Every topic that is looked at, each behind those whose records cause its own."""


def group_of(service: str) -> str:
    """Consumer group of a service."""
    return f"posttrade.{service}"


def state_of(service: str) -> str:
    """Topic of what a service remembers."""
    return f"state.{service}"


def repairs_of(service: str) -> str:
    """Topic of what people gave a service again after it failed."""
    return f"repairs.{service}"


CANCEL = "CANCEL"
"""Function of an event that takes back what was published under its id."""

CHAIN_FIELDS = ("depository_bic", "participant_bic", "participant_account", "client_bic", "safekeeping_account")

EXECUTION_FIELDS = (
    "sender", "execution_id", "execution_type", "execution_reference_id", "order_id", "account", "side", "security_id",
    "security_id_source", "quantity", "price", "price_type", "currency", "venue", "trade_date", "transaction_time_us",
    "settlement_type", "requested_settlement_date", "counterparty", "cumulative_quantity", "leaves_quantity",
    "accrued_interest_amount", "commission", "commission_type", "commission_currency", "contract_multiplier",
)  # fmt: skip
"""What makes two execution reports the same; the sender's hint that it may repeat itself does not."""

REQUEST_FIELDS = (
    "sender", "instruction_id", "transaction_type", "reference_id", "order_id", "side", "security_id",
    "security_id_source", "quantity", "average_price", "trade_date", "allocations", "total_allocations",
    "last_fragment", "executions",
)  # fmt: skip
PART_FIELDS: Mapping[str, tuple[str, ...]] = {
    "allocations": ("account", "quantity", "individual_allocation_id"),
    "executions": ("execution_id", "quantity", "price"),
}
"""Fields of what an allocation instruction lists."""

CONFIRMATION_FIELDS = (
    "sender", "confirmation_id", "allocation_reference", "account", "side", "isin", "quantity", "price", "currency",
    "net_amount", "trade_date", "settlement_date", "gross_amount", "commission", "charges", "accrued_interest",
    "transaction_type", "reference_id", "confirmation_status",
)  # fmt: skip
CONFIRMATION_FIELDS_LATER = CONFIRMATION_FIELDS[-7:]
"""Fields that confirmations were given later; absent ones are no part of how they are recognised."""

CAPTURED_FIELDS = (*EXECUTION_FIELDS, "possible_duplicate", "trade_id", "version", "received_at_us")

BINDING_FIELDS = ("account", "side", "isin", "currency", "price_type", "settlement_date", "counterparty")
"""Terms in which all fills of a block agree, and which their shares take over."""

ALLOCATED_FIELDS = (
    "allocation_id", "block_id", "order_id", "trade_ids", "allocation_reference", "block_account", "account", "side",
    "isin", "instrument_type", "settlement_market", "venue", "quantity", "average_price", "price_type", "currency",
    "gross_amount", "accrued_interest", "charges", "net_amount", "trade_date", "settlement_date", "counterparty",
    "counterparty_lei", "counterparty_chain", "account_chain", "match_key", "received_at_us", "version",
    "original_allocation_id",
)  # fmt: skip

INSTRUCTED_AS: Mapping[str, str] = {
    "allocation_id": "allocation_id", "order_id": "order_id", "trade_ids": "trade_ids", "isin": "isin",
    "instrument_type": "instrument_type", "quantity": "quantity", "account": "account", "own_chain": "account_chain",
    "counterparty_chain": "counterparty_chain", "counterparty": "counterparty", "amount": "settlement_amount",
    "currency": "currency", "accrued_interest": "accrued_interest", "deal_price": "average_price",
    "price_type": "price_type", "venue": "venue", "trade_date": "trade_date", "settlement_date": "settlement_date",
    "received_at_us": "received_at_us", "version": "version",
}  # fmt: skip
"""Each field of an instruction and the field of the confirmed trade it must equal."""
