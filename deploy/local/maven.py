"""Maven, run in silence: it fetches jars and builds Java programs, and what it says is shown when it fails."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from deploy.local.tools import LocalServerError, find_java, find_maven

_MAVEN_SECONDS_MAX = 600.0
_SHOWN_LINES_MAX = 15


@dataclass(frozen=True)
class Maven:
    """Maven and the Java it runs with."""

    program: Path
    java: Path

    @classmethod
    def find(cls) -> Self:
        """The Maven of this machine. Raises MissingToolError when it or a Java that is new enough is missing."""
        return cls(find_maven(), find_java())

    def run(self, arguments: Sequence[str], *, purpose: str) -> None:
        """Run it to its end. Raises LocalServerError, "Maven could not <purpose>", with the last lines it said."""
        environment = dict(os.environ)
        if str(self.java.parents[1]) != environment.get("JAVA_HOME"):
            environment.pop("JAVA_HOME", None)  # mvn would insist on it, though the good Java is the one on PATH
        try:
            answer = subprocess.run(  # noqa: S603  # a command of ours
                [self.program, "--quiet", "--batch-mode", *arguments], env=environment, stdin=subprocess.DEVNULL,
                capture_output=True, text=True, timeout=_MAVEN_SECONDS_MAX, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise LocalServerError(f"Maven did not {purpose} within {_MAVEN_SECONDS_MAX:.0f} s.") from None
        if answer.returncode != 0:
            said = (answer.stdout + answer.stderr).strip().splitlines()[-_SHOWN_LINES_MAX:]
            raise LocalServerError(f"Maven could not {purpose}. It said:\n" + "\n".join(said))
