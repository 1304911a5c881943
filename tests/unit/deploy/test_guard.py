"""The guard ends its command on every path, and tells how it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local import guard
from tests.support.processes import await_end

END_SECONDS_MAX = 20.0
SLEEPER = "import time; print('ready', flush=True); time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
)


class Guarded:
    """A Python program under a guard."""

    def __init__(self, tmp_path: Path, program: str, grace_seconds: float = 10) -> None:
        self.output = tmp_path / "output"
        os.mkfifo(self.output)  # reading blocks until the program writes: no need to ask whether it is ready
        command = [sys.executable, "-I", "-S", guard.__file__, str(grace_seconds), str(self.output)]
        self.guard = subprocess.Popen(
            [*command, sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        with self.output.open() as output:
            self.first_line = output.readline().strip()
        assert self.guard.stdout is not None
        with self.guard.stdout as stdout:
            self.process_id = int(stdout.readline())

    def close(self) -> int:
        """End the guard's input, as the parent's death does; the guard's exit code."""
        assert self.guard.stdin is not None
        self.guard.stdin.close()
        return self.guard.wait(END_SECONDS_MAX)


def test_the_end_of_the_input_ends_the_command(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, SLEEPER)

    assert guarded.close() == 128 + signal.SIGTERM
    assert await_end(guarded.process_id, 0)


def test_sigterm_to_the_guard_ends_the_command(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, SLEEPER)

    guarded.guard.terminate()

    assert guarded.guard.wait(END_SECONDS_MAX) == 128 + signal.SIGTERM
    assert await_end(guarded.process_id, 0)
    guarded.close()


def test_a_command_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, STUBBORN, grace_seconds=0.2)

    assert guarded.close() == 128 + signal.SIGKILL
    assert await_end(guarded.process_id, 0)


def test_a_paused_command_is_woken_to_end_in_good_order(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, SLEEPER)
    os.kill(guarded.process_id, signal.SIGSTOP)

    assert guarded.close() == 128 + signal.SIGTERM


def test_the_command_dies_with_a_killed_guard(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, STUBBORN)

    guarded.guard.kill()

    assert await_end(guarded.process_id, END_SECONDS_MAX)
    guarded.close()


@pytest.mark.parametrize("code", [0, 3])
def test_the_exit_code_of_a_command_that_ends_by_itself_is_passed_on(tmp_path: Path, code: int) -> None:
    guarded = Guarded(tmp_path, f"print('ready', flush=True); raise SystemExit({code})")

    assert guarded.guard.wait(END_SECONDS_MAX) == code
    guarded.close()


def test_the_command_gets_no_input_of_the_guard(tmp_path: Path) -> None:
    """It would otherwise eat the end of input that the guard waits for."""
    guarded = Guarded(tmp_path, "import sys; print(repr(sys.stdin.read()), flush=True)")

    assert guarded.first_line == "''"
    guarded.close()
