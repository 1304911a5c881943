"""A child process that never outlives its parent: the parent's side of deploy/local/guard.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.local.tools import LocalServerError

_GUARD = Path(__file__).with_name("guard.py")
_GUARD_SECONDS_MAX = 10.0


class GuardedProcess:
    """A running command, in a session of its own: Ctrl-C at the terminal does not reach it."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        directory: Path,
        output: Path,
        grace_seconds: float,
        environment: Mapping[str, str] | None = None,
        guard_files: Sequence[int] = (),
    ) -> None:
        """Start it.

        Args:
            command: the program and its arguments.
            directory: where it is started.
            output: the file for what it prints; it begins anew.
            grace_seconds: how long an orderly stop may take before it is killed.
            environment: its environment; None means ours.
            guard_files: open files that the guard holds until the command is really gone, for instance a lock.

        Raises:
            LocalServerError: it could not be started.
        """
        self._stop_seconds_max = grace_seconds + _GUARD_SECONDS_MAX
        output.write_bytes(b"")
        guarded = [sys.executable, "-I", "-S", str(_GUARD), str(grace_seconds), str(output), *command]
        self._guard = subprocess.Popen(  # noqa: S603  # a command of ours
            guarded,
            cwd=directory,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            pass_fds=guard_files,
        )
        assert self._guard.stdout is not None
        with self._guard.stdout as answer:
            first_line = answer.readline()
        if not first_line:
            self.stop()
            raise LocalServerError(f"{command[0]} could not be started; see {output}.")
        self.id = int(first_line)

    def exit_code(self) -> int | None:
        """None while it runs; 128 + n for signal n."""
        return self._guard.poll()

    def wait(self, seconds_max: float | None = None) -> int:
        """Wait until it has ended; its exit code. Raises subprocess.TimeoutExpired when it has not by then."""
        return self._guard.wait(seconds_max)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        if self.exit_code() is None:
            os.kill(self.id, number)

    def stop(self) -> int:
        """Ask it to end, wait, and kill it when it does not; on return it is gone. Its exit code."""
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        try:
            return self.wait(self._stop_seconds_max)
        except subprocess.TimeoutExpired:
            os.killpg(self._guard.pid, signal.SIGKILL)
            return self.wait()

    def kill(self) -> None:
        """End it without notice; on return it is gone."""
        self.send(signal.SIGKILL)
        self.stop()
