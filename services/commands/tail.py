"""`posttrade tail TOPIC`: the records of a topic, decoded, as they come."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated

import typer

from services.commands.cluster import Cluster
from services.commands.scan import partitions_of
from services.commands.shown import json_line, json_record, readable_line
from services.engine.log import Log, LogRecord

_RECORDS_MAX = 500
_POLL_SECONDS = 0.25


def tail(
    context: typer.Context,
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="Name of the topic.", show_default=False)],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="Begin with the oldest record.")] = False,
    until_idle: Annotated[
        float | None,
        typer.Option(
            "--until-idle", metavar="SECONDS", min=0, help="End when no record came for so long.", show_default=False
        ),
    ] = None,
    count_max: Annotated[
        int | None, typer.Option("--max", metavar="N", min=1, help="End after so many records.", show_default=False)
    ] = None,
) -> None:
    """Print the records of a topic, decoded, from now on until Ctrl-C.

    FIX messages show '|' between fields. What cannot be decoded is shown as base64, with the reason.
    """
    cluster: Cluster = context.obj
    specification = cluster.topic(topic)
    with cluster.log() as log:
        records = follow(log, topic, from_beginning=from_beginning, until_idle_seconds=until_idle)
        for count, record in enumerate(records, start=1):
            if as_json:
                print(json_line(json_record(record, specification, cluster.codec)), flush=True)
            else:
                print(readable_line(record, specification, cluster.codec), flush=True)
            if count == count_max:
                break


def follow(
    log: Log, topic: str, *, from_beginning: bool, until_idle_seconds: float | None = None
) -> Iterator[LogRecord]:
    """Committed records of a topic, for ever or until none came for `until_idle_seconds`."""
    partitions = partitions_of(log, [topic])
    start = dict.fromkeys(partitions, 0) if from_beginning else log.end_offsets(partitions, committed_only=True)
    reader = log.reader(start)
    try:
        last = time.monotonic()
        while until_idle_seconds is None or time.monotonic() - last < until_idle_seconds or not reader.at_end():
            for record in reader.poll(_RECORDS_MAX, _POLL_SECONDS):
                last = time.monotonic()
                yield record
    finally:
        reader.close()
