"""Ids and fingerprints are digests: another digest would make strangers of everything that was seen."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain import digest


@given(st.binary(max_size=300))
def test_the_digest_is_the_one_of_the_standard_library(content: bytes) -> None:
    """Whichever function computes it."""
    assert digest.sha256(content) == hashlib.sha256(content).digest()


def test_without_a_function_of_its_own_python_asks_hashlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some builds of Python leave it out; a service must start there, too."""

    def missing(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(digest, "import_module", missing)
    assert digest._own_sha256()(b"content").digest() == hashlib.sha256(b"content").digest()
