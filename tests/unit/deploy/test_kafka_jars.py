"""Jars are fetched once, completely, by one process; after that neither Maven nor network is needed."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deploy.local.kafka_jars import POM, REPOSITORY, ensure_jars, kafka_version
from deploy.local.tools import LocalServerError, MissingToolError

POM_TEXT = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <properties><kafka.version>9.8.7</kafka.version></properties>
</project>"""
MAVEN = """#!/bin/sh
echo call >> {calls}
for argument; do case $argument in -DoutputDirectory=*) target=${{argument#*=}};; esac; done
mkdir -p "$target" && echo jar > "$target/broker.jar"
{ending}
"""


class Ground:
    """A pom, a place for jars, and a Maven that makes one jar and counts how often it is called."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pom = tmp_path / "pom.xml"
        self.pom.write_text(POM_TEXT)
        self.local = tmp_path / "local"
        self.libs = self.local / "kafka" / "libs-9.8.7"
        self._calls = tmp_path / "calls"
        self.tools = tmp_path / "tools"
        self.tools.mkdir()
        self._program("java", "#!/bin/sh\necho 'openjdk version \"17.0.1\"' >&2\n")
        self.maven_ends_with("")
        monkeypatch.setenv("PATH", f"{self.tools}:/usr/bin:/bin")
        monkeypatch.delenv("JAVA_HOME", raising=False)

    def _program(self, name: str, text: str) -> None:
        (self.tools / name).write_text(text)
        (self.tools / name).chmod(0o755)

    def maven_ends_with(self, ending: str) -> None:
        """Let Maven run this shell text last."""
        self._program("mvn", MAVEN.format(calls=self._calls, ending=ending))

    def ensure(self) -> Path:
        return ensure_jars(self.pom, self.local)

    @property
    def calls(self) -> int:
        return len(self._calls.read_text().split()) if self._calls.exists() else 0


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ground:
    return Ground(tmp_path, monkeypatch)


def test_the_version_comes_from_the_pom(ground: Ground) -> None:
    assert kafka_version(ground.pom) == "9.8.7"
    assert re.fullmatch(r"\d+\.\d+\.\d+", kafka_version(POM))


def test_jars_are_fetched_once(ground: Ground) -> None:
    assert ground.ensure() == ground.ensure() == ground.libs
    assert (ground.libs / "broker.jar").exists()
    assert ground.calls == 1


def test_complete_jars_need_no_maven(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    ground.ensure()
    monkeypatch.setenv("PATH", "/nowhere")

    assert ground.ensure() == ground.libs


def test_missing_jars_without_maven_say_what_to_install(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(MissingToolError, match="apt-get install maven"):
        ground.ensure()


def test_calls_at_once_fetch_once(ground: Ground) -> None:
    """The lock holds between open files, so threads stand for processes here."""
    ground.maven_ends_with("sleep 0.3")

    with ThreadPoolExecutor(4) as pool:
        found = [future.result() for future in [pool.submit(ground.ensure) for _ in range(4)]]

    assert found == [ground.libs] * 4
    assert ground.calls == 1


def test_a_failed_fetch_shows_what_maven_said_and_is_not_taken_for_complete(ground: Ground) -> None:
    ground.maven_ends_with("echo 'Could not transfer artifact'; exit 1")
    with pytest.raises(LocalServerError, match="Could not transfer artifact"):
        ground.ensure()
    assert not ground.libs.exists()

    ground.maven_ends_with("")

    assert (ground.ensure() / "broker.jar").exists()


def test_a_fetch_cut_short_is_begun_anew(ground: Ground) -> None:
    partial = ground.libs.with_name("libs-9.8.7.partial")
    partial.mkdir(parents=True)
    (partial / "half.jar").write_text("ha")

    ground.ensure()

    assert [file.name for file in ground.libs.glob("*.jar")] == ["broker.jar"]


def test_a_changed_pom_is_fetched_anew_and_leaves_no_old_jar(ground: Ground) -> None:
    """A jar that the pom no longer names would stay on the class path."""
    (ground.ensure() / "old.jar").write_text("old")
    ground.pom.write_text(POM_TEXT + "<!-- another dependency -->")

    ground.ensure()

    assert [file.name for file in ground.libs.glob("*.jar")] == ["broker.jar"]
    assert ground.calls == 2


def test_the_jars_lie_outside_version_control() -> None:
    assert "/.local/" in (REPOSITORY / ".gitignore").read_text().splitlines()
