"""The examples are true: each is read as its record, and the bytes kept of it are read by every later release."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import avro.io
import avro.schema
import msgspec
import pytest

from schemas import generate
from services.adapters.avro_codec import AvroCodec, to_json
from services.adapters.avro_schema import read_versions, snake_name
from services.domain.record import Record
from services.topics import WIRE_RECORDS

FOLDER = generate.ROOT / "examples"
EXAMPLES = sorted(FOLDER.glob("*/*.json"))
GOLDEN = sorted(FOLDER.glob("*/*.avro.hex"))
BY_FOLDER = {snake_name(record_type): record_type for record_type in WIRE_RECORDS}
CODEC = AvroCodec()


def identity(path: Path) -> str:
    """Name of a test: folder and file."""
    return f"{path.parent.name}/{path.name}"


def read_example(path: Path) -> Record:
    """The record that a JSON example describes."""
    return msgspec.json.decode(path.read_bytes(), type=BY_FOLDER[path.parent.name])


@pytest.mark.parametrize("path", EXAMPLES, ids=identity)
def test_an_example_survives_the_wire(path: Path) -> None:
    """JSON to record to bytes to record to JSON, and nothing has changed: the example has no field too many either."""
    event = read_example(path)
    again = CODEC.decode(CODEC.encode(event), type(event))

    assert again == event
    assert to_json(again) == json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", GOLDEN, ids=identity)
def test_bytes_of_every_version_are_still_read(path: Path) -> None:
    """What a release wrote years ago is the same event today."""
    stem = path.name.split(".")[0]
    event = read_example(path.with_name(f"{stem}.json"))

    assert CODEC.decode(bytes.fromhex(path.read_text(encoding="utf-8")), type(event)) == event


@pytest.mark.parametrize("path", GOLDEN, ids=identity)
def test_bytes_of_the_newest_version_are_still_written(path: Path) -> None:
    """The wire is a contract to the byte: compaction, hashes and other releases compare values by their bytes."""
    stem, version = path.name.removesuffix(".avro.hex").split(".v")
    event = read_example(path.with_name(f"{stem}.json"))
    newest = len(read_versions()[path.parent.name])

    assert (CODEC.encode(event).hex() == path.read_text(encoding="utf-8").strip()) is (int(version) == newest)


@pytest.mark.parametrize("path", GOLDEN, ids=identity)
def test_another_implementation_reads_the_bytes(path: Path) -> None:
    """The bytes are what the published schema says, not only what this codec thinks it says."""
    stem, version = path.name.removesuffix(".avro.hex").split(".v")
    schema = avro.schema.parse(json.dumps(read_versions()[path.parent.name][int(version) - 1].schema))
    body = bytes.fromhex(path.read_text(encoding="utf-8"))[10:]
    read: Any = avro.io.DatumReader(schema, schema).read(avro.io.BinaryDecoder(io.BytesIO(body)))
    event = read_example(path.with_name(f"{stem}.json"))

    for name in event.__struct_fields__:
        value = getattr(event, name)
        if name in read and not isinstance(value, int | tuple | msgspec.Struct):
            assert read[name] == value, name


def test_every_record_has_an_example_and_its_bytes() -> None:
    """A newcomer starts with the examples; a landed version without bytes is not held to anything."""
    landed = {(entry["name"], entry["version"]) for entry in generate.read_landed().values()}
    kept = {(path.parent.name, int(path.name.split(".v")[1].split(".")[0])) for path in GOLDEN}

    assert {path.parent.name for path in EXAMPLES} == set(BY_FOLDER)
    assert landed <= kept


def test_no_file_is_unused() -> None:
    """A file that no test reads may say anything."""
    used = {*EXAMPLES, *GOLDEN}
    assert {path for path in FOLDER.rglob("*") if path.is_file()} == used
    assert {path.with_name(f"{path.name.split('.')[0]}.json") for path in GOLDEN} <= set(EXAMPLES)
