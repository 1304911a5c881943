"""A worker's own folder on disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from services.engine.local_files import LocalFilesError

T = TypeVar("T")

_NEW = ".new"


class DiskFiles:
    """Files of one slot, directly in its folder, which is made when the first is written."""

    def __init__(self, folder: Path) -> None:
        """Bind the folder."""
        self._folder = folder
        self._open: dict[str, int] = {}
        """Descriptors of noted files: opening costs more than writing."""

    def read(self, name: str) -> bytes | None:
        """The whole file, None when there is none."""
        return self._guarded(name, lambda: self._read(self._folder / name))

    def _read(self, path: Path) -> bytes | None:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None

    def replace(self, name: str, parts: Iterable[bytes]) -> None:
        """Write beside, flush to disk, rename over."""
        self._guarded(name, lambda: self._replace(self._folder / name, parts))

    def _replace(self, path: Path, parts: Iterable[bytes]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        new = path.with_name(path.name + _NEW)
        try:
            with new.open("wb") as file:
                file.writelines(parts)
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
        except BaseException:  # also of whoever makes the parts: what is left of the file takes room
            new.unlink(missing_ok=True)
            raise
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)  # the rename itself
        finally:
            os.close(folder)

    def note(self, name: str, data: bytes) -> None:
        """Overwrite in place, without waiting for the disk."""
        self._guarded(name, lambda: self._note(name, data))

    def _note(self, name: str, data: bytes) -> None:
        descriptor = self._open.get(name)
        if descriptor is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = self._open[name] = os.open(self._folder / name, os.O_WRONLY | os.O_CREAT, 0o600)
        os.pwrite(descriptor, data, 0)
        os.ftruncate(descriptor, len(data))

    def delete(self, name: str) -> None:
        """Remove a file, if it is there."""
        descriptor = self._open.pop(name, None)
        if descriptor is not None:
            os.close(descriptor)
        self._guarded(name, lambda: (self._folder / name).unlink(missing_ok=True))

    def names(self) -> list[str]:
        """All names, sorted; half-written files of a crash are not among them."""
        found = self._guarded("", lambda: list(self._folder.iterdir()) if self._folder.exists() else [])
        return sorted(path.name for path in found if path.is_file() and path.suffix != _NEW)

    def _guarded(self, name: str, call: Callable[[], T]) -> T:
        try:
            return call()
        except OSError as error:
            raise LocalFilesError(f"{self._folder / name}: {error.strerror or error}") from error
