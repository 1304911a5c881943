"""How a command fails: with one clear line and an exit code, never with a traceback.

0   done
1   the world or the data said no: cluster unreachable, id unknown, worker ended by trouble
2   what was asked for cannot be asked: bad arguments, settings, files; nothing was changed
3   the worker was fenced: another worker has taken over its slot
"""

from __future__ import annotations

EXIT_TROUBLE = 1
EXIT_USAGE = 2
EXIT_FENCED = 3
EXIT_INTERRUPTED = 130


class CommandFailed(Exception):
    """The command cannot do its work; the text says why, in one line per finding."""

    exit_code = EXIT_TROUBLE


class BadRequest(CommandFailed):
    """The arguments, the settings or a file they name are wrong; nothing was changed."""

    exit_code = EXIT_USAGE


class Ended(Exception):
    """The command has said what there was to say and ends with a code of its own."""

    def __init__(self, exit_code: int) -> None:
        """Keep the code."""
        super().__init__(exit_code)
        self.exit_code = exit_code
