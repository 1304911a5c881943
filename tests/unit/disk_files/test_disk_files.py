"""A worker's own folder: whole files or the ones before, and one kind of error whatever the disk does."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.adapters.disk_files import DiskFiles
from services.engine.local_files import LocalFilesError


def test_what_is_written_is_read_listed_and_deleted(tmp_path: Path) -> None:
    """The folder is made when the first file is written; reading before finds nothing."""
    files = DiskFiles(tmp_path / "slot-0")
    assert (files.read("a"), files.names()) == (None, [])

    files.replace("a", [b"1", b"2"])
    files.note("b", b"longer")
    files.note("b", b"short")

    assert (files.read("a"), files.read("b"), files.names()) == (b"12", b"short", ["a", "b"])
    files.delete("b")
    files.delete("b")
    assert (files.read("b"), files.names()) == (None, ["a"])
    files.note("b", b"again")
    assert files.read("b") == b"again"


def test_a_write_that_fails_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    """Half a snapshot would be taken for a whole one."""
    files = DiskFiles(tmp_path)
    files.replace("a", [b"old"])

    def torn() -> Iterator[bytes]:
        yield b"new"
        raise OSError(28, "No space left on device")

    with pytest.raises(LocalFilesError, match="No space left on device"):
        files.replace("a", torn())
    assert (files.read("a"), files.names()) == (b"old", ["a"])
    assert [path.name for path in tmp_path.iterdir()] == ["a"], "what is left of it takes room on a full disk"


def test_whoever_gives_up_in_the_middle_leaves_the_old_file_and_no_half(tmp_path: Path) -> None:
    """A snapshot that nobody waits for any more is given up by what makes its parts."""
    files = DiskFiles(tmp_path)
    files.replace("a", [b"old"])

    def given_up() -> Iterator[bytes]:
        yield b"new"
        raise RuntimeError("nobody waits")

    with pytest.raises(RuntimeError, match="nobody waits"):
        files.replace("a", given_up())
    assert files.read("a") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_half_written_file_of_a_crash_is_not_listed(tmp_path: Path) -> None:
    """Its name is not one a reader would ask for."""
    (tmp_path / "a.new").write_bytes(b"half")

    assert DiskFiles(tmp_path).names() == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """The operator must see which path to mend."""
    (tmp_path / "taken").write_bytes(b"")

    for call in ("replace", "note"):
        with pytest.raises(LocalFilesError, match="taken"):
            getattr(DiskFiles(tmp_path / "taken"), call)("a", b"x" if call == "note" else [b"x"])


def test_a_file_beyond_the_limit_is_an_error_and_not_a_signal(tmp_path: Path) -> None:
    """A full disk, as the system tells it: the process must live on."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(LocalFilesError, match="too large"):
            DiskFiles(tmp_path).replace("a", [bytes(2000)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert DiskFiles(tmp_path).read("a") is None


def test_a_folder_that_vanishes_is_a_disk_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker lives without its folder; an error that nobody expects would end it."""
    monkeypatch.setattr(Path, "mkdir", lambda *_arguments, **_options: None)
    with pytest.raises(LocalFilesError, match="No such file"):
        DiskFiles(tmp_path / "gone").note("a", b"1")
