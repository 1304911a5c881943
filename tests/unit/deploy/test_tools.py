"""Which Java is taken, and what a person without one is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local import tools
from deploy.local.kafka_jars import REPOSITORY


def _java(directory: Path, version: str) -> Path:
    """A program that says of itself what `java -version` of this version says."""
    directory.mkdir(parents=True)
    program = directory / "java"
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-04-15' >&2\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("banner", "expected"),
    [
        ('openjdk version "17.0.15" 2025-04-15\nOpenJDK Runtime Environment', (17, "17.0.15")),
        ('java version "1.8.0_392"', (8, "1.8.0_392")),
        ('openjdk version "21" 2023-09-19', (21, "21")),
        ('openjdk version "25-ea" 2025-09-16', (25, "25-ea")),
        ('Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version "11.0.2"', (11, "11.0.2")),
        ("The operation couldn't be completed. Unable to locate a Java Runtime.", None),
        ("", None),
    ],
)
def test_the_version_is_read_from_the_banner(banner: str, expected: tuple[int, str] | None) -> None:
    assert tools.java_version(banner) == expected


@pytest.mark.parametrize(
    ("java_home", "on_path", "taken"),
    [
        ("21.0.1", "17.0.9", "home"),
        ("1.8.0_392", "17.0.9", "path"),  # JAVA_HOME often still names the Java of another product
        (None, "17", "path"),
        ("17.0.1", None, "home"),
    ],
)
def test_java_home_comes_before_path_and_new_enough_before_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, java_home: str | None, on_path: str | None, taken: str
) -> None:
    monkeypatch.setenv("PATH", "/bin")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    candidates = {}
    if java_home:
        candidates["home"] = _java(tmp_path / "home" / "bin", java_home)
        monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    if on_path:
        candidates["path"] = _java(tmp_path / "path", on_path)
        monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:/bin")

    assert tools.find_java() == candidates[taken]


def test_the_message_names_what_was_found_and_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = _java(tmp_path / "path", "11.0.2")
    monkeypatch.setenv("PATH", f"{old.parent}:/bin")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "gone"))

    with pytest.raises(tools.MissingToolError) as caught:
        tools.find_java()

    assert str(caught.value) == (
        f"Java 17 or newer was not found ({tmp_path}/gone/bin/java is not a working Java, {old} is 11.0.2); "
        "install it, for example: apt-get install openjdk-17-jre-headless"
    )


def test_a_missing_maven_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(tools.MissingToolError, match="apt-get install maven"):
        tools.find_maven()


def test_without_java_the_command_says_one_sentence_and_ends_with_2(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "JAVA_HOME"} | {"PATH": str(tmp_path)}
    command = [sys.executable, "-m", "deploy.local.kafka_broker", "--data-dir", str(tmp_path / "data")]

    answer = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)

    assert answer.returncode == 2
    assert answer.stdout == ""
    assert answer.stderr == (
        "error: Java 17 or newer was not found; install it, for example: apt-get install openjdk-17-jre-headless\n"
    )
    assert not (tmp_path / "data").exists()
