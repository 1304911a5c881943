"""The port to a worker's own disk: small files that only make the next start quicker or safer.

Nothing in it is the truth; the log is. A worker whose folder is lost, full, torn or another's goes on without it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class LocalFilesError(Exception):
    """The disk refused: full, read-only, gone. The text says which file and why."""


class LocalFiles(Protocol):
    """Named files of one worker slot. Calls block; names hold letters, digits, '.', '_' and '-' only."""

    def read(self, name: str) -> bytes | None:
        """The whole file, None when there is none. Raises LocalFilesError."""
        ...

    def replace(self, name: str, parts: Iterable[bytes]) -> None:
        """Write a file as a whole: after a crash at any moment there is the old one or the new one, on disk.

        Raises LocalFilesError; the old one is there then.
        """
        ...

    def note(self, name: str, data: bytes) -> None:
        """Write a short file in place, quickly: it outlives the process, not necessarily the machine.

        Raises LocalFilesError.
        """
        ...

    def delete(self, name: str) -> None:
        """Remove a file; nothing happens when there is none. Raises LocalFilesError."""
        ...

    def names(self) -> list[str]:
        """All names, sorted. Raises LocalFilesError."""
        ...
