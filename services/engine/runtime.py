"""Time, threads and waiting: everything of the machine that the engine uses besides the log.

The engine asks for nothing of this kind anywhere else, so that a simulation can put its own in place, with a clock that
jumps and threads that take turns in the order a seed decides.
"""

from __future__ import annotations

import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

T = TypeVar("T")


class Runtime(Protocol):
    """What a worker runs on."""

    def monotonic(self) -> float:
        """Seconds on a clock that is never set back."""
        ...

    def now_us(self) -> int:
        """The time of day, microseconds since the epoch."""
        ...

    def executor(self, threads: int, name: str) -> Executor:
        """Threads for calls that block; `name` shows in a stack dump."""
        ...

    def wait(self, future: Future[T], timeout_seconds: float) -> T:
        """Block the calling thread, never the event loop, for a result. Raises TimeoutError."""
        ...

    def sleep(self, seconds: float) -> None:
        """Block the calling thread, never the event loop."""
        ...


class SystemRuntime:
    """The operating system's clock and threads."""

    def monotonic(self) -> float:
        """Seconds on a clock that is never set back; it goes on while the process is stopped."""
        return time.monotonic()

    def now_us(self) -> int:
        """The time of day, microseconds since the epoch."""
        return time.time_ns() // 1000

    def executor(self, threads: int, name: str) -> Executor:
        """A pool of threads."""
        return ThreadPoolExecutor(threads, name)

    def wait(self, future: Future[T], timeout_seconds: float) -> T:
        """Block the calling thread for a result."""
        return future.result(timeout_seconds)

    def sleep(self, seconds: float) -> None:
        """Block the calling thread."""
        time.sleep(seconds)


SYSTEM = SystemRuntime()
