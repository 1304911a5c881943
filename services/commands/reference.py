"""`posttrade reference load`: reference data from CSV files to the topics every worker reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from services.adapters.reference_files import (
    FILE_NAMES,
    SHIPPED_DIRECTORY,
    ReferenceFileError,
    load_directory,
    topic_of,
)
from services.adapters.topic_codec import FormatCodec
from services.commands.cluster import Cluster
from services.commands.failure import BadRequest
from services.commands.text import columns, plural
from services.domain.reference import ReferenceRecord
from services.engine.log import OutgoingRecord

app = typer.Typer(help="Load reference data.", no_args_is_help=False)


@app.callback()
def reference() -> None:
    """Load reference data."""


@app.command("load")
def load(
    context: typer.Context,
    directories: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[DIR]...", help="Folders with CSV files; without any, the shipped defaults."),
    ] = None,
    *,
    is_check: Annotated[bool, typer.Option("--check", help="Check the files and load nothing.")] = False,
) -> None:
    """Load every CSV file of the folders; a row replaces the row under the same key, no row is removed.

    The shipped defaults (calendars, settlement cycles, charges, tolerances of the larger markets, each row with its
    source) lie in deploy/reference, whose README says how to change a row. All files of all folders are checked first:
    when one row is wrong nothing is loaded, and each fault is one line with file, line and column.
    """
    cluster: Cluster = context.obj
    folders = directories or [SHIPPED_DIRECTORY]
    read = read_directories(folders)
    if is_check:
        print(_table(read))
        print("checked; nothing was loaded")
        return
    outgoing = [outgoing_row(record, cluster.codec) for records in read.values() for record in records]
    with cluster.log() as log:
        log.send(outgoing)
    print(_table(read))
    print(f"loaded {plural(len(outgoing), 'row')}")


def _table(read: dict[Path, list[ReferenceRecord]]) -> str:
    """What the folders hold: a line for each file, and the sum."""
    rows = [
        (str(folder), FILE_NAMES[kind], topic_of(kind), f"{count:,}", _newest(records, kind))
        for folder, records in read.items()
        for kind, count in Counter(type(record) for record in records).items()
    ]
    total = sum(len(records) for records in read.values())
    header = ("folder", "file", "topic", "rows", "newest from")
    return columns(header, [*rows, ("total", "", "", f"{total:,}", "")], right=[3])


def _newest(records: Iterable[ReferenceRecord], kind: type[ReferenceRecord]) -> str:
    """The latest first day among the rows of a kind."""
    return max(record.valid_from for record in records if type(record) is kind).isoformat()


def read_directories(folders: Iterable[Path]) -> dict[Path, list[ReferenceRecord]]:
    """The rows of every file of every folder, by folder.

    Raises BadRequest with one line for each fault of all of them, or when a folder holds no file at all.
    """
    read: dict[Path, list[ReferenceRecord]] = {}
    faults: list[str] = []
    for folder in dict.fromkeys(folders):
        try:
            read[folder] = load_directory(folder)
        except ReferenceFileError as error:
            faults += [str(fault._replace(file=_place(folder, fault.file))) for fault in error.faults]
        except OSError as error:
            faults.append(f"{folder} could not be read: {error.strerror}")
        else:
            if not read[folder]:
                faults.append(f"{folder} holds no reference data; expected are files like {FILE_NAMES_SHOWN}")
    if faults:
        raise BadRequest("\n".join(faults))
    return read


def _place(folder: Path, file: str) -> str:
    """The file as an editor opens it; a fault of the folder itself names the folder."""
    return file if file == str(folder) else str(folder / file)


FILE_NAMES_SHOWN = ", ".join(list(FILE_NAMES.values())[:3])


def outgoing_row(record: ReferenceRecord, codec: FormatCodec) -> OutgoingRecord:
    """The record that carries a row: its key is the row's key."""
    topic = topic_of(type(record))
    return OutgoingRecord(topic, record.key.encode(), codec.encode(topic, record))
