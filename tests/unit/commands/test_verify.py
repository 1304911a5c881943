"""`posttrade verify`: what it prints, with which code it ends, and how it judges a cluster that works on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from services.adapters.log_world import Committed, LogWorld
from services.adapters.memory_log import MemoryLog
from services.adapters.plain_avro import PlainReader
from services.adapters.topic_admin import TopicAdmin
from services.commands.failure import BadRequest
from services.commands.verify import Patience, as_plain, audit, in_both, since_of
from services.domain.record import replace
from services.engine.dead_letters import dead_letter
from services.engine.log import LogRecord, OutgoingRecord, TopicPartition
from services.pipeline import make_codec, topic_counts
from services.verification import Finding, Report, verify
from services.verification.names import CAUSES_FIRST, INPUTS, group_of
from tests.support.snapshot_world import committed_of
from tests.unit.commands.support import MemoryCluster, run

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
INSTRUCTIONS = "settlement.instructions"
GROUPS = [group_of(service) for service in INPUTS]


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


# --- while work goes on

AT_ONCE = Patience(open_seconds=0, second_reading_seconds=0, standstill_seconds=0)
EXECUTIONS = TopicPartition("front-office.executions", 0)
CAPTURE = "posttrade.capture"


def _audit(log: MemoryLog, committed: Committed) -> Report:
    return audit(log, committed, PlainReader(), since_ms=None, settled=False, patience=AT_ONCE)


def _told(report: Report) -> list[tuple[str, str]]:
    return [(finding.invariant, sentence) for finding in report.findings for sentence in finding.breaks]


def _report(*breaks: tuple[str, str]) -> Report:
    sentences, identities = tuple(told for told, _ in breaks), tuple(identity for _, identity in breaks)
    return Report((Finding("V1", "title", 9, sentences, len(sentences), identities=identities),))


def test_only_what_both_readings_found_is_told() -> None:
    """On a cluster that works on, what was under way at the first reading is there at the second."""
    lost, under_way, new = ("lost", "lost"), ("under way", "under way"), ("new", "new")
    assert in_both(_report(lost, under_way), _report(lost, new)) == _report(lost)
    assert in_both(_report(under_way), _report()).is_sound


def test_a_break_is_the_same_whatever_has_moved_in_its_sentence() -> None:
    """Numbers run on while work goes on; the later ones are told."""
    before, after = ("has 5 where 6 follow", "A"), ("has 7 where 8 follow", "A")
    assert in_both(_report(before), _report(after)) == _report(after)
    assert in_both(_report(before), _report(("has 5 where 6 follow", "B"))).is_sound


def test_cash_that_is_missing_is_told_while_its_holding_moves(processed: MemoryCluster) -> None:
    """The sums of a busy holding are others at each reading, and it is the same cash that is missing."""
    codec, reader = make_codec(), PlainReader()

    def reading(missing: int) -> Report:
        copy = MemoryLog(topic_counts())
        for topic in topic_counts():
            for record in _records(processed.memory, topic):
                value = record.value
                if topic == INSTRUCTIONS:
                    event: Any = codec.decode(topic, value)
                    value = codec.encode(topic, replace(event, amount=event.amount - missing))
                copy.send([OutgoingRecord(topic, record.key, value, record.headers, record.partition)])
        world = LogWorld(
            copy, committed_of(processed.memory), topics=CAUSES_FIRST, groups=GROUPS, settled=False, open_seconds_max=0
        )
        return verify(world, reader)

    first, second = reading(1), reading(2)
    sums = [sentence for invariant, sentence in _told(in_both(first, second)) if "by instruction" in sentence]
    assert sums
    assert not set(sums) & {sentence for _, sentence in _told(first)}, "the sentences have moved"


def test_a_transaction_that_hangs_on_a_busy_partition_is_told() -> None:
    """The partition grows between the readings; what hangs in it is the same transaction."""
    log = MemoryLog(topic_counts())
    producer = log.producer("hanging")
    producer.begin()
    producer.produce([OutgoingRecord("trades.captured", b"key", b"value", (), 0)])

    def committed(group: str) -> Mapping[TopicPartition, int]:
        log.send([OutgoingRecord("trades.captured", b"key", b"value", (), 0)])
        return {}

    ((invariant, sentence),) = _told(_audit(log, committed))
    assert invariant == "V5"
    assert sentence.startswith("trades.captured[0] holds an open transaction from 0 to ")


def test_transactions_that_follow_each_other_do_not_hang() -> None:
    """At each reading some transaction is open on a busy partition, and each time it is another one."""
    log = MemoryLog(topic_counts())
    producer = log.producer("busy")
    readings: list[str] = []

    def committed(group: str) -> Mapping[TopicPartition, int]:
        readings.append(group)
        if group == CAPTURE:
            if len(readings) > 1:
                producer.commit()
            producer.begin()
            producer.produce([OutgoingRecord("trades.captured", b"key", b"value", (), 0)])
        return {}

    told = _told(_audit(log, committed))
    assert readings.count(CAPTURE) > 1
    assert [invariant for invariant, _ in told if invariant == "V5"] == []


def _unread() -> MemoryLog:
    log = MemoryLog(topic_counts())
    log.send([OutgoingRecord(EXECUTIONS.topic, b"O1", b"no record", (), EXECUTIONS.partition)])
    return log


def test_a_break_that_passes_is_not_told() -> None:
    """What looked lost at the first reading, and is there at the second, is no break."""
    log, readings = _unread(), []

    def committed(group: str) -> Mapping[TopicPartition, int]:
        readings.append(group)
        if group != CAPTURE:
            return {}
        if readings.count(CAPTURE) == 2:
            log.send([_letter_of(b"O1", b"no record")])
        return {EXECUTIONS: 1}

    assert _told(_audit(log, committed)) == []
    assert readings.count(CAPTURE) >= 2


def _letter_of(key: bytes, value: bytes) -> OutgoingRecord:
    source = LogRecord(EXECUTIONS.topic, EXECUTIONS.partition, 0, key, value, 0)
    return dead_letter(source, error_class="DECODE", stage="capture", message="no record", quarantine="record/x/0")


def test_a_break_that_stays_is_told() -> None:
    """The same when it is there both times."""
    assert [invariant for invariant, _ in _told(_audit(_unread(), lambda _: {EXECUTIONS: 1}))] == ["V1"]


def test_a_service_that_stands_with_input_waiting_is_told() -> None:
    """When nothing works nothing is wrong either: what waits must be said, and that nobody takes it up."""
    report = _audit(_unread(), lambda _: {})
    ((invariant, sentence),) = _told(report)
    assert invariant == "V10"
    assert sentence.startswith(
        "capture moved no offset for 0 s while input waits in front-office.executions (1, the oldest "
    )
    assert report.verdict.startswith("NOT ACCOUNTED FOR: 1 × V10 ")
    assert "; 1 RECORD NOT YET PROCESSED, oldest from " in report.verdict
    assert report.verdict.endswith(" UTC in front-office.executions, by service: capture 1")


def test_a_service_that_goes_on_is_sound_and_says_what_waits() -> None:
    """Input in flight is no break as long as it moves; the verdict does not claim it."""
    asked: list[str] = []

    def committed(group: str) -> Mapping[TopicPartition, int]:
        asked.append(group)
        return {EXECUTIONS: 1} if group == CAPTURE and asked.count(CAPTURE) > 1 else {}

    report = _audit(_unread(), committed)
    assert _told(report) == []
    assert report.verdict.startswith("ALL PROCESSED TRADES ACCOUNTED FOR; 1 RECORD NOT YET PROCESSED, oldest from ")


def test_offsets_that_go_back_are_told(processed: MemoryCluster) -> None:
    """What is read a second time may be booked a second time."""
    known, asked = committed_of(processed.memory), []

    def committed(group: str) -> Mapping[TopicPartition, int]:
        asked.append(group)
        offsets = dict(known(group))
        late = group == CAPTURE and asked.count(CAPTURE) > 1
        last = max(offsets, key=lambda place: offsets[place], default=None)
        if last is not None and (late or group == "posttrade.settlement"):
            offsets[last] -= 1
        return offsets

    told = _told(_audit(processed.memory, committed))
    assert any(invariant == "V10" and sentence.startswith("capture went back in ") for invariant, sentence in told)


def test_a_group_that_has_forgotten_its_offsets_is_told(processed: MemoryCluster) -> None:
    """All its input looks unread then, and nothing can look lost; its state knows that it was begun."""
    known = committed_of(processed.memory)
    report = _audit(processed.memory, lambda group: {} if group == CAPTURE else known(group))
    told = [sentence for invariant, sentence in _told(report) if invariant == "V6"]
    assert any("is remembered as begun, and its group has no offset of" in sentence for sentence in told), told


def test_json_tells_what_waits(processed: MemoryCluster) -> None:
    """For programs: by service and topic, with the time of the oldest."""
    plain = json.loads(json.dumps(as_plain(_audit(_unread(), lambda _: {}))))
    (waiting,) = plain["waiting"]
    assert (waiting["service"], waiting["topic"], waiting["count"]) == ("capture", "front-office.executions", 1)
    assert waiting["since"].endswith(" UTC")
    assert json.loads(run("verify --json --settled", AuditedCluster(processed.memory)).stdout)["waiting"] == []
