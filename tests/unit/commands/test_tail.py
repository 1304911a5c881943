"""What tail shows of each kind of topic, and when it ends."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time

from services.adapters import fix
from services.adapters.avro_codec import to_json
from services.commands.scan import partitions_of
from services.commands.tail import follow
from services.engine.log import OutgoingRecord
from tests import samples
from tests.unit.commands.support import MemoryCluster, run

END = "--from-beginning --until-idle 0"


def _tailed(cluster: MemoryCluster, topic: str) -> list[dict[str, object]]:
    result = run(f"tail {topic} --json {END}", cluster)
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_an_event_is_shown_as_send_takes_it() -> None:
    """The value of one tool is the input of the other."""
    cluster = MemoryCluster()
    event = samples.execution()
    value = cluster.codec.encode("front-office.executions", event)
    cluster.memory.send([OutgoingRecord("front-office.executions", b"O1", value, (("trace", b"x"),), 2)])
    (row,) = _tailed(cluster, "front-office.executions")
    assert row.pop("timestamp").endswith("Z")  # type: ignore[attr-defined]
    assert row == {
        "topic": "front-office.executions",
        "partition": 2,
        "offset": 0,
        "key": "O1",
        "headers": {"trace": "x"},
        "value": to_json(cluster.codec.decode("front-office.executions", value)),
    }


def test_bytes_that_cannot_be_read_are_shown_with_the_reason() -> None:
    """Support sees what came and why it was refused, also when key and value are no text."""
    cluster = MemoryCluster()
    cluster.memory.send([OutgoingRecord("trades.captured", b"\xff", b"\x00")])
    (row,) = _tailed(cluster, "trades.captured")
    assert row["key"] == {"$base64": "/w=="}
    assert row["value"] == {"$base64": "AA==", "$reason": "value did not begin with the Avro marker C3 01"}


def test_fix_xml_state_and_removals_are_shown_in_their_own_form() -> None:
    """FIX with '|' for SOH, XML as text, state as JSON, a removal as null."""
    cluster = MemoryCluster()
    message = fix.encode_execution(samples.execution())
    cluster.memory.send(
        [
            OutgoingRecord("front-office.fix", None, message),
            OutgoingRecord("settlement.messages", b"SI1", b"<a>\n  <b/>\n</a>"),
            OutgoingRecord("state.capture", b"SeenExecution/TR1", b'{"version":1}'),
            OutgoingRecord("reference.parties", b"X", None),
        ]
    )
    assert [row["value"] for row in _tailed(cluster, "front-office.fix")] == [message.decode().replace("\x01", "|")]
    assert [row["value"] for row in _tailed(cluster, "settlement.messages")] == ["<a>\n  <b/>\n</a>"]
    assert [row["value"] for row in _tailed(cluster, "state.capture")] == [{"version": 1}]
    assert [row["value"] for row in _tailed(cluster, "reference.parties")] == [None]
    assert "<a> <b/> </a>" in run(f"tail settlement.messages {END}", cluster).stdout
    assert "removes what is under the key" in run(f"tail reference.parties {END}", cluster).stdout


def test_dead_letters_show_why_and_what(processed: MemoryCluster) -> None:
    """The reason is in headers, the value is byte for byte what came."""
    rows = _tailed(processed, "dead-letters")
    assert {row["headers"]["err.class"] for row in rows} == {"DECODE"}  # type: ignore[index]
    assert {"$base64": "bm8gcmVjb3Jk"} in [row["value"] for row in rows]
    readable = run(f"tail dead-letters {END}", processed).stdout
    assert "err.class=DECODE" in readable
    assert "base64 bm8gcmVjb3Jk" in readable


def test_every_topic_of_a_day_can_be_read_by_a_person(processed: MemoryCluster) -> None:
    """One line for each record of each topic; nothing in them is undecodable but the two that were sent so."""
    for topic in processed.topics:
        lines = run(f"tail {topic} {END}", processed).stdout.splitlines()
        ends = processed.memory.end_offsets(partitions_of(processed.memory, [topic]), committed_only=True)
        assert len(lines) == sum(ends.values()), topic


def test_max_ends_after_so_many() -> None:
    """The first record is often enough."""
    cluster = MemoryCluster()
    cluster.memory.send([OutgoingRecord("state.capture", b"k", b"1") for _ in range(3)])
    assert len(run("tail state.capture --from-beginning --max 2", cluster).stdout.splitlines()) == 2


def test_without_from_beginning_only_new_records_are_shown() -> None:
    """What lies there already is not news."""
    cluster = MemoryCluster()
    old = OutgoingRecord("state.capture", b"k", b'"old"')
    new = OutgoingRecord("state.capture", b"k", b'"new"')
    cluster.memory.send([old])
    found = []
    watching = threading.Thread(
        target=lambda: found.append(next(follow(cluster.memory, "state.capture", from_beginning=False)))
    )
    watching.start()
    while not found and watching.is_alive():
        time.sleep(0.02)
        cluster.memory.send([new])
    watching.join(5)
    assert found[0].value == b'"new"'


def test_a_reader_that_has_seen_enough_ends_it_quietly() -> None:
    """`posttrade topics list | head -1` must not print a traceback or fail the pipe."""
    command = f"{sys.executable} -m services topics list | head -1; echo ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=30, check=True)
    assert ended.stderr == ""
    assert ended.stdout.splitlines()[-1] == "0"
