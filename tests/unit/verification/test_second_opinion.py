"""The auditor's own readings and marks, against those of the services: written twice, and equal."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.local import day
from services.adapters import fix
from services.adapters.plain_avro import PlainReader
from services.adapters.topic_codec import FormatCodec
from services.capture.state import execution_fingerprint, instruction_fingerprint, instruction_subject
from services.domain.event import AllocationInstruction, Execution, IgnoredMessage
from services.domain.record import Record
from services.pipeline import SERVICES
from services.topics import load_topics
from services.verification.names import (
    CAUSES_FIRST,
    EXECUTION_FIELDS,
    INPUTS,
    PART_FIELDS,
    REQUEST_FIELDS,
    repairs_of,
)
from services.verification.plain import content_mark, named_subject, text
from tests import samples

READER = PlainReader()
EXAMPLES = Path(__file__).parents[3] / "schemas"
AVRO_TOPICS = [topic for topic in load_topics().values() if topic.examples is not None]


def test_the_auditor_knows_every_topic_of_the_pipeline() -> None:
    """A topic that is added to a service and not to the auditor would never be looked at."""
    for service in SERVICES:
        own = tuple(topic for topic in service.inputs if topic != repairs_of(service.name))
        assert INPUTS[service.name] == own
        assert set(service.outputs) <= set(CAUSES_FIRST), service.name
    assert tuple(INPUTS) == tuple(service.name for service in SERVICES)
    own_topics = {name for name in load_topics() if not name.startswith("reference.")}
    assert own_topics <= set(CAUSES_FIRST)


def _plain(value: Any) -> Any:
    """A record of the services as the auditor has it."""
    if isinstance(value, Record):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return getattr(value, "value", value)


@pytest.mark.parametrize("topic", AVRO_TOPICS, ids=lambda topic: topic.name)
def test_avro_is_read_as_the_services_read_it(topic: Any, codec: FormatCodec) -> None:
    """Two readers of one format agree on every example that was ever landed."""
    files = sorted((EXAMPLES / topic.examples).glob("*.hex"))
    assert files, topic.name
    for file in files:
        value = bytes.fromhex(file.read_text(encoding="ascii"))
        found, read = READER(topic.name, value), codec.decode(topic.name, value)
        assert found is not None
        added = {field.name: field.default for field in msgspec.structs.fields(read) if field.name not in found}
        assert added == {name: getattr(read, name) for name in added}, f"{file.name} lacks more than what came later"
        known = {name: field for name, field in _plain(read).items() if name not in added}
        assert text(found) == text(known), file.name


def test_fix_is_read_as_the_services_read_it() -> None:
    """Every message of the sample day, in both versions of FIX."""
    messages = [line for line in (day.DATA / "executions.fix").read_bytes().split(b"\n") if line]
    kinds = set()
    for message in messages:
        try:
            event = fix.decode(message)
        except fix.FixError:
            continue  # what the services cannot read is a dead letter, whatever the auditor makes of it
        found = READER("front-office.fix", message)
        assert found is not None
        kinds.add(found["message"])
        if not isinstance(event, IgnoredMessage):
            said = {name: value for name, value in found.items() if name != "message"}
            expected = {name: value for name, value in _plain(event).items() if name != "possible_duplicate"}
            assert text(said) == text(expected)
    assert {"EXECUTION", "ALLOCATION"} <= kinds


@pytest.mark.parametrize("value", [None, b"", b"no record", b"\xc3\x01", b"\xc3\x01" + b"\0" * 20])
@pytest.mark.parametrize("topic", ["front-office.executions", "front-office.fix", "trades.captured", "unknown.topic"])
def test_what_cannot_be_read_is_none(topic: str, value: bytes | None) -> None:
    """The auditor decides what it means; its reader must not end the audit."""
    assert READER(topic, value) is None


_NAMES = st.text(st.characters(codec="utf-8"), max_size=300)
_NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, places=8, min_value=-(10**18), max_value=10**18)


@given(
    name=_NAMES, number=_NUMBERS, day_traded=st.dates(date(1990, 1, 1)),
    time_us=st.integers(-(2**63), 2**63 - 1), accrued=st.none() | _NUMBERS,
)  # fmt: skip
def test_reports_are_recognised_as_capture_recognises_them(
    name: str, number: Decimal, day_traded: date, time_us: int, accrued: Decimal | None
) -> None:
    """The mark that capture stores is derived a second time, from the format alone, for any content."""
    event: Execution = samples.execution(
        execution_id=name, quantity=number, trade_date=day_traded, transaction_time_us=time_us,
        accrued_interest_amount=accrued,
    )  # fmt: skip
    assert content_mark(_plain(event), EXECUTION_FIELDS).hex() == execution_fingerprint(event)


@given(name=_NAMES, sender=_NAMES, count=st.integers(0, 40), number=_NUMBERS)
def test_allocations_are_recognised_as_capture_recognises_them(
    name: str, sender: str, count: int, number: Decimal
) -> None:
    """Lists of any length too, and the id under which exceptions speak of them."""
    plain: AllocationInstruction = samples.allocation_instruction(sender=sender, instruction_id=name)
    shares = tuple(msgspec.structs.replace(plain.allocations[0], quantity=number) for _ in range(count))
    event = msgspec.structs.replace(plain, allocations=shares)
    assert content_mark(_plain(event), REQUEST_FIELDS, PART_FIELDS).hex() == instruction_fingerprint(event)
    assert named_subject("AI", sender, name) == instruction_subject(event)


def test_one_value_has_one_text_in_avro_and_in_json(codec: FormatCodec) -> None:
    """Rows of state are compared with records of topics; both must come to the same text."""
    event = samples.confirmed_trade()
    value = codec.encode("trades.confirmed", event)
    row = json.loads(msgspec.json.encode(codec.decode("trades.confirmed", value)))
    assert text(row) == text(READER("trades.confirmed", value))
