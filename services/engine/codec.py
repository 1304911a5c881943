"""The port between bytes and records: each topic has a format, and the pipeline gives the engine one codec for all."""

from __future__ import annotations

from typing import Protocol

from services.domain.record import Record


class TopicCodec(Protocol):
    """Reads and writes the values of every topic by the topic's format."""

    def decode(self, topic: str, value: bytes | None) -> Record:
        """Read a value; raises services.domain.errors.DecodeError with one sentence and none of the payload."""
        ...

    def encode(self, topic: str, event: Record) -> bytes:
        """Write a value; raises services.domain.errors.EncodeError when the event does not fit the topic."""
        ...
