"""SHA-256 of short texts: ids and fingerprints, six for each order.

hashlib asks OpenSSL, which prepares more for a digest than fifty bytes take to hash. Python has the same function of
its own, which hashlib falls back to. Called as it is in a running service, between other work, it takes 0.7 instead of
1.6 microseconds; three hundred bytes still take less. For long texts hashlib is faster.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any


def _own_sha256() -> Callable[[bytes], Any]:
    """Python's own function, or hashlib's where Python was built without it: the digests are the same."""
    try:
        module = import_module("_sha2" if sys.version_info >= (3, 12) else "_sha256")
    except ImportError:
        return hashlib.sha256
    return module.sha256  # type: ignore[no-any-return]  # a module that is imported by name has no types


_sha256 = _own_sha256()


def sha256(content: bytes) -> bytes:
    """The 32 bytes of the digest."""
    return _sha256(content).digest()  # type: ignore[no-any-return]  # as above
