"""Runs one command and ends it when the process that asked for it is gone, however that one ended.

    python -I -S guard.py GRACE_SECONDS OUTPUT_FILE COMMAND...

The guard prints the process id of the command, then waits for the first of these:
- its standard input ends (the parent closed it, or died, even by kill -9), or SIGTERM: the command gets SIGTERM, and
  SIGKILL when it is still there after the grace;
- the command ends by itself (or could not be started: then no process id is printed).
It leaves with the exit code of the command (128 + n for signal n). If the guard itself is killed, the kernel kills the
command (Linux). So no path leaves a process behind.

Standard library only, no imports of ours: it is started as a plain file and is up in 20 ms. A process between the two
is needed because the kernel's own parent-death signal follows the *thread* that started the child: a broker started
from a worker thread would die with that thread.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_STDIN = 0
_CHUNK_BYTES = 512
_NOT_STARTED = 127
"""As a shell says it."""


def main(arguments: list[str]) -> int:
    """Run the command of the arguments as the module says; the exit code to leave with."""
    grace_seconds, output, command = float(arguments[0]), arguments[1], arguments[2:]
    woken_by = _wake_on(signal.SIGCHLD, signal.SIGTERM)
    try:
        child = _start(command, output)
    except OSError as error:
        Path(output).write_text(f"{command[0]} could not be started: {error}\n")
        return _NOT_STARTED
    print(child.pid, flush=True)
    deadline = None
    inputs = [_STDIN, woken_by]
    while child.poll() is None:
        if deadline is None and _asked_to_stop(inputs):
            _terminate(child)
            deadline = time.monotonic() + grace_seconds
        elif deadline is not None and not _wait(woken_by, deadline):
            child.kill()
            child.wait()
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _wake_on(*signals: signal.Signals) -> int:
    """A file descriptor that becomes readable, with the number of the signal, when one of these arrives."""
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable)
    for number in signals:
        signal.signal(number, lambda *_: None)
    return readable


def _start(command: list[str], output: str) -> subprocess.Popen[bytes]:
    guard = os.getpid()
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def die_with_guard() -> None:
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != guard:  # the guard died before the line above took effect
                os._exit(1)

    with Path(output).open("ab") as sink:
        return subprocess.Popen(  # noqa: S603  # the command of our parent
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            preexec_fn=die_with_guard,  # noqa: PLW1509 - unsafe with threads; the guard has one
        )


def _asked_to_stop(inputs: list[int]) -> bool:
    """Wait for a signal or the end of standard input; true when it is a request to stop the command."""
    ready, _, _ = select.select(inputs, [], [])
    if _STDIN in ready and not os.read(_STDIN, _CHUNK_BYTES):
        return True
    woken_by = inputs[1]
    return woken_by in ready and signal.SIGTERM in os.read(woken_by, _CHUNK_BYTES)


def _terminate(child: subprocess.Popen[bytes]) -> None:
    child.send_signal(signal.SIGCONT)  # a paused process does not see SIGTERM
    child.terminate()


def _wait(woken_by: int, deadline: float) -> bool:
    """Wait for a signal, SIGCHLD most likely; False when the deadline came first."""
    left = deadline - time.monotonic()
    ready, _, _ = select.select([woken_by], [], [], max(left, 0))
    if ready:
        os.read(woken_by, _CHUNK_BYTES)
    return bool(ready)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
