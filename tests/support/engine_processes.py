"""Processes of tests/support/engine_worker on Kafka, started, killed and stopped by a test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


class Workers:
    """Worker processes, each with a slot of its own unless a test says otherwise."""

    def __init__(self, bootstrap_servers: str, prefix: str, directory: Path) -> None:
        """Nothing runs yet; logs and state lie in the directory."""
        self._arguments = (bootstrap_servers, prefix)
        self._directory = directory
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._former: list[subprocess.Popen[bytes]] = []

    def start(self, slot: int) -> subprocess.Popen[bytes]:
        """Start a slot's process; its output goes to a file of the test's directory. One that runs already stays."""
        if slot in self._processes:
            self._former.append(self._processes[slot])
        data = self._directory / f"slot-{slot}"
        data.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "tests.support.engine_worker", *self._arguments, str(slot), str(data)]
        with (self._directory / f"slot-{slot}.log").open("ab") as output:
            self._processes[slot] = subprocess.Popen(command, stdout=output, stderr=output)
        return self._processes[slot]

    def output(self, slot: int) -> str:
        """Everything that the processes of a slot have said."""
        return (self._directory / f"slot-{slot}.log").read_text()

    def kill(self, slot: int) -> None:
        """Kill -9."""
        self._processes[slot].kill()
        self._processes[slot].wait(10)

    def check_running(self) -> None:
        """Fail with the last lines of a process that has ended by itself."""
        for slot, process in self._processes.items():
            if process.poll() is not None:
                lines = self.output(slot).splitlines()[-15:]
                pytest.fail(f"worker {slot} ended with {process.returncode}:\n" + "\n".join(lines))

    def stop(self) -> list[int]:
        """SIGTERM to all at once; their exit codes. What does not end is killed."""
        for process in self._processes.values():
            process.terminate()
        try:
            return [process.wait(20) for process in self._processes.values()]
        finally:
            for process in (*self._processes.values(), *self._former):
                process.kill()
                process.wait(10)
