"""Every element of a settlement message is compared with its instruction, and every chain with the reference data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta

import pytest
from lxml import etree

from services.adapters.plain_xml import read_message
from services.adapters.topic_codec import FormatCodec
from services.verification import Decode, Entry, Report, verify
from tests.support.snapshot_world import SnapshotWorld
from tests.unit.verification.tampering import Tampering

MESSAGES = "settlement.messages"
STANDING = "reference.standing-settlement-instructions"
BEGUN_BEFORE = date(1990, 1, 1)


def _broken(report: Report) -> set[str]:
    return {finding.invariant for finding in report.findings if finding.break_count}


def _of_each_kind(world: SnapshotWorld) -> dict[tuple[str, ...], Entry]:
    """Messages that have different elements, by the paths of these."""
    return {tuple(sorted(read_message(one.value or b"")["elements"])): one for one in world.records[MESSAGES]}


def _changed(entry: Entry, change: Callable[[etree._Element], object]) -> Iterator[tuple[str, Entry]]:
    """The message with one change in one leaf, for each of its leaves."""
    count = sum(not len(node) for node in etree.fromstring(entry.value or b"").iter())
    for number in range(count):
        root = etree.fromstring(entry.value or b"")
        leaf = [node for node in root.iter() if not len(node)][number]
        path = root.getroottree().getelementpath(leaf)
        change(leaf)
        yield str(path), entry._replace(value=etree.tostring(root, xml_declaration=True, encoding="UTF-8"))


def _say_more(leaf: etree._Element) -> None:
    text = leaf.text or ""
    leaf.text = f"9{text}" if text.replace(".", "").isdigit() else f"{text}X"


def _remove(leaf: etree._Element) -> None:
    parent = leaf.getparent()
    assert parent is not None
    parent.remove(leaf)


def _say_in_other_currency(leaf: etree._Element) -> None:
    for name in leaf.attrib:
        leaf.set(str(name), "XXX")


@pytest.mark.parametrize("change", [_say_more, _remove])
def test_no_element_can_be_different_or_missing(
    change: Callable[[etree._Element], object], troubled: SnapshotWorld, decode: Decode
) -> None:
    """BIC, chain, price, date: whatever the depository reads is what was instructed."""
    kinds = _of_each_kind(troubled)
    assert len(kinds) > 1, "shares and bonds say different things"
    seen, missed = set(), []
    for entry in kinds.values():
        for path, wrong in _changed(entry, change):
            if path not in seen and not _broken(verify(troubled.with_changed(entry, value=wrong.value), decode)):
                missed.append(path)
            seen.add(path)
    assert missed == []
    assert len(seen) > 20


def test_no_currency_can_be_different(troubled: SnapshotWorld, decode: Decode) -> None:
    """Attributes are part of what a message says."""
    seen = set()
    for entry in _of_each_kind(troubled).values():
        for path, wrong in _changed(entry, _say_in_other_currency):
            if b'Ccy="XXX"' in (wrong.value or b""):
                seen.add(path)
                assert _broken(verify(troubled.with_changed(entry, value=wrong.value), decode)) == {"V4"}, path
    assert len(seen) == 3, "of the price, the amount and the accrued interest"


def test_a_message_cannot_say_more_than_its_instruction(troubled: SnapshotWorld, decode: Decode) -> None:
    """A reference or a party that nobody asked for is an instruction of its own."""
    entry = troubled.records[MESSAGES][0]
    value = (entry.value or b"").replace(b"</Pmt>", b"</Pmt><CmonId>INVENTED</CmonId>")
    assert _broken(verify(troubled.with_changed(entry, value=value), decode)) == {"V2"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<Document/>",
        "<Document xmlns='urn:iso:std:iso:20022:tech:xsd:sese.023.001.11'/>",
        "<Document xmlns='urn:iso:std:iso:20022:tech:xsd:sese.023.001.11'><Other/></Document>",
        "<D:Document xmlns:D='urn:iso:std:iso:20022:tech:xsd:sese.023.001.11'><D:SctiesSttlmTxInstr><TxId>1</TxId>"
        "</D:SctiesSttlmTxInstr></D:Document>",
        "<Document xmlns='urn:iso:std:iso:20022:tech:xsd:sese.023.001.11'><SctiesSttlmTxInstr><TxId>1</TxId><TxId>2"
        "</TxId></SctiesSttlmTxInstr></Document>",
        "<Document xmlns='urn:iso:std:iso:20022:tech:xsd:sese.023.001.11'><SctiesSttlmTxInstr>aside<TxId>1</TxId>"
        "</SctiesSttlmTxInstr></Document>",
        "<Document xmlns='urn:iso:std:iso:20022:tech:xsd:sese.023.001.11'><SctiesSttlmTxInstr><TxId>1</TxId>aside"
        "</SctiesSttlmTxInstr></Document>",
        "<Document xmlns='urn:iso:std:iso:20022:tech:xsd:sese.023.001.11'><SctiesSttlmTxInstr><!-- aside -->"
        "</SctiesSttlmTxInstr></Document>",
    ],
)
def test_what_is_no_message_is_not_read(text: str) -> None:
    """Whatever the reader passed over would not be compared."""
    with pytest.raises(ValueError, match=r"."):
        read_message(text.encode())


# --- settlement chains


def _rows_of(tampering: Tampering, owner: str, **changes: object) -> SnapshotWorld:
    """Every standing settlement instruction of an owner, changed."""
    for entry in tampering.world.records[STANDING]:
        if tampering.record(entry)["owner"] == owner:
            tampering = Tampering(tampering.change(entry, **changes), tampering.decode, tampering.codec)
    return tampering.world


@pytest.mark.parametrize("owner", ["counterparty", "account"])
@pytest.mark.parametrize(
    "changes",
    [
        {"safekeeping_account": "ELSEWHERE"},
        {"participant_bic": "ELSEDEFFXXX"},
        {"settlement_market": "XX"},
        {"currency": "XXX"},
        {"valid_to": BEGUN_BEFORE, "valid_from": BEGUN_BEFORE - timedelta(days=1)},
    ],
)
def test_a_chain_that_reference_data_never_gave_is_told(
    owner: str, changes: dict[str, object], mini: SnapshotWorld, decode: Decode, codec: FormatCodec
) -> None:
    """Securities that go to an account nobody named are gone."""
    tampering = Tampering(mini, decode, codec)
    name = tampering.record(mini.records["trades.allocated"][0])[owner]
    (found,) = (one for one in verify(_rows_of(tampering, name, **changes), decode).findings if one.break_count)
    assert found.invariant == "V2"
    assert all(told.endswith(f"what no standing settlement instruction says of {name}") for told in found.breaks)


def test_a_chain_is_not_judged_by_what_compaction_left(mini: SnapshotWorld, decode: Decode, codec: FormatCodec) -> None:
    """A row that was replaced may have been removed: then its absence proves nothing, and the report says so."""
    tampering = Tampering(mini, decode, codec)
    name = tampering.record(mini.records["trades.allocated"][0])["account"]
    rows = [one for one in mini.records[STANDING] if tampering.record(one)["owner"] != name]
    report = verify(mini.with_topic(STANDING, rows), decode)
    assert report.is_sound
    (note,) = (one.note for one in report.findings if one.invariant == "V2")
    assert "settlement chains are of no standing settlement instruction that is still there" in note
