"""`posttrade deadletters` on a log in memory, with a worker that takes the repairs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from services.adapters.avro_codec import to_json
from services.adapters.memory_log import MemoryLog
from services.capture.process import CaptureStage
from services.commands import deadletters
from services.commands.age import age_text
from services.commands.letters import collect
from services.engine.dead_letters import dead_letter
from services.engine.log import Headers, LogRecord, OutgoingRecord
from services.pipeline import make_codec, topic_counts
from services.stage import Outcome, Received, State
from tests import samples
from tests.support.app import WAIT_SECONDS_MAX, read_topic, reference_records, running_worker, send_reference, until
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

    async def one_more(self, number: int) -> None:
        """Another execution of the order comes, and is put behind the others."""
        event = samples.execution(order_id="O1", execution_id=f"E{number}")
        self.log.send([OutgoingRecord(EXECUTIONS, b"O1", self.codec.encode(EXECUTIONS, event))])
        await self.letters(number)

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
    assert "done as soon as one can: start a worker if none runs" in alone.stderr


def test_a_repair_that_may_be_ending_the_workers_sends_the_operator_to_their_logs(day: Day) -> None:
    """Who starts one more worker after the other would feed them to the record, and nothing would say so."""
    killer = dead_letter(
        LogRecord(EXECUTIONS, 0, 7, b"O9", b"deadly", 1), error_class="CRASH", stage="capture",
        message="the process ended", quarantine="key/O9",
    )  # fmt: skip
    day.log.send([killer])
    alone = run(["deadletters", "replay", f"capture/{EXECUTIONS}/0/7", *WHO, "--wait", "1"], day.cluster)
    assert alone.exit_code == 1
    assert "it has ended workers before, and those that run may be ending on it again: see their logs" in alone.stderr


# --- two people, and a key on which something still comes


def _between(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Have this happen once, after the next command has read what waits and before it does anything."""
    loop = asyncio.get_running_loop()
    pending = [happens]

    def ask(question: str, *, yes: bool) -> None:
        if pending:
            asyncio.run_coroutine_threadsafe(pending.pop()(), loop).result(WAIT_SECONDS_MAX)

    monkeypatch.setattr(deadletters, "_ask", ask)


BOB = ["--by", "bob", "--reason", "void", "--yes"]


