"""The process that judges: `python -m tests.chaos.verifier DIRECTORY`, after the run, from what lies on the topics.

It writes its findings beside the data: V1 to V10 by `services.verification`, and whether every record that the broker
had acknowledged to the driver, or shown to a reader meanwhile, is still there, byte for byte.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from services.adapters.kafka_log import KafkaLog
from services.adapters.topic_admin import TopicAdmin
from services.engine.log import LogRecord, TopicPartition
from services.engine.repair import RESOLVED_TOPIC
from services.settings import load_settings
from services.verification import Report
from tests.chaos.digest import digest
from tests.chaos.judge import audit
from tests.chaos.places import Places

_RECORDS_MAX = 5_000
_POLL_SECONDS = 0.2
_SHOWN_MAX = 20
_CLASS_HEADER = "err.class"
_STAGE_HEADER = "err.stage"


def main(directory: str) -> int:
    """Judge; 0 when everything is accounted for, 1 when not."""
    places = Places(Path(directory))
    servers, quiet = load_settings(os.environ).bootstrap_servers, {"log_level": 0}
    log = KafkaLog(servers, client_settings=quiet)
    report = audit(log, TopicAdmin(servers, client_settings=quiet), places.schemas)
    sent, lost = missing(log, places.journal)
    shown, vanished = missing(log, places.shown)
    letters, answers, counts = dead_letters(log), repairs(log), sizes(log)
    log.close()
    findings = {
        "sound": report.is_sound and not lost and not vanished,
        "verdict": verdict(report, len(lost), len(vanished)),
        "invariants": [dataclasses.asdict(finding) for finding in report.findings],
        "witnesses": [
            _witness("every record acknowledged to the driver is there", sent, lost),
            _witness("what a reader was shown meanwhile is what lies there", shown, vanished),
        ],
        "dead_letters": dict(sorted(letters.items())),
        "repairs": dict(sorted(answers.items())),
        "topics": counts,
    }
    places.findings.write_text(json.dumps(findings, indent=2) + "\n", encoding="utf-8")
    return 0 if findings["sound"] else 1


def verdict(report: Report, lost_count: int, vanished_count: int) -> str:
    """The last line of a run."""
    more = []
    if lost_count:
        more.append(f"{lost_count} acknowledged records are not in the log")
    if vanished_count:
        more.append(f"{vanished_count} records were shown to a reader and are not in the log")
    if not more:
        return report.verdict
    return ", ".join(
        ["NOT ACCOUNTED FOR: " + more[0] if report.is_sound else report.verdict + ", " + more[0], *more[1:]]
    )


def _witness(title: str, checked: int, breaks: list[str]) -> dict[str, Any]:
    return {"title": title, "checked": checked, "break_count": len(breaks), "breaks": breaks[:_SHOWN_MAX]}


def missing(log: KafkaLog, witness: Path) -> tuple[int, list[str]]:
    """Compare what a witness wrote down with the log: how many records, and those that do not lie there like that."""
    said: defaultdict[str, dict[tuple[int, int], str]] = defaultdict(dict)
    with witness.open(encoding="utf-8") as lines:
        for line in lines:
            topic, partition, offset, content = line.split()
            said[topic][int(partition), int(offset)] = content
    checked = sum(map(len, said.values()))
    lost = []
    for topic, expected in sorted(said.items()):
        for record in records(log, topic):
            if expected.get((record.partition, record.offset)) == digest(record.key, record.value):
                del expected[record.partition, record.offset]
        lost += [f"{topic} [{partition}] offset {offset}" for partition, offset in sorted(expected)]
    return checked, lost


def dead_letters(log: KafkaLog) -> Counter[str]:
    """Dead letters by class and stage."""
    found: Counter[str] = Counter()
    for record in records(log, "dead-letters"):
        headers = dict(record.headers)
        found[f"{_text(headers.get(_CLASS_HEADER))} in {_text(headers.get(_STAGE_HEADER))}"] += 1
    return found


def repairs(log: KafkaLog) -> Counter[str]:
    """Repairs by what became of them."""
    return Counter(json.loads(record.value or b"{}").get("outcome", "?") for record in records(log, RESOLVED_TOPIC))


def _text(value: bytes | None) -> str:
    return (value or b"?").decode(errors="replace")


def sizes(log: KafkaLog) -> dict[str, int]:
    """Committed records of the topics of a trade's way."""
    topics = ("front-office.executions", "front-office.fix", "trades.captured", "settlement.instructions", "exceptions")
    return {topic: sum(1 for _ in records(log, topic)) for topic in topics}


def records(log: KafkaLog, topic: str) -> Iterator[LogRecord]:
    """Every committed record of a topic."""
    reader = log.reader({TopicPartition(topic, number): 0 for number in range(log.partitions(topic))})
    try:
        while not reader.at_end():
            yield from reader.poll(_RECORDS_MAX, _POLL_SECONDS)
    finally:
        reader.close()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
