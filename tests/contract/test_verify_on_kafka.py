"""`posttrade verify` on a real cluster: sound in motion and at rest, and not after a doubled instruction."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner, Result

from services.adapters.kafka_log import KafkaLog
from services.commands.cli import make_app
from services.commands.cluster import Cluster
from services.engine.log import Log, OutgoingRecord
from tests.support import mini_day
from tests.support.app import kafka_log, read_topic, running_worker, until

__all__ = ["kafka_log"]

INSTRUCTIONS = "settlement.instructions"
INSTRUCTED_IN_THE_DAY = 4


def _run(servers: str, prefix: str, *arguments: str) -> Result:
    environment = {"KAFKA_BOOTSTRAP_SERVERS": servers, "POSTTRADE_TOPIC_PREFIX": f"{prefix}."}
    return CliRunner().invoke(make_app(), list(arguments), obj=Cluster(environment))


def _prepared(servers: str, prefix: str, *arguments: str) -> None:
    ended = _run(servers, prefix, *arguments)
    assert ended.exit_code == 0, ended.output


def _send_day(servers: str, prefix: str, data: Path) -> None:
    _prepared(servers, prefix, "reference", "load", str(data / "reference"))
    for kind in ("executions", "allocations", "confirmations"):
        _prepared(servers, prefix, "send", kind, str(data / f"{kind}.jsonl"))
    _prepared(servers, prefix, "send", "fix", str(data / "executions.fix"))


async def test_a_doubled_instruction_is_found_on_a_live_cluster(
    kafka: str, prefix: str, kafka_log: Log, tmp_path: Path
) -> None:
    """The auditor's own way through Kafka: group offsets, markers between records, aborted and open transactions."""
    assert isinstance(kafka_log, KafkaLog)
    _send_day(kafka, prefix, mini_day.write(tmp_path / "day"))
    async with running_worker(kafka_log, tmp_path / "worker"):
        await until(lambda: len(read_topic(kafka_log, INSTRUCTIONS)) >= INSTRUCTED_IN_THE_DAY, "the day's work")
        live = await until(lambda: _run(kafka, prefix, "verify"), "an answer")
        assert live.exit_code == 0, live.output
        assert "ACCOUNTED FOR" in live.stdout.splitlines()[-1]
    over = _run(kafka, prefix, "verify", "--settled")
    assert over.exit_code == 0, over.output
    assert over.stdout.splitlines()[-1] == "ALL TRADES ACCOUNTED FOR"

    instruction = read_topic(kafka_log, INSTRUCTIONS)[0]
    kafka_log.send([OutgoingRecord(INSTRUCTIONS, instruction.key, instruction.value)])
    broken = _run(kafka, prefix, "verify", "--settled")
    assert broken.exit_code == 1
    name = (instruction.key or b"").decode()
    assert any(line.startswith("V2: ") and name in line for line in broken.stdout.splitlines()), broken.stdout
    assert broken.stdout.splitlines()[-1].startswith("NOT ACCOUNTED FOR: ")


async def test_a_cluster_on_which_nothing_works_is_not_accounted_for(
    kafka: str, prefix: str, kafka_log: Log, tmp_path: Path
) -> None:
    """Without a worker everything is in flight: what waits is named, and that nobody takes it up is a break."""
    _send_day(kafka, prefix, mini_day.write(tmp_path / "day"))
    idle = _run(kafka, prefix, "verify")
    assert idle.exit_code == 1
    lines = idle.stdout.splitlines()
    assert any(line.startswith("V10: capture moved no offset for ") for line in lines), idle.stdout
    assert " RECORDS NOT YET PROCESSED, oldest from " in lines[-1]
