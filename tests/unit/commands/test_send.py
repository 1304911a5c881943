"""Sending: everything is checked before anything is sent, and what is sent is what the outside would send."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from services.adapters import fix
from services.adapters.avro_codec import to_json
from services.commands.scan import read_all
from services.commands.send import send_records
from services.engine.log import OutgoingRecord
from tests import samples
from tests.unit.commands.support import MemoryCluster, run

EXECUTIONS = "front-office.executions"


def _lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_events_are_written_as_avro_under_their_keys() -> None:
    """What `to_json` writes comes back as the same event; order id and confirmation id are the keys."""
    cluster = MemoryCluster()
    confirmation = samples.confirmation()
    for kind, event, key in (
        ("executions", samples.execution(), b"O1"),
        ("allocations", samples.allocation_instruction(), b"O1"),
        ("confirmations", confirmation, confirmation.confirmation_id.encode()),
    ):
        result = run(["send", kind, "-"], cluster, given=_lines(to_json(event)))
        assert result.exit_code == 0, result.stderr
        topic = result.stdout.split()[-1]
        assert result.stdout == f"sent 1 record to {topic}\n"
        (record,) = read_all(cluster.memory, [topic])
        assert record.key == key
        assert record.value is not None
        assert cluster.codec.decode(topic, record.value) == event


def test_numbers_may_be_json_numbers_and_stay_exact() -> None:
    """0.1 as a JSON number is 0.1, not the nearest binary fraction."""
    cluster = MemoryCluster()
    row = to_json(samples.execution()) | {"price": 0.1}
    assert run("send executions -", cluster, given=_lines(row)).exit_code == 0
    (record,) = read_all(cluster.memory, [EXECUTIONS])
    assert cluster.codec.decode(EXECUTIONS, record.value).price == samples.Decimal("0.1")  # type: ignore[attr-defined]


def test_raw_records_are_sent_as_they_are() -> None:
    """Faults of senders can be played: unreadable bytes, a missing value, a missing key."""
    cluster = MemoryCluster()
    rows = [
        {"$key": "O1", "$base64": base64.b64encode(b"\x00\xff").decode()},
        {"$key": "O1", "$value": None},
        {"$key": None, "$base64": ""},
    ]
    assert run("send executions -", cluster, given=_lines(*rows)).exit_code == 0
    found = [(record.key, record.value) for record in read_all(cluster.memory, [EXECUTIONS])]
    assert sorted(found, key=repr) == sorted([(b"O1", b"\x00\xff"), (b"O1", None), (None, b"")], key=repr)


GOOD = to_json(samples.execution())
BAD_LINES = [
    ("{", "was not JSON"),
    ("[1]", "was not a JSON object"),
    (json.dumps(GOOD | {"sied": "BUY"}), "Execution has no field sied"),
    (json.dumps(GOOD | {"side": "BYE"}), "side"),
    (json.dumps({**GOOD, "quantity": "many"}), "quantity"),
    (json.dumps({name: value for name, value in GOOD.items() if name != "order_id"}), "order_id"),
    (json.dumps(GOOD | {"quantity": "0.000000001"}), "quantity"),
    (json.dumps({"$key": "O1"}), "$base64"),
    (json.dumps({"$key": 5, "$value": None}), "$key"),
    (json.dumps({"$key": "O1", "$base64": "*"}), "was not base64"),
    (json.dumps({"$key": "O1", "$base64": "", "side": "BUY"}), "and nothing else"),
]


@pytest.mark.parametrize(("line", "says"), BAD_LINES)
def test_a_bad_line_is_named_and_nothing_is_sent(tmp_path: Path, line: str, says: str) -> None:
    """Half a file sent is worse than none: nobody knows which half."""
    cluster = MemoryCluster()
    file = tmp_path / "day.jsonl"
    file.write_text(json.dumps(GOOD) + "\n\n" + line + "\n")
    result = run(["send", "executions", str(file)], cluster)
    assert result.exit_code == 2
    first, last = result.stderr.splitlines()
    assert first.startswith(f"error: {file}:3: ")
    assert says in first
    assert last == "error: nothing was sent"
    assert list(read_all(cluster.memory, [EXECUTIONS])) == []


def test_a_misspelt_field_of_an_account_is_found_too() -> None:
    """An optional field of a nested record would vanish without a word."""
    row = to_json(samples.allocation_instruction())
    row["allocations"][0]["individual_allocaton_id"] = "X"
    result = run("send allocations -", given=_lines(row))
    assert result.exit_code == 2
    assert "allocations.individual_allocaton_id" in result.stderr


def test_many_bad_lines_are_counted_not_listed() -> None:
    """A file of the wrong kind gives a screenful, not a thousand lines."""
    result = run("send executions -", given="x\n" * 50)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 22
    assert "30 more lines are wrong" in result.stderr


def test_fix_messages_are_cut_and_keyed_by_order_and_rubbish_is_sent_too() -> None:
    """What a session would deliver arrives byte for byte; what is no message has no key and becomes a dead letter."""
    cluster = MemoryCluster()
    message = fix.encode_execution(samples.execution())
    assert run("send fix -", cluster, given=message + message + b"\nrubbish\n").stdout.startswith("sent 3 records")
    found = [(record.key, record.value) for record in read_all(cluster.memory, ["front-office.fix"])]
    assert sorted(found, key=repr) == sorted([(b"O1", message), (b"O1", message), (None, b"rubbish")], key=repr)


def test_an_empty_file_sends_nothing_and_says_so() -> None:
    """Nothing to send is no fault."""
    assert run("send executions -", given="").stdout == "sent 0 records\n"


def test_the_rate_spreads_records_over_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 a second means that the last of 50 records goes out half a second after the first."""
    now = [0.0]
    monkeypatch.setattr("services.commands.send.time.monotonic", lambda: now[0])
    monkeypatch.setattr("services.commands.send.time.sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    cluster = MemoryCluster()
    records = [OutgoingRecord(EXECUTIONS, b"O1", str(number).encode()) for number in range(50)]
    send_records(cluster.memory, records, rate=100)
    assert now[0] == pytest.approx(0.4, abs=0.11)
    assert [record.value for record in read_all(cluster.memory, [EXECUTIONS])] == [record.value for record in records]
