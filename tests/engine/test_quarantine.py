"""A key whose record failed waits, in order, and nobody else does."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.domain.errors import DecodeError, NotAMessageError
from services.domain.record import Record
from services.engine import quarantine
from services.engine.log import OutgoingRecord
from services.engine.repair import Action
from services.stage import State
from tests.engine.batches import Partition, header, taken_in
from tests.support.engine_stages import JsonCodec
from tests.support.poison import RAISES, said, unreadable


def test_later_records_of_a_failed_key_follow_it_and_other_keys_go_on() -> None:
    """An order whose correction failed must not settle with what came after the correction."""
    partition = Partition()
    for record in (said("a", 1), said("a", RAISES), said("b", 1), said("a", 3), said("a", 4), said("b", 2)):
        partition.add(record)
    partition.run()
    partition.add(said("a", 5))
    partition.run()
    assert (partition.counted("a"), partition.counted("b")) == ([1], [1, 2])
    assert partition.letters() == [(1, "BUG", "1"), (3, "PARKED", "0"), (4, "PARKED", "0"), (6, "PARKED", "0")]
    assert partition.waiting() == {"key/a": [1, 3, 4, 6]}
    followers = partition.on("dead-letters")[1:]
    assert {header(letter, "err.message") for letter in followers} == {"waits behind said/0/1 of the same key"}
    assert {header(letter, "quarantine") for letter in partition.on("dead-letters")} == {"key/a"}
    assert [(letter.key, letter.value) for letter in followers] == [
        (source.key, source.value) for source in partition.sources if source.offset in (3, 4, 6)
    ]


@pytest.mark.parametrize("key", [None, ""])
def test_a_record_without_a_key_holds_nobody(key: str | None) -> None:
    """Garbage under an empty key would otherwise stop every sender that sets none."""
    partition = Partition()
    partition.add(unreadable(key))
    partition.add(OutgoingRecord("said", None if key is None else b"", b'{"number":1}'))
    partition.add(unreadable(key))
    partition.run()
    assert partition.waiting()["record/said/0"] == [0]
    assert not any(name.startswith("key/") for name in partition.waiting())


def test_a_key_that_is_no_text_holds_only_its_own_record() -> None:
    """Such a key joins nothing; each of its records is refused for itself."""
    partition = Partition()
    for _ in range(2):
        partition.add(OutgoingRecord("said", b"\xff", b'{"number":1}'))
    partition.run()
    assert partition.waiting() == {"record/said/0": [0], "record/said/1": [1]}
    assert [letter[1] for letter in partition.letters()] == ["DECODE", "DECODE"]


def test_what_is_no_message_at_all_does_not_make_its_key_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sender repeats it; the repetition must go through without a person."""
    decode = JsonCodec.decode

    def strict(self: JsonCodec, topic: str, value: bytes | None) -> Record:
        try:
            return decode(self, topic, value)
        except DecodeError as error:
            raise NotAMessageError(str(error)) from error

    monkeypatch.setattr(JsonCodec, "decode", strict)
    partition = Partition()
    for record in (unreadable("a"), said("a", 1), unreadable("a")):
        partition.add(record)
    partition.run()
    assert partition.counted("a") == [1]
    assert partition.waiting() == {"record/said/0": [0], "record/said/2": [2]}
    partition.repair(partition.sources[0], value=b'{"number":7}')
    partition.repair(partition.sources[0], value=b'{"number":7}')
    partition.run()
    assert partition.counted("a") == [1, 7], "replayed once"
    assert partition.outcomes() == {"repair-1": "REPLAYED", "repair-2": "ALREADY_RESOLVED"}


