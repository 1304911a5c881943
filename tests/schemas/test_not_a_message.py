"""What makes a key wait and what does not: a message that cannot be read yet, and bytes that are no message at all."""

from __future__ import annotations

import pytest

from services.adapters import fix
from services.adapters.avro_careful import MARKER
from services.domain.errors import DecodeError, NotAMessageError
from services.pipeline import make_codec
from tests import samples

CODEC = make_codec()
EXECUTIONS, FIX, CAPTURED = "front-office.executions", "front-office.fix", "trades.captured"
AVRO = CODEC.encode(EXECUTIONS, samples.execution())
MESSAGE = fix.encode_execution(samples.execution())


def _framed(message: bytes, old: bytes, new: bytes) -> bytes:
    """Another field in a frame that is right again."""
    assert old in message
    body = message.replace(old, new).split(b"\x01", 2)[2].rpartition(b"10=")[0]
    head = b"8=FIX.4.4\x019=%d\x01" % len(body) + body
    return head + b"10=%03d\x01" % (sum(head) & 0xFF)


@pytest.mark.parametrize(
    ("topic", "value"),
    [
        (EXECUTIONS, None),
        (EXECUTIONS, b""),
        (EXECUTIONS, b"random bytes"),
        (EXECUTIONS, MARKER + b"\x01"),
        (EXECUTIONS, AVRO[:-5]),
        (EXECUTIONS, AVRO + b"\x00"),
        (EXECUTIONS, CODEC.encode("front-office.allocations", samples.allocation_instruction())),
        (FIX, None),
        (FIX, b"no message"),
        (FIX, MESSAGE[:-9]),
        (FIX, MESSAGE.replace(b"100", b"101", 1)),
    ],
)
def test_bytes_from_outside_that_no_release_will_read_are_no_message(topic: str, value: bytes | None) -> None:
    """Their sender repeats them, and must not have to wait for a person."""
    with pytest.raises(NotAMessageError):
        CODEC.decode(topic, value)


@pytest.mark.parametrize(
    ("topic", "value"),
    [
        (EXECUTIONS, MARKER + b"\x07" * 8 + AVRO[10:]),
        (FIX, _framed(MESSAGE, b"\x0154=", b"\x0154=?")),
        (CAPTURED, b"random bytes"),
        (CAPTURED, AVRO),
        (CAPTURED, None),
    ],
)
def test_what_a_later_release_may_read_or_what_we_wrote_ourselves_is_a_message(topic: str, value: bytes | None) -> None:
    """An unknown schema, a strange field, and everything on our own topics: nobody repeats it, so its key waits."""
    with pytest.raises(DecodeError) as caught:
        CODEC.decode(topic, value)
    assert not isinstance(caught.value, NotAMessageError)
