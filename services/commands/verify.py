"""`posttrade verify`: the auditor on the topics of a cluster. It reads and changes nothing."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, cast

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from services.adapters.log_world import OPEN_SECONDS_MAX, Committed, LogWorld, ReadableLog
from services.adapters.plain_avro import PlainReader
from services.commands.cluster import Cluster
from services.commands.failure import EXIT_TROUBLE, BadRequest, Ended
from services.commands.text import columns
from services.verification import Finding, Report, verify
from services.verification.ends import Offsets, has_moved, judge_standstill
from services.verification.model import Place
from services.verification.names import CAUSES_FIRST, INPUTS, group_of


@dataclass(frozen=True)
class Patience:
    """How long a cluster that works on is given, in seconds."""

    open_seconds: float = OPEN_SECONDS_MAX
    """For transactions that are open when it is measured."""
    second_reading_seconds: float = 5.0
    """Before the second reading: more than a tick, so that what was under way has arrived."""
    standstill_seconds: float = 15.0
    """For services with waiting input to move: a worker that died is replaced by then as a rule."""


PATIENCE = Patience()
_ASK_SECONDS = 0.5

BREAKS_SHOWN_MAX = 20
_BREAKS_COMPARED_MAX = 100_000
_DURATION = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def verify_command(
    context: typer.Context,
    *,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="DATE|DURATION",
            help="Judge only inputs from this day (2026-03-02, UTC) or time (2026-03-02T08:00) on, or of the last "
            "30m, 12h, 7d.",
            show_default=False,
        ),
    ] = None,
    settled: Annotated[
        bool,
        typer.Option("--settled", help="Work is over: what was not read to the end, or is still open, is a break."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check that every input was settled or shown to a person, exactly once.

    Reads every topic from its beginning, takes part in no consumer group and changes nothing. Prints ten findings with
    what was compared and what is wrong; the last line is ALL TRADES ACCOUNTED FOR or NOT ACCOUNTED FOR.

    While work goes on, inputs that were not committed when it began are in flight and not judged: the last line says
    how many, and since when. A service that has such input and moves no offset for 15 s is a break. What looks wrong is
    read a second time, and told only if it is still there.

    With --since older inputs count as known but are not judged. It does not see an older input that was lost, nor rows
    of state that follow from nothing. It is needed once records have been removed by retention: an effect whose cause
    is gone looks like one that never had any.

    Exit codes: 0 sound, 1 a break (or the cluster could not be read), 2 wrong arguments or settings.
    """
    cluster: Cluster = context.obj
    since_ms = None if since is None else since_of(since, now=datetime.now(tz=UTC))
    reader = PlainReader()
    with cluster.log() as log:
        committed: Committed = cluster.admin().committed
        report = audit(cast(ReadableLog, log), committed, reader, since_ms=since_ms, settled=settled)
    print(json.dumps(as_plain(report), ensure_ascii=False) if as_json else shown(report))
    if not report.is_sound:
        raise Ended(EXIT_TROUBLE)


