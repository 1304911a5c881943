"""What the sese.023 of an instruction must say, element by element: a second time, from the format alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction

from services.domain import money
from services.domain.code import InstrumentType
from services.verification.plain import Plain, bytes_digest, text

Elements = Mapping[str, str]
"""Text by path of the element below SctiesSttlmTxInstr, or by `path@attribute`."""

QUANTITY, ACCOUNT = "QtyAndAcctDtls/SttlmQty/Qty", "QtyAndAcctDtls/SfkpgAcct/Id"
PRICE, AMOUNT, INTEREST = "TradDtls/DealPric/Val", "SttlmAmt/Amt", "OthrAmts/AcrdIntrstAmt/Amt"
INSTRUCTION, CANCELLATION = "SctiesSttlmTxInstr", "SctiesTxCxlReq"
"""Elements of the messages: sese.023 and sese.020."""

NUMBERS = frozenset({f"{QUANTITY}/Unit", f"{QUANTITY}/FaceAmt", f"{PRICE}/Rate", f"{PRICE}/Amt", AMOUNT, INTEREST})
ECONOMICS = NUMBERS | {f"{AMOUNT}@Ccy", f"{PRICE}/Amt@Ccy", f"{INTEREST}@Ccy", "SttlmAmt/CdtDbtInd",
                       "OthrAmts/AcrdIntrstAmt/CdtDbtInd", "SttlmAmt/AcrdIntrstInd"}  # fmt: skip
"""What says how much; everything else says what, where and when."""

_OFF_EXCHANGE = ("XOFF", "XXXX", "SINT")
_RATE_DIGITS, _PRICE_DIGITS = (11, 10), (18, 13)
"""Of a percentage and of a price per unit: all digits, and those behind the point."""

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def marks(elements: Elements) -> tuple[bytes, bytes]:
    """Digests of the economics of a message and of the rest of it; numbers without padding."""
    parts: tuple[list[bytes], list[bytes]] = [], []
    for path in sorted(elements):
        found = elements[path]
        number = path in NUMBERS and _NUMBER.fullmatch(found)
        parts[path not in ECONOMICS].extend((path.encode(), (text(Decimal(found)) if number else found).encode()))
    return bytes_digest(*parts[0]), bytes_digest(*parts[1])


def elements_of(instruction: Plain) -> Elements:
    """Everything the message of an instruction says; under the empty path, which message it is."""
    is_debt = InstrumentType(instruction["instrument_type"]).is_debt
    elements = {
        "": INSTRUCTION,
        "TxId": instruction["instruction_id"],
        "SttlmTpAndAddtlParams/SctiesMvmntTp": instruction["movement"],
        "SttlmTpAndAddtlParams/Pmt": instruction["payment"],
        "SttlmTpAndAddtlParams/CmonId": instruction["common_reference"],
        "TradDtls/PlcOfTrad/MktTpAndId/Id/MktIdrCd": instruction["venue"],
        "TradDtls/PlcOfTrad/MktTpAndId/Tp/Cd": "OTCO" if instruction["venue"] in _OFF_EXCHANGE else "EXCH",
        "TradDtls/TradDt/Dt/Dt": text(instruction["trade_date"]),
        "TradDtls/SttlmDt/Dt/Dt": text(instruction["settlement_date"]),
        "TradDtls/DealPric/Tp/Yldd": "false",
        "FinInstrmId/ISIN": instruction["isin"],
        f"{QUANTITY}/{'FaceAmt' if is_debt else 'Unit'}": text(instruction["quantity"]),
        ACCOUNT: instruction["own_chain"]["safekeeping_account"],
        "SttlmParams/SctiesTxTp/Cd": "TRAD",
        **_price(instruction),
        **_other_side(instruction),
        **(_cash(instruction, is_debt=is_debt) if instruction["payment"] == "APMT" else {}),
    }
    return {path: found for path, found in elements.items() if found is not None}


def cancellation_of(instruction: Plain) -> Elements:
    """Everything the cancellation of an instruction says: which one, with what identifies it at the depository."""
    return {
        "": CANCELLATION,
        "AcctOwnrTxId/SctiesSttlmTxId/TxId": instruction["instruction_id"],
        "AcctOwnrTxId/SctiesSttlmTxId/SctiesMvmntTp": instruction["movement"],
        "AcctOwnrTxId/SctiesSttlmTxId/Pmt": instruction["payment"],
        "SfkpgAcct/Id": instruction["own_chain"]["safekeeping_account"],
    }


def _price(instruction: Plain) -> dict[str, str]:
    percent = instruction["price_type"] == "PERCENT_OF_PAR"
    price: Decimal = instruction["deal_price"]
    digits, decimals = _RATE_DIGITS if percent else _PRICE_DIGITS
    room = max(0, min(decimals, digits - max(1, price.adjusted() + 1)))
    shown = text(money.round_fraction(Fraction(price), digits=room))
    return {f"{PRICE}/Rate": shown} if percent else {f"{PRICE}/Amt": shown, f"{PRICE}/Amt@Ccy": instruction["currency"]}


def _other_side(instruction: Plain) -> dict[str, str | None]:
    side = "RcvgSttlmPties" if instruction["movement"] == "DELI" else "DlvrgSttlmPties"
    chain = instruction["counterparty_chain"]
    client = chain["client_bic"]
    return {
        f"{side}/Dpstry/Id/AnyBIC": chain["depository_bic"],
        f"{side}/Pty1/Id/AnyBIC": chain["participant_bic"],
        f"{side}/Pty1/SfkpgAcct/Id": chain["participant_account"],
        f"{side}/Pty2/Id/AnyBIC": client,
        # Without a client nobody but the participant knows the account.
        f"{side}/Pty2/SfkpgAcct/Id": None if client is None else chain["safekeeping_account"],
    }


def _cash(instruction: Plain, *, is_debt: bool) -> dict[str, str | None]:
    """Who delivers is credited. Accrued interest is told without its sign, which says in which direction it flows."""
    accrued, currency = instruction["accrued_interest"], instruction["currency"]
    directions = ("CRDT", "DBIT") if instruction["movement"] == "DELI" else ("DBIT", "CRDT")
    included = "true" if accrued else "false"
    elements: dict[str, str | None] = {
        AMOUNT: text(instruction["amount"]),
        f"{AMOUNT}@Ccy": currency,
        "SttlmAmt/CdtDbtInd": directions[0],
        "SttlmAmt/AcrdIntrstInd": included if is_debt or accrued else None,
    }
    if accrued:
        elements |= {
            INTEREST: text(abs(accrued)),
            f"{INTEREST}@Ccy": currency,
            "OthrAmts/AcrdIntrstAmt/CdtDbtInd": directions[accrued < 0],
        }
    return elements