def test_nothing_is_looked_up_while_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hot path pays for a quarantine only where there is one."""
    looked: list[str | None] = []

    def holds(state: State, key: str | None) -> bool:
        looked.append(key)
        return False

    monkeypatch.setattr(quarantine, "holds", holds)
    partition = Partition()
    for number in range(50):
        partition.add(said("a", 1000 + number))
    partition.run()
    assert looked == []


# --- the twin: one record at a time, one list for each name


@dataclass
class Twin:
    """What must come out, said as plainly as possible."""

    lines: dict[str, list[int]] = field(default_factory=dict)
    counted: dict[str, list[int]] = field(default_factory=dict)
    letters: list[tuple[int, str, str]] = field(default_factory=list)
    attempts: dict[int, int] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)

    def take(self, offset: int, record: OutgoingRecord) -> None:
        key = (record.key or b"").decode()
        if key and f"key/{key}" in self.lines:
            self.lines[f"key/{key}"].append(offset)
            self._bury(offset, "PARKED", 0)
        elif (wrong := self._wrong(key, record.value)) is not None:
            self.lines[f"key/{key}" if key else f"record/said/{offset}"] = [offset]
            self._bury(offset, wrong, 1)
        else:
            self._count(key, record.value)

    def repair(self, name: str, offset: int, record: OutgoingRecord, action: Action) -> None:
        key = (record.key or b"").decode()
        line_name = f"key/{key}" if key else f"record/said/{offset}"
        line = self.lines.get(line_name, [])
        if offset not in line:
            self.outcomes[name] = "ALREADY_RESOLVED"
        elif line[0] != offset:
            self.outcomes[name] = "REFUSED_OUT_OF_ORDER"
        elif action is Action.REPLAY and (wrong := self._wrong(key, record.value)) is not None:
            self.outcomes[name] = "FAILED_AGAIN"
            self._bury(offset, wrong, self.attempts[offset] + 1)
        else:
            if action is Action.REPLAY:
                self._count(key, record.value)
            self.outcomes[name] = "REPLAYED" if action is Action.REPLAY else "DISCARDED"
            del line[0]
            if not line:
                del self.lines[line_name]

    def _wrong(self, key: str, value: bytes | None) -> str | None:
        try:
            number = msgspec.json.decode(value or b"")["number"]
        except msgspec.DecodeError:
            return "DECODE"
        return "BUG" if number == RAISES or not key else None  # the stage refuses what has no key

    def _count(self, key: str, value: bytes | None) -> None:
        self.counted.setdefault(key, []).append(msgspec.json.decode(value or b"")["number"])

    def _bury(self, offset: int, error_class: str, attempt: int) -> None:
        self.attempts[offset] = attempt
        self.letters.append((offset, error_class, str(attempt)))


_KEYS = st.sampled_from(["a", "b", "c/1"])
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("said"), _KEYS, st.sampled_from([1, 2, 3, 4, RAISES])),
        st.tuples(st.just("unreadable"), st.one_of(_KEYS, st.none()), st.just(0)),
        st.tuples(st.sampled_from(["replay", "replay", "mended", "discard"]), st.just("a"), st.integers(0, 60)),
    ),
    max_size=60,
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_STEPS, st.lists(st.integers(1, 12), min_size=1, max_size=5))
def test_records_and_repairs_in_any_order_and_batches_come_to_what_the_twin_says(
    steps: list[tuple[str, str | None, int]], sizes: list[int]
) -> None:
    """The order of a key holds whatever fails where, however batches fall, whoever repairs what when."""
    partition, twin = Partition(), Twin()
    for step, key, number in steps:
        if step in ("said", "unreadable"):
            assert key is not None or step == "unreadable"
            record = unreadable(key) if step == "unreadable" else said(key or "", number)
            twin.take(partition.add(record).offset, record)
        elif partition.sources:
            source = partition.sources[number % len(partition.sources)]
            action = Action.DISCARD if step == "discard" else Action.REPLAY
            value = b'{"number":9}' if step == "mended" else None
            name = partition.repair(source, action, value=value)
            twin.repair(name, source.offset, OutgoingRecord("said", source.key, value or source.value), action)
    taken_in(partition, sizes)
    assert partition.waiting() == twin.lines
    assert {key: partition.counted(key) for key in twin.counted} == twin.counted
    assert sorted(partition.letters()) == sorted(twin.letters)
    assert partition.outcomes() == twin.outcomes
    assert partition.rebuilt() == partition.tables.rows, "a restore would forget what waits"
    for name in {f"key/{key}" for key in ("a", "b", "c/1")}:
        letters = [letter for letter in partition.on("dead-letters") if header(letter, "quarantine") == name]
        first = [int(header(letter, "src.offset")) for letter in letters if int(header(letter, "attempt")) < 2]
        assert first == sorted(first), "letters of a key lie in its order"
