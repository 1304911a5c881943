"""Cutting a file into messages loses nothing, whatever stands between them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.adapters.fix import (
    FixError,
    decode,
    encode_allocation_instruction,
    encode_execution,
    order_id,
    split_messages,
)
from tests import samples
from tests.unit.fix.messages import BODY_4_4, framed, message

FIRST = encode_execution(samples.execution())
SECOND = encode_execution(samples.execution(execution_id="E2", order_id="O2"), begin_string="FIX.4.2")
BROKEN = FIRST.replace(b"\x019=", b"\x019=9")
CUT = FIRST[:80]


@pytest.mark.parametrize("separator", [b"", b"\n", b"\r\n", b"\n\n"])
def test_messages_in_a_row_or_one_per_line(separator: bytes) -> None:
    """Both kinds of file are in use."""
    assert list(split_messages(separator.join([FIRST, SECOND, FIRST]) + separator)) == [FIRST, SECOND, FIRST]


SCENES = [
    ([b"", b"\n"], []),
    ([b"# log of the day\n", FIRST], [b"# log of the day", FIRST]),
    ([FIRST, b"garbage", SECOND], [FIRST, b"garbage", SECOND]),
    ([FIRST, CUT, SECOND], [FIRST, CUT, SECOND]),
    ([BROKEN, SECOND], [BROKEN, SECOND]),
    ([CUT, b"\n", BROKEN], [CUT, BROKEN]),
    ([SECOND, CUT], [SECOND, CUT]),
    ([b"8=FIX.4.4\x01", SECOND], [b"8=FIX.4.4\x01", SECOND]),
    ([b"no message at all"], [b"no message at all"]),
]


@pytest.mark.parametrize(("pieces", "expected"), SCENES)
def test_what_is_no_message_is_a_chunk_of_its_own(pieces: list[bytes], expected: list[bytes]) -> None:
    """A cut message must not take its neighbour with it, and must itself come up as a dead letter."""
    assert list(split_messages(b"".join(pieces))) == expected


def test_a_message_inside_a_data_field_is_not_cut_out() -> None:
    """RawData (96) may hold a whole message; it belongs to its carrier."""
    body = BODY_4_4.replace("|", "\x01").encode() + b"\x0195=%d\x0196=%s\x01" % (len(SECOND), SECOND)
    carrier = framed(body)

    assert list(split_messages(carrier + FIRST)) == [carrier, FIRST]
    assert decode(carrier) == samples.execution()


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from([FIRST, SECOND, BROKEN, CUT, b"garbage", b"\n"]) | st.binary(max_size=12), max_size=8))
def test_every_byte_comes_out_in_order(pieces: list[bytes]) -> None:
    """Only line ends are dropped, and every whole message that was put in by itself is found."""
    data = b"\n".join(pieces)

    chunks = list(split_messages(data))

    line_ends = bytes.maketrans(b"", b"")
    assert b"".join(chunks).translate(line_ends, b"\r\n") == data.translate(line_ends, b"\r\n")
    assert [chunk for chunk in chunks if chunk in (FIRST, SECOND)] == [
        piece for piece in pieces if piece in (FIRST, SECOND)
    ]


def test_a_broken_message_is_refused_not_repaired() -> None:
    """The splitter only cuts; judging is the decoder's work."""
    for chunk in split_messages(BROKEN + CUT):
        with pytest.raises(FixError):
            decode(chunk)


ORDER_IDS = [
    (FIRST, "O1"),
    (encode_allocation_instruction(samples.allocation_instruction(order_id="O9")), "O9"),
    (message("35=0|49=OMS1"), None),
    (b"", None),
    (b"\x0137=\xff\x01", None),
]


@pytest.mark.parametrize(("raw", "expected"), ORDER_IDS)
def test_order_id_for_the_key_of_a_record(raw: bytes, expected: str | None) -> None:
    """Senders key their records with it, so it must agree with what decode says."""
    assert order_id(raw) == expected
