"""A day of a handful of trades with one trouble of each kind, in the layout of deploy/sample_day/data.

Small enough to be checked by hand: seven reports (one repeated), two records that cannot be read, one instrument that
is never known and one that comes late, one block divided among two accounts, two confirmations that come late.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

from services.adapters import fix
from services.adapters.avro_codec import to_json
from services.domain import event as ev
from services.domain.code import Side
from tests import samples

LATE_ISIN = "DE0005190003"
NEVER_KNOWN_ISIN = "DE0008404005"
PROMISED = {
    "executions": 7,
    "allocations": 6,
    "confirmations": 6,
    "instructions": 6,
    "exceptions": 1,
    "dead_letters": 2,
}

_INSTRUMENTS = "isin,name,instrument_type,settlement_market,currency,issuer_country,denomination\n"
_INSTRUMENT = "{isin},Share {isin},EQUITY,DE,EUR,DE,1\n"
_FILES = {
    "instruments.csv": _INSTRUMENTS + _INSTRUMENT.format(isin=samples.ISIN),
    "parties.csv": "bic,lei,name\nDEUTDEFFXXX,7LTWFZYICNSX8D621K86,Deutsche Bank\n",
    "accounts.csv": (
        "account,name,allocation_policy\nFUND-A,Fund A,SINGLE\nFUND-B,Fund B,SINGLE\nBLOCK,Manager,EXPLICIT\n"
    ),
    "standing-settlement-instructions.csv": (
        "owner,settlement_market,depository_bic,participant_bic,safekeeping_account\n"
        "DEUTDEFFXXX,DE,DAKVDEFFXXX,DEUTDEFFXXX,CP-SAFE\n"
        "FUND-A,DE,DAKVDEFFXXX,PARBDEFFXXX,A-SAFE\n"
        "FUND-B,DE,DAKVDEFFXXX,PARBDEFFXXX,B-SAFE\n"
    ),
}


def write(directory: Path) -> Path:
    """Write all files of the day into the directory."""
    _write_texts(directory / "reference", _FILES)
    _write_texts(
        directory / "late" / "reference", {"instruments.csv": _INSTRUMENTS + _INSTRUMENT.format(isin=LATE_ISIN)}
    )
    broken = {"$key": "O1", "$base64": base64.b64encode(b"no record").decode()}
    _write_lines(directory / "executions.jsonl", [*map(to_json, executions()), broken])
    (directory / "executions.fix").write_bytes(fix.encode_execution(fix_execution()) + b"\nno message\n")
    _write_lines(directory / "allocations.jsonl", [to_json(division())])
    day, late = confirmations()
    _write_lines(directory / "confirmations.jsonl", map(to_json, day))
    _write_lines(directory / "late" / "confirmations.jsonl", map(to_json, late))
    (directory / "expected.json").write_text(json.dumps(PROMISED), encoding="utf-8")
    return directory


def _write_texts(directory: Path, files: dict[str, str]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / name).write_text(text, encoding="utf-8")


def _write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _execution(number: int, **changes: Any) -> ev.Execution:
    names = {"execution_id": f"E{number}", "order_id": f"O{number}"}
    return samples.execution(**(names | changes))


def executions() -> list[ev.Execution]:
    """The reports that come as Avro, the repeated one included."""
    return [
        _execution(1),
        _execution(2),
        _execution(1),
        _execution(4, account="BLOCK"),
        _execution(5, security_id=LATE_ISIN),
        _execution(9, security_id=NEVER_KNOWN_ISIN),
    ]


def fix_execution() -> ev.Execution:
    """The report that comes as a FIX message."""
    return _execution(3)


def division() -> ev.AllocationInstruction:
    """How the block of order O4 is divided."""
    return samples.allocation_instruction(order_id="O4")


def confirmations() -> tuple[list[ev.CounterpartyConfirmation], list[ev.CounterpartyConfirmation]]:
    """What the counterparty confirms on the day, and late."""
    day = [
        _confirmation("C1"),
        _confirmation("C3"),
        _confirmation("C4A", quantity=600),
        _confirmation("C4B", quantity=400, account="FUND-B"),
    ]
    late = [_confirmation("C2"), _confirmation("C5", isin=LATE_ISIN)]
    return day, late


def _confirmation(name: str, *, quantity: int = 1000, **changes: Any) -> ev.CounterpartyConfirmation:
    fields: dict[str, Any] = {
        "sender": samples.COUNTERPARTY_BIC,
        "confirmation_id": name,
        "account": "FUND-A",
        "side": Side.SELL,
        "isin": samples.ISIN,
        "quantity": Decimal(quantity),
        "price": Decimal("100.00"),
        "currency": "EUR",
        "net_amount": Decimal(quantity * 100),
        "trade_date": samples.TRADE_DATE,
        "settlement_date": samples.SETTLEMENT_DATE,
    }
    return ev.CounterpartyConfirmation(**(fields | changes))
