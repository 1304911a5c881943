"""Write sese.023.001.11, the securities settlement transaction instruction.

The text is put together by formatting, in the order the schema asks for, and then validated; that is several times
faster than building a tree, and validation keeps it as safe. Rules the schema cannot say are checked first: what is
paid for has an amount in whole minor units, what is free has none, a quantity is positive, and text holds no control
characters.

How the parties are given: the sender's own side is its safekeeping account in QtyAndAcctDtls, so only the other side is
spelled out: RcvgSttlmPties when we deliver, DlvrgSttlmPties when we receive.
"""

from __future__ import annotations

import functools
import re
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from xml.sax.saxutils import escape

from services.adapters.iso20022.schema import DERIVED_SCHEMA, SESE_023_NAMESPACE, MessageSchema
from services.domain import money
from services.domain.code import OFF_VENUE_MICS, Movement, Payment, PriceType
from services.domain.errors import MessageInvalid
from services.domain.event import SettlementChain, SettlementInstruction

_AMOUNT_DIGITS = 18  # ActiveCurrencyAndAmount
_RATE_DIGITS, _RATE_DECIMALS = 11, 10  # PercentageRate
_PRICE_DIGITS, _PRICE_DECIMALS = 18, 13  # ActiveOrHistoricCurrencyAnd13DecimalAmount

_SHARED_PARTS_MAX = 4096
_shared = functools.lru_cache(maxsize=_SHARED_PARTS_MAX)
"""Keeps parts of a message that many instructions share, by all that they say: instruments, accounts, parties, and the
place and dates of a day's trades. What cannot be said raises each time. Half of the time a document took."""

