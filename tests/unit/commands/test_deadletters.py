"""`posttrade deadletters` on a log in memory, with a worker that takes the repairs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import Result

from services.adapters.avro_codec import to_json
from services.adapters.memory_log import MemoryLog
from services.capture.process import CaptureStage
from services.commands.deadletters import age_text
from services.engine.log import OutgoingRecord
from services.pipeline import make_codec, topic_counts
from services.stage import Outcome, Received, State
from tests import samples
from tests.support.app import read_topic, reference_records, running_worker, send_reference, until
from tests.unit.commands.support import MemoryCluster, run

EXECUTIONS = "front-office.executions"
WHO = ["--by", "ann", "--reason", "release 7 mends it", "--yes"]


class Day:
    """Three executions of one order, of which the first breaks capture as long as it is not mended."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.codec = make_codec()
        self.log = MemoryLog(topic_counts())
        self.cluster = MemoryCluster(self.log)
        self.is_mended = False
        process = CaptureStage.process

        def broken(stage: CaptureStage, batch: list[Received], state: State, now_us: int) -> list[Outcome]:
            if not self.is_mended and any(getattr(received.event, "execution_id", "") == "E1" for received in batch):
                raise ValueError("secret")
            return process(stage, batch, state, now_us)

        monkeypatch.setattr(CaptureStage, "process", broken)
        send_reference(self.log, self.codec, reference_records())
        for number in (1, 2, 3):
            event = samples.execution(order_id="O1", execution_id=f"E{number}")
            self.log.send([OutgoingRecord(EXECUTIONS, b"O1", self.codec.encode(EXECUTIONS, event))])

    async def run(self, *words: str, given: str | None = None) -> Result:
        """A command, beside the worker."""
        return await asyncio.to_thread(run, ["deadletters", *words], self.cluster, given)

    async def ids(self, *options: str) -> list[str]:
        """Ids of what is listed."""
        listed = await self.run("list", "--json", *options)
        assert listed.exit_code == 0, listed.stderr
        return [json.loads(line)["id"] for line in listed.stdout.splitlines()]

    async def letters(self, count: int) -> None:
        """Wait until so many dead letters are there."""
        await until(lambda: len(read_topic(self.log, "dead-letters")) >= count, f"{count} dead letters")


@pytest.fixture
def day(monkeypatch: pytest.MonkeyPatch) -> Day:
    """A day with a waiting key."""
    return Day(monkeypatch)


async def test_a_key_is_listed_shown_replayed_in_order_and_free_again(day: Day, tmp_path: Path) -> None:
    """The whole life of a dead letter, as an operator sees it."""
    async with running_worker(day.log, tmp_path, services=["capture"]):
        await day.letters(3)
        ids = await day.ids()
        assert [found.startswith(f"capture/{EXECUTIONS}/") for found in ids] == [True, True, True]
        table = await day.run("list", "--service", "capture", "--key", "O1", "--since", "1h")
        rows = table.stdout.splitlines()
        assert [row.split()[2] for row in rows[1:4]] == ["BUG", "PARKED", "PARKED"]
        assert rows[-1] == "3 dead letters"
        assert await day.ids("--class", "BUG") == ids[:1]

        shown = (await day.run("show", ids[0])).stdout
        assert "with 2 behind it" in shown
        assert '"execution_id":"E1"' in shown
        assert "secret" not in shown

        vain = await day.run("replay", ids[0], *WHO)
        assert (vain.exit_code, vain.stdout.splitlines()[0]) == (1, f"{ids[0]}: FAILED_AGAIN")
        assert "2 records behind it still wait" in vain.stdout

        day.is_mended = True
        done = await day.run("replay", "--key", "O1", "--service", "capture", *WHO)
        assert (done.exit_code, done.stdout.splitlines()) == (0, [f"{found}: REPLAYED" for found in ids])
        assert await day.ids() == []
        assert (await day.run("list")).stdout == "nothing waits\n"
        assert await day.ids("--all") == ids
        assert "by ann: release 7 mends it" in (await day.run("show", ids[0])).stdout
        assert len(read_topic(day.log, "trades.captured")) == 3

        again = await day.run("replay", ids[0], *WHO)
        assert (again.exit_code, "does not wait any more" in again.stderr) == (1, True)
        assert len(read_topic(day.log, "trades.captured")) == 3