def since_of(text: str, *, now: datetime) -> int:
    """The beginning of what is judged, milliseconds since the epoch. Raises BadRequest."""
    found = _DURATION.fullmatch(text)
    if found is not None:
        return int(now.timestamp() * 1000) - int(found[1]) * _UNIT_MS[found[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadRequest(
            f"--since was {text!r}; expected a day (2026-03-02), a time (2026-03-02T08:00) or a duration (30m, 12h, 7d)"
        ) from None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    if moment > now:
        raise BadRequest(f"--since was {text}, which has not come yet")
    return int(moment.timestamp() * 1000)


def audit(
    log: ReadableLog,
    committed: Committed,
    reader: PlainReader,
    *,
    since_ms: int | None,
    settled: bool,
    patience: Patience = PATIENCE,
) -> Report:
    """Judge the cluster; while work goes on, keep only the breaks that a second reading finds again.

    Who has input waiting at the first reading must have gone on by the end, and is given the time for it.
    """

    def read() -> tuple[Report, Offsets]:
        return _audit_once(log, committed, reader, since_ms, settled=settled, open_seconds=patience.open_seconds)

    first, before = read()
    report, waiting = first, first.waiting
    if settled or (first.is_sound and not waiting):
        return first
    began = time.monotonic()
    if not first.is_sound:
        time.sleep(patience.second_reading_seconds)
        report = in_both(first, read()[0])
    after = {service: _offsets(committed, service) for service in INPUTS}
    while any(not has_moved(before[one.service], after[one.service]) for one in waiting):
        if time.monotonic() - began >= patience.standstill_seconds:
            break
        time.sleep(_ASK_SECONDS)
        after = {service: _offsets(committed, service) for service in INPUTS}
    return judge_standstill(report, waiting, before, after, seconds=round(time.monotonic() - began))


def _offsets(committed: Committed, service: str) -> dict[Place, int]:
    return {(place.topic, place.partition): offset for place, offset in committed(group_of(service)).items()}


def _audit_once(
    log: ReadableLog,
    committed: Committed,
    reader: PlainReader,
    since_ms: int | None,
    *,
    settled: bool,
    open_seconds: float,
) -> tuple[Report, Offsets]:
    """One reading, and what each service had committed when it began."""
    with _progress() as progress:
        task = progress.add_task("measuring", total=None)

        def on_read(topic: str, count: int) -> None:
            progress.update(task, advance=count, description=topic)

        world = LogWorld(
            log,
            committed,
            topics=CAUSES_FIRST,
            groups=[group_of(service) for service in INPUTS],
            settled=settled,
            on_read=on_read,
            open_seconds_max=open_seconds,
        )
        progress.update(task, total=world.record_count_max)
        if since_ms is None and (shortened := world.shortened()):
            progress.console.print(f"records of {', '.join(shortened)} were removed: give --since", soft_wrap=True)
        report = verify(world, reader, since_ms=since_ms, breaks_max=_BREAKS_COMPARED_MAX, is_cut=True)
        return report, {service: world.committed(group_of(service)) for service in INPUTS}


@contextmanager
def _progress() -> Iterator[Progress]:
    """On standard error, and only for people."""
    console = Console(stderr=True)
    shape = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*shape, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress


def in_both(first: Report, second: Report) -> Report:
    """The second report with those breaks only that the first had too, whatever has moved in their sentences since."""
    findings = []
    for before, after in zip(first.findings, second.findings, strict=True):
        known = set(before.identities)
        kept = [pair for pair in zip(after.identities, after.breaks, strict=True) if pair[0] in known]
        identities, breaks = tuple(identity for identity, _ in kept), tuple(sentence for _, sentence in kept)
        findings.append(replace(after, breaks=breaks, identities=identities, break_count=len(breaks)))
    return Report(tuple(findings), second.waiting)


# --- showing ---------------------------------------------------------------------------------------------------------


def shown(report: Report) -> str:
    """The findings as a table, the breaks below it, and the verdict as the last line."""
    rows = [
        (finding.invariant, finding.title, f"{finding.checked:,}", f"{finding.break_count:,}", _judgement(finding))
        for finding in report.findings
    ]
    parts = [columns(("", "invariant", "compared", "breaks", ""), rows, right=[2, 3])]
    for finding in report.findings:
        parts += [f"{finding.invariant}: {sentence}" for sentence in finding.breaks[:BREAKS_SHOWN_MAX]]
        more = finding.break_count - min(len(finding.breaks), BREAKS_SHOWN_MAX)
        if more:
            parts.append(f"{finding.invariant}: and {more:,} more")
    parts += [f"{finding.invariant}: {finding.note}" for finding in report.findings if finding.note]
    return "\n".join([*parts, report.verdict])


def _judgement(finding: Finding) -> str:
    if finding.break_count:
        return "BROKEN"
    return "holds" if finding.judged else "not judged"


def as_plain(report: Report) -> Mapping[str, object]:
    """The report as JSON values."""
    findings = [asdict(replace(finding, breaks=finding.breaks[:BREAKS_SHOWN_MAX])) for finding in report.findings]
    for finding in findings:
        del finding["identities"]
    waiting = [{**asdict(one), "since": one.since} for one in report.waiting]
    return {"sound": report.is_sound, "verdict": report.verdict, "waiting": waiting, "findings": findings}
