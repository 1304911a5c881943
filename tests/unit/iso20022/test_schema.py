"""The derived schema is reproducible, and strict where it matters."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from lxml import etree

from services.adapters.iso20022 import Sese023Renderer, render_sese023
from services.adapters.iso20022.schema import DERIVED_SCHEMA
from tests.unit.iso20022.builders import NAMESPACE, bond, instruction

FOLDER = Path(__file__).resolve().parents[3] / "schemas" / "iso20022"


def _derive() -> ModuleType:
    spec = importlib.util.spec_from_file_location("derive_sese023", FOLDER / "derive.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def schema() -> etree.XMLSchema:
    """The derived schema, loaded without the code that uses it."""
    return etree.XMLSchema(etree.parse(str(FOLDER / "sese.023.001.11.xsd")))


def test_schema_files_are_what_the_package_gives() -> None:
    """Nobody edited a file by hand, and an upgrade of the package cannot change the wire unseen."""
    derive = _derive()
    assert {derive.target_of(name) for name in derive.MESSAGES} == set(FOLDER.glob("*.xsd"))
    for name in derive.MESSAGES:
        assert derive.derived_schema(name).encode() == derive.target_of(name).read_bytes()


def test_readme_names_the_package_version_the_schema_came_from() -> None:
    """Provenance in the readme must not rot when the package is upgraded."""
    version = re.search(r"Derived from python-iso20022 (\S+) \(MIT\)", DERIVED_SCHEMA.read_text())
    assert version is not None
    assert f"{version[1]} (MIT licence" in (FOLDER / "README.md").read_text()


def test_derivation_refuses_metadata_it_would_lose(monkeypatch: pytest.MonkeyPatch) -> None:
    """A restriction the program does not know must stop it: dropping one in silence makes the schema too wide."""
    derive = _derive()
    monkeypatch.delitem(derive._FACETS, "pattern")
    with pytest.raises(ValueError, match="pattern"):
        derive.derived_schema("sese.023.001.11")


@pytest.mark.parametrize("message", [instruction(), bond()], ids=["share", "bond"])
def test_schema_accepts_our_messages(schema: etree.XMLSchema, message: object) -> None:
    """Loaded without our code around it, the schema takes what the renderer writes."""
    schema.assertValid(etree.fromstring(render_sese023(message).encode()))  # type: ignore[arg-type]


def _replaced(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert text.count(old) >= 1, f"{old} is not in the message"
        return text.replace(old, new, 1)

    return change


def _amount(text: str) -> Callable[[str], str]:
    return _replaced('<Amt Ccy="EUR">100000.00</Amt>', f'<Amt Ccy="EUR">{text}</Amt>')


REJECTED = {
    "Pmt missing": (_replaced("<Pmt>APMT</Pmt>", ""), "Pmt"),
    "TxId after the settlement type": (
        lambda text: re.sub(r"(<TxId>.*?</TxId>)(<SttlmTpAndAddtlParams>.*?</SttlmTpAndAddtlParams>)", r"\2\1", text),
        "TxId",
    ),
    "Amt without CdtDbtInd": (_replaced("<CdtDbtInd>DBIT</CdtDbtInd>", ""), "CdtDbtInd"),
    "TxId of 36 characters": (_replaced("SI23456789ABCDEF", "A" * 36), "maxLength"),
    "TxId empty": (_replaced("SI23456789ABCDEF", ""), "minLength"),
    "ISIN in lower case": (_replaced("DE0007164600", "de0007164600"), "pattern"),
    "ISIN of 11 characters": (_replaced("DE0007164600", "DE000716460"), "pattern"),
    "BIC of 9 characters": (_replaced("DAKVDEFFXXX", "DAKVDEFFX"), "pattern"),
    "BIC with digits for the country": (_replaced("DAKVDEFFXXX", "DAKV12FFXXX"), "pattern"),
    "amount with 6 decimals": (_amount("100000.123456"), "fraction"),
    "amount with 19 digits": (_amount("1234567890123456.789"), "digits"),
    "amount negative": (_amount("-1.00"), "minInclusive"),
    "amount with exponent": (_amount("1E5"), "ActiveCurrencyAndAmount"),
    "currency in lower case": (_replaced('Ccy="EUR">100000', 'Ccy="eur">100000'), "pattern"),
    "currency missing": (_replaced('<Amt Ccy="EUR">100000.00', "<Amt>100000.00"), "Ccy"),
    "SttlmAmt with the amount as its own text": (
        lambda text: re.sub(r"<SttlmAmt>.*</SttlmAmt>", '<SttlmAmt Ccy="EUR">1.00</SttlmAmt>', text),
        "SttlmAmt",
    ),
    "both branches of a choice": (
        _replaced("<Unit>1000</Unit>", "<Unit>1000</Unit><FaceAmt>1000</FaceAmt>"),
        "FaceAmt",
    ),
    "no branch of a choice": (_replaced("<Unit>1000</Unit>", ""), "Qty"),
    "movement unknown": (_replaced(">RECE<", ">MOVE<"), "enumeration"),
    "date not a date": (_replaced("2026-03-04", "2026-02-30"), "date"),
    "element unknown": (_replaced("</TxId>", "</TxId><PlcOfSttlm/>"), "PlcOfSttlm"),
    "root is the message type": (
        lambda text: text.replace("<Document", "<Sese02300111").replace("</Document", "</Sese02300111"),
        "Sese02300111",
    ),
    "another version's namespace": (_replaced("sese.023.001.11", "sese.023.001.09"), "Document"),
}


@pytest.mark.parametrize("name", REJECTED)
def test_schema_rejects(schema: etree.XMLSchema, name: str) -> None:
    """Each of these has been seen in the wild or would be refused by a depository; the error names the place."""
    change, named = REJECTED[name]
    broken = change(render_sese023(instruction()))
    assert not schema.validate(etree.fromstring(broken.encode()))
    assert named in str(schema.error_log)


def test_operator_may_bring_another_schema(tmp_path: Path) -> None:
    """The official XSD must be usable by its path: here one that is stricter about the reference."""
    stricter = DERIVED_SCHEMA.read_text().replace('<xs:maxLength value="35"/>', '<xs:maxLength value="16"/>')
    (tmp_path / "own.xsd").write_text(stricter)
    renderer = Sese023Renderer(tmp_path / "own.xsd")
    assert NAMESPACE in renderer.render(instruction())
    with pytest.raises(ValueError, match="TxId"):
        renderer.render(instruction(instruction_id="A" * 17))


def test_missing_schema_stops_the_start(tmp_path: Path) -> None:
    """Without a schema nothing may be sent, so the renderer must not come to life."""
    with pytest.raises(OSError, match=r"own\.xsd"):
        Sese023Renderer(tmp_path / "own.xsd")