async def test_who_comes_second_is_told_what_became_of_it_and_fails_unless_that_was_wanted(
    day: Day, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """He would believe that the trade is given up, while it was booked."""
    repaired = tmp_path / "repaired.json"
    repaired.write_text(json.dumps(to_json(samples.execution(order_id="O1", execution_id="E1B"))))
    async with running_worker(day.log, tmp_path / "worker", services=["capture"]):
        await day.letters(3)
        ids = await day.ids()
        day.is_mended = True
        late = [
            (["discard", ids[0], *BOB], 1),
            (["replay", ids[1], "--only", "--file", str(repaired), *BOB], 1),
            (["replay", ids[2], "--only", *BOB], 0),
        ]
        for first, (words, exit_code) in zip(ids, late, strict=True):
            _between(monkeypatch, lambda first=first: day.run("replay", first, "--only", *WHO))  # type: ignore[misc]
            second = await day.run(*words)
            assert second.exit_code == exit_code, second.stdout
            assert second.stdout.startswith(f"{first}: ALREADY_RESOLVED, REPLAYED at ")
            assert "by ann: release 7 mends it" in second.stdout
        assert len(read_topic(day.log, "trades.captured")) == 3
        for wanted in ("discard", "replay"):  # what was decided before he looked is never his doing
            again = await day.run(wanted, ids[0], *BOB)
            assert (again.exit_code, "REPLAYED at " in again.stderr, "by ann" in again.stderr) == (1, True, True)
        closed = [json.loads(line) for line in (await day.run("list", "--all", "--json")).stdout.splitlines()]
        assert {row["outcome"] for row in closed} == {"REPLAYED"}, "not that somebody came too late"


async def test_what_comes_during_a_replay_is_replayed_as_well(
    day: Day, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key would stay held behind an operator who was told that all is done."""
    async with running_worker(day.log, tmp_path, services=["capture"]):
        await day.letters(3)
        day.is_mended = True
        _between(monkeypatch, lambda: day.one_more(4))
        done = await day.run("replay", "--key", "O1", "--service", "capture", *WHO)
        assert (done.exit_code, done.stdout.count(": REPLAYED\n")) == (0, 4)
        assert await day.ids() == []


@pytest.mark.parametrize("action", ["replay", "discard"])
async def test_what_is_not_dealt_with_is_said_to_wait(
    day: Day, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """Nothing is discarded that nobody has seen, and a replay that gives up says so."""
    monkeypatch.setattr(deadletters, "ROUNDS_MAX", 1)
    async with running_worker(day.log, tmp_path, services=["capture"]):
        await day.letters(3)
        ids = await day.ids()
        day.is_mended = True
        _between(monkeypatch, lambda: day.one_more(4))
        done = await day.run(action, "--key", "O1", "--service", "capture", *WHO)
        assert done.exit_code == 1
        assert done.stdout.splitlines()[3:] == ["1 record came meanwhile and waits; run the command again"]
        (left,) = await day.ids()
        assert left not in ids


# --- what came in


def _letter(
    partition: int, value: bytes, *, attempt: int, changed: str | None = None, headers: Headers = ()
) -> LogRecord:
    source = LogRecord(EXECUTIONS, 2, 5, None, value, 1, headers)
    made = dead_letter(
        source, error_class="DECODE", stage="capture", message="m", quarantine="r", attempt=attempt, changed=changed
    )
    return LogRecord(made.topic, partition, 0, made.key, made.value, 1, made.headers)


@pytest.mark.parametrize("headers", [(), (("repair.changed", b"of its sender"),)], ids=["plain", "of the same name"])
def test_what_came_in_is_never_mistaken_for_what_a_clerk_wrote(headers: Headers) -> None:
    """Letters without a key lie in any partition: that of a repair may be read before the one it was about."""
    letters = [
        _letter(0, b"repaired", attempt=2, changed="f00d", headers=headers),
        _letter(1, b"as it came", attempt=1, headers=headers),
    ]
    for found in (letters, letters[::-1]):
        (case,) = collect(found)
        assert (case.source.value, case.source.headers) == (b"as it came", headers)
        assert [letter.value for letter in case.attempts] == [b"as it came", b"repaired"]


def test_what_somebody_else_wrote_does_not_hide_what_waits() -> None:
    """A record written by hand must not leave the desk without its list."""
    log = MemoryLog(topic_counts())
    source = LogRecord(EXECUTIONS, 2, 5, b"O1", b"x", 1)
    foreign = [OutgoingRecord(topic, b"k", b"garbage") for topic in ("dead-letters", "dead-letters.resolved")]
    letter = dead_letter(source, error_class="DECODE", stage="capture", message="m", quarantine="key/O1")
    log.send([foreign[0], letter, *foreign])
    listed = run(["deadletters", "list", "--json"], MemoryCluster(log))
    assert [json.loads(line)["id"] for line in listed.stdout.splitlines()] == [f"capture/{EXECUTIONS}/2/5"]


def test_a_record_too_large_for_a_letter_says_where_it_lies_and_is_not_replayed_as_nothing() -> None:
    """Its letter has no value: sent as a repair that would be refused for a reason nobody understands."""
    log = MemoryLog(topic_counts())
    source = LogRecord(EXECUTIONS, 2, 5, b"O1", b"x" * 4_000_000, 1, (("err.omitted", b"of its sender"),))
    letter = dead_letter(source, error_class="DECODE", stage="capture", message="m", quarantine="key/O1")
    log.send([letter])
    cluster, identifier = MemoryCluster(log), f"capture/{EXECUTIONS}/2/5"

    place = f"lies at {EXECUTIONS}/2/5, {4_000_002 + len('err.omitted') + len('of its sender')} bytes"
    assert place in run(["deadletters", "show", identifier], cluster).stdout
    ended = run(["deadletters", "replay", identifier, *WHO], cluster)
    assert (ended.exit_code, place in ended.stderr, "--file" in ended.stderr) == (1, True, True), ended.stderr
    assert read_topic(log, "repairs.capture") == []


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


def test_a_long_key_is_cut_in_the_table_and_whole_in_json() -> None:
    """One sender with a broken key must not make the list unreadable to everybody; a program needs all of it."""
    key = "K" * 100_000
    log = MemoryLog(topic_counts())
    log.send(
        dead_letter(
            LogRecord(EXECUTIONS, 0, offset, found.encode(), b"v", 1), error_class="BUG", stage="capture",
            message="m" * 200, quarantine=f"key/{offset}",
        )
        for offset, found in enumerate(["O1", key])
    )  # fmt: skip
    rows = run(["deadletters", "list"], MemoryCluster(log)).stdout.splitlines()
    assert max(len(row) for row in rows) < 250
    cut = "K" * (deadletters.KEY_WIDTH_MAX - 1) + "…"
    assert {row.split()[3] for row in rows[1:3]} == {"O1", cut}
    listed = run(["deadletters", "list", "--json"], MemoryCluster(log)).stdout
    assert {json.loads(line)["key"] for line in listed.splitlines()} == {"O1", key}


def test_an_age_may_be_longer_than_the_calendar() -> None:
    """Whoever wants to see everything writes a large number."""
    ended = run(["deadletters", "list", "--since", "999999d"])
    assert (ended.exit_code, ended.stdout) == (0, "nothing waits\n")


def test_an_age_is_told_in_its_two_largest_units() -> None:
    """What waits for days must not be read as seconds."""
    found = [age_text(ms) for ms in (-5, 1_500, 61_000, 3_700_000, 90_000_000)]
    assert found == ["0s", "1s", "1m 1s", "1h 1m", "1d 1h"]
