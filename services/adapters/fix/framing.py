"""Where a FIX message begins and ends, whether it is whole, and which fields it holds.

Splitting at SOH is right for all but one kind of field: a data field may itself contain SOH, and is as long as the
length field before it says (FIX 4.4 volume 1, "data" fields). Messages with such a field take the slower, exact path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from services.domain.errors import DecodeError, NotAMessageError

SOH = b"\x01"

Field = tuple[bytes, bytes]
"""Tag and value, both as they stand in the message."""


class FixError(DecodeError):
    """The message cannot be read for certain. One sentence: which tag, and what was wrong; never the content."""


class FrameError(FixError, NotAMessageError):
    """No whole message: FIX bids the receiver ignore it, and the sender send it again."""


_DATA_TAG_OF_LENGTH_TAG = {
    b"90": b"91",  # SecureData
    b"93": b"89",  # Signature
    b"95": b"96",  # RawData
    b"212": b"213",  # XmlData
    b"348": b"349",  # EncodedIssuer
    b"350": b"351",  # EncodedSecurityDesc
    b"352": b"353",  # EncodedListExecInst
    b"354": b"355",  # EncodedText
    b"356": b"357",  # EncodedSubject
    b"358": b"359",  # EncodedHeadline
    b"360": b"361",  # EncodedAllocText
    b"362": b"363",  # EncodedUnderlyingIssuer
    b"364": b"365",  # EncodedUnderlyingSecurityDesc
    b"445": b"446",  # EncodedListStatusText
    b"618": b"619",  # EncodedLegIssuer
    b"621": b"622",  # EncodedLegSecurityDesc
    b"1184": b"1185",  # SecurityXML
}

_BODY_LENGTH_DIGITS_MAX = 9  # no message of a gigabyte is meant
_TRAILER = re.compile(rb"10=([0-9]{3})\x01")
_TRAILER_BYTES = 7
_MESSAGE_START = re.compile(rb"8=FIX[^\x01\n]{0,16}\x019=([0-9]{1,9})\x01")
_TRAILER_AFTER_FIELD = re.compile(rb"\x0110=[0-9]{3}\x01")
_ORDER_ID = re.compile(rb"\x0137=([^\x01]+)\x01")
_LINE_ENDS = b"\r\n"


def split_fields(raw: bytes) -> tuple[str, list[Field]]:
    """Check the framing of one message and give its BeginString (8) and the fields of its body, MsgType (35) first.

    Raises FixError when the bytes are no FIX message, or when BodyLength (9) or CheckSum (10) is wrong.
    """
    begin_string, body_start, body_end = _check_frame(raw)
    body = raw[body_start:body_end]
    fields = _split_plain(body)
    if fields is None:
        fields = _split_with_data(body)
    if not fields or fields[0][0] != b"35":
        raise FixError("MsgType (35) was not the third field")
    return begin_string, fields


def _check_frame(raw: bytes) -> tuple[str, int, int]:
    """Give BeginString and where the body starts and ends (its last SOH included)."""
    begin_end = raw.find(SOH)
    if not raw.startswith(b"8=FIX") or not raw[:begin_end].isascii():
        raise FrameError("BeginString (8) was not the first field, so this is no FIX message")
    length_end = raw.find(SOH, begin_end + 1)
    length = raw[begin_end + 3 : length_end]
    if raw[begin_end + 1 : begin_end + 3] != b"9=" or not length.isdigit() or len(length) > _BODY_LENGTH_DIGITS_MAX:
        raise FrameError("BodyLength (9) was not the second field or not a number")
    body_start = length_end + 1
    body_end = len(raw) - _TRAILER_BYTES
    trailer = _TRAILER.fullmatch(raw, max(body_end, 0))
    if trailer is None or body_end < body_start or raw[body_end - 1] != 1:
        raise FrameError("CheckSum (10) with three digits was not the last field")
    if body_start + int(length) != body_end:
        raise FrameError(f"BodyLength (9) was {int(length)}, expected {body_end - body_start}")
    checksum = sum(raw[:body_end]) & 0xFF
    if int(trailer[1]) != checksum:
        raise FrameError(f"CheckSum (10) was {int(trailer[1]):03d}, expected {checksum:03d}")
    return raw[2:begin_end].decode("ascii"), body_start, body_end


def _split_plain(body: bytes) -> list[Field] | None:
    """Split at every SOH; None when that is not certain to be right, because of a data field or a field without '='."""
    fields: list[Field] = []
    append = fields.append
    for piece in body[:-1].split(SOH):
        tag, equals, value = piece.partition(b"=")
        if not equals or not tag.isdigit() or tag in _DATA_TAG_OF_LENGTH_TAG:
            return None
        append((tag, value))
    return fields


def _split_with_data(body: bytes) -> list[Field]:
    """Split field by field; a data field is as long as the length field right before it says."""
    fields: list[Field] = []
    position = 0
    data_tag: bytes | None = None
    data_bytes = 0
    while position < len(body):
        equals = body.find(b"=", position)
        tag = body[position:equals]
        if equals < 0 or not tag.isdigit():
            raise FixError("a field was not written as tag=value")
        start = equals + 1
        end = start + data_bytes if tag == data_tag else body.find(SOH, start)
        if body[end : end + 1] != SOH:
            raise FixError(f"the data field ({tag.decode()}) was not as long as its length field says")
        value = body[start:end]
        fields.append((tag, value))
        data_tag = _DATA_TAG_OF_LENGTH_TAG.get(tag)
        data_bytes = _data_length(tag, value) if data_tag else 0
        position = end + 1
    return fields


def _data_length(tag: bytes, value: bytes) -> int:
    if not value.isdigit() or len(value) > _BODY_LENGTH_DIGITS_MAX:
        raise FixError(f"the length field ({tag.decode()}) was not a number")
    return int(value)


def frame(begin_string: str, fields: list[tuple[int, str]]) -> bytes:
    """Put BeginString (8), BodyLength (9) and CheckSum (10) around the fields, MsgType (35) first.

    Raises ValueError when a value is empty or holds SOH: the message would say something else than was meant.
    """
    for tag, value in fields:
        if not value or "\x01" in value:
            raise ValueError(f"tag {tag} was empty or held SOH")
    body = "".join(f"{tag}={value}\x01" for tag, value in fields).encode()
    message = f"8={begin_string}\x019={len(body)}\x01".encode() + body
    return message + f"10={sum(message) & 0xFF:03d}\x01".encode()


def split_messages(data: bytes) -> Iterator[bytes]:
    """Cut a file of FIX messages, one after the other or one per line, into one chunk per message.

    Nothing is lost: bytes between messages, and messages cut short or with a wrong BodyLength (9), are chunks of their
    own that `decode` will refuse. Only line ends between chunks are dropped.
    """
    position = 0
    start = _MESSAGE_START.search(data)
    while start is not None:
        yield from _stray(data[position : start.start()])
        end = start.end() + int(start[1]) + _TRAILER_BYTES
        if _ends_with_trailer(data, end):
            yield data[start.start() : end]
            position = end
        else:
            position = _end_of_broken_message(data, start.end())
            yield from _stray(data[start.start() : position])
        start = _MESSAGE_START.search(data, position)
    yield from _stray(data[position:])


def _stray(chunk: bytes) -> Iterator[bytes]:
    stripped = chunk.strip(_LINE_ENDS)
    if stripped:
        yield stripped


def _ends_with_trailer(data: bytes, end: int) -> bool:
    trailer = data[max(end - _TRAILER_BYTES - 1, 0) : end]
    return end <= len(data) and _TRAILER_AFTER_FIELD.fullmatch(trailer) is not None


def _end_of_broken_message(data: bytes, body_start: int) -> int:
    """After the message's trailer if it has one, else where the next message begins, else at the end."""
    following = _MESSAGE_START.search(data, body_start)
    limit = following.start() if following else len(data)
    trailer = _TRAILER_AFTER_FIELD.search(data, body_start - 1, limit)
    return trailer.end() if trailer else limit


def order_id(raw: bytes) -> str | None:
    """OrderID (37), for the key a sender gives the record; None when there is none.

    A quick look that checks nothing: capture compares the key with the decoded message.
    """
    found = _ORDER_ID.search(raw)
    if found is None:
        return None
    try:
        return found[1].decode()
    except UnicodeDecodeError:
        return None
