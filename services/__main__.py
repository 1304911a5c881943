"""`posttrade`, and the same as `python -m services`."""

from __future__ import annotations

import sys

from services.commands.cli import make_app


def main() -> None:
    """Run the command line and end the process with its exit code."""
    if not __debug__:
        sys.exit("error: python -O removes assertions that guard money; run without it")
    make_app()(prog_name="posttrade")


if __name__ == "__main__":
    main()
