"""What a process takes: processor time by kind of thread, and memory, as the kernel tells in /proc."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_PROC = Path("/proc")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_UTIME, _STIME = 11, 12
"""Fields 14 and 15 of proc(5) stat, counted from the one behind the name."""
_CLIENT_THREAD = "rdk:"
"""Threads of the Kafka client's library name themselves so."""
_LISTENING = "0A"


@dataclass(frozen=True)
class CpuTime:
    """Processor time, user and system, in seconds."""

    process: float
    """All threads, those that have ended included."""
    main_thread: float
    client_threads: float
    """Those of the Kafka client's library: network, compression, queues."""

    @property
    def other_threads(self) -> float:
        """What is left: of a worker, the Python threads that poll, produce, commit and restore."""
        return self.process - self.main_thread - self.client_threads

    def __sub__(self, earlier: CpuTime) -> CpuTime:
        return CpuTime(
            self.process - earlier.process,
            self.main_thread - earlier.main_thread,
            self.client_threads - earlier.client_threads,
        )

    def __add__(self, other: CpuTime) -> CpuTime:
        return CpuTime(
            self.process + other.process,
            self.main_thread + other.main_thread,
            self.client_threads + other.client_threads,
        )

    @classmethod
    def none(cls) -> Self:
        """Of nobody."""
        return cls(0.0, 0.0, 0.0)


def cpu_time(process_id: int) -> CpuTime:
    """What a process has used since it began. Raises FileNotFoundError when it is gone."""
    main = client = 0.0
    for folder in (_PROC / str(process_id) / "task").iterdir():
        try:
            name, seconds = parse_stat((folder / "stat").read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread ended between the listing and the look
        if folder.name == str(process_id):
            main = seconds
        elif name.startswith(_CLIENT_THREAD):
            client += seconds
    # Last, so that what ran meanwhile makes no thread appear to have used more than the process.
    return CpuTime(parse_stat((_PROC / str(process_id) / "stat").read_text())[1], main, client)


def parse_stat(text: str) -> tuple[str, float]:
    """Name and processor seconds of one line of proc(5) stat. The name may hold spaces and brackets of its own."""
    before, _, after = text.rpartition(")")
    fields = after.split()
    return before.partition("(")[2], (int(fields[_UTIME]) + int(fields[_STIME])) / _TICKS_PER_SECOND


@dataclass(frozen=True)
class Memory:
    """Resident memory of a process, MiB."""

    now: float
    highest: float
    """Since the process began."""


def memory(process_id: int) -> Memory:
    """What a process holds. Raises FileNotFoundError when it is gone."""
    return parse_memory((_PROC / str(process_id) / "status").read_text())


def parse_memory(status: str) -> Memory:
    """Of the text of proc(5) status."""
    return Memory(_mib(status, "VmRSS"), _mib(status, "VmHWM"))


def _mib(status: str, name: str) -> float:
    found = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None, f"the process says nothing of {name}: it has ended"
    return int(found[1]) / 1024


def listening_process(port: int) -> int:
    """The process of this user that listens on a port of this machine. Raises LookupError when there is none."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for folder in _PROC.iterdir():
        if folder.name.isdigit() and sockets & _open_files(folder):
            return int(folder.name)
    raise LookupError(f"no process that may be looked at listens on port {port}")


def _listening_inodes(port: int) -> set[str]:
    inodes: set[str] = set()
    for table in ("tcp", "tcp6"):
        for line in (_PROC / "net" / table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes


def _open_files(folder: Path) -> set[str]:
    found: set[str] = set()
    try:
        for link in (folder / "fd").iterdir():
            found.add(str(link.readlink()))
    except (FileNotFoundError, PermissionError, ProcessLookupError):
        pass  # ended meanwhile, or another user's; what was seen so far counts
    return found
