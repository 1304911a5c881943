"""The schemas say what the structs say, keep what was promised, and every version can read every other."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import avro.schema
import pytest
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType

from schemas import generate
from services.adapters.avro_schema import (
    UNRECOGNISED,
    SchemaVersion,
    fingerprint,
    named_types,
    read_versions,
    schema_of,
    schema_text,
    snake_name,
)
from services.domain.record import Record
from services.topics import WIRE_RECORDS

VERSIONS = read_versions(generate.ROOT / "avro")
EVERY_FILE = [version for versions in VERSIONS.values() for version in versions]


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """What may never differ between two versions although the Avro rules would let it pass.

    Logical types, precision and scale are invisible to the compatibility check and to the fingerprint, a retired symbol
    would turn old records into refused ones, and a changed type name or a string read as bytes is another value.
    """
    if isinstance(one, list) and isinstance(other, list):
        return [text for left, right in itertools.zip_longest(one, other) for text in differences(left, right, where)]
    if not isinstance(one, dict) or not isinstance(other, dict):
        return [] if one == other else [f"{where}: {one} became {other}"]
    found = [
        f"{where}: {key} {one.get(key)} became {other.get(key)}"
        for key in ("logicalType", "precision", "scale", "name")
        if one.get(key) != other.get(key)
    ]
    if one.get("type") == "enum":
        lost = set(one["symbols"]) - set(other.get("symbols", ()))
        return found + [f"{where}: symbol {symbol} was removed" for symbol in sorted(lost)]
    fields = {field["name"]: field["type"] for field in other.get("fields", ())}
    for field in one.get("fields", ()):
        if field["name"] in fields:
            found += differences(field["type"], fields[field["name"]], f"{where}.{field['name']}")
    parts = ("items", "values") if "fields" in one else ("type", "items", "values")
    return found + [text for part in parts for text in differences(one.get(part), other.get(part), where)]


def incompatible(reader: dict[str, Any], writer: dict[str, Any]) -> set[str]:
    """What the Avro project's own rules say against reading one version with another."""
    checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]  # avro leaves its __init__ untyped
    result = checker.get_compatibility(avro.schema.parse(json.dumps(reader)), avro.schema.parse(json.dumps(writer)))
    return set() if result.compatibility is SchemaCompatibilityType.compatible else result.messages


def test_no_drift() -> None:
    """A struct that changed without its schema would write what nobody was promised."""
    assert [str(drift) for drift in generate.drifts()] == []


def test_every_schema_file_belongs_to_a_record() -> None:
    """A file that no record uses is a promise nobody keeps."""
    assert set(VERSIONS) == {snake_name(record_type) for record_type in WIRE_RECORDS}


@pytest.mark.parametrize("version", EVERY_FILE, ids=lambda version: version.file_name)
def test_every_version_reads_every_other(version: SchemaVersion) -> None:
    """FULL_TRANSITIVE: logs are replayed for years by releases that are newer and, after a fallback, older."""
    for other in VERSIONS[version.name]:
        assert incompatible(reader=version.schema, writer=other.schema) == set()
        if other.version > version.version:
            assert differences(version.schema, other.schema) == []


@pytest.mark.parametrize("version", EVERY_FILE, ids=lambda version: version.file_name)
def test_a_schema_explains_itself(version: SchemaVersion) -> None:
    """Someone without Python must understand the wire: each record, enum and field has its sentence."""
    for name, node in named_types(version.schema):
        assert node["doc"].strip(), name
        for field in node.get("fields", ()):
            assert field["doc"].strip(), f"{name}.{field['name']}"


@pytest.mark.parametrize("version", EVERY_FILE, ids=lambda version: version.file_name)
def test_an_enum_can_grow_and_never_guesses(version: SchemaVersion) -> None:
    """docs/decisions/0004: the default is a symbol that no reader acts on."""
    for name, node in named_types(version.schema):
        if node["type"] == "enum":
            assert (node["symbols"][0], node["default"]) == (UNRECOGNISED, UNRECOGNISED), name


def test_what_has_landed_is_still_there() -> None:
    """Records in the log name these files by fingerprint; a file that changes or vanishes makes them unreadable."""
    landed = generate.read_landed()
    assert landed, "landed.json was empty: run schemas/generate.py --land"
    for file_name, entry in landed.items():
        path = generate.ROOT / "avro" / file_name
        assert path.exists(), f"{file_name} has landed and is gone"
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert digest == entry["sha256"], f"{file_name} has landed and was changed"
        assert fingerprint(json.loads(path.read_text(encoding="utf-8"))).hex() == entry["fingerprint"]


