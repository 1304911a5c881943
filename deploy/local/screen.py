"""What `make run` and `make demo` tell the person at the terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from deploy.local.day import counts_line


def say(text: str) -> None:
    """Tell the person at the terminal."""
    print(text, flush=True)


class Screen:
    """Shows the counts: one line that is overwritten on a terminal, one line for each change anywhere else."""

    def __init__(self) -> None:
        """Nothing was shown yet."""
        self._shown = ""
        self._is_terminal = sys.stdout.isatty()

    def report(self, counts: Mapping[str, int]) -> None:
        """Show the counts if they changed."""
        line = counts_line(counts)
        if line == self._shown:
            return
        self._shown = line
        if self._is_terminal:
            print(f"\r\x1b[K  {line}", end="", flush=True)
        else:
            say(f"  {line}")

    def end(self) -> None:
        """Leave the line as it stands."""
        if self._is_terminal and self._shown:
            print(flush=True)
        self._shown = ""