_PLAIN_TEXT = re.compile(r"[A-Za-z0-9 ._/\-]*")
_NOT_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""Control characters, surrogates and non-characters: no XML at all, or nothing a depository takes in a reference."""


class Sese023Renderer:
    """Renders instructions; holds the compiled schema, so make one and keep it."""

    def __init__(self, schema_path: Path | None = None) -> None:
        """Compile the schema: the operator's own official XSD if its path is given, else the derived one.

        Raises OSError or lxml.etree.XMLSchemaParseError when the schema cannot be used.
        """
        self._schema = MessageSchema(schema_path or DERIVED_SCHEMA)

    def render(self, instruction: SettlementInstruction) -> str:
        """Give the whole XML document. Raises MessageInvalid, naming the element, if no valid message can say this."""
        text = _document(instruction)
        self._schema.check(text.encode())
        return text


def render_sese023(instruction: SettlementInstruction) -> str:
    """Render with the derived schema, compiled at the first call. Raises MessageInvalid."""
    return _default_renderer().render(instruction)


@functools.cache
def _default_renderer() -> Sese023Renderer:
    return Sese023Renderer()


def _document(instruction: SettlementInstruction) -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<Document xmlns="{SESE_023_NAMESPACE}"><SctiesSttlmTxInstr>'
        f"<TxId>{text_of('TxId', instruction.instruction_id)}</TxId>"
        f"{_settlement_type(instruction)}{_trade_details(instruction)}"
        f"{_instrument(instruction.isin)}"
        f"{_quantity_and_account(instruction)}"
        "<SttlmParams><SctiesTxTp><Cd>TRAD</Cd></SctiesTxTp></SttlmParams>"
        f"{_other_side(instruction.movement, instruction.counterparty_chain)}{_amounts(instruction)}"
        "</SctiesSttlmTxInstr></Document>\n"
    )


def _settlement_type(instruction: SettlementInstruction) -> str:
    common = instruction.common_reference
    common_id = "" if common is None else f"<CmonId>{text_of('SttlmTpAndAddtlParams/CmonId', common)}</CmonId>"
    return (
        f"<SttlmTpAndAddtlParams><SctiesMvmntTp>{instruction.movement}</SctiesMvmntTp>"
        f"<Pmt>{instruction.payment}</Pmt>{common_id}</SttlmTpAndAddtlParams>"
    )


def _trade_details(instruction: SettlementInstruction) -> str:
    return (
        "<TradDtls>"
        f"{_place_and_dates(instruction.venue, instruction.trade_date, instruction.settlement_date)}"
        # Yldd false: a price, not a yield. The alternatives (discount, par, premium) would claim what nobody told us.
        f"<DealPric><Tp><Yldd>false</Yldd></Tp><Val>{_deal_price(instruction)}</Val></DealPric></TradDtls>"
    )


@_shared
def _place_and_dates(venue: str, trade_date: date, settlement_date: date) -> str:
    market = text_of("TradDtls/PlcOfTrad/MktTpAndId/Id/MktIdrCd", venue)
    market_type = "OTCO" if venue in OFF_VENUE_MICS else "EXCH"
    return (
        f"<PlcOfTrad><MktTpAndId><Id><MktIdrCd>{market}</MktIdrCd></Id><Tp><Cd>{market_type}</Cd></Tp></MktTpAndId>"
        f"</PlcOfTrad><TradDt><Dt><Dt>{trade_date.isoformat()}</Dt></Dt></TradDt>"
        f"<SttlmDt><Dt><Dt>{settlement_date.isoformat()}</Dt></Dt></SttlmDt>"
    )


def _deal_price(instruction: SettlementInstruction) -> str:
    """The average price is for information, no one matches on it: excess decimals are rounded, not refused."""
    if instruction.price_type is PriceType.PERCENT_OF_PAR:
        return f"<Rate>{_fitted(instruction.deal_price, digits=_RATE_DIGITS, decimals=_RATE_DECIMALS)}</Rate>"
    currency = text_of("TradDtls/DealPric/Val/Amt", instruction.currency)
    price = _fitted(instruction.deal_price, digits=_PRICE_DIGITS, decimals=_PRICE_DECIMALS)
    return f'<Amt Ccy="{currency}">{price}</Amt>'


@_shared
def _instrument(isin: str) -> str:
    return f"<FinInstrmId><ISIN>{text_of('FinInstrmId/ISIN', isin)}</ISIN></FinInstrmId>"


def _quantity_and_account(instruction: SettlementInstruction) -> str:
    tag = "FaceAmt" if instruction.instrument_type.is_debt else "Unit"
    element = f"QtyAndAcctDtls/SttlmQty/Qty/{tag}"
    if not (instruction.quantity.is_finite() and instruction.quantity > 0):
        raise MessageInvalid(element=element, found=str(instruction.quantity), expected="a positive quantity")
    return (
        f"<QtyAndAcctDtls><SttlmQty><Qty><{tag}>{_plain(instruction.quantity)}</{tag}></Qty></SttlmQty>"
        f"{_own_account(instruction.own_chain.safekeeping_account)}</QtyAndAcctDtls>"
    )


@_shared
def _own_account(account: str) -> str:
    return f"<SfkpgAcct><Id>{text_of('QtyAndAcctDtls/SfkpgAcct/Id', account)}</Id></SfkpgAcct>"


@_shared
def _other_side(movement: Movement, chain: SettlementChain) -> str:
    tag = "RcvgSttlmPties" if movement is Movement.DELIVER else "DlvrgSttlmPties"
    depository = text_of(f"{tag}/Dpstry/Id/AnyBIC", chain.depository_bic)
    return (
        f"<{tag}><Dpstry><Id><AnyBIC>{depository}</AnyBIC></Id></Dpstry>"
        f"{_party(f'{tag}/Pty1', chain.participant_bic, chain.participant_account)}{_client(tag, chain)}</{tag}>"
    )


def _client(tag: str, chain: SettlementChain) -> str:
    """Pty2 with its account at Pty1; without a client, the safekeeping account is not the depository's business."""
    return "" if chain.client_bic is None else _party(f"{tag}/Pty2", chain.client_bic, chain.safekeeping_account)


