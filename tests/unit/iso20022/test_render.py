"""What stands in the message, element by element, and what is never sent."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.adapters.iso20022 import Sese023Renderer, render_sese023
from services.domain.code import InstrumentType, Movement, Payment, PriceType
from services.domain.errors import MessageInvalid
from services.domain.event import SettlementInstruction
from tests import samples
from tests.unit.iso20022.builders import bond, instruction, texts, tree

REPOSITORY = Path(__file__).resolve().parents[3]

# currency -> (amount as it comes off the wire, amount in the message)
AMOUNTS = {
    "EUR": ("100000.10000", "100000.10"),
    "GBP": ("7.50000", "7.50"),
    "JPY": ("1234567.00000", "1234567"),
    "USD": ("0.01000", "0.01"),
}
# movement -> (own direction, where the other side stands, where it must not)
MOVEMENTS = {
    Movement.RECEIVE: ("DBIT", "DlvrgSttlmPties", "RcvgSttlmPties"),
    Movement.DELIVER: ("CRDT", "RcvgSttlmPties", "DlvrgSttlmPties"),
}
# instrument type -> (price type, quantity element, price element, AcrdIntrstInd without accrued interest)
TYPES = {
    InstrumentType.EQUITY: (PriceType.PER_UNIT, "Unit", "Amt", []),
    InstrumentType.ETF: (PriceType.PER_UNIT, "Unit", "Amt", []),
    InstrumentType.GOVERNMENT_BOND: (PriceType.PERCENT_OF_PAR, "FaceAmt", "Rate", ["false"]),
    InstrumentType.CORPORATE_BOND: (PriceType.PERCENT_OF_PAR, "FaceAmt", "Rate", ["false"]),
}


@pytest.mark.parametrize(("movement", "kind", "currency"), list(product(MOVEMENTS, TYPES, AMOUNTS)))
def test_content_by_movement_type_and_currency(movement: Movement, kind: InstrumentType, currency: str) -> None:
    """Direction, side, quantity element and decimals are what a wrong instruction gets wrong."""
    direction, other_side, own_side = MOVEMENTS[movement]
    price_type, quantity_tag, price_tag, accrued_indicator = TYPES[kind]
    amount, amount_text = AMOUNTS[currency]
    message = tree(
        render_sese023(
            instruction(
                movement=movement,
                instrument_type=kind,
                price_type=price_type,
                currency=currency,
                amount=Decimal(amount),
                deal_price=Decimal("98.7650000000"),
            )
        )
    )
    assert {path: texts(message, path) for path in EXPECTED_PATHS | {f"{own_side}/Dpstry/Id/AnyBIC"}} == {
        "TxId": ["SI23456789ABCDEF"],
        "SttlmTpAndAddtlParams/SctiesMvmntTp": [movement.value],
        "SttlmTpAndAddtlParams/Pmt": ["APMT"],
        "SttlmTpAndAddtlParams/CmonId": [],
        "TradDtls/PlcOfTrad/MktTpAndId/Id/MktIdrCd": ["XETR"],
        "TradDtls/PlcOfTrad/MktTpAndId/Tp/Cd": ["EXCH"],
        "TradDtls/TradDt/Dt/Dt": ["2026-03-02"],
        "TradDtls/SttlmDt/Dt/Dt": ["2026-03-04"],
        "TradDtls/DealPric/Tp/Yldd": ["false"],
        "TradDtls/DealPric/Val/Rate": ["98.765"] if price_tag == "Rate" else [],
        "TradDtls/DealPric/Val/Amt": ["98.765"] if price_tag == "Amt" else [],
        "TradDtls/DealPric/Val/Amt/@Ccy": [currency] if price_tag == "Amt" else [],
        "FinInstrmId/ISIN": [samples.ISIN],
        "QtyAndAcctDtls/SttlmQty/Qty/Unit": ["1000"] if quantity_tag == "Unit" else [],
        "QtyAndAcctDtls/SttlmQty/Qty/FaceAmt": ["1000"] if quantity_tag == "FaceAmt" else [],
        "QtyAndAcctDtls/SfkpgAcct/Id": ["FUND-A-SAFE"],
        "SttlmParams/SctiesTxTp/Cd": ["TRAD"],
        "SttlmAmt/AcrdIntrstInd": accrued_indicator,
        "SttlmAmt/Amt": [amount_text],
        "SttlmAmt/Amt/@Ccy": [currency],
        "SttlmAmt/CdtDbtInd": [direction],
        "OthrAmts/AcrdIntrstAmt/Amt": [],
        f"{own_side}/Dpstry/Id/AnyBIC": [],
    }
    assert texts(message, f"{other_side}/Dpstry/Id/AnyBIC") == ["DAKVDEFFXXX"]
    assert texts(message, f"{other_side}/Pty1/Id/AnyBIC") == [samples.COUNTERPARTY_BIC]
    assert texts(message, f"{other_side}/Pty1/SfkpgAcct/Id") == ["70010000"]
    assert texts(message, f"{other_side}/Pty2/Id/AnyBIC") == []


EXPECTED_PATHS = {
    "TxId",
    "SttlmTpAndAddtlParams/SctiesMvmntTp",
    "SttlmTpAndAddtlParams/Pmt",
    "SttlmTpAndAddtlParams/CmonId",
    "TradDtls/PlcOfTrad/MktTpAndId/Id/MktIdrCd",
    "TradDtls/PlcOfTrad/MktTpAndId/Tp/Cd",
    "TradDtls/TradDt/Dt/Dt",
    "TradDtls/SttlmDt/Dt/Dt",
    "TradDtls/DealPric/Tp/Yldd",
    "TradDtls/DealPric/Val/Rate",
    "TradDtls/DealPric/Val/Amt",
    "TradDtls/DealPric/Val/Amt/@Ccy",
    "FinInstrmId/ISIN",
    "QtyAndAcctDtls/SttlmQty/Qty/Unit",
    "QtyAndAcctDtls/SttlmQty/Qty/FaceAmt",
    "QtyAndAcctDtls/SfkpgAcct/Id",
    "SttlmParams/SctiesTxTp/Cd",
    "SttlmAmt/AcrdIntrstInd",
    "SttlmAmt/Amt",
    "SttlmAmt/Amt/@Ccy",
    "SttlmAmt/CdtDbtInd",
    "OthrAmts/AcrdIntrstAmt/Amt",
}


@pytest.mark.parametrize(
    ("movement", "accrued", "amount_text", "direction"),
    [
        (Movement.RECEIVE, "312.50000", "312.50", "DBIT"),  # the buyer pays the seller's interest
        (Movement.DELIVER, "312.50000", "312.50", "CRDT"),
        (Movement.RECEIVE, "-10.00000", "10.00", "CRDT"),  # ex coupon: the buyer is paid back
        (Movement.DELIVER, "-10.00000", "10.00", "DBIT"),
    ],
)
def test_accrued_interest_carries_its_sign_in_the_direction(
    movement: Movement, accrued: str, amount_text: str, direction: str
) -> None:
    """An amount has no sign in ISO 20022; a bond that trades ex coupon has negative accrued interest."""
    message = tree(render_sese023(bond(movement=movement, accrued_interest=Decimal(accrued))))
    assert texts(message, "SttlmAmt/AcrdIntrstInd") == ["true"]
    assert texts(message, "OthrAmts/AcrdIntrstAmt/Amt") == [amount_text]
    assert texts(message, "OthrAmts/AcrdIntrstAmt/Amt/@Ccy") == ["EUR"]
    assert texts(message, "OthrAmts/AcrdIntrstAmt/CdtDbtInd") == [direction]


def test_client_of_the_participant_is_party_two_with_the_safekeeping_account() -> None:
    """The safekeeping account is the client's account at the participant, so it belongs to Pty2, never to Pty1."""
    chain = samples.counterparty_chain(client_bic="BARCGB22", participant_account=None)
    message = tree(render_sese023(instruction(counterparty_chain=chain)))
    assert texts(message, "DlvrgSttlmPties/Pty1/SfkpgAcct/Id") == []
    assert texts(message, "DlvrgSttlmPties/Pty2/Id/AnyBIC") == ["BARCGB22"]
    assert texts(message, "DlvrgSttlmPties/Pty2/SfkpgAcct/Id") == ["CP-SAFE-1"]


