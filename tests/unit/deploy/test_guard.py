"""The guard ends its command on every path, and tells how it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Protocol

import pytest

from deploy.local import guard
from tests.support.processes import await_end

END_SECONDS_MAX = 20.0
SLEEPER = "import time; print('ready', flush=True); time.sleep(60)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
)


class Guarded:
    """A Python program under a guard."""

    def __init__(self, output: Path, program: str, grace_seconds: float) -> None:
        """Start it and wait until it has printed its first line."""
        os.mkfifo(output)  # reading blocks until the program writes: no need to ask whether it is ready
        self.guard = _start_guard(output, [sys.executable, "-c", program], grace_seconds)
        with output.open() as lines:
            self.first_line = lines.readline().strip()
        assert self.guard.stdout is not None
        self.process_id = int(self.guard.stdout.readline())

    def close(self) -> int:
        """End the guard's input, as the parent's death does; the guard's exit code."""
        assert self.guard.stdin is not None
        self.guard.stdin.close()
        return self.guard.wait(END_SECONDS_MAX)

    def clean_up(self) -> None:
        """Leave nothing behind, whatever the test found."""
        if self.guard.poll() is None:
            with suppress(ProcessLookupError):  # it has ended, and the guard is about to
                os.kill(self.process_id, signal.SIGKILL)
        with self.guard:
            self.guard.kill()


def _start_guard(output: Path, command: list[str], grace_seconds: float) -> subprocess.Popen[bytes]:
    guarded = [sys.executable, "-I", "-S", guard.__file__, str(grace_seconds), str(output), *command]
    return subprocess.Popen(guarded, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


class Launch(Protocol):
    """Start a program under a guard; it is cleaned up after the test."""

    def __call__(self, program: str, grace_seconds: float = 10) -> Guarded: ...


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    with ExitStack() as stack:

        def start(program: str, grace_seconds: float = 10) -> Guarded:
            guarded = Guarded(tmp_path / "output", program, grace_seconds)
            stack.callback(guarded.clean_up)
            return guarded

        yield start


def test_the_end_of_the_input_ends_the_command(launch: Launch) -> None:
    guarded = launch(SLEEPER)

    assert guarded.close() == 128 + signal.SIGTERM
    assert await_end(guarded.process_id, 0)


def test_sigterm_to_the_guard_ends_the_command(launch: Launch) -> None:
    guarded = launch(SLEEPER)

    guarded.guard.terminate()

    assert guarded.guard.wait(END_SECONDS_MAX) == 128 + signal.SIGTERM
    assert await_end(guarded.process_id, 0)


def test_a_command_that_ignores_sigterm_is_killed_after_the_grace(launch: Launch) -> None:
    guarded = launch(STUBBORN, grace_seconds=0.2)

    assert guarded.close() == 128 + signal.SIGKILL
    assert await_end(guarded.process_id, 0)


def test_a_paused_command_is_woken_to_end_in_good_order(launch: Launch) -> None:
    guarded = launch(SLEEPER)
    os.kill(guarded.process_id, signal.SIGSTOP)

    assert guarded.close() == 128 + signal.SIGTERM


def test_the_command_dies_with_a_killed_guard(launch: Launch) -> None:
    guarded = launch(STUBBORN)

    guarded.guard.kill()

    assert await_end(guarded.process_id, END_SECONDS_MAX)


@pytest.mark.parametrize("code", [0, 3])
def test_the_exit_code_of_a_command_that_ends_by_itself_is_passed_on(launch: Launch, code: int) -> None:
    guarded = launch(f"print('ready', flush=True); raise SystemExit({code})")

    assert guarded.guard.wait(END_SECONDS_MAX) == code


def test_the_command_gets_no_input_of_the_guard(launch: Launch) -> None:
    """It would otherwise eat the end of input that the guard waits for."""
    assert launch("import sys; print(repr(sys.stdin.read()), flush=True)").first_line == "''"


def test_a_command_that_cannot_be_started_leaves_a_sentence_and_no_process_id(tmp_path: Path) -> None:
    output = tmp_path / "output"

    with _start_guard(output, ["/no/such/program"], 1) as process:
        printed, _ = process.communicate(timeout=END_SECONDS_MAX)

    assert (process.returncode, printed) == (127, b"")
    assert output.read_text().startswith("/no/such/program could not be started: ")
