"""The commands: one for each kind, its options made from the fields of its cases."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from services.commands.cluster import Cluster
from services.commands.explain import shown
from services.commands.explain.cases import Given, parse_object, read_case, read_file
from services.commands.explain.kind import Answer, CaseError, CaseField, Kind
from services.commands.explain.registry import KINDS
from services.commands.explain.sources import reference_of
from services.commands.failure import EXIT_TROUBLE, BadRequest, Ended
from services.domain.reference import ReferenceData

STANDARD_INPUT = "-"

app = typer.Typer(help="Say why a rule answers as it does.")


@app.callback()
def explain() -> None:
    """Say why: the answer of a rule, and the rule, effective date and source of each row that led to it.

    A case is given as options; as a JSON object on standard input when there are none; or many of them in a file.
    """


def run(
    kind: Kind,
    cluster: Cluster,
    options: dict[str, Any],
    *,
    cases: str | None,
    as_json: bool,
    folders: list[Path],
    from_cluster: bool,
) -> None:
    """Answer one case or many. Raises BadRequest for a case that cannot be asked, Ended when one of many was not."""
    if cases is not None and options:
        raise BadRequest(f"--cases and {', '.join(map(_option, options))} exclude each other")
    if cases is not None:
        given = _read_many(cases)
        reference = reference_of(cluster, folders=folders, from_cluster=from_cluster)
        _answer_many(kind, given, reference, as_json=as_json)
        return
    try:
        case = read_case(kind, options or parse_object(_standard_input(kind)))
        answer = kind.explain(case, reference_of(cluster, folders=folders, from_cluster=from_cluster))
    except CaseError as error:
        raise BadRequest(f"{error}. See: posttrade explain {kind.name} --help") from error
    print(shown.answer_line(answer) if as_json else shown.table(answer))


def _standard_input(kind: Kind) -> str:
    text = "" if sys.stdin.isatty() else sys.stdin.read()
    if not text.strip():
        raise CaseError(
            f"no case was given: give it as options (for example {_option(kind.fields[0].name)}), as a JSON object on "
            "standard input, or many with --cases FILE"
        )
    return text


def _read_many(cases: str) -> list[Given]:
    try:
        text = sys.stdin.read() if cases == STANDARD_INPUT else Path(cases).read_text(encoding="utf-8")
        return list(read_file(cases, text))
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"{cases} could not be read: {error}") from error
    except CaseError as error:
        raise BadRequest(f"{cases}: {error}") from error


def _answer_many(kind: Kind, given: list[Given], reference: ReferenceData, *, as_json: bool) -> None:
    results = [(one.line, _answer(kind, one, reference)) for one in given]
    if as_json:
        for line in shown.many_lines(results):
            print(line)
    else:
        print(shown.many_table(results))
    if any(isinstance(result, CaseError) for _, result in results):
        raise Ended(EXIT_TROUBLE)


def _answer(kind: Kind, given: Given, reference: ReferenceData) -> Answer | CaseError:
    if isinstance(given.members, CaseError):
        return given.members
    try:
        return kind.explain(read_case(kind, given.members), reference)
    except CaseError as error:
        return error


# --- options out of fields -------------------------------------------------------------------------------------------


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _parameter(field: CaseField) -> inspect.Parameter:
    annotation: Any = list[str] | None if field.is_list else str | None
    told = f"{field.help} Required." if field.is_required else field.help
    option = typer.Option(_option(field.name), help=told, show_default=False)
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[annotation, option]
    )


_COMMON = {
    "cases": Annotated[
        str | None,
        typer.Option(
            "--cases", metavar="FILE", help="Many cases (.csv, .jsonl, or - for JSON lines); one answer a line."
        ),
    ],
    "as_json": Annotated[bool, typer.Option("--json", help="Print JSON: one object for each case, on one line.")],
    "folders": Annotated[
        list[Path] | None,
        typer.Option(
            "--reference", metavar="DIR", help="Folder with reference data, laid over the shipped; repeatable."
        ),
    ],
    "from_cluster": Annotated[
        bool, typer.Option("--cluster", help="Take the reference data from the topics of the cluster.")
    ],
}
_DEFAULTS = {"cases": None, "as_json": False, "folders": None, "from_cluster": False}


def make_command(kind: Kind) -> Callable[..., None]:
    """The command of a kind: an option for each field of its cases, and the common ones."""

    def command(context: typer.Context, **given: Any) -> None:
        common = {name: given.pop(name) for name in _COMMON}
        common["folders"] = common["folders"] or []
        options = {name: value for name, value in given.items() if value}
        run(kind, context.obj, options, **common)

    only = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
        *(_parameter(field) for field in kind.fields),
        *(inspect.Parameter(name, only, default=_DEFAULTS[name], annotation=hint) for name, hint in _COMMON.items()),
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # read by typer
    command.__doc__ = kind.summary
    return command


for _kind in KINDS:
    app.command(_kind.name, short_help=_kind.summary.partition("\n")[0])(make_command(_kind))
