"""Records recognised by what they hold, in the processes that send, watch and verify."""

from __future__ import annotations

import hashlib


def digest(key: bytes | str | None, value: bytes | str | None) -> str:
    """Recognises key and value; nothing and empty are two things."""
    return hashlib.blake2b(b"".join(map(_part, (key, value))), digest_size=8).hexdigest()


def _part(part: bytes | str | None) -> bytes:
    if part is None:
        return b"-"
    data = part.encode() if isinstance(part, str) else part
    return b"+%d:%b" % (len(data), data)
