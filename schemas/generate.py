"""Write `schemas/avro` from the structs, and keep what has landed as it is.

    python schemas/generate.py                 write schemas that are new or have not landed
    python schemas/generate.py --check         write nothing; name each struct that differs from its newest schema
    python schemas/generate.py --new-version   also write version n+1 of each landed schema whose struct has changed
    python schemas/generate.py --land          freeze the newest versions: landed.json and the bytes of each example

A landed schema has been written with, so its file never changes again: old records must stay readable.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import NamedTuple

import msgspec

from services.adapters.avro_codec import AvroCodec
from services.adapters.avro_schema import (
    SchemaVersion,
    fingerprint,
    read_versions,
    schema_of,
    schema_text,
    snake_name,
)
from services.domain.record import Record
from services.topics import WIRE_RECORDS

ROOT = Path(__file__).resolve().parent


class Drift(NamedTuple):
    """A struct that its newest schema no longer describes, or that has no schema yet."""

    record_type: type[Record]
    wanted: SchemaVersion
    """The version that the struct would be, were it written now."""
    is_landed: bool
    """Whether the newest file is frozen, so that the change needs a version of its own."""

    def __str__(self) -> str:
        """One sentence for the person who changed the struct."""
        if self.is_landed:
            newest = f"{self.wanted.name}.v{self.wanted.version - 1}.avsc"
            return f"{self.record_type.__name__} differs from {newest}, which has landed: run with --new-version"
        return f"{self.record_type.__name__} differs from {self.wanted.file_name}: run make schemas"


def drifts(root: Path = ROOT) -> list[Drift]:
    """Every struct whose schema file is missing or says something else, sentences included."""
    versions = read_versions(root / "avro")
    landed = read_landed(root)
    found = []
    for record_type in WIRE_RECORDS:
        name, schema = snake_name(record_type), schema_of(record_type)
        newest = versions[name][-1] if name in versions else None
        if newest is not None and schema_text(newest.schema) == schema_text(schema):
            continue
        is_landed = newest is not None and newest.file_name in landed
        number = 1 if newest is None else newest.version + is_landed
        found.append(Drift(record_type, SchemaVersion(name, number, schema), is_landed))
    return found


def read_landed(root: Path = ROOT) -> dict[str, dict[str, str | int]]:
    """What has landed: file name to name, version, fingerprint on the wire and hash of the whole file."""
    path = root / "landed.json"
    entries = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return {f"{entry['name']}.v{entry['version']}.avsc": entry for entry in entries}


def landed_entry(version: SchemaVersion, text: bytes) -> dict[str, str | int]:
    """What landed.json says of one file. The fingerprint leaves out defaults and logical types: hence the hash."""
    return {
        "name": version.name,
        "version": version.version,
        "fingerprint": fingerprint(version.schema).hex(),
        "sha256": hashlib.sha256(text).hexdigest(),
    }


def land(root: Path = ROOT) -> list[Path]:
    """Freeze the newest versions: list them in landed.json, keep the bytes of each example. Returns the files."""
    landed = read_landed(root)
    written = [root / "landed.json"]
    for name, versions in sorted(read_versions(root / "avro").items()):
        for version in versions:
            text = (root / "avro" / version.file_name).read_bytes()
            landed.setdefault(version.file_name, landed_entry(version, text))
        written += _write_golden_bytes(root / "examples" / name, versions[-1].version, AvroCodec(root / "avro"))
    entries = sorted(landed.values(), key=lambda entry: (str(entry["name"]), int(entry["version"])))
    written[0].write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    return written


def _write_golden_bytes(folder: Path, version: int, codec: AvroCodec) -> list[Path]:
    record_type = next(kind for kind in WIRE_RECORDS if snake_name(kind) == folder.name)
    written = []
    for example in sorted(folder.glob("*.json")):
        path = example.with_name(f"{example.stem}.v{version}.avro.hex")
        if not path.exists():
            path.write_text(codec.encode(msgspec.json.decode(example.read_bytes(), type=record_type)).hex() + "\n")
            written.append(path)
    return written


def _write(drift: Drift, root: Path) -> Path:
    path = root / "avro" / drift.wanted.file_name
    path.write_text(schema_text(drift.wanted.schema), encoding="utf-8")
    return path


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line. Returns 1 when a struct still differs from its newest schema."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", action="store_true", help="write nothing")
    action.add_argument("--new-version", action="store_true", help="write the next version of changed, landed schemas")
    action.add_argument("--land", action="store_true", help="freeze the newest versions")
    options = parser.parse_args(arguments)
    left = []
    for drift in drifts(root):
        if options.check or options.land or (drift.is_landed and not options.new_version):
            left.append(drift)
        else:
            print(f"wrote {_write(drift, root).relative_to(root)}")
    for drift in left:
        print(drift, file=sys.stderr)
    if options.land and not left:
        for path in land(root):
            print(f"wrote {path.relative_to(root)}")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
