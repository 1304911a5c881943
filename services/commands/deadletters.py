"""`posttrade deadletters`: look at what could not be processed, and decide what becomes of it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from services.commands.age import age_ms, age_text
from services.commands.cluster import Cluster
from services.commands.failure import EXIT_TROUBLE, BadRequest, CommandFailed, Ended
from services.commands.letters import Case, header, read_cases
from services.commands.scan import partitions_of
from services.commands.send_files import EventFile, read_events
from services.commands.shown import json_line, json_record, text_or_bytes, time_text
from services.commands.text import columns, plural
from services.domain.record import Record
from services.engine.dead_letters import CRASH, ERROR_CLASSES
from services.engine.log import Log, LogRecord
from services.engine.repair import RESOLVED_TOPIC, Action, RepairOutcome, Resolution, repair_record
from services.pipeline import SERVICE_NAMES
from services.topics import TopicFormat

app = typer.Typer(help="List, show, replay and discard what could not be processed.", no_args_is_help=False)

MESSAGE_WIDTH_MAX = 90
KEY_WIDTH_MAX = 40
TEXT_CHARACTERS_MAX = 200
_POLL_SECONDS = 0.1
_DECODER = msgspec.json.Decoder(Resolution)
_WANTED = {Action.REPLAY: RepairOutcome.REPLAYED, Action.DISCARD: RepairOutcome.DISCARDED}
ROUNDS_MAX = 10
"""How often a replay asks what came meanwhile before it leaves the rest to the next run."""

ServiceOption = Annotated[
    str | None, typer.Option("--service", metavar="SERVICE", help="Of this service.", show_default=False)
]
KeyOption = Annotated[str | None, typer.Option("--key", metavar="KEY", help="Of this key.", show_default=False)]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.", show_default=False)]
OptionalIdArgument = Annotated[
    str | None, typer.Argument(metavar="[ID]", help="As `list` shows it.", show_default=False)
]
ByOption = Annotated[
    str, typer.Option("--by", metavar="NAME", help="Who decides; stays on record.", show_default=False)
]
ReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; stays on record.", show_default=False)
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
WaitOption = Annotated[
    float, typer.Option("--wait", metavar="SECONDS", min=1, help="How long to wait for each outcome.")
]
WAIT_SECONDS = 60.0


@app.command("list", short_help="List what waits.")
def list_letters(
    context: typer.Context,
    *,
    service: ServiceOption = None,
    error_class: Annotated[
        str | None, typer.Option("--class", metavar="CLASS", help="DECODE, BUG, CRASH or PARKED.", show_default=False)
    ] = None,
    key: KeyOption = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="AGE", help="Not older than, for example 30m, 8h, 7d.", show_default=False),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what was replayed or discarded.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """List the dead letters that wait for a decision, oldest first within a key."""
    cluster: Cluster = context.obj
    _known_service(service)
    if error_class is not None and error_class not in ERROR_CLASSES:
        raise BadRequest(f"--class was {error_class}; choose one of {', '.join(ERROR_CLASSES)}")
    oldest_ms = None if since is None else time.time_ns() // 1_000_000 - age_ms(since, option="--since")
    with cluster.log() as log:
        cases = read_cases(log)
    behind = _behind(cases)
    shown = [
        case
        for case in cases
        if (everything or case.is_open)
        and service in (None, case.service)
        and error_class in (None, case.error_class)
        and key in (None, case.key)
        and (oldest_ms is None or case.last.timestamp_ms >= oldest_ms)
    ]
    if as_json:
        for case in shown:
            print(json_line(_row_json(case, behind)))
    else:
        _print_table(shown, behind)


def _behind(cases: Sequence[Case]) -> dict[str, int]:
    """How many wait behind each open case."""
    lines: dict[tuple[str, str, str], list[str]] = {}
    for case in cases:
        if case.is_open:
            lines.setdefault(case.line, []).append(case.id)
    return {found: len(line) - place for line in lines.values() for place, found in enumerate(line, start=1)}


def _row_json(case: Case, behind: dict[str, int]) -> dict[str, object]:
    last = case.last
    said = case.final or (case.resolutions[-1] if case.resolutions else None)
    return {
        "id": case.id,
        "service": case.service,
        "class": case.error_class,
        "key": text_or_bytes(last.key),
        "at": time_text(last.timestamp_ms),
        "message": header(last, "err.message"),
        "fingerprint": header(last, "err.fingerprint"),
        "attempt": int(header(last, "attempt") or 1),
        "behind": behind.get(case.id, 0),
        "outcome": None if said is None else said.outcome.value,
    }


def _print_table(cases: Sequence[Case], behind: dict[str, int]) -> None:
    if not cases:
        print("nothing waits")
        return
    now_ms = time.time_ns() // 1_000_000
    rows = [
        (
            case.id,
            case.service,
            case.error_class,
            _cut(case.key, KEY_WIDTH_MAX),
            age_text(now_ms - case.last.timestamp_ms),
            str(behind[case.id]) if case.final is None else case.final.outcome.value,
            _cut(header(case.last, "err.message"), MESSAGE_WIDTH_MAX),
        )
        for case in cases
    ]
    print(columns(("id", "service", "class", "key", "age", "behind it", "what is wrong"), rows, right=[4, 5]))
    print(plural(len(cases), "dead letter"))


def _cut(text: str, width_max: int) -> str:
    return text if len(text) <= width_max else f"{text[: width_max - 1]}…"


def _known_service(service: str | None) -> None:
    if service is not None and service not in SERVICE_NAMES:
        raise BadRequest(f"service {service} is unknown; known are: {', '.join(SERVICE_NAMES)}")


# --- one letter -------------------------------------------------------------------------------------------------------


@app.command("show", short_help="Show one letter: headers, value, what was done about it.")
def show(context: typer.Context, identifier: IdArgument) -> None:
    """Show everything about one dead letter. The value is decoded where that is possible, and shown in hex if not."""
    cluster: Cluster = context.obj
    with cluster.log() as log:
        cases = read_cases(log)
    case = _case(cases, identifier)
    print(columns(("id", case.id), _facts(cluster, case, _behind(cases))))


def _facts(cluster: Cluster, case: Case, behind: dict[str, int]) -> Iterator[tuple[str, str]]:
    source = case.source
    yield "key", case.key
    yield "came in", time_text(source.timestamp_ms)
    yield "waits", f"yes, with {behind[case.id]} behind it" if case.is_open else "no"
    for letter in case.attempts:
        said = f"{header(letter, 'err.class')}: {header(letter, 'err.message')}"
        yield f"attempt {header(letter, 'attempt') or 1}", f"{time_text(letter.timestamp_ms)}  {said}"
    for done in case.resolutions:
        yield "repair", f"{done.at}  {done.action} {done.outcome}, by {done.by}: {done.reason}"
    for name, value in source.headers:
        yield f"header {name}", str(text_or_bytes(value))
    omitted = case.omitted
    yield "value", _value_text(cluster, source) if omitted is None else f"too large to be here; lies at {omitted}"


def _value_text(cluster: Cluster, source: LogRecord) -> str:
    if source.value is None:
        return "(none)"
    shown = json_record(source, cluster.topic(source.topic), cluster.codec)["value"]
    if isinstance(shown, dict) and "$base64" in shown:
        return source.value.hex()
    return shown if isinstance(shown, str) else json_line(shown)


def _case(cases: Sequence[Case], identifier: str) -> Case:
    for case in cases:
        if case.id == identifier:
            return case
    raise CommandFailed(f"there is no dead letter {identifier}; see: posttrade deadletters list")


# --- decisions --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Decision:
    """What is wanted, by whom, why."""

    action: Action
    by: str
    reason: str
    wait_seconds: float


@app.command("replay", short_help="Process what waits, in order.")
def replay(  # noqa: PLR0913  # one for each option
    context: typer.Context,
    identifier: OptionalIdArgument = None,
    *,
    key: KeyOption = None,
    service: ServiceOption = None,
    file: Annotated[
        str | None,
        typer.Option("--file", metavar="FILE", help="Use this value for the record ID instead.", show_default=False),
    ] = None,
    only: Annotated[bool, typer.Option("--only", help="Only the record ID, not those that wait with it.")] = False,
    by: ByOption,
    reason: ReasonOption,
    yes: YesOption = False,
    wait: WaitOption = WAIT_SECONDS,
) -> None:
    """Have the service process a record, and all others of its key that wait, in order; ends at the first failure.

    What comes meanwhile is replayed as well. Ends with 1 if anything was not done, or somebody else did it otherwise.

    FILE holds the bytes of the repaired value, or one JSON object for a topic whose values are Avro.
    """
    cluster: Cluster = context.obj
    decision = _decision(Action.REPLAY, by, reason, wait)
    if file is not None and identifier is None:
        raise BadRequest("--file needs the ID of the record whose value it replaces")
    with cluster.log() as log:
        cases = _chosen(read_cases(log), identifier, key, service, only=only)
        changed = (
            {} if file is None or identifier is None else {identifier: _repaired(cluster, cases, identifier, file)}
        )
        _ask(f"Replay {_described(cases)}?", yes=yes)
        _decide(log, cases, decision, changed, only=only)


@app.command("discard", short_help="Give up what waits, for good.")
def discard(
    context: typer.Context,
    identifier: OptionalIdArgument = None,
    *,
    key: KeyOption = None,
    service: ServiceOption = None,
    by: ByOption,
    reason: ReasonOption,
    yes: YesOption = False,
    wait: WaitOption = WAIT_SECONDS,
) -> None:
    """Decide that a record will never be processed. With ID only that record, with --key all of the key that wait.

    Ends with 1 if anything was not done, came meanwhile, or was replayed by somebody else before.

    Records that waited behind a discarded one still wait: replay them.
    """
    cluster: Cluster = context.obj
    decision = _decision(Action.DISCARD, by, reason, wait)
    with cluster.log() as log:
        cases = _chosen(read_cases(log), identifier, key, service, only=True)
        _ask(f"Discard {_described(cases)} for good?", yes=yes)
        _decide(log, cases, decision, {}, only=identifier is not None)


def _decision(action: Action, by: str, reason: str, wait_seconds: float) -> Decision:
    for name, text in (("--by", by), ("--reason", reason)):
        if not text.strip() or len(text) > TEXT_CHARACTERS_MAX:
            raise BadRequest(f"{name} needs a text of at most {TEXT_CHARACTERS_MAX} characters")
    return Decision(action, by.strip(), reason.strip(), wait_seconds)


def _chosen(
    cases: Sequence[Case], identifier: str | None, key: str | None, service: str | None, *, only: bool
) -> list[Case]:
    """The open cases that are meant, in the order in which they wait."""
    _known_service(service)
    if (identifier is None) == (key is None) or (key is not None) != (service is not None):
        raise BadRequest("say which: ID, or --key KEY together with --service SERVICE")
    if identifier is not None:
        case = _case(cases, identifier)
        if case.final is not None:
            raise CommandFailed(f"{identifier} does not wait any more: {_what_became(case.final)}")
        return [case] if only else [other for other in cases if other.is_open and other.line == case.line]
    found = [case for case in cases if case.is_open and (case.key, case.service) == (key, service)]
    if not found:
        raise CommandFailed(f"nothing of key {key} waits in {service}")
    return found


def _described(cases: Sequence[Case]) -> str:
    return f"{plural(len(cases), 'record')} of key {cases[0].key} in {cases[0].service}"


def _repaired(cluster: Cluster, cases: Sequence[Case], identifier: str, file: str) -> bytes:
    try:
        data = Path(file).read_bytes()
    except OSError as error:
        raise BadRequest(f"{file} could not be read: {error.strerror}") from error
    topic = cluster.topic(_case(cases, identifier).source.topic)
    if topic.format is not TopicFormat.AVRO or not data.lstrip().startswith(b"{"):
        return data
    record_type = topic.record_type
    assert record_type is not None
    one_line = b" ".join(data.split(b"\n"))
    (record,) = read_events(file, one_line, EventFile(topic.name, record_type, _any_field(record_type)), cluster.codec)
    assert record.value is not None
    return record.value


def _any_field(record_type: type[Record]) -> str:
    return record_type.__struct_fields__[0]  # the key stays that of the source


def _ask(question: str, *, yes: bool) -> None:
    if not yes and not typer.confirm(question):
        raise CommandFailed("nothing was done")


def _decide(log: Log, cases: Sequence[Case], decision: Decision, changed: dict[str, bytes], *, only: bool) -> None:
    """One repair after the other, each when the one before is done; shows every outcome.

    Records that came meanwhile and were put behind the others are replayed as well, and never discarded unseen. With
    `only`, what else waits is left to wait. Raises Ended unless everything that was wanted came about.
    """
    lines = {case.line for case in cases}
    for _ in range(1 if decision.action is Action.DISCARD else ROUNDS_MAX):
        _decide_each(log, cases, decision, changed)
        cases = [] if only else [case for case in read_cases(log) if case.is_open and case.line in lines]
        if not cases:
            return
    came = f"{plural(len(cases), 'record')} came meanwhile and wait" + ("s" if len(cases) == 1 else "")
    print(f"{came}; run the command again")
    raise Ended(EXIT_TROUBLE)


def _decide_each(log: Log, cases: Sequence[Case], decision: Decision, changed: dict[str, bytes]) -> None:
    for left, case in zip(range(len(cases) - 1, -1, -1), cases, strict=True):
        value = changed.get(case.id)
        outcome = _repair(log, case, decision, value)
        earlier = _earlier(log, case) if outcome is RepairOutcome.ALREADY_RESOLVED else None
        print(f"{case.id}: {outcome.value}" + ("" if earlier is None else f", {_what_became(earlier)}"), flush=True)
        found = outcome if earlier is None else earlier.outcome
        if found is not _WANTED[decision.action] or (earlier is not None and value is not None):
            if left:
                print(f"{plural(left, 'record')} behind it still wait" + ("s" if left == 1 else ""))
            raise Ended(EXIT_TROUBLE)


def _earlier(log: Log, case: Case) -> Resolution | None:
    """What somebody else had made of it before."""
    return next((found.final for found in read_cases(log) if found.id == case.id), None)


def _what_became(final: Resolution) -> str:
    return f"{final.outcome.value} at {final.at} by {final.by}: {final.reason}"


def _repair(log: Log, case: Case, decision: Decision, value: bytes | None) -> RepairOutcome:
    source = case.source
    if decision.action is Action.REPLAY and value is None and case.omitted is not None:
        raise CommandFailed(
            f"{case.id} is too large to be sent again (it lies at {case.omitted}): "
            "give it a smaller value with --file, or discard it"
        )
    if value is not None:
        source = msgspec.structs.replace(source, value=value)
    repair_id = str(uuid.uuid4())
    record = repair_record(
        service=case.service,
        source=source,
        action=decision.action,
        repair_id=repair_id,
        by=decision.by,
        reason=decision.reason,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        changed=value is not None,
    )
    reader = log.reader(log.end_offsets(partitions_of(log, [RESOLVED_TOPIC]), committed_only=True))
    try:
        log.send([record])
        deadline = time.monotonic() + decision.wait_seconds
        while time.monotonic() < deadline:
            for found in reader.poll(100, _POLL_SECONDS):
                resolution = _DECODER.decode(found.value or b"")
                if resolution.id == repair_id:
                    return resolution.outcome
    finally:
        reader.close()
    raise CommandFailed(_not_taken(case, decision))


def _not_taken(case: Case, decision: Decision) -> str:
    running = (
        "it has ended workers before, and those that run may be ending on it again"
        if case.error_class == CRASH
        else "if some run, they may be ending on it"
    )
    return (
        f"no worker of {case.service} took the repair of {case.id} within {decision.wait_seconds:.0f} s; it is done as "
        f"soon as one can: start a worker if none runs; {running}: see their logs, then posttrade deadletters show"
    )
