"""Measures (a) to (d): this engine beside its peers, program after program, round after round."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench import run
from tests.bench.finding import Context, Finding
from tests.bench.programs import AVRO, ENRICHMENT, KAFKA_STREAMS, PASS_THROUGH, PIPELINE, STOCK_FAUST, Load, Program
from tests.bench.run import Measured, median
from tests.bench.targets import BARE, FAUST, QUIX, TARGETS, TRADES_PER_SECOND, judge
from tests.bench.targets import KAFKA_STREAMS as TIMES_KAFKA_STREAMS

SECONDS_PER_RUN = 15
"""With topics, input, start and reading: for telling how long it will take."""
COUNT_MIN = 200


@dataclass(frozen=True)
class Kind:
    """One of the measures."""

    letter: str
    name: str
    title: str
    unit: str


KINDS: tuple[Kind, ...] = (
    Kind("a", PASS_THROUGH, "pass-through, records of 111 bytes", "records/s"),
    Kind("b", AVRO, "executions decoded from Avro into records and encoded again", "records/s"),
    Kind("c", ENRICHMENT, "enrichment: captured trades in, enriched trades out", "records/s"),
    Kind("d", PIPELINE, "the whole pipeline, execution and confirmation to sese.023", "trades/s"),
)
BY_LETTER = {kind.letter: kind for kind in KINDS}
RATIOS: dict[str, tuple[str, ...]] = {
    FAUST: STOCK_FAUST, QUIX: ("quix",), TIMES_KAFKA_STREAMS: KAFKA_STREAMS, BARE: ("bare",),
}  # fmt: skip
"""Against whom: of several programs the fastest counts."""


def scaled(load: Load, context: Context) -> Load:
    """A program's load at the scale of the run."""
    return Load(context.scaled(load.records, at_least=COUNT_MIN), round(load.warm_up * min(1.0, context.scale)))


def measure(kind: Kind, programs: Sequence[Program], context: Context) -> Finding:
    """Measure the programs that can do it, in turn, as many rounds as asked for."""
    able = [program for program in programs if kind.name in program.loads]
    if not able:
        raise ValueError(f"none of the chosen programs can do {kind.name}; name others, or leave the measure out")
    for program in able:
        program.command()  # builds what is missing before anything is measured
    runs: dict[str, list[Measured]] = {program.name: [] for program in able}
    minutes = len(able) * context.rounds * SECONDS_PER_RUN / 60
    names = ", ".join(program.name for program in able)
    context.say(f"{context.rounds} rounds of {names}: about {minutes:.0f} minutes")
    loads = {program.name: scaled(program.loads[kind.name], context) for program in able}
    run.input_records(kind.name, max(load.records for load in loads.values()))
    for number in range(context.rounds):
        for program in able:
            found = run.measure(program, kind.name, loads[program.name], context.servers, context.folder)
            runs[program.name].append(found)
            context.say(f"round {number + 1}: {program.name:16} {found.per_second:12,.0f} {kind.unit}")
    run.forget_input()
    shutil.rmtree(context.folder, ignore_errors=True)  # logs are of use when a run failed, and then it has raised
    return finding(kind, able, runs)


def finding(kind: Kind, programs: Sequence[Program], runs: dict[str, list[Measured]]) -> Finding:
    """The table, the ratios, the verdicts."""
    medians = {name: median([one.per_second for one in found]) for name, found in runs.items()}
    ratios = ratios_of(medians)
    values = dict(ratios)
    if kind.name == PIPELINE and "engine" in medians:
        values[TRADES_PER_SECOND] = medians["engine"]
    judged = {target.what for target in TARGETS if target.measure == kind.letter}
    rows = [_row(program, runs[program.name], medians) for program in programs]
    return Finding(
        measure=kind.letter,
        title=kind.title,
        columns=("program", "guarantee", f"{kind.unit}, median", "min", "max", "count", "doubled", "engine is"),
        rows=rows,
        figures={
            "unit": kind.unit,
            "programs": {name: _figures(found, medians[name]) for name, found in runs.items()},
            "ratios": ratios,
        },
        verdicts=judge(kind.letter, {what: value for what, value in values.items() if what in judged}),
        notes=list(dict.fromkeys(program.note for program in programs if program.note)),
    )


def ratios_of(medians: dict[str, float]) -> dict[str, float]:
    """The engine against each peer that was measured, and against the limit."""
    if "engine" not in medians:
        return {}
    found = {}
    for what, names in RATIOS.items():
        rates = [medians[name] for name in names if name in medians]
        if rates:
            found[what] = medians["engine"] / max(rates)
    return found


def _row(program: Program, found: Sequence[Measured], medians: dict[str, float]) -> list[str]:
    rates = [one.per_second for one in found]
    ratio = f"{medians['engine'] / medians[program.name]:.2f} x" if "engine" in medians else ""
    doubled = max(one.doubled for one in found)
    return [
        program.title, program.guarantee, f"{medians[program.name]:,.0f}", f"{min(rates):,.0f}", f"{max(rates):,.0f}",
        f"{found[0].count:,}", f"{doubled:,}", ratio,
    ]  # fmt: skip


def _figures(found: Sequence[Measured], middle: float) -> dict[str, Any]:
    return {
        "median": round(middle, 1),
        "rounds": [round(one.per_second, 1) for one in found],
        "count": found[0].count,
        "doubled": [one.doubled for one in found],
    }
