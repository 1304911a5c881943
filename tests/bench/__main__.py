"""`make bench`: this service and what a user would pick instead, measured in one run; tables and one line of JSON.

    python -m tests.bench                                          # all measures, three rounds
    python -m tests.bench --measures a,d --programs engine,faust --rounds 1
    python -m tests.bench --scale 0.02 --rounds 1                  # does everything work?

(a) to (d) run here, every program in turn, round after round; (e) to (k) are modules of `tests.bench.measures`. One
program runs at a time, with the broker on the same machine. Exit code 1 when an "at least" of the targets is missed or
a measure failed; 2 for a wrong option.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from rich.console import Console
from rich.table import Table

from deploy.local.kafka_broker import LocalKafka
from deploy.local.kafka_jars import REPOSITORY
from tests.bench import throughput
from tests.bench.finding import Context, Finding, Verdict
from tests.bench.machine import machine
from tests.bench.programs import BY_NAME, PROGRAMS, Program

MODULES = {
    "e": "latency", "f": "cost", "g": "memory", "h": "rebuild", "i": "two_workers", "j": "open_items", "k": "catch_up",
}  # fmt: skip
LETTERS = (*throughput.BY_LETTER, *MODULES)
FOLDER = REPOSITORY / ".local" / "bench" / "runs"

WIDTH = 150
"""Characters a line where there is no terminal to ask: tables keep their columns in a log."""

Measure = Callable[[Context], Finding]


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line. Ends with exit code 2 and a sentence for what is not known."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--measures", type=_names(LETTERS), default=list(LETTERS), metavar="A,B", help=f"of {LETTERS}")
    parser.add_argument("--programs", type=_names(tuple(BY_NAME)), metavar="A,B", help=f"of {', '.join(BY_NAME)}")
    parser.add_argument("--rounds", type=_at_least_one, default=3, help="how often everything is measured")
    parser.add_argument("--scale", type=_share, default=1.0, help="share of the record counts, above 0 to 1")
    return parser.parse_args(arguments)


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0] or '(empty)'} is unknown; known are: {', '.join(known)}")
        return names

    return parse


def _at_least_one(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"was {text}; it must be a whole number, at least 1")
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"was {text}; it must be above 0 and at most 1")
    return share


def measure_of(letter: str, programs: Sequence[Program]) -> Measure:
    """How what a letter stands for is measured."""
    if letter in throughput.BY_LETTER:
        return partial(throughput.measure, throughput.BY_LETTER[letter], programs)
    measure: Measure = importlib.import_module(f"tests.bench.measures.{MODULES[letter]}").measure
    return measure


def main(arguments: Sequence[str]) -> int:
    """Measure, print, judge."""
    given = options(arguments)
    programs = PROGRAMS if given.programs is None else [BY_NAME[name] for name in BY_NAME if name in given.programs]
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    findings: list[Finding] = []
    failed: dict[str, str] = {}
    began = time.monotonic()
    for position, letter in enumerate(given.measures, start=1):
        console.print(f"\n[bold]({letter}) measure {position} of {len(given.measures)}[/bold]")
        try:
            findings.append(_measured(letter, programs, given, console))
        except Exception as failure:  # noqa: BLE001  # the other measures are worth having; this one makes the run red
            failed[letter] = f"{type(failure).__name__}: {failure}"
            traceback.print_exc()
            continue
        _show(console, findings[-1])
    verdicts = [verdict for finding in findings for verdict in finding.verdicts]
    console.print(_verdict_table(verdicts))
    for letter, why in failed.items():
        console.print(f"FAILED: ({letter}) {why}", markup=False)
    met = not failed and all(verdict.meets_least is not False for verdict in verdicts)
    result = _result(given, findings, verdicts, failed)
    print(json.dumps(result | {"minutes": round((time.monotonic() - began) / 60, 1), "met": met}))
    return 0 if met else 1


def _measured(letter: str, programs: Sequence[Program], given: argparse.Namespace, console: Console) -> Finding:
    """One measure on a broker of its own, so that what one leaves behind costs the next nothing."""
    measure = measure_of(letter, programs)
    folder = FOLDER / letter
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with LocalKafka() as broker:
        context = Context(broker.bootstrap_servers, folder, console, given.scale, given.rounds)
        return measure(context)


def _show(console: Console, finding: Finding) -> None:
    console.print(finding.to_table())
    for note in finding.notes:
        console.print(f"  {note}", highlight=False, markup=False)


def _verdict_table(verdicts: Sequence[Verdict]) -> Table:
    table = Table(title="against the targets", title_justify="left")
    for column in ("measure", "what", "found", "at least", "", "aim", ""):
        table.add_column(column, justify="right" if column in ("found", "at least", "aim") else "left")
    for verdict in verdicts:
        target = verdict.target
        table.add_row(
            target.measure, target.what, f"{verdict.value:,.2f}", _wanted(target.least), _word(verdict.meets_least),
            _wanted(target.aim), _word(verdict.meets_aim),
        )  # fmt: skip
    return table


def _wanted(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _word(meets: bool | None) -> str:
    return {None: "", True: "yes", False: "NO"}[meets]


def _result(
    given: argparse.Namespace, findings: Sequence[Finding], verdicts: Sequence[Verdict], failed: dict[str, str]
) -> dict[str, Any]:
    return {
        **machine(),
        "rounds": given.rounds,
        "scale": given.scale,
        "measures": {finding.measure: finding.to_json() for finding in findings},
        "verdicts": [verdict.to_json() for verdict in verdicts],
        "failed": failed,
    }


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
