"""`posttrade trade ID`: the life of one trade as a timeline."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from services.commands.cluster import Cluster
from services.commands.describe import describe
from services.commands.failure import CommandFailed
from services.commands.scan import read_all
from services.commands.shown import event_of, fix_text, json_line, json_record, readable_value, time_text
from services.commands.text import columns
from services.commands.trade_history import TOPICS, History, Seen, history
from services.domain.record import Record

FIX_TOPIC = "front-office.fix"


def trade(
    context: typer.Context,
    identifier: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="Trade id (TR…), order id, ExecID, block id (BL…), allocation id (AL…), AllocID, confirmation id, "
            "instruction id (SI…) or exception id (EX…).",
            show_default=False,
        ),
    ],
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line, as `tail --json` does.")
    ] = False,
) -> None:
    """Show everything that happened to one trade, from the report to the instruction.

    Reads the topics from their beginning, so on a large cluster it takes a while.
    """
    cluster: Cluster = context.obj
    with cluster.log() as log:
        seen = [_seen(cluster, record) for record in read_all(log, TOPICS)]
    found = history(seen, identifier)
    if found is None:
        raise CommandFailed(f"nothing is known under the id {identifier}")
    if as_json:
        for entry in found.entries:
            print(json_line(json_record(entry.record, cluster.topics[entry.record.topic], cluster.codec)))
        return
    print(timeline(cluster, found))


def _seen(cluster: Cluster, record: Any) -> Seen:
    event = event_of(record, cluster.topics[record.topic], cluster.codec)
    return Seen(record, event if isinstance(event, Record) else None)


def timeline(cluster: Cluster, found: History) -> str:
    """The history as text: one line for each record, then how it stands."""
    rows = [
        (
            time_text(entry.record.timestamp_ms),
            entry.record.topic,
            f"{entry.record.partition}/{entry.record.offset}",
            _line(cluster, entry),
        )
        for entry in found.entries
    ]
    return "\n".join([columns(("time", "topic", "at", "what it says"), rows), "", *_standing(found)])


def _line(cluster: Cluster, entry: Seen) -> str:
    record = entry.record
    if entry.event is None:
        return readable_value(record, cluster.topics[record.topic], cluster.codec)
    if record.topic == FIX_TOPIC and record.value is not None:
        return f"{describe(entry.event)}  [{fix_text(record.value)}]"
    return describe(entry.event)


def _standing(found: History) -> list[str]:
    lines = [f"open: {describe(event)}" for event in found.open_exceptions]
    lines += [f"instructed: {describe(event)}" for event in found.instructions]
    return lines or ["not instructed yet, and no exception is open"]