def _party(element: str, bic: str, account: str | None) -> str:
    tag = element.rpartition("/")[2]
    safekeeping = (
        "" if account is None else f"<SfkpgAcct><Id>{text_of(f'{element}/SfkpgAcct/Id', account)}</Id></SfkpgAcct>"
    )
    return f"<{tag}><Id><AnyBIC>{text_of(f'{element}/Id/AnyBIC', bic)}</AnyBIC></Id>{safekeeping}</{tag}>"


def _amounts(instruction: SettlementInstruction) -> str:
    """SttlmAmt and OthrAmts. Who delivers is credited, who receives is debited."""
    if instruction.payment is Payment.FREE:
        if instruction.amount != 0:
            raise MessageInvalid(
                element="SttlmAmt", found=str(instruction.amount), expected="no cash when free of payment"
            )
        return ""
    direction, opposite = ("CRDT", "DBIT") if instruction.movement is Movement.DELIVER else ("DBIT", "CRDT")
    amount = _amount("SttlmAmt/Amt", instruction.amount, instruction.currency)
    if instruction.amount <= 0:
        raise MessageInvalid(element="SttlmAmt/Amt", found=amount, expected="a positive amount when against payment")
    accrued = instruction.accrued_interest
    included = f"<AcrdIntrstInd>{'true' if accrued else 'false'}</AcrdIntrstInd>"
    currency = text_of("SttlmAmt/Amt", instruction.currency)
    settlement_amount = (
        f"<SttlmAmt>{included if instruction.instrument_type.is_debt or accrued else ''}"
        f'<Amt Ccy="{currency}">{amount}</Amt><CdtDbtInd>{direction}</CdtDbtInd></SttlmAmt>'
    )
    if not accrued:
        return settlement_amount
    # A bond that trades ex coupon has negative accrued interest: the sign is in the direction, the amount has none.
    interest = _amount("OthrAmts/AcrdIntrstAmt/Amt", accrued.copy_abs(), instruction.currency)
    return (
        f'{settlement_amount}<OthrAmts><AcrdIntrstAmt><Amt Ccy="{currency}">{interest}</Amt>'
        f"<CdtDbtInd>{direction if accrued > 0 else opposite}</CdtDbtInd></AcrdIntrstAmt></OthrAmts>"
    )


def _amount(element: str, amount: Decimal, currency: str) -> str:
    """Write cash with exactly the decimals of the currency's minor unit; never round it."""
    if not amount.is_finite() or amount.adjusted() >= _AMOUNT_DIGITS:
        raise MessageInvalid(
            element=element, found=str(amount), expected=f"an amount of at most {_AMOUNT_DIGITS} digits"
        )
    exact = money.round_amount(amount, currency=currency)
    if exact != amount:
        digits = money.minor_unit_digits(currency)
        raise MessageInvalid(element=element, found=f"{amount:f}", expected=f"{currency} has {digits} decimals")
    return f"{exact:f}"


def _fitted(price: Decimal, *, digits: int, decimals: int) -> str:
    """Write a price with no more digits than the type has, rounded half up where it has more."""
    text = _plain(price)
    whole, _, fraction = text.lstrip("-").partition(".")
    room = min(decimals, digits - len(whole))
    if len(fraction) <= room or room < 0:
        return text  # it fits, or no rounding helps and the schema will say so
    return _plain(money.round_fraction(Fraction(price), digits=room))


def _plain(value: Decimal) -> str:
    """Write a number without exponent and without zeros at the end."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def text_of(element: str, value: str) -> str:
    """Escape the text of an element. Raises MessageInvalid for characters that cannot stand in an identifier."""
    if _PLAIN_TEXT.fullmatch(value):
        return value
    if _NOT_TEXT.search(value):
        shown = value.encode("ascii", "backslashreplace").decode()  # a surrogate could not even be reported
        raise MessageInvalid(element=element, found=shown, expected="text without control characters")
    return escape(value, {'"': "&quot;"})
