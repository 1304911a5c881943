"""Every version ever written is read as today's struct, and a schema that cannot be is refused at the start."""

from __future__ import annotations

import copy
import io
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pytest

from services.adapters.avro_careful import MARKER
from services.adapters.avro_codec import AvroCodec
from services.adapters.avro_schema import UNRECOGNISED, fingerprint, schema_of, schema_text
from services.domain.code import Side
from services.domain.errors import DecodeError
from services.domain.event import Execution
from tests import samples

NEWEST = schema_of(Execution)


def field(schema: dict[str, Any], name: str) -> dict[str, Any]:
    """One field of a schema, to be changed by a test."""
    found: dict[str, Any] = next(entry for entry in schema["fields"] if entry["name"] == name)
    return found


def codec(directory: Path, *versions: dict[str, Any]) -> AvroCodec:
    """A codec that knows these versions of the execution, oldest first."""
    for number, schema in enumerate(versions, start=1):
        (directory / f"execution.v{number}.avsc").write_text(schema_text(schema), encoding="utf-8")
    return AvroCodec(directory, (Execution,))


def written_with(schema: dict[str, Any], changes: dict[str, Any]) -> bytes:
    """What a release with that schema would have written: the sample with some fields changed, without the codec."""
    event = samples.execution()
    row = {name: getattr(event, name) for name in event.__struct_fields__} | changes
    output = io.BytesIO()
    fastavro.schemaless_writer(output, copy.deepcopy(schema), row)
    return MARKER + fingerprint(schema) + output.getvalue()


def test_a_field_the_writer_did_not_have_takes_its_default(tmp_path: Path) -> None:
    """An optional field may be added, and the log from before it stays readable."""
    older = copy.deepcopy(NEWEST)
    older["fields"] = [entry for entry in older["fields"] if entry["name"] != "possible_duplicate"]

    read = codec(tmp_path, older, NEWEST).decode(written_with(older, {}), Execution)

    assert read == samples.execution()


def test_a_field_the_struct_no_longer_has_is_dropped(tmp_path: Path) -> None:
    """A field with a default may be retired, and the log that still has it stays readable."""
    older = copy.deepcopy(NEWEST)
    older["fields"].insert(3, {"name": "desk", "type": ["null", "string"], "default": None})

    read = codec(tmp_path, older, NEWEST).decode(written_with(older, {"desk": "EQUITIES"}), Execution)

    assert read == samples.execution()


def test_codes_are_told_by_name_not_by_position(tmp_path: Path) -> None:
    """A code that was added in front moves the positions; an old SELL must not be read as something else."""
    older = copy.deepcopy(NEWEST)
    field(older, "side")["type"]["symbols"] = [UNRECOGNISED, "SELL", "BUY"]

    read = codec(tmp_path, older, NEWEST).decode(written_with(older, {"side": "SELL"}), Execution)

    assert read.side is Side.SELL


@pytest.mark.parametrize("symbol", ["BORROW", UNRECOGNISED])
def test_a_code_that_is_not_known_is_refused(tmp_path: Path, symbol: str) -> None:
    """It is never taken for the default: what cannot be understood goes to a person."""
    other = copy.deepcopy(NEWEST)
    field(other, "side")["type"]["symbols"] = [UNRECOGNISED, "BUY", "SELL", "SELL_SHORT", "BORROW"]

    with pytest.raises(DecodeError, match=r"^Execution.side was a Side that is not known here$"):
        codec(tmp_path, other, NEWEST).decode(written_with(other, {"side": symbol}), Execution)


def test_the_newest_version_writes(tmp_path: Path) -> None:
    """Old versions are for reading only."""
    older = copy.deepcopy(NEWEST)
    older["fields"].pop()

    assert codec(tmp_path, older, NEWEST).encode(samples.execution())[2:10] == fingerprint(NEWEST)


def test_a_changed_sentence_shares_the_fingerprint(tmp_path: Path) -> None:
    """Documentation may be improved: both versions are read by the same reader."""
    older = copy.deepcopy(NEWEST)
    older["doc"] = "A fill."

    read = codec(tmp_path, older, NEWEST).decode(written_with(older, {}), Execution)

    assert read == samples.execution()


def _scale_changed(schema: dict[str, Any]) -> None:
    field(schema, "quantity")["type"]["scale"] = 10


def _field_missing(schema: dict[str, Any]) -> None:
    schema["fields"] = [entry for entry in schema["fields"] if entry["name"] != "quantity"]


def _type_changed(schema: dict[str, Any]) -> None:
    field(schema, "quantity")["type"] = "string"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_scale_changed, "had the fingerprint of execution.v1.avsc but another meaning"),
        (_field_missing, "fields without a default were missing: quantity"),
        (_type_changed, "DecimalType was string in the schema"),
    ],
)
def test_an_old_version_that_cannot_be_read_stops_the_start(tmp_path: Path, change: Any, sentence: str) -> None:
    """The fingerprint leaves out the scale of a decimal: without this check 1.00 would be read as 0.01."""
    older = copy.deepcopy(NEWEST)
    change(older)

    with pytest.raises(ValueError, match=sentence):
        codec(tmp_path, older, NEWEST)


def test_a_newest_version_that_is_not_the_struct_stops_the_start(tmp_path: Path) -> None:
    """A struct that was changed without `make schemas` must not write under the old promise."""
    stale = copy.deepcopy(NEWEST)
    stale["fields"].pop()

    with pytest.raises(ValueError, match=r"execution.v1.avsc did not fit Execution"):
        codec(tmp_path, stale)


def test_a_missing_schema_stops_the_start(tmp_path: Path) -> None:
    """An installation without its schemas says so at once, not with the first event."""
    with pytest.raises(ValueError, match="Execution was without a schema file"):
        codec(tmp_path)


@pytest.mark.parametrize("name", ["execution.v3.avsc", "execution.avsc", "notes.txt"])
def test_a_stray_file_stops_the_start(tmp_path: Path, name: str) -> None:
    """A version that was skipped or misnamed is a version that was lost."""
    (tmp_path / name).write_text(schema_text(NEWEST), encoding="utf-8")

    with pytest.raises(ValueError, match=r"was not named|were not 1, 2, 3"):
        codec(tmp_path, NEWEST)


def test_decimals_of_old_and_new_are_the_same_number(tmp_path: Path) -> None:
    """What another implementation wrote is the number it meant."""
    data = written_with(NEWEST, {"price": Decimal("101.0625"), "quantity": Decimal("0.00000001")})
    read = codec(tmp_path, NEWEST).decode(data, Execution)

    assert (read.price, read.quantity) == (Decimal("101.0625"), Decimal("0.00000001"))
