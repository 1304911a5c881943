"""One side of a trade as the auditor keeps it, and what two sides that have one match key have in common."""

from __future__ import annotations

import hashlib
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from services.domain.money import add
from services.verification.inputs import Input
from services.verification.names import (
    ALLOCATED,
    ALLOCATED_FIELDS,
    CONFIRMATION_FIELDS,
    CONFIRMATION_FIELDS_LATER,
    RECEIVED,
)
from services.verification.plain import SEPARATOR, Plain, digest, text

RECEIVED_FIELDS = (*CONFIRMATION_FIELDS, "match_key")
REPLACE, CANCEL, REFUSAL = "REPLACE", "CANCEL", "REQUEST_REJECTED"
STATED = ("gross_amount", "accrued_interest", "commission", "charges")
TAKEN = ("average_price", "settlement_date")
"""Fields of a confirmed trade that may be the counterparty's."""
KEPT_FIELDS = tuple(name for name in ALLOCATED_FIELDS if name not in TAKEN)


class Side(NamedTuple):
    """One side of a trade: our allocated trade, or the counterparty's confirmation of it."""

    key: str
    match_key: str
    content: bytes
    kept: bytes
    """Of an allocated trade what its confirmed trade must repeat."""
    fingerprint: bytes
    """How the service recognises a confirmation; empty for an allocated trade."""
    hard: bytes
    """What has to agree without any tolerance."""
    quantity: Decimal
    price: Decimal
    settlement_date: date
    net_amount: Decimal
    stated: tuple[Decimal | None, ...]
    """The parts of the cash; of a confirmation those that it states."""
    delivers: bool
    changes: str
    """REPLACE, CANCEL or REFUSAL of a confirmation that names another; else empty."""
    named: str
    """Key of the confirmation that is named."""
    references: tuple[str, ...]
    """Of an allocated trade what may be quoted, of a confirmation what is quoted."""
    partition: int
    is_new: bool
    is_in_flight: bool
    offset: int

    @property
    def subject(self) -> str:
        """What exceptions about it are about."""
        return self.key.replace(SEPARATOR, "/")

    @property
    def where(self) -> str:
        """The record."""
        return f"{RECEIVED if self.fingerprint else ALLOCATED}[{self.partition}]@{self.offset}"

    @property
    def confirms(self) -> bool:
        """Whether it is an allocated trade or says what was traded, and does not only take something back."""
        return self.changes not in (CANCEL, REFUSAL)


class Group:
    """What has one match key."""

    __slots__ = ("match_key", "ours", "taken", "theirs")

    def __init__(self) -> None:
        """Start with nothing."""
        self.match_key = ""
        """Kept once for all sides."""
        self.ours: list[Side] = []
        self.theirs: list[Side] = []
        self.taken: list[Side] = []
        """Allocated trades that were taken back."""

    @property
    def sides(self) -> list[Side]:
        """All of them."""
        return self.ours + self.theirs + self.taken


def side_of(given: Input, key: str, terms: Plain, *, match_key: str, is_ours: bool) -> Side:
    """Keep of a record what is compared; `terms` has the price of either under one name."""
    record = given.record
    reference = record["allocation_reference"]
    quoted = (key, reference, record["original_allocation_id"]) if is_ours else (reference,)
    return Side(
        key=key,
        match_key=match_key,
        content=digest(record, ALLOCATED_FIELDS if is_ours else RECEIVED_FIELDS),
        fingerprint=b"" if is_ours else _confirmation_mark(record),
        kept=digest(record, KEPT_FIELDS) if is_ours else b"",
        hard=digest(terms, ("account", "isin", "currency", "quantity", "trade_date")),
        quantity=record["quantity"],
        price=terms["price"],
        settlement_date=record["settlement_date"],
        stated=_parts_of(record) if is_ours else tuple(record.get(name) for name in STATED),
        net_amount=record["net_amount"],
        delivers=record["side"] != "BUY",
        changes="" if is_ours else _changes(record),
        named="" if is_ours else f"{record['sender']}{SEPARATOR}{record.get('reference_id')}",
        references=tuple(name for name in quoted if name is not None),
        partition=given.entry.partition,
        is_new=given.is_new,
        is_in_flight=given.is_in_flight,
        offset=given.entry.offset,
    )


def our_terms(record: Plain) -> Plain:
    """An allocated trade with its price under the name that a confirmation has for it."""
    return {**record, "price": record["average_price"]}


def is_equal(our: Side, their: Side) -> bool:
    """Whether two sides say the same of price, date and cash, as far as the other states it."""
    same = (our.price, our.settlement_date, our.net_amount) == (their.price, their.settlement_date, their.net_amount)
    return same and all(part is None or part == own for own, part in zip(our.stated, their.stated, strict=True))


def _parts_of(record: Plain) -> tuple[Decimal | None, ...]:
    """Gross amount, accrued interest, commission and other charges of an allocated trade."""
    commission = [charge["amount"] for charge in record["charges"] if charge["charge_type"] == "COMMISSION"]
    others = [charge["amount"] for charge in record["charges"] if charge["charge_type"] != "COMMISSION"]
    return record["gross_amount"], record["accrued_interest"], add(*commission), add(*others)


def _changes(record: Plain) -> str:
    if record.get("reference_id") is None:
        return ""
    if record.get("confirmation_status") == REFUSAL:
        return REFUSAL
    found = record.get("transaction_type")
    return str(found) if found in (REPLACE, CANCEL) else ""


def _confirmation_mark(record: Plain) -> bytes:
    always = [name for name in RECEIVED_FIELDS if name not in CONFIRMATION_FIELDS_LATER]
    later = [name for name in CONFIRMATION_FIELDS_LATER if record.get(name) is not None]
    content = SEPARATOR.join(f"{name}={text(record[name])}" for name in (*always, *later))
    return hashlib.sha256(content.encode()).digest()[:16]
