"""The bench's command: its options, its judgement, and what it prints."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import pytest

from tests.bench import __main__ as command
from tests.bench import programs, targets, throughput
from tests.bench.finding import Finding, Verdict
from tests.bench.run import Measured


def _runs(**rates: float) -> dict[str, list[Measured]]:
    return {name.replace("_", "-"): [Measured(name, "x", 100, rate, 0)] * 3 for name, rate in rates.items()}


def _finding(letter: str, **rates: float) -> Finding:
    runs = _runs(**rates)
    chosen = [programs.BY_NAME[name] for name in runs]
    return throughput.finding(throughput.BY_LETTER[letter], chosen, runs)


def _verdicts(finding: Finding) -> dict[str, Verdict]:
    return {verdict.target.what: verdict for verdict in finding.verdicts}


def test_the_faster_of_a_peer_counts() -> None:
    """Both guarantees of stock Faust and both numbers of threads are measured; the engine has to beat the better."""
    found = _verdicts(
        _finding("a", engine=100, bare=120, faust=2, faust_eos=2.5, kafka_streams_1=50, kafka_streams_2=80)
    )
    assert found[targets.FAUST].value == 40
    assert found[targets.FAUST].meets_least is True
    assert found[targets.KAFKA_STREAMS].value == 1.25
    assert (found[targets.BARE].meets_least, found[targets.BARE].meets_aim) == (None, True)


def test_a_miss_is_a_miss() -> None:
    """The exit code hangs on `meets_least`: below is red, equal is enough, an aim that is missed is not red."""
    found = _verdicts(_finding("d", engine=1_999, faust=100, quix=800))
    assert found[targets.TRADES_PER_SECOND].meets_least is False
    assert found[targets.FAUST].meets_least is True
    assert found[targets.QUIX].meets_least is False
    latency = targets.judge("e", {targets.P99_MS: 500.0})
    assert (latency[0].meets_least, latency[0].meets_aim) == (True, False)


def test_a_part_of_the_programs_is_judged_by_what_is_there() -> None:
    """Without a peer there is no ratio to it, and no verdict that says so."""
    assert set(_verdicts(_finding("a", engine=100, bare=100))) == {targets.BARE}
    assert _finding("a", bare=100).verdicts == ()


def test_every_target_is_judged_by_some_measure() -> None:
    """A target whose value nobody computes would be met by silence."""
    assert {target.measure for target in targets.TARGETS} <= set(command.LETTERS)
    with pytest.raises(ValueError, match="no target for rows an hour"):
        targets.judge("h", {"rows an hour": 1.0})


def test_figures_are_json() -> None:
    """The last line is read by machines."""
    finding = _finding("c", engine=100, quix=10)
    assert json.loads(json.dumps(finding.to_json()))["ratios"] == {targets.QUIX: 10.0}
    assert all(len(row) == len(finding.columns) for row in finding.rows)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--measures", "a,z"], "z is unknown"),
        (["--programs", "spark"], "spark is unknown"),
        (["--rounds", "0"], "at least 1"),
        (["--scale", "2"], "at most 1"),
        (["--scale", "much"], "above 0"),
    ],
)
def test_a_wrong_option_is_told(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Twenty minutes of measuring something else are worse than a sentence."""
    with pytest.raises(SystemExit) as ended:
        command.options(arguments)
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


def test_all_is_the_default() -> None:
    """`make bench` leaves nothing out."""
    given: Any = command.options([])
    assert given.measures == list("abcdefghijk")
    assert given.programs is None


def test_every_module_of_a_measure_is_there() -> None:
    """A letter without a module would be found after twenty minutes."""
    missing = [
        name for name in command.MODULES.values() if importlib.util.find_spec(f"tests.bench.measures.{name}") is None
    ]
    assert missing == []


def test_every_program_has_a_load_that_outlasts_its_warm_up() -> None:
    """What is counted is what comes after the warm-up, also at a small scale."""
    for program in programs.PROGRAMS:
        for name, load in program.loads.items():
            assert load.warm_up * 3 <= load.records, (program.name, name)
            assert name == programs.PIPELINE or load.warm_up > 0