def test_common_reference_is_given_when_agreed() -> None:
    """CmonId must reach the depository: it is matched when both sides give it."""
    message = tree(render_sese023(instruction(common_reference="COMMON-1")))
    assert texts(message, "SttlmTpAndAddtlParams/CmonId") == ["COMMON-1"]


def test_free_of_payment_says_nothing_about_cash() -> None:
    """FREE with an amount contradicts itself."""
    message = tree(render_sese023(instruction(payment=Payment.FREE, amount=Decimal(0))))
    assert texts(message, "SttlmTpAndAddtlParams/Pmt") == ["FREE"]
    assert texts(message, "SttlmAmt/Amt") == []
    assert texts(message, "OthrAmts/AcrdIntrstAmt/Amt") == []


@pytest.mark.parametrize("venue", ["XOFF", "XXXX", "SINT"])
def test_codes_that_name_no_market_are_over_the_counter(venue: str) -> None:
    """These codes are no exchange, and the type is mandatory."""
    message = tree(render_sese023(instruction(venue=venue)))
    assert texts(message, "TradDtls/PlcOfTrad/MktTpAndId/Tp/Cd") == ["OTCO"]


@pytest.mark.parametrize(
    ("quantity", "text"),
    [("1E+3", "1000"), ("0.00000001", "0.00000001"), ("1000.50000000", "1000.5"), ("1200", "1200")],
)
def test_quantity_is_plain_notation(quantity: str, text: str) -> None:
    """xs:decimal knows no exponent, and a depository compares texts."""
    message = tree(render_sese023(instruction(quantity=Decimal(quantity))))
    assert texts(message, "QtyAndAcctDtls/SttlmQty/Qty/Unit") == [text]


