"""Read back the key fields of a sese.023.001.11, independently of how it was written."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from lxml import etree

from services.adapters.iso20022.schema import SESE_023_NAMESPACE, safe_parser
from services.domain.code import Movement, Payment, PriceType
from services.domain.errors import MessageInvalid
from services.domain.record import Amount, Price, Quantity, Record, date, doc

_NAMESPACES = {"m": SESE_023_NAMESPACE}


class Sese023(Record, frozen=True, kw_only=True):
    """What a settlement instruction message says, in the words of its elements."""

    transaction_id: Annotated[str, doc("TxId.")]
    movement: Annotated[Movement, doc("SctiesMvmntTp.")]
    payment: Annotated[Payment, doc("Pmt.")]
    common_reference: Annotated[str | None, doc("CmonId.")] = None
    venue: Annotated[str | None, doc("PlcOfTrad: market identifier code.")] = None
    market_type: Annotated[str | None, doc("PlcOfTrad: EXCH on exchange, OTCO off exchange.")] = None
    trade_date: Annotated[date | None, doc("TradDt.")] = None
    settlement_date: Annotated[date, doc("SttlmDt.")]
    deal_price: Annotated[Price | None, doc("DealPric.")] = None
    price_type: Annotated[PriceType | None, doc("DealPric: Rate is percent of par, Amt is per unit.")] = None
    isin: Annotated[str, doc("FinInstrmId.")]
    quantity: Annotated[Quantity, doc("SttlmQty.")]
    is_face_amount: Annotated[bool, doc("Whether the quantity is a face amount (FaceAmt) or units (Unit).")]
    safekeeping_account: Annotated[str, doc("The sender's own account in QtyAndAcctDtls.")]
    transaction_type: Annotated[str, doc("SctiesTxTp.")]
    other_side_delivers: Annotated[bool, doc("Whether the other side stands in DlvrgSttlmPties or RcvgSttlmPties.")]
    depository_bic: Annotated[str, doc("Dpstry of the other side.")]
    participant_bic: Annotated[str, doc("Pty1 of the other side.")]
    participant_account: Annotated[str | None, doc("Account of Pty1.")] = None
    client_bic: Annotated[str | None, doc("Pty2 of the other side.")] = None
    client_account: Annotated[str | None, doc("Account of Pty2.")] = None
    amount: Annotated[Amount | None, doc("SttlmAmt; empty when free of payment.")] = None
    currency: Annotated[str | None, doc("Currency of SttlmAmt.")] = None
    credit_debit: Annotated[str | None, doc("CRDT: the sender is paid; DBIT: the sender pays.")] = None
    accrued_interest_included: Annotated[bool | None, doc("AcrdIntrstInd.")] = None
    accrued_interest: Annotated[Amount | None, doc("AcrdIntrstAmt; negative when it flows against SttlmAmt.")] = None


def parse_sese023(text: str) -> Sese023:
    """Read a message. Raises MessageInvalid when it is no sese.023.001.11 or lacks what an instruction needs."""
    message = _message(text)
    try:
        return _read(message)
    except (ValueError, InvalidOperation) as error:
        if isinstance(error, MessageInvalid):
            raise
        raise MessageInvalid(
            element="SctiesSttlmTxInstr", found=str(error), expected="valid codes, dates, numbers"
        ) from error


def _read(message: etree._Element) -> Sese023:
    face_amount = _optional(message, "QtyAndAcctDtls/SttlmQty/Qty/FaceAmt")
    quantity = "QtyAndAcctDtls/SttlmQty/Qty/" + ("Unit" if face_amount is None else "FaceAmt")
    return Sese023(
        transaction_id=_required(message, "TxId"),
        movement=Movement(_required(message, "SttlmTpAndAddtlParams/SctiesMvmntTp")),
        payment=Payment(_required(message, "SttlmTpAndAddtlParams/Pmt")),
        common_reference=_optional(message, "SttlmTpAndAddtlParams/CmonId"),
        isin=_required(message, "FinInstrmId/ISIN"),
        quantity=Decimal(_required(message, quantity)),
        is_face_amount=face_amount is not None,
        safekeeping_account=_required(message, "QtyAndAcctDtls/SfkpgAcct/Id"),
        transaction_type=_required(message, "SttlmParams/SctiesTxTp/Cd"),
        **_trade(message),
        **_other_side(message),
        **_cash(message),
    )


def _message(text: str) -> etree._Element:
    try:
        root = etree.fromstring(text.encode(), safe_parser())
    except (etree.XMLSyntaxError, UnicodeEncodeError) as error:
        raise MessageInvalid(element="Document", found=str(error), expected="well-formed XML") from error
    message = root.find("m:SctiesSttlmTxInstr", _NAMESPACES)
    if root.tag != f"{{{SESE_023_NAMESPACE}}}Document" or message is None:
        raise MessageInvalid(element="Document", found=str(root.tag), expected=f"a message of {SESE_023_NAMESPACE}")
    return message


def _trade(message: etree._Element) -> dict[str, Any]:
    trade_date = _optional(message, "TradDtls/TradDt/Dt/Dt")
    rate = _optional(message, "TradDtls/DealPric/Val/Rate")
    price = _optional(message, "TradDtls/DealPric/Val/Amt") if rate is None else rate
    price_type = PriceType.PER_UNIT if rate is None else PriceType.PERCENT_OF_PAR
    return {
        "venue": _optional(message, "TradDtls/PlcOfTrad/MktTpAndId/Id/MktIdrCd"),
        "market_type": _optional(message, "TradDtls/PlcOfTrad/MktTpAndId/Tp/Cd"),
        "trade_date": None if trade_date is None else date.fromisoformat(trade_date),
        "settlement_date": date.fromisoformat(_required(message, "TradDtls/SttlmDt/Dt/Dt")),
        "deal_price": None if price is None else Decimal(price),
        "price_type": None if price is None else price_type,
    }


def _other_side(message: etree._Element) -> dict[str, Any]:
    delivers = message.find("m:DlvrgSttlmPties", _NAMESPACES) is not None
    side = "DlvrgSttlmPties" if delivers else "RcvgSttlmPties"
    return {
        "other_side_delivers": delivers,
        "depository_bic": _required(message, f"{side}/Dpstry/Id/AnyBIC"),
        "participant_bic": _required(message, f"{side}/Pty1/Id/AnyBIC"),
        "participant_account": _optional(message, f"{side}/Pty1/SfkpgAcct/Id"),
        "client_bic": _optional(message, f"{side}/Pty2/Id/AnyBIC"),
        "client_account": _optional(message, f"{side}/Pty2/SfkpgAcct/Id"),
    }


def _cash(message: etree._Element) -> dict[str, Any]:
    amount = message.find("m:SttlmAmt/m:Amt", _NAMESPACES)
    if amount is None:
        return {}
    direction = _required(message, "SttlmAmt/CdtDbtInd")
    included = _optional(message, "SttlmAmt/AcrdIntrstInd")
    interest_text = _optional(message, "OthrAmts/AcrdIntrstAmt/Amt")
    interest = None if interest_text is None else Decimal(interest_text)
    if interest is not None and _optional(message, "OthrAmts/AcrdIntrstAmt/CdtDbtInd") not in (None, direction):
        interest = interest.copy_negate()
    return {
        "amount": Decimal(amount.text or ""),
        "currency": amount.get("Ccy"),
        "credit_debit": direction,
        "accrued_interest_included": None if included is None else included in ("true", "1"),
        "accrued_interest": interest,
    }


def _optional(message: etree._Element, path: str) -> str | None:
    return message.findtext("/".join(f"m:{name}" for name in path.split("/")), namespaces=_NAMESPACES)


def _required(message: etree._Element, path: str) -> str:
    text = _optional(message, path)
    if not text:
        raise MessageInvalid(element=path, found="", expected="an element that must be there, with text")
    return text
