"""A worker's disk as a dictionary, for tests that do not care about disks."""

from __future__ import annotations

from collections.abc import Iterable


class MemoryFiles:
    """Never full, never torn."""

    def __init__(self) -> None:
        """Start empty."""
        self.content: dict[str, bytes] = {}

    def read(self, name: str) -> bytes | None:
        """The whole file."""
        return self.content.get(name)

    def replace(self, name: str, parts: Iterable[bytes]) -> None:
        """The new one is there when all its parts are."""
        self.content[name] = b"".join(parts)

    def note(self, name: str, data: bytes) -> None:
        """The same."""
        self.content[name] = data

    def delete(self, name: str) -> None:
        """Forget."""
        self.content.pop(name, None)

    def names(self) -> list[str]:
        """All."""
        return sorted(self.content)