@pytest.mark.parametrize(
    ("price_type", "price", "text"),
    [
        (PriceType.PERCENT_OF_PAR, "99.1234567890", "99.123456789"),
        (PriceType.PERCENT_OF_PAR, "102.1234567891", "102.12345679"),  # 11 digits: 3 before the point leave 8
        (PriceType.PERCENT_OF_PAR, "102.1234567850", "102.12345679"),  # half up
        (PriceType.PERCENT_OF_PAR, "999.9999999999", "1000"),  # rounding may carry
        (PriceType.PERCENT_OF_PAR, "0.1234567891", "0.1234567891"),  # a zero before the point is no digit
        (PriceType.PER_UNIT, "33.3333333333", "33.3333333333"),
        (PriceType.PER_UNIT, "1234567890.1234567891", "1234567890.12345679"),  # 18 digits
        (PriceType.PER_UNIT, "1E+2", "100"),
    ],
)
def test_average_price_is_rounded_to_what_its_type_holds(price_type: PriceType, price: str, text: str) -> None:
    """An average with ten decimals must not stop an instruction: nobody matches on it."""
    tag = "Rate" if price_type is PriceType.PERCENT_OF_PAR else "Amt"
    message = tree(render_sese023(instruction(price_type=price_type, deal_price=Decimal(price))))
    assert texts(message, f"TradDtls/DealPric/Val/{tag}") == [text]


def test_markup_in_an_identifier_is_escaped() -> None:
    """An account named by people may hold an ampersand; it must arrive as it is, and open no element."""
    chain = samples.account_chain(safekeeping_account="A&B <\"'> ]]>")
    message = tree(render_sese023(instruction(own_chain=chain)))
    assert texts(message, "QtyAndAcctDtls/SfkpgAcct/Id") == ["A&B <\"'> ]]>"]


def _chain(**changes: Any) -> dict[str, Any]:
    return {"counterparty_chain": samples.counterparty_chain(**changes)}


def _own(account: str) -> dict[str, Any]:
    return {"own_chain": samples.account_chain(safekeeping_account=account)}


INVALID: list[tuple[str, dict[str, Any], str]] = [
    ("reference too long", {"instruction_id": "A" * 36}, "TxId"),
    ("reference empty", {"instruction_id": ""}, "TxId"),
    ("common reference empty", {"common_reference": ""}, "SttlmTpAndAddtlParams/CmonId"),
    ("ISIN malformed", {"isin": "DE000716460X"}, "FinInstrmId/ISIN"),
    ("venue is no MIC", {"venue": "XETRA"}, "TradDtls/PlcOfTrad/MktTpAndId/Id/MktIdrCd"),
    ("depository is no BIC", _chain(depository_bic="CBF"), "DlvrgSttlmPties/Dpstry/Id/AnyBIC"),
    ("participant is no BIC", _chain(participant_bic="DEUTDEFFX"), "DlvrgSttlmPties/Pty1/Id/AnyBIC"),
    ("client is no BIC", _chain(client_bic="deutdeff"), "DlvrgSttlmPties/Pty2/Id/AnyBIC"),
    ("participant account empty", _chain(participant_account=""), "DlvrgSttlmPties/Pty1/SfkpgAcct/Id"),
    ("account too long", _own("A" * 36), "QtyAndAcctDtls/SfkpgAcct/Id"),
    ("account empty", _own(""), "QtyAndAcctDtls/SfkpgAcct/Id"),
    ("account with a line break", _own("A\nB"), "QtyAndAcctDtls/SfkpgAcct/Id"),
    ("account with NUL", _own("A\0B"), "QtyAndAcctDtls/SfkpgAcct/Id"),
    ("account with a surrogate", _own("A\ud800B"), "QtyAndAcctDtls/SfkpgAcct/Id"),
    ("account with a non-character", _own("A\uffffB"), "QtyAndAcctDtls/SfkpgAcct/Id"),
    ("quantity zero", {"quantity": Decimal(0)}, "QtyAndAcctDtls/SttlmQty/Qty/Unit"),
    ("quantity negative", {"quantity": Decimal(-1)}, "QtyAndAcctDtls/SttlmQty/Qty/Unit"),
    ("quantity no number", {"quantity": Decimal("NaN")}, "QtyAndAcctDtls/SttlmQty/Qty/Unit"),
    ("quantity of 19 digits", {"quantity": Decimal("12345678901.12345678")}, "QtyAndAcctDtls/SttlmQty/Qty/Unit"),
    (
        "face amount of 6 decimals",
        {"instrument_type": InstrumentType.CORPORATE_BOND, "quantity": Decimal("0.000001")},
        "QtyAndAcctDtls/SttlmQty/Qty/FaceAmt",
    ),
    ("price negative", {"deal_price": Decimal(-1)}, "TradDtls/DealPric/Val/Amt"),
    ("currency malformed in the price", {"currency": "EU"}, "TradDtls/DealPric/Val/Amt/@Ccy"),
    ("amount finer than a cent", {"amount": Decimal("100.005")}, "SttlmAmt/Amt"),
    ("yen with decimals", {"currency": "JPY", "amount": Decimal("100.5")}, "SttlmAmt/Amt"),
    ("amount of 19 digits", {"amount": Decimal("1E+18")}, "SttlmAmt/Amt"),
    ("amount of 17 digits and cents", {"amount": Decimal("12345678901234567.89")}, "SttlmAmt/Amt"),
    ("amount no number", {"amount": Decimal("NaN")}, "SttlmAmt/Amt"),
    ("amount negative", {"amount": Decimal(-1)}, "SttlmAmt/Amt"),
    ("against payment of nothing", {"amount": Decimal(0)}, "SttlmAmt/Amt"),
    ("free of payment with cash", {"payment": Payment.FREE}, "SttlmAmt"),
    ("accrued finer than a cent", {"accrued_interest": Decimal("0.001")}, "OthrAmts/AcrdIntrstAmt/Amt"),
]


