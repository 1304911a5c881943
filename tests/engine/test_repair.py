"""A repair releases what waits, in order, once, and leaves a record of who did it."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import structs

from services.engine.dead_letters import original_headers
from services.engine.log import Headers, LogRecord, OutgoingRecord
from services.engine.repair import Action, RepairMalformed, Resolution, parse_repair, repair_record
from tests.engine.batches import Partition, header
from tests.engine.harness import FaultyLog, Worker, by_key, committed, count, running, until
from tests.support.engine_stages import Count
from tests.support.poison import RAISES, PoisonedStage, poisoned, said, unreadable


def _waiting() -> Partition:
    """Offset 0 of key a failed, 1 and 2 wait behind it."""
    partition = Partition()
    for number in (RAISES, 1, 2):
        partition.add(said("a", number))
    partition.run()
    assert partition.waiting() == {"key/a": [0, 1, 2]}
    return partition


def test_replays_in_order_after_the_bug_is_mended_free_the_key() -> None:
    """The normal case: a release mends the bug, the whole key is replayed, and later records flow again."""
    partition = _waiting()
    partition.stage.is_mended = True
    names = [partition.repair(source) for source in partition.sources]
    partition.add(said("a", 3))
    partition.run()
    assert partition.counted("a") == [RAISES, 1, 2, 3]
    assert partition.outcomes() == dict.fromkeys(names, "REPLAYED")
    assert partition.waiting() == {}
    assert len(partition.letters()) == 3, "the record behind the repairs is not parked any more"


def test_a_replay_that_fails_again_stays_at_the_head_with_one_attempt_more() -> None:
    """Nothing overtakes it, and the letters tell how often it was tried."""
    partition = _waiting()
    partition.repair(partition.sources[0])
    partition.repair(partition.sources[1])
    partition.run()
    assert partition.letters()[-1] == (0, "BUG", "2")
    assert partition.outcomes() == {"repair-1": "FAILED_AGAIN", "repair-2": "REFUSED_OUT_OF_ORDER"}
    assert partition.waiting() == {"key/a": [0, 1, 2]}
    assert partition.counted("a") == []
    assert partition.tables.rows[Count] == {}, "a failed attempt leaves nothing behind"


def test_a_discarded_record_is_never_processed_and_those_behind_it_still_wait() -> None:
    """To give one up says nothing about what followed it."""
    partition = _waiting()
    partition.repair(partition.sources[0], Action.DISCARD)
    partition.run()
    assert partition.waiting() == {"key/a": [1, 2]}
    partition.repair(partition.sources[1])
    partition.repair(partition.sources[2])
    partition.run()
    assert partition.counted("a") == [1, 2]


def test_a_repair_that_comes_twice_does_nothing_the_second_time() -> None:
    """An operator whose connection broke tries again; the trade is booked once."""
    partition = _waiting()
    partition.stage.is_mended = True
    for _ in range(3):
        partition.repair(partition.sources[0], repair_id="same")
        partition.run(1)
    assert partition.counted("a") == [RAISES]
    assert [header_of(record).outcome for record in partition.on("dead-letters.resolved")] == [
        "REPLAYED",
        "ALREADY_RESOLVED",
        "ALREADY_RESOLVED",
    ]


def header_of(record: OutgoingRecord) -> Resolution:
    """What is said about a repair."""
    return msgspec.json.decode(record.value or b"", type=Resolution)


def test_a_repaired_value_is_processed_in_place_of_the_broken_one() -> None:
    """What cannot be read today and tomorrow is written anew by a person."""
    partition = Partition()
    partition.add(unreadable("a"))
    partition.add(said("a", 2))
    partition.run()
    partition.repair(partition.sources[0], value=b'{"number":1}')
    partition.repair(partition.sources[1])
    partition.run()
    assert partition.counted("a") == [1, 2]
    assert partition.waiting() == {}


def test_a_repaired_value_that_fails_again_says_that_it_is_not_the_original() -> None:
    """The first letter has the bytes that came; a later one must not be taken for it."""
    partition = Partition()
    partition.add(unreadable("a"))
    partition.run()
    partition.repair(partition.sources[0], value=b"[")
    partition.run()
    first, again = partition.on("dead-letters")
    assert (first.value, header(first, "repair.changed")) == (b"{", "")
    assert (again.value, len(header(again, "repair.changed"))) == (b"[", 64)


def test_a_value_that_was_changed_without_saying_so_is_refused() -> None:
    """What is replayed is what came in, or openly something else."""
    partition = _waiting()
    partition.stage.is_mended = True
    partition.repair(structs.replace(partition.sources[0], value=b'{"number":1000000}'))
    partition.run()
    assert partition.outcomes() == {"repair-1": "REFUSED_MALFORMED"}
    assert partition.counted("a") == []


def test_a_replay_is_as_old_as_its_source_and_keeps_its_headers_out_of_the_way() -> None:
    """When a trade came in is a fact that a repair does not change."""
    partition = Partition()
    partition.add(structs.replace(said("a", RAISES), headers=(("trace", b"\x00"), ("repair.id", b"theirs"))))
    partition.run()
    partition.repair(partition.sources[0])
    partition.run()
    assert [received.timestamp_us for received in partition.stage.calls[-1]] == [1_000_000]
    again = partition.on("dead-letters")[-1]
    assert again.headers[:2] == (("trace", b"\x00"), ("repair.id", b"theirs"))
    assert header(again, "src.timestamp") == "1000"


def test_who_did_what_and_why_is_on_record() -> None:
    """An audit asks years later."""
    partition = _waiting()
    partition.repair(partition.sources[0], Action.DISCARD)
    partition.run()
    (record,) = partition.on("dead-letters.resolved")
    assert record.key == b"counting/said/0/0"
    assert msgspec.json.decode(record.value or b"") == {
        "id": "repair-1",
        "of": "counting/said/0/0",
        "action": "DISCARD",
        "outcome": "DISCARDED",
        "by": "ann",
        "reason": "mended",
        "at": "2026-03-02T12:00:00+00:00",
    }


def _with(name: str, value: str | None) -> Headers:
    source = LogRecord("said", 0, 0, b"a", b"{}", 0)
    record = repair_record(
        service="counting", source=source, action=Action.REPLAY, repair_id="r", by="ann", reason="x", at="now",
        changed=False,
    )  # fmt: skip
    return tuple((found, old if found != name else (value or "").encode()) for found, old in record.headers)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("repair.action", "REPEAT"),
        ("repair.of", "said/0"),
        ("repair.of", "said/0/x"),
        ("repair.of", "said/1/0"),
        ("repair.of", ""),
        ("repair.topic", "other"),
    ],
)
def test_a_repair_that_contradicts_itself_is_refused_and_does_nothing(name: str, value: str) -> None:
    """What is not clear is not done."""
    record = LogRecord("repairs.counting", 0, 7, b"a", b"{}", 0, _with(name, value))
    with pytest.raises(RepairMalformed):
        parse_repair(record)
    partition = _waiting()
    partition.add_raw_repair(record)
    partition.run()
    assert partition.outcomes() == {"r": "REFUSED_MALFORMED"}
    assert partition.waiting() == {"key/a": [0, 1, 2]}


def test_garbage_on_a_repairs_topic_stops_nothing() -> None:
    """Anybody may be able to write there."""
    partition = _waiting()
    partition.add_raw_repair(LogRecord("repairs.counting", 0, 7, None, None, 0, (("repair.of", None), ("x", b"\xff"))))
    partition.add(said("b", 1))
    partition.run()
    assert partition.counted("b") == [1]
    assert partition.outcomes() == {"": "REFUSED_MALFORMED"}


async def test_what_waits_survives_a_restart_and_is_repaired_by_whoever_owns_it_then() -> None:
    """The quarantine is state like any other: rebuilt from the changelog, shown, and released by the next owner."""
    log, stage = FaultyLog(), PoisonedStage()
    log.send([said("a", RAISES), said("b", 1), said("a", 2)])
    async with running(log, poisoned(stage)) as worker:
        await until(log, lambda: count(log, "dead-letters") == 2, worker)
        await until(log, lambda: _waiting_keys(worker) == 1, worker)
    stage.is_mended = True
    async with running(log, poisoned(stage), slot=1) as worker:
        await until(log, lambda: worker.coordinator.ready and _waiting_keys(worker) == 1, worker)
        log.send([said("a", 3)])
        await until(log, lambda: count(log, "dead-letters") == 3, worker)
        letters = sorted(committed(log, "dead-letters"), key=lambda letter: letter.offset)
        for letter in letters:
            log.send([_replay_of(letter)])
        await until(log, lambda: _waiting_keys(worker) == 0, worker)
        log.send([said("a", 4)])
        await until(log, lambda: count(log, "counted") == 5, worker)
        value = worker.metrics.registry.get_sample_value
        assert value("posttrade_repairs_total", {"service": "counting", "outcome": "REPLAYED"}) == 3
    found = [msgspec.json.decode(record.value or b"")["number"] for record in by_key(log, "counted")[b"a"]]
    assert found == [RAISES, 2, 3, 4]


def _waiting_keys(worker: Worker) -> float | None:
    return worker.metrics.registry.get_sample_value("posttrade_quarantined_keys", {"service": "counting"})


def _replay_of(letter: LogRecord) -> OutgoingRecord:
    names = dict(letter.headers)
    partition, offset = (int(names[f"src.{name}"] or b"") for name in ("partition", "offset"))
    source = LogRecord("said", partition, offset, letter.key, letter.value, 0, original_headers(letter.headers))
    return repair_record(
        service="counting", source=source, action=Action.REPLAY, repair_id=str(offset), by="ann", reason="mended",
        at="now", changed=False,
    )  # fmt: skip
