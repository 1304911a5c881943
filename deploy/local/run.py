"""`make run`: starts deploy/local/whole_run.py; Ctrl-C while that is imported ends it without a traceback."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until Ctrl-C or SIGTERM, or until done; the exit code for the shell."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end_at_once)
    whole_run: Any = importlib.import_module("deploy.local.whole_run")  # a second of imports, under these handlers
    code: int = whole_run.main(arguments)
    return code


def _end_at_once(_number: int, _frame: Any) -> None:
    """Nothing was started yet. Not an exception: an import that is interrupted may turn it into anything."""
    os.write(sys.stdout.fileno(), b"stopped before anything was started\n")
    os._exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
