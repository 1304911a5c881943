"""The programs the local broker needs from the machine: Java to run it, Maven to fetch it once."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

JAVA_MAJOR_MIN = 17
"""Kafka 4 brokers refuse to start on an older Java."""

_BANNER_SECONDS_MAX = 20.0
_VERSION = re.compile(r'version "(?P<text>(?:1\.)?(?P<major>\d+)[^"]*)"')


class LocalServerError(Exception):
    """A server of this machine could not be brought up. The message is a sentence for the person at the terminal."""

    exit_code = 1


class MissingToolError(LocalServerError):
    """A program is not installed, or too old. The message says what to install."""

    exit_code = 2


def java_version(banner: str) -> tuple[int, str] | None:
    """Major number and full text of the version in what `java -version` prints; None if there is none.

    Java 8 and older call themselves 1.8 and so on; their major number is the second one.
    """
    found = _VERSION.search(banner)
    return (int(found["major"]), found["text"]) if found else None


def find_java() -> Path:
    """The `java` to use: the one of JAVA_HOME, else the first on PATH, whichever first is new enough.

    Raises:
        MissingToolError: there is none, or all are older than `JAVA_MAJOR_MIN`.
    """
    seen = []
    for candidate in _java_candidates():
        version = java_version(_banner(candidate))
        if version is not None and version[0] >= JAVA_MAJOR_MIN:
            return candidate
        seen.append(f"{candidate} is {version[1] if version else 'not a working Java'}")
    found = f" ({', '.join(seen)})" if seen else ""
    raise MissingToolError(
        f"Java {JAVA_MAJOR_MIN} or newer was not found{found}; install it, for example: "
        f"apt-get install openjdk-{JAVA_MAJOR_MIN}-jre-headless"
    )


def find_maven() -> Path:
    """The `mvn` on PATH.

    Raises:
        MissingToolError: there is none.
    """
    found = shutil.which("mvn")
    if found is None:
        raise MissingToolError(
            "Maven (mvn) was not found; it fetches the Kafka jars once; install it, for example: apt-get install maven"
        )
    return Path(found)


def _java_candidates() -> Iterator[Path]:
    java_home = os.environ.get("JAVA_HOME")
    if java_home:
        yield Path(java_home) / "bin" / "java"
    on_path = shutil.which("java")
    if on_path:
        yield Path(on_path)


def _banner(java: Path) -> str:
    """What this Java says about itself; empty if it cannot be run."""
    try:
        answer = subprocess.run(  # noqa: S603  # the Java that the person chose
            [java, "-version"], capture_output=True, text=True, timeout=_BANNER_SECONDS_MAX, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stderr + answer.stdout
