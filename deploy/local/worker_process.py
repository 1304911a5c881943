"""One `posttrade worker` as a child process that never outlives its parent (deploy/local/guard.py)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from deploy.local.kafka_jars import REPOSITORY
from deploy.local.tools import LocalServerError

_GUARD = Path(__file__).with_name("guard.py")
STOP_GRACE_SECONDS = 30.0
"""How long an orderly stop may take before the worker is killed; it takes about three seconds."""
READY_SECONDS_MAX = 60.0
_LINES_SHOWN_MAX = 15


class WorkerProcess:
    """A running worker."""

    def __init__(self, environment: Mapping[str, str], log_file: Path, web_url: str) -> None:
        """Start it; what it logs goes to `log_file`. The log of the worker before is kept beside it, as `.1`."""
        self.log_file = log_file
        self.web_url = web_url
        log_file.parent.mkdir(parents=True, exist_ok=True)
        if log_file.exists():
            log_file.replace(log_file.with_name(log_file.name + ".1"))
        log_file.write_bytes(b"")
        command = [sys.executable, "-m", "services", "worker"]
        guarded = [sys.executable, "-I", "-S", str(_GUARD), str(STOP_GRACE_SECONDS), str(log_file), *command]
        self._guard = subprocess.Popen(  # noqa: S603  # our own command
            guarded, cwd=REPOSITORY, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        assert self._guard.stdout is not None
        with self._guard.stdout as answer:
            first_line = answer.readline()
        if not first_line:
            raise LocalServerError("The guard of the worker did not start.")
        self.id = int(first_line)

    def __enter__(self) -> Self:
        """Nothing more to do: it was started."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Stop, whatever happened."""
        self.stop()

    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._guard.poll()

    def check(self) -> None:
        """Raises LocalServerError with the last lines of its log when it has ended."""
        code = self.exit_code()
        if code is not None:
            raise LocalServerError(
                f"The worker ended with exit code {code}. The end of {self.log_file}:\n{self.last_words()}"
            )

    def await_ready(self, seconds_max: float = READY_SECONDS_MAX) -> None:
        """Return when /readyz says so. Raises LocalServerError when the worker ends or is not ready in time."""
        deadline = time.monotonic() + seconds_max
        while time.monotonic() < deadline:
            self.check()
            try:
                with urllib.request.urlopen(f"{self.web_url}/readyz", timeout=2):  # noqa: S310  # http only
                    return
            except (urllib.error.URLError, TimeoutError, ConnectionError):
                time.sleep(0.2)
        raise LocalServerError(
            f"The worker was not ready within {seconds_max:.0f} s. The end of its log:\n{self.last_words()}"
        )

    def last_words(self) -> str:
        """The last lines of its log."""
        lines = self.log_file.read_text(errors="replace").splitlines()[-_LINES_SHOWN_MAX:]
        return "\n".join(lines) or "(it logged nothing)"

    def stop(self) -> int:
        """Ask it to end and wait, killing it when it does not; its exit code. Does nothing when it has ended."""
        assert self._guard.stdin is not None
        if not self._guard.stdin.closed:
            self._guard.stdin.close()
        try:
            return self._guard.wait(STOP_GRACE_SECONDS + 5)
        except subprocess.TimeoutExpired:
            os.killpg(self._guard.pid, signal.SIGKILL)
            return self._guard.wait()
