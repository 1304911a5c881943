"""A cancellation names what it cancels, validly, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from lxml import etree

from services.adapters.iso20022 import MessageRenderer, render_sese023
from services.adapters.iso20022.schema import DERIVED_CANCELLATION_SCHEMA, DERIVED_SCHEMA, SESE_020_NAMESPACE
from services.domain.code import Function
from services.domain.errors import MessageInvalid
from services.domain.event import SettlementInstruction
from services.domain.record import replace
from tests.unit.iso20022.builders import bond, instruction
from tests.unit.iso20022.test_round_trip import instructions

RENDERER = MessageRenderer()


def _cancelled(sent: SettlementInstruction) -> dict[str, str]:
    text = RENDERER.render(replace(sent, function=Function.CANCEL))
    root = etree.fromstring(text.encode())
    assert root.tag == f"{{{SESE_020_NAMESPACE}}}Document"
    leaves = [node for node in root.iter() if not len(node)]
    return {etree.QName(node).localname: node.text or "" for node in leaves}


@pytest.mark.parametrize("sent", [instruction(), bond()], ids=["share", "bond"])
def test_it_names_the_instruction_with_its_movement_and_payment(sent: SettlementInstruction) -> None:
    """That is what a depository looks it up by; the quantity and cash of it are not asked for again."""
    assert _cancelled(sent) == {
        "TxId": sent.instruction_id,
        "SctiesMvmntTp": sent.movement.value,
        "Pmt": sent.payment.value,
        "Id": sent.own_chain.safekeeping_account,
    }


@settings(max_examples=50, deadline=None)
@given(instructions())
def test_what_could_be_instructed_can_be_cancelled(sent: SettlementInstruction) -> None:
    """A cancellation that cannot be sent leaves an instruction that settles."""
    assert _cancelled(sent)["TxId"] == sent.instruction_id


def test_the_function_decides_which_message_it_is() -> None:
    """NEW stays what it was, byte for byte."""
    assert RENDERER.render(instruction()) == render_sese023(instruction())


def test_operator_may_bring_another_schema(tmp_path: Path) -> None:
    """One for each message; the one of cancellations does not touch instructions."""
    stricter = DERIVED_CANCELLATION_SCHEMA.read_text().replace(
        '<xs:maxLength value="35"/>', '<xs:maxLength value="10"/>'
    )
    (tmp_path / "own.xsd").write_text(stricter)
    renderer = MessageRenderer(DERIVED_SCHEMA, tmp_path / "own.xsd")
    assert renderer.render(instruction())
    with pytest.raises(MessageInvalid, match="TxId"):
        renderer.render(instruction(function=Function.CANCEL))
