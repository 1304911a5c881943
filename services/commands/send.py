"""`posttrade send`: executions, FIX messages, allocations or confirmations, as the outside would write them."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from services.commands.cluster import Cluster
from services.commands.failure import BadRequest
from services.commands.send_files import ALLOCATIONS, CONFIRMATIONS, EXECUTIONS, EventFile, read_events, read_fix
from services.commands.text import plural
from services.engine.log import Log, OutgoingRecord

app = typer.Typer(help="Send executions, FIX messages, allocations or confirmations.", no_args_is_help=False)

STANDARD_INPUT = "-"
_CHUNK_RECORDS_MAX = 10_000
_CHUNKS_PER_SECOND = 10

FileArgument = Annotated[
    str, typer.Argument(metavar="FILE", help="The file; - reads standard input.", show_default=False)
]
RateOption = Annotated[
    int | None, typer.Option("--rate", metavar="N", min=1, help="At most so many records a second.", show_default=False)
]


@app.command("executions", short_help="Send executions.")
def executions(context: typer.Context, file: FileArgument, rate: RateOption = None) -> None:
    """Send executions, one JSON object a line, keyed by order id."""
    _send_events(context.obj, file, EXECUTIONS, rate)


@app.command("allocations", short_help="Send allocation instructions.")
def allocations(context: typer.Context, file: FileArgument, rate: RateOption = None) -> None:
    """Send allocation instructions, one JSON object a line, keyed by order id."""
    _send_events(context.obj, file, ALLOCATIONS, rate)


@app.command("confirmations", short_help="Send counterparty confirmations.")
def confirmations(context: typer.Context, file: FileArgument, rate: RateOption = None) -> None:
    """Send counterparty confirmations, one JSON object a line, keyed by confirmation id."""
    _send_events(context.obj, file, CONFIRMATIONS, rate)


@app.command("fix", short_help="Send FIX messages.")
def fix_messages(context: typer.Context, file: FileArgument, rate: RateOption = None) -> None:
    """Send FIX messages byte for byte, one after the other or one a line, keyed by OrderID (37)."""
    cluster: Cluster = context.obj
    _send(cluster, list(read_fix(_read(file))), rate)


def _send_events(cluster: Cluster, file: str, kind: EventFile, rate: int | None) -> None:
    name = "standard input" if file == STANDARD_INPUT else file
    _send(cluster, read_events(name, _read(file), kind, cluster.codec), rate)


def _read(file: str) -> bytes:
    if file == STANDARD_INPUT:
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise BadRequest(f"{file} could not be read: {error.strerror}") from error


def _send(cluster: Cluster, records: list[OutgoingRecord], rate: int | None) -> None:
    with cluster.log() as log:
        send_records(log, records, rate)
    to = f" to {records[0].topic}" if records else ""
    print(f"sent {plural(len(records), 'record')}{to}")


def send_records(log: Log, records: Sequence[OutgoingRecord], rate: int | None = None) -> None:
    """Write records in their order, `rate` a second at most, and wait for the acknowledgements."""
    size = _CHUNK_RECORDS_MAX if rate is None else max(1, rate // _CHUNKS_PER_SECOND)
    began = time.monotonic()
    for start in range(0, len(records), size):
        if rate is not None:
            time.sleep(max(0.0, began + start / rate - time.monotonic()))
        log.send(records[start : start + size])
