"""`posttrade verify`: what it prints, with which code it ends, and how it judges a cluster that works on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from services.adapters.memory_log import MemoryLog
from services.adapters.plain_avro import PlainReader
from services.adapters.topic_admin import TopicAdmin
from services.commands.failure import BadRequest
from services.commands.verify import audit, in_both, since_of
from services.engine.log import LogRecord, OutgoingRecord, TopicPartition
from services.pipeline import topic_counts
from services.verification import Finding, Report
from tests.support.snapshot_world import committed_of
from tests.unit.commands.support import MemoryCluster, run

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
INSTRUCTIONS = "settlement.instructions"


class _Groups(TopicAdmin):
    """The administration of a log in memory, as far as groups are asked."""

    def __init__(self, log: MemoryLog) -> None:
        self._committed = committed_of(log)

    def committed(self, group: str) -> dict[TopicPartition, int]:
        return dict(self._committed(group))


class AuditedCluster(MemoryCluster):
    """A cluster in memory that knows what groups have committed."""

    def admin(self) -> TopicAdmin:
        return _Groups(self.memory)


def _records(log: MemoryLog, topic: str) -> list[LogRecord]:
    reader = log.reader({TopicPartition(topic, number): 0 for number in range(log.partitions(topic))})
    return reader.poll(1_000_000, 0)


def _copied(log: MemoryLog, *, extra: Mapping[str, int]) -> MemoryLog:
    """The same records on another log, where the first record of some topics is written so many times more."""
    copy = MemoryLog(topic_counts())
    for topic in topic_counts():
        records = _records(log, topic)
        again = records[:1] * extra.get(topic, 0)
        copy.send(OutgoingRecord(r.topic, r.key, r.value, r.headers, r.partition) for r in [*records, *again])
    return copy


def test_a_sound_day_ends_with_the_verdict(processed: MemoryCluster) -> None:
    """The last line is for people and scripts; every invariant has its row."""
    result = run("verify", AuditedCluster(processed.memory))
    lines = result.stdout.splitlines()
    assert result.exit_code == 0, result.stdout
    assert lines[-1] == "ALL TRADES ACCOUNTED FOR"
    assert [line.split()[0] for line in lines[1:11]] == [f"V{number}" for number in range(1, 11)]


def test_json_says_the_same(processed: MemoryCluster) -> None:
    """For programs: one object with the verdict and all findings."""
    shown = json.loads(run("verify --json --settled", AuditedCluster(processed.memory)).stdout)
    assert shown["sound"] is True
    assert shown["verdict"] == "ALL TRADES ACCOUNTED FOR"
    assert len(shown["findings"]) == 10
    assert shown["findings"][0]["checked"] > 0


def test_an_instruction_written_twice_ends_with_1_and_is_named(processed: MemoryCluster) -> None:
    """What costs money is told with its id and place, and the exit code stops whatever comes after."""
    log = _copied(processed.memory, extra={INSTRUCTIONS: 1})
    result = run("verify --settled", AuditedCluster(log))
    assert result.exit_code == 1
    instruction_id = (_records(log, INSTRUCTIONS)[0].key or b"").decode()
    assert any(instruction_id in line and "second time" in line for line in result.stdout.splitlines())
    assert result.stdout.splitlines()[-1].startswith("NOT ACCOUNTED FOR: ")


def test_nothing_is_changed(processed: MemoryCluster) -> None:
    """An auditor that writes is part of what it audits."""
    log = processed.memory
    partitions = [TopicPartition(topic, number) for topic, count in topic_counts().items() for number in range(count)]
    before = log.end_offsets(partitions, committed_only=False)
    run("verify", AuditedCluster(log))
    assert log.end_offsets(partitions, committed_only=False) == before


def test_removed_records_are_told(processed: MemoryCluster) -> None:
    """An effect whose cause retention has removed looks like one without any; the hint says what helps."""
    log = _copied(processed.memory, extra={})
    log.delete_records({TopicPartition("trades.captured", 0): 1})
    hint = "records of trades.captured were removed: give --since\n"
    assert run("verify --settled", AuditedCluster(log)).stderr == hint
    assert run("verify --settled --since 1h", AuditedCluster(log)).stderr == ""


def test_a_bad_since_ends_with_2() -> None:
    """Nothing is read for a question that cannot be asked."""
    result = run("verify --since yesterday", AuditedCluster())
    assert result.exit_code == 2
    assert "--since was 'yesterday'" in result.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2h", datetime(2026, 3, 2, 10, tzinfo=UTC)),
        ("30m", datetime(2026, 3, 2, 11, 30, tzinfo=UTC)),
        ("1d", datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-02T08:00", datetime(2026, 3, 2, 8, tzinfo=UTC)),
        ("2026-03-02T08:00:00+01:00", datetime(2026, 3, 2, 7, tzinfo=UTC)),
    ],
)
def test_since_is_a_day_a_time_or_a_duration(text: str, expected: datetime) -> None:
    """Each form an operator types, in UTC unless it says otherwise."""
    assert since_of(text, now=NOW) == int(expected.timestamp() * 1000)


@pytest.mark.parametrize("text", ["", "0h", "-2h", "2 h", "2w", "tomorrow", "2026-03-03", "2026-02-30"])
def test_what_is_no_beginning_is_refused(text: str) -> None:
    """A beginning that is not understood, or lies ahead, would judge nothing and look sound."""
    with pytest.raises(BadRequest):
        since_of(text, now=NOW)


def _report(*sentences: str) -> Report:
    return Report((Finding("V1", "title", 9, tuple(sentences), len(sentences)),))


def test_only_what_both_readings_found_is_told() -> None:
    """On a cluster that works on, what was under way at the first reading is there at the second."""
    assert in_both(_report("lost", "under way"), _report("lost", "new")) == _report("lost")
    assert in_both(_report("under way"), _report()).is_sound


def test_a_break_that_passes_is_not_told() -> None:
    """What looked lost at the first reading, and is only on its way at the second, is no break."""
    log = MemoryLog(topic_counts())
    log.send([OutgoingRecord("front-office.executions", b"O1", b"no record", (), 0)])
    readings: list[str] = []

    def committed(group: str) -> Mapping[TopicPartition, int]:
        readings.append(group)
        looks_read = group == "posttrade.capture" and readings.count(group) == 1
        return {TopicPartition("front-office.executions", 0): 1} if looks_read else {}

    report = audit(log, committed, PlainReader(), since_ms=None, settled=False, second_reading_seconds=0)
    assert readings.count("posttrade.capture") == 2
    assert report.is_sound, report.findings


def test_a_break_that_stays_is_told() -> None:
    """The same when it is there both times."""
    log = MemoryLog(topic_counts())
    log.send([OutgoingRecord("front-office.executions", b"O1", b"no record", (), 0)])
    read = {TopicPartition("front-office.executions", 0): 1}
    report = audit(log, lambda _: read, PlainReader(), since_ms=None, settled=False, second_reading_seconds=0)
    assert [finding.invariant for finding in report.findings if finding.break_count] == ["V1"]
