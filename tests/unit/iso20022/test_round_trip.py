"""Whatever can be instructed can be said, and reads back as it was meant."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.adapters.iso20022 import Sese023, parse_sese023, render_sese023
from services.domain.code import InstrumentType, Movement, Payment, PriceType
from services.domain.errors import MessageInvalid
from services.domain.event import SettlementChain, SettlementInstruction
from tests.unit.iso20022.builders import bond, instruction

BICS = st.from_regex(r"[A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}([A-Z0-9]{3})?", fullmatch=True)
REFERENCES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn")), min_size=1, max_size=35)
DATES = st.dates(min_value=date(2000, 1, 1), max_value=date(2099, 12, 31))
MINOR_UNIT_DIGITS = {"EUR": 2, "USD": 2, "GBP": 2, "JPY": 0, "KWD": 3}

CHAINS = st.builds(
    SettlementChain,
    depository_bic=BICS,
    participant_bic=BICS,
    participant_account=st.none() | REFERENCES,
    client_bic=st.none() | BICS,
    safekeeping_account=REFERENCES,
)


@st.composite
def instructions(draw: st.DrawFn) -> SettlementInstruction:
    """Any instruction that a valid message exists for."""
    kind = draw(st.sampled_from(InstrumentType))
    currency = draw(st.sampled_from(sorted(MINOR_UNIT_DIGITS)))
    free = draw(st.booleans())
    unit = Decimal(1).scaleb(-MINOR_UNIT_DIGITS[currency])
    quantity_unit = Decimal("0.00001") if kind.is_debt else Decimal("0.00000001")
    return instruction(
        instruction_id=draw(REFERENCES),
        movement=draw(st.sampled_from(Movement)),
        payment=Payment.FREE if free else Payment.AGAINST_PAYMENT,
        common_reference=draw(st.none() | REFERENCES),
        isin=draw(st.from_regex(r"[A-Z]{2}[A-Z0-9]{9}[0-9]", fullmatch=True)),
        instrument_type=kind,
        quantity=draw(st.integers(1, 10**18 - 1)) * quantity_unit,
        own_chain=draw(CHAINS),
        counterparty_chain=draw(CHAINS),
        amount=Decimal(0) if free else draw(st.integers(1, 10**18 - 1)) * unit,
        currency=currency,
        accrued_interest=draw(st.integers(-(10**12), 10**12)) * unit if kind.is_debt else Decimal(0),
        # eleven digits, the most that a percentage holds: nothing is rounded
        deal_price=draw(st.integers(1, 10**11 - 1)) * Decimal("0.00000001"),
        price_type=PriceType.PERCENT_OF_PAR if kind.is_debt else PriceType.PER_UNIT,
        venue=draw(st.from_regex(r"[A-Z0-9]{4}", fullmatch=True)),
        trade_date=draw(DATES),
        settlement_date=draw(DATES),
    )


def meant(given_: SettlementInstruction) -> Sese023:
    """What the message must say, derived from the instruction by the rules and not by the renderer."""
    chain = given_.counterparty_chain
    receives = given_.movement is Movement.RECEIVE
    paid = given_.payment is Payment.AGAINST_PAYMENT
    interest = given_.accrued_interest if paid and given_.accrued_interest else None
    return Sese023(
        transaction_id=given_.instruction_id,
        movement=given_.movement,
        payment=given_.payment,
        common_reference=given_.common_reference,
        venue=given_.venue,
        market_type="OTCO" if given_.venue in ("XOFF", "XXXX", "SINT") else "EXCH",
        trade_date=given_.trade_date,
        settlement_date=given_.settlement_date,
        deal_price=given_.deal_price,
        price_type=given_.price_type,
        isin=given_.isin,
        quantity=given_.quantity,
        is_face_amount=given_.instrument_type.is_debt,
        safekeeping_account=given_.own_chain.safekeeping_account,
        transaction_type="TRAD",
        other_side_delivers=receives,
        depository_bic=chain.depository_bic,
        participant_bic=chain.participant_bic,
        participant_account=chain.participant_account,
        client_bic=chain.client_bic,
        client_account=chain.safekeeping_account if chain.client_bic else None,
        amount=given_.amount if paid else None,
        currency=given_.currency if paid else None,
        credit_debit=("DBIT" if receives else "CRDT") if paid else None,
        accrued_interest_included=interest is not None if paid and given_.instrument_type.is_debt else None,
        accrued_interest=interest,
    )


@settings(max_examples=100, deadline=None)
@given(instructions())
def test_every_valid_instruction_renders_and_reads_back(given_: SettlementInstruction) -> None:
    """Rendering validates against the schema, so this is also: no valid instruction is ever refused."""
    assert parse_sese023(render_sese023(given_)) == meant(given_)


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_either_carried_unchanged_or_refused(text: str) -> None:
    """There is no third way: no text may be cut, normalised or break the message."""
    try:
        message = render_sese023(instruction(common_reference=text))
    except MessageInvalid as error:
        assert error.element == "SttlmTpAndAddtlParams/CmonId"
    else:
        assert parse_sese023(message).common_reference == text


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("<TxId>SI23456789ABCDEF</TxId>", "", "TxId"),
        (">DELI<", ">MOVE<", "MOVE"),
        ("2026-03-04", "4 March", "4 March"),
        (">50000<", ">fifty<", "ConversionSyntax"),
        ("sese.023.001.11", "sese.024.001.12", "sese.023.001.11"),
        ("</Document>", "", "well-formed"),
    ],
)
def test_reading_refuses_what_is_no_instruction(old: str, new: str, named: str) -> None:
    """A reader that guesses would show people something that was never sent."""
    text = render_sese023(bond())
    assert old in text
    with pytest.raises(MessageInvalid, match=named):
        parse_sese023(text.replace(old, new, 1))


def test_reading_loads_nothing_from_outside() -> None:
    """A message that names a local file as an entity must not show its content."""
    text = render_sese023(instruction()).replace(
        "<Document", '<!DOCTYPE Document [<!ENTITY secret SYSTEM "file:///etc/hostname">]><Document'
    )
    with pytest.raises(MessageInvalid, match="TxId"):
        parse_sese023(text.replace("SI23456789ABCDEF", "&secret;"))