@pytest.mark.parametrize("record_type", WIRE_RECORDS, ids=lambda kind: kind.__name__)
def test_the_newest_file_is_byte_for_byte_what_the_generator_writes(record_type: type[Record]) -> None:
    """A generator whose output depends on the run, or a file mended by hand, would make every difference suspicious."""
    newest = VERSIONS[snake_name(record_type)][-1]
    text = (generate.ROOT / "avro" / newest.file_name).read_text(encoding="utf-8")

    assert text == schema_text(schema_of(record_type))


# --- the checks can fail ---------------------------------------------------------------------------------------------

BASE: dict[str, Any] = {
    "type": "record",
    "name": "Base",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 23, "scale": 5}},
        {
            "name": "side",
            "type": {"type": "enum", "name": "Side", "symbols": [UNRECOGNISED, "BUY", "SELL"], "default": UNRECOGNISED},
        },
    ],
}


def _changed(**changes: Any) -> dict[str, Any]:
    fields = [field | {"type": changes.pop(field["name"], field["type"])} for field in BASE["fields"]]
    return BASE | {"fields": fields + changes.pop("added", [])}


@pytest.mark.parametrize(
    "newer",
    [
        _changed(added=[{"name": "desk", "type": "string"}]),
        _changed(id="bytes"),
        _changed(id=["null", "string"]),
        _changed(amount={"type": "bytes", "logicalType": "decimal", "precision": 23, "scale": 4}),
        _changed(amount={"type": "bytes", "logicalType": "decimal", "precision": 28, "scale": 5}),
        _changed(amount="bytes"),
        _changed(side={"type": "enum", "name": "Side", "symbols": [UNRECOGNISED, "BUY"], "default": UNRECOGNISED}),
        _changed(side={"type": "enum", "name": "Side", "symbols": ["BUY", "SELL"]}),
    ],
    ids=["required field", "bytes", "optional", "scale", "precision", "plain bytes", "lost symbol", "lost default"],
)
def test_a_forbidden_change_is_seen(newer: dict[str, Any]) -> None:
    """Each rule is shown a breach, so that a silent checker would be noticed."""
    rules = incompatible(newer, BASE) | incompatible(BASE, newer) | set(differences(BASE, newer))
    assert rules


@pytest.mark.parametrize(
    "newer",
    [
        _changed(added=[{"name": "desk", "type": ["null", "string"], "default": None}]),
        _changed(
            side={
                "type": "enum",
                "name": "Side",
                "symbols": [UNRECOGNISED, "BUY", "SELL", "BORROW"],
                "default": UNRECOGNISED,
            }
        ),
    ],
    ids=["optional field", "symbol"],
)
def test_an_allowed_change_passes(newer: dict[str, Any]) -> None:
    """The two ways in which events grow."""
    assert incompatible(newer, BASE) | incompatible(BASE, newer) | set(differences(BASE, newer)) == set()


# --- the generator ---------------------------------------------------------------------------------------------------


def _copy_of_schemas(root: Path) -> Path:
    (root / "avro").mkdir()
    for version in EVERY_FILE:
        (root / "avro" / version.file_name).write_text(schema_text(version.schema), encoding="utf-8")
    (root / "landed.json").write_text((generate.ROOT / "landed.json").read_text(encoding="utf-8"), encoding="utf-8")
    return root


def test_a_landed_schema_is_never_rewritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A changed struct gets a version of its own, and only when that is asked for."""
    root = _copy_of_schemas(tmp_path)
    newest = VERSIONS["party"][-1]
    path = root / "avro" / newest.file_name
    older = schema_text(newest.schema | {"doc": "An older sentence."})
    path.write_text(older, encoding="utf-8")

    assert generate.main([], root) == 1
    assert f"Party differs from {newest.file_name}, which has landed" in capsys.readouterr().err
    assert generate.main(["--new-version"], root) == 0
    assert path.read_text(encoding="utf-8") == older
    assert read_versions(root / "avro")["party"][-1].version == newest.version + 1
    assert generate.main(["--check"], root) == 0


def test_a_schema_that_has_not_landed_is_rewritten(tmp_path: Path) -> None:
    """Before the first release of an event its schema follows the struct."""
    root = _copy_of_schemas(tmp_path)
    (root / "landed.json").write_text("[]", encoding="utf-8")
    newest = VERSIONS["party"][-1]
    (root / "avro" / newest.file_name).write_text("{}", encoding="utf-8")

    assert generate.main(["--check"], root) == 1
    assert generate.main([], root) == 0
    assert (root / "avro" / newest.file_name).read_text(encoding="utf-8") == schema_text(newest.schema)


def test_nothing_lands_while_a_struct_differs(tmp_path: Path) -> None:
    """What lands is what is written with."""
    root = _copy_of_schemas(tmp_path)
    (root / "landed.json").unlink()
    (root / "avro" / VERSIONS["party"][-1].file_name).unlink()

    assert generate.main(["--land"], root) == 1
    assert not (root / "landed.json").exists()