async def test_a_repaired_value_is_given_as_a_person_writes_it(day: Day, tmp_path: Path) -> None:
    """JSON for a topic of Avro records; nobody writes Avro by hand."""
    repaired = tmp_path / "repaired.json"
    repaired.write_text(json.dumps(to_json(samples.execution(order_id="O1", execution_id="E1B")), indent=1))
    async with running_worker(day.log, tmp_path / "worker", services=["capture"]):
        await day.letters(3)
        ids = await day.ids()
        done = await day.run("replay", ids[0], "--file", str(repaired), "--only", *WHO)
        assert (done.exit_code, done.stdout) == (0, f"{ids[0]}: REPLAYED\n"), done.stderr
        assert await day.ids() == ids[1:]


async def test_one_record_is_discarded_and_the_others_still_wait(day: Day, tmp_path: Path) -> None:
    """To give a record up says nothing about those behind it."""
    async with running_worker(day.log, tmp_path, services=["capture"]):
        await day.letters(3)
        ids = await day.ids()
        early = await day.run("discard", ids[1], *WHO)
        assert (early.exit_code, early.stdout) == (1, f"{ids[1]}: REFUSED_OUT_OF_ORDER\n")
        assert (await day.run("discard", ids[0], *WHO)).stdout == f"{ids[0]}: DISCARDED\n"
        assert await day.ids() == ids[1:]
        both = await day.run("discard", "--key", "O1", "--service", "capture", *WHO)
        assert both.stdout.splitlines() == [f"{found}: DISCARDED" for found in ids[1:]]


async def test_without_yes_the_command_asks_once_and_no_means_no(day: Day, tmp_path: Path) -> None:
    """A slip of the hand must not discard a trade."""
    async with running_worker(day.log, tmp_path, services=["capture"]):
        await day.letters(3)
        (first, *_) = await day.ids()
    refused = await day.run("discard", first, *WHO[:-1], given="n\n")
    assert refused.exit_code == 1
    assert "Discard 1 record of key O1 in capture for good?" in refused.stdout
    assert read_topic(day.log, "repairs.capture") == []


async def test_a_repair_that_no_worker_takes_is_said_to_be_pending(day: Day, tmp_path: Path) -> None:
    """The operator must not think that it failed and do something else."""
    async with running_worker(day.log, tmp_path, services=["capture"]):
        await day.letters(3)
        (first, *_) = await day.ids()
    alone = await day.run("discard", first, *WHO, "--wait", "1")
    assert alone.exit_code == 1
    assert "done as soon as one runs" in alone.stderr


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["replay", "x", "--reason", "y"], "--by"),
        (["replay", "x", "--by", " ", "--reason", "y"], "--by needs a text"),
        (["replay", "--by", "a", "--reason", "y"], "say which"),
        (["replay", "--key", "K", "--by", "a", "--reason", "y"], "say which"),
        (["replay", "x", "--key", "K", "--service", "capture", "--by", "a", "--reason", "y"], "say which"),
        (["replay", "--key", "K", "--service", "capture", "--file", "f", "--by", "a", "--reason", "y"], "--file needs"),
        (["discard", "--key", "K", "--service", "captur", "--by", "a", "--reason", "y"], "service captur is unknown"),
        (["list", "--class", "WRONG"], "choose one of DECODE, BUG, CRASH, PARKED"),
        (["list", "--since", "yesterday"], "--since"),
    ],
)
def test_what_is_not_clear_is_refused_before_anything_is_sent(words: list[str], problem: str) -> None:
    """Exit code 2, one line."""
    ended = run(["deadletters", *words])
    assert (ended.exit_code, len(ended.stderr.splitlines())) == (2, 1), ended.stderr
    assert problem in ended.stderr


@pytest.mark.parametrize(
    "words",
    [["show", "a/b/0/1"], ["replay", "a/b/0/1", *WHO], ["discard", "--key", "K", "--service", "capture", *WHO]],
    ids=lambda words: words[0],
)
def test_what_is_not_there_is_said_to_be_missing(words: list[str]) -> None:
    """Exit code 1: the question was right, the world said no."""
    ended = run(["deadletters", *words])
    assert (ended.exit_code, len(ended.stderr.splitlines())) == (1, 1)


def test_an_age_is_told_in_its_two_largest_units() -> None:
    """What waits for days must not be read as seconds."""
    found = [age_text(ms) for ms in (-5, 1_500, 61_000, 3_700_000, 90_000_000)]
    assert found == ["0s", "1s", "1m 1s", "1h 1m", "1d 1h"]