@pytest.mark.parametrize(("changes", "element"), [row[1:] for row in INVALID], ids=[row[0] for row in INVALID])
def test_invalid_message_is_refused_and_names_the_element(changes: dict[str, Any], element: str) -> None:
    """The desk repairs what is named; the wrong name costs the cut-off."""
    with pytest.raises(MessageInvalid) as caught:
        render_sese023(instruction(**changes))
    assert caught.value.element == element
    assert str(caught.value).startswith(f"{element} was ")
    caught.value.found.encode()  # it goes into an exception event, which is UTF-8


def test_refusal_says_what_was_found_and_what_was_expected() -> None:
    """One sentence for the desk, without namespaces and library jargon."""
    with pytest.raises(MessageInvalid) as caught:
        render_sese023(instruction(venue="XETRA"))
    assert str(caught.value) == (
        "TradDtls/PlcOfTrad/MktTpAndId/Id/MktIdrCd was 'XETRA': "
        "The value 'XETRA' is not accepted by the pattern '[A-Z0-9]{4,4}'."
    )


def test_same_instruction_gives_same_bytes_in_another_process(tmp_path: Path) -> None:
    """A replay after a crash, in a new process with another hash seed, must send the same message."""
    chain = samples.counterparty_chain(client_bic="BARCGB22XXX")
    given = bond(common_reference="COMMON-1", counterparty_chain=chain)
    (tmp_path / "instruction.json").write_bytes(msgspec.json.encode(given))
    program = (
        "import sys, pathlib, msgspec; from services.adapters.iso20022 import render_sese023;"
        "from services.domain.event import SettlementInstruction;"
        "given = msgspec.json.decode(pathlib.Path(sys.argv[1]).read_bytes(), type=SettlementInstruction);"
        "sys.stdout.buffer.write(render_sese023(given).encode())"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "instruction.json")]
    elsewhere = subprocess.run(
        command, check=True, capture_output=True, cwd=REPOSITORY, env={"PYTHONHASHSEED": "4711", "PYTHONPATH": "."}
    )
    assert elsewhere.stdout == Sese023Renderer().render(given).encode()


def test_renderer_is_unharmed_by_a_refusal() -> None:
    """The compiled schema keeps an error log; one refused message must not spoil or excuse the next."""
    renderer = Sese023Renderer()
    good = renderer.render(instruction())
    for bad in (instruction(isin="X"), instruction(venue="X"), instruction(isin="X")):
        with pytest.raises(MessageInvalid, match="ISIN" if bad.isin == "X" else "MktIdrCd"):
            renderer.render(bad)
        assert renderer.render(instruction()) == good


def test_elements_follow_the_mandatory_order() -> None:
    """The order is the schema's; stated here once in full so that a wrong schema would be seen, too."""
    given: SettlementInstruction = bond(common_reference="C")
    names = [str(child.tag).rpartition("}")[2] for child in tree(render_sese023(given))[0]]
    assert names == [
        "TxId",
        "SttlmTpAndAddtlParams",
        "TradDtls",
        "FinInstrmId",
        "QtyAndAcctDtls",
        "SttlmParams",
        "RcvgSttlmPties",
        "SttlmAmt",
        "OthrAmts",
    ]
