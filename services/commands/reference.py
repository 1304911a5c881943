"""`posttrade reference load`: reference data from CSV files to the topics every worker reads."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from services.adapters.reference_files import FILE_NAMES, ReferenceFileError, load_directory, topic_of
from services.adapters.topic_codec import FormatCodec
from services.commands.cluster import Cluster
from services.commands.failure import BadRequest
from services.commands.text import columns
from services.domain.reference import ReferenceRecord
from services.engine.log import OutgoingRecord

app = typer.Typer(help="Load reference data.", no_args_is_help=False)


@app.callback()
def reference() -> None:
    """Load reference data."""


@app.command("load")
def load(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with the CSV files.", show_default=False)],
) -> None:
    """Load every CSV file of a folder; a row replaces the row under the same key, no row is removed.

    All files are checked first. When one row is wrong nothing is loaded, and each fault is one line: file, line,
    column.
    """
    cluster: Cluster = context.obj
    records = read_directory(directory)
    outgoing = [outgoing_row(record, cluster.codec) for record in records]
    with cluster.log() as log:
        log.send(outgoing)
    counts = Counter(type(record) for record in records)
    rows = [(FILE_NAMES[kind], topic_of(kind), f"{count:,}") for kind, count in counts.items()]
    print(columns(("file", "topic", "rows"), [*rows, ("total", "", f"{len(records):,}")], right=[2]))


def read_directory(directory: Path) -> list[ReferenceRecord]:
    """The rows of every file. Raises BadRequest with one line for each fault, or when there is no file at all."""
    try:
        records = load_directory(directory)
    except ReferenceFileError as error:
        raise BadRequest("\n".join(str(fault) for fault in error.faults)) from error
    except OSError as error:
        raise BadRequest(f"{directory} could not be read: {error.strerror}") from error
    if not records:
        raise BadRequest(f"{directory} holds no reference data; expected are files like {FILE_NAMES_SHOWN}")
    return records


FILE_NAMES_SHOWN = ", ".join(list(FILE_NAMES.values())[:3])


def outgoing_row(record: ReferenceRecord, codec: FormatCodec) -> OutgoingRecord:
    """The record that carries a row: its key is the row's key."""
    topic = topic_of(type(record))
    return OutgoingRecord(topic, record.key.encode(), codec.encode(topic, record))
