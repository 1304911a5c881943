"""Days that the real worker has processed are sound, and the report says how much was compared."""

from __future__ import annotations

from dataclasses import replace

from services.domain.event import ExceptionEvent
from services.verification import Decode, Finding, Report, verify
from services.verification.cases import KNOWN
from tests.support.snapshot_world import SnapshotWorld
from tests.unit.sample_day import playing


def _by_name(report: Report) -> dict[str, Finding]:
    return {finding.invariant: finding for finding in report.findings}


def _assert_sound(report: Report) -> None:
    assert [sentence for finding in report.findings for sentence in finding.breaks] == []
    assert report.is_sound
    assert report.verdict == "ALL TRADES ACCOUNTED FOR"


def test_the_sample_day_is_sound(sample: SnapshotWorld, decode: Decode) -> None:
    """Every trouble that can be planned is a legitimate outcome, and everything was looked at."""
    report = verify(sample, decode)
    _assert_sound(report)
    findings = _by_name(report)
    records = {topic: len(entries) for topic, entries in sample.records.items()}
    outputs = ("trades.captured", "trades.enriched", "trades.allocated", "trades.confirmed", "settlement.instructions")
    assert findings["V2"].checked > sum(records[topic] for topic in outputs)
    assert findings["V4"].checked > records["trades.enriched"] + records["settlement.instructions"]
    assert findings["V6"].checked > records["trades.captured"]
    assert findings["V1"].checked > records["front-office.executions"] + records["front-office.fix"]
    assert [name for name, finding in findings.items() if not finding.judged] == ["V8", "V9"]
    assert "10 repeated" not in findings["V7"].note
    repeated = playing.expected()["details"]["duplicates_suppressed"]
    assert f"put aside {records['dead-letters']}, {repeated} repeated" in findings["V7"].note


def test_a_day_of_troubles_is_sound(troubled: SnapshotWorld, decode: Decode) -> None:
    """What the mutations start from is sound itself."""
    _assert_sound(verify(troubled, decode))


def test_a_repaired_day_is_sound(mini: SnapshotWorld, repaired: SnapshotWorld, decode: Decode) -> None:
    """What a replay causes has its cause in the replay, and what is resolved waits no more."""
    _assert_sound(verify(repaired, decode))
    captured = [len(world.records["trades.captured"]) for world in (mini, repaired)]
    assert captured[1] == captured[0] + 1, "the replayed report was captured"
    assert len(repaired.records["dead-letters.resolved"]) == 2


def test_a_world_that_moves_is_not_judged_by_its_lag(sample: SnapshotWorld, decode: Decode) -> None:
    """While work goes on there is always something unread and some open transaction."""
    report = verify(replace(sample, settled=False), decode)
    _assert_sound(report)
    assert [finding.invariant for finding in report.findings if not finding.judged] == ["V5", "V8", "V9", "V10"]


def test_an_empty_world_is_sound_and_says_that_it_compared_nothing(sample: SnapshotWorld, decode: Decode) -> None:
    """No records, no breaks; the counts tell a reader that this is no proof."""
    empty = replace(sample, records=dict.fromkeys(sample.records, ()), ends=sample.stable)
    report = verify(empty, decode)
    _assert_sound(report)
    assert _by_name(report)["V1"].checked == _by_name(report)["V2"].checked == 0


def test_every_field_of_an_exception_is_judged_or_left_out_on_purpose() -> None:
    """A field that a later release adds is looked at by whoever adds it, or named as one that is not."""
    assert set(ExceptionEvent.__struct_fields__) == KNOWN
